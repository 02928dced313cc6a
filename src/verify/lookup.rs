//! Log entries that a candidate lacks and a log was asked for.
//!
//! [`missing_entry`] says what to ask. [`examine`] attaches one answer at a time and verifies the
//! whole as if the signer had attached it: an answer earns no trust by where it came from.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use sigstore_verify::types::DerCertificate;
use sigstore_verify::types::MediaType;
use sigstore_verify::types::SignatureContent;
use sigstore_verify::types::TransparencyLogEntry;
use sigstore_verify::types::bundle::VerificationMaterialContent;
use sigstore_verify::types::bundle::X509Certificate;

use super::CertificateIdentity;
use super::Found;
use super::MAX_LOG_ENTRIES;
use super::Parsed;
use super::Question;
use super::bundle;
use super::certificate::SigningCertificate;
use super::chain;
use super::classic;
use super::keyed::check_signature;
use crate::evidence::Candidate;
use crate::evidence::Content;
use crate::evidence::LogAnswer;
use crate::image::Digest;
use crate::policy::LogDemand;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::Step;
use crate::verdict::StepReport;

/// A log entry that is demanded and not attached.
#[derive(Clone, Debug)]
pub struct MissingEntry {
    /// SHA-256 of what was signed: the payload, or the image itself. Rekor lists its entries under
    /// it. Signers with SHA-384 or SHA-512 have their classic signatures listed under another.
    pub hash: Digest,
    /// The signature that the entry must name.
    pub signature: Vec<u8>,
    /// Whom the certificate names, not believed yet. `None` for a key, and for a classic signature
    /// whose certificate only the log holds.
    pub certificate: Option<CertificateIdentity>,
}

/// What a log would have to be asked, before this candidate can be good.
///
/// `None` where an entry is attached or none is demanded, and where none would help: what can be
/// checked without a time is checked here, so that nobody is asked about signatures that are bad
/// anyway, and a log that is down makes none of them undecided.
pub fn missing_entry(candidate: &Candidate, question: &Question<'_>) -> Option<MissingEntry> {
    if question.demands.log == LogDemand::Optional {
        return None;
    }
    let (parsed, content) = super::parse(candidate, question).ok()?;
    if parsed.entries() > 0 {
        return None;
    }
    let certificate = match (question.key, parsed.bundle.signing_certificate()) {
        (Some(key), None) => {
            check_signature(&parsed, key, question.digest).ok()?;
            None
        }
        (None, Some(leaf)) => Some(claimed(&parsed, leaf, question)?),
        (None, None) if may_lack_certificate(content) => None,
        (Some(_) | None, _) => return None,
    };
    let hash = match (&parsed.bundle.content, &parsed.message) {
        (SignatureContent::DsseEnvelope(envelope), _) => {
            Digest::sha256_of(envelope.payload.as_bytes())
        }
        (_, Some(message)) => Digest::sha256_of(message),
        (_, None) => question.digest.clone(),
    };
    Some(MissingEntry { hash, signature: parsed.signature, certificate })
}

/// Whom a certificate names that an authority of the trust root issued, and whose key signed.
fn claimed(
    parsed: &Parsed,
    leaf: &DerCertificate,
    question: &Question<'_>,
) -> Option<CertificateIdentity> {
    let SigningCertificate { identity, key, not_before, .. } =
        SigningCertificate::parse(leaf.as_bytes()).ok()?;
    let brought = super::brought(&parsed.bundle);
    let root = question.trust_root;
    chain::check_at(leaf.as_bytes(), &brought, root, not_before).ok()?;
    check_signature(parsed, &key, question.digest).ok()?;
    Some(identity)
}

const fn is_classic(content: &Content) -> bool {
    match content {
        Content::Bundle(_) => false,
        Content::Envelope { .. } | Content::SimpleSigning { .. } => true,
    }
}

/// Whether its certificate may be in the log entry alone: only there entries hold one that says what
/// was signed.
const fn may_lack_certificate(content: &Content) -> bool {
    matches!(content, Content::SimpleSigning { .. })
}

/// Whether an entry, as Rekor's API gives it, is about this very signature.
///
/// It is how answers are sorted, not how they are believed.
pub fn names_signature(entry: &[u8], signature: &[u8]) -> bool {
    // An `intoto` entry holds the signature's base64 text, encoded once more.
    const PLACES: [(&str, bool); 3] = [
        ("/spec/signature/content", false),
        ("/spec/signatures/0/signature", false),
        ("/spec/content/envelope/signatures/0/sig", true),
    ];
    let body = || {
        let entry = crate::json::parse(entry).ok()?;
        crate::json::parse(&STANDARD.decode(entry.get("body")?.as_str()?).ok()?).ok()
    };
    let Some(body) = body() else { return false };
    PLACES.iter().any(|(place, twice)| {
        let once = body.pointer(place).and_then(Value::as_str);
        let named = once.and_then(|text| STANDARD.decode(text).ok());
        let named = if *twice { named.and_then(|text| STANDARD.decode(text).ok()) } else { named };
        named.as_deref() == Some(signature)
    })
}

/// (2) to (7) with each entry of the answer in turn; the first good one counts. Of several bad ones
/// the one that got furthest is told.
pub(super) fn examine(
    parsed: &Parsed,
    content: &Content,
    question: &Question<'_>,
    answer: &LogAnswer,
    steps: &mut Vec<StepReport>,
) -> Result<Found, Failure> {
    let mut best: Option<(Failure, Vec<StepReport>)> = None;
    for entry in answer.entries.iter().take(MAX_LOG_ENTRIES) {
        let mut own = steps.clone();
        let outcome = attach(parsed, entry, question, is_classic(content))
            .and_then(|attached| super::examine_parsed(&attached, question, None, &mut own));
        own.iter_mut()
            .filter(|step| step.step == Step::LogLookup)
            .for_each(|step| *step = StepReport::passed(Step::LogLookup, "found in the log"));
        let failure = match outcome {
            Ok(found) => {
                *steps = own;
                return Ok(found);
            }
            Err(failure) => failure,
        };
        let progress = |failure: &Failure| failure.step().progress();
        if best.as_ref().is_none_or(|(best, _)| progress(&failure) > progress(best)) {
            best = Some((failure, own));
        }
    }
    let Some((failure, own)) = best else { return Err(absent(answer)) };
    *steps = own;
    Err(failure)
}

fn absent(answer: &LogAnswer) -> Failure {
    let LogAnswer { entries: _, listed, left_out } = answer;
    if *left_out > 0 {
        let looked_at = listed.saturating_sub(*left_out);
        let found = format!(
            "the log lists {listed} entries for what was signed; none of the {looked_at} looked at \
             names this signature"
        );
        return Failure::new(Reason::LogSearchTooLarge, found).wanted("an entry that is attached");
    }
    let found = match listed {
        0 => "no log entry is attached, and the log has none".to_owned(),
        1 => "no log entry is attached, and the log's one names another signature".to_owned(),
        many => {
            format!("no log entry is attached, and the log's {many} name other signatures")
        }
    };
    Failure::new(Reason::LogEntryAbsent, found).wanted("a transparency log entry of this signature")
}

/// The candidate with this entry, and where only the entry holds the certificate, with that.
fn attach(
    parsed: &Parsed,
    entry: &[u8],
    question: &Question<'_>,
    classic: bool,
) -> Result<Parsed, Failure> {
    let entry = bundle::parse_entry(convert(entry)?)?;
    let mut bundle = parsed.bundle.clone();
    if classic {
        // As a signer of today would have written it: with the proof, or with the promise alone.
        let proven = entry.inclusion_proof.is_some();
        bundle.media_type = if proven { MediaType::Bundle0_2 } else { MediaType::Bundle0_1 };
        if question.key.is_none() && bundle.signing_certificate().is_none() {
            let certificates = vec![X509Certificate::new(certificate_of(&entry)?)];
            bundle.verification_material.content =
                VerificationMaterialContent::X509CertificateChain { certificates };
        }
    }
    bundle.verification_material.tlog_entries = vec![entry];
    let Parsed { bundle: _, message, signature, statement, oldest: _ } = parsed;
    let (message, signature) = (message.clone(), signature.clone());
    Ok(Parsed { bundle, message, signature, statement: statement.clone(), oldest: None })
}

/// The certificate in an entry's body.
fn certificate_of(entry: &TransparencyLogEntry) -> Result<DerCertificate, Failure> {
    let absent = |found: &str| {
        Failure::new(Reason::CertificateAbsent, found).wanted("a signing certificate")
    };
    let body = crate::json::parse(entry.canonicalized_body.as_bytes()).unwrap_or_default();
    let text = body.pointer("/spec/signature/publicKey/content").and_then(Value::as_str);
    let pem = text
        .and_then(|text| STANDARD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| absent("neither the signature nor its log entry carries a certificate"))?;
    DerCertificate::from_pem(&pem)
        .map_err(|_| absent("the signature carries no certificate, its log entry names a key"))
}

/// An entry of Rekor's API of version 1 as an entry of a bundle.
fn convert(entry: &[u8]) -> Result<Value, Failure> {
    let bad = |found: String| Failure::new(Reason::LogEntryMalformed, found);
    let entry = crate::json::parse(entry)
        .map_err(|error| bad(format!("the log's entry is not JSON: {error}")))?;
    let text = |pointer: &str| {
        let text = entry.pointer(pointer).and_then(Value::as_str);
        text.ok_or_else(|| bad(format!("the log's entry has no {pointer}")))
    };
    let number = |pointer: &str| {
        let number = entry.pointer(pointer).and_then(Value::as_u64);
        number.ok_or_else(|| bad(format!("the log's entry has no natural number {pointer}")))
    };
    let log_id = hex::decode(text("/logID")?)
        .map_err(|error| bad(format!("/logID is not hexadecimal: {error}")))?;
    let body = STANDARD
        .decode(text("/body")?)
        .map_err(|error| bad(format!("/body is not base64: {error}")))?;
    let (kind, version) = classic::body_kind(&body)?;
    let mut converted = json!({
        "logIndex": number("/logIndex")?.to_string(),
        "logId": { "keyId": STANDARD.encode(log_id) },
        "kindVersion": { "kind": kind, "version": version },
        "integratedTime": number("/integratedTime")?.to_string(),
        "canonicalizedBody": text("/body")?,
    });
    let promise = entry.pointer("/verification/signedEntryTimestamp");
    let promise = promise.filter(|value| !value.is_null()).map(|_| {
        let text = text("/verification/signedEntryTimestamp")?;
        Ok(("inclusionPromise", json!({ "signedEntryTimestamp": text })))
    });
    let proof = entry.pointer("/verification/inclusionProof").and_then(convert_proof);
    let proof = proof.map(|proof| Ok(("inclusionProof", proof?)));
    for part in [promise, proof].into_iter().flatten() {
        let (name, value) = part?;
        if let Some(fields) = converted.as_object_mut() {
            fields.insert(name.to_owned(), value);
        }
    }
    Ok(converted)
}

/// A proof, unless it has no checkpoint: it proves nothing then, since nobody signed its root.
fn convert_proof(proof: &Value) -> Option<Result<Value, Failure>> {
    let checkpoint = proof.get("checkpoint")?.as_str().filter(|text| !text.is_empty())?;
    let bad = |found: String| Failure::new(Reason::LogEntryMalformed, found);
    let number = |name: &str| {
        let number = proof.get(name).and_then(Value::as_u64);
        number.ok_or_else(|| bad(format!("the log's proof has no natural number {name}")))
    };
    let hash = |value: &Value| {
        let bytes = value.as_str().and_then(|text| hex::decode(text).ok());
        let bytes = bytes.ok_or_else(|| bad("a hash of the log's proof is no hash".to_owned()))?;
        Ok(STANDARD.encode(bytes))
    };
    let converted = || {
        // A tree of one leaf has no hashes, and some logs then leave the list out.
        let hashes = proof.get("hashes").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
        Ok(json!({
            "logIndex": number("logIndex")?.to_string(),
            "rootHash": hash(proof.get("rootHash").unwrap_or(&Value::Null))?,
            "treeSize": number("treeSize")?.to_string(),
            "hashes": hashes.iter().map(hash).collect::<Result<Vec<_>, Failure>>()?,
            "checkpoint": { "envelope": checkpoint },
        }))
    };
    Some(converted())
}
