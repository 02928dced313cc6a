//! What went wrong with attestations that policies ask for, in bundles and in classic envelopes.
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tegata::image::Digest;
use tegata::verdict::Reason;
use tegata::verify::MAX_SUBJECTS;

use crate::evidence::CHEAP;
use crate::gate::ALICE;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::gate::REPOSITORY;
use crate::policy::keyed;
use crate::policy::keyless;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::COSIGN_SIGN;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::Part;
use crate::virtual_sigstore::Signing;
use crate::virtual_sigstore::Version;

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const REPORT: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

/// The two formats: a bundle, and an envelope behind the attestation tag.
const CLASSIC: [bool; 2] = [false, true];

/// A gate that asks this authority for provenance.
async fn gate(mut authority: Value) -> Gate {
    authority["attestations"] = json!([{ "name": "provenance", "predicateType": PROVENANCE }]);
    let mut gate = Gate::new().await;
    gate.demand(&[authority]);
    gate
}

fn attach(gate: &Gate, classic: bool, signing: Signing<'_>) {
    if classic {
        gate.push(&signing.classic().attest(&gate.digest).oci());
    } else {
        gate.attach(signing);
    }
}

/// CVE-2026-39395.
#[tokio::test]
async fn rejects_an_attestation_that_is_no_json_a_text_or_of_another_predicate_type() {
    for classic in CLASSIC {
        for (part, reason) in [
            (None, None),
            (Some(Part::PayloadNotJson), Some(Reason::PayloadMalformed)),
            (Some(Part::PayloadJsonString), Some(Reason::PayloadMalformed)),
            (Some(Part::PayloadType), Some(Reason::EvidenceUnsupported)),
            (Some(Part::PredicateType), Some(Reason::PredicateTypeUnexpected)),
        ] {
            let gate = gate(keyless(ALICE, ISSUER)).await;
            let signing = gate.alice().predicate(PROVENANCE, json!({}));
            let forged = match part {
                Some(part) => signing.tamper(part),
                None => signing,
            };
            attach(&gate, classic, forged);
            println!("{part:?}, classic: {classic}");
            match reason {
                Some(reason) => gate.admit().await.assert_denied(reason),
                None => gate.admit().await.assert_verified(),
            }
        }
    }
}

/// CVE-2022-35929, CVE-2022-35930: what was verified is not what was asked for.
#[tokio::test]
async fn rejects_where_only_another_predicate_type_is_attested() {
    for classic in CLASSIC {
        for other in [REPORT, COSIGN_SIGN, "https://slsa.dev/provenance/v1/", "slsaprovenance"] {
            let gate = gate(keyless(ALICE, ISSUER)).await;
            // A signature that is good does not help the attestation that is not there.
            gate.attach_classic(gate.alice());
            attach(&gate, classic, gate.alice().predicate(other, json!({})));
            println!("{other}, classic: {classic}");
            gate.admit().await.assert_denied(Reason::PredicateTypeUnexpected);
        }
    }
}

/// CVE-2022-35929: a type of ours around an attestation that does not verify.
#[tokio::test]
async fn rejects_an_invalid_attestation_of_the_wanted_type_beside_a_valid_one_of_another() {
    for classic in CLASSIC {
        let gate = gate(keyless(ALICE, ISSUER)).await;
        attach(&gate, !classic, gate.alice().predicate(REPORT, json!({})));
        let forged = gate.alice().predicate(PROVENANCE, json!({})).tamper(Part::SignatureBytes);
        attach(&gate, classic, forged);
        gate.admit().await.assert_denied(Reason::SignatureInvalid);
        attach(&gate, !classic, gate.alice().predicate(PROVENANCE, json!({})));
        gate.admit().await.assert_verified();
    }
}

/// GHSA-mhg6-2q2v-9h2c.
#[tokio::test]
async fn accepts_an_attestation_of_the_image_among_others_and_rejects_one_of_others() {
    for classic in CLASSIC {
        let ours = gate(keyless(ALICE, ISSUER)).await;
        let signing = ours.alice().predicate(PROVENANCE, json!({})).other_subjects(1);
        attach(&ours, classic, signing);
        ours.admit().await.assert_verified();
        let other = gate(keyless(ALICE, ISSUER)).await;
        let signing = other.alice().predicate(PROVENANCE, json!({})).other_subjects(1);
        attach(&other, classic, signing.tamper(Part::PayloadDigest));
        other.admit().await.assert_denied(Reason::PayloadDigestMismatch);
    }
}

/// A gate that asks a key for provenance, and the key.
async fn keyed_gate() -> (Gate, Key) {
    let key = Key::generate(Algorithm::P256);
    (gate(keyed(&key.public_pem())).await, key)
}

fn statement(subjects: &Value) -> Value {
    json!({
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": PROVENANCE,
        "predicate": {},
    })
}

/// Attaches an attestation of these very bytes, signed as they are (DSSE, "Signature Definition").
fn attest(gate: &Gate, key: &Key, classic: bool, payload: &[u8]) {
    const KIND: &str = "application/vnd.in-toto+json";
    let mut message = format!("DSSEv1 {} {KIND} {} ", KIND.len(), payload.len()).into_bytes();
    message.extend_from_slice(payload);
    let envelope = json!({
        "payload": STANDARD.encode(payload),
        "payloadType": KIND,
        "signatures": [{ "sig": STANDARD.encode(key.sign(&message)) }],
    });
    let signing = gate.sigstore.keyed(key).predicate(PROVENANCE, json!({}));
    if classic {
        let mut signed = signing.classic().attest(&gate.digest);
        signed.payload = envelope.to_string().into_bytes();
        gate.push(&signed.oci());
    } else {
        let mut signed = signing.bundle(Version::V03).sign(&gate.digest);
        signed.bundle["dsseEnvelope"] = envelope;
        gate.push(&signed.oci());
    }
}

/// GHSA-mhg6-2q2v-9h2c.
#[tokio::test]
async fn rejects_an_attestation_that_names_the_images_digest_under_another_algorithm() {
    for classic in CLASSIC {
        let (honest, key) = keyed_gate().await;
        let hex = honest.digest.hex().to_owned();
        let ours = statement(&json!([{ "digest": { "sha512": hex, "sha256": hex } }]));
        attest(&honest, &key, classic, ours.to_string().as_bytes());
        honest.admit().await.assert_verified();
        for digests in [
            json!({ "sha512": hex }),
            json!({ "SHA256": hex }),
            json!({ "sha256": hex.to_uppercase() }),
            json!({ "sha256": [hex] }),
        ] {
            let (gate, key) = keyed_gate().await;
            let statement = statement(&json!([{ "name": hex, "digest": digests }]));
            attest(&gate, &key, classic, statement.to_string().as_bytes());
            println!("{digests}, classic: {classic}");
            gate.admit().await.assert_denied(Reason::PayloadDigestMismatch);
        }
    }
}

/// CVE-2026-44309: which of two values counts must not depend on the reader.
#[tokio::test]
async fn rejects_an_attestation_with_a_name_twice() {
    for classic in CLASSIC {
        for (name, first) in [
            ("subject", json!([{ "digest": { "sha256": Digest::sha256_of(b"other").hex() } }])),
            ("predicateType", json!(REPORT)),
            ("predicate", json!({ "scanner": "clean" })),
            ("_type", json!("https://in-toto.io/Statement/v0.1")),
        ] {
            let (gate, key) = keyed_gate().await;
            let subjects = json!([{ "digest": { "sha256": gate.digest.hex() } }]);
            let honest = statement(&subjects).to_string();
            let before = honest.replacen('{', &format!("{{\"{name}\":{first},"), 1);
            attest(&gate, &key, classic, before.as_bytes());
            println!("{name}, classic: {classic}");
            gate.admit().await.assert_denied(Reason::PayloadMalformed);
        }
    }
}

/// CVE-2024-45395.
#[tokio::test]
async fn rejects_an_attestation_of_too_many_subjects_before_looking_at_each() {
    for classic in CLASSIC {
        let most = gate(keyless(ALICE, ISSUER)).await;
        let signing = most.alice().predicate(PROVENANCE, json!({}));
        attach(&most, classic, signing.other_subjects(MAX_SUBJECTS - 1));
        most.admit().await.assert_verified();
        let gate = gate(keyless(ALICE, ISSUER)).await;
        let signing = gate.alice().predicate(PROVENANCE, json!({}));
        attach(&gate, classic, signing.other_subjects(MAX_SUBJECTS));
        let start = Instant::now();
        gate.admit().await.assert_denied(Reason::EvidenceTooLarge);
        assert!(start.elapsed() < CHEAP, "{:?}", start.elapsed());
    }
}

/// Whoever may set tags, and nothing else, hides no attestation behind one.
#[tokio::test]
async fn a_signature_tag_on_an_attestation_hides_it_from_nobody() {
    let gate = gate(keyless(ALICE, ISSUER)).await;
    let signing = gate.alice().predicate(PROVENANCE, json!({})).bundle(Version::V03);
    let attestation = signing.sign(&gate.digest).oci();
    gate.push(&attestation);
    gate.admit().await.assert_verified();
    let tag = format!("{}.sig", gate.digest.tag_form());
    gate.registry.tag(REPOSITORY, &tag, &attestation.digest());
    gate.admit().await.assert_verified();
}

/// CVE-2023-33199, CVE-2026-23831: error, no panic, whatever body an annotation holds.
#[tokio::test]
async fn rejects_malformed_log_entry_bodies_in_annotations() {
    let spec = |kind: &str, version: &str, spec: Value| {
        json!({ "kind": kind, "apiVersion": version, "spec": spec }).to_string()
    };
    // What an `intoto` 0.0.2 entry names is compared before its promise is looked at.
    for (log, kind, version, hollow) in [
        (Log::RekorV1, "dsse", "0.0.1", Reason::InclusionPromiseInvalid),
        (Log::RekorV1Intoto, "intoto", "0.0.2", Reason::LogEntryMismatch),
        (Log::RekorV1Oldest, "intoto", "0.0.1", Reason::InclusionPromiseInvalid),
    ] {
        for (body, wanted) in [
            (String::new(), Reason::LogEntryMalformed),
            ("null".to_owned(), Reason::LogEntryMalformed),
            ("[]".to_owned(), Reason::LogEntryMalformed),
            ("[".repeat(100_000), Reason::LogEntryMalformed),
            (spec("rekord", "0.0.1", json!({})), Reason::EvidenceUnsupported),
            (spec(kind, version, Value::Null), hollow),
            (spec(kind, version, json!({ "content": [] })), hollow),
        ] {
            let gate = gate(keyless(ALICE, ISSUER)).await;
            let signing = gate.sigstore.keyless(ALICE, ISSUER).log(log);
            let signing = signing.predicate(PROVENANCE, json!({}));
            let mut signed = signing.classic().attest(&gate.digest);
            let bundle = signed.annotations.get_mut(tegata::evidence::annotation::BUNDLE).unwrap();
            let mut entry: Value = serde_json::from_str(bundle).unwrap();
            entry["Payload"]["body"] = json!(STANDARD.encode(&body));
            *bundle = entry.to_string();
            gate.push(&signed.oci());
            let shown: String = body.chars().take(60).collect();
            println!("{kind} {version}: {shown}");
            gate.admit().await.assert_denied(wanted);
        }
    }
}
