//! The evidence store: what registries answered, kept in memory, on disk and in a store that replicas
//! share.
//!
//! Evidence is kept, not verdicts: what comes out of the store is verified like what a registry hands
//! out, so that a store which somebody has written to costs time, and never an admission. Whoever
//! judges it bad asks again ([`FetchEvidence::fetch_again`]), so that it costs no denial either.
//!
//! For one question there is one answer under way at a time, whoever asks (`store/flight.rs`). What is older
//! than [`Settings::refresh_after`] is used, and asked for anew in the background; what is older than
//! [`Settings::max_age`] is not used. That nothing is attached is believed for seconds.
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use jiff::SignedDuration;
use jiff::Timestamp;
use tokio::sync::Semaphore;

use crate::admission::shares::Shares;
use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::FetchEvidence;
use crate::evidence::Kept;
use crate::evidence::OwnCredentials;
use crate::evidence::Part;
use crate::evidence::Place;
use crate::evidence::Problem;
use crate::evidence::Scope;
use crate::evidence::Tenant;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::Verdict;

mod asking;
mod clock;
pub mod disk;
mod flight;
mod key;
mod memory;
mod pause;
mod record;
pub mod shared;
mod tiers;
pub mod turns;

pub use clock::Clock;
pub use disk::Disk;
pub use disk::DiskError;
pub use record::MAX_RECORD_BYTES;
pub use shared::MAX_TIME;
pub use shared::MIN_TIME;
pub use shared::Shared;
pub use shared::SharedError;
pub use shared::SharedOptions;
pub use tiers::Tiers;

use flight::Flights;
use key::Key;
use key::PartKey;
use key::TagKey;
use memory::Memory;
use memory::age;
use turns::Turns;

/// How long it is believed that nothing is attached, or that an image is not there: signing and
/// deploying often are one after the other.
pub const NEGATIVE_LIFE: Duration = Duration::from_secs(3);

/// How long a tag's digest is believed without asking.
pub const TAG_LIFE: Duration = Duration::from_secs(5);

/// How long a tag's registry is waited for where an older digest may stand in.
const TAG_PATIENCE: Duration = Duration::from_secs(1);

/// Time for one answer of a registry. The longest that an API server waits for a webhook: whoever
/// asks again later finds what came in the meantime.
const FETCH_TIME: Duration = Duration::from_secs(30);

/// Records that are read from other tiers at a time: each may have [`MAX_RECORD_BYTES`], twice while it is
/// taken apart.
const MAX_READING: usize = 4;

/// Refreshes in the background at a time, of all registries and of one: they must leave the registries
/// to those who wait, and one that stalls must not keep the others from being asked.
const MAX_REFRESHES: usize = 64;
const MAX_REFRESHES_OF_REGISTRY: usize = 4;

/// Questions to one registry at a time. Each is two or three requests, of which the registry's own
/// settings let so many through ([`crate::registry::limits::MAX_CONCURRENT_REQUESTS`]).
const MAX_RUNNING: usize = 16;

/// Most questions to one registry that wait for their turn: more than so many images would not be
/// fetched within any request's time.
const MAX_WAITING: usize = 1_024;

/// What can be set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Bytes of evidence in memory.
    pub memory: u64,
    /// The age from which evidence is asked for anew in the background, while it is used.
    pub refresh_after: Duration,
    /// The age from which evidence is not used.
    pub max_age: Duration,
    /// Whether a tag's last digest stands in while its registry does not answer. Only where what was
    /// verified is what will run: where digests are written into pods.
    pub stale_tags: bool,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            memory: 8 << 20,
            refresh_after: Duration::from_secs(600),
            max_age: Duration::from_secs(24 * 3600),
            stale_tags: false,
        }
    }
}

/// A source of evidence, and what it answered. Clones share it.
pub struct Stored<F>(Arc<Inner<F>>);

struct Inner<F> {
    fetch: F,
    settings: Settings,
    tiers: Tiers,
    clock: Clock,
    memory: Memory,
    /// By namespace, as the next two, because each has a place of its own in the queue.
    loads: Flights<(Key, String), Arc<Evidence>>,
    questions: Flights<(Key, String), Arc<Evidence>>,
    resolves: Flights<(TagKey, String), Result<Digest, Failure>>,
    fetches: Flights<Key, Arc<Evidence>>,
    reading: Semaphore,
    refreshes: Arc<Semaphore>,
    refresh_shares: Shares,
    turns: Turns,
}

/// How much is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Usage {
    /// Answers to questions for evidence.
    pub entries: u64,
    /// Bytes that they count for.
    pub bytes: u64,
}

/// On whose behalf a registry is asked.
#[derive(Clone, Debug)]
struct Asker {
    tenant: Tenant,
    own: OwnCredentials,
}

impl<F> Clone for Stored<F> {
    fn clone(&self) -> Self {
        Self(Arc::clone(&self.0))
    }
}

impl<F> fmt::Debug for Stored<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stored").field("settings", &self.0.settings).finish_non_exhaustive()
    }
}

impl<F: FetchEvidence> Stored<F> {
    /// Keeps what `fetch` answers.
    pub fn new(fetch: F, settings: Settings, tiers: Tiers, clock: Clock) -> Self {
        Self(Arc::new(Inner {
            fetch,
            settings,
            tiers,
            clock,
            memory: Memory::new(settings.memory),
            loads: Flights::default(),
            fetches: Flights::default(),
            resolves: Flights::default(),
            questions: Flights::default(),
            reading: Semaphore::new(MAX_READING),
            refreshes: Arc::new(Semaphore::new(MAX_REFRESHES)),
            refresh_shares: Shares::half_of(2 * MAX_REFRESHES_OF_REGISTRY),
            turns: Turns::new(MAX_RUNNING, MAX_WAITING),
        }))
    }

    /// How much evidence is in memory.
    pub async fn usage(&self) -> Usage {
        self.0.memory.usage().await
    }
}

impl<F: FetchEvidence> FetchEvidence for Stored<F> {
    async fn resolve(&self, image: &ImageRef, deadline: Instant) -> Result<Digest, Failure> {
        self.0.fetch.resolve(image, deadline).await
    }

    async fn fetch(&self, query: &EvidenceQuery, deadline: Instant) -> Evidence {
        self.0.fetch.fetch(query, deadline).await
    }

    async fn read(
        &self,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        self.0.fetch.read(repository, part, deadline).await
    }

    async fn read_for(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let scope = self.0.fetch.scope(tenant, own, repository, deadline).await;
        let key = PartKey { repository: repository.clone(), part: part.clone(), scope };
        if let Some(bytes) = self.0.memory.part(&key).await {
            return Ok(bytes);
        }
        let bytes = self.0.fetch.read_for(tenant, own, repository, part, deadline).await?;
        if self.0.fetch.scope(tenant, own, repository, deadline).await == key.scope {
            self.0.memory.keep_part(key, &bytes).await;
        }
        Ok(bytes)
    }

    async fn resolve_for(
        &self,
        tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
    ) -> Result<Digest, Failure> {
        self.resolve_kept(tenant, image, deadline, self.0.settings.stale_tags).await
    }

    async fn resolve_fresh_for(
        &self,
        tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
    ) -> Result<Digest, Failure> {
        self.resolve_kept(tenant, image, deadline, false).await
    }

    async fn fetch_for(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        query: &EvidenceQuery,
        deadline: Instant,
    ) -> Arc<Evidence> {
        let scope = self.0.fetch.scope(tenant, own, &query.repository, deadline).await;
        let key = Key { query: query.clone(), scope };
        let asker = Asker { tenant: tenant.clone(), own };
        if let Some(entry) = self.kept(&key).await {
            let newer = self.newer(&key, &asker, Arc::clone(&entry.evidence));
            let newer = tokio::time::timeout_at(deadline.into(), newer).await;
            return newer.unwrap_or_else(|_| Arc::clone(&entry.evidence));
        }
        let asked = (key.clone(), tenant.namespace.clone());
        let load = |waiters| self.clone().load(key.clone(), asker.clone(), waiters);
        let loaded =
            tokio::time::timeout_at(deadline.into(), self.0.loads.join(&asked, load)).await;
        settled_or(loaded, query)
    }

    async fn fetch_again(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        seen: &Arc<Evidence>,
        deadline: Instant,
    ) -> Option<Arc<Evidence>> {
        let kept = seen.kept.as_ref()?;
        let query = &seen.query;
        let now = self.0.clock.now();
        if is_new(kept, now) {
            return None;
        }
        let scope = self.0.fetch.scope(tenant, own, &query.repository, deadline).await;
        let key = Key { query: query.clone(), scope };
        if let Some(entry) = self.kept(&key).await
            && entry.evidence.kept.as_ref().is_some_and(|kept| is_new(kept, now))
        {
            return Some(Arc::clone(&entry.evidence));
        }
        let asker = Asker { tenant: tenant.clone(), own };
        let fetched = tokio::time::timeout_at(deadline.into(), self.fetched(&key, &asker)).await;
        Some(settled_or(fetched, query))
    }

    async fn scope(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
        deadline: Instant,
    ) -> Scope {
        self.0.fetch.scope(tenant, own, repository, deadline).await
    }

    fn scope_now(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
    ) -> Option<Scope> {
        self.0.fetch.scope_now(tenant, own, repository)
    }
}

/// The runtime's present, and so much later.
fn soon(time: Duration) -> Instant {
    (tokio::time::Instant::now() + time).into_std()
}

fn later(now: Timestamp, time: Duration) -> Timestamp {
    let time = SignedDuration::try_from(time).unwrap_or(SignedDuration::MAX);
    now.saturating_add(time).unwrap_or(Timestamp::MAX)
}

/// Whether it is not known to be what a registry said.
fn is_second_hand(evidence: &Evidence) -> bool {
    evidence.kept.as_ref().is_some_and(|kept| kept.second_hand)
}

/// Whether a registry said so, and only just now.
fn is_new(kept: &Kept, now: Timestamp) -> bool {
    !kept.second_hand && age(kept.fetched, now) < NEGATIVE_LIFE
}

fn is_final(failure: &Failure) -> bool {
    failure.verdict() == Verdict::Rejected
}

/// Why another try may find something else; `None` where it is the registry's last word.
fn unsettled(evidence: &Evidence) -> Option<&Failure> {
    let Evidence { candidates, problems, .. } = evidence;
    let contents = candidates.iter().filter_map(|candidate| candidate.content.as_ref().err());
    let problems = problems.iter().map(|problem| &problem.failure);
    problems.chain(contents).find(|failure| !is_final(failure))
}

fn late(repository: &Repository) -> Failure {
    let found = format!("{} has not answered in time", repository.registry());
    Failure::new(Reason::DeadlineExceeded, found)
}

/// What came of waiting for a flight; where nothing did, evidence of which no place could be read.
fn settled_or(
    waited: Result<Option<Arc<Evidence>>, tokio::time::error::Elapsed>,
    query: &EvidenceQuery,
) -> Arc<Evidence> {
    let failure = match waited {
        Ok(Some(evidence)) => return evidence,
        Ok(None) => Failure::new(Reason::InternalError, "the question was lost"),
        Err(_) => late(&query.repository),
    };
    unread(query, failure)
}

/// Evidence of which no place could be read.
fn unread(query: &EvidenceQuery, failure: Failure) -> Arc<Evidence> {
    // Every kind of signature and of attestation may stand there.
    let problems = vec![Problem { place: Place::Referrers, failure }];
    Arc::new(Evidence { query: query.clone(), candidates: Vec::new(), problems, kept: None })
}

#[cfg(test)]
mod tests;
