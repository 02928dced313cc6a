//! Signatures with a key of the policy's.
use jiff::Timestamp;
use sigstore_verify::PublicKeyVerificationPolicy;

use super::Found;
use super::Lasting;
use super::Parsed;
use super::Question;
use super::VerifiedSigner;
use super::artifact;
use super::check_times;
use super::explain;
use super::key::HashAlgorithm;
use super::key::PublicKey;
use super::key::Scheme;
use super::log;
use super::log::Named;
use super::sha256;
use super::timestamp;
use crate::image::Digest;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::Step;
use crate::verdict::StepReport;

/// (3), (6) and (7) for a key.
pub(super) fn examine(
    parsed: &Parsed,
    key: &PublicKey,
    question: &Question<'_>,
    steps: &mut Vec<StepReport>,
) -> Result<Found, Failure> {
    let (scheme, times) = match examine_once(parsed, key, question) {
        Some(found) => found,
        None => examine_in_full(parsed, key, question, steps)?,
    };
    let fingerprint = key.fingerprint().to_owned();
    Ok(Found {
        signer: VerifiedSigner::Key { fingerprint },
        statement: parsed.statement.clone(),
        // An entry's proof states no time: without one, the log's key had to be valid now.
        lasting: if times.is_empty() && parsed.entries() > 0 {
            Lasting::ForNow
        } else {
            Lasting::Forever
        },
        times,
        certificate: StepReport::not_required(Step::Certificate, "a key, no certificate"),
        signature: format!("{scheme}, under the policy's key, over this image"),
    })
}

/// Scheme and signing times of a signature in which nothing is amiss, with each signature under it
/// verified once. `None` says nothing: [`examine_in_full`] finds out what it is, if anything.
///
/// `sigstore-verify` is left the signature, timestamps, and that the log entries are about it. The
/// entries' SETs and proofs, which it would verify in part and this project once more, are verified
/// here alone: by [`log::promised_time`], and by [`log::are_included`] together with the windows of
/// the logs' keys. Neither accepts what `sigstore-verify` would not.
fn examine_once(
    parsed: &Parsed,
    key: &PublicKey,
    question: &Question<'_>,
) -> Option<(Scheme, Vec<Timestamp>)> {
    let Question { trust_root, now, digest, .. } = *question;
    let bare = parsed.entries() == 0 && parsed.timestamps() == 0;
    if bare || parsed.oldest.is_some() {
        return None;
    }
    // Of a key it tries one scheme alone, which is this one.
    let known = |scheme: &Scheme| known_to_library(*scheme, parsed);
    let scheme = key.schemes().iter().copied().find(known)?;
    let policy = PublicKeyVerificationPolicy::new(key.spki()).skip_tlog_unsafe();
    let hash = sha256(digest).ok()?;
    let artifact = artifact(parsed, &hash);
    let verified = trust_root.verifier().verify(artifact, &parsed.bundle, &policy).ok()?;
    let mut times = Vec::new();
    for entry in &parsed.bundle.verification_material.tlog_entries {
        times.extend(log::promised_time(entry, trust_root).ok()?);
    }
    times.extend(verified.verified_timestamps());
    check_times(&times, now).ok()?;
    let included =
        parsed.entries() == 0 || log::are_included(&parsed.bundle, trust_root, &times, now);
    included.then_some((scheme, times))
}

/// Scheme and signing times, or what is amiss.
fn examine_in_full(
    parsed: &Parsed,
    key: &PublicKey,
    question: &Question<'_>,
    steps: &mut Vec<StepReport>,
) -> Result<(Scheme, Vec<Timestamp>), Failure> {
    let Question { trust_root, now, digest, .. } = *question;
    let scheme = check_signature(parsed, key, digest)?;
    let times = if parsed.entries() == 0 && parsed.timestamps() == 0 {
        Vec::new()
    } else if parsed.oldest.is_none() && known_to_library(scheme, parsed) {
        let policy = PublicKeyVerificationPolicy::new(key.spki());
        let policy = if parsed.entries() == 0 { policy.skip_tlog_unsafe() } else { policy };
        let hash = sha256(digest)?;
        let artifact = artifact(parsed, &hash);
        let verified =
            trust_root.verifier().verify(artifact, &parsed.bundle, &policy).map_err(|error| {
                steps.push(StepReport::passed(Step::Signature, format!("{scheme}, this image")));
                explain::explain(&error, parsed, None, trust_root, now).failure
            })?;
        verified.verified_timestamps().to_vec()
    } else {
        steps.push(StepReport::passed(Step::Signature, format!("{scheme}, this image")));
        let stamps = timestamp::verify(parsed, trust_root)?;
        let mut times: Vec<_> = stamps.iter().map(|stamp| stamp.time).collect();
        for entry in &parsed.bundle.verification_material.tlog_entries {
            times.extend(log::check_entry(entry, parsed, Named::Key(key), scheme, trust_root)?);
        }
        if let Some(entry) = &parsed.oldest {
            times.push(entry.check(parsed, Named::Key(key), trust_root)?);
        }
        steps.retain(|step| step.step != Step::Signature);
        times
    };
    check_times(&times, now)?;
    log::check_windows(&parsed.bundle, trust_root, &times, now)?;
    Ok((scheme, times))
}

/// (6) for a key: the scheme under which the signature verifies.
pub(super) fn check_signature(
    parsed: &Parsed,
    key: &PublicKey,
    digest: &Digest,
) -> Result<Scheme, Failure> {
    let scheme = match &parsed.message {
        Some(message) => key.verify(message, &parsed.signature),
        None => key.verify_digest(sha256(digest)?.as_bytes(), &parsed.signature),
    };
    scheme.ok_or_else(|| {
        let found = "the signature does not verify under the key";
        let fingerprint = key.fingerprint();
        Failure::new(Reason::SignatureInvalid, found)
            .wanted(format!("a signature by the key with SHA-256 {fingerprint}"))
    })
}

/// Whether `sigstore-verify` checks signature and log entry of this scheme as signers write them.
/// Of Rekor v2 it knows P-256 alone.
fn known_to_library(scheme: Scheme, parsed: &Parsed) -> bool {
    let v2 = parsed.bundle.verification_material.tlog_entries.iter().any(log::is_v2);
    scheme == Scheme::EcdsaP256(HashAlgorithm::Sha256)
        || (scheme == Scheme::RsaPkcs1(HashAlgorithm::Sha256) && !v2)
}
