//! From what is kept to what a registry says: how one question is answered.
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;
use tokio::sync::OwnedSemaphorePermit;

use super::Asker;
use super::FETCH_TIME;
use super::NEGATIVE_LIFE;
use super::Settings;
use super::Stored;
use super::TAG_LIFE;
use super::TAG_PATIENCE;
use super::flight::Waiters;
use super::is_final;
use super::is_second_hand;
use super::key::Key;
use super::key::TagKey;
use super::late;
use super::later;
use super::memory;
use super::memory::Resolved;
use super::memory::age;
use super::soon;
use super::turns::Turn;
use super::unread;
use super::unsettled;
use crate::evidence::Evidence;
use crate::evidence::FetchEvidence;
use crate::evidence::OwnCredentials;
use crate::evidence::Tenant;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Evidence of so many times the age from which it is asked for anew is asked for before it is used.
const OVERDUE: u32 = 3;

/// How long the registry is waited for then, before what is kept is used.
const PATIENCE: Duration = Duration::from_secs(1);

/// A place among the refreshes of all registries, and of one.
type Place = (OwnedSemaphorePermit, OwnedSemaphorePermit);

impl<F: FetchEvidence> Stored<F> {
    /// What is kept, if it may be used.
    pub(super) async fn kept(&self, key: &Key) -> Option<Arc<memory::Entry>> {
        let entry = self.0.memory.evidence(key).await?;
        let life = match entry.evidence.candidates.is_empty() {
            true => NEGATIVE_LIFE,
            false => self.0.settings.max_age,
        };
        (entry.age(self.0.clock.now()) < life).then_some(entry)
    }

    /// The answer from whichever tier has one, else from the registry.
    pub(super) async fn load(
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

    pub(super) async fn find(&self, key: &Key, asker: &Asker) -> Option<Arc<Evidence>> {
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
    pub(super) async fn newer(
        &self,
        key: &Key,
        asker: &Asker,
        found: Arc<Evidence>,
    ) -> Arc<Evidence> {
        let Some(kept) = &found.kept else { return found };
        let refresh_after = self.0.settings.refresh_after;
        let now = self.0.clock.now();
        let age = age(kept.fetched, now);
        if age < refresh_after {
            return found;
        }
        let overdue = age >= refresh_after * OVERDUE;
        let place = self.place(key);
        if place.is_none() && !overdue {
            return found;
        }
        if let Some(entry) = self.0.memory.evidence(key).await
            && !entry.claim(now)
        {
            return found;
        }
        let without_place = place.is_none();
        let asking = self.clone().refresh(key.clone(), asker.clone(), kept.fetched, place);
        let fresh = match (overdue, without_place) {
            (true, true) => tokio::time::timeout(PATIENCE, asking).await.ok().flatten(),
            (true, false) => {
                let asked = tokio::time::timeout(PATIENCE, tokio::spawn(asking)).await;
                asked.ok().and_then(Result::ok).flatten()
            }
            (false, _) => {
                tokio::spawn(asking);
                None
            }
        };
        fresh.unwrap_or(found)
    }

    /// A place among the refreshes in the background, if there is one.
    fn place(&self, key: &Key) -> Option<Place> {
        let turn = Arc::clone(&self.0.refreshes).try_acquire_owned().ok()?;
        let share = self.0.refresh_shares.take(key.query.repository.registry())?;
        Some((turn, share))
    }

    /// The registry's answer, asked for once at a time.
    pub(super) async fn fetched(&self, key: &Key, asker: &Asker) -> Option<Arc<Evidence>> {
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

    /// Asks for what is old. Gives what comes of it, where that is the registry's last word, and notes
    /// otherwise why it could not be had.
    async fn refresh(
        self,
        key: Key,
        asker: Asker,
        fetched: Timestamp,
        _place: Option<Place>,
    ) -> Option<Arc<Evidence>> {
        let fresh = self.fetched(&key, &asker).await?;
        let Some(failure) = unsettled(&fresh) else { return Some(fresh) };
        let again = later(self.0.clock.now(), memory::RETRY_AFTER);
        self.0.memory.mark_stale(&key, fetched, failure.clone(), again).await;
        None
    }

    pub(super) async fn resolve_tag(
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

    /// The tag's digest; `old` says whether one that it had before may stand in.
    pub(super) async fn resolve_kept(
        &self,
        tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
        old: bool,
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
            old && known.answer.is_ok() && age(known.at, now) < self.0.settings.max_age
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
}
