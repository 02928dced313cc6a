//! What a signature is over: simple signing payloads and in-toto statements.
use serde_json::Value;

use crate::image::Algorithm;
use crate::image::Digest;
use crate::policy::PayloadKind;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Most subjects of a statement. The largest published provenance names some hundreds of
/// artefacts; an image signature names one.
pub const MAX_SUBJECTS: usize = 1024;

/// The predicate type of cosign's image signatures in bundles.
pub const SIGN_PREDICATE_TYPE: &str = "https://sigstore.dev/cosign/sign/v1";

/// The media type of an in-toto statement in a DSSE envelope (in-toto attestation framework,
/// `envelope.md`).
pub(super) const STATEMENT_PAYLOAD_TYPE: &str = "application/vnd.in-toto+json";

const SIMPLE_SIGNING_TYPE: &str = "cosign container image signature";

const STATEMENT_TYPES: [&str; 2] =
    ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// Checks a classic payload: its type, and that it names `digest`.
///
/// cosign's `SIGNATURE_SPEC.md`, "Simple Signing".
pub(super) fn check_simple_signing(payload: &[u8], digest: &Digest) -> Result<(), Failure> {
    let document = parse(payload)?;
    let critical = document.get("critical").unwrap_or(&Value::Null);
    let kind = text(critical.get("type"));
    if kind != SIMPLE_SIGNING_TYPE {
        return Err(malformed(format!("critical.type is `{kind}`")).wanted(SIMPLE_SIGNING_TYPE));
    }
    let named = text(critical.get("image").and_then(|image| image.get("docker-manifest-digest")));
    if named != digest.to_string() {
        return Err(other_image(format!("the payload names {named}"), digest));
    }
    Ok(())
}

/// Checks a statement: its type, its predicate type, and that one of its subjects is `digest`.
///
/// in-toto attestation framework, `statement.md`.
pub(super) fn check_statement(
    payload_type: &str,
    payload: &[u8],
    kind: &PayloadKind,
    digest: &Digest,
) -> Result<(), Failure> {
    if payload_type != STATEMENT_PAYLOAD_TYPE {
        let found = format!("payload type is `{payload_type}`");
        return Err(Failure::new(Reason::EvidenceUnsupported, found).wanted(STATEMENT_PAYLOAD_TYPE));
    }
    let document = parse(payload)?;
    let statement_type = text(document.get("_type"));
    if !STATEMENT_TYPES.contains(&statement_type) {
        let found = format!("the statement's _type is `{statement_type}`");
        return Err(malformed(found).wanted(STATEMENT_TYPES.join(" or ")));
    }
    check_predicate_type(text(document.get("predicateType")), kind)?;
    check_subjects(document.get("subject"), digest)
}

fn check_predicate_type(found: &str, kind: &PayloadKind) -> Result<(), Failure> {
    let wanted = match kind {
        PayloadKind::Signature if found == SIGN_PREDICATE_TYPE => return Ok(()),
        PayloadKind::Signature => SIGN_PREDICATE_TYPE.to_owned(),
        PayloadKind::Statement { predicate_types: None } => return Ok(()),
        PayloadKind::Statement { predicate_types: Some(types) } if types.contains(found) => {
            return Ok(());
        }
        PayloadKind::Statement { predicate_types: Some(types) } => types.to_string(),
    };
    let found = format!("a statement of predicate type `{found}`");
    Err(Failure::new(Reason::PredicateTypeUnexpected, found).wanted(wanted))
}

fn check_subjects(subjects: Option<&Value>, digest: &Digest) -> Result<(), Failure> {
    let subjects = subjects
        .and_then(Value::as_array)
        .ok_or_else(|| malformed("the statement has no subjects".to_owned()))?;
    if subjects.len() > MAX_SUBJECTS {
        let found = format!("{} subjects", subjects.len());
        return Err(
            Failure::new(Reason::EvidenceTooLarge, found).wanted(format!("at most {MAX_SUBJECTS}"))
        );
    }
    let algorithm = match digest.algorithm() {
        Algorithm::Sha256 => "sha256",
        Algorithm::Sha512 => "sha512",
    };
    let digest_of = |subject: &Value| {
        text(subject.get("digest").and_then(|digests| digests.get(algorithm))).to_owned()
    };
    if subjects.iter().any(|subject| digest_of(subject) == digest.hex()) {
        return Ok(());
    }
    let found = match subjects.as_slice() {
        [] => "the statement names no image".to_owned(),
        [subject] => format!("the statement names {algorithm}:{}", digest_of(subject)),
        many => format!("none of the statement's {} subjects is the image", many.len()),
    };
    Err(other_image(found, digest))
}

fn parse(payload: &[u8]) -> Result<Value, Failure> {
    match crate::json::parse(payload) {
        Ok(value @ Value::Object(_)) => Ok(value),
        Ok(_) => Err(malformed("the signed payload is JSON, but not an object".to_owned())),
        Err(error) => Err(malformed(format!("the signed payload is not JSON: {error}"))),
    }
}

fn text(value: Option<&Value>) -> &str {
    value.and_then(Value::as_str).unwrap_or_default()
}

fn malformed(found: String) -> Failure {
    Failure::new(Reason::PayloadMalformed, found)
}

fn other_image(found: String, digest: &Digest) -> Failure {
    Failure::new(Reason::PayloadDigestMismatch, found).wanted(digest)
}
