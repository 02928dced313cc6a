//! A certificate authority in memory, for running without one.
use std::path::Path;

use jiff::SignedDuration;
use jiff::Timestamp;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::KeyPair;

use super::TlsError;
use super::issue;

/// Names that every leaf is for, besides those that are asked for.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long the authority is valid. It lives in memory only and ends with the process, so that it
/// must outlast any process.
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// When a leaf is replaced: this long before its end.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// An authority whose key never leaves this process.
pub struct SelfSigned {
    authority: CertifiedIssuer<'static, KeyPair>,
    names: Vec<String>,
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfSigned").field("names", &self.names).finish_non_exhaustive()
    }
}

impl SelfSigned {
    /// An authority that issues for the local names and for `names`: DNS names or addresses.
    ///
    /// # Errors
    /// When a name is none that a certificate can hold.
    pub fn new(names: &[String], now: Timestamp) -> Result<Self, TlsError> {
        let mut all: Vec<String> = LOCAL_NAMES.map(str::to_owned).to_vec();
        all.extend(names.iter().filter(|name| !LOCAL_NAMES.contains(&name.as_str())).cloned());
        CertificateParams::new(all.clone()).map_err(|_| {
            TlsError::Issue(format!("one of the names cannot be in a certificate: {names:?}"))
        })?;
        let authority = issue::authority("Tegata self-signed authority", now, AUTHORITY_LIFETIME)
            .map_err(|error| TlsError::Issue(error.to_string()))?;
        Ok(Self { authority, names: all })
    }

    /// The authority's certificate as PEM: what clients must trust.
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// Writes [`Self::authority_pem`] to a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn export(&self, path: &Path) -> Result<(), TlsError> {
        std::fs::write(path, self.authority_pem())
            .map_err(|source| TlsError::Export { path: path.to_owned(), source })
    }

    /// A new leaf and its key, as PEM.
    pub(super) fn issue(&self, now: Timestamp) -> Result<(String, String), String> {
        let not_after = now.checked_add(issue::LEAF_LIFETIME).map_err(|error| error.to_string())?;
        issue::leaf(&self.authority, &self.names, now, not_after).map_err(|error| error.to_string())
    }

    /// Whether a leaf that ends at `expires` is to be replaced.
    pub(super) fn renewal_due(expires: Timestamp, now: Timestamp) -> bool {
        expires.duration_since(now) < RENEW_BEFORE
    }
}
