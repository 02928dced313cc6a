//! What is remembered of a credential at a server.
use std::time::Duration;
use std::time::Instant;

use moka::future::Cache;

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

/// How each credential fared where it was last shown.
pub(super) fn standings() -> Cache<Key, Standing> {
    Cache::builder().max_capacity(MAX_TOKENS).expire_after(StandingExpiry).build()
}

struct StandingExpiry;

impl moka::Expiry<Key, Standing> for StandingExpiry {
    fn expire_after_create(&self, _: &Key, standing: &Standing, _: Instant) -> Option<Duration> {
        Some(match standing {
            Standing::Accepted => ACCEPTANCE_LIFE,
            Standing::Refused(_) => REFUSAL_LIFE,
        })
    }

    fn expire_after_update(
        &self,
        key: &Key,
        standing: &Standing,
        now: Instant,
        _: Option<Duration>,
    ) -> Option<Duration> {
        self.expire_after_create(key, standing, now)
    }
}
