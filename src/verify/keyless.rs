//! Signatures with a certificate of Fulcio's.
use jiff::Timestamp;
use sigstore_verify::VerificationPolicy;

use super::Found;
use super::Lasting;
use super::Parsed;
use super::Question;
use super::VerifiedSigner;
use super::artifact;
use super::brought;
use super::certificate;
use super::certificate::SigningCertificate;
use super::chain;
use super::check_times;
use super::explain;
use super::intoto;
use super::log;
use super::log::Named;
use super::sct;
use super::sha256;
use super::timestamp;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::Step;
use crate::verdict::StepReport;

/// (3) to (7) for a certificate.
pub(super) fn examine(
    parsed: &Parsed,
    question: &Question<'_>,
    steps: &mut Vec<StepReport>,
) -> Result<Found, Failure> {
    let leaf = certificate::of(parsed)?;
    let certificate = SigningCertificate::parse(leaf.as_bytes())?;
    if let Some(entry) = &parsed.oldest {
        let times = examine_oldest(parsed, entry, leaf.as_bytes(), &certificate, question, steps)?;
        steps.retain(|step| !matches!(step.step, Step::LogEntry | Step::Certificate));
        return Ok(found_keyless(parsed, certificate, times));
    }
    let times = match examine_once(parsed, leaf.as_bytes(), &certificate, question) {
        Some(times) => times,
        None => examine_in_full(parsed, leaf.as_bytes(), &certificate, question, steps)?,
    };
    Ok(found_keyless(parsed, certificate, times))
}

/// The signing times of a signature in which nothing is amiss, with each signature under it verified
/// once. `None` says nothing: [`examine_in_full`] finds out what it is, if anything.
///
/// `sigstore-verify` is left what belongs to the signature: the times of timestamps and SETs, the
/// signature itself, and that the log entries are about it. The certificate's chain and timestamp,
/// and the entries' proofs, which it would verify in part and this project once more, are verified
/// here alone: by [`chain::check`] from the certificate to the root, and not to the first
/// certificate that is trusted; by [`sct::is_logged_once`] for the issuer of that very chain; and by
/// [`log::are_included`] together with the windows of the logs' keys. None of them accepts what
/// `sigstore-verify` would not.
fn examine_once(
    parsed: &Parsed,
    leaf: &[u8],
    certificate: &SigningCertificate,
    question: &Question<'_>,
) -> Option<Vec<Timestamp>> {
    let Question { trust_root, now, digest, .. } = *question;
    let policy = VerificationPolicy::any_identity().skip_certificate_chain().skip_tlog_unsafe();
    let hash = sha256(digest).ok()?;
    let artifact = artifact(parsed, &hash);
    let verified = trust_root.verifier().verify(artifact, &parsed.bundle, &policy).ok()?;
    let times = verified.verified_timestamps().to_vec();
    check_times(&times, now).ok()?;
    for time in &times {
        certificate.check_validity(*time).ok()?;
    }
    // Without a signing time there is no chain.
    let issuer = chain::check(leaf, &brought(&parsed.bundle), trust_root, &times).ok()?;
    let included =
        || parsed.entries() == 0 || log::are_included(&parsed.bundle, trust_root, &times, now);
    (sct::is_logged_once(&certificate.tbs, issuer.key(), trust_root) && included()).then_some(times)
}

/// The signing times, or what is amiss.
fn examine_in_full(
    parsed: &Parsed,
    leaf: &[u8],
    certificate: &SigningCertificate,
    question: &Question<'_>,
    steps: &mut Vec<StepReport>,
) -> Result<Vec<Timestamp>, Failure> {
    let Question { trust_root, now, digest, .. } = *question;
    let policy = VerificationPolicy::any_identity();
    let policy = if parsed.entries() == 0 { policy.skip_tlog_unsafe() } else { policy };
    let hash = sha256(digest)?;
    let artifact = artifact(parsed, &hash);
    let verified =
        trust_root.verifier().verify(artifact, &parsed.bundle, &policy).map_err(|error| {
            let explained = explain::explain(&error, parsed, Some(certificate), trust_root, now);
            steps.extend(explained.passed.iter().map(|step| StepReport::passed(*step, "")));
            explained.failure
        })?;
    let times = verified.verified_timestamps().to_vec();
    check_times(&times, now)?;
    if times.is_empty() || !verified.certificate_verified() || !verified.sct_verified() {
        let found = "the certificate was not verified in full";
        return Err(Failure::new(Reason::CertificateUntrusted, found));
    }
    chain::check(leaf, &brought(&parsed.bundle), trust_root, &times)?;
    log::check_windows(&parsed.bundle, trust_root, &times, now)?;
    Ok(times)
}

fn found_keyless(parsed: &Parsed, certificate: SigningCertificate, times: Vec<Timestamp>) -> Found {
    Found {
        certificate: StepReport::passed(Step::Certificate, "chain, usage and SCT"),
        signature: "under the certificate's key, over this image".to_owned(),
        signer: VerifiedSigner::Certificate(certificate.identity),
        statement: parsed.statement.clone(),
        // Everything was held against the signing times.
        lasting: Lasting::Forever,
        times,
    }
}

/// (3) to (7) for a certificate and a log entry that `sigstore-verify` does not know. Returns the
/// signing times.
fn examine_oldest(
    parsed: &Parsed,
    entry: &intoto::Entry,
    leaf: &[u8],
    certificate: &SigningCertificate,
    question: &Question<'_>,
    steps: &mut Vec<StepReport>,
) -> Result<Vec<Timestamp>, Failure> {
    let Question { trust_root, now, .. } = *question;
    let message = parsed.message.as_deref().unwrap_or_default();
    if certificate.key.verify(message, &parsed.signature).is_none() {
        let found = "the signature does not verify under the certificate's key";
        return Err(Failure::new(Reason::SignatureInvalid, found));
    }
    let mut times = vec![entry.check(parsed, Named::Certificate(leaf), trust_root)?];
    steps.push(StepReport::passed(Step::LogEntry, ""));
    times.extend(timestamp::verify(parsed, trust_root)?.iter().map(|stamp| stamp.time));
    check_times(&times, now)?;
    let brought = brought(&parsed.bundle);
    for time in &times {
        certificate.check_validity(*time)?;
        chain::check_at(leaf, &brought, trust_root, *time).map_err(|failure| {
            explain::outlived(&[*time], parsed, trust_root).unwrap_or(failure)
        })?;
    }
    sct::check(leaf, &brought, trust_root)?;
    Ok(times)
}
