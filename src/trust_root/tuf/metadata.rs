//! Metadata files: what is signed, and by whom.
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;
use sha2::Digest as _;

use crate::verdict::printable;

use super::Role;
use super::TufError;
use super::canonical::canonical;
use super::key::Key;

/// Most keys in a root, and most signatures on a file: each signature costs a verification.
/// Sigstore's roots have seven keys and at most ten signatures.
const MAX_KEYS: usize = 64;

/// A metadata file that was read. Whether its signatures hold, [`Metadata::verify`] says.
#[derive(Clone, Debug)]
pub(super) struct Metadata<P> {
    pub(super) payload: P,
    bytes: Vec<u8>,
    signed: Vec<u8>,
    signatures: Vec<(String, Vec<u8>)>,
}

/// What one role signs.
pub(super) trait Payload: Sized {
    const ROLE: Role;

    /// Reads the fields that all roles do not share.
    ///
    /// # Errors
    /// The first that is wrong.
    fn read(common: Common, signed: &Map<String, Value>) -> Result<Self, TufError>;

    fn version(&self) -> u64;

    fn expires(&self) -> Timestamp;
}

/// The fields that all roles share (4.3 and following).
#[derive(Clone, Copy, Debug)]
pub(super) struct Common {
    version: u64,
    expires: Timestamp,
}

impl<P: Payload> Metadata<P> {
    /// Reads a file.
    ///
    /// # Errors
    /// When it is too large, or no metadata of this role.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, TufError> {
        let (role, limit) = (P::ROLE, P::ROLE.max_bytes());
        if bytes.len() > limit {
            let (name, bytes) = (format!("{role}.json"), bytes.len() as u64);
            return Err(TufError::TooLarge { name, bytes, limit });
        }
        let document = crate::json::parse(bytes)
            .map_err(|error| malformed(role, format!("not JSON: {error}")))?;
        let signed = document.get("signed").unwrap_or_default();
        let fields = signed.as_object().ok_or_else(|| malformed(role, "`signed` is no object"))?;
        let common = common(role, fields)?;
        let payload = P::read(common, fields)?;
        let signatures = signatures(role, document.get("signatures"))?;
        let signed =
            canonical(signed).ok_or_else(|| malformed(role, "a number in it is not whole"))?;
        Ok(Self { payload, bytes: bytes.to_vec(), signed, signatures })
    }

    /// The file as it was read.
    pub(super) fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Whether enough keys that `root` names for this role sign it. A key counts once, however
    /// many IDs and signatures it has.
    ///
    /// # Errors
    /// When they are too few.
    pub(super) fn verify(&self, root: &RootPayload) -> Result<(), TufError> {
        let role = P::ROLE;
        let demand = root.demand(role)?;
        let mut valid: BTreeSet<&[u8]> = BTreeSet::new();
        for (id, signature) in &self.signatures {
            let key = demand.key_ids.get(id).and_then(|id| root.keys.get(id));
            if let Some(key) = key.filter(|key| !valid.contains(key.identity()))
                && key.verifies(&self.signed, signature)
            {
                valid.insert(key.identity());
            }
        }
        if valid.len() < demand.threshold {
            let (valid, threshold) = (valid.len(), demand.threshold);
            return Err(TufError::BelowThreshold { role, valid, threshold });
        }
        Ok(())
    }
}

fn malformed(role: Role, problem: impl Into<String>) -> TufError {
    TufError::Malformed { role, problem: problem.into() }
}

fn common(role: Role, signed: &Map<String, Value>) -> Result<Common, TufError> {
    let text = |field: &str| signed.get(field).and_then(Value::as_str).unwrap_or_default();
    if text("_type") != role.as_str() {
        let found = printable(text("_type"));
        return Err(malformed(role, format!("its type is `{found}`, wanted `{role}`")));
    }
    let spec = text("spec_version");
    if spec.split('.').next() != Some("1") {
        let found = printable(spec);
        return Err(malformed(role, format!("its spec_version is `{found}`, wanted 1.x")));
    }
    let version = signed.get("version").and_then(Value::as_u64).filter(|version| *version > 0);
    let version = version.ok_or_else(|| malformed(role, "its version is no number above zero"))?;
    let expires = text("expires").parse();
    let expires = expires.map_err(|_| malformed(role, "`expires` is no time in RFC 3339"))?;
    Ok(Common { version, expires })
}

/// Signatures that are not hexadecimal are left out: an empty one says that its key has not
/// signed yet.
fn signatures(role: Role, value: Option<&Value>) -> Result<Vec<(String, Vec<u8>)>, TufError> {
    let list = value.and_then(Value::as_array);
    let list = list.ok_or_else(|| malformed(role, "`signatures` is no list"))?;
    bounded(role, "signatures", list.len())?;
    let text = |entry: &Value, field| entry.get(field).and_then(Value::as_str).map(str::to_owned);
    let mut found = Vec::new();
    for entry in list {
        let (Some(id), Some(signature)) = (text(entry, "keyid"), text(entry, "sig")) else {
            return Err(malformed(role, "a signature lacks `keyid` or `sig`"));
        };
        if let Ok(signature) = hex::decode(signature) {
            found.push((id, signature));
        }
    }
    Ok(found)
}

fn bounded(role: Role, what: &str, count: usize) -> Result<(), TufError> {
    if count > MAX_KEYS {
        return Err(malformed(role, format!("{count} {what}; the limit is {MAX_KEYS}")));
    }
    Ok(())
}

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
struct Demand {
    key_ids: BTreeSet<String>,
    threshold: usize,
}

impl RootPayload {
    fn demand(&self, role: Role) -> Result<&Demand, TufError> {
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

/// What a role says of another role's metadata (4.4, METAFILES).
#[derive(Clone, Debug)]
pub(super) struct MetaFile {
    pub(super) version: u64,
    pub(super) length: Option<u64>,
    pub(super) hashes: Option<Hashes>,
}

impl MetaFile {
    fn read(role: Role, entry: &Value) -> Result<Self, TufError> {
        let version = entry.get("version").and_then(Value::as_u64).filter(|version| *version > 0);
        let version =
            version.ok_or_else(|| malformed(role, "a file's version is no number above zero"))?;
        let length = match entry.get("length") {
            None => None,
            Some(length) => {
                let problem = || malformed(role, "a file's length is no whole number");
                Some(length.as_u64().ok_or_else(problem)?)
            }
        };
        let hashes = entry.get("hashes").map(|hashes| Hashes::read(role, hashes)).transpose()?;
        Ok(Self { version, length, hashes })
    }
}

/// What the repository says of a target (4.5, TARGETS).
#[derive(Clone, Debug)]
pub struct TargetFile {
    name: String,
    length: u64,
    hashes: Hashes,
}

impl TargetFile {
    fn read(name: &str, entry: &Value) -> Result<Self, TufError> {
        let length = entry.get("length").and_then(Value::as_u64);
        let (Some(length), Some(hashes)) = (length, entry.get("hashes")) else {
            let problem = format!("`{}` has no length or no hash", printable(name));
            return Err(malformed(Role::Targets, problem));
        };
        let hashes = Hashes::read(Role::Targets, hashes)?;
        Ok(Self { name: name.to_owned(), length, hashes })
    }

    /// Its length in bytes.
    ///
    /// # Errors
    /// When it is longer than [`super::MAX_TARGET_BYTES`].
    pub fn length(&self) -> Result<usize, TufError> {
        let limit = super::MAX_TARGET_BYTES;
        match usize::try_from(self.length) {
            Ok(length) if length <= limit => Ok(length),
            _ => Err(TufError::TooLarge { name: self.name.clone(), bytes: self.length, limit }),
        }
    }

    /// Its hashes in hexadecimal: in a repository with consistent snapshots the file's name begins
    /// with one of them.
    pub fn hashes(&self) -> impl Iterator<Item = &str> {
        let Hashes { sha256, sha512 } = &self.hashes;
        [sha256, sha512].into_iter().flatten().map(String::as_str)
    }

    /// Whether these are the target's bytes (5.7.3).
    ///
    /// # Errors
    /// When they are not, or too many.
    pub fn check(&self, bytes: &[u8]) -> Result<(), TufError> {
        self.length()?;
        check_bytes(&self.name, bytes, Some(self.length), Some(&self.hashes))
    }
}

/// Hashes in hexadecimal, in lower case; one at least.
#[derive(Clone, Debug)]
pub(super) struct Hashes {
    sha256: Option<String>,
    sha512: Option<String>,
}

impl Hashes {
    fn read(role: Role, value: &Value) -> Result<Self, TufError> {
        let hash = |name: &str, length: usize| match value.get(name).map(Value::as_str) {
            None => Ok(None),
            Some(Some(hash))
                if hash.len() == length && hash.bytes().all(|byte| byte.is_ascii_hexdigit()) =>
            {
                Ok(Some(hash.to_ascii_lowercase()))
            }
            Some(_) => Err(malformed(role, format!("a {name} is not {length} digits"))),
        };
        let (sha256, sha512) = (hash("sha256", 64)?, hash("sha512", 128)?);
        if sha256.is_none() && sha512.is_none() {
            return Err(malformed(role, "a file has no hash by sha256 or sha512"));
        }
        Ok(Self { sha256, sha512 })
    }
}

/// Whether the bytes have the length and all the hashes that were signed.
pub(super) fn check_bytes(
    name: &str,
    bytes: &[u8],
    length: Option<u64>,
    hashes: Option<&Hashes>,
) -> Result<(), TufError> {
    let found = bytes.len() as u64;
    if let Some(wanted) = length.filter(|length| *length != found) {
        return Err(TufError::LengthMismatch { name: name.to_owned(), found, wanted });
    }
    let Some(Hashes { sha256, sha512 }) = hashes else { return Ok(()) };
    let mismatch = |algorithm| TufError::HashMismatch { name: name.to_owned(), algorithm };
    if sha256.as_ref().is_some_and(|hash| *hash != hex::encode(sha2::Sha256::digest(bytes))) {
        return Err(mismatch("sha256"));
    }
    if sha512.as_ref().is_some_and(|hash| *hash != hex::encode(sha2::Sha512::digest(bytes))) {
        return Err(mismatch("sha512"));
    }
    Ok(())
}

fn object<'a>(
    role: Role,
    signed: &'a Map<String, Value>,
    field: &str,
) -> Result<&'a Map<String, Value>, TufError> {
    let value = signed.get(field).and_then(Value::as_object);
    value.ok_or_else(|| malformed(role, format!("`{field}` is no object")))
}
