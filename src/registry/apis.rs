//! Which servers have no referrers API, as far as they have shown it.
//!
//! A registry without the API answers 404 where another lists (distribution specification, "Listing
//! Referrers"). But so do some that have it, for a repository or a digest that they do not hold or do
//! not show; and where one host leads to several registries, each speaks for its own repositories.
//! Whoever can bring about such an answer must not hide what is attached to the images of others, and
//! nothing that is read elsewhere in the repository proves what the answer meant. So the list is asked
//! each time. What is remembered is a hint: the fallback tag is asked beside the list, never instead
//! of it, which saves the wait and costs a request at worst.
use moka::future::Cache;
use tokio::time::Instant;

use super::endpoint::Endpoint;
use super::limits::LACK_LIFE;
use super::limits::MAX_REGISTRIES;

/// The servers that have shown a lack, and when.
#[derive(Debug)]
pub(super) struct Apis {
    lacking: Cache<String, Instant>,
}

impl Apis {
    pub(super) fn new() -> Self {
        Self { lacking: Cache::new(MAX_REGISTRIES) }
    }

    /// Whether this server has shown within [`LACK_LIFE`] that it has no lists.
    pub(super) async fn lacks(&self, endpoint: &Endpoint) -> bool {
        let learned = self.lacking.get(endpoint.base.as_str()).await;
        learned.is_some_and(|learned| learned.elapsed() < LACK_LIFE)
    }

    /// A list was unknown to this server.
    pub(super) async fn learn(&self, endpoint: &Endpoint) {
        self.lacking.insert(endpoint.base.to_string(), Instant::now()).await;
    }

    /// A list came from this server.
    pub(super) async fn forget(&self, endpoint: &Endpoint) {
        self.lacking.invalidate(endpoint.base.as_str()).await;
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::sync::Semaphore;

    use super::super::clients::Factory;
    use super::super::options::HostOptions;
    use super::super::options::RegistryOptions;
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lack_is_forgotten_in_time_for_an_upgrade() {
        let (options, lookups) = (RegistryOptions::default(), Arc::new(Semaphore::new(1)));
        let factory = Factory::new(&options, &lookups).unwrap();
        let clients = factory.clients("hosts".to_owned(), HostOptions::default()).unwrap();
        let endpoint = |path: &str| {
            Endpoint::new("registry.example", path.to_owned(), false, clients.clone()).unwrap()
        };
        let apis = Apis::new();
        assert!(!apis.lacks(&endpoint("a/app")).await);
        apis.learn(&endpoint("a/app")).await;
        tokio::time::advance(LACK_LIFE - Duration::from_secs(1)).await;
        assert!(apis.lacks(&endpoint("b/app")).await);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!apis.lacks(&endpoint("a/app")).await);
        apis.learn(&endpoint("a/app")).await;
        apis.forget(&endpoint("b/app")).await;
        assert!(!apis.lacks(&endpoint("a/app")).await);
    }
}
