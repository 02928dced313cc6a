//! Whom a policy trusts: issuer, subject and claims of a certificate.
use crate::verdict::Failure;
use crate::verify::CertificateIdentity;

/// Issuer and subject, both mandatory, and claims.
#[derive(Clone, Debug)]
pub struct IdentityMatcher {}

impl IdentityMatcher {
    /// Stand-in.
    pub fn new(
        _issuer: super::pattern::TextMatcher,
        _subject: super::pattern::TextMatcher,
        _claims: Vec<(String, super::pattern::TextMatcher)>,
    ) -> Result<Self, super::pattern::PatternError> {
        Ok(Self {})
    }

    /// Whether the certificate's identity is the one asked for.
    ///
    /// # Errors
    /// `issuer-mismatch`, `subject-mismatch` or `claim-mismatch`, with what was found and wanted.
    pub fn matches(&self, _identity: &CertificateIdentity) -> Result<(), Failure> {
        todo!()
    }
}
