//! What one namespace may take of something that all share, so that whoever is slow, or has slow
//! registries, leaves something to the others.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;

use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

/// Shares by namespace.
#[derive(Debug)]
pub struct Shares {
    most: usize,
    /// Those in use; the number of requests in flight bounds them.
    used: Mutex<BTreeMap<String, Arc<Semaphore>>>,
}

impl Shares {
    /// Half of `whole` for each namespace, and at least one.
    pub fn half_of(whole: usize) -> Self {
        Self { most: whole.div_ceil(2).clamp(1, Semaphore::MAX_PERMITS), used: Mutex::default() }
    }

    /// A part of the namespace's share, waited for; `None` never.
    pub async fn wait(&self, namespace: &str) -> Option<OwnedSemaphorePermit> {
        self.share(namespace).acquire_owned().await.ok()
    }

    /// A part of the namespace's share, if there is one left.
    pub fn take(&self, namespace: &str) -> Option<OwnedSemaphorePermit> {
        self.share(namespace).try_acquire_owned().ok()
    }

    fn share(&self, namespace: &str) -> Arc<Semaphore> {
        let mut used = self.used.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(share) = used.get(namespace) {
            return Arc::clone(share);
        }
        // Whoever holds or waits for a part holds its share, too.
        used.retain(|_, share| Arc::strong_count(share) > 1);
        let share = Arc::new(Semaphore::new(self.most));
        used.insert(namespace.to_owned(), Arc::clone(&share));
        share
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gives_each_namespace_half_and_forgets_those_that_are_done() {
        let shares = Shares::half_of(3);
        let held = [shares.take("a").unwrap(), shares.take("a").unwrap()];
        assert!(shares.take("a").is_none());
        let other = shares.take("b").unwrap();
        drop((held, other));
        assert!(shares.take("c").is_some());
        assert_eq!(shares.used.lock().unwrap().len(), 1);
        assert!(Shares::half_of(1).take("a").is_some());
    }
}
