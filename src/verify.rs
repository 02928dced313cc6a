//! Verification of one candidate signature: pure and synchronous.
//!
//! [`verify`] stands on the `sigstore-verify` crate, which this module, [`crate::trust_root`] and
//! nothing else name. Before it come limits and what the payload must say; after it what it leaves
//! to its callers: chains in time, windows of log keys, keys that it does not know.
use std::sync::Arc;

use jiff::Timestamp;
use sigstore_verify::types::Artifact;
use sigstore_verify::types::Bundle;
use sigstore_verify::types::Sha256Hash;
use sigstore_verify::types::bundle::VerificationMaterialContent;

use crate::evidence::Candidate;
use crate::evidence::Content;
use crate::evidence::LookedUp;
use crate::image::Algorithm;
use crate::image::Digest;
use crate::policy::Demands;
use crate::policy::LogDemand;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::Step;
use crate::verdict::StepReport;

mod bundle;
mod certificate;
mod chain;
mod classic;
mod explain;
mod intoto;
mod key;
mod keyed;
mod keyless;
mod log;
mod lookup;
mod payload;
mod pki;
mod question;
mod sct;
mod threshold;
mod timestamp;

pub use bundle::MAX_BUNDLE_BYTES;
pub use bundle::MAX_LOG_ENTRIES;
pub use bundle::MAX_TIMESTAMPS;
pub use certificate::CLAIM_NAMES;
pub use certificate::CertificateIdentity;
pub use classic::MAX_PAYLOAD_BYTES;
pub use key::HashAlgorithm;
pub use key::KeyError;
pub use key::PublicKey;
pub use lookup::MissingEntry;
pub use lookup::missing_entry;
pub use lookup::names_signature;
pub use payload::MAX_SUBJECTS;
pub use payload::SIGN_PREDICATE_TYPE;
pub use pki::CertificateAuthority;
pub use pki::MAX_AUTHORITY_CERTIFICATES;
pub use pki::MAX_REVOCATION_LIST_BYTES;
pub use question::Question;

/// Proof that a signature was verified; made only by [`verify`]. Cheap to clone.
#[derive(Clone, Debug)]
pub struct VerifiedSignature(Arc<Proof>);

#[derive(Debug)]
struct Proof {
    signer: VerifiedSigner,
    statement: Option<Vec<u8>>,
    signing_times: Vec<Timestamp>,
    lasting: Lasting,
}

/// For how long a verification need not be repeated, under the same trust root.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lasting {
    /// It comes to the same at any later time. Of the present it was asked only that the signing
    /// times have passed, and that the keys of logs have begun to be valid.
    Forever,
    /// It depends on the present: a key, a certificate or a list had to be valid now.
    ForNow,
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
    pub fn signer(&self) -> &VerifiedSigner {
        &self.0.signer
    }

    /// The statement, where one was signed: the very bytes that were verified.
    pub fn statement(&self) -> Option<&[u8]> {
        self.0.statement.as_deref()
    }

    /// Every authenticated signing time; empty for a key without log entry and timestamp.
    pub fn signing_times(&self) -> &[Timestamp] {
        &self.0.signing_times
    }

    /// For how long this is so.
    pub fn lasting(&self) -> Lasting {
        self.0.lasting
    }
}

/// The outcome of [`verify`]: the steps that were reached, and the proof or the failure.
#[derive(Clone, Debug)]
pub struct Examined {
    /// Steps in order; the last one may have failed. The steps `subject`, `identity` and
    /// `conditions` are the caller's.
    pub steps: Vec<StepReport>,
    /// The proof, or why there is none.
    pub result: Result<VerifiedSignature, Failure>,
}

/// A candidate's parts, parsed within limits, about the right image; not believed yet.
struct Parsed {
    bundle: Bundle,
    /// What was signed: the payload, or the envelope's pre-authentication encoding. `None` for a
    /// signature over the image manifest itself, of which only the digest is known.
    message: Option<Vec<u8>>,
    signature: Vec<u8>,
    /// The statement in the envelope that `message` encodes, where it is one.
    statement: Option<Vec<u8>>,
    /// A log entry that `bundle` cannot hold.
    oldest: Option<intoto::Entry>,
}

impl Parsed {
    fn entries(&self) -> usize {
        self.bundle.verification_material.tlog_entries.len() + usize::from(self.oldest.is_some())
    }

    fn timestamps(&self) -> usize {
        let material = &self.bundle.verification_material;
        material.timestamp_verification_data.rfc3161_timestamps.len()
    }
}

/// What a successful verification found, for the explanation.
struct Found {
    signer: VerifiedSigner,
    statement: Option<Vec<u8>>,
    times: Vec<Timestamp>,
    lasting: Lasting,
    certificate: StepReport,
    signature: String,
}

/// Verifies one candidate.
///
/// Steps, numbered as explanations list them: (2) a log entry is attached where one is asked for;
/// (3) its proof, checkpoint and SET, and that it is about this signature, key or certificate and
/// payload; (4) the evidence parses within limits and is about this image; (5) the certificate's
/// chain at every signing time, its usage and its SCT; (6) the signature; (7) every signing time
/// lies within the validity of certificate and keys; and of (3) and (7), that as many distinct logs
/// and authorities vouch as are asked for. Sigstore client specification, section 4.
pub fn verify(candidate: &Candidate, question: &Question<'_>) -> Examined {
    run(candidate, question, None, &LookedUp::NotAsked)
}

/// Verifies one candidate, with what a log answered about the entry that it lacks.
///
/// As [`verify`]; (2) an entry that the log gave stands for one that is attached. What is attached
/// is never replaced, and where no entry is asked for none is looked at.
pub fn verify_looked_up(
    candidate: &Candidate,
    question: &Question<'_>,
    looked_up: &LookedUp,
) -> Examined {
    run(candidate, question, None, looked_up)
}

/// The same for a certificate of the policy's own `authority` in place of Fulcio's: no SCT, and the
/// present stands for the signing time where nothing proves one. The trust root is for log entries
/// and timestamps alone.
pub fn verify_certified(
    candidate: &Candidate,
    question: &Question<'_>,
    authority: &CertificateAuthority,
) -> Examined {
    run(candidate, &Question { key: None, ..*question }, Some(authority), &LookedUp::NotAsked)
}

fn run(
    candidate: &Candidate,
    question: &Question<'_>,
    authority: Option<&CertificateAuthority>,
    looked_up: &LookedUp,
) -> Examined {
    let mut steps = Vec::new();
    let result = examine(candidate, question, authority, looked_up, &mut steps).map(|found| {
        let Found { signer, statement, times, lasting, certificate, signature } = found;
        steps.push(certificate);
        steps.push(StepReport::passed(Step::Signature, signature));
        steps.push(match times.as_slice() {
            [] if authority.is_some() => {
                StepReport::not_required(Step::Time, "the certificate is valid now")
            }
            [] => StepReport::not_required(Step::Time, "a key needs no signing time"),
            [first, ..] => StepReport::passed(Step::Time, format!("signed at {first}")),
        });
        VerifiedSignature(Arc::new(Proof { signer, statement, signing_times: times, lasting }))
    });
    if let Err(failure) = &result {
        steps.retain(|step| step.step != failure.step());
        steps.push(StepReport::failed(failure));
    }
    steps.sort_by_key(|step| step.step);
    Examined { steps, result }
}

fn examine(
    candidate: &Candidate,
    question: &Question<'_>,
    authority: Option<&CertificateAuthority>,
    looked_up: &LookedUp,
    steps: &mut Vec<StepReport>,
) -> Result<Found, Failure> {
    let (parsed, content) = parse(candidate, question)?;
    steps.push(StepReport::passed(Step::Evidence, describe(&parsed, content)));
    let lacks_entry = parsed.entries() == 0 && question.demands.log != LogDemand::Optional;
    match looked_up {
        LookedUp::Answered(answer) if lacks_entry => {
            lookup::examine(&parsed, content, question, answer, steps)
        }
        LookedUp::Failed(failure) if lacks_entry => Err(failure.clone()),
        LookedUp::Answered(_) | LookedUp::Failed(_) | LookedUp::NotAsked => {
            examine_parsed(&parsed, question, authority, steps)
        }
    }
}

/// (4) The candidate, parsed within limits.
fn parse<'a>(
    candidate: &'a Candidate,
    question: &Question<'_>,
) -> Result<(Parsed, &'a Content), Failure> {
    if question.digest.algorithm() != Algorithm::Sha256 {
        let found = format!("the image is named by {}", question.digest);
        return Err(Failure::new(Reason::ImageDigestUnsupported, found).wanted("a sha256 digest"));
    }
    let content = candidate.content.as_ref().map_err(Clone::clone)?;
    let parsed = match content {
        Content::Bundle(bytes) => bundle::parse(bytes, question.payload, question.digest)?,
        Content::Envelope { envelope, annotations } => {
            let keyed = question.key.is_some();
            classic::parse_envelope(
                envelope,
                annotations,
                keyed,
                question.payload,
                question.digest,
            )?
        }
        Content::SimpleSigning { payload, annotations } => {
            let keyed = question.key.is_some();
            classic::parse(payload, annotations, keyed, question.payload, question.digest)?
        }
    };
    timestamp::check_size(&parsed)?;
    Ok((parsed, content))
}

/// (2), (3) and (5) to (7).
fn examine_parsed(
    parsed: &Parsed,
    question: &Question<'_>,
    authority: Option<&CertificateAuthority>,
    steps: &mut Vec<StepReport>,
) -> Result<Found, Failure> {
    check_kind(parsed, question)?;
    steps.push(check_demands(parsed, question)?);
    log::check_bodies(&parsed.bundle)?;
    let found = match (question.key, authority) {
        (Some(key), _) => keyed::examine(parsed, key, question, steps)?,
        (None, Some(authority)) => pki::examine(parsed, authority, question, steps)?,
        (None, None) => keyless::examine(parsed, question, steps)?,
    };
    threshold::check(parsed, question.demands, question.trust_root).inspect_err(|_| {
        steps.push(found.certificate.clone());
        steps.push(StepReport::passed(Step::Signature, found.signature.clone()));
    })?;
    steps.push(describe_log(parsed));
    Ok(found)
}

/// A key's signature where a key is asked for, a certificate's where a certificate is.
fn check_kind(parsed: &Parsed, question: &Question<'_>) -> Result<(), Failure> {
    match (question.key, parsed.bundle.signing_certificate()) {
        (Some(_), None) | (None, Some(_)) => Ok(()),
        (Some(_), Some(_)) => {
            let found = "the bundle was signed with a certificate";
            Err(Failure::new(Reason::CertificateUnexpected, found).wanted("the policy's key"))
        }
        (None, None) => {
            let found = "the signature was made with a key";
            Err(Failure::new(Reason::CertificateAbsent, found).wanted("a signing certificate"))
        }
    }
}

/// (2) What the policy asks for is attached, and what is attached can be checked.
fn check_demands(parsed: &Parsed, question: &Question<'_>) -> Result<StepReport, Failure> {
    let Demands { log, log_threshold: _, timestamp, timestamp_threshold: _ } = question.demands;
    let entries = &parsed.bundle.verification_material.tlog_entries;
    if parsed.entries() == 0 && log != LogDemand::Optional {
        return Err(Failure::new(Reason::LogEntryAbsent, "no log entry is attached")
            .wanted("a transparency log entry"));
    }
    let unproven = || {
        Failure::new(Reason::InclusionProofAbsent, "a log entry without an inclusion proof")
            .wanted("an inclusion proof with a checkpoint")
    };
    if parsed.oldest.is_some() && log == LogDemand::Proof {
        return Err(unproven());
    }
    let v0_1 = parsed.bundle.media_type == sigstore_verify::types::MediaType::Bundle0_1;
    for entry in entries {
        // A promise is about a time; without one no key's window would hold it.
        if entry.inclusion_promise.is_some()
            && !log::is_v2(entry)
            && entry.integrated_time.is_none()
        {
            let found = "the log entry's promise states no time of integration";
            return Err(Failure::new(Reason::LogEntryMalformed, found).wanted("its time"));
        }
        let proven = entry.inclusion_proof.is_some();
        let promised = entry.inclusion_promise.is_some() && !log::is_v2(entry);
        if !proven && (log == LogDemand::Proof || !promised || !v0_1) {
            return Err(unproven());
        }
    }
    if timestamp && parsed.timestamps() == 0 {
        return Err(Failure::new(Reason::TimestampAbsent, "no RFC 3161 timestamp is attached")
            .wanted("a timestamp of a trusted authority"));
    }
    Ok(match parsed.entries() {
        0 => StepReport::not_required(Step::LogLookup, "none attached, none asked for"),
        1 => StepReport::passed(Step::LogLookup, "attached"),
        many => StepReport::passed(Step::LogLookup, format!("{many} attached")),
    })
}

/// (7) No signing time lies in the future.
fn check_times(times: &[Timestamp], now: Timestamp) -> Result<(), Failure> {
    match times.iter().find(|time| **time > now) {
        Some(time) => Err(Failure::new(Reason::SigningTimeInFuture, format!("signed at {time}"))
            .wanted(format!("a time before {now}"))),
        None => Ok(()),
    }
}

fn sha256(digest: &Digest) -> Result<Sha256Hash, Failure> {
    Sha256Hash::from_hex(digest.hex())
        .map_err(|error| Failure::new(Reason::ImageDigestUnsupported, error))
}

/// What a message signature is over: the classic payload, or the image by its digest.
fn artifact<'a>(parsed: &'a Parsed, hash: &Sha256Hash) -> Artifact<'a> {
    use sigstore_verify::types::SignatureContent;
    match (&parsed.bundle.content, &parsed.message) {
        (SignatureContent::MessageSignature(_), Some(message)) => Artifact::Blob(message),
        _ => Artifact::from_digest(*hash),
    }
}

/// The certificates that came along with the signing certificate.
fn brought(bundle: &Bundle) -> Vec<Vec<u8>> {
    match &bundle.verification_material.content {
        VerificationMaterialContent::X509CertificateChain { certificates } => {
            certificates.iter().skip(1).map(|one| one.raw_bytes.as_bytes().to_vec()).collect()
        }
        VerificationMaterialContent::Certificate(_)
        | VerificationMaterialContent::PublicKey(_)
        | _ => Vec::new(),
    }
}

fn describe(parsed: &Parsed, content: &Content) -> String {
    let kind = match content {
        Content::Bundle(_) => "bundle",
        Content::Envelope { .. } => "attestation",
        Content::SimpleSigning { .. } => "simple signing",
    };
    match parsed.timestamps() {
        0 => kind.to_owned(),
        1 => format!("{kind} with a timestamp"),
        many => format!("{kind} with {many} timestamps"),
    }
}

fn describe_log(parsed: &Parsed) -> StepReport {
    if let Some(entry) = &parsed.oldest {
        let found = format!("index {}, signed entry timestamp", entry.index);
        return StepReport::passed(Step::LogEntry, found);
    }
    let entries = &parsed.bundle.verification_material.tlog_entries;
    let Some(entry) = entries.first() else {
        return StepReport::not_required(Step::LogEntry, "no log entry");
    };
    // Rekor v2 makes no promises: one that stands there says nothing.
    let promise = entry.inclusion_promise.as_ref().filter(|_| !log::is_v2(entry));
    let proof = match (promise, &entry.inclusion_proof) {
        (Some(_), Some(_)) => "signed entry timestamp and inclusion proof",
        (Some(_), None) => "signed entry timestamp",
        (None, _) => "inclusion proof",
    };
    let index = entry.log_index.get();
    StepReport::passed(Step::LogEntry, format!("index {index}, {proof}"))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
