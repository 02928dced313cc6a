//! Verification of one candidate signature: pure and synchronous.
use std::collections::BTreeMap;

use jiff::Timestamp;

use crate::evidence::Candidate;
use crate::image::Digest;
use crate::policy::Demands;
use crate::policy::PayloadKind;
use crate::trust_root::TrustRoot;
use crate::verdict::Failure;
use crate::verdict::StepReport;

/// A public key that a policy names.
#[derive(Clone, Debug)]
pub struct PublicKey {}

/// A hash algorithm that a policy may name in `key.hashAlgorithm`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl PublicKey {
    /// Every public key in a PEM text (`PUBLIC KEY`, RFC 5280 SubjectPublicKeyInfo). Without
    /// `hash`, the hash follows the key, as cosign chooses it.
    ///
    /// # Errors
    /// When the text holds no key, a private key, or a key of a kind or size that is not supported.
    pub fn from_pem(_pem: &str, _hash: Option<HashAlgorithm>) -> Result<Vec<Self>, KeyError> {
        todo!()
    }

    /// SHA-256 of the SubjectPublicKeyInfo, in hexadecimal.
    pub fn fingerprint(&self) -> &str {
        todo!()
    }
}

/// Why a text is not a public key.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct KeyError {
    /// What is wrong, in one clause.
    pub problem: String,
}

/// Who signed, as a verified certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateIdentity {
    /// The OIDC issuer (Fulcio OID 1.3.6.1.4.1.57264.1.8, or .1.1 in older certificates).
    pub issuer: String,
    /// Every subject alternative name that can be an identity; never empty.
    pub subjects: Vec<String>,
    /// Further Fulcio claims by their documented names in lower camel case, for example
    /// `sourceRepositoryURI`, `sourceRepositoryRef`, `buildSignerURI`, `buildConfigURI`,
    /// `runnerEnvironment`, `buildTrigger`.
    pub claims: BTreeMap<&'static str, String>,
}

/// Every claim name that [`CertificateIdentity::claims`] can hold, for compile-time suggestions.
pub const CLAIM_NAMES: &[&str] = &[
    "githubWorkflowTrigger",
    "githubWorkflowSHA",
    "githubWorkflowName",
    "githubWorkflowRepository",
    "githubWorkflowRef",
    "buildSignerURI",
    "buildSignerDigest",
    "runnerEnvironment",
    "sourceRepositoryURI",
    "sourceRepositoryDigest",
    "sourceRepositoryRef",
    "sourceRepositoryIdentifier",
    "sourceRepositoryOwnerURI",
    "sourceRepositoryOwnerIdentifier",
    "buildConfigURI",
    "buildConfigDigest",
    "buildTrigger",
    "runInvocationURI",
    "sourceRepositoryVisibilityAtSigning",
];

/// Proof that a signature was verified; made only by [`verify`].
#[derive(Clone, Debug)]
pub struct VerifiedSignature {
    signer: VerifiedSigner,
    signing_times: Vec<Timestamp>,
}

/// The verified signer.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum VerifiedSigner {
    /// The holder of the key with this fingerprint.
    Key {
        /// SHA-256 of the SubjectPublicKeyInfo, in hexadecimal.
        fingerprint: String,
    },
    /// The subject of a certificate.
    Certificate(CertificateIdentity),
}

impl VerifiedSignature {
    /// Who signed.
    pub const fn signer(&self) -> &VerifiedSigner {
        &self.signer
    }

    /// Every authenticated signing time; empty for a key without log entry and timestamp.
    pub fn signing_times(&self) -> &[Timestamp] {
        &self.signing_times
    }
}

/// What to verify a candidate against.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The image digest that the signature must be for.
    pub digest: &'a Digest,
    /// The key that must have signed, or `None` for a certificate.
    pub key: Option<&'a PublicKey>,
    /// What must prove log inclusion and time.
    pub demands: Demands,
    /// What the payload must be.
    pub payload: &'a PayloadKind,
    /// Whom to believe.
    pub trust_root: &'a TrustRoot,
    /// The present, for refusing signing times in the future.
    pub now: Timestamp,
}

/// The outcome of [`verify`]: the steps that were reached, and the proof or the failure.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Steps in order, up to and including the failed one. The steps `subject`, `identity` and
    /// `conditions` are the caller's.
    pub steps: Vec<StepReport>,
    /// The proof, or why there is none.
    pub result: Result<VerifiedSignature, Failure>,
}

/// Verifies one candidate.
pub fn verify(_candidate: &Candidate, _question: &Question<'_>) -> Examined {
    todo!()
}
