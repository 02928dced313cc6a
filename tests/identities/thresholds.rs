//! Thresholds count logs and authorities by the trust root's keys (CVE-2026-49834).
use std::num::NonZeroUsize;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::ToSpan as _;
use serde_json::json;
use tegata::evidence::Candidate;
use tegata::policy::Demands;
use tegata::policy::LogDemand;
use tegata::policy::PayloadKind;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Failure;
use tegata::verdict::Reason;
use tegata::verdict::Step;
use tegata::verify::PublicKey;
use tegata::verify::Question;

use crate::ALICE;
use crate::ISSUER;
use crate::image;
use crate::start;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Authority;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::Part;
use crate::virtual_sigstore::Signing;
use crate::virtual_sigstore::TrustedRootBuilder;
use crate::virtual_sigstore::Version;
use crate::virtual_sigstore::VirtualSigstore;

fn logs(threshold: usize) -> Demands {
    let log_threshold = NonZeroUsize::new(threshold).unwrap();
    Demands { log_threshold, ..Demands::new(LogDemand::Entry, false) }
}

fn stamps(threshold: usize) -> Demands {
    let timestamp_threshold = NonZeroUsize::new(threshold).unwrap();
    Demands { timestamp_threshold, ..Demands::new(LogDemand::Optional, true) }
}

/// A trust root with every second authority.
fn root(sigstore: &VirtualSigstore) -> TrustedRootBuilder<'_> {
    let root = sigstore.trusted_root();
    root.second(Authority::RekorV1).second(Authority::RekorV2).second(Authority::Tsa)
}

fn read(root: &TrustedRootBuilder<'_>) -> TrustRoot {
    let root = TrustRoot::from_json(&root.json()).unwrap();
    assert_eq!(root.problems(), &[] as &[String]);
    root
}

fn bundle(signing: Signing<'_>) -> Candidate {
    signing.bundle(Version::V03).sign(&image()).candidate()
}

fn verify(
    candidate: &Candidate,
    key: Option<&PublicKey>,
    demands: Demands,
    root: &TrustRoot,
) -> Result<(), Failure> {
    let question = Question {
        digest: &image(),
        key,
        demands,
        payload: &PayloadKind::Signature,
        trust_root: root,
        now: start() + 24.hours(),
    };
    tegata::verify::verify(candidate, &question).result.map(drop)
}

fn denied(found: Result<(), Failure>, wanted: Reason, counted: &str, row: &str) {
    let failure = found.expect_err(row);
    assert_eq!(failure.reason, wanted, "{row}: {failure}");
    assert!(failure.found.contains(counted), "{row}: {failure}");
    assert!(!failure.wanted.is_empty(), "{row}");
}

#[test]
fn rejects_two_entries_of_one_log_toward_a_threshold_of_two_logs() {
    let sigstore = VirtualSigstore::new(start());
    let root = read(&root(&sigstore));
    let keyless = || sigstore.keyless(ALICE, ISSUER).timestamp(1);
    let key = Key::generate(Algorithm::P256);
    let public = PublicKey::from_pem(&key.public_pem(), None).unwrap().remove(0);
    let unknown_to_library = Key::generate(Algorithm::P384);
    let p384 = PublicKey::from_pem(&unknown_to_library.public_pem(), None).unwrap().remove(0);
    for (row, signing, key) in [
        ("v1 twice", keyless().log(Log::RekorV1).log(Log::RekorV1), None),
        ("v2 twice", keyless().log(Log::RekorV2).log(Log::RekorV2), None),
        ("v1 once", keyless().log(Log::RekorV1), None),
        ("copies", keyless().log(Log::RekorV1).tamper(Part::LogEntryCopies(3)), None),
        ("keyed", sigstore.keyed(&key).log(Log::RekorV1).log(Log::RekorV1), Some(&public)),
        (
            "P-384",
            sigstore.keyed(&unknown_to_library).log(Log::RekorV1).log(Log::RekorV1),
            Some(&p384),
        ),
    ] {
        let candidate = bundle(signing);
        assert_eq!(verify(&candidate, key, logs(1), &root), Ok(()), "{row}");
        let found = verify(&candidate, key, logs(2), &root);
        denied(found, Reason::LogThresholdUnmet, "of 1 distinct logs", row);
    }
    assert_eq!(Reason::LogThresholdUnmet.step(), Step::LogEntry);
}

#[test]
fn accepts_two_logs_toward_a_threshold_of_two() {
    let sigstore = VirtualSigstore::new(start());
    let root = read(&root(&sigstore));
    let key = Key::generate(Algorithm::P256);
    let public = PublicKey::from_pem(&key.public_pem(), None).unwrap().remove(0);
    let keyless = || sigstore.keyless(ALICE, ISSUER).timestamp(1);
    for (row, signing, key) in [
        ("v1", keyless().log(Log::RekorV1).log(Log::SecondRekorV1), None),
        ("v2", keyless().log(Log::RekorV2).log(Log::SecondRekorV2), None),
        ("both", keyless().log(Log::RekorV1).log(Log::RekorV2), None),
        ("keyed", sigstore.keyed(&key).log(Log::RekorV1).log(Log::SecondRekorV1), Some(&public)),
    ] {
        let candidate = bundle(signing);
        assert_eq!(verify(&candidate, key, logs(2), &root), Ok(()), "{row}");
        let found = verify(&candidate, key, logs(3), &root);
        denied(found, Reason::LogThresholdUnmet, "2 entries of 2 distinct logs", row);
    }
}

#[test]
fn counts_promises_alone_by_the_key_that_made_them() {
    let sigstore = VirtualSigstore::new(start());
    let root = read(&root(&sigstore));
    let sign = |second| {
        let signing = sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1).log(second);
        let mut signed = signing.bundle(Version::V01).sign(&image());
        for entry in signed.bundle["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap() {
            entry.as_object_mut().unwrap().remove("inclusionProof").unwrap();
        }
        signed.candidate()
    };
    let same = verify(&sign(Log::RekorV1), None, logs(2), &root);
    denied(same, Reason::LogThresholdUnmet, "of 1 distinct logs", "promises of one log");
    assert_eq!(verify(&sign(Log::SecondRekorV1), None, logs(2), &root), Ok(()));
}

#[test]
fn rejects_one_log_under_two_identifiers() {
    let sigstore = VirtualSigstore::new(start());
    let mut document = root(&sigstore).value();
    let logs_of_root = document["tlogs"].as_array_mut().unwrap();
    let listed = |log: &serde_json::Value| log["publicKey"]["keyDetails"] == "PKIX_ED25519";
    let mut renamed = logs_of_root.iter().find(|log| listed(log)).unwrap().clone();
    renamed["baseUrl"] = json!("https://renamed.virtual.test");
    logs_of_root.push(renamed.clone());
    let root = TrustRoot::from_json(&document.to_string()).unwrap();
    // The identifier of a second-generation entry is nobody's word: it may state another log's.
    let signing = sigstore.keyless(ALICE, ISSUER).timestamp(1);
    let mut signed =
        signing.log(Log::RekorV2).log(Log::RekorV2).bundle(Version::V03).sign(&image());
    let entries = signed.bundle["verificationMaterial"]["tlogEntries"].as_array_mut().unwrap();
    entries[1]["logId"]["keyId"] = json!(STANDARD.encode([7; 32]));
    let found = verify(&signed.candidate(), None, logs(2), &root);
    denied(found, Reason::LogThresholdUnmet, "2 entries of 1 distinct logs", "another identifier");
}

#[test]
fn rejects_two_timestamps_of_one_authority_toward_a_threshold_of_two() {
    let sigstore = VirtualSigstore::new(start());
    let whole = root(&sigstore);
    let root = read(&whole);
    let keyless = || sigstore.keyless(ALICE, ISSUER);
    for (row, signing) in [
        ("twice", keyless().timestamp(2)),
        ("once", keyless().timestamp(1)),
        ("second twice", keyless().second_timestamp(2)),
        ("beside a log's promise", keyless().log(Log::RekorV1).timestamp(2)),
    ] {
        let candidate = bundle(signing);
        assert_eq!(verify(&candidate, None, stamps(1), &root), Ok(()), "{row}");
        let found = verify(&candidate, None, stamps(2), &root);
        denied(found, Reason::TimestampThresholdUnmet, "of 1 distinct authorities", row);
    }
    let both = bundle(keyless().timestamp(2).second_timestamp(1));
    assert_eq!(verify(&both, None, stamps(2), &root), Ok(()));
    let found = verify(&both, None, stamps(3), &root);
    denied(found, Reason::TimestampThresholdUnmet, "3 timestamps of 2 distinct", "three");
    assert_eq!(Reason::TimestampThresholdUnmet.step(), Step::Time);
}

#[test]
fn one_timestamp_authority_listed_twice_is_one() {
    let sigstore = VirtualSigstore::new(start());
    let mut document = root(&sigstore).value();
    let authorities = document["timestampAuthorities"].as_array_mut().unwrap();
    let again = authorities[0].clone();
    authorities.push(again);
    let root = TrustRoot::from_json(&document.to_string()).unwrap();
    let candidate = bundle(sigstore.keyless(ALICE, ISSUER).timestamp(2));
    let found = verify(&candidate, None, stamps(2), &root);
    denied(found, Reason::TimestampThresholdUnmet, "of 1 distinct authorities", "listed twice");
}

#[test]
fn a_second_log_whose_window_is_over_never_counts() {
    let sigstore = VirtualSigstore::new(start());
    let mut document = root(&sigstore).value();
    let until = start() - 24.hours();
    for log in document["tlogs"].as_array_mut().unwrap() {
        if log["baseUrl"].as_str().unwrap().contains("second.virtual.test") {
            log["publicKey"]["validFor"]["end"] = json!(until);
        }
    }
    let root = TrustRoot::from_json(&document.to_string()).unwrap();
    let keyless = || sigstore.keyless(ALICE, ISSUER).timestamp(1);
    for (row, signing) in [
        ("v1", keyless().log(Log::RekorV1).log(Log::SecondRekorV1)),
        ("v2", keyless().log(Log::RekorV2).log(Log::SecondRekorV2)),
    ] {
        let failure = verify(&bundle(signing), None, logs(2), &root).expect_err(row);
        assert_eq!(failure.reason, Reason::LogKeyOutsideWindow, "{row}: {failure}");
    }
}
