//! Rekor asked online: the log entries of signatures to which none is attached.
//!
//! [`Rekor`] is a client of the log's API of version 1: a search by the SHA-256 of what was signed,
//! then the entries that it lists. Nothing that it hands out is believed here, and no key is ever
//! asked for: [`crate::verify`] holds every entry to the keys of the trust root. The log may be a
//! tenant's choice, and is treated as hostile: every answer, count and wait is bounded ([`limits`]),
//! no redirect is followed, and no address is contacted that is not allowed.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use futures::future::join_all;
use moka::future::Cache;
use serde_json::json;
use tokio::sync::Semaphore;

use crate::evidence::LogAnswer;
use crate::evidence::LogQuery;
use crate::evidence::LogUrl;
use crate::evidence::NamedBy;
use crate::evidence::SearchLog;
use crate::registry::OptionsError;
use crate::registry::Outbound;
use crate::registry::RegistryOptions;
use crate::registry::address::AddressRule;
use crate::verdict::Failure;
use crate::verify::MAX_LOG_ENTRIES;
use crate::verify::names_signature;

mod error;
pub mod limits;
mod parse;
mod transport;

pub use error::LogError;

use limits::BATCH;
use limits::HIT_LIFE;
use limits::MAX_BATCH_BYTES;
use limits::MAX_CACHED_BYTES;
use limits::MAX_CONCURRENT_REQUESTS;
use limits::MAX_CONCURRENT_SEARCHES;
use limits::MAX_INDEX_BYTES;
use limits::MAX_LISTED;
use limits::MAX_LOGS;
use limits::MISS_LIFE;
use limits::SEARCH_TIMEOUT;

/// Addresses that clusters' administrators may name. Cloud providers' instance credentials are
/// nobody's log.
const OWN: AddressRule = AddressRule { link_local: false, private: true };

/// Addresses that a namespace's owners may name.
const FOREIGN: AddressRule = AddressRule { link_local: false, private: false };

/// A client for all logs. Clones share connections and what is remembered.
#[derive(Clone, Debug)]
pub struct Rekor(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    own: Outbound,
    foreign: Outbound,
    allowed: BTreeSet<LogUrl>,
    /// Searches that may still begin, for each kind of [`NamedBy`]: a tenant's slow logs must not
    /// hold up the administrator's.
    own_searches: Semaphore,
    foreign_searches: Semaphore,
    /// Requests that may still begin, by log.
    turns: Cache<(LogUrl, NamedBy), Arc<Semaphore>>,
    answers: Cache<LogQuery, Remembered>,
}

/// An answer, and when it came.
#[derive(Clone, Debug)]
struct Remembered {
    answer: Arc<LogAnswer>,
    at: Instant,
}

impl Remembered {
    /// Whether it may be asked for anew where it led to nothing good: as often as for an entry that
    /// is not there.
    fn may_be_doubted(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.at) >= MISS_LIFE
    }
}

impl Rekor {
    /// A client under the settings of registries (proxies, certificate authorities), for which the
    /// `allowed` logs may lie at private addresses and may be spoken to over plain HTTP, whoever
    /// names them. Needs no runtime, and contacts nobody.
    ///
    /// # Errors
    /// When a certificate authority or a proxy in the settings cannot be used.
    pub fn new(
        options: &RegistryOptions,
        allowed: impl IntoIterator<Item = LogUrl>,
    ) -> Result<Self, OptionsError> {
        let answers = Cache::builder()
            .max_capacity(MAX_CACHED_BYTES)
            .weigher(|query: &LogQuery, found: &Remembered| weight(query, &found.answer))
            .expire_after(Life)
            .build();
        Ok(Self(Arc::new(Inner {
            own: Outbound::new(options, OWN)?,
            foreign: Outbound::new(options, FOREIGN)?,
            allowed: allowed.into_iter().collect(),
            own_searches: Semaphore::new(MAX_CONCURRENT_SEARCHES),
            foreign_searches: Semaphore::new(MAX_CONCURRENT_SEARCHES),
            turns: Cache::new(MAX_LOGS),
            answers,
        })))
    }
}

impl SearchLog for Rekor {
    async fn search(&self, query: &LogQuery, deadline: Instant) -> Result<Arc<LogAnswer>, Failure> {
        let inner = &self.0;
        // One search at a time for one question, whoever asks. Its time does not depend on who asked
        // first; failures are not remembered.
        let search = inner.answers.try_get_with(query.clone(), inner.remember(query));
        match tokio::time::timeout_at(deadline.into(), Box::pin(search)).await {
            Ok(Ok(Remembered { answer, .. })) => Ok(answer),
            Ok(Err(error)) => Err(error.failure()),
            Err(_) => Err(LogError::TimedOut { log: query.log.to_string() }.failure()),
        }
    }

    /// An entry that was damaged on its way must not be believed to be the log's for as long as a
    /// good one would.
    async fn doubt(&self, query: &LogQuery) {
        let answers = &self.0.answers;
        if answers.get(query).await.is_some_and(|found| found.may_be_doubted(Instant::now())) {
            answers.invalidate(query).await;
        }
    }
}

impl Inner {
    async fn remember(&self, query: &LogQuery) -> Result<Remembered, LogError> {
        let answer = self.search(query).await?;
        Ok(Remembered { answer, at: Instant::now() })
    }

    async fn search(&self, query: &LogQuery) -> Result<Arc<LogAnswer>, LogError> {
        let timed_out = |_| LogError::TimedOut { log: query.log.to_string() };
        let found = tokio::time::timeout(SEARCH_TIMEOUT, Box::pin(self.search_in_time(query)));
        found.await.map_err(timed_out)?.map(Arc::new)
    }

    async fn search_in_time(&self, query: &LogQuery) -> Result<LogAnswer, LogError> {
        let (client, searches) = self.client(query)?;
        let _search = searches.acquire().await;
        let turns = async { Arc::new(Semaphore::new(MAX_CONCURRENT_REQUESTS)) };
        let turns = self.turns.get_with((query.log.clone(), query.named_by), turns).await;
        let log = transport::Log { client, turns: &turns, url: &query.log };

        let hash = json!({ "hash": query.hash.to_string() });
        let Some(listed) = log.post(&["index", "retrieve"], &hash, MAX_INDEX_BYTES).await? else {
            return Ok(LogAnswer::default());
        };
        let listed = parse::identifiers(&listed).map_err(|problem| log.malformed(problem))?;
        let picked = pick(&listed);
        let batches = picked.chunks(BATCH).map(|batch| fetch(&log, batch, query));
        let mut answer = LogAnswer { listed: listed.len(), ..LogAnswer::default() };
        answer.left_out = listed.len() - picked.len();
        for batch in join_all(batches).await {
            match batch {
                Ok(entries) => answer.entries.extend(entries),
                // Somebody's large entries are no reason to overlook the others.
                Err(LogError::TooLarge { entries, .. }) if entries > 0 => {
                    answer.left_out += entries;
                }
                Err(error) => return Err(error),
            }
        }
        answer.left_out += answer.entries.len().saturating_sub(MAX_LOG_ENTRIES);
        answer.entries.truncate(MAX_LOG_ENTRIES);
        Ok(answer)
    }

    /// The client for the log, and its queue, unless the log must not be asked.
    fn client(&self, query: &LogQuery) -> Result<(&Outbound, &Semaphore), LogError> {
        let LogQuery { log, named_by, .. } = query;
        let allowed = self.allowed.contains(log);
        if !allowed && !log.is_encrypted() {
            let problem = "it is asked without TLS".to_owned();
            return Err(LogError::Forbidden { log: log.to_string(), problem });
        }
        Ok(match named_by {
            NamedBy::Administrator => (&self.own, &self.own_searches),
            NamedBy::Tenant if allowed => (&self.own, &self.foreign_searches),
            NamedBy::Tenant => (&self.foreign, &self.foreign_searches),
        })
    }
}

/// The entries of a batch that name the signature.
async fn fetch(
    log: &transport::Log<'_>,
    batch: &[String],
    query: &LogQuery,
) -> Result<Vec<Bytes>, LogError> {
    let wanted = json!({ "entryUUIDs": batch });
    let found = log.post(&["log", "entries", "retrieve"], &wanted, MAX_BATCH_BYTES).await;
    let found = match found {
        Ok(Some(found)) => found,
        Ok(None) => return Ok(Vec::new()),
        Err(error) => return Err(error.of_entries(batch.len())),
    };
    let mut entries = parse::entries(&found).map_err(|problem| log.malformed(problem))?;
    entries.retain(|entry| names_signature(entry, &query.signature));
    Ok(entries)
}

/// At most [`MAX_LISTED`] of what is listed: half from either end, so that somebody's flood of
/// later entries does not hide an early one, in whichever order the log lists them.
fn pick(listed: &[String]) -> Vec<String> {
    if listed.len() <= MAX_LISTED {
        return listed.to_vec();
    }
    let half = MAX_LISTED / 2;
    let (first, last) = (listed.iter().take(half), listed.iter().skip(listed.len() - half));
    first.chain(last).cloned().collect()
}

/// What is remembered counts by its bytes, with what the cache needs for each.
fn weight(query: &LogQuery, answer: &LogAnswer) -> u32 {
    const OVERHEAD: usize = 512;
    let bytes: usize = answer.entries.iter().map(Bytes::len).sum();
    let total = OVERHEAD + query.signature.len() + query.log.url().as_str().len() + bytes;
    u32::try_from(total).unwrap_or(u32::MAX)
}

/// How long answers are remembered.
struct Life;

impl moka::Expiry<LogQuery, Remembered> for Life {
    fn expire_after_create(
        &self,
        _: &LogQuery,
        found: &Remembered,
        _: Instant,
    ) -> Option<Duration> {
        Some(if found.answer.entries.is_empty() { MISS_LIFE } else { HIT_LIFE })
    }
}

#[cfg(test)]
mod tests;
