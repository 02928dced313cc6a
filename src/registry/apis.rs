//! Which registries have no referrers API, as far as they have shown it.
//!
//! A registry without the API answers 404 where another lists (distribution specification, "Listing
//! Referrers"). But so do some that have it, for a repository that they do not hold or do not show;
//! and where one host leads to several registries, each speaks for its own repositories. Whoever can
//! bring about such an answer must not hide what is attached to the images of others. So what spares
//! a request holds for one repository and the credentials that were shown, and is learned only where
//! something was read from that repository at the same time. What is known of a whole server is a
//! hint: the fallback tag is asked beside the list, never instead of it.
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;

use moka::future::Cache;
use tokio::time::Instant;

use super::credentials::CredentialSource;
use super::endpoint::Endpoint;
use super::limits::LACK_LIFE;
use super::limits::MAX_REGISTRIES;
use super::limits::MAX_TOKENS;

/// A repository on a server, as those see it who have these credentials.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    server: String,
    path: String,
    sources: Vec<CredentialSource>,
}

impl Key {
    pub(super) fn new(endpoint: &Endpoint, sources: Vec<CredentialSource>) -> Self {
        let Endpoint { base, path, .. } = endpoint;
        Self { server: base.to_string(), path: path.clone(), sources }
    }
}

/// What one question has seen of a repository so far.
#[derive(Debug, Default)]
pub(super) struct Sighted {
    lacking: AtomicBool,
    present: AtomicBool,
}

impl Sighted {
    /// The list of referrers is unknown there.
    pub(super) fn lacking(&self) {
        self.lacking.store(true, Ordering::Relaxed);
    }

    /// Something is there, and may be read.
    pub(super) fn present(&self) {
        self.present.store(true, Ordering::Relaxed);
    }

    /// Whether a repository that is there has no list.
    fn is_proof(&self) -> bool {
        self.lacking.load(Ordering::Relaxed) && self.present.load(Ordering::Relaxed)
    }
}

/// What is remembered, for [`LACK_LIFE`].
#[derive(Debug)]
pub(super) struct Apis {
    lacking: Cache<Key, Instant>,
    hints: Cache<String, Instant>,
}

impl Apis {
    pub(super) fn new() -> Self {
        // Keys hold credentials: they go when they have served.
        let lacking = Cache::builder().max_capacity(MAX_TOKENS).time_to_live(LACK_LIFE);
        let hints = Cache::builder().max_capacity(MAX_REGISTRIES);
        Self { lacking: lacking.build(), hints: hints.build() }
    }

    /// Whether this repository has shown that it has no list.
    pub(super) async fn lacks(&self, key: &Key) -> bool {
        self.lacking.get(key).await.is_some_and(is_fresh)
    }

    /// Whether a repository on this server has shown it.
    pub(super) async fn hints_at(&self, endpoint: &Endpoint) -> bool {
        self.hints.get(endpoint.base.as_str()).await.is_some_and(is_fresh)
    }

    /// Remembers what `endpoint` has shown, if it is proof.
    pub(super) async fn learn(&self, endpoint: &Endpoint, sources: Vec<CredentialSource>) {
        if endpoint.sighted.is_proof() {
            let now = Instant::now();
            self.hints.insert(endpoint.base.to_string(), now).await;
            self.lacking.insert(Key::new(endpoint, sources), now).await;
        }
    }

    /// A list came from this server.
    pub(super) async fn forget(&self, endpoint: &Endpoint) {
        self.hints.invalidate(endpoint.base.as_str()).await;
    }
}

fn is_fresh(learned: Instant) -> bool {
    learned.elapsed() < LACK_LIFE
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_lack_is_forgotten_in_time_for_an_upgrade() {
        let apis = Apis::new();
        let (server, path) = ("https://registry.example/".to_owned(), "a/app".to_owned());
        let key = Key { server, path, sources: Vec::new() };
        assert!(!apis.lacks(&key).await);
        apis.lacking.insert(key.clone(), Instant::now()).await;
        tokio::time::advance(LACK_LIFE - Duration::from_secs(1)).await;
        assert!(apis.lacks(&key).await);
        tokio::time::advance(Duration::from_secs(1)).await;
        assert!(!apis.lacks(&key).await);
    }

    #[test]
    fn only_a_repository_that_is_there_proves_a_lack() {
        let sighted = Sighted::default();
        assert!(!sighted.is_proof());
        sighted.lacking();
        assert!(!sighted.is_proof());
        sighted.present();
        assert!(sighted.is_proof());
    }
}
