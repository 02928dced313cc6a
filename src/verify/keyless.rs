//! Signatures with a certificate of Fulcio's.
use jiff::Timestamp;
use sigstore_verify::VerificationPolicy;

use super::Found;
use super::Parsed;
use super::Question;
use super::VerifiedSigner;
use super::artifact;
use super::brought;
use super::certificate;
use super::certificate::SigningCertificate;
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
    let Question { trust_root, now, digest, .. } = *question;
    let leaf = certificate::of(parsed)?;
    let certificate = SigningCertificate::parse(leaf.as_bytes())?;
    if let Some(entry) = &parsed.oldest {
        let times = examine_oldest(parsed, entry, leaf.as_bytes(), &certificate, question, steps)?;
        steps.retain(|step| !matches!(step.step, Step::LogEntry | Step::Certificate));
        return Ok(found_keyless(parsed, certificate, times));
    }
    let policy = VerificationPolicy::any_identity();
    let policy = if parsed.entries() == 0 { policy.skip_tlog_unsafe() } else { policy };
    let hash = sha256(digest)?;
    let artifact = artifact(parsed, &hash);
    let verified =
        trust_root.verifier().verify(artifact, &parsed.bundle, &policy).map_err(|error| {
            let explained = explain::explain(&error, parsed, Some(&certificate), trust_root, now);
            steps.extend(explained.passed.iter().map(|step| StepReport::passed(*step, "")));
            explained.failure
        })?;
    let times = verified.verified_timestamps().to_vec();
    check_times(&times, now)?;
    if times.is_empty() || !verified.certificate_verified() || !verified.sct_verified() {
        let found = "the certificate was not verified in full";
        return Err(Failure::new(Reason::CertificateUntrusted, found));
    }
    let brought = brought(&parsed.bundle);
    for time in &times {
        certificate::check_chain(leaf.as_bytes(), &brought, trust_root, *time)?;
    }
    log::check_windows(&parsed.bundle, trust_root, &times, now)?;
    Ok(found_keyless(parsed, certificate, times))
}

fn found_keyless(parsed: &Parsed, certificate: SigningCertificate, times: Vec<Timestamp>) -> Found {
    Found {
        certificate: StepReport::passed(Step::Certificate, "chain, usage and SCT"),
        signature: "under the certificate's key, over this image".to_owned(),
        signer: VerifiedSigner::Certificate(certificate.identity),
        statement: parsed.statement.clone(),
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
        certificate::check_chain(leaf, &brought, trust_root, *time).map_err(|failure| {
            explain::outlived(&[*time], parsed, trust_root).unwrap_or(failure)
        })?;
    }
    sct::check(leaf, &brought, trust_root)?;
    Ok(times)
}
