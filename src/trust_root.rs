//! A Sigstore trust root: the certificate authorities, logs and timestamp authorities to believe.

/// A parsed `trusted_root.json`.
#[derive(Clone, Debug)]
pub struct TrustRoot {}

impl TrustRoot {
    /// The public-good instance's, embedded at build time.
    pub fn public_good() -> Self {
        todo!()
    }

    /// Parses a `trusted_root.json` (Sigstore protobuf specification, `sigstore_trustroot.proto`).
    ///
    /// # Errors
    /// When the document is no such JSON, or nothing in it can be used.
    pub fn from_json(_json: &str) -> Result<Self, TrustRootError> {
        todo!()
    }
}

/// Why a document is not a trust root.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct TrustRootError {
    /// What is wrong, in one clause.
    pub problem: String,
}
