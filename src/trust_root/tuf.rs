//! What The Update Framework makes of a repository's bytes: trusted metadata, or a typed error.
//!
//! The client workflow of the TUF specification 1.0, section 5, without I/O and without a clock:
//! bytes and the time are arguments. [`Trusted`] starts from a root that somebody vouches for and
//! takes in newer metadata, role by role; what is refused changes nothing.
//!
//! The `sigstore-tuf` crate (0.15.1) takes the time as an argument too. It is not used because it
//! counts key IDs where the specification counts keys, so that one key under two IDs meets a
//! threshold of two; because it does not know the hexadecimal ECDSA keys of the public-good
//! instance's first roots; because its metadata may hold one JSON name twice; and because versions
//! of expired metadata, which guard against rollback after a restart, reach it only through I/O of
//! its own.
//!
//! Only top-level targets are trusted. A target that could only be found through a delegation is
//! refused by name ([`TufError::Delegated`]): Sigstore's trusted roots are top-level targets.
use std::fmt;

use jiff::Timestamp;

mod canonical;
mod error;
mod file;
mod key;
mod metadata;
mod name;
mod payload;
mod source;

pub use error::TufError;
pub use file::TargetFile;
pub use name::MAX_NAME_BYTES;
pub use name::check_name;
pub use source::PUBLIC_GOOD_MIRROR;
pub use source::Source;
pub use source::SourceError;
pub use source::TRUSTED_ROOT_TARGET;

use file::MetaFile;
use file::check_bytes;
use metadata::Metadata;
use metadata::Payload;
use payload::RootPayload;
use payload::SnapshotPayload;
use payload::TargetsPayload;
use payload::TimestampPayload;

/// Most roots that one refresh follows. Sigstore's public-good instance reached 15 in five years;
/// the specification (5.3.3) asks for a bound against endless chains.
pub const MAX_ROOTS: usize = 256;

/// Most bytes of root metadata. Sigstore's have some 6 KiB, with ten signatures.
pub const MAX_ROOT_BYTES: usize = 256 * 1024;

/// Most bytes of timestamp metadata. It names one file; Sigstore's has 500 bytes.
pub const MAX_TIMESTAMP_BYTES: usize = 16 * 1024;

/// Most bytes of snapshot metadata. It names each targets file; Sigstore's has 2 KiB.
pub const MAX_SNAPSHOT_BYTES: usize = 512 * 1024;

/// Most bytes of targets metadata. Sigstore's has 6 KiB.
pub const MAX_TARGETS_BYTES: usize = 1024 * 1024;

/// Most bytes of a target: those of a trusted root.
pub const MAX_TARGET_BYTES: usize = super::MAX_BYTES;

/// A top-level role (TUF specification 2.1).
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Role {
    /// Names the keys of all four.
    Root,
    /// Says which snapshot is the newest; short-lived.
    Timestamp,
    /// Says which targets metadata belongs together.
    Snapshot,
    /// Says which files there are.
    Targets,
}

impl Role {
    /// Every role, in the order of the workflow.
    pub const ALL: [Self; 4] = [Self::Root, Self::Timestamp, Self::Snapshot, Self::Targets];

    /// The role's name in metadata.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Root => "root",
            Self::Timestamp => "timestamp",
            Self::Snapshot => "snapshot",
            Self::Targets => "targets",
        }
    }

    /// Most bytes of the role's metadata.
    pub const fn max_bytes(self) -> usize {
        match self {
            Self::Root => MAX_ROOT_BYTES,
            Self::Timestamp => MAX_TIMESTAMP_BYTES,
            Self::Snapshot => MAX_SNAPSHOT_BYTES,
            Self::Targets => MAX_TARGETS_BYTES,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Verified metadata. Whether it is fresh is asked again at each use.
#[derive(Clone, Debug)]
pub struct Trusted {
    root: Metadata<RootPayload>,
    timestamp: Option<Metadata<TimestampPayload>>,
    snapshot: Option<Metadata<SnapshotPayload>>,
    targets: Option<Metadata<TargetsPayload>>,
}

impl Trusted {
    /// Starts from a root that the caller vouches for (5.2). It must be signed by a threshold of
    /// its own keys; it may have expired, because the way to the newest begins at it.
    ///
    /// # Errors
    /// When it is too large, no root metadata, or not signed so.
    pub fn from_root(bytes: &[u8]) -> Result<Self, TufError> {
        let root: Metadata<RootPayload> = Metadata::parse(bytes)?;
        root.verify(&root.payload)?;
        Ok(Self { root, timestamp: None, snapshot: None, targets: None })
    }

    /// The version of the trusted root.
    pub const fn root_version(&self) -> u64 {
        self.root.payload.version
    }

    /// Whether names of metadata files begin with their version, and names of targets with their
    /// hash (6.2).
    pub const fn consistent_snapshot(&self) -> bool {
        self.root.payload.consistent_snapshot
    }

    /// Takes in the next root (5.3): its version is the next one, and both the trusted root's keys
    /// and its own sign it, each by its threshold. It may have expired: a later one may follow.
    ///
    /// Other metadata stays where the new root's keys sign it too, so that its versions still
    /// guard against rollback. Where keys were replaced, timestamp and snapshot are forgotten
    /// (5.3.11): whoever had the old ones may have raised the versions out of reach.
    ///
    /// # Errors
    /// When the root is not to be trusted.
    pub fn update_root(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        let new: Metadata<RootPayload> = Metadata::parse(bytes)?;
        let trusted = self.root_version();
        if trusted.checked_add(1) != Some(new.payload.version) {
            return Err(TufError::RootVersion { trusted, offered: new.payload.version });
        }
        new.verify(&self.root.payload)?;
        new.verify(&new.payload)?;
        let root = &new.payload;
        let signs_timestamp = self.timestamp.as_ref().is_none_or(|it| it.verify(root).is_ok());
        let signs_snapshot = self.snapshot.as_ref().is_none_or(|it| it.verify(root).is_ok());
        if !signs_timestamp || !signs_snapshot {
            (self.timestamp, self.snapshot) = (None, None);
        }
        self.targets.take_if(|targets| targets.verify(root).is_err());
        self.root = new;
        Ok(())
    }

    /// Asks whether the trusted root is still valid (5.3.10), once there is no newer one.
    ///
    /// # Errors
    /// When it has expired.
    pub fn check_root(&self, now: Timestamp) -> Result<(), TufError> {
        fresh(&self.root, now)
    }

    /// Takes in timestamp metadata (5.4). One of the trusted version changes nothing, but for it
    /// the trusted one must not have expired.
    ///
    /// # Errors
    /// When it is not to be trusted, is older than the trusted one, or has expired.
    pub fn update_timestamp(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), TufError> {
        self.check_root(now)?;
        let new = self.timestamp(bytes)?;
        if let Some(trusted) = &self.timestamp {
            let (had, has) = (&trusted.payload, &new.payload);
            not_older("timestamp.json", had.version, has.version)?;
            not_older("snapshot.json", had.snapshot.version, has.snapshot.version)?;
            if had.version == has.version {
                return fresh(trusted, now);
            }
        }
        fresh(&new, now)?;
        self.timestamp = Some(new);
        Ok(())
    }

    /// Takes in timestamp metadata that was trusted before, which may have expired since: its
    /// versions guard against rollback.
    ///
    /// # Errors
    /// When it is not to be trusted.
    pub fn restore_timestamp(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        self.timestamp = Some(self.timestamp(bytes)?);
        Ok(())
    }

    fn timestamp(&self, bytes: &[u8]) -> Result<Metadata<TimestampPayload>, TufError> {
        let new: Metadata<TimestampPayload> = Metadata::parse(bytes)?;
        new.verify(&self.root.payload)?;
        Ok(new)
    }

    /// The version of the snapshot that the timestamp names, and its length where that is said.
    ///
    /// # Errors
    /// When there is no timestamp.
    pub fn snapshot_file(&self) -> Result<(u64, Option<u64>), TufError> {
        let file = &known(self.timestamp.as_ref(), Role::Timestamp)?.payload.snapshot;
        Ok((file.version, file.length))
    }

    /// Takes in snapshot metadata (5.5).
    ///
    /// # Errors
    /// When it is not the one that the timestamp names, is not to be trusted, leaves out or takes
    /// back what the trusted one names, or has expired.
    pub fn update_snapshot(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), TufError> {
        self.check_root(now)?;
        fresh(known(self.timestamp.as_ref(), Role::Timestamp)?, now)?;
        let new = self.snapshot(bytes)?;
        if let Some(trusted) = &self.snapshot {
            for (name, had) in &trusted.payload.files {
                let Some(has) = new.payload.files.get(name) else {
                    return Err(TufError::Dropped { name: name.clone() });
                };
                not_older(name, had.version, has.version)?;
            }
        }
        fresh(&new, now)?;
        self.snapshot = Some(new);
        Ok(())
    }

    /// Takes in snapshot metadata that was trusted before, which may have expired since.
    ///
    /// # Errors
    /// When it is not the one that the timestamp names, or not to be trusted.
    pub fn restore_snapshot(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        self.snapshot = Some(self.snapshot(bytes)?);
        Ok(())
    }

    fn snapshot(&self, bytes: &[u8]) -> Result<Metadata<SnapshotPayload>, TufError> {
        let file = &known(self.timestamp.as_ref(), Role::Timestamp)?.payload.snapshot;
        self.named(bytes, file)
    }

    /// The version of the targets metadata that the snapshot names, and its length where that is
    /// said.
    ///
    /// # Errors
    /// When there is no snapshot, or it names none.
    pub fn targets_file(&self) -> Result<(u64, Option<u64>), TufError> {
        let file = self.targets_meta()?;
        Ok((file.version, file.length))
    }

    fn targets_meta(&self) -> Result<&MetaFile, TufError> {
        let snapshot = known(self.snapshot.as_ref(), Role::Snapshot)?;
        snapshot.payload.files.get("targets.json").ok_or_else(|| TufError::Malformed {
            role: Role::Snapshot,
            problem: "it does not name targets.json".to_owned(),
        })
    }

    /// Takes in the top-level targets metadata (5.6).
    ///
    /// # Errors
    /// When it is not the one that the snapshot names, is not to be trusted, or has expired.
    pub fn update_targets(&mut self, bytes: &[u8], now: Timestamp) -> Result<(), TufError> {
        self.check_root(now)?;
        fresh(known(self.snapshot.as_ref(), Role::Snapshot)?, now)?;
        let new: Metadata<TargetsPayload> = self.named(bytes, self.targets_meta()?)?;
        fresh(&new, now)?;
        self.targets = Some(new);
        Ok(())
    }

    /// Takes in targets metadata that was trusted before, which may have expired since.
    ///
    /// # Errors
    /// When it is not the one that the snapshot names, or not to be trusted.
    pub fn restore_targets(&mut self, bytes: &[u8]) -> Result<(), TufError> {
        self.targets = Some(self.named(bytes, self.targets_meta()?)?);
        Ok(())
    }

    /// The bytes of the role's trusted metadata.
    pub fn bytes(&self, role: Role) -> Option<&[u8]> {
        match role {
            Role::Root => Some(self.root.bytes()),
            Role::Timestamp => self.timestamp.as_ref().map(Metadata::bytes),
            Role::Snapshot => self.snapshot.as_ref().map(Metadata::bytes),
            Role::Targets => self.targets.as_ref().map(Metadata::bytes),
        }
    }

    /// Metadata that another role names by version, and perhaps by length and hash.
    fn named<P: Payload>(&self, bytes: &[u8], file: &MetaFile) -> Result<Metadata<P>, TufError> {
        let name = format!("{}.json", P::ROLE);
        check_bytes(&name, bytes, file.length, file.hashes.as_ref())?;
        let new: Metadata<P> = Metadata::parse(bytes)?;
        new.verify(&self.root.payload)?;
        same_version(&new, file)?;
        Ok(new)
    }

    /// What the repository says of the target `name` (5.7), if all that leads to it is there,
    /// fits together and has not expired.
    ///
    /// # Errors
    /// When that is not so, or the top-level targets do not name it.
    pub fn target(&self, name: &str, now: Timestamp) -> Result<&TargetFile, TufError> {
        check_name(name)?;
        let timestamp = known(self.timestamp.as_ref(), Role::Timestamp)?;
        let snapshot = known(self.snapshot.as_ref(), Role::Snapshot)?;
        let targets = known(self.targets.as_ref(), Role::Targets)?;
        fresh(&self.root, now)?;
        fresh(timestamp, now)?;
        fresh(snapshot, now)?;
        fresh(targets, now)?;
        is_named(snapshot, &timestamp.payload.snapshot)?;
        is_named(targets, self.targets_meta()?)?;
        match targets.payload.files.get(name) {
            Some(file) => Ok(file),
            None if targets.payload.delegates => Err(TufError::Delegated { name: name.to_owned() }),
            None => Err(TufError::TargetAbsent { name: name.to_owned() }),
        }
    }

    /// When the first of all trusted metadata expires: nothing of it is used from then on.
    pub fn expires(&self) -> Timestamp {
        let others = [
            self.timestamp.as_ref().map(|metadata| metadata.payload.expires),
            self.snapshot.as_ref().map(|metadata| metadata.payload.expires),
            self.targets.as_ref().map(|metadata| metadata.payload.expires),
        ];
        others.into_iter().flatten().fold(self.root.payload.expires, Timestamp::min)
    }
}

fn known<T>(metadata: Option<&T>, role: Role) -> Result<&T, TufError> {
    metadata.ok_or(TufError::NotLoaded { role })
}

/// Expired metadata is used for nothing: whoever can keep newer metadata away must not freeze what
/// is trusted (1.5.2). It is valid before the time that it names, not at it (5.3.10).
fn fresh<P: Payload>(metadata: &Metadata<P>, now: Timestamp) -> Result<(), TufError> {
    let expires = metadata.payload.expires();
    if expires <= now {
        return Err(TufError::Expired { role: P::ROLE, expires });
    }
    Ok(())
}

/// Whether trusted metadata is still the one that another role names.
fn is_named<P: Payload>(metadata: &Metadata<P>, file: &MetaFile) -> Result<(), TufError> {
    same_version(metadata, file)?;
    let name = format!("{}.json", P::ROLE);
    check_bytes(&name, metadata.bytes(), file.length, file.hashes.as_ref())
}

fn same_version<P: Payload>(metadata: &Metadata<P>, file: &MetaFile) -> Result<(), TufError> {
    let (found, wanted) = (metadata.payload.version(), file.version);
    if found != wanted {
        return Err(TufError::VersionMismatch { role: P::ROLE, found, wanted });
    }
    Ok(())
}

fn not_older(name: &str, trusted: u64, offered: u64) -> Result<(), TufError> {
    if offered < trusted {
        return Err(TufError::Rollback { name: name.to_owned(), trusted, offered });
    }
    Ok(())
}
