//! cosign's classic signatures: payload and annotations to the [`Parsed`] that bundles give.
//!
//! The adapter builds the bundle that a signer of today would have written, and hands it to the
//! same verification. Nothing is checked here that is not checked there too.
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use sigstore_verify::types::Bundle;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::Document;

use super::Parsed;
use super::bundle;
use super::bundle::MAX_BUNDLE_BYTES;
use super::certificate::MAX_CHAIN;
use super::intoto;
use super::payload;
use crate::evidence::annotation;
use crate::image::Digest;
use crate::policy::PayloadKind;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::printable;

/// Most bytes of a classic payload. cosign writes some 300, plus the user's annotations.
pub const MAX_PAYLOAD_BYTES: usize = 256 * 1024;

/// Kinds of log entries for classic attestations.
const ATTESTATION_KINDS: [(&str, &str); 3] = [("dsse", "0.0.1"), intoto::KIND, ("intoto", "0.0.2")];

/// How a certificate in PEM begins (RFC 7468 section 5.1).
const BEGIN_CERTIFICATE: &str = "-----BEGIN CERTIFICATE-----";

const SET_BUNDLE: &str = "application/vnd.dev.sigstore.bundle+json;version=0.1";
const PLAIN_BUNDLE: &str = "application/vnd.dev.sigstore.bundle+json;version=0.2";

/// Parses a classic signature and checks that it is about `digest`.
///
/// `keyed` drops certificate and chain: a policy that names a key asks nothing of them.
pub(super) fn parse(
    bytes: &[u8],
    annotations: &BTreeMap<String, String>,
    keyed: bool,
    kind: &PayloadKind,
    digest: &Digest,
) -> Result<Parsed, Failure> {
    check_size(bytes, MAX_PAYLOAD_BYTES, annotations)?;
    if let PayloadKind::Statement { .. } = kind {
        let found = "a simple signing payload, not a statement";
        return Err(Failure::new(Reason::PredicateTypeUnexpected, found).wanted("a statement"));
    }
    let value = |name: &str| annotations.get(name).map(|text| text.trim()).unwrap_or_default();
    let signature = STANDARD
        .decode(value(annotation::SIGNATURE))
        .map_err(|error| malformed(format!("the signature annotation is not base64: {error}")))?;
    if signature.is_empty() {
        return Err(malformed("the layer has no signature annotation"));
    }
    payload::check_simple_signing(bytes, digest)?;
    let (media_type, material) = material(annotations, keyed, &[("hashedrekord", "0.0.1")])?;
    let document = json!({
        "mediaType": media_type,
        "verificationMaterial": material,
        "messageSignature": { "signature": STANDARD.encode(&signature) },
    });
    let bundle: Bundle = serde_json::from_value(document)
        .map_err(|error| malformed(format!("the annotations cannot be used: {error}")))?;
    Ok(Parsed { bundle, message: Some(bytes.to_vec()), signature, statement: None, oldest: None })
}

/// Parses a classic attestation and checks that it is about `digest`: the bundle of the same
/// envelope, with what the annotations say of certificate, log entry and time.
pub(super) fn parse_envelope(
    bytes: &[u8],
    annotations: &BTreeMap<String, String>,
    keyed: bool,
    kind: &PayloadKind,
    digest: &Digest,
) -> Result<Parsed, Failure> {
    check_size(bytes, MAX_BUNDLE_BYTES, annotations)?;
    let envelope = crate::json::parse(bytes)
        .map_err(|error| malformed(format!("the envelope is not JSON: {error}")))?;
    let (media_type, mut material) = material(annotations, keyed, &ATTESTATION_KINDS)?;
    let oldest = match material.get_mut("tlogEntries").and_then(|entries| entries.get_mut(0)) {
        Some(entry) if is_oldest(entry) => Some(oldest(entry.take(), bytes)?),
        Some(_) | None => None,
    };
    if oldest.is_some() {
        material.remove("tlogEntries");
    }
    let document = json!({
        "mediaType": media_type,
        "verificationMaterial": material,
        "dsseEnvelope": envelope,
    });
    Ok(Parsed { oldest, ..bundle::parse_document(document, kind, digest)? })
}

fn is_oldest(entry: &Value) -> bool {
    let field = |name: &str| entry.pointer(&format!("/kindVersion/{name}")).and_then(Value::as_str);
    (field("kind"), field("version")) == (Some(intoto::KIND.0), Some(intoto::KIND.1))
}

/// The log entry out of a bundle's JSON, beside the envelope of these bytes.
fn oldest(entry: Value, envelope: &[u8]) -> Result<intoto::Entry, Failure> {
    let bad = |field: &str| {
        let found = format!("the log entry's {field} cannot be used");
        Failure::new(Reason::LogEntryMalformed, found)
    };
    let text = |pointer: &str| entry.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let bytes = |pointer: &str| STANDARD.decode(text(pointer)).map_err(|_| bad(pointer));
    let seconds = text("/integratedTime").parse().map_err(|_| bad("time"))?;
    Ok(intoto::Entry {
        log_id: bytes("/logId/keyId")?,
        index: text("/logIndex").parse().map_err(|_| bad("index"))?,
        time: jiff::Timestamp::from_second(seconds).map_err(|_| bad("time"))?,
        body: bytes("/canonicalizedBody")?,
        set: bytes("/inclusionPromise/signedEntryTimestamp")?,
        envelope: Digest::sha256_of(envelope).hex().to_owned(),
    })
}

/// What proves signer, log inclusion and time, as a bundle of `media type` holds it.
fn material(
    annotations: &BTreeMap<String, String>,
    keyed: bool,
    kinds: &[(&str, &str)],
) -> Result<(&'static str, serde_json::Map<String, Value>), Failure> {
    let value = |name: &str| annotations.get(name).map(|text| text.trim()).unwrap_or_default();
    let mut material = serde_json::Map::new();
    let certificates = if keyed { Vec::new() } else { certificates(annotations)? };
    if certificates.is_empty() {
        material.insert("publicKey".to_owned(), json!({}));
    } else {
        let list: Vec<Value> =
            certificates.iter().map(|der| json!({ "rawBytes": STANDARD.encode(der) })).collect();
        material.insert("x509CertificateChain".to_owned(), json!({ "certificates": list }));
    }
    let entry = entry(value(annotation::BUNDLE), kinds)?;
    let media_type = if entry.is_some() { SET_BUNDLE } else { PLAIN_BUNDLE };
    material.insert("tlogEntries".to_owned(), Value::Array(entry.into_iter().collect()));
    if let Some(token) = timestamp(value(annotation::TIMESTAMP))? {
        let list = json!({ "rfc3161Timestamps": [{ "signedTimestamp": token }] });
        material.insert("timestampVerificationData".to_owned(), list);
    }
    Ok((media_type, material))
}

fn check_size(
    bytes: &[u8],
    most: usize,
    annotations: &BTreeMap<String, String>,
) -> Result<(), Failure> {
    let total = annotations.iter().map(|(name, value)| name.len() + value.len()).sum::<usize>();
    for (what, size, limit) in
        [("payload", bytes.len(), most), ("annotations", total, MAX_BUNDLE_BYTES)]
    {
        if size > limit {
            return Err(Failure::new(Reason::EvidenceTooLarge, format!("{size} bytes of {what}"))
                .wanted(format!("at most {limit}")));
        }
    }
    Ok(())
}

fn certificates(annotations: &BTreeMap<String, String>) -> Result<Vec<Vec<u8>>, Failure> {
    let value = |name: &str| annotations.get(name).map(String::as_str).unwrap_or_default();
    let leaf = value(annotation::CERTIFICATE);
    if leaf.trim().is_empty() {
        return Ok(Vec::new());
    }
    let mut certificates = Vec::new();
    for pem in [leaf, value(annotation::CHAIN)] {
        for block in pem.split_inclusive("-----END CERTIFICATE-----") {
            let Some(start) = block.find("-----BEGIN ") else {
                continue;
            };
            let block = block.get(start..).unwrap_or_default();
            let bad = |error: &dyn std::fmt::Display| {
                let found = format!("the certificate annotation cannot be parsed: {error}");
                Failure::new(Reason::CertificateMalformed, found)
            };
            if let Some(other) = block.lines().next().filter(|line| *line != BEGIN_CERTIFICATE) {
                return Err(bad(&format!("it holds `{}`", printable(other))));
            }
            // The very bytes that were signed: written anew, they might be others.
            let (_, der) = Document::from_pem(block).map_err(|error| bad(&error))?;
            Certificate::from_der(der.as_bytes()).map_err(|error| bad(&error))?;
            certificates.push(der.as_bytes().to_vec());
            if certificates.len() > MAX_CHAIN {
                return Err(Failure::new(Reason::EvidenceTooLarge, "too many certificates")
                    .wanted(format!("at most {MAX_CHAIN}")));
            }
        }
    }
    if certificates.is_empty() {
        let found = "the certificate annotation holds no certificate";
        return Err(Failure::new(Reason::CertificateMalformed, found));
    }
    Ok(certificates)
}

/// The log entry in cosign's `bundle` annotation, as a bundle's log entry with a SET alone.
fn entry(annotation: &str, kinds: &[(&str, &str)]) -> Result<Option<Value>, Failure> {
    if annotation.is_empty() {
        return Ok(None);
    }
    let bad = |found: String| Failure::new(Reason::LogEntryMalformed, found);
    let document = crate::json::parse(annotation.as_bytes())
        .map_err(|error| bad(format!("the bundle annotation is not JSON: {error}")))?;
    if document.is_null() {
        return Ok(None);
    }
    let part = |pointer: &str| {
        let missing = || bad(format!("the bundle annotation has no {pointer}"));
        document.pointer(pointer).ok_or_else(missing)
    };
    let text =
        |pointer: &str| part(pointer)?.as_str().ok_or_else(|| bad(format!("{pointer} is no text")));
    let number = |pointer: &str| {
        let number = part(pointer)?.as_i64().filter(|number| *number >= 0);
        number.ok_or_else(|| bad(format!("{pointer} is no natural number")))
    };
    let body = text("/Payload/body")?;
    let decoded = STANDARD
        .decode(body)
        .map_err(|error| bad(format!("/Payload/body is not base64: {error}")))?;
    let (kind, version) = body_kind(&decoded)?;
    let log_id = hex::decode(text("/Payload/logID")?)
        .map_err(|error| bad(format!("/Payload/logID is not hexadecimal: {error}")))?;
    if !kinds.contains(&(kind.as_str(), version.as_str())) {
        let found = format!("a log entry of kind {} {}", printable(&kind), printable(&version));
        let wanted: Vec<String> =
            kinds.iter().map(|(kind, version)| format!("{kind} {version}")).collect();
        return Err(Failure::new(Reason::EvidenceUnsupported, found).wanted(wanted.join(" or ")));
    }
    Ok(Some(json!({
        "logIndex": number("/Payload/logIndex")?.to_string(),
        "logId": { "keyId": STANDARD.encode(log_id) },
        "kindVersion": { "kind": kind, "version": version },
        "integratedTime": number("/Payload/integratedTime")?.to_string(),
        "inclusionPromise": { "signedEntryTimestamp": text("/SignedEntryTimestamp")? },
        "canonicalizedBody": body,
    })))
}

/// Kind and version of a log entry's body.
pub(super) fn body_kind(body: &[u8]) -> Result<(String, String), Failure> {
    let bad = |found: String| Failure::new(Reason::LogEntryMalformed, found);
    let body = crate::json::parse(body)
        .map_err(|error| bad(format!("the log entry's body is not JSON: {error}")))?;
    let field = |name: &str| {
        let value = body.get(name).and_then(Value::as_str);
        value.map(str::to_owned).ok_or_else(|| bad(format!("the log entry's body has no {name}")))
    };
    Ok((field("kind")?, field("apiVersion")?))
}

fn timestamp(annotation: &str) -> Result<Option<String>, Failure> {
    if annotation.is_empty() {
        return Ok(None);
    }
    let bad = |found: String| Failure::new(Reason::TimestampInvalid, found);
    let document = crate::json::parse(annotation.as_bytes())
        .map_err(|error| bad(format!("the timestamp annotation is not JSON: {error}")))?;
    match document.get("SignedRFC3161Timestamp") {
        _ if document.is_null() => Ok(None),
        Some(Value::String(token)) => Ok(Some(token.clone())),
        _ => Err(bad("the timestamp annotation has no SignedRFC3161Timestamp".to_owned())),
    }
}

fn malformed(found: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::EvidenceMalformed, found)
}
