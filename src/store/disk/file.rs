//! The file: a redb database, which blocks, with an age by key so that the oldest can be evicted.
use std::fs;
use std::io;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::RwLock;
use std::sync::RwLockReadGuard;
use std::sync::RwLockWriteGuard;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use redb::Database;
use redb::ReadableDatabase as _;
use redb::ReadableTable as _;
use redb::TableDefinition;
use redb::WriteTransaction;
use tracing::warn;

use crate::error::one_line;
use crate::store::record::MAX_RECORD_BYTES;

use super::capped::Capped;
use super::error::DiskError;
use super::error::Fault;
use super::error::is_environment;
use super::queue::Batch;
use super::queue::Change;

/// The smallest capacity: what a transaction of the largest records needs besides those that are kept
/// fits in half of it.
pub const MIN_CAPACITY: u64 = 64 << 20;

const FILE: &str = "evidence.redb";

/// Where a broken file is put, for people to look at: one, so that they do not fill the volume.
const BROKEN: &str = "evidence.redb.broken";

/// Memory that the database may keep pages in. The memory tier keeps what is in use; here are the
/// inner pages of the trees, and what a transaction writes.
const CACHE_BYTES: usize = 3 << 20;

/// The part of the capacity that records may take up. The file grows by doubling, so that it may end
/// at half of its capacity; and a transaction needs pages for the new before it frees those of the old.
const SHARE: (u64, u64) = (5, 16);

/// The part of what records may take up that is left after an eviction: one in sixteen goes at a
/// time, so that not every write evicts.
const LEFT: (u64, u64) = (15, 16);

/// The part of what records take up that they may take up once the volume was found full.
const LEFT_OF_FULL: (u64, u64) = (3, 4);

/// The database's page. A record takes a power of two of them. Small ones share pages, but of those
/// a third is empty, and a transaction that touches one of them writes all of its page anew.
const PAGE_BYTES: u64 = 4_096;

/// What an entry takes up besides its record: keys, times and lengths in both tables.
const ENTRY_BYTES: u64 = 160;

/// Records, with the time of writing in milliseconds.
const RECORDS: TableDefinition<'_, &[u8; 32], (i64, &[u8])> = TableDefinition::new("records");

/// The records' keys by time of writing, with what they take up.
const AGES: TableDefinition<'_, (i64, &[u8; 32]), u64> = TableDefinition::new("ages");

/// What is kept.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Usage {
    /// How many records.
    pub(super) records: u64,
    /// How many bytes they take up.
    pub(super) bytes: u64,
}

impl Usage {
    const fn add(&mut self, bytes: u64) {
        self.records += 1;
        self.bytes += bytes;
    }

    const fn sub(&mut self, bytes: u64) {
        self.records = self.records.saturating_sub(1);
        self.bytes = self.bytes.saturating_sub(bytes);
    }
}

/// The file, open or closed after the volume failed.
#[derive(Debug)]
pub(super) struct File {
    folder: PathBuf,
    capacity: u64,
    state: RwLock<State>,
    usage: Mutex<Usage>,
    /// How many bytes the records may take up: less than the capacity permits once the volume was
    /// found full.
    bound: AtomicU64,
    /// Held while a transaction writes.
    writing: Mutex<()>,
}

struct State {
    /// Of the file that is or was open: of two that find the same one broken, one sets it aside.
    generation: u64,
    database: Option<Database>,
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { generation, database } = self;
        let open = database.is_some();
        f.debug_struct("State").field("generation", generation).field("open", &open).finish()
    }
}

impl File {
    /// Opens the file in the folder, or begins one.
    pub(super) fn open(folder: &Path, capacity: u64) -> Result<Self, DiskError> {
        if capacity < MIN_CAPACITY {
            return Err(DiskError::Capacity { found: capacity });
        }
        let file = Self {
            folder: folder.to_owned(),
            capacity,
            state: RwLock::new(State { generation: 0, database: None }),
            usage: Mutex::default(),
            bound: AtomicU64::new(part(capacity, SHARE)),
            writing: Mutex::default(),
        };
        drop(file.opened()?);
        Ok(file)
    }

    /// The record under `key`.
    pub(super) fn read(&self, key: &[u8; 32]) -> Result<Option<Vec<u8>>, Fault> {
        let found = self.with(|database| read(database, key))?;
        if found.as_ref().is_none_or(|record| record.len() <= MAX_RECORD_BYTES) {
            return Ok(found);
        }
        // Nothing of ours is so large.
        self.write(Batch::from([(*key, Change::Remove)]))?;
        Ok(None)
    }

    /// Makes the changes in one transaction, and evicts the oldest records where there are too many.
    pub(super) fn write(&self, batch: Batch) -> Result<(), Fault> {
        let _alone = self.writing.lock().unwrap_or_else(PoisonError::into_inner);
        let written = self.with(|database| {
            let bound = self.bound.load(Ordering::Relaxed);
            self.set_usage(make_room(database, self.usage(), bound)?);
            self.set_usage(write(database, batch, self.usage(), bound)?);
            Ok(())
        });
        if let Err(fault) = &written
            && fault.is_full()
        {
            // Otherwise nothing new would be kept any more.
            self.bound.store(part(self.usage().bytes, LEFT_OF_FULL), Ordering::Relaxed);
        }
        written
    }

    /// What is kept.
    pub(super) fn usage(&self) -> Usage {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn set_usage(&self, usage: Usage) {
        *self.usage.lock().unwrap_or_else(PoisonError::into_inner) = usage;
    }

    /// Works on the database. One that turns out broken is set aside and a new one begun; where the
    /// volume fails, the file is closed, and opened again the next time.
    fn with<T>(&self, work: impl FnOnce(&Database) -> Result<T, redb::Error>) -> Result<T, Fault> {
        let (generation, worked) = {
            let state = self.opened()?;
            let Some(database) = &state.database else { return Err(Fault::Closed) };
            // The database trusts its file, and panics over what nobody should have written.
            (state.generation, catch_unwind(AssertUnwindSafe(|| work(database))))
        };
        let fault = match worked {
            Ok(Ok(done)) => return Ok(done),
            Ok(Err(error)) => Fault::from(error),
            Err(_) => Fault::Broken(None),
        };
        let mut state = self.exclusive();
        if state.generation == generation {
            close(&mut state);
            if matches!(fault, Fault::Broken(_)) {
                self.set_aside(&one_line(&fault));
            }
        }
        Err(fault)
    }

    /// The database, opened where it is closed.
    fn opened(&self) -> Result<RwLockReadGuard<'_, State>, DiskError> {
        let state = self.state.read().unwrap_or_else(PoisonError::into_inner);
        if state.database.is_some() {
            return Ok(state);
        }
        drop(state);
        let mut state = self.exclusive();
        if state.database.is_none() {
            let (database, usage) = self.open_or_begin()?;
            *state = State { generation: state.generation + 1, database: Some(database) };
            self.set_usage(usage);
        }
        drop(state);
        Ok(self.state.read().unwrap_or_else(PoisonError::into_inner))
    }

    fn exclusive(&self) -> RwLockWriteGuard<'_, State> {
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn open_or_begin(&self) -> Result<(Database, Usage), DiskError> {
        let unwritable = |source| DiskError::Unwritable { path: self.folder.clone(), source };
        fs::create_dir_all(&self.folder).map_err(unwritable)?;
        // One that is larger was written with a larger capacity, and would not become smaller.
        if self.length().is_ok_and(|length| length > self.capacity) {
            fs::remove_file(self.path()).map_err(unwritable)?;
        }
        let error = match self.try_open() {
            Ok(opened) => return Ok(opened),
            Err(error) => error,
        };
        if error.as_ref().is_some_and(is_environment) {
            return Err(self.refused(error));
        }
        let problem =
            error.as_ref().map_or_else(|| "it makes no sense".to_owned(), |error| one_line(error));
        self.set_aside(&problem);
        self.try_open().map_err(|error| self.refused(error))
    }

    /// An error of none is a panic.
    fn try_open(&self) -> Result<(Database, Usage), Option<redb::Error>> {
        let open = || -> Result<(Database, Usage), redb::Error> {
            let mut builder = Database::builder();
            // Without the check, whoever altered the file meanwhile could make a read go wrong in
            // any way.
            builder.set_cache_size(CACHE_BYTES).set_check_integrity_on_open(true);
            let file = Capped::open(&self.path(), self.capacity)?;
            let database = builder.create_with_backend(file)?;
            let usage = count(&database)?;
            Ok((database, usage))
        };
        match catch_unwind(AssertUnwindSafe(open)) {
            Ok(opened) => opened.map_err(Some),
            Err(_) => Err(None),
        }
    }

    fn refused(&self, error: Option<redb::Error>) -> DiskError {
        let path = self.path();
        match error {
            Some(redb::Error::DatabaseAlreadyOpen | redb::Error::LockProtocolMismatch) => {
                DiskError::Locked { path }
            }
            Some(redb::Error::Io(source)) => {
                DiskError::Unwritable { path: self.folder.clone(), source }
            }
            Some(error) => DiskError::Unusable { path, source: Box::new(error) },
            None => {
                let source = io::Error::other("what was written there comes back otherwise");
                DiskError::Unwritable { path: self.folder.clone(), source }
            }
        }
    }

    fn set_aside(&self, problem: &str) {
        let (path, broken) = (self.path(), self.folder.join(BROKEN));
        let file = path.display();
        warn!(%file, problem, "The evidence store's file is broken; it is set aside");
        if let Err(error) = fs::rename(&path, broken) {
            warn!(%file, %error, "Could not set aside the evidence store's file");
        }
    }

    fn length(&self) -> io::Result<u64> {
        fs::metadata(self.path()).map(|metadata| metadata.len())
    }

    fn path(&self) -> PathBuf {
        self.folder.join(FILE)
    }
}

fn close(state: &mut State) {
    let database = state.database.take();
    let _ = catch_unwind(AssertUnwindSafe(|| drop(database)));
}

fn read(database: &Database, key: &[u8; 32]) -> Result<Option<Vec<u8>>, redb::Error> {
    let records = database.begin_read()?.open_table(RECORDS)?;
    let found = records.get(key)?;
    // One byte more than may be tells that there are too many, and no more are copied.
    Ok(found.map(|found| {
        let (_, record) = found.value();
        record.get(..=MAX_RECORD_BYTES).unwrap_or(record).to_vec()
    }))
}

/// Makes the changes, and returns what is kept after them.
fn write(
    database: &Database,
    batch: Batch,
    mut usage: Usage,
    bound: u64,
) -> Result<Usage, redb::Error> {
    let transaction = database.begin_write()?;
    {
        let mut records = transaction.open_table(RECORDS)?;
        let mut ages = transaction.open_table(AGES)?;
        for (key, change) in &batch {
            let replaced = records.remove(key)?.map(|found| found.value().0);
            if let Some(at) = replaced
                && let Some(bytes) = ages.remove((at, key))?
            {
                usage.sub(bytes.value());
            }
            if let Change::Put { at, record } = change {
                let bytes = taken_up(record.len());
                records.insert(key, (*at, record.as_slice()))?;
                ages.insert((*at, key), bytes)?;
                usage.add(bytes);
            }
        }
    }
    if usage.bytes > bound {
        evict(&transaction, &mut usage, part(bound, LEFT))?;
    }
    transaction.commit()?;
    Ok(usage)
}

/// Evicts the oldest records where there are too many, in a transaction of its own: one that writes
/// needs the room before it ends.
fn make_room(database: &Database, mut usage: Usage, bound: u64) -> Result<Usage, redb::Error> {
    if usage.bytes <= bound {
        return Ok(usage);
    }
    let transaction = database.begin_write()?;
    evict(&transaction, &mut usage, part(bound, LEFT))?;
    transaction.commit()?;
    Ok(usage)
}

fn evict(transaction: &WriteTransaction, usage: &mut Usage, bound: u64) -> Result<(), redb::Error> {
    let mut records = transaction.open_table(RECORDS)?;
    let mut ages = transaction.open_table(AGES)?;
    while usage.bytes > bound {
        let Some((oldest, bytes)) = ages.pop_first()? else { break };
        let (_, key) = oldest.value();
        records.remove(key)?;
        usage.sub(bytes.value());
    }
    Ok(())
}

/// Counts what is kept. Makes the tables where they are not there.
fn count(database: &Database) -> Result<Usage, redb::Error> {
    let transaction = database.begin_write()?;
    let mut usage = Usage::default();
    {
        transaction.open_table(RECORDS)?;
        for entry in transaction.open_table(AGES)?.iter()? {
            let (_, bytes) = entry?;
            usage.add(bytes.value());
        }
    }
    transaction.commit()?;
    Ok(usage)
}

/// What a record takes up in the file.
fn taken_up(length: usize) -> u64 {
    let bytes = u64::try_from(length).unwrap_or(u64::MAX).saturating_add(ENTRY_BYTES);
    bytes.checked_next_power_of_two().unwrap_or(u64::MAX).max(PAGE_BYTES)
}

const fn part(of: u64, (numerator, denominator): (u64, u64)) -> u64 {
    of / denominator * numerator
}
