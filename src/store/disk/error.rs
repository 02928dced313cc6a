//! Why the tier on a volume cannot be used.
use std::io;
use std::path::PathBuf;

use super::MIN_CAPACITY;

/// Why the tier on a volume cannot be opened.
#[derive(Debug, thiserror::Error)]
pub enum DiskError {
    /// There is no room for anything.
    #[error("a capacity of {found} bytes, wanted at least {}", MIN_CAPACITY)]
    Capacity {
        /// The capacity.
        found: u64,
    },
    /// Another process has it.
    #[error(
        "another process uses {}: give each replica a volume of its own, or stop the other process",
        path.display()
    )]
    Locked {
        /// The file.
        path: PathBuf,
    },
    /// Not even a new file can be used.
    #[error("cannot begin {}", path.display())]
    Unusable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Box<redb::Error>,
    },
    /// Nothing can be written there.
    #[error(
        "cannot write to {}: mount a volume there that the user of this process may write to, or \
         leave the folder out to do without",
        path.display()
    )]
    Unwritable {
        /// The folder.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DiskError {
    /// Whether it is for the settings to change. Anything else may come and go with the machine, and is no
    /// reason not to start.
    pub const fn is_configuration(&self) -> bool {
        matches!(self, Self::Capacity { .. })
    }
}

/// Why a read or a write failed.
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    #[error("the file is broken")]
    Broken(#[source] Option<redb::Error>),
    #[error("the file is closed")]
    Closed,
    #[error("cannot read or write the file")]
    Failed(#[source] redb::Error),
    #[error("cannot open the file again")]
    Open(#[from] DiskError),
}

impl Fault {
    /// Whether there was no room for what was written.
    pub(super) fn is_full(&self) -> bool {
        let Self::Failed(redb::Error::Io(error)) = self else { return false };
        matches!(
            error.kind(),
            io::ErrorKind::FileTooLarge | io::ErrorKind::QuotaExceeded | io::ErrorKind::StorageFull
        )
    }
}

impl From<redb::Error> for Fault {
    fn from(error: redb::Error) -> Self {
        if is_environment(&error) { Self::Failed(error) } else { Self::Broken(Some(error)) }
    }
}

/// Whether the volume failed, or whoever else uses the file, and not the file's content.
pub(super) fn is_environment(error: &redb::Error) -> bool {
    if let redb::Error::Io(error) = error {
        // What is no database, or ends too early, is told so.
        return !matches!(error.kind(), io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof);
    }
    matches!(
        error,
        redb::Error::Backend(_)
            | redb::Error::DatabaseAlreadyOpen
            | redb::Error::DatabaseClosed
            | redb::Error::LockProtocolMismatch
            | redb::Error::PreviousIo
    )
}
