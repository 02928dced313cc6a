//! What each role signs.
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;

use super::Role;
use super::TufError;
use super::file::MetaFile;
use super::file::TargetFile;
use super::key::Key;
use super::metadata::Common;
use super::metadata::Payload;
use super::metadata::bounded;
use super::metadata::malformed;
use super::metadata::object;

/// The keys of all roles (4.3).
#[derive(Clone, Debug)]
pub(super) struct RootPayload {
    pub(super) version: u64,
    pub(super) expires: Timestamp,
    pub(super) consistent_snapshot: bool,
    keys: BTreeMap<String, Key>,
    demands: BTreeMap<Role, Demand>,
}

/// Who must sign for a role.
#[derive(Clone, Debug)]
pub(super) struct Demand {
    pub(super) key_ids: BTreeSet<String>,
    pub(super) threshold: usize,
}

impl RootPayload {
    /// The key with this ID, where it can be used.
    pub(super) fn key(&self, id: &str) -> Option<&Key> {
        self.keys.get(id)
    }

    /// Who must sign for the role.
    ///
    /// # Errors
    /// When the root does not say.
    pub(super) fn demand(&self, role: Role) -> Result<&Demand, TufError> {
        self.demands.get(&role).ok_or_else(|| malformed(Role::Root, no_role(role)))
    }
}

fn no_role(role: Role) -> String {
    format!("it does not say who signs for the {role} role")
}

impl Payload for RootPayload {
    const ROLE: Role = Role::Root;

    fn read(common: Common, signed: &Map<String, Value>) -> Result<Self, TufError> {
        let consistent_snapshot = match signed.get("consistent_snapshot") {
            None => false,
            Some(Value::Bool(value)) => *value,
            Some(_) => return Err(malformed(Role::Root, "`consistent_snapshot` is no boolean")),
        };
        let keys = object(Role::Root, signed, "keys")?;
        bounded(Role::Root, "keys", keys.len())?;
        let keys = keys.iter().filter_map(|(id, key)| Some((id.clone(), Key::from_json(key)?)));
        let roles = object(Role::Root, signed, "roles")?;
        let mut demands = BTreeMap::new();
        for role in Role::ALL {
            let entry = roles.get(role.as_str());
            let entry = entry.ok_or_else(|| malformed(Role::Root, no_role(role)))?;
            demands.insert(role, Demand::read(role, entry)?);
        }
        let Common { version, expires } = common;
        Ok(Self { version, expires, consistent_snapshot, keys: keys.collect(), demands })
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Timestamp {
        self.expires
    }
}

impl Demand {
    fn read(role: Role, entry: &Value) -> Result<Self, TufError> {
        let ids = entry.get("keyids").and_then(Value::as_array);
        let ids = ids.and_then(|ids| ids.iter().map(|id| id.as_str().map(str::to_owned)).collect());
        let key_ids: BTreeSet<String> = ids.ok_or_else(|| malformed(Role::Root, no_role(role)))?;
        let threshold = entry.get("threshold").and_then(Value::as_u64);
        let threshold = threshold.and_then(|threshold| usize::try_from(threshold).ok());
        match threshold {
            Some(0) => Err(TufError::ThresholdZero { role }),
            Some(threshold) => Ok(Self { key_ids, threshold }),
            None => Err(malformed(Role::Root, format!("the {role} role has no threshold"))),
        }
    }
}

/// The newest snapshot (4.6).
#[derive(Clone, Debug)]
pub(super) struct TimestampPayload {
    pub(super) version: u64,
    pub(super) expires: Timestamp,
    pub(super) snapshot: MetaFile,
}

impl Payload for TimestampPayload {
    const ROLE: Role = Role::Timestamp;

    fn read(common: Common, signed: &Map<String, Value>) -> Result<Self, TufError> {
        let files = object(Role::Timestamp, signed, "meta")?;
        let snapshot = files
            .get("snapshot.json")
            .ok_or_else(|| malformed(Role::Timestamp, "it does not name snapshot.json"))?;
        let snapshot = MetaFile::read(Role::Timestamp, snapshot)?;
        let Common { version, expires } = common;
        Ok(Self { version, expires, snapshot })
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// The targets metadata that belongs together (4.4).
#[derive(Clone, Debug)]
pub(super) struct SnapshotPayload {
    pub(super) version: u64,
    pub(super) expires: Timestamp,
    pub(super) files: BTreeMap<String, MetaFile>,
}

impl Payload for SnapshotPayload {
    const ROLE: Role = Role::Snapshot;

    fn read(common: Common, signed: &Map<String, Value>) -> Result<Self, TufError> {
        let files = object(Role::Snapshot, signed, "meta")?.iter();
        let files =
            files.map(|(name, file)| Ok((name.clone(), MetaFile::read(Role::Snapshot, file)?)));
        let Common { version, expires } = common;
        Ok(Self { version, expires, files: files.collect::<Result<_, TufError>>()? })
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Timestamp {
        self.expires
    }
}

/// The files that there are (4.5).
#[derive(Clone, Debug)]
pub(super) struct TargetsPayload {
    pub(super) version: u64,
    pub(super) expires: Timestamp,
    pub(super) files: BTreeMap<String, TargetFile>,
    /// Whether other roles speak for further files.
    pub(super) delegates: bool,
}

impl Payload for TargetsPayload {
    const ROLE: Role = Role::Targets;

    fn read(common: Common, signed: &Map<String, Value>) -> Result<Self, TufError> {
        let files = object(Role::Targets, signed, "targets")?.iter();
        let files = files.map(|(name, file)| Ok((name.clone(), TargetFile::read(name, file)?)));
        let files = files.collect::<Result<_, TufError>>()?;
        let roles = signed.get("delegations").and_then(|delegations| delegations.get("roles"));
        let delegates = roles.and_then(Value::as_array).is_some_and(|roles| !roles.is_empty());
        let Common { version, expires } = common;
        Ok(Self { version, expires, files, delegates })
    }

    fn version(&self) -> u64 {
        self.version
    }

    fn expires(&self) -> Timestamp {
        self.expires
    }
}
