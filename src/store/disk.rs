//! The tier on a volume: records that outlive the process, in one file of bounded size.
//!
//! It is a cache. Whatever happens to the volume or to the file costs what is kept there and never
//! more: a full volume drops writes, a broken file is set aside and a new one begun, a volume that
//! does not answer is left alone for a while. What comes out is checked by `store/record.rs`.
//!
//! Writes wait in memory for [`LINGER`] and go to the file together, with one `fsync`: a process that
//! is killed loses those at most.
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::Weak;
use std::time::Duration;

use jiff::Timestamp;
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::task::spawn_blocking;
use tokio::time::sleep;
use tokio::time::timeout;
use tracing::warn;

use crate::error::one_line;
use crate::metrics::StoreLookup;
use crate::metrics::StoreMetrics;
use crate::metrics::StoreWrite;
use crate::metrics::Tier;

use super::pause::Pass;
use super::pause::Pauses;
use super::record::MAX_RECORD_BYTES;

use self::file::File;
use self::queue::Batch;
use self::queue::Change;
use self::queue::Queue;

mod capped;
mod error;
mod file;
mod queue;
#[cfg(test)]
mod tests;

pub use error::DiskError;
pub use file::MIN_CAPACITY;

/// How long a write may wait for others. What is lost with a killed process is fetched again.
pub const LINGER: Duration = Duration::from_secs(1);

/// Reads at a time. Each takes a thread and, at worst, a record's memory.
const MAX_READS: usize = 4;

/// Time for a read, and for its place among [`MAX_READS`]. What takes a disk longer has a registry
/// sooner.
const READ_TIME: Duration = Duration::from_millis(250);

/// The tier on a volume. Clones share it.
#[derive(Clone, Debug)]
pub struct Disk {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    file: Arc<File>,
    queue: Mutex<Queue>,
    /// Held by whoever empties the queue, so that an older write never follows a newer one.
    writing: tokio::sync::Mutex<()>,
    /// There is enough in the queue for a transaction.
    ample: Arc<Notify>,
    reads: Arc<Semaphore>,
    pauses: Pauses,
    metrics: StoreMetrics,
}

impl Disk {
    /// Opens the file in `folder`, or begins one, of at most `capacity` bytes. Blocks while it is
    /// read through and checked: some seconds for a gigabyte.
    ///
    /// # Errors
    /// When the folder cannot be written to, the file is another process's, or the capacity is
    /// below [`MIN_CAPACITY`]. A file that is broken is none: it is set aside.
    pub fn open(folder: &Path, capacity: u64, metrics: StoreMetrics) -> Result<Self, DiskError> {
        let inner = Inner {
            file: Arc::new(File::open(folder, capacity)?),
            queue: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            ample: Arc::default(),
            reads: Arc::new(Semaphore::new(MAX_READS)),
            pauses: Pauses::default(),
            metrics,
        };
        Ok(Self { inner: Arc::new(inner) })
    }

    /// The record under `key`; none too where the disk fails or takes too long.
    pub async fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        let found = self.inner.find(key).await;
        let result = match &found {
            Ok(Some(_)) => StoreLookup::Hit,
            Ok(None) => StoreLookup::Miss,
            Err(Unanswered) => StoreLookup::Failure,
        };
        self.inner.metrics.lookup(Tier::Disk, result);
        found.ok().flatten()
    }

    /// Keeps `record` under `key`, in the background. It is dropped where too much waits already,
    /// where it is larger than [`MAX_RECORD_BYTES`], and outside of a runtime.
    pub fn put(&self, key: [u8; 32], record: &[u8], now: Timestamp) {
        if record.len() > MAX_RECORD_BYTES {
            return self.inner.metrics.written(Tier::Disk, StoreWrite::Dropped, 1);
        }
        let at = now.as_millisecond();
        self.change(key, Change::Put { at, record: record.to_vec() });
    }

    /// Forgets what is under `key`, in the background.
    pub fn remove(&self, key: [u8; 32]) {
        self.change(key, Change::Remove);
    }

    /// Writes what waits, and returns when it is on the disk or has failed.
    pub async fn flush(&self) {
        self.inner.drain().await;
    }

    /// How many records the file holds, without those that wait.
    pub fn len(&self) -> u64 {
        self.inner.file.usage().records
    }

    /// Whether the file holds none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// What the records take up in the file, in bytes.
    pub fn bytes(&self) -> u64 {
        self.inner.file.usage().bytes
    }

    fn change(&self, key: [u8; 32], change: Change) {
        let Ok(runtime) = Handle::try_current() else {
            return self.inner.metrics.written(Tier::Disk, StoreWrite::Dropped, 1);
        };
        let mut queue = self.inner.queue();
        if !queue.add(key, change) {
            drop(queue);
            return self.inner.metrics.written(Tier::Disk, StoreWrite::Dropped, 1);
        }
        if queue.is_ample() {
            self.inner.ample.notify_one();
        }
        if !std::mem::replace(&mut queue.scheduled, true) {
            runtime.spawn(drain_later(Arc::downgrade(&self.inner)));
        }
    }
}

/// Empties the queue after a while, or at once where there is much in it. Holds nothing meanwhile, so
/// that the file is closed when the last [`Disk`] is dropped.
async fn drain_later(inner: Weak<Inner>) {
    let Some(ample) = inner.upgrade().map(|inner| Arc::clone(&inner.ample)) else { return };
    tokio::select! {
        () = ample.notified() => {}
        () = sleep(LINGER) => {}
    }
    if let Some(inner) = inner.upgrade() {
        inner.drain().await;
    }
}

/// The disk did not say whether it has something.
#[derive(Clone, Copy, Debug)]
struct Unanswered;

impl Inner {
    async fn find(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, Unanswered> {
        if let Some(waiting) = self.queue().find(key) {
            return Ok(waiting);
        }
        let Ok(place) = timeout(READ_TIME, Arc::clone(&self.reads).acquire_owned()).await else {
            return Err(Unanswered);
        };
        let pass = self.pauses.enter().ok_or(Unanswered)?;
        let (file, key) = (Arc::clone(&self.file), *key);
        let read = spawn_blocking(move || {
            let _place = place;
            file.read(&key)
        });
        match timeout(READ_TIME, read).await {
            Ok(Ok(Ok(found))) => {
                pass.succeeded();
                Ok(found)
            }
            Ok(Ok(Err(error))) => Err(unanswered(pass, &one_line(&error))),
            Ok(Err(error)) => Err(unanswered(pass, &one_line(&error))),
            Err(_) => Err(unanswered(pass, "it takes too long to read")),
        }
    }

    /// Writes what waits, until nothing does.
    async fn drain(&self) {
        let _alone = self.writing.lock().await;
        loop {
            let batch = {
                let mut queue = self.queue();
                queue.scheduled = false;
                queue.take()
            };
            if batch.is_empty() {
                return;
            }
            self.write(batch).await;
        }
    }

    async fn write(&self, batch: Batch) {
        let count = batch.len();
        let Some(pass) = self.pauses.enter() else {
            return self.metrics.written(Tier::Disk, StoreWrite::Dropped, count);
        };
        let file = Arc::clone(&self.file);
        let outcome = match spawn_blocking(move || file.write(batch)).await {
            Ok(Ok(())) => {
                pass.succeeded();
                StoreWrite::Written
            }
            Ok(Err(error)) => {
                unanswered(pass, &one_line(&error));
                StoreWrite::Failed
            }
            Err(error) => {
                unanswered(pass, &one_line(&error));
                StoreWrite::Failed
            }
        };
        self.metrics.written(Tier::Disk, outcome, count);
    }

    fn queue(&self) -> MutexGuard<'_, Queue> {
        self.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One line a pause, however many fail.
fn unanswered(pass: Pass<'_>, problem: &str) -> Unanswered {
    if let Some(pause) = pass.failed() {
        let seconds = pause.as_secs();
        warn!(problem, seconds, "The evidence store's disk failed; it is left alone for a while");
    }
    Unanswered
}
