//! A file that does not grow beyond its capacity.
use std::fs::OpenOptions;
use std::io;
use std::ops::Bound;
use std::path::Path;

use redb::BackendError;
use redb::StorageBackend;
use redb::backends::FileBackend;

/// A database's file. Growing beyond the capacity fails as it does on a full volume.
#[derive(Debug)]
pub(super) struct Capped {
    file: FileBackend,
    capacity: u64,
}

impl Capped {
    /// Opens the file, or makes it.
    pub(super) fn open(path: &Path, capacity: u64) -> Result<Self, redb::Error> {
        let options =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).open(path)?;
        Ok(Self { file: FileBackend::new(options)?, capacity })
    }
}

impl StorageBackend for Capped {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read(offset, out)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        if length > self.capacity {
            let problem = format!("the file would have {length} bytes, of {}", self.capacity);
            return Err(io::Error::new(io::ErrorKind::StorageFull, problem));
        }
        self.file.set_len(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.file.write(offset, data)
    }

    fn close(&self) -> io::Result<()> {
        self.file.close()
    }

    fn try_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.try_lock_range(start, end)
    }

    fn try_lock_shared_range(
        &self,
        start: Bound<u64>,
        end: Bound<u64>,
    ) -> Result<bool, BackendError> {
        self.file.try_lock_shared_range(start, end)
    }

    fn lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_range(start, end)
    }

    fn lock_shared_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.lock_shared_range(start, end)
    }

    fn unlock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<(), BackendError> {
        self.file.unlock_range(start, end)
    }

    fn query_lock_range(&self, start: Bound<u64>, end: Bound<u64>) -> Result<bool, BackendError> {
        self.file.query_lock_range(start, end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn does_not_grow_beyond_its_capacity() {
        let folder = tempfile::tempdir().unwrap();
        let file = Capped::open(&folder.path().join("file"), 8_192).unwrap();
        file.set_len(8_192).unwrap();
        assert_eq!(file.set_len(8_193).unwrap_err().kind(), io::ErrorKind::StorageFull);
        assert_eq!(file.len().unwrap(), 8_192);
    }
}
