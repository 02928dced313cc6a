//! Transparency logs: Rekor v1 (signed entry timestamps, ECDSA) and v2 (tiles, Ed25519).
use std::sync::Mutex;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

use super::key::Algorithm;
use super::key::Key;
use super::key::sha256;
use super::merkle;
use super::merkle::Proof;

/// Rekor v1 numbers entries across all its trees; the proof counts within one tree.
const FIRST_INDEX_V1: u64 = 4_000;

/// Leaves of others that are in every log from the start, so that no proof is trivial.
const FOREIGN_LEAVES: usize = 5;

/// The generation of a log's protocol.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Protocol {
    /// Signed entry timestamps and checkpoints under ECDSA P-256.
    V1,
    /// Checkpoints under Ed25519 only.
    V2,
}

/// A log with its key and its leaves.
#[derive(Debug)]
pub struct RekorLog {
    /// The key.
    pub key: Key,
    protocol: Protocol,
    host: String,
    leaves: Mutex<Vec<Vec<u8>>>,
}

impl RekorLog {
    /// A log at `host`, with some leaves of others.
    pub fn new(protocol: Protocol, host: &str) -> Self {
        let algorithm = match protocol {
            Protocol::V1 => Algorithm::P256,
            Protocol::V2 => Algorithm::Ed25519,
        };
        let leaves = (0..FOREIGN_LEAVES).map(foreign_leaf).collect();
        Self {
            key: Key::generate(algorithm),
            protocol,
            host: host.to_owned(),
            leaves: Mutex::new(leaves),
        }
    }

    /// Its host, which is also the name on its checkpoints.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// Its identifier in entries and trust roots: SHA-256 of the key for v1, the C2SP key
    /// identifier (signed-note, "signature types": Ed25519 is 1) for v2.
    pub fn id(&self) -> [u8; 32] {
        match self.protocol {
            Protocol::V1 => sha256(self.key.spki()),
            Protocol::V2 => {
                let name = self.host.as_bytes();
                sha256(&[name, b"\n", &[1], &self.key.raw_public()].concat())
            }
        }
    }

    fn origin(&self) -> String {
        match self.protocol {
            Protocol::V1 => format!("{} - 7311975309261734912", self.host),
            Protocol::V2 => self.host.clone(),
        }
    }

    /// A signed checkpoint for a tree of `size` leaves with `root`.
    pub fn checkpoint(&self, size: u64, root: [u8; 32]) -> String {
        let body = format!("{}\n{size}\n{}\n", self.origin(), STANDARD.encode(root));
        let signature = [&self.id()[..4], &self.key.sign(body.as_bytes())].concat();
        format!("{body}\n\u{2014} {} {}\n", self.host, STANDARD.encode(signature))
    }

    /// Logs `body`, followed by another leaf, and returns the entry with all its evidence.
    pub fn append(&self, body: Vec<u8>, kind: &str, version: &str, time: Timestamp) -> Entry {
        let mut leaves = self.leaves.lock().unwrap();
        let index = leaves.len();
        leaves.push(body.clone());
        leaves.push(foreign_leaf(index));
        let proof = merkle::prove(&leaves, index);
        let other = merkle::prove(&leaves, 1);
        drop(leaves);
        let mut entry = Entry {
            kind: kind.to_owned(),
            version: version.to_owned(),
            log_id: self.id(),
            log_index: proof.index,
            integrated_time: None,
            promise: None,
            checkpoint: self.checkpoint(proof.size, proof.root),
            proof: Some(proof),
            other,
            body,
        };
        if self.protocol == Protocol::V1 {
            entry.log_index += FIRST_INDEX_V1;
            entry.integrated_time = Some(time.as_second());
            entry.promise = Some(self.key.sign(entry.promised().as_bytes()));
        }
        entry
    }
}

fn foreign_leaf(number: usize) -> Vec<u8> {
    format!("{{\"entry\":\"of someone else\",\"number\":{number}}}").into_bytes()
}

/// A log entry with its evidence. The fields may be changed before it is written.
#[derive(Clone, Debug)]
pub struct Entry {
    /// Kind, as bundles name it beside the body.
    pub kind: String,
    /// Version of the kind.
    pub version: String,
    /// The log's identifier.
    pub log_id: [u8; 32],
    /// Index, for v1 across all trees.
    pub log_index: u64,
    /// Seconds since 1970; v1 only.
    pub integrated_time: Option<i64>,
    /// Signed entry timestamp; v1 only.
    pub promise: Option<Vec<u8>>,
    /// Inclusion proof.
    pub proof: Option<Proof>,
    /// Signed checkpoint for the proof's tree.
    pub checkpoint: String,
    /// A valid proof of another leaf in the same tree.
    pub other: Proof,
    /// The canonicalised body.
    pub body: Vec<u8>,
}

impl Entry {
    /// The canonical JSON that a signed entry timestamp covers (RFC 8785 order of keys).
    fn promised(&self) -> String {
        format!(
            r#"{{"body":"{}","integratedTime":{},"logID":"{}","logIndex":{}}}"#,
            STANDARD.encode(&self.body),
            self.integrated_time.unwrap_or_default(),
            hex::encode(self.log_id),
            self.log_index,
        )
    }

    /// As an element of a bundle's `tlogEntries`.
    pub fn bundle_json(&self) -> Value {
        let mut entry = json!({
            "logIndex": self.log_index.to_string(),
            "logId": { "keyId": STANDARD.encode(self.log_id) },
            "kindVersion": { "kind": self.kind, "version": self.version },
            "canonicalizedBody": STANDARD.encode(&self.body),
        });
        if let Some(time) = self.integrated_time {
            entry["integratedTime"] = json!(time.to_string());
        }
        if let Some(promise) = &self.promise {
            entry["inclusionPromise"] = json!({ "signedEntryTimestamp": STANDARD.encode(promise) });
        }
        if let Some(proof) = &self.proof {
            let hashes: Vec<_> = proof.hashes.iter().map(|hash| STANDARD.encode(hash)).collect();
            entry["inclusionProof"] = json!({
                "logIndex": proof.index.to_string(),
                "rootHash": STANDARD.encode(proof.root),
                "treeSize": proof.size.to_string(),
                "hashes": hashes,
                "checkpoint": { "envelope": self.checkpoint },
            });
        }
        entry
    }

    /// As Rekor's API of version 1 gives it.
    pub fn api_json(&self) -> Value {
        let mut verification = json!({});
        if let Some(promise) = &self.promise {
            verification["signedEntryTimestamp"] = json!(STANDARD.encode(promise));
        }
        if let Some(proof) = &self.proof {
            let hashes: Vec<_> = proof.hashes.iter().map(hex::encode).collect();
            verification["inclusionProof"] = json!({
                "checkpoint": self.checkpoint,
                "hashes": hashes,
                "logIndex": proof.index,
                "rootHash": hex::encode(proof.root),
                "treeSize": proof.size,
            });
        }
        json!({
            "body": STANDARD.encode(&self.body),
            "integratedTime": self.integrated_time.unwrap_or_default(),
            "logID": hex::encode(self.log_id),
            "logIndex": self.log_index,
            "verification": verification,
        })
    }

    /// As cosign's annotation of classic signatures, which has room for the promise alone.
    pub fn annotation(&self) -> Value {
        let mut annotation = json!({ "Payload": {
            "body": STANDARD.encode(&self.body),
            "integratedTime": self.integrated_time,
            "logIndex": self.log_index,
            "logID": hex::encode(self.log_id),
        } });
        if let Some(promise) = &self.promise {
            annotation["SignedEntryTimestamp"] = json!(STANDARD.encode(promise));
        }
        annotation
    }
}
