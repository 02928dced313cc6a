//! The folder that keeps what was verified across restarts.
//!
//! Its files are named by us, whatever a repository calls its own: each new root by its version,
//! and one file with everything else, so that what belongs together is replaced together. Each is
//! written beside its place, then put into it.
use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;
use serde::Serialize;
use tokio::fs;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::trust_root::tuf::MAX_ROOT_BYTES;
use crate::trust_root::tuf::MAX_SNAPSHOT_BYTES;
use crate::trust_root::tuf::MAX_TARGET_BYTES;
use crate::trust_root::tuf::MAX_TARGETS_BYTES;
use crate::trust_root::tuf::MAX_TIMESTAMP_BYTES;

/// The file with the newest metadata and the target.
pub(super) const LATEST: &str = "latest.json";

/// Most bytes of [`LATEST`]: all that it may hold, twice for the escapes of JSON in JSON.
const MAX_LATEST_BYTES: usize =
    2 * (MAX_TIMESTAMP_BYTES + MAX_SNAPSHOT_BYTES + MAX_TARGETS_BYTES + MAX_TARGET_BYTES) + 1024;

/// The newest metadata and the target, byte for byte.
#[derive(Clone, Debug, Deserialize, Serialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Latest {
    pub(super) timestamp: String,
    pub(super) snapshot: String,
    pub(super) targets: String,
    pub(super) target: String,
}

/// A folder.
#[derive(Debug)]
pub(super) struct State {
    folder: PathBuf,
}

impl State {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    pub(super) fn root_name(version: u64) -> String {
        format!("{version}.root.json")
    }

    /// The root of this version, if the folder has one.
    pub(super) async fn root(&self, version: u64) -> Result<Option<Vec<u8>>, StateError> {
        self.read(&Self::root_name(version), MAX_ROOT_BYTES).await
    }

    pub(super) async fn latest(&self) -> Result<Option<Latest>, StateError> {
        let Some(bytes) = self.read(LATEST, MAX_LATEST_BYTES).await? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| StateError::new(LATEST, &error))
    }

    pub(super) async fn save_root(&self, version: u64, bytes: &[u8]) -> Result<(), StateError> {
        self.write(&Self::root_name(version), bytes).await
    }

    pub(super) async fn save_latest(&self, latest: &Latest) -> Result<(), StateError> {
        let bytes = serde_json::to_vec(latest).map_err(|error| StateError::new(LATEST, &error))?;
        self.write(LATEST, &bytes).await
    }

    async fn read(&self, name: &str, limit: usize) -> Result<Option<Vec<u8>>, StateError> {
        let problem = |error: io::Error| StateError::new(name, &error);
        let file = match fs::File::open(self.folder.join(name)).await {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(problem(error)),
        };
        let mut bytes = Vec::new();
        let most = limit as u64 + 1;
        file.take(most).read_to_end(&mut bytes).await.map_err(problem)?;
        if bytes.len() > limit {
            return Err(StateError::new(name, &format_args!("it has more than {limit} bytes")));
        }
        Ok(Some(bytes))
    }

    async fn write(&self, name: &str, bytes: &[u8]) -> Result<(), StateError> {
        self.replace(name, bytes).await.map_err(|error| StateError::new(name, &error))
    }

    async fn replace(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        fs::create_dir_all(&self.folder).await?;
        let beside = self.folder.join(format!(".{name}.new"));
        match fs::remove_file(&beside).await {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Ok(()) | Err(_) => {}
        }
        // Made anew: were it there, it could be a link to somewhere else.
        let mut file = fs::OpenOptions::new().write(true).create_new(true).open(&beside).await?;
        file.write_all(bytes).await?;
        file.sync_all().await?;
        fs::rename(&beside, self.folder.join(name)).await
    }
}

/// What is wrong with a file of the folder.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{file}: {problem}")]
pub struct StateError {
    /// The file, or what it holds.
    pub file: String,
    /// What is wrong, in one clause.
    pub problem: String,
}

impl StateError {
    pub(super) fn new(file: &str, problem: &dyn fmt::Display) -> Self {
        Self { file: file.to_owned(), problem: problem.to_string() }
    }
}
