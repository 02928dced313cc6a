//! The evidence store: what registries answered, kept in memory, on disk and in a store that replicas
//! share.
//!
//! Evidence is kept, not verdicts: what comes out of the store is verified like what a registry hands
//! out, so that a store which somebody has written to costs time, and never an admission. Whoever
//! judges it bad asks again ([`FetchEvidence::fetch_again`]), so that it costs no denial either.
//!
//! For one question there is one answer under way at a time, whoever asks ([`flight`]). What is older
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
use flight::Waiters;
use key::Key;
use key::PartKey;
use key::TagKey;
use memory::Memory;
use memory::Resolved;
use memory::age;
use turns::Turn;
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

/// Evidence of so many times the age from which it is asked for anew is asked for before it is used.
const OVERDUE: u32 = 3;

/// How long the registry is waited for then, before what is kept is used.
const PATIENCE: Duration = Duration::from_secs(1);

/// Records that are read from other tiers at a time: each may have [`MAX_RECORD_BYTES`], twice while it is
/// taken apart.
const MAX_READING: usize = 4;

/// Refreshes in the background at a time, of all registries and of one: they must leave the registries
/// to those who wait, and one that stalls must not keep the others from being asked.
const MAX_REFRESHES: usize = 64;
const MAX_REFRESHES_OF_REGISTRY: usize = 4;

/// What a refresh will have found.
type Refreshing = tokio::task::JoinHandle<Option<Arc<Evidence>>>;

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

    /// What is kept, if it may be used.
    async fn kept(&self, key: &Key) -> Option<Arc<memory::Entry>> {
        let entry = self.0.memory.evidence(key).await?;
        let life = match entry.evidence.candidates.is_empty() {
            true => NEGATIVE_LIFE,
            false => self.0.settings.max_age,
        };
        (entry.age(self.0.clock.now()) < life).then_some(entry)
    }

    /// The answer from whichever tier has one, else from the registry.
    async fn load(
        self,
        key: Key,
        asker: Asker,
        waiters: Waiters<Arc<Evidence>>,
    ) -> Option<Arc<Evidence>> {
        if let Some(entry) = self.kept(&key).await {
            return Some(Arc::clone(&entry.evidence));
        }
        tokio::select! {
            found = self.find(&key, &asker) => found,
            () = waiters.gone() => None,
        }
    }

    async fn find(&self, key: &Key, asker: &Asker) -> Option<Arc<Evidence>> {
        let found = self.adopt(key).await;
        let Some(found) = found else { return self.fetched(key, asker).await };
        Some(self.newer(key, asker, found).await)
    }

    /// What a tier beyond memory has. What a registry has said to this process stands, also where it said
    /// that nothing is attached: whoever writes to a tier can make a record as new as they like.
    async fn adopt(&self, key: &Key) -> Option<Arc<Evidence>> {
        let Settings { refresh_after, max_age, .. } = self.0.settings;
        let known = self.0.memory.evidence(key).await;
        let own_word = known.is_some_and(|entry| !is_second_hand(&entry.evidence));
        if own_word || self.0.tiers.is_none() {
            return None;
        }
        // Records are large until they have their room in memory.
        let _reading = self.0.reading.acquire().await.ok()?;
        let (evidence, fetched) = self.0.tiers.find(key, self.0.clock.now(), max_age).await?;
        let due = later(fetched, refresh_after);
        self.0.memory.adopt(key.clone(), evidence, fetched, due).await
    }

    /// Evidence that is to be used, or what its registry says now. Where it is due, that is asked in the
    /// background; where it is long overdue, before it is used, because nobody has looked for so long
    /// that much may have changed.
    async fn newer(&self, key: &Key, asker: &Asker, found: Arc<Evidence>) -> Arc<Evidence> {
        let Some(kept) = &found.kept else { return found };
        let refresh_after = self.0.settings.refresh_after;
        let now = self.0.clock.now();
        let age = age(kept.fetched, now);
        if age < refresh_after {
            return found;
        }
        let Some(refreshing) = self.refresh(key, asker, kept.fetched).await else { return found };
        if age < refresh_after * OVERDUE {
            return found;
        }
        match tokio::time::timeout(PATIENCE, refreshing).await {
            Ok(Ok(Some(fresh))) => fresh,
            Ok(_) | Err(_) => found,
        }
    }

    /// The registry's answer, asked for once at a time.
    async fn fetched(&self, key: &Key, asker: &Asker) -> Option<Arc<Evidence>> {
        // Each namespace has its own place in the queue for the same question.
        let asked = (key.clone(), asker.tenant.namespace.clone());
        let asking = |waiters| self.clone().ask(key.clone(), asker.clone(), waiters);
        self.0.questions.join(&asked, asking).await
    }

    /// Waits for a turn, then asks the registry, unless somebody else has in the meantime.
    async fn ask(
        self,
        key: Key,
        asker: Asker,
        waiters: Waiters<Arc<Evidence>>,
    ) -> Option<Arc<Evidence>> {
        let began = self.0.clock.now();
        let _turn = match self.turn(&key.query.repository, &asker.tenant, &waiters).await? {
            Ok(turn) => turn,
            Err(failure) => return Some(unread(&key.query, failure)),
        };
        if let Some(entry) = self.0.memory.evidence(&key).await
            && entry.fetched >= began
            && !is_second_hand(&entry.evidence)
        {
            return Some(Arc::clone(&entry.evidence));
        }
        self.0.fetches.join(&key, |_| self.clone().fetch(key.clone(), asker.clone())).await
    }

    async fn fetch(self, key: Key, asker: Asker) -> Option<Arc<Evidence>> {
        let Asker { tenant, own } = &asker;
        let until = soon(FETCH_TIME);
        let evidence = self.0.fetch.fetch_for(tenant, *own, &key.query, until).await;
        if unsettled(&evidence).is_some() {
            return Some(evidence);
        }
        // Credentials may have changed since the question was asked: then it is an answer to another.
        let scope = self.0.fetch.scope(tenant, *own, &key.query.repository, until).await;
        if scope != key.scope {
            return Some(evidence);
        }
        let now = self.0.clock.now();
        self.0.tiers.keep(&key, &evidence, now);
        let evidence = Arc::unwrap_or_clone(evidence);
        let due = later(now, self.0.settings.refresh_after);
        Some(self.0.memory.keep(key, evidence, now, due).await)
    }

    /// A turn at a registry, or why there is none; `None` once nobody waits for the answer any more. A
    /// question that has its turn is asked to the end, whoever has left: otherwise a registry that is
    /// slower than requests are patient would be asked forever and never answer.
    async fn turn<V>(
        &self,
        repository: &Repository,
        tenant: &Tenant,
        waiters: &Waiters<V>,
    ) -> Option<Result<Turn, Failure>> {
        let until = tokio::time::Instant::now() + FETCH_TIME;
        let turn = self.0.turns.turn(repository.registry(), &tenant.namespace, until);
        tokio::select! {
            turn = turn => Some(turn.map_err(|error| error.failure())),
            () = waiters.gone() => None,
        }
    }

    /// Asks for what is old in the background, unless somebody has a short while ago, or as many as may
    /// are asked for already. Gives what comes of it, where that is the registry's last word.
    async fn refresh(&self, key: &Key, asker: &Asker, fetched: Timestamp) -> Option<Refreshing> {
        let turn = Arc::clone(&self.0.refreshes).try_acquire_owned().ok()?;
        let share = self.0.refresh_shares.take(key.query.repository.registry())?;
        if let Some(entry) = self.0.memory.evidence(key).await
            && !entry.claim(self.0.clock.now())
        {
            return None;
        }
        let (store, key, asker) = (self.clone(), key.clone(), asker.clone());
        Some(tokio::spawn(async move {
            let _held = (turn, share);
            let fresh = store.fetched(&key, &asker).await?;
            let Some(failure) = unsettled(&fresh) else { return Some(fresh) };
            let again = later(store.0.clock.now(), memory::RETRY_AFTER);
            store.0.memory.mark_stale(&key, fetched, failure.clone(), again).await;
            None
        }))
    }

    async fn resolve_tag(
        &self,
        key: TagKey,
        image: &ImageRef,
        tenant: &Tenant,
    ) -> Result<Digest, Failure> {
        let resolve = |waiters| {
            let (store, image, tenant, key) =
                (self.clone(), image.clone(), tenant.clone(), key.clone());
            async move {
                let began = store.0.clock.now();
                let _turn = match store.turn(&key.repository, &tenant, &waiters).await? {
                    Ok(turn) => turn,
                    Err(failure) => return Some(Err(failure)),
                };
                if let Some(known) = store.0.memory.tag(&key).await.filter(|one| one.at >= began) {
                    return Some(known.answer);
                }
                let answer = store.0.fetch.resolve_for(&tenant, &image, soon(FETCH_TIME)).await;
                let settled = answer.as_ref().err().is_none_or(is_final);
                if settled {
                    let resolved = Resolved { answer: answer.clone(), at: store.0.clock.now() };
                    store.0.memory.keep_tag(key, resolved).await;
                }
                Some(answer)
            }
        };
        let asked = (key.clone(), tenant.namespace.clone());
        let answer = self.0.resolves.join(&asked, resolve).await;
        answer.unwrap_or_else(|| Err(Failure::new(Reason::InternalError, "the question was lost")))
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
        if image.digest().is_some() {
            return self.0.fetch.resolve_for(tenant, image, deadline).await;
        }
        let (repository, own) = (image.repository(), OwnCredentials::Used);
        let scope = self.0.fetch.scope(tenant, own, repository, deadline).await;
        let tag = image.tag().unwrap_or("latest").to_owned();
        let key = TagKey { repository: repository.clone(), tag, scope };
        let known = self.0.memory.tag(&key).await;
        let now = self.0.clock.now();
        let life = |known: &Resolved| if known.answer.is_ok() { TAG_LIFE } else { NEGATIVE_LIFE };
        if let Some(known) = known.as_ref().filter(|known| age(known.at, now) < life(known)) {
            return known.answer.clone();
        }
        let old = known.filter(|known| {
            self.0.settings.stale_tags
                && known.answer.is_ok()
                && age(known.at, now) < self.0.settings.max_age
        });
        let by = match old {
            Some(_) => deadline.min(soon(TAG_PATIENCE)),
            None => deadline,
        };
        let asked = tokio::time::timeout_at(by.into(), self.resolve_tag(key, image, tenant)).await;
        let answer = asked.unwrap_or_else(|_| Err(late(repository)));
        match (answer, old) {
            (Err(failure), Some(old)) if !is_final(&failure) => old.answer,
            (answer, _) => answer,
        }
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
