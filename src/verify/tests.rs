//! Cases of others for single checks: what those need that stand beside the checks.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use sha2::Digest as _;
use x509_cert::der::Document;

use crate::trust_root::TrustRoot;
use crate::verdict::Failure;

#[path = "../../tests/support/collection.rs"]
pub(super) mod collection;
#[path = "../../tests/support/exceptions.rs"]
pub(super) mod exceptions;

use exceptions::VERIFIED;

/// The answer: verified, or step and reason.
pub(super) fn answer<T>(result: Result<T, Failure>) -> String {
    match result {
        Ok(_) => VERIFIED.to_owned(),
        Err(failure) => format!("{}: {}", failure.step(), failure.reason),
    }
}

/// The certificates of a PEM text, as DER; however long its lines are.
pub(super) fn certificates(pem: &str) -> Vec<Vec<u8>> {
    let blocks = pem.split("-----BEGIN CERTIFICATE-----").skip(1);
    let texts = blocks.map(|block| block.split("-----END").next().unwrap());
    texts
        .map(|text| STANDARD.decode(text.split_whitespace().collect::<String>()).unwrap())
        .collect()
}

/// The public key of a PEM text, as DER.
pub(super) fn public_key(pem: &str) -> Vec<u8> {
    Document::from_pem(pem).unwrap().1.as_bytes().to_vec()
}

/// A trust root of one authority for certificates, one for timestamps and one log of certificates,
/// as far as they are given; believed at any time.
pub(super) fn trust_root(
    authority: &[Vec<u8>],
    timestamp_authority: &[Vec<u8>],
    ct_log: Option<&[u8]>,
) -> TrustRoot {
    let always = json!({ "start": "1970-01-01T00:00:00Z" });
    let authorities = |chain: &[Vec<u8>]| -> Vec<Value> {
        let certificates: Vec<Value> =
            chain.iter().map(|der| json!({ "rawBytes": STANDARD.encode(der) })).collect();
        let authority = json!({
            "subject": { "organization": "vectors", "commonName": "vectors" }, "uri": "",
            "certChain": { "certificates": certificates }, "validFor": always,
        });
        if chain.is_empty() { Vec::new() } else { vec![authority] }
    };
    let ct_logs: Vec<Value> = ct_log
        .map(|key| {
            json!({
                "baseUrl": "", "hashAlgorithm": "SHA2_256",
                "publicKey": {
                    "rawBytes": STANDARD.encode(key), "keyDetails": "PKIX_ECDSA_P256_SHA_256",
                    "validFor": always,
                },
                "logId": { "keyId": STANDARD.encode(sha2::Sha256::digest(key)) },
            })
        })
        .into_iter()
        .collect();
    let document = json!({
        "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
        "certificateAuthorities": authorities(authority),
        "timestampAuthorities": authorities(timestamp_authority),
        "ctlogs": ct_logs,
    });
    let root = TrustRoot::from_json(&document.to_string()).unwrap();
    assert_eq!(root.problems(), &[] as &[String]);
    root
}
