//! Signatures that real cosign made and real Rekor logged, with the entry taken out and handed back
//! as Rekor's API would give it: pure, without a log.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tegata::evidence::Candidate;
use tegata::evidence::Content;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence as _;
use tegata::evidence::LogAnswer;
use tegata::evidence::LookedUp;
use tegata::evidence::annotation;
use tegata::image::Digest;
use tegata::policy::Demands;
use tegata::policy::LogDemand;
use tegata::policy::PayloadKind;
use tegata::registry::Layout;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Reason;
use tegata::verify::PublicKey;
use tegata::verify::Question;
use tegata::verify::missing_entry;
use tegata::verify::names_signature;
use tegata::verify::verify_looked_up;

use crate::collection;

/// A sample, its one signature without the entry, and the entry.
struct Sample {
    digest: Digest,
    bare: Candidate,
    entry: Value,
}

async fn sample(folder: &Path, name: &str) -> Sample {
    let layout = format!("{}:v1", folder.join("oci").join(name).display());
    let layout = Layout::open(&layout.parse().unwrap()).unwrap();
    let deadline = Instant::now() + Duration::from_secs(10);
    let image = layout.image().clone();
    let digest = layout.resolve(&image, deadline).await.unwrap();
    let (repository, tag_prefix) = (image.repository().clone(), String::new());
    let query =
        EvidenceQuery { repository, digest: digest.clone(), tag_prefix, attestations: false };
    let mut bare = layout.fetch(&query, deadline).await.candidates.remove(0);
    let entry = match bare.content.as_mut().unwrap() {
        Content::Bundle(bytes) => {
            let mut bundle: Value = serde_json::from_slice(bytes).unwrap();
            let entries = bundle["verificationMaterial"]["tlogEntries"].take();
            bundle["verificationMaterial"]["tlogEntries"] = json!([]);
            *bytes = bundle.to_string().into();
            of_bundle(&entries[0])
        }
        Content::Envelope { annotations, .. } | Content::SimpleSigning { annotations, .. } => {
            let text = annotations.remove(annotation::BUNDLE).unwrap();
            let bundle: Value = serde_json::from_str(&text).unwrap();
            let mut entry = bundle["Payload"].clone();
            entry["verification"] =
                json!({ "signedEntryTimestamp": bundle["SignedEntryTimestamp"] });
            entry
        }
    };
    Sample { digest, bare, entry }
}

fn of_bundle(entry: &Value) -> Value {
    let text = |value: &Value| value.as_str().unwrap().to_owned();
    let number = |value: &Value| json!(text(value).parse::<u64>().unwrap());
    let hex = |value: &Value| hex::encode(STANDARD.decode(text(value)).unwrap());
    let proof = &entry["inclusionProof"];
    let hashes: Vec<_> = proof["hashes"].as_array().into_iter().flatten().map(hex).collect();
    // Numbers that are zero are left out of bundles.
    let index = |value: &Value| if value.is_null() { json!(0) } else { number(value) };
    json!({
        "body": entry["canonicalizedBody"],
        "integratedTime": number(&entry["integratedTime"]),
        "logID": hex(&entry["logId"]["keyId"]),
        "logIndex": index(&entry["logIndex"]),
        "verification": {
            "signedEntryTimestamp": entry["inclusionPromise"]["signedEntryTimestamp"],
            "inclusionProof": {
                "checkpoint": proof["checkpoint"]["envelope"],
                "hashes": hashes,
                "logIndex": index(&proof["logIndex"]),
                "rootHash": hex(&proof["rootHash"]),
                "treeSize": number(&proof["treeSize"]),
            },
        },
    })
}

#[tokio::test]
async fn real_entries_verify_and_belong_to_one_signature() {
    let what = "no real entry is looked up";
    let Some(folder) = collection::folder("TEGATA_SAMPLES", what) else { return };
    let read = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let root = TrustRoot::from_json(&read("trust/trusted_root.json")).unwrap();
    let key = PublicKey::from_pem(&read("keys/cosign.pub"), None).unwrap().remove(0);
    let names = ["key-legacy-rekor1", "key-bundle-rekor1", "kl-legacy-rekor1", "kl-bundle-rekor1"];
    let mut samples = Vec::new();
    for name in names {
        samples.push(sample(&folder, name).await);
    }
    for (at, Sample { digest, bare, .. }) in samples.iter().enumerate() {
        let question = Question {
            digest,
            key: Some(&key).filter(|_| names[at].starts_with("key-")),
            demands: Demands::new(LogDemand::Entry, false),
            payload: &PayloadKind::Signature,
            trust_root: &root,
            now: "2026-11-23T00:00:00Z".parse().unwrap(),
        };
        let missing = missing_entry(bare, &question).unwrap();
        for (other, Sample { entry, .. }) in samples.iter().enumerate() {
            let bytes = entry.to_string().into_bytes();
            assert_eq!(names_signature(&bytes, &missing.signature), at == other, "{}", names[at]);
            let answer = LogAnswer { entries: vec![bytes.into()], listed: 1, left_out: 0 };
            let looked_up = LookedUp::Answered(Arc::new(answer));
            let result = verify_looked_up(bare, &question, &looked_up).result;
            match result {
                Ok(_) => assert_eq!(at, other, "{} by {}", names[at], names[other]),
                Err(failure) => {
                    println!("{} by {}: {failure:?}", names[at], names[other]);
                    assert_ne!(at, other, "{failure:?}");
                    let kinds = [
                        Reason::LogEntryMismatch,
                        Reason::EvidenceUnsupported,
                        Reason::SigningTimeOutsideCertificate,
                        Reason::InclusionProofAbsent,
                    ];
                    assert!(kinds.contains(&failure.reason), "{failure:?}");
                }
            }
        }
        let unasked = verify_looked_up(bare, &question, &LookedUp::NotAsked).result.unwrap_err();
        assert_eq!(unasked.reason, Reason::LogEntryAbsent);
    }
}
