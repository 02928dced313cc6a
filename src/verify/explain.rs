//! Errors of `sigstore-verify` as our reasons, and how far it had come.
//!
//! The one place that knows its error types. It verifies in another order than explanations list:
//! times, chain, SCT, log entries, signature, then that the entries are about the signature. So an
//! error also says which steps had been passed.
use jiff::Timestamp;
use sigstore_verify::CertificateError;
use sigstore_verify::Error;
use sigstore_verify::TimestampError;
use sigstore_verify::TransparencyLogError;
use sigstore_verify::bundle::Error as BundleError;
use sigstore_verify::types::TransparencyLogEntry;
use sigstore_verify::types::bundle::InclusionProof;

use super::Parsed;
use super::certificate::SigningCertificate;
use super::chain;
use super::timestamp;
use crate::trust_root::TrustRoot;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::Step;

/// What went wrong, and the steps that had been passed before.
pub(super) struct Explained {
    pub(super) failure: Failure,
    pub(super) passed: &'static [Step],
}

/// Explains an error of `sigstore-verify` about `parsed`.
#[expect(clippy::wildcard_enum_match_arm, reason = "what cannot arise here is malformed")]
pub(super) fn explain(
    error: &Error,
    parsed: &Parsed,
    certificate: Option<&SigningCertificate>,
    root: &TrustRoot,
    now: Timestamp,
) -> Explained {
    let failure = match error {
        Error::SignatureInvalid(_) => {
            Failure::new(Reason::SignatureInvalid, "the signature does not verify under the key")
        }
        // The payload's naming of the image was checked before: what is left is the log's.
        Error::ArtifactMismatch(detail) => Failure::new(Reason::LogEntryMismatch, detail),
        Error::Certificate(error) => explain_certificate(error, parsed, certificate, root),
        Error::TransparencyLog(error) => explain_log(error, parsed, root, now),
        Error::Timestamp(error) => explain_timestamp(error),
        Error::Bundle(error) => explain_bundle(error, parsed),
        Error::UnsupportedBundle(_) | Error::UnsupportedArtifact(_) => {
            Failure::new(Reason::EvidenceUnsupported, error)
        }
        // The root was sanitised when it was read: only a CT log can still be missing.
        Error::InvalidTrustRoot(detail) => Failure::new(Reason::SctInvalid, detail),
        Error::Crypto(_) => Failure::new(Reason::KeyUnsupported, error),
        _ => Failure::new(Reason::EvidenceMalformed, error),
    };
    let passed = match error {
        // The bundle's form is looked at before anything else.
        Error::Bundle(_) => &[],
        _ => passed(failure.reason),
    };
    Explained { failure, passed }
}

/// The steps that are complete when a failure of this reason comes out of `sigstore-verify`.
#[expect(clippy::wildcard_enum_match_arm, reason = "any other failure comes before all checks")]
const fn passed(reason: Reason) -> &'static [Step] {
    match reason {
        Reason::InclusionProofInvalid | Reason::CheckpointInvalid => {
            &[Step::Certificate, Step::Time]
        }
        Reason::SignatureInvalid => &[Step::Certificate, Step::Time],
        Reason::LogEntryMismatch => &[Step::Certificate, Step::Time, Step::Signature],
        _ => &[],
    }
}

fn explain_certificate(
    error: &CertificateError,
    parsed: &Parsed,
    certificate: Option<&SigningCertificate>,
    root: &TrustRoot,
) -> Failure {
    match error {
        CertificateError::Malformed(detail) => Failure::new(Reason::CertificateMalformed, detail),
        CertificateError::NoValidAuthority { time } => Failure::new(
            Reason::CertificateAuthorityExpired,
            format!("no certificate authority of the trust root was valid at {time}"),
        ),
        CertificateError::Sct(detail) => Failure::new(Reason::SctInvalid, detail),
        CertificateError::NotYetValid { .. } | CertificateError::Expired { .. } => {
            Failure::new(Reason::SigningTimeOutsideCertificate, error)
        }
        // A chain that is broken in time only: the certificate's or its authority's.
        CertificateError::ChainInvalid(detail) => {
            let times = stated_times(parsed, root);
            certificate
                .and_then(|certificate| outside_validity(&times, certificate))
                .or_else(|| outlived(&times, parsed, root))
                .unwrap_or_else(|| Failure::new(Reason::CertificateUntrusted, detail))
        }
        _ => Failure::new(Reason::CertificateUntrusted, error),
    }
}

/// The times of promises and timestamps. They had been verified before the chain was looked at.
fn stated_times(parsed: &Parsed, root: &TrustRoot) -> Vec<Timestamp> {
    let entries = &parsed.bundle.verification_material.tlog_entries;
    let promised = entries.iter().filter(|entry| entry.inclusion_promise.is_some());
    let mut times: Vec<Timestamp> = promised.filter_map(|entry| entry.integrated_time).collect();
    let stamps = timestamp::verify(parsed, root).unwrap_or_default();
    times.extend(stamps.iter().map(|stamp| stamp.time));
    times
}

fn outside_validity(times: &[Timestamp], certificate: &SigningCertificate) -> Option<Failure> {
    let SigningCertificate { not_before, not_after, .. } = certificate;
    let time = times.iter().find(|time| *time < not_before || *time > not_after)?;
    let found = format!("signed at {time}");
    Some(
        Failure::new(Reason::SigningTimeOutsideCertificate, found)
            .wanted(format!("a time from {not_before} to {not_after}")),
    )
}

/// The certificate is of an authority that the trust root lists for other times only.
pub(super) fn outlived(times: &[Timestamp], parsed: &Parsed, root: &TrustRoot) -> Option<Failure> {
    let leaf = parsed.bundle.signing_certificate()?;
    let brought = super::brought(&parsed.bundle);
    let time = times
        .iter()
        .find(|time| chain::chains_outside_window(leaf.as_bytes(), &brought, root, **time))?;
    let found = format!("the certificate's authority was not to be trusted at {time}");
    Some(Failure::new(Reason::CertificateAuthorityExpired, found))
}

fn explain_log(
    error: &TransparencyLogError,
    parsed: &Parsed,
    root: &TrustRoot,
    now: Timestamp,
) -> Failure {
    match error {
        TransparencyLogError::UnknownLog { log_id } => unknown_log(log_id),
        TransparencyLogError::InclusionProof(detail) => {
            Failure::new(Reason::InclusionProofInvalid, detail)
        }
        TransparencyLogError::Checkpoint(detail) => explain_checkpoint(parsed, root)
            .unwrap_or_else(|| Failure::new(Reason::CheckpointInvalid, detail)),
        TransparencyLogError::InclusionPromise(detail) => explain_promise(parsed, root)
            .unwrap_or_else(|| Failure::new(Reason::InclusionPromiseInvalid, detail)),
        TransparencyLogError::EntryMismatch(detail) => {
            Failure::new(Reason::LogEntryMismatch, detail)
        }
        TransparencyLogError::IntegratedTime(detail) => {
            let entries = &parsed.bundle.verification_material.tlog_entries;
            let future = entries.iter().filter_map(|entry| entry.integrated_time).max() > Some(now);
            let reason = if future {
                Reason::SigningTimeInFuture
            } else {
                Reason::SigningTimeOutsideCertificate
            };
            Failure::new(reason, detail)
        }
        TransparencyLogError::MalformedEntry(_) | _ => {
            Failure::new(Reason::LogEntryMalformed, error)
        }
    }
}

/// A checkpoint that no key of the trust root was even asked about is of an unknown log.
fn explain_checkpoint(parsed: &Parsed, root: &TrustRoot) -> Option<Failure> {
    let entries = &parsed.bundle.verification_material.tlog_entries;
    let checkpoints = entries.iter().filter_map(|entry| {
        entry.inclusion_proof.as_ref().and_then(|proof| proof.checkpoint.checkpoint())
    });
    for checkpoint in checkpoints {
        let known = checkpoint.signatures().iter().any(|signature| {
            root.logs().iter().any(|log| log.id.starts_with(signature.key_id.as_bytes()))
        });
        if !known {
            return Some(unknown_log(checkpoint.origin()));
        }
    }
    None
}

fn explain_promise(parsed: &Parsed, root: &TrustRoot) -> Option<Failure> {
    let entries = &parsed.bundle.verification_material.tlog_entries;
    let outside = |entry: &TransparencyLogEntry| {
        let id = entry.log_id.key_id.as_bytes();
        let Some(log) = root.logs().iter().find(|log| log.id.as_slice() == id) else {
            return Some(unknown_log(&hex::encode(id)));
        };
        let time = entry.integrated_time.filter(|time| !log.valid_at(*time))?;
        let found = format!("the log's key was not valid at {time}");
        Some(Failure::new(Reason::LogKeyOutsideWindow, found))
    };
    entries.iter().filter(|entry| entry.inclusion_promise.is_some()).find_map(outside)
}

fn unknown_log(log: &str) -> Failure {
    Failure::new(Reason::LogUnknown, format!("the entry is of the log {log}"))
        .wanted("a log of the trust root")
}

pub(super) fn explain_timestamp(error: &TimestampError) -> Failure {
    match error {
        TimestampError::OutsideAuthorityValidity { .. } => {
            Failure::new(Reason::TimestampOutsideWindow, error)
        }
        TimestampError::NoVerifiedTimestamp(_) => Failure::new(
            Reason::TimestampAbsent,
            "neither a signed entry timestamp nor an RFC 3161 timestamp is attached",
        ),
        TimestampError::Invalid(_) | _ => Failure::new(Reason::TimestampInvalid, error),
    }
}

fn explain_bundle(error: &BundleError, parsed: &Parsed) -> Failure {
    let reason = match error {
        // Without a checkpoint nothing vouches for the root; the proof may be wrong besides.
        BundleError::MissingCheckpoint if !proofs_lead_to_their_roots(parsed) => {
            Reason::InclusionProofInvalid
        }
        BundleError::MissingInclusionPromise(_) => Reason::LogEntryAbsent,
        BundleError::MissingInclusionProof(_) => Reason::InclusionProofAbsent,
        BundleError::MissingCheckpoint | BundleError::CheckpointRootMismatch => {
            Reason::CheckpointInvalid
        }
        BundleError::LogIndexOutOfRange { .. } => Reason::InclusionProofInvalid,
        BundleError::MissingTimestamp | BundleError::MissingSigningTimeEvidence => {
            Reason::TimestampAbsent
        }
        BundleError::UnsupportedMediaType(_) | BundleError::UnsupportedVerificationMaterial => {
            Reason::EvidenceUnsupported
        }
        BundleError::CertificateChainNotAllowed(_) | _ => Reason::EvidenceMalformed,
    };
    Failure::new(reason, error)
}

fn proofs_lead_to_their_roots(parsed: &Parsed) -> bool {
    parsed.bundle.verification_material.tlog_entries.iter().all(|entry| {
        entry.inclusion_proof.as_ref().is_none_or(|proof| {
            let leaf = sigstore_merkle::hash_leaf(entry.canonicalized_body.as_bytes());
            let InclusionProof { log_index, tree_size, hashes, root_hash, .. } = proof;
            let index = log_index.get();
            sigstore_merkle::verify_inclusion_proof(&leaf, index, *tree_size, hashes, root_hash)
                .is_ok()
        })
    })
}
