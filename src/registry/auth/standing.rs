//! What is remembered of a credential at a server.
use std::time::Duration;

use moka::future::Cache;
use tokio::time::Instant;

use super::Key;
use crate::registry::error::RegistryError;
use crate::registry::limits::ACCEPTANCE_LIFE;
use crate::registry::limits::MAX_TOKENS;
use crate::registry::limits::REFUSAL_LIFE;

/// What a server has said of a credential, for one repository.
#[derive(Clone, Debug)]
pub(super) enum Standing {
    /// It could read something there.
    Accepted,
    /// It was refused, with this error.
    Refused(RegistryError),
}

impl Standing {
    const fn life(&self) -> Duration {
        match self {
            Self::Accepted => ACCEPTANCE_LIFE,
            Self::Refused(_) => REFUSAL_LIFE,
        }
    }
}

/// How each credential fared where it was last shown, and when.
#[derive(Debug)]
pub(super) struct Standings(Cache<Key, (Standing, Instant)>);

impl Standings {
    pub(super) fn new() -> Self {
        Self(Cache::builder().max_capacity(MAX_TOKENS).expire_after(StandingExpiry).build())
    }

    /// What is still known.
    pub(super) async fn get(&self, key: &Key) -> Option<Standing> {
        let (standing, since) = self.0.get(key).await?;
        (since.elapsed() < standing.life()).then_some(standing)
    }

    /// Remembers how it fared just now.
    pub(super) async fn insert(&self, key: Key, standing: Standing) {
        self.0.insert(key, (standing, Instant::now())).await;
    }
}

/// Takes them out of memory: they hold credentials.
struct StandingExpiry;

impl moka::Expiry<Key, (Standing, Instant)> for StandingExpiry {
    fn expire_after_create(
        &self,
        _: &Key,
        (standing, _): &(Standing, Instant),
        _: std::time::Instant,
    ) -> Option<Duration> {
        Some(standing.life())
    }

    fn expire_after_update(
        &self,
        key: &Key,
        value: &(Standing, Instant),
        now: std::time::Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, value, now)
    }
}
