//! Entries that a log hands out and that prove nothing: each is refused where an attached one is.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tegata::evidence::annotation;
use tegata::image::Digest;
use tegata::verdict::Reason;

use super::Answer;
use super::Cluster;
use super::digest;
use crate::fake_rekor::Fault;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::Part;
use crate::virtual_sigstore::Version;

/// How a signature is packed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Packed {
    Bundle,
    Classic,
}

/// Alice's or the key's signature; the log's entry has the part forged.
async fn with(part: Part, packed: Packed, key: Option<&Key>) -> Answer {
    let mut cluster = Cluster::new().await;
    let signing = match key {
        Some(key) => cluster.sigstore.keyed(key).log(Log::RekorV1),
        None => cluster.alice(),
    };
    match packed {
        Packed::Bundle => {
            let signed = signing.bundle(Version::V03).tamper(part).sign(&digest());
            cluster.attach_bundle(signed);
        }
        Packed::Classic => {
            let signed = signing.classic().tamper(part).sign(&digest());
            cluster.attach_classic(signed);
        }
    }
    let answer = match key {
        Some(key) => cluster.admit_key(key).await,
        None => cluster.admit_alice().await,
    };
    assert_eq!(cluster.log.count("index/retrieve"), 1, "{part:?}: the log was not asked");
    answer
}

#[tokio::test]
async fn rejects_each_forged_part_of_an_entry_at_its_own_step() {
    use Part::*;
    for packed in [Packed::Bundle, Packed::Classic] {
        for (part, wanted) in [
            (LogEntryOfAnotherSignature, Reason::LogEntryAbsent),
            (LogEntryOfAnotherImage, Reason::LogEntryAbsent),
            (LogBodyMalformed, Reason::LogEntryAbsent),
            (LogEntryOfAnotherCertificate, Reason::LogEntryMismatch),
            (LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
            (LogKindUnknown, Reason::EvidenceUnsupported),
            (LogUnknown, Reason::LogUnknown),
            (LogKeyWindowOver, Reason::LogKeyOutsideWindow),
            (LogId, Reason::InclusionPromiseInvalid),
            (LogIndex, Reason::InclusionPromiseInvalid),
            (PromiseBytes, Reason::InclusionPromiseInvalid),
            (IntegratedTime, Reason::InclusionPromiseInvalid),
            (PromiseAbsent, Reason::TimestampAbsent),
            (CertificateExpired, Reason::SigningTimeOutsideCertificate),
        ] {
            println!("{packed:?} {part:?}");
            with(part, packed, None).await.assert_denied(wanted);
        }
    }
}

#[tokio::test]
async fn rejects_forged_proofs() {
    use Part::*;
    for (part, wanted) in [
        (ProofHash, Reason::InclusionProofInvalid),
        (ProofOfAnotherLeaf, Reason::InclusionProofInvalid),
        (CheckpointSignature, Reason::CheckpointInvalid),
        (CheckpointRoot, Reason::CheckpointInvalid),
        (CheckpointOfAnotherLog, Reason::CheckpointInvalid),
        // Without checkpoint or proof the promise is left, which a bundle of today may not rest on.
        (CheckpointAbsent, Reason::InclusionProofAbsent),
        (ProofAbsent, Reason::InclusionProofAbsent),
    ] {
        println!("{part:?}");
        with(part, Packed::Bundle, None).await.assert_denied(wanted);
    }
}

#[tokio::test]
async fn rejects_entries_that_match_the_key_or_the_payload_only() {
    let key = Key::generate(Algorithm::P256);
    for packed in [Packed::Bundle, Packed::Classic] {
        for (part, wanted) in [
            (Part::LogEntryOfAnotherSignature, Reason::LogEntryAbsent),
            (Part::LogEntryOfAnotherKey, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
            (Part::LogUnknown, Reason::LogUnknown),
        ] {
            println!("{packed:?} {part:?}");
            with(part, packed, Some(&key)).await.assert_denied(wanted);
        }
    }
}

/// CVE-2024-51746, CVE-2023-47122: a rogue log signs whatever it likes, under a key that it offers
/// along with it. Nobody asks for that key, and calling itself by a trusted log's name is no help.
#[tokio::test]
async fn rejects_a_rogue_log_with_a_key_of_its_own() {
    let key = Key::generate(Algorithm::P256);
    for keyed in [false, true] {
        for packed in [Packed::Bundle, Packed::Classic] {
            for posing in [false, true] {
                // The checkpoint or the promise, whichever is looked at first.
                let wanted = match (posing, keyed) {
                    (true, false) => Reason::InclusionPromiseInvalid,
                    (true, true) | (false, _) => Reason::LogUnknown,
                };
                let mut cluster = Cluster::new().await;
                let offered = Fault::Text(key.public_pem());
                cluster.log.fault("publicKey", offered);
                let trusted: Value =
                    serde_json::from_str(&cluster.sigstore.trusted_root_json()).unwrap();
                let trusted = trusted["tlogs"][0]["logId"]["keyId"].as_str().unwrap();
                let trusted = hex::encode(STANDARD.decode(trusted).unwrap());
                let signing = match keyed {
                    true => cluster.sigstore.keyed(&key).log(Log::RekorV1),
                    false => cluster.alice(),
                };
                let signing = signing.tamper(Part::LogUnknown);
                let pose = |entries: &mut Vec<Value>| {
                    entries.iter_mut().filter(|_| posing).for_each(|entry| {
                        assert_ne!(entry["logID"], json!(trusted));
                        entry["logID"] = json!(trusted);
                    });
                };
                match packed {
                    Packed::Bundle => {
                        let mut signed = signing.bundle(Version::V03).sign(&digest());
                        pose(&mut signed.entries);
                        cluster.attach_bundle(signed);
                    }
                    Packed::Classic => {
                        let mut signed = signing.classic().sign(&digest());
                        pose(&mut signed.entries);
                        cluster.attach_classic(signed);
                    }
                }
                println!("{packed:?}, keyed: {keyed}, posing: {posing}");
                let answer = match keyed {
                    true => cluster.admit_key(&key).await,
                    false => cluster.admit_alice().await,
                };
                answer.assert_denied(wanted);
                assert_eq!(cluster.log.count("publicKey"), 0);
                assert_eq!(cluster.log.count(""), 2, "a search and its entries, nothing else");
            }
        }
    }
}

#[tokio::test]
async fn asks_nobody_about_signatures_that_are_bad_anyway() {
    let key = Key::generate(Algorithm::P256);
    for part in [Part::SignatureBytes, Part::SignatureByAnotherKey, Part::PayloadDigest] {
        let mut cluster = Cluster::new().await;
        let signed = cluster.alice().tamper(part).classic().sign(&digest());
        cluster.attach_classic(signed);
        assert!(!cluster.admit_alice().await.0.allowed);
        assert_eq!(cluster.log.count(""), 0, "{part:?}");

        let mut cluster = Cluster::new().await;
        let keyed = cluster.sigstore.keyed(&key).log(Log::RekorV1).tamper(part);
        let signed = keyed.classic().sign(&digest());
        cluster.attach_classic(signed);
        assert!(!cluster.admit_key(&key).await.0.allowed);
        assert_eq!(cluster.log.count(""), 0, "{part:?}");
    }
    let mut cluster = Cluster::new().await;
    let forged = Part::CertificateOfAnotherAuthority;
    let signed = cluster.alice().tamper(forged).classic().sign(&digest());
    cluster.attach_classic(signed);
    cluster.admit_alice().await.assert_denied(Reason::LogEntryAbsent);
    assert_eq!(cluster.log.count(""), 0);
}

#[tokio::test]
async fn a_certificate_from_the_entry_is_held_to_everything() {
    let bare = |cluster: &Cluster, part: Option<Part>, subject: &str| {
        let alice = cluster.sigstore.keyless(subject, super::ISSUER).log(Log::RekorV1);
        let signing = part.into_iter().fold(alice, |signing, part| signing.tamper(part));
        let mut signed = signing.classic().sign(&digest());
        signed.annotations.remove(annotation::CERTIFICATE);
        signed.annotations.remove(annotation::CHAIN);
        signed
    };
    for (part, wanted) in [
        (Part::CertificateOfAnotherAuthority, Reason::CertificateUntrusted),
        (Part::CertificateExpired, Reason::SigningTimeOutsideCertificate),
        (Part::SctAbsent, Reason::SctInvalid),
        (Part::SignatureByAnotherKey, Reason::SignatureInvalid),
        (Part::LogEntryOfAnotherCertificate, Reason::SubjectMismatch),
        (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
        (Part::LogUnknown, Reason::LogUnknown),
        (Part::RawKeyForCertificate, Reason::CertificateAbsent),
    ] {
        println!("{part:?}");
        let mut cluster = Cluster::new().await;
        let signed = bare(&cluster, Some(part), super::ALICE);
        cluster.attach_classic(signed);
        cluster.admit_alice().await.assert_denied(wanted);
    }
    let mut cluster = Cluster::new().await;
    let signed = bare(&cluster, None, "mallory@example.com");
    cluster.attach_classic(signed);
    cluster.admit_alice().await.assert_denied(Reason::SubjectMismatch);
}

#[tokio::test]
async fn a_good_entry_counts_beside_forged_ones() {
    let mut cluster = Cluster::new().await;
    let signed = cluster.alice().classic().sign(&digest());
    let payload = Digest::sha256_of(&signed.payload);
    let mut forged = signed.entries[0].clone();
    forged["integratedTime"] = json!(forged["integratedTime"].as_u64().unwrap() + 60);
    cluster.log.put(&payload, &forged);
    cluster.attach_classic(signed);
    cluster.admit_alice().await.assert_verified();
}

#[tokio::test]
async fn what_is_attached_is_never_replaced() {
    let mut cluster = Cluster::new().await;
    let signed = cluster.alice().classic().sign(&digest());
    let forged = cluster.alice().tamper(Part::PromiseBytes).classic().sign(&digest());
    cluster.log.put(&Digest::sha256_of(&signed.payload), &signed.entries[0]);
    cluster.candidates = vec![forged.candidate()];
    cluster.admit_alice().await.assert_denied(Reason::InclusionPromiseInvalid);
    assert_eq!(cluster.log.count(""), 0);
}

/// A classic signature of Alice's, whose entry in the log is changed.
async fn changed(change: impl Fn(&mut Value)) -> Answer {
    let mut cluster = Cluster::new().await;
    let mut signed = cluster.alice().classic().sign(&digest());
    signed.entries.iter_mut().for_each(change);
    cluster.attach_classic(signed);
    cluster.admit_alice().await
}

#[tokio::test]
async fn rejects_entries_that_lack_a_field_or_hold_nonsense_in_it() {
    let (malformed, absent) = (Reason::LogEntryMalformed, Reason::LogEntryAbsent);
    for (pointer, removed, nonsense) in [
        ("/body", absent, absent),
        ("/logID", malformed, malformed),
        ("/logIndex", malformed, malformed),
        ("/integratedTime", malformed, malformed),
        ("/verification/signedEntryTimestamp", Reason::TimestampAbsent, malformed),
        ("/verification/inclusionProof/hashes", Reason::InclusionProofInvalid, malformed),
        ("/verification/inclusionProof/logIndex", malformed, malformed),
        ("/verification/inclusionProof/rootHash", malformed, malformed),
        ("/verification/inclusionProof/treeSize", malformed, malformed),
    ] {
        let (parent, name) = pointer.rsplit_once('/').unwrap();
        println!("{pointer}");
        let remove = |entry: &mut Value| {
            entry.pointer_mut(parent).unwrap().as_object_mut().unwrap().remove(name);
        };
        changed(remove).await.assert_denied(removed);
        let replace = |entry: &mut Value| *entry.pointer_mut(pointer).unwrap() = json!(["\u{0}"]);
        changed(replace).await.assert_denied(nonsense);
    }
    // Without any proof the promise of a classic signature is enough, as where it is attached.
    let remove = |entry: &mut Value| {
        entry["verification"].as_object_mut().unwrap().remove("inclusionProof");
    };
    changed(remove).await.assert_verified();
}

#[tokio::test]
async fn bounds_what_a_log_gives_as_what_is_attached() {
    for (hashes, wanted) in [(64, Reason::InclusionProofInvalid), (65, Reason::EvidenceTooLarge)] {
        let grow = |entry: &mut Value| {
            entry["verification"]["inclusionProof"]["hashes"] =
                json!(vec!["00".repeat(32); hashes]);
        };
        changed(grow).await.assert_denied(wanted);
    }
    let grow = |entry: &mut Value| {
        entry["verification"]["inclusionProof"]["checkpoint"] = json!("x".repeat(16 * 1024 + 1));
    };
    changed(grow).await.assert_denied(Reason::EvidenceTooLarge);
}
