//! What metadata says of other files.
use serde_json::Value;
use sha2::Digest as _;

use crate::verdict::printable;

use super::Role;
use super::TufError;
use super::metadata::malformed;

/// What a role says of another role's metadata (4.4, METAFILES).
#[derive(Clone, Debug)]
pub(super) struct MetaFile {
    pub(super) version: u64,
    pub(super) length: Option<u64>,
    pub(super) hashes: Option<Hashes>,
}

impl MetaFile {
    pub(super) fn read(role: Role, entry: &Value) -> Result<Self, TufError> {
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
    pub(super) fn read(name: &str, entry: &Value) -> Result<Self, TufError> {
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
