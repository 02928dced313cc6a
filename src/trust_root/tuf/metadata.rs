//! Metadata files: what is signed, and by whom.
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Map;
use serde_json::Value;

use crate::verdict::printable;

use super::Role;
use super::TufError;
use super::canonical::canonical;
use super::payload::RootPayload;

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
    pub(super) version: u64,
    pub(super) expires: Timestamp,
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
            let key = demand.key_ids.get(id).and_then(|id| root.key(id));
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

pub(super) fn malformed(role: Role, problem: impl Into<String>) -> TufError {
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

pub(super) fn bounded(role: Role, what: &str, count: usize) -> Result<(), TufError> {
    if count > MAX_KEYS {
        return Err(malformed(role, format!("{count} {what}; the limit is {MAX_KEYS}")));
    }
    Ok(())
}

pub(super) fn object<'a>(
    role: Role,
    signed: &'a Map<String, Value>,
    field: &str,
) -> Result<&'a Map<String, Value>, TufError> {
    let value = signed.get(field).and_then(Value::as_object);
    value.ok_or_else(|| malformed(role, format!("`{field}` is no object")))
}
