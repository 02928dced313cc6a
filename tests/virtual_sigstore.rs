//! What `VirtualSigstore` makes is real: the honest verifies with `sigstore-verify`, and each
//! forgery is refused by it for the expected cause, or is on the list of what it lets through.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test support: what is wrong in here must stop the test"
)]

#[path = "virtual_sigstore/forgeries.rs"]
mod forgeries;
#[path = "virtual_sigstore/products.rs"]
mod products;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use sigstore_verify::PublicKeyVerificationPolicy;
use sigstore_verify::VerificationPolicy;
use sigstore_verify::Verifier;
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::types::Bundle;
use sigstore_verify::types::DerPublicKey;
use sigstore_verify::types::Sha256Hash;
use tegata::evidence::annotation;
use tegata::image::Digest;

use self::virtual_sigstore::Algorithm;
use self::virtual_sigstore::ClassicSignature;
use self::virtual_sigstore::Key;
use self::virtual_sigstore::Log;
use self::virtual_sigstore::Signing;
use self::virtual_sigstore::Version;
use self::virtual_sigstore::VirtualSigstore;

const ALICE: &str = "alice@example.com";
const ISSUER: &str = "https://issuer.example";
const MANIFEST: &[u8] = br#"{"schemaVersion":2,"layers":[]}"#;

fn sigstore() -> VirtualSigstore {
    VirtualSigstore::new("2025-06-01T12:00:00Z".parse::<Timestamp>().unwrap())
}

fn image() -> Digest {
    Digest::sha256_of(MANIFEST)
}

/// What was signed, as the verifier is given it.
enum Artifact<'a> {
    Bytes(&'a [u8]),
    Digest(&'a Digest),
}

const IMAGE: Artifact<'static> = Artifact::Bytes(MANIFEST);

/// `Err` with the verifier's words, or the words of whatever came before it.
fn verify(
    root: &str,
    bundle: &Value,
    artifact: &Artifact<'_>,
    key: Option<&Key>,
) -> Result<(), String> {
    let root = TrustedRoot::from_json(root).unwrap();
    let verifier = Verifier::new(&root).unwrap();
    let bundle = Bundle::from_json(&bundle.to_string()).map_err(|error| error.to_string())?;
    let verify = |policy: &dyn sigstore_verify::Policy| match artifact {
        Artifact::Bytes(bytes) => verifier.verify(*bytes, &bundle, policy),
        Artifact::Digest(digest) => {
            verifier.verify(Sha256Hash::from_hex(digest.hex()).unwrap(), &bundle, policy)
        }
    };
    let result = match key {
        Some(key) => {
            verify(&PublicKeyVerificationPolicy::new(DerPublicKey::new(key.spki().to_vec())))
        }
        None => verify(&VerificationPolicy::any_identity()),
    };
    result.map(|_| ()).map_err(|error| error.to_string())
}

/// The v0.1 bundle with the content of classic annotations; the payload is its message.
fn adapt(signature: &ClassicSignature) -> Value {
    let text = |key: &str| signature.annotations.get(key);
    let parse = |key: &str| text(key).map(|json| serde_json::from_str::<Value>(json).unwrap());
    let mut material = match text(annotation::CERTIFICATE) {
        Some(pem) => {
            let der: String = pem.lines().filter(|line| !line.starts_with("-----")).collect();
            json!({ "x509CertificateChain": { "certificates": [{ "rawBytes": der }] } })
        }
        None => json!({ "publicKey": { "hint": "" } }),
    };
    if let Some(entry) = parse(annotation::BUNDLE) {
        let payload = &entry["Payload"];
        let id = hex::decode(payload["logID"].as_str().unwrap()).unwrap();
        material["tlogEntries"] = json!([{
            "logIndex": payload["logIndex"].to_string(),
            "logId": { "keyId": STANDARD.encode(id) },
            "kindVersion": { "kind": "hashedrekord", "version": "0.0.1" },
            "integratedTime": payload["integratedTime"].to_string(),
            "canonicalizedBody": payload["body"],
        }]);
        if let Some(promise) = entry.get("SignedEntryTimestamp") {
            material["tlogEntries"][0]["inclusionPromise"] =
                json!({ "signedEntryTimestamp": promise });
        }
    }
    if let Some(timestamp) = parse(annotation::TIMESTAMP) {
        let token = &timestamp["SignedRFC3161Timestamp"];
        material["timestampVerificationData"] =
            json!({ "rfc3161Timestamps": [{ "signedTimestamp": token }] });
    }
    json!({
        "mediaType": Version::V01.media_type(),
        "verificationMaterial": material,
        "messageSignature": { "signature": signature.annotations[annotation::SIGNATURE] },
    })
}

fn v1(sigstore: &VirtualSigstore) -> Signing<'_> {
    sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1)
}

fn v2(sigstore: &VirtualSigstore) -> Signing<'_> {
    sigstore.keyless(ALICE, ISSUER).log(Log::RekorV2).timestamp(1)
}

#[test]
fn accepts_every_keyless_bundle() {
    let sigstore = sigstore();
    let root = sigstore.trusted_root_json();
    for version in [Version::V02, Version::V03, Version::V01] {
        for (name, signing) in [
            ("v1", v1(&sigstore)),
            ("v1 intoto", sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1Intoto)),
            ("v1 stamped", v1(&sigstore).timestamp(2).tsa_certificate()),
            ("v1 and v2", v2(&sigstore).log(Log::RekorV1)),
            ("v2", v2(&sigstore)),
        ] {
            if version == Version::V01 && name == "v2" {
                continue; // version 0.1 wants a promise, which Rekor v2 does not make
            }
            let digest = image();
            let signed = signing.clone().bundle(version).sign(&digest);
            let result = verify(&root, &signed.bundle, &Artifact::Digest(&digest), None);
            assert_eq!(result, Ok(()), "{name} {version:?} statement");
            if name != "v1 intoto" {
                let signed = signing.bundle(version).sign_message(MANIFEST);
                let result = verify(&root, &signed.bundle, &IMAGE, None);
                assert_eq!(result, Ok(()), "{name} {version:?} message");
            }
        }
    }
}

#[test]
fn accepts_every_keyed_bundle_and_classic_signature() {
    let sigstore = sigstore();
    let root = sigstore.trusted_root_json();
    let digest = image();
    let key = Key::generate(Algorithm::P256);
    let keyed = || sigstore.keyed(&key);
    for signing in [
        keyed().log(Log::RekorV1),
        keyed().log(Log::RekorV2),
        keyed().log(Log::RekorV1).timestamp(1),
    ] {
        let signed = signing.bundle(Version::V03).sign(&digest);
        assert_eq!(
            verify(&root, &signed.bundle, &IMAGE, Some(&key)),
            Ok(()),
            "{:#}",
            signed.bundle
        );
    }
    for (signing, key) in [
        (keyed().log(Log::RekorV1), Some(&key)),
        (keyed().log(Log::RekorV1).timestamp(1), Some(&key)),
        (v1(&sigstore), None),
        (v1(&sigstore).timestamp(1), None),
    ] {
        let signature = signing.classic().sign(&digest);
        let payload = Artifact::Bytes(&signature.payload);
        assert_eq!(verify(&root, &adapt(&signature), &payload, key), Ok(()), "{signature:?}");
    }
}
