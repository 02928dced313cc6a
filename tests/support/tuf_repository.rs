//! A TUF repository in the making: real keys, and metadata that can be wrong in any one place.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test support: each test crate uses a part of it"
)]
use std::collections::BTreeMap;
use std::sync::Arc;

use aws_lc_rs::encoding::AsDer as _;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature;
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use sha2::Digest as _;

/// When all metadata expires, unless it is made otherwise.
pub const EXPIRES: &str = "2027-01-01T00:00:00Z";

/// A day on which it has not expired.
pub const NOW: &str = "2026-11-22T00:00:00Z";

/// The kind of a key, and how its public half is written.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Kind {
    Ed25519Hex,
    EcdsaHex,
    /// With the key type of old metadata.
    EcdsaOldPem,
    EcdsaPem,
    RsaPem,
}

impl Kind {
    pub const ALL: [Self; 5] =
        [Self::Ed25519Hex, Self::EcdsaHex, Self::EcdsaOldPem, Self::EcdsaPem, Self::RsaPem];
}

enum Pair {
    Ecdsa(signature::EcdsaKeyPair),
    Ed25519(signature::Ed25519KeyPair),
    Rsa(rsa::KeyPair),
}

/// A key with its entry in a root.
#[derive(Clone)]
pub struct Key {
    pub id: String,
    pub entry: Value,
    pair: Arc<Pair>,
}

fn pem(der: &[u8]) -> String {
    let text = STANDARD.encode(der);
    let lines: Vec<&str> =
        text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", lines.join("\n"))
}

impl Key {
    pub fn new(id: &str, kind: Kind) -> Self {
        let pair = match kind {
            Kind::Ed25519Hex => Pair::Ed25519(signature::Ed25519KeyPair::generate().unwrap()),
            Kind::RsaPem => Pair::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap()),
            Kind::EcdsaHex | Kind::EcdsaOldPem | Kind::EcdsaPem => {
                let signing = &signature::ECDSA_P256_SHA256_ASN1_SIGNING;
                Pair::Ecdsa(signature::EcdsaKeyPair::generate(signing).unwrap())
            }
        };
        Self { id: id.to_owned(), entry: entry(&pair, kind), pair: Arc::new(pair) }
    }

    pub fn ed25519(id: &str) -> Self {
        Self::new(id, Kind::Ed25519Hex)
    }

    /// The same key under another ID, written in another way.
    pub fn again(&self, id: &str, kind: Kind) -> Self {
        let entry = entry(&self.pair, kind);
        Self { id: id.to_owned(), entry, pair: Arc::clone(&self.pair) }
    }

    fn sign(&self, message: &[u8]) -> String {
        let random = SystemRandom::new();
        match self.pair.as_ref() {
            Pair::Ecdsa(pair) => hex::encode(pair.sign(&random, message).unwrap()),
            Pair::Ed25519(pair) => hex::encode(pair.sign(message)),
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public_modulus_len()];
                pair.sign(&signature::RSA_PSS_SHA256, &random, message, &mut signature).unwrap();
                hex::encode(signature)
            }
        }
    }
}

fn entry(pair: &Pair, kind: Kind) -> Value {
    let (raw, der) = match pair {
        Pair::Ecdsa(pair) => {
            let key = pair.public_key();
            let der: PublicKeyX509Der<'_> = key.as_der().unwrap();
            (key.as_ref().to_vec(), der.as_ref().to_vec())
        }
        Pair::Ed25519(pair) => (pair.public_key().as_ref().to_vec(), Vec::new()),
        Pair::Rsa(pair) => {
            let der: PublicKeyX509Der<'_> = pair.public_key().as_der().unwrap();
            (Vec::new(), der.as_ref().to_vec())
        }
    };
    let old = "ecdsa-sha2-nistp256";
    let (keytype, scheme, public) = match kind {
        Kind::Ed25519Hex => ("ed25519", "ed25519", hex::encode(raw)),
        Kind::EcdsaHex => (old, old, hex::encode(raw)),
        Kind::EcdsaOldPem => (old, old, pem(&der)),
        Kind::EcdsaPem => ("ecdsa", old, pem(&der)),
        Kind::RsaPem => ("rsa", "rsassa-pss-sha256", pem(&der)),
    };
    json!({ "keytype": keytype, "scheme": scheme, "keyval": { "public": public } })
}

/// Canonical JSON, for the texts that are used here.
fn canonical(value: &Value) -> String {
    let text = |text: &str| format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""));
    match value {
        Value::Array(items) => {
            format!("[{}]", items.iter().map(canonical).collect::<Vec<_>>().join(","))
        }
        Value::Object(map) => {
            let sorted: BTreeMap<_, _> = map.iter().collect();
            let entries = sorted.into_iter().map(|(k, v)| format!("{}:{}", text(k), canonical(v)));
            format!("{{{}}}", entries.collect::<Vec<_>>().join(","))
        }
        Value::String(content) => text(content),
        Value::Null | Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

/// A metadata file, signed by each of `keys`.
pub fn sign(signed: &Value, keys: &[&Key]) -> Vec<u8> {
    let message = canonical(signed);
    let signatures: Vec<Value> = keys
        .iter()
        .map(|key| json!({ "keyid": key.id, "sig": key.sign(message.as_bytes()) }))
        .collect();
    serde_json::to_vec_pretty(&json!({ "signed": signed, "signatures": signatures })).unwrap()
}

/// The keys of each role, and how many must sign.
#[derive(Clone)]
pub struct Roles {
    pub root: Vec<Key>,
    pub timestamp: Vec<Key>,
    pub snapshot: Vec<Key>,
    pub targets: Vec<Key>,
    pub threshold: u64,
}

impl Roles {
    /// One key for each role.
    pub fn new(name: &str) -> Self {
        let one = |role| vec![Key::ed25519(&format!("{name}-{role}"))];
        Self {
            root: one("root"),
            timestamp: one("timestamp"),
            snapshot: one("snapshot"),
            targets: one("targets"),
            threshold: 1,
        }
    }

    /// What a root of this version says.
    pub fn root(&self, version: u64) -> Value {
        let all = [
            ("root", &self.root),
            ("timestamp", &self.timestamp),
            ("snapshot", &self.snapshot),
            ("targets", &self.targets),
        ];
        let (mut keys, mut roles) = (json!({}), json!({}));
        for (role, of_role) in all {
            let ids: Vec<&str> = of_role.iter().map(|key| key.id.as_str()).collect();
            let threshold = if role == "root" { self.threshold } else { 1 };
            roles[role] = json!({ "keyids": ids, "threshold": threshold });
            for key in of_role {
                keys[&key.id] = key.entry.clone();
            }
        }
        json!({
            "_type": "root", "spec_version": "1.0.31", "version": version, "expires": EXPIRES,
            "consistent_snapshot": true, "keys": keys, "roles": roles,
        })
    }

    /// A root of this version, signed by its own keys and by `others`.
    pub fn signed_root(&self, version: u64, others: &[Key]) -> Vec<u8> {
        let keys: Vec<&Key> = self.root.iter().chain(others).collect();
        sign(&self.root(version), &keys)
    }

    /// Metadata with these targets, each role at `version`.
    pub fn release(&self, version: u64, targets: &[(&str, &[u8])]) -> Release {
        let files: serde_json::Map<String, Value> =
            targets.iter().map(|(name, bytes)| ((*name).to_owned(), file(bytes))).collect();
        let targets = json!({
            "_type": "targets", "spec_version": "1.0.31", "version": version, "expires": EXPIRES,
            "targets": files,
        });
        let snapshot = json!({
            "_type": "snapshot", "spec_version": "1.0.31", "version": version, "expires": EXPIRES,
            "meta": { "targets.json": { "version": version } },
        });
        let timestamp = json!({
            "_type": "timestamp", "spec_version": "1.0.31", "version": version,
            "expires": EXPIRES, "meta": { "snapshot.json": { "version": version } },
        });
        Release { timestamp, snapshot, targets }
    }

    pub fn sign(&self, release: &Release) -> Signed {
        let all = |keys: &Vec<Key>, value| sign(value, &keys.iter().collect::<Vec<_>>());
        let targets = all(&self.targets, &release.targets);
        let mut snapshot = release.snapshot.clone();
        seal(snapshot["meta"].get_mut("targets.json"), &targets);
        let snapshot = all(&self.snapshot, &snapshot);
        let mut timestamp = release.timestamp.clone();
        seal(timestamp["meta"].get_mut("snapshot.json"), &snapshot);
        let timestamp = all(&self.timestamp, &timestamp);
        Signed { timestamp, snapshot, targets }
    }
}

/// Adds length and hash, unless they are there.
fn seal(entry: Option<&mut Value>, bytes: &[u8]) {
    if let Some(entry) = entry.filter(|entry| entry.get("hashes").is_none()) {
        entry["length"] = json!(bytes.len());
        entry["hashes"] = file(bytes)["hashes"].clone();
    }
}

fn file(bytes: &[u8]) -> Value {
    let hash = hex::encode(sha2::Sha256::digest(bytes));
    json!({ "length": bytes.len(), "hashes": { "sha256": hash } })
}

/// What three roles say, before they sign it.
#[derive(Clone)]
pub struct Release {
    pub timestamp: Value,
    pub snapshot: Value,
    pub targets: Value,
}

/// The same signed; each names the next by length and hash.
#[derive(Clone)]
pub struct Signed {
    pub timestamp: Vec<u8>,
    pub snapshot: Vec<u8>,
    pub targets: Vec<u8>,
}
