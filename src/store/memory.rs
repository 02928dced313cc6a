//! The memory tier: evidence, tags' digests and parts of images, each within bytes.
use std::sync::Arc;
use std::sync::atomic::AtomicI64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use jiff::SignedDuration;
use jiff::Timestamp;
use moka::future::Cache;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use super::Usage;
use super::key::Key;
use super::key::PartKey;
use super::key::TagKey;
use crate::evidence::Candidate;
use crate::evidence::Content;
use crate::evidence::Evidence;
use crate::evidence::Kept;
use crate::evidence::Problem;
use crate::image::Digest;
use crate::verdict::Failure;

/// Most bytes of one image's evidence that are kept in memory; ordinary evidence takes some 10 KiB.
/// Larger evidence is read again, or found on disk, so that a few large attestations do not push out
/// what thousands of images have.
const MAX_ENTRY_BYTES: usize = 512 << 10;

/// What a candidate counts for besides its bytes: its place in maps and lists.
const CANDIDATE_OVERHEAD: usize = 512;

/// What a problem counts for besides its texts.
const PROBLEM_OVERHEAD: usize = 128;

/// What an entry counts for besides its candidates, with its key.
const ENTRY_OVERHEAD: usize = 768;

/// Bytes that one permit of what is held stands for.
const UNIT: usize = 1 << 10;

/// Evidence that was pushed out but is still being judged may take as much again, as a part of what
/// is kept: more is not kept in the first place.
const IN_USE: u64 = 2;

/// How long evidence from another tier waits for room.
const ROOM_TIME: Duration = Duration::from_secs(2);

/// Most tags whose digests are remembered, at some 400 bytes each.
const MAX_TAGS: u64 = 10_000;

/// Most bytes of parts of images that are kept: indexes and configurations, for policies that ask for
/// platforms or for an image's configuration. Each takes some 2 KiB.
const MAX_PART_BYTES: u64 = 2 << 20;

/// How long after a failure a place is not asked again in the background.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(30);

/// What a registry answered, with its age.
#[derive(Debug)]
pub(super) struct Entry {
    pub(super) evidence: Arc<Evidence>,
    pub(super) fetched: Timestamp,
    /// Before this, in milliseconds since the epoch, the registry is not asked again in the
    /// background.
    not_before: AtomicI64,
}

impl Entry {
    /// How old it is; one from the future has no age.
    pub(super) fn age(&self, now: Timestamp) -> Duration {
        age(self.fetched, now)
    }

    /// Whether the caller is the one to ask the registry again, since nobody has in a while.
    pub(super) fn claim(&self, now: Timestamp) -> bool {
        let now = now.as_millisecond();
        let before = self.not_before.load(Ordering::Relaxed);
        let next = now.saturating_add(RETRY_AFTER.as_millis() as i64);
        let order = Ordering::Relaxed;
        before <= now && self.not_before.compare_exchange(before, next, order, order).is_ok()
    }
}

/// How long ago something happened; what is yet to come has no age.
pub(super) fn age(then: Timestamp, now: Timestamp) -> Duration {
    let passed: SignedDuration = now.duration_since(then);
    Duration::try_from(passed).unwrap_or_default()
}

/// What a tag stood for.
#[derive(Clone, Debug)]
pub(super) struct Resolved {
    pub(super) answer: Result<Digest, Failure>,
    pub(super) at: Timestamp,
}

/// The tier. Clones share what is kept.
#[derive(Clone, Debug)]
pub(super) struct Memory {
    evidence: Cache<Key, Arc<Entry>>,
    tags: Cache<TagKey, Resolved>,
    parts: Cache<PartKey, Bytes>,
    held: Arc<Semaphore>,
}

impl Memory {
    /// Room for so many bytes of evidence.
    pub(super) fn new(capacity: u64) -> Self {
        let weigh = |_: &Key, entry: &Arc<Entry>| clamp(ENTRY_OVERHEAD + weight(&entry.evidence));
        let weigh_part = |key: &PartKey, bytes: &Bytes| {
            clamp(ENTRY_OVERHEAD + key.repository.path().len() + bytes.len())
        };
        let permits = usize::try_from(IN_USE * capacity).unwrap_or(usize::MAX) / UNIT;
        Self {
            evidence: Cache::builder().max_capacity(capacity).weigher(weigh).build(),
            tags: Cache::new(MAX_TAGS),
            parts: Cache::builder().max_capacity(MAX_PART_BYTES).weigher(weigh_part).build(),
            held: Arc::new(Semaphore::new(permits.min(Semaphore::MAX_PERMITS))),
        }
    }

    pub(super) async fn evidence(&self, key: &Key) -> Option<Arc<Entry>> {
        self.evidence.get(key).await
    }

    /// Keeps what a registry gave, in bytes of its own; gives it back as it was where there is no room.
    pub(super) async fn keep(
        &self,
        key: Key,
        evidence: Evidence,
        fetched: Timestamp,
        not_before: Timestamp,
    ) -> Arc<Evidence> {
        let stale = evidence.kept.as_ref().and_then(|kept| kept.stale.clone());
        let second_hand = evidence.kept.as_ref().is_some_and(|kept| kept.second_hand);
        let kept = Some(Kept { fetched, stale, second_hand });
        let evidence = Evidence { kept, ..evidence };
        let weight = weight(&evidence);
        let room = Arc::clone(&self.held).try_acquire_many_owned(permits(weight));
        let (true, Ok(room)) = (weight <= MAX_ENTRY_BYTES, room) else {
            // What was kept before is older than this: it must not be found again.
            self.evidence.invalidate(&key).await;
            return Arc::new(evidence);
        };
        self.insert(key, held(evidence, room), fetched, not_before).await
    }

    /// Takes in what another tier gave; `None` where no room comes free in time.
    pub(super) async fn adopt(
        &self,
        key: Key,
        evidence: Evidence,
        fetched: Timestamp,
        not_before: Timestamp,
    ) -> Option<Arc<Evidence>> {
        let weight = weight(&evidence);
        let room = Arc::clone(&self.held).acquire_many_owned(permits(weight));
        let room = tokio::time::timeout(ROOM_TIME, room).await.ok()?.ok()?;
        let evidence = held(evidence, room);
        if weight > MAX_ENTRY_BYTES {
            return Some(Arc::new(evidence));
        }
        Some(self.insert(key, evidence, fetched, not_before).await)
    }

    /// Notes of what was fetched then why it could not be had anew.
    pub(super) async fn mark_stale(
        &self,
        key: &Key,
        fetched: Timestamp,
        failure: Failure,
        not_before: Timestamp,
    ) {
        let Some(entry) = self.evidence(key).await.filter(|entry| entry.fetched == fetched) else {
            return;
        };
        // Its bytes are the same, and count once.
        let mut evidence = Evidence::clone(&entry.evidence);
        if let Some(kept) = &mut evidence.kept {
            kept.stale = Some(failure);
        }
        self.insert(key.clone(), evidence, fetched, not_before).await;
    }

    async fn insert(
        &self,
        key: Key,
        evidence: Evidence,
        fetched: Timestamp,
        not_before: Timestamp,
    ) -> Arc<Evidence> {
        let evidence = Arc::new(evidence);
        let not_before = AtomicI64::new(not_before.as_millisecond());
        let entry = Entry { evidence: Arc::clone(&evidence), fetched, not_before };
        self.evidence.insert(key, Arc::new(entry)).await;
        evidence
    }

    /// How much evidence is kept, after everything that is to go has gone.
    pub(super) async fn usage(&self) -> Usage {
        self.evidence.run_pending_tasks().await;
        let (entries, bytes) = (self.evidence.entry_count(), self.evidence.weighted_size());
        Usage { entries, bytes }
    }

    pub(super) async fn tag(&self, key: &TagKey) -> Option<Resolved> {
        self.tags.get(key).await
    }

    pub(super) async fn keep_tag(&self, key: TagKey, resolved: Resolved) {
        self.tags.insert(key, resolved).await;
    }

    pub(super) async fn part(&self, key: &PartKey) -> Option<Bytes> {
        self.parts.get(key).await
    }

    pub(super) async fn keep_part(&self, key: PartKey, bytes: &Bytes) {
        if bytes.len() <= MAX_ENTRY_BYTES {
            self.parts.insert(key, Bytes::copy_from_slice(bytes)).await;
        }
    }
}

fn clamp(bytes: usize) -> u32 {
    u32::try_from(bytes).unwrap_or(u32::MAX)
}

/// What evidence counts for.
pub(super) fn weight(evidence: &Evidence) -> usize {
    let of_candidate = |candidate: &Candidate| {
        let of_annotations = |annotations: &std::collections::BTreeMap<String, String>| {
            annotations.iter().map(|(key, value)| key.len() + value.len() + 64).sum::<usize>()
        };
        let bytes = match &candidate.content {
            Ok(Content::Bundle(bytes)) => bytes.len(),
            Ok(Content::Envelope { envelope: bytes, annotations })
            | Ok(Content::SimpleSigning { payload: bytes, annotations }) => {
                bytes.len() + of_annotations(annotations)
            }
            Err(failure) => failure.found.len() + failure.wanted.len(),
        };
        CANDIDATE_OVERHEAD + bytes
    };
    let of_problem = |problem: &Problem| {
        let Failure { found, wanted, .. } = &problem.failure;
        PROBLEM_OVERHEAD + found.len() + wanted.len()
    };
    let candidates: usize = evidence.candidates.iter().map(of_candidate).sum();
    candidates + evidence.problems.iter().map(of_problem).sum::<usize>()
}

fn permits(weight: usize) -> u32 {
    u32::try_from(weight.div_ceil(UNIT)).unwrap_or(u32::MAX)
}

/// Bytes that count as held until the last who uses them is done.
struct Held {
    bytes: Box<[u8]>,
    _room: Arc<OwnedSemaphorePermit>,
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

/// The same in bytes of its own, so that what was read from a registry is let go.
fn held(evidence: Evidence, room: OwnedSemaphorePermit) -> Evidence {
    let room = Arc::new(room);
    let hold = |bytes: &Bytes| {
        let (bytes, room) = (Box::from(bytes.as_ref()), Arc::clone(&room));
        Bytes::from_owner(Held { bytes, _room: room })
    };
    let each = |candidate: Candidate| {
        let Candidate { place, manifest, layer, format, content, .. } = candidate;
        let content = content.map(|content| match content {
            Content::Bundle(bytes) => Content::Bundle(hold(&bytes)),
            Content::Envelope { envelope, annotations } => {
                Content::Envelope { envelope: hold(&envelope), annotations }
            }
            Content::SimpleSigning { payload, annotations } => {
                Content::SimpleSigning { payload: hold(&payload), annotations }
            }
        });
        Candidate::new(place, manifest, layer, format, content)
    };
    Evidence { candidates: evidence.candidates.into_iter().map(each).collect(), ..evidence }
}
