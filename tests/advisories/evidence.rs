//! Forged, borrowed and oversized evidence, through the whole pipeline.
use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tegata::image::Digest;
use tegata::verdict::Reason;
use tegata::verify::MAX_SUBJECTS;

use crate::gate::ALICE;
use crate::gate::BOB;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::policy;
use crate::policy::keyed;
use crate::policy::keyless;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Authority;
use crate::virtual_sigstore::COSIGN_SIGN;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::OciArtifact;
use crate::virtual_sigstore::Part;
use crate::virtual_sigstore::SignedBundle;
use crate::virtual_sigstore::Version;

/// What every refusal of oversized evidence stays below, on a slow machine and unoptimised.
pub(crate) const CHEAP: Duration = Duration::from_secs(3);

/// CVE-2022-36056, CVE-2022-23649, CVE-2026-22703, CVE-2024-53267.
#[tokio::test]
async fn rejects_a_valid_log_entry_of_another_signature_certificate_or_digest() {
    for part in [
        Part::LogEntryOfAnotherSignature,
        Part::LogEntryOfAnotherCertificate,
        Part::LogEntryOfAnotherDigest,
        Part::LogEntryOfAnotherImage,
    ] {
        for log in [Log::RekorV1, Log::RekorV1Intoto, Log::RekorV2] {
            let gate = Gate::new().await;
            let signing = gate.sigstore.keyless(ALICE, ISSUER).log(log).timestamp(1);
            gate.attach(signing.clone());
            gate.admit().await.assert_verified();
            let gate = Gate::new().await;
            let signing = gate.sigstore.keyless(ALICE, ISSUER).log(log).timestamp(1);
            gate.attach(signing.tamper(part));
            println!("{part:?} {log:?}");
            gate.admit().await.assert_denied(Reason::LogEntryMismatch);
        }
        let gate = Gate::new().await;
        gate.attach_classic(gate.alice().tamper(part));
        println!("{part:?} classic");
        gate.admit().await.assert_denied(Reason::LogEntryMismatch);
    }
}

/// The same for a key: CVE-2022-36056.
#[tokio::test]
async fn rejects_a_valid_log_entry_of_another_key() {
    let key = Key::generate(Algorithm::P256);
    let mut authority = keyed(&key.public_pem());
    authority["ctlog"] = json!({});
    for classic in [false, true] {
        for part in [Part::LogEntryOfAnotherKey, Part::LogEntryOfAnotherSignature] {
            let mut gate = Gate::new().await;
            gate.demand(std::slice::from_ref(&authority));
            let signing = gate.sigstore.keyed(&key).log(Log::RekorV1).tamper(part);
            if classic {
                gate.attach_classic(signing)
            } else {
                gate.attach(signing)
            }
            gate.admit().await.assert_denied(Reason::LogEntryMismatch);
        }
    }
}

/// CVE-2022-36056 as it was used: a stolen key whose certificate is over, and an entry of its day.
#[tokio::test]
async fn rejects_an_expired_signer_with_the_log_entry_of_another_image() {
    for classic in [false, true] {
        let gate = Gate::new().await;
        let signing =
            gate.alice().tamper(Part::CertificateExpired).tamper(Part::LogEntryOfAnotherImage);
        if classic {
            gate.attach_classic(signing)
        } else {
            gate.attach(signing)
        }
        gate.admit().await.assert_denied(Reason::SigningTimeOutsideCertificate);
    }
}

/// sigstore-rust audit.
#[tokio::test]
async fn rejects_an_envelope_with_a_second_signature() {
    let gate = Gate::new().await;
    gate.attach(gate.alice().tamper(Part::TwoSignatures));
    gate.admit().await.assert_denied(Reason::EvidenceMalformed);
}

/// sigstore-rust audit: a timestamp is held to the window of the authority that made it.
#[tokio::test]
async fn rejects_the_window_of_one_timestamp_authority_for_another() {
    let mut gate = Gate::new().await;
    gate.attach(gate.alice().timestamp(1));
    gate.trusted_root =
        gate.sigstore.trusted_root().expired(Authority::Tsa).second(Authority::Tsa).json();
    gate.admit().await.assert_denied(Reason::TimestampOutsideWindow);
    let mut gate = Gate::new().await;
    gate.attach(gate.alice().second_timestamp(1));
    gate.trusted_root =
        gate.sigstore.trusted_root().expired(Authority::Tsa).second(Authority::Tsa).json();
    gate.admit().await.assert_verified();
}

/// CVE-2026-24122.
#[tokio::test]
async fn rejects_an_intermediate_that_expired_before_the_signing_time() {
    let mut authority = keyless(ALICE, ISSUER);
    authority["rfc3161timestamp"] = json!({});
    for classic in [false, true] {
        let mut gate = Gate::new().await;
        gate.demand(std::slice::from_ref(&authority));
        let stamped = gate.sigstore.keyless(ALICE, ISSUER).timestamp(1);
        let signing = stamped.tamper(Part::IntermediateExpired);
        if classic {
            gate.attach_classic(signing)
        } else {
            gate.attach(signing)
        }
        gate.admit().await.assert_denied(Reason::CertificateAuthorityExpired);
    }
}

/// CVE-2026-39395.
#[tokio::test]
async fn rejects_a_payload_that_is_no_json_a_text_or_of_another_predicate_type() {
    for (part, bundle, classic) in [
        (Part::PayloadNotJson, Reason::PayloadMalformed, Reason::PayloadMalformed),
        (Part::PayloadJsonString, Reason::PayloadMalformed, Reason::PayloadMalformed),
        (Part::PredicateType, Reason::PredicateTypeUnexpected, Reason::PayloadMalformed),
        (Part::PayloadDigest, Reason::PayloadDigestMismatch, Reason::PayloadDigestMismatch),
    ] {
        let gate = Gate::new().await;
        gate.attach(gate.alice().tamper(part));
        gate.admit().await.assert_denied(bundle);
        let gate = Gate::new().await;
        gate.attach_classic(gate.alice().tamper(part));
        gate.admit().await.assert_denied(classic);
    }
}

/// GHSA-fx35-mq7g-6g98, CVE-2026-44310.
#[tokio::test]
async fn rejects_a_raw_key_and_an_empty_list_where_a_certificate_belongs() {
    for (part, reason) in [
        (Part::RawKeyForCertificate, Reason::CertificateMalformed),
        (Part::NoCertificates, Reason::CertificateAbsent),
    ] {
        let gate = Gate::new().await;
        gate.attach(gate.alice().tamper(part));
        gate.admit().await.assert_denied(reason);
    }
}

/// GHSA-mhg6-2q2v-9h2c.
#[tokio::test]
async fn accepts_the_image_as_second_of_several_subjects() {
    let gate = Gate::new().await;
    gate.attach(gate.alice().other_subjects(1));
    gate.admit().await.assert_verified();
}

/// GHSA-mhg6-2q2v-9h2c.
#[tokio::test]
async fn rejects_the_images_digest_under_another_algorithm_or_name() {
    let (mut gate, key) = keyed_gate().await;
    let hex = gate.digest.hex().to_owned();
    let other = Digest::sha256_of(b"other").hex().to_owned();
    for digests in [
        json!({ "sha512": hex }),
        json!({ "SHA256": hex }),
        json!({ "sha1": hex, "sha256": other }),
        json!({ "gitCommit": hex }),
        json!({ "sha256": hex.to_uppercase() }),
        json!({ "sha256": format!("sha256:{hex}") }),
        json!({ "sha256": [hex] }),
        json!({}),
    ] {
        gate.registry = crate::fake_registry::FakeRegistry::start().await.unwrap();
        gate.put_image("app", "v1");
        let statement = statement(&json!([{ "name": hex, "digest": digests }]));
        gate.push(&envelope(&gate, &key, statement.to_string().as_bytes()).oci());
        println!("{digests}");
        gate.admit().await.assert_denied(Reason::PayloadDigestMismatch);
    }
}

/// CVE-2026-44309.
#[tokio::test]
async fn rejects_a_payload_with_a_name_twice() {
    let (gate, key) = keyed_gate().await;
    let ours = json!([{ "digest": { "sha256": gate.digest.hex() } }]);
    let honest = statement(&ours).to_string();
    let other = json!([{ "digest": { "sha256": Digest::sha256_of(b"other").hex() } }]);
    let doubled = honest.replacen('{', &format!("{{\"subject\":{other},"), 1);
    assert_ne!(doubled, honest);
    gate.push(&envelope(&gate, &key, doubled.as_bytes()).oci());
    gate.admit().await.assert_denied(Reason::PayloadMalformed);
    let (gate, key) = keyed_gate().await;
    gate.push(&envelope(&gate, &key, honest.as_bytes()).oci());
    gate.admit().await.assert_verified();
}

/// CVE-2026-44309: which of two envelopes counts must not depend on the reader.
#[tokio::test]
async fn rejects_a_bundle_with_a_name_twice() {
    let gate = Gate::new().await;
    let signed = gate.alice().bundle(Version::V03).sign(&gate.digest);
    let honest = String::from_utf8(signed.bytes()).unwrap();
    let envelope = signed.bundle["dsseEnvelope"].to_string();
    let doubled = honest.replacen('{', &format!("{{\"dsseEnvelope\":{envelope},"), 1);
    gate.push(&with_bundle(&signed, doubled.as_bytes()));
    gate.admit().await.assert_denied(Reason::EvidenceMalformed);
}

/// CVE-2026-44309: the bytes that are verified are the bytes that are read.
#[tokio::test]
async fn rejects_a_payload_that_was_encoded_again() {
    let (gate, key) = keyed_gate().await;
    let subjects = json!([{ "digest": { "sha256": gate.digest.hex() } }]);
    let statement = statement(&subjects);
    let mut signed = envelope(&gate, &key, statement.to_string().as_bytes());
    let again = serde_json::to_string_pretty(&statement).unwrap();
    signed.bundle["dsseEnvelope"]["payload"] = json!(STANDARD.encode(again));
    gate.push(&signed.oci());
    gate.admit().await.assert_denied(Reason::SignatureInvalid);
}

/// CVE-2024-45395.
#[tokio::test]
async fn rejects_surplus_log_entries_timestamps_and_subjects_before_looking_at_each() {
    for part in [Part::LogEntryCopies(33), Part::TimestampCopies(33), Part::TimestampCopies(1000)] {
        let gate = Gate::new().await;
        gate.attach(gate.alice().timestamp(1).tamper(part));
        let start = Instant::now();
        gate.admit().await.assert_denied(Reason::EvidenceTooLarge);
        assert!(start.elapsed() < CHEAP, "{part:?}: {:?}", start.elapsed());
    }
    let gate = Gate::new().await;
    gate.attach(gate.alice().other_subjects(MAX_SUBJECTS));
    gate.admit().await.assert_denied(Reason::EvidenceTooLarge);
    let gate = Gate::new().await;
    gate.attach(gate.alice().other_subjects(MAX_SUBJECTS - 1));
    gate.admit().await.assert_verified();
}

/// CVE-2026-32280.
#[tokio::test]
async fn rejects_a_thousand_certificates_cheaply() {
    let gate = Gate::new().await;
    let mut signed = gate.alice().bundle(Version::V01).sign(&gate.digest);
    let chain = &mut signed.bundle["verificationMaterial"]["x509CertificateChain"]["certificates"];
    let last = chain[1].clone();
    chain.as_array_mut().unwrap().extend(vec![last; 998]);
    gate.push(&signed.oci());
    let start = Instant::now();
    gate.admit().await.assert_denied(Reason::EvidenceTooLarge);
    assert!(start.elapsed() < CHEAP, "{:?}", start.elapsed());
    let gate = Gate::new().await;
    let signing = gate.alice().chain_annotation().classic();
    let mut signed = signing.sign(&gate.digest);
    let chain = signed.annotations.get_mut(tegata::evidence::annotation::CHAIN).unwrap();
    *chain = chain.repeat(1000);
    gate.push(&signed.oci());
    let start = Instant::now();
    gate.admit().await.assert_denied(Reason::EvidenceTooLarge);
    assert!(start.elapsed() < CHEAP, "{:?}", start.elapsed());
}

/// CVE-2026-32280.
#[tokio::test]
async fn rejects_huge_rsa_keys_in_certificates_cheaply() {
    use x509_cert::der::Decode as _;
    use x509_cert::der::Encode as _;
    for bits in [16_384, 65_536] {
        let gate = Gate::new().await;
        let mut signed = gate.alice().bundle(Version::V03).sign(&gate.digest);
        let der = signed.certificate.clone().unwrap();
        let mut certificate = x509_cert::Certificate::from_der(&der).unwrap();
        let key = x509_cert::spki::SubjectPublicKeyInfoOwned::from_der(&rsa(bits)).unwrap();
        certificate.tbs_certificate.subject_public_key_info = key;
        let der = certificate.to_der().unwrap();
        signed.bundle["verificationMaterial"]["certificate"]["rawBytes"] =
            json!(STANDARD.encode(der));
        gate.push(&signed.oci());
        let start = Instant::now();
        gate.admit().await.assert_denied(Reason::KeyUnsupported);
        assert!(start.elapsed() < CHEAP, "{bits}: {:?}", start.elapsed());
    }
}

/// Reported elsewhere: one signer twice toward `threshold: 2`.
#[tokio::test]
async fn rejects_one_signer_twice_toward_a_threshold_of_two() {
    let twice = [keyless(ALICE, ISSUER), keyless(ALICE, ISSUER)];
    let loose = json!({ "keyless": { "identities": [
        { "issuer": ISSUER, "subjectRegExp": ".*@example[.]com" },
    ] } });
    for authorities in [twice.to_vec(), vec![loose.clone(), loose]] {
        let mut gate = Gate::new().await;
        let policy = policy::cluster("two", &authorities);
        gate.policies = vec![policy::with(policy, "threshold", 2)];
        gate.attach(gate.alice());
        gate.attach(gate.alice());
        gate.attach_classic(gate.alice());
        gate.admit().await.assert_denied(Reason::ThresholdUnmet);
        gate.attach(gate.signer(BOB));
        let answer = gate.admit().await;
        let both = authorities[0] != twice[0];
        assert_eq!(answer.allowed(), both, "{answer:?}");
    }
}

/// Two rotten signatures are no better than one.
#[tokio::test]
async fn rejects_when_every_one_of_many_signatures_is_invalid() {
    let gate = Gate::new().await;
    for _ in 0..10 {
        gate.attach(gate.alice().tamper(Part::SignatureBytes));
    }
    gate.admit().await.assert_denied(Reason::SignatureInvalid);
    gate.attach(gate.alice());
    gate.admit().await.assert_verified();
}

/// CVE-2023-33199, CVE-2026-23831: error, no panic, whatever the body is.
#[tokio::test]
async fn rejects_malformed_log_entry_bodies_of_every_kind() {
    let spec = |kind: &str, version: &str, spec: Value| {
        json!({ "kind": kind, "apiVersion": version, "spec": spec }).to_string()
    };
    for (log, kind, version) in [
        (Log::RekorV1, "dsse", "0.0.1"),
        (Log::RekorV1Intoto, "intoto", "0.0.2"),
        (Log::RekorV2, "hashedrekord", "0.0.2"),
    ] {
        for body in [
            String::new(),
            "null".to_owned(),
            "[]".to_owned(),
            "{}".to_owned(),
            "[".repeat(100_000),
            spec(kind, version, Value::Null),
            spec(kind, version, json!([])),
            spec(kind, version, json!({ "signatures": [], "content": { "envelope": null } })),
            spec(kind, version, json!({ "hashedRekordV002": { "data": 1, "signature": [] } })),
            spec("rekord", "0.0.1", json!({})),
        ] {
            let gate = Gate::new().await;
            let signing = gate.sigstore.keyless(ALICE, ISSUER).log(log).timestamp(1);
            let mut signed = signing.bundle(Version::V03).sign(&gate.digest);
            signed.bundle["verificationMaterial"]["tlogEntries"][0]["canonicalizedBody"] =
                json!(STANDARD.encode(&body));
            gate.push(&signed.oci());
            let answer = gate.admit().await;
            let shown: String = body.chars().take(60).collect();
            println!("{kind} {shown}: {}", answer.message());
            assert_eq!(answer.0["status"]["code"], 403, "{answer:?}");
            let steps = ["log-entry-malformed", "log-entry-mismatch"];
            let proofs = ["inclusion-promise-invalid", "inclusion-proof-invalid"];
            let reason = answer.reasons()[0];
            let known = steps.contains(&reason) || proofs.contains(&reason);
            assert!(known, "{kind} {shown}: {answer:?}");
        }
    }
}

/// A gate whose policy asks for a key, and the key.
async fn keyed_gate() -> (Gate, Key) {
    let mut gate = Gate::new().await;
    let key = Key::generate(Algorithm::P256);
    gate.demand(&[keyed(&key.public_pem())]);
    (gate, key)
}

fn statement(subjects: &Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": COSIGN_SIGN,
        "predicate": {},
    })
}

/// A bundle around these very bytes, signed as they are (DSSE, "Signature Definition").
fn envelope(gate: &Gate, key: &Key, payload: &[u8]) -> SignedBundle {
    const KIND: &str = "application/vnd.in-toto+json";
    let mut message = format!("DSSEv1 {} {KIND} {} ", KIND.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    let mut signed = gate.sigstore.keyed(key).bundle(Version::V03).sign(&gate.digest);
    signed.bundle["dsseEnvelope"] = json!({
        "payload": STANDARD.encode(payload),
        "payloadType": KIND,
        "signatures": [{ "sig": STANDARD.encode(key.sign(&message)) }],
    });
    signed
}

/// The referrer with these bytes in the place of its bundle.
fn with_bundle(signed: &SignedBundle, bytes: &[u8]) -> OciArtifact {
    let mut artifact = signed.oci();
    let mut manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
    manifest["layers"][0]["digest"] = json!(Digest::sha256_of(bytes).to_string());
    manifest["layers"][0]["size"] = json!(bytes.len());
    artifact.manifest = manifest.to_string().into_bytes();
    artifact.blobs.push(bytes.to_vec());
    artifact
}

/// SubjectPublicKeyInfo of an RSA key of so many bits; nobody has its private part.
fn rsa(bits: usize) -> Vec<u8> {
    use crate::virtual_sigstore::der;
    let modulus = vec![0xd3; bits / 8];
    let key = der::sequence(&[der::integer(&modulus), der::integer(&[1, 0, 1])]);
    let algorithm = der::sequence(&[der::oid("1.2.840.113549.1.1.1"), der::element(5, &[])]);
    der::sequence(&[algorithm, der::bit_string(&key)])
}
