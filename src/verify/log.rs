//! Log entries beyond what `sigstore-verify` looks at.
//!
//! [`check_bodies`] holds each entry's body to its label, and an `intoto` entry to the certificate.
//! [`check_windows`] holds every log key to its validity window. [`check_entry`] verifies a whole
//! entry for keys that `sigstore-verify` does not know (P-521, RSA-PSS, Ed25519ph, and P-384 in
//! entries over SHA-384): proof, checkpoint, SET, and that the body is about this very signature.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use sigstore_verify::bundle::ValidationOptions;
use sigstore_verify::bundle::validate_bundle_with_options;
use sigstore_verify::crypto::Checkpoint;
use sigstore_verify::types::Bundle;
use sigstore_verify::types::DerCertificate;
use sigstore_verify::types::KindVersion;
use sigstore_verify::types::SignatureBytes;
use sigstore_verify::types::TransparencyLogEntry;
use sigstore_verify::types::bundle::InclusionProof;

use super::Parsed;
use super::key::HashAlgorithm;
use super::key::PublicKey;
use super::key::Scheme;
use crate::trust_root::Log;
use crate::trust_root::TrustRoot;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Whether the entry is from Rekor v2: no SET, no time of its own, unauthenticated log ID.
pub(super) fn is_v2(entry: &TransparencyLogEntry) -> bool {
    entry.kind_version == KindVersion::HashedRekordV002
}

/// Checks that every body is of the kind that stands beside it, and that an `intoto` entry names
/// this very certificate: `sigstore-verify` reads the body as its label says, and of an `intoto`
/// entry's certificate it compares the key alone.
pub(super) fn check_bodies(bundle: &Bundle) -> Result<(), Failure> {
    for entry in &bundle.verification_material.tlog_entries {
        let body = parse_body(entry)?;
        let label = [entry.kind_version.kind(), entry.kind_version.version()];
        let own = ["/kind", "/apiVersion"].map(|pointer| text(&body, pointer));
        if own != label {
            let found = format!("the log entry's body is of kind {}", own.join(" "));
            return Err(Failure::new(Reason::LogEntryMalformed, found).wanted(label.join(" ")));
        }
        let Some(leaf) = bundle.signing_certificate() else { continue };
        if entry.kind_version == KindVersion::IntotoV002 {
            let named = text(&body, "/spec/content/envelope/signatures/0/publicKey");
            let named = STANDARD.decode(named).ok().and_then(|pem| String::from_utf8(pem).ok());
            let named = named.and_then(|pem| DerCertificate::from_pem(&pem).ok());
            if named.as_ref() != Some(leaf) {
                return Err(mismatch("the log entry names another certificate"));
            }
        }
    }
    Ok(())
}

/// The log that vouches for an entry which was verified: whose key signed its checkpoint, or else
/// its promise. The identifier that the entry states chooses among the trust root's keys, no more.
pub(super) fn of_entry<'a>(
    entry: &TransparencyLogEntry,
    root: &'a TrustRoot,
) -> Result<&'a Log, Failure> {
    match entry.inclusion_proof.as_ref().and_then(|proof| proof.checkpoint.checkpoint()) {
        Some(checkpoint) => signer(checkpoint, root),
        None => by_id(entry, root),
    }
}

fn by_id<'a>(entry: &TransparencyLogEntry, root: &'a TrustRoot) -> Result<&'a Log, Failure> {
    let id = entry.log_id.key_id.as_bytes();
    root.logs().iter().find(|log| log.id.as_slice() == id).ok_or_else(|| {
        Failure::new(Reason::LogUnknown, format!("the log is {}", hex::encode(id)))
            .wanted("a log of the trust root")
    })
}

fn parse_body(entry: &TransparencyLogEntry) -> Result<Value, Failure> {
    crate::json::parse(entry.canonicalized_body.as_bytes()).map_err(|error| {
        let found = format!("the log entry's body is not JSON: {error}");
        Failure::new(Reason::LogEntryMalformed, found)
    })
}

fn text<'a>(body: &'a Value, pointer: &str) -> &'a str {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

/// Checks that each checkpoint is of the entry's own log, and that the log keys behind entries
/// without a SET were valid at every signing time.
///
/// A SET states its own time, which `sigstore-verify` holds against the window. A proof does not;
/// without any signing time the key must be valid now.
pub(super) fn check_windows(
    bundle: &Bundle,
    root: &TrustRoot,
    times: &[Timestamp],
    now: Timestamp,
) -> Result<(), Failure> {
    let times = if times.is_empty() { &[now] } else { times };
    for entry in &bundle.verification_material.tlog_entries {
        let Some(proof) = &entry.inclusion_proof else {
            continue;
        };
        let Some(checkpoint) = proof.checkpoint.checkpoint() else {
            continue;
        };
        let log = signer(checkpoint, root)?;
        if !is_v2(entry) && log.id.as_slice() != entry.log_id.key_id.as_bytes() {
            let found = "the checkpoint is of another log than the entry";
            return Err(Failure::new(Reason::CheckpointInvalid, found));
        }
        if entry.inclusion_promise.is_some() && !is_v2(entry) {
            continue;
        }
        if let Some(time) = times.iter().find(|time| !log.valid_at(**time)) {
            let found = format!("the log's key was not valid at {time}");
            return Err(Failure::new(Reason::LogKeyOutsideWindow, found));
        }
    }
    Ok(())
}

/// The log whose key signed the checkpoint (C2SP `tlog-checkpoint`, `signed-note`).
fn signer<'a>(checkpoint: &Checkpoint, root: &'a TrustRoot) -> Result<&'a Log, Failure> {
    let mut hinted = false;
    for signature in checkpoint.signatures() {
        let hint = signature.key_id.as_bytes();
        for log in root.logs().iter().filter(|log| log.id.starts_with(hint)) {
            hinted = true;
            if log.key.verify(checkpoint.signed_data(), &signature.signature).is_ok() {
                return Ok(log);
            }
        }
    }
    if hinted {
        Err(Failure::new(Reason::CheckpointInvalid, "the checkpoint's signature does not verify"))
    } else {
        let origin = checkpoint.origin();
        Err(Failure::new(Reason::LogUnknown, format!("the checkpoint is of the log `{origin}`"))
            .wanted("a log of the trust root"))
    }
}

/// Whom an entry must name as the signer.
#[derive(Clone, Copy)]
pub(super) enum Named<'a> {
    /// The certificate, DER.
    Certificate(&'a [u8]),
    /// The key.
    Key(&'a PublicKey),
}

/// Verifies one entry in full. Returns the time of its SET, where it has one.
pub(super) fn check_entry(
    entry: &TransparencyLogEntry,
    parsed: &Parsed,
    signer: Named<'_>,
    scheme: Scheme,
    root: &TrustRoot,
) -> Result<Option<Timestamp>, Failure> {
    if let Some(proof) = &entry.inclusion_proof {
        check_proof(entry, proof, root)?;
    }
    let time = promised_time(entry, root)?;
    check_body(entry, parsed, signer, scheme)?;
    Ok(time)
}

/// The time of the entry's SET, verified, where it has one.
pub(super) fn promised_time(
    entry: &TransparencyLogEntry,
    root: &TrustRoot,
) -> Result<Option<Timestamp>, Failure> {
    let Some(promise) = entry.inclusion_promise.as_ref().filter(|_| !is_v2(entry)) else {
        return Ok(None);
    };
    let promised = Promised {
        log_id: entry.log_id.key_id.as_bytes(),
        index: entry.log_index.get(),
        time: entry.integrated_time.ok_or_else(|| {
            let found = "the log entry states no time of integration";
            Failure::new(Reason::LogEntryMalformed, found)
        })?,
        body: entry.canonicalized_body.as_bytes(),
        set: promise.signed_entry_timestamp.as_bytes(),
    };
    check_promise(&promised, root).map(Some)
}

/// Checks the proofs of all entries and the windows of the keys behind them, with each checkpoint
/// looked at once. What it accepts, `sigstore-verify` and [`check_windows`] accept, the SETs apart.
/// Where anything is amiss, or unusual, it says no more than that.
pub(super) fn are_included(
    bundle: &Bundle,
    root: &TrustRoot,
    times: &[Timestamp],
    now: Timestamp,
) -> bool {
    let whole = ValidationOptions::new().with_require_inclusion_proof(true);
    let times = if times.is_empty() { &[now] } else { times };
    let entries = &bundle.verification_material.tlog_entries;
    validate_bundle_with_options(bundle, &whole).is_ok()
        && entries.iter().all(|entry| is_included(entry, root, times, now))
}

fn is_included(
    entry: &TransparencyLogEntry,
    root: &TrustRoot,
    times: &[Timestamp],
    now: Timestamp,
) -> bool {
    let promised = entry.inclusion_promise.is_some();
    // Rekor v2 makes no promises, and what stands there as one would have to verify.
    if promised && is_v2(entry) {
        return false;
    }
    let Some(proof) = &entry.inclusion_proof else { return promised };
    let Ok(log) = check_proof(entry, proof, root) else { return false };
    let same_tree = || {
        let size = proof.checkpoint.checkpoint().map(Checkpoint::tree_size);
        size == Some(proof.tree_size) && log.id.as_slice() == entry.log_id.key_id.as_bytes()
    };
    (is_v2(entry) || same_tree())
        && log.window.is_none_or(|window| window.has_started_by(now))
        && (promised || times.iter().all(|time| log.valid_at(*time)))
}

/// Returns the log whose key signed the checkpoint.
fn check_proof<'a>(
    entry: &TransparencyLogEntry,
    proof: &InclusionProof,
    root: &'a TrustRoot,
) -> Result<&'a Log, Failure> {
    let checkpoint = proof.checkpoint.checkpoint().ok_or_else(|| {
        Failure::new(Reason::CheckpointInvalid, "the inclusion proof has no checkpoint")
    })?;
    let log = signer(checkpoint, root)?;
    if !is_v2(entry) && *checkpoint.root_hash() != proof.root_hash {
        let found = "the proof's root is not the checkpoint's";
        return Err(Failure::new(Reason::CheckpointInvalid, found));
    }
    let index = if is_v2(entry) { entry.log_index } else { proof.log_index };
    let leaf = sigstore_merkle::hash_leaf(entry.canonicalized_body.as_bytes());
    sigstore_merkle::verify_inclusion_proof(
        &leaf,
        index.get(),
        checkpoint.tree_size(),
        &proof.hashes,
        checkpoint.root_hash(),
    )
    .map_err(|error| Failure::new(Reason::InclusionProofInvalid, error))?;
    Ok(log)
}

/// What a signed entry timestamp is about.
pub(super) struct Promised<'a> {
    pub(super) log_id: &'a [u8],
    pub(super) index: u64,
    pub(super) time: Timestamp,
    pub(super) body: &'a [u8],
    pub(super) set: &'a [u8],
}

/// Verifies a signed entry timestamp: RFC 8785 JSON of the four fields, under the log's key.
/// Returns the time that it states.
pub(super) fn check_promise(
    promised: &Promised<'_>,
    root: &TrustRoot,
) -> Result<Timestamp, Failure> {
    let Promised { log_id, index, time, body, set } = *promised;
    let log = root.logs().iter().find(|log| log.id.as_slice() == log_id).ok_or_else(|| {
        Failure::new(Reason::LogUnknown, format!("the log is {}", hex::encode(log_id)))
            .wanted("a log of the trust root")
    })?;
    if !log.valid_at(time) {
        let found = format!("the log's key was not valid at {time}");
        return Err(Failure::new(Reason::LogKeyOutsideWindow, found));
    }
    // serde_json sorts the names, and none of the values needs an escape: RFC 8785 as it stands.
    let signed = json!({
        "body": STANDARD.encode(body),
        "integratedTime": time.as_second(),
        "logID": hex::encode(log_id),
        "logIndex": index,
    });
    let set = SignatureBytes::new(set.to_vec());
    log.key.verify(signed.to_string(), &set).map(|()| time).map_err(|_| {
        Failure::new(Reason::InclusionPromiseInvalid, "the signed entry timestamp does not verify")
    })
}

/// Checks that the body names this signature, this key and this message (CVE-2022-36056).
fn check_body(
    entry: &TransparencyLogEntry,
    parsed: &Parsed,
    signer: Named<'_>,
    scheme: Scheme,
) -> Result<(), Failure> {
    let malformed = |found: String| Failure::new(Reason::LogEntryMalformed, found);
    let body = parse_body(entry)?;
    let text = |pointer: &str| {
        let value = body.pointer(pointer).and_then(Value::as_str);
        value.ok_or_else(|| malformed(format!("the log entry's body has no {pointer}")))
    };
    let bytes = |pointer: &str| {
        STANDARD
            .decode(text(pointer)?)
            .map_err(|error| malformed(format!("{pointer} is not base64: {error}")))
    };
    let message = parsed.message.as_deref().ok_or_else(|| {
        Failure::new(Reason::EvidenceUnsupported, "a logged signature over the image itself")
    })?;
    let (hash, signature, verifier) = match entry.kind_version {
        KindVersion::HashedRekordV001 => (
            (text("/spec/data/hash/algorithm")?, hex::decode(text("/spec/data/hash/value")?).ok()),
            bytes("/spec/signature/content")?,
            signer.read(&bytes("/spec/signature/publicKey/content")?)?,
        ),
        KindVersion::HashedRekordV002 => (
            (
                v2_hash(text("/spec/hashedRekordV002/data/algorithm")?),
                Some(bytes("/spec/hashedRekordV002/data/digest")?),
            ),
            bytes("/spec/hashedRekordV002/signature/content")?,
            bytes(match signer {
                Named::Certificate(_) => {
                    "/spec/hashedRekordV002/signature/verifier/x509Certificate/rawBytes"
                }
                Named::Key(_) => "/spec/hashedRekordV002/signature/verifier/publicKey/rawBytes",
            })?,
        ),
        KindVersion::DsseV001 => {
            return check_dsse(parsed, signer, &body, bytes("/spec/signatures/0/verifier")?);
        }
        KindVersion::IntotoV002 | _ => {
            let found = format!("a log entry of kind {}", entry.kind_version.kind());
            return Err(Failure::new(Reason::EvidenceUnsupported, found));
        }
    };
    if hash.0 != scheme.hash().as_str() || hash.1 != Some(scheme.hash().digest(message)) {
        return Err(mismatch("the log entry is about another payload"));
    }
    check_signer(parsed, signer, &signature, &verifier)
}

fn check_dsse(
    parsed: &Parsed,
    signer: Named<'_>,
    body: &Value,
    verifier: Vec<u8>,
) -> Result<(), Failure> {
    let text = |pointer: &str| body.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let signatures = body.pointer("/spec/signatures").and_then(Value::as_array).map_or(0, Vec::len);
    if signatures != 1 {
        return Err(mismatch(&format!("the log entry holds {signatures} signatures")));
    }
    let sigstore_verify::types::SignatureContent::DsseEnvelope(envelope) = &parsed.bundle.content
    else {
        return Err(mismatch("the log entry is about an envelope"));
    };
    let payload = hex::encode(HashAlgorithm::Sha256.digest(envelope.payload.as_bytes()));
    if text("/spec/payloadHash/algorithm") != "sha256" || text("/spec/payloadHash/value") != payload
    {
        return Err(mismatch("the log entry is about another payload"));
    }
    let signature = STANDARD.decode(text("/spec/signatures/0/signature")).unwrap_or_default();
    check_signer(parsed, signer, &signature, &signer.read(&verifier)?)
}

fn check_signer(
    parsed: &Parsed,
    signer: Named<'_>,
    signature: &[u8],
    verifier: &[u8],
) -> Result<(), Failure> {
    if signature != parsed.signature {
        return Err(mismatch("the log entry is about another signature"));
    }
    match signer {
        Named::Certificate(der) if verifier != der => {
            Err(mismatch("the log entry names another certificate"))
        }
        Named::Key(key) if verifier != key.spki().as_bytes() => {
            Err(mismatch("the log entry names another key"))
        }
        Named::Certificate(_) | Named::Key(_) => Ok(()),
    }
}

fn v2_hash(algorithm: &str) -> &str {
    match algorithm {
        "SHA2_256" => "sha256",
        "SHA2_384" => "sha384",
        "SHA2_512" => "sha512",
        other => other,
    }
}

impl Named<'_> {
    /// What stands in an entry as PEM, as DER.
    fn read(self, pem: &[u8]) -> Result<Vec<u8>, Failure> {
        let text = std::str::from_utf8(pem).unwrap_or_default();
        match self {
            Self::Certificate(_) => DerCertificate::from_pem(text)
                .map(|certificate| certificate.as_bytes().to_vec())
                .map_err(|_| mismatch("the log entry names no certificate")),
            Self::Key(_) => sigstore_verify::types::DerPublicKey::from_pem(text)
                .map(|key| key.as_bytes().to_vec())
                .map_err(|_| mismatch("the log entry names no public key")),
        }
    }
}

fn mismatch(found: &str) -> Failure {
    Failure::new(Reason::LogEntryMismatch, found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
