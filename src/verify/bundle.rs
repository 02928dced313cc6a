//! Sigstore bundles: bytes to a bounded [`Parsed`].
use serde_json::Value;
use serde_json::json;
use sigstore_verify::crypto::Checkpoint;
use sigstore_verify::types::Bundle;
use sigstore_verify::types::SignatureContent;
use sigstore_verify::types::TransparencyLogEntry;
use sigstore_verify::types::bundle::VerificationMaterialContent;

use super::Parsed;
use super::certificate::MAX_CERTIFICATE_BYTES;
use super::certificate::MAX_CHAIN;
use super::payload;
use crate::image::Digest;
use crate::policy::PayloadKind;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::printable;

/// Most bytes of a bundle. A provenance statement with logs has some 100 KiB; the largest SBOM
/// attestations are not signatures.
pub const MAX_BUNDLE_BYTES: usize = 1024 * 1024;

/// Most log entries of a bundle. Clients write one; two logs at most are planned.
pub const MAX_LOG_ENTRIES: usize = 8;

/// Most RFC 3161 timestamps of a bundle: each costs a signature check and a chain (a thousand cost
/// half a second).
pub const MAX_TIMESTAMPS: usize = 4;

/// Most hashes of an inclusion proof: a tree of 2^64 leaves has as many levels.
const MAX_PROOF_HASHES: usize = 64;

/// Most bytes of a checkpoint: a note with a dozen witnesses has 2 KiB.
const MAX_CHECKPOINT_BYTES: usize = 16 * 1024;

/// Log entry kinds that are verified; others are refused by name.
const ENTRY_KINDS: [(&str, &str); 4] =
    [("hashedrekord", "0.0.1"), ("hashedrekord", "0.0.2"), ("dsse", "0.0.1"), ("intoto", "0.0.2")];

const MEDIA_TYPES: [&str; 4] = [
    "application/vnd.dev.sigstore.bundle+json;version=0.1",
    "application/vnd.dev.sigstore.bundle+json;version=0.2",
    "application/vnd.dev.sigstore.bundle+json;version=0.3",
    "application/vnd.dev.sigstore.bundle.v0.3+json",
];

/// Parses a bundle, within limits, and checks that it is about `digest`.
pub(super) fn parse(bytes: &[u8], kind: &PayloadKind, digest: &Digest) -> Result<Parsed, Failure> {
    if bytes.len() > MAX_BUNDLE_BYTES {
        return Err(too_large("bytes", bytes.len(), MAX_BUNDLE_BYTES));
    }
    let document = crate::json::parse(bytes)
        .map_err(|error| malformed(format!("the bundle is not JSON: {error}")))?;
    parse_document(document, kind, digest)
}

/// [`parse`] for a bundle that is JSON already.
pub(super) fn parse_document(
    mut document: Value,
    kind: &PayloadKind,
    digest: &Digest,
) -> Result<Parsed, Failure> {
    check_versions(&document)?;
    check_alternatives(&document)?;
    check_limits(&mut document)?;
    check_checkpoints(&document)?;
    let bundle: Bundle = serde_json::from_value(document)
        .map_err(|error| malformed(format!("the bundle cannot be parsed: {error}")))?;
    let (message, signature, statement) = match &bundle.content {
        SignatureContent::DsseEnvelope(envelope) => {
            let body = envelope.payload.as_bytes();
            payload::check_statement(&envelope.payload_type, body, kind, digest)?;
            let signature = envelope.signature.sig.as_bytes().to_vec();
            (Some(envelope.pae()), signature, Some(body.to_vec()))
        }
        SignatureContent::MessageSignature(message) => {
            check_message(message.message_digest.as_ref(), kind, digest)?;
            (None, message.signature.as_bytes().to_vec(), None)
        }
        _ => {
            return Err(unsupported("the bundle holds neither a message nor an envelope"));
        }
    };
    check_certificates(&bundle)?;
    Ok(Parsed { bundle, message, signature, statement, oldest: None })
}

/// Parses a log entry that was found elsewhere, within the limits of those in bundles.
pub(super) fn parse_entry(entry: Value) -> Result<TransparencyLogEntry, Failure> {
    let mut document = json!({
        "mediaType": MEDIA_TYPES[0],
        "verificationMaterial": { "tlogEntries": [entry] },
    });
    check_versions(&document)?;
    check_limits(&mut document)?;
    check_checkpoints(&document)?;
    let entry = document.pointer_mut("/verificationMaterial/tlogEntries/0").map(Value::take);
    serde_json::from_value(entry.unwrap_or_default()).map_err(|error| {
        let found = format!("the log's entry cannot be parsed: {error}");
        Failure::new(Reason::LogEntryMalformed, found)
    })
}

fn check_message(
    message: Option<&sigstore_verify::types::bundle::MessageDigest>,
    kind: &PayloadKind,
    digest: &Digest,
) -> Result<(), Failure> {
    if let PayloadKind::Statement { .. } = kind {
        let found = "a signature over the image itself, not a statement";
        return Err(Failure::new(Reason::PredicateTypeUnexpected, found).wanted("a statement"));
    }
    let Some(message) = message else {
        return Ok(());
    };
    if message.algorithm != sigstore_verify::types::HashAlgorithm::Sha2256 {
        return Err(unsupported(format!("the message digest is {:?}", message.algorithm)));
    }
    let named = hex::encode(message.digest.as_bytes());
    if named != digest.hex() {
        return Err(Failure::new(
            Reason::PayloadDigestMismatch,
            format!("the message digest is sha256:{named}"),
        )
        .wanted(digest));
    }
    Ok(())
}

fn check_versions(document: &Value) -> Result<(), Failure> {
    let media_type = document.get("mediaType").and_then(Value::as_str).unwrap_or_default();
    if !MEDIA_TYPES.contains(&media_type) {
        let found = format!("the bundle's media type is `{}`", printable(media_type));
        return Err(unsupported(found).wanted("a Sigstore bundle of version 0.1 to 0.3"));
    }
    for entry in list(document, &["verificationMaterial", "tlogEntries"]) {
        let field = |name: &str| {
            let kind = entry.get("kindVersion").and_then(|kind| kind.get(name));
            kind.and_then(Value::as_str).unwrap_or_default()
        };
        let found = (field("kind"), field("version"));
        if !ENTRY_KINDS.contains(&found) {
            let found =
                format!("a log entry of kind {} {}", printable(found.0), printable(found.1));
            return Err(unsupported(found).wanted("hashedrekord, dsse or intoto 0.0.2"));
        }
    }
    Ok(())
}

/// A bundle holds one signature by one signer: of alternatives (protobuf `oneof`), one is there.
fn check_alternatives(document: &Value) -> Result<(), Failure> {
    let material = document.get("verificationMaterial").unwrap_or(&Value::Null);
    for (object, names) in [
        (document, ["dsseEnvelope", "messageSignature"].as_slice()),
        (material, ["certificate", "x509CertificateChain", "publicKey"].as_slice()),
    ] {
        let present: Vec<&str> =
            names.iter().copied().filter(|name| object.get(name).is_some()).collect();
        if present.len() != 1 {
            let found = match present.as_slice() {
                [] => format!("the bundle has no {}", names.join(" or ")),
                present => format!("the bundle has {}", present.join(" and ")),
            };
            return Err(malformed(found).wanted("exactly one of them"));
        }
    }
    Ok(())
}

/// A checkpoint that is no signed note is the log's failing, not the bundle's.
fn check_checkpoints(document: &Value) -> Result<(), Failure> {
    for entry in list(document, &["verificationMaterial", "tlogEntries"]) {
        let envelope = entry.pointer("/inclusionProof/checkpoint/envelope");
        let Some(envelope) = envelope.and_then(Value::as_str).filter(|text| !text.is_empty())
        else {
            continue;
        };
        if let Err(error) = Checkpoint::from_text(envelope) {
            return Err(Failure::new(Reason::CheckpointInvalid, error).wanted("a signed note"));
        }
    }
    Ok(())
}

fn check_limits(document: &mut Value) -> Result<(), Failure> {
    const ENTRIES: [&str; 2] = ["verificationMaterial", "tlogEntries"];
    const TIMESTAMPS: [&str; 3] =
        ["verificationMaterial", "timestampVerificationData", "rfc3161Timestamps"];
    const CHAIN: [&str; 3] = ["verificationMaterial", "x509CertificateChain", "certificates"];
    const SIGNATURES: [&str; 2] = ["dsseEnvelope", "signatures"];
    for (path, name, limit) in [
        (ENTRIES.as_slice(), "log entries", MAX_LOG_ENTRIES),
        (TIMESTAMPS.as_slice(), "timestamps", MAX_TIMESTAMPS),
        (CHAIN.as_slice(), "certificates", MAX_CHAIN),
    ] {
        let count = list(document, path).len();
        if count > limit {
            return Err(too_large(name, count, limit));
        }
    }
    let signatures = list(document, &SIGNATURES).len();
    if document.get("dsseEnvelope").is_some() && signatures != 1 {
        let found = format!("the envelope holds {signatures} signatures");
        return Err(malformed(found).wanted("exactly one"));
    }
    for entry in list(document, &ENTRIES) {
        let hashes = list(entry, &["inclusionProof", "hashes"]).len();
        if hashes > MAX_PROOF_HASHES {
            return Err(too_large("hashes in an inclusion proof", hashes, MAX_PROOF_HASHES));
        }
        let checkpoint = entry.pointer("/inclusionProof/checkpoint/envelope");
        let length = checkpoint.and_then(Value::as_str).map_or(0, str::len);
        if length > MAX_CHECKPOINT_BYTES {
            return Err(too_large("bytes of checkpoint", length, MAX_CHECKPOINT_BYTES));
        }
    }
    for pointer in [
        "/verificationMaterial/tlogEntries",
        "/verificationMaterial/timestampVerificationData/rfc3161Timestamps",
    ] {
        if let Some(Value::Array(items)) = document.pointer_mut(pointer) {
            dedupe(items);
        }
    }
    Ok(())
}

/// Drops repetitions: one entry or timestamp counts once.
fn dedupe(items: &mut Vec<Value>) {
    let mut unique: Vec<Value> = Vec::with_capacity(items.len());
    for item in items.drain(..) {
        if !unique.contains(&item) {
            unique.push(item);
        }
    }
    *items = unique;
}

fn check_certificates(bundle: &Bundle) -> Result<(), Failure> {
    let lengths: Vec<usize> = match &bundle.verification_material.content {
        VerificationMaterialContent::Certificate(certificate) => {
            vec![certificate.raw_bytes.as_bytes().len()]
        }
        VerificationMaterialContent::X509CertificateChain { certificates } => {
            certificates.iter().map(|one| one.raw_bytes.as_bytes().len()).collect()
        }
        VerificationMaterialContent::PublicKey(_) | _ => return Ok(()),
    };
    if lengths.is_empty() {
        return Err(Failure::new(Reason::CertificateAbsent, "the certificate list is empty"));
    }
    match lengths.iter().find(|length| **length > MAX_CERTIFICATE_BYTES) {
        Some(length) => Err(too_large("bytes of certificate", *length, MAX_CERTIFICATE_BYTES)),
        None => Ok(()),
    }
}

fn list<'a>(document: &'a Value, path: &[&str]) -> &'a [Value] {
    let found = path.iter().try_fold(document, |value, name| value.get(name));
    found.and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn too_large(what: &str, count: usize, limit: usize) -> Failure {
    Failure::new(Reason::EvidenceTooLarge, format!("{count} {what}"))
        .wanted(format!("at most {limit}"))
}

fn malformed(found: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::EvidenceMalformed, found)
}

fn unsupported(found: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::EvidenceUnsupported, found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
