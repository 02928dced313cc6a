//! The tier that replicas share: a Redis or Valkey server.
//!
//! Nothing that this server says is believed, and nothing that it does may cost more than a little
//! time: an answer is waited for shortly, its size is bounded, and a server that fails is left alone
//! for a while. What comes out is checked by `store/record.rs`.
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio::time::timeout_at;
use tracing::warn;

use crate::error::one_line;
use crate::metrics::StoreLookup;
use crate::metrics::StoreMetrics;
use crate::metrics::StoreWrite;
use crate::metrics::Tier;
use crate::verdict::printable;

use super::pause::Pass;
use super::pause::Pauses;
use super::record::MAX_RECORD_BYTES;

use self::link::Link;
use self::link::Problem;

mod link;
mod options;
mod stream;
#[cfg(test)]
mod tests;

pub use options::MAX_TIME;
pub use options::MIN_TIME;
pub use options::SharedError;
pub use options::SharedOptions;

/// Reads at a time: as many records may be on their way at once. In a cluster each takes about a
/// millisecond.
const MAX_READS: usize = 4;

/// Writes at a time, so that those of a burst do not slow each other down beyond their time.
const MAX_WRITES: usize = 4;

/// Most writes that wait, those under way included.
const MAX_WAITING: usize = 1_024;

/// Most KiB of records that wait: those of some eighty ordinary images, or two of the largest.
const MAX_WAITING_KIB: usize = 4 << 10;

/// The tier that replicas share. Clones share its connection.
#[derive(Clone, Debug)]
pub struct Shared {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    link: Link,
    prefix: String,
    time: Duration,
    life: Duration,
    pauses: Pauses,
    reads: Semaphore,
    writes: Semaphore,
    waiting: Arc<Semaphore>,
    waiting_kib: Arc<Semaphore>,
    metrics: StoreMetrics,
}

impl Shared {
    /// Contacts nobody: that is left to the first lookup.
    ///
    /// # Errors
    /// When the options cannot be used.
    pub fn new(options: SharedOptions, metrics: StoreMetrics) -> Result<Self, SharedError> {
        options.check()?;
        let SharedOptions { url, prefix, time, life, password, ca_pem } = options;
        let inner = Inner {
            link: Link::new(&url, password, ca_pem.as_deref())?,
            prefix,
            time,
            life,
            pauses: Pauses::default(),
            reads: Semaphore::new(MAX_READS),
            writes: Semaphore::new(MAX_WRITES),
            waiting: Arc::new(Semaphore::new(MAX_WAITING)),
            waiting_kib: Arc::new(Semaphore::new(MAX_WAITING_KIB)),
            metrics,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The record under `key`; none too where the server fails or takes longer than its time.
    pub async fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        let found = self.inner.find(key).await;
        let result = match &found {
            Ok(Some(_)) => StoreLookup::Hit,
            Ok(None) => StoreLookup::Miss,
            Err(Unanswered) => StoreLookup::Failure,
        };
        self.inner.metrics.lookup(Tier::Shared, result);
        found.ok().flatten()
    }

    /// Keeps `record` under `key`, in the background. It is dropped where too much waits already,
    /// where the server is left alone, where it is larger than [`MAX_RECORD_BYTES`], and outside of
    /// a runtime.
    pub fn put(&self, key: &[u8; 32], record: &[u8]) {
        if !self.try_put(key, record) {
            self.inner.metrics.written(Tier::Shared, StoreWrite::Dropped, 1);
        }
    }

    fn try_put(&self, key: &[u8; 32], record: &[u8]) -> bool {
        let Ok(runtime) = Handle::try_current() else { return false };
        let (inner, kib) = (Arc::clone(&self.inner), record.len().div_ceil(1 << 10));
        let Ok(kib) = u32::try_from(kib) else { return false };
        if record.len() > MAX_RECORD_BYTES {
            return false;
        }
        let Ok(place) = Arc::clone(&inner.waiting).try_acquire_owned() else { return false };
        let room = Arc::clone(&inner.waiting_kib).try_acquire_many_owned(kib);
        let Ok(room) = room else { return false };
        let (key, record) = (*key, record.to_vec());
        runtime.spawn(async move {
            let outcome = inner.write(&key, record).await;
            inner.metrics.written(Tier::Shared, outcome, 1);
            drop((place, room));
        });
        true
    }
}

/// The server did not say whether it has something.
#[derive(Clone, Copy, Debug)]
struct Unanswered;

impl Inner {
    async fn find(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, Unanswered> {
        let deadline = Instant::now() + self.time;
        // Waiting for a place says nothing about the server, and so begins no pause.
        let place = timeout_at(deadline, self.reads.acquire()).await;
        let _place = place.map_err(|_| Unanswered)?.map_err(|_| Unanswered)?;
        let pass = self.pauses.enter().ok_or(Unanswered)?;
        match self.link.read(&self.name(key), deadline).await {
            Ok(found) => {
                pass.succeeded();
                self.checked(found)
            }
            Err(Problem::WrongType) => {
                pass.succeeded();
                self.metrics.refused(Tier::Shared);
                Err(Unanswered)
            }
            Err(problem) => Err(unanswered(pass, &problem)),
        }
    }

    /// What is no record of ours for its size alone. One that is not there is an empty one.
    fn checked(&self, found: Vec<u8>) -> Result<Option<Vec<u8>>, Unanswered> {
        if found.len() > MAX_RECORD_BYTES {
            self.metrics.refused(Tier::Shared);
            return Err(Unanswered);
        }
        Ok(Some(found).filter(|found| !found.is_empty()))
    }

    async fn write(&self, key: &[u8; 32], record: Vec<u8>) -> StoreWrite {
        let Ok(_place) = self.writes.acquire().await else { return StoreWrite::Dropped };
        let Some(pass) = self.pauses.enter() else { return StoreWrite::Dropped };
        let deadline = Instant::now() + self.time;
        match self.link.write(&self.name(key), record, self.life, deadline).await {
            Ok(()) => {
                pass.succeeded();
                StoreWrite::Written
            }
            Err(problem) => {
                unanswered(pass, &problem);
                StoreWrite::Failed
            }
        }
    }

    fn name(&self, key: &[u8; 32]) -> String {
        format!("{}{}", self.prefix, hex::encode(key))
    }
}

/// One line a pause, however many fail.
fn unanswered(pass: Pass<'_>, problem: &Problem) -> Unanswered {
    if let Some(pause) = pass.failed() {
        let (problem, seconds) = (printable(&one_line(problem)), pause.as_secs());
        warn!(problem, seconds, "The shared evidence store failed; it is left alone for a while");
    }
    Unanswered
}
