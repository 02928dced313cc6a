//! The bodies of log entries.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;

use super::key::Algorithm;
use super::key::sha256;

/// What a signer hands to a log.
#[derive(Clone, Debug)]
pub struct Submission {
    /// Kind of the signer's key.
    pub algorithm: Algorithm,
    /// The bytes that were signed: the message, or the PAE of an envelope.
    pub message: Vec<u8>,
    /// Payload and its type, for an envelope.
    pub envelope: Option<(Vec<u8>, String)>,
    /// The signature.
    pub signature: Vec<u8>,
    /// Certificate or public key as PEM.
    pub verifier_pem: String,
    /// Certificate or public key as DER.
    pub verifier: Vec<u8>,
    /// Whether the verifier is a certificate.
    pub certified: bool,
}

/// A body with its kind and version.
#[derive(Clone, Debug)]
pub struct Body {
    /// Kind, for example `hashedrekord`.
    pub kind: &'static str,
    /// Version of the kind.
    pub version: &'static str,
    /// The body.
    pub value: Value,
}

impl Submission {
    /// The entry that Rekor v1 makes of it; `intoto` asks for the older kind of envelopes.
    ///
    /// # Panics
    /// When `intoto` is asked for and there is no envelope.
    pub fn rekor_v1(&self, intoto: bool) -> Body {
        match &self.envelope {
            Some((payload, kind)) if intoto => self.intoto(payload, kind),
            Some((payload, kind)) => self.dsse(payload, kind),
            None if intoto => panic!("only envelopes are logged as intoto"),
            None => self.hashedrekord_v1(),
        }
    }

    fn hashedrekord_v1(&self) -> Body {
        let (algorithm, value) = self.algorithm.rekor_v1_hash(&self.message);
        let value = json!({
            "apiVersion": "0.0.1",
            "kind": "hashedrekord",
            "spec": {
                "data": { "hash": { "algorithm": algorithm, "value": value } },
                "signature": {
                    "content": STANDARD.encode(&self.signature),
                    "publicKey": { "content": STANDARD.encode(&self.verifier_pem) },
                },
            },
        });
        Body { kind: "hashedrekord", version: "0.0.1", value }
    }

    fn dsse(&self, payload: &[u8], kind: &str) -> Body {
        let value = json!({
            "apiVersion": "0.0.1",
            "kind": "dsse",
            "spec": {
                "envelopeHash": hash(self.envelope_json(payload, kind).as_bytes()),
                "payloadHash": hash(payload),
                "signatures": [{
                    "signature": STANDARD.encode(&self.signature),
                    "verifier": STANDARD.encode(&self.verifier_pem),
                }],
            },
        });
        Body { kind: "dsse", version: "0.0.1", value }
    }

    fn intoto(&self, payload: &[u8], kind: &str) -> Body {
        // The signature is encoded twice in entries of this kind.
        let signature = STANDARD.encode(STANDARD.encode(&self.signature));
        let value = json!({
            "apiVersion": "0.0.2",
            "kind": "intoto",
            "spec": { "content": {
                "envelope": {
                    "payloadType": kind,
                    "signatures": [{
                        "publicKey": STANDARD.encode(&self.verifier_pem),
                        "sig": signature,
                    }],
                },
                "hash": hash(self.envelope_json(payload, kind).as_bytes()),
                "payloadHash": hash(payload),
            } },
        });
        Body { kind: "intoto", version: "0.0.2", value }
    }

    /// The entry that an old Rekor v1 makes of an envelope.
    ///
    /// # Panics
    /// When there is no envelope.
    pub fn oldest(&self) -> Body {
        let Some((payload, kind)) = &self.envelope else {
            panic!("only envelopes are logged as intoto")
        };
        let value = json!({
            "apiVersion": "0.0.1",
            "kind": "intoto",
            "spec": {
                "content": {
                    "hash": hash(self.envelope_json(payload, kind).as_bytes()),
                    "payloadHash": hash(payload),
                },
                "publicKey": STANDARD.encode(&self.verifier_pem),
            },
        });
        Body { kind: "intoto", version: "0.0.1", value }
    }

    /// The entry that Rekor v2 makes of it.
    pub fn rekor_v2(&self) -> Body {
        let (algorithm, digest) = self.algorithm.protobuf_hash(&self.message);
        let raw = json!({ "rawBytes": STANDARD.encode(&self.verifier) });
        let mut verifier = json!({ "keyDetails": self.algorithm.details() });
        verifier[if self.certified { "x509Certificate" } else { "publicKey" }] = raw;
        let value = json!({
            "apiVersion": "0.0.2",
            "kind": "hashedrekord",
            "spec": { "hashedRekordV002": {
                "data": { "algorithm": algorithm, "digest": STANDARD.encode(digest) },
                "signature": {
                    "content": STANDARD.encode(&self.signature),
                    "verifier": verifier,
                },
            } },
        });
        Body { kind: "hashedrekord", version: "0.0.2", value }
    }

    fn envelope_json(&self, payload: &[u8], kind: &str) -> String {
        json!({
            "payload": STANDARD.encode(payload),
            "payloadType": kind,
            "signatures": [{ "sig": STANDARD.encode(&self.signature) }],
        })
        .to_string()
    }
}

fn hash(bytes: &[u8]) -> Value {
    json!({ "algorithm": "sha256", "value": hex::encode(sha256(bytes)) })
}
