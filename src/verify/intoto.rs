//! The oldest log entry for attestations, `intoto` 0.0.1, as cosign wrote it until 2023.
//!
//! `sigstore-verify` does not know it. It names the envelope by the hash of its bytes, and the
//! certificate or key; it has a signed entry timestamp and, in annotations, no proof.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use sigstore_verify::types::DerCertificate;

use super::Parsed;
use super::key::HashAlgorithm;
use super::log;
use super::log::Named;
use super::log::Promised;
use crate::trust_root::TrustRoot;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Kind and version.
pub(super) const KIND: (&str, &str) = ("intoto", "0.0.1");

/// An entry, as cosign's annotation has it, and the hash of the envelope that it stands beside.
pub(super) struct Entry {
    pub(super) log_id: Vec<u8>,
    pub(super) index: u64,
    pub(super) time: Timestamp,
    pub(super) body: Vec<u8>,
    pub(super) set: Vec<u8>,
    /// SHA-256 of the envelope's bytes, in hexadecimal.
    pub(super) envelope: String,
}

impl Entry {
    /// Verifies the signed entry timestamp and that the body is about this very envelope, payload
    /// and signer. Returns the time of the entry.
    pub(super) fn check(
        &self,
        parsed: &Parsed,
        named: Named<'_>,
        root: &TrustRoot,
    ) -> Result<Timestamp, Failure> {
        let Self { log_id, index, time, body, set, envelope } = self;
        let promised = Promised { log_id, index: *index, time: *time, body, set };
        let time = log::check_promise(&promised, root)?;
        let body = crate::json::parse(body).map_err(|error| {
            let found = format!("the log entry's body is not JSON: {error}");
            Failure::new(Reason::LogEntryMalformed, found)
        })?;
        let payload = parsed.statement.as_deref().unwrap_or_default();
        let payload = hex::encode(HashAlgorithm::Sha256.digest(payload));
        for (pointer, wanted) in [("hash", envelope), ("payloadHash", &payload)] {
            let text = |field| text(&body, &format!("/spec/content/{pointer}/{field}"));
            if (text("algorithm"), text("value")) != ("sha256", wanted.as_str()) {
                return Err(mismatch("the log entry is about another attestation"));
            }
        }
        let pem = STANDARD.decode(text(&body, "/spec/publicKey")).unwrap_or_default();
        let pem = String::from_utf8(pem).unwrap_or_default();
        let same = match named {
            Named::Certificate(leaf) => {
                DerCertificate::from_pem(&pem).is_ok_and(|one| one.as_bytes() == leaf)
            }
            Named::Key(key) => sigstore_verify::types::DerPublicKey::from_pem(&pem)
                .is_ok_and(|one| one.as_bytes() == key.spki().as_bytes()),
        };
        if same { Ok(time) } else { Err(mismatch("the log entry names another signer")) }
    }
}

fn text<'a>(body: &'a Value, pointer: &str) -> &'a str {
    body.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn mismatch(found: &str) -> Failure {
    Failure::new(Reason::LogEntryMismatch, found)
}
