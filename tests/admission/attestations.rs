//! Attestations that a policy asks for: by whom, of which type, and where they are.
use serde_json::Value;
use serde_json::json;
use tegata::verdict::Reason;

use crate::fake_registry::Fault;
use crate::gate::ALICE;
use crate::gate::BOB;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::policy;
use crate::policy::keyless;
use crate::virtual_sigstore::Part;

const PROVENANCE: &str = "https://slsa.dev/provenance/v1";
const REPORT: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

fn attesting(mut authority: Value, types: &[&str]) -> Value {
    let attestations = types.iter().map(|kind| json!({ "name": kind, "predicateType": kind }));
    authority["attestations"] = attestations.collect();
    authority
}

/// A gate that asks Alice for attestations of these types.
async fn gate(types: &[&str]) -> Gate {
    let mut gate = Gate::new().await;
    gate.demand(&[attesting(keyless(ALICE, ISSUER), types)]);
    gate
}

fn attach(gate: &Gate, subject: &str, kind: &str) {
    gate.attach(gate.signer(subject).predicate(kind, json!({})));
}

fn attach_classic(gate: &Gate, subject: &str, kind: &str) {
    let signing = gate.signer(subject).predicate(kind, json!({}));
    gate.push(&signing.classic().attest(&gate.digest).oci());
}

#[tokio::test]
async fn admits_what_is_attested_in_either_format() {
    let bundled = gate(&[PROVENANCE]).await;
    attach(&bundled, ALICE, PROVENANCE);
    bundled.admit().await.assert_verified();
    let classic = gate(&[PROVENANCE]).await;
    attach_classic(&classic, ALICE, PROVENANCE);
    classic.admit().await.assert_verified();
    let both = gate(&[PROVENANCE, REPORT]).await;
    attach_classic(&both, ALICE, PROVENANCE);
    attach(&both, ALICE, REPORT);
    both.admit().await.assert_verified();
}

#[tokio::test]
async fn rejects_where_one_of_the_attestations_is_missing() {
    let none = gate(&[PROVENANCE]).await;
    none.admit().await.assert_denied(Reason::AttestationAbsent);
    let signed = gate(&[PROVENANCE]).await;
    signed.attach_classic(signed.alice());
    signed.admit().await.assert_denied(Reason::AttestationAbsent);
    for missing in [PROVENANCE, REPORT] {
        let gate = gate(&[PROVENANCE, REPORT]).await;
        let there = if missing == REPORT { PROVENANCE } else { REPORT };
        attach(&gate, ALICE, there);
        gate.admit().await.assert_denied(Reason::PredicateTypeUnexpected);
    }
}

#[tokio::test]
async fn an_attestation_is_no_signature() {
    let gate = Gate::new().await;
    attach_classic(&gate, ALICE, PROVENANCE);
    gate.admit().await.assert_denied(Reason::SignatureAbsent);
    attach(&gate, ALICE, PROVENANCE);
    gate.admit().await.assert_denied(Reason::PredicateTypeUnexpected);
}

#[tokio::test]
async fn rejects_the_attestation_of_somebody_else_and_of_another_image() {
    let stranger = gate(&[PROVENANCE]).await;
    attach(&stranger, BOB, PROVENANCE);
    stranger.admit().await.assert_denied(Reason::SubjectMismatch);
    let elsewhere = gate(&[PROVENANCE]).await;
    let signing = elsewhere.alice().predicate(PROVENANCE, json!({}));
    elsewhere.attach(signing.tamper(Part::PayloadDigest));
    elsewhere.admit().await.assert_denied(Reason::PayloadDigestMismatch);
}

#[tokio::test]
async fn one_who_may_sign_does_not_stand_in_for_another_authority() {
    let mut gate = Gate::new().await;
    let authorities = [
        attesting(keyless(ALICE, ISSUER), &[PROVENANCE]),
        attesting(keyless(BOB, ISSUER), &[REPORT]),
    ];
    gate.policies = vec![policy::with(policy::cluster("both", &authorities), "threshold", 2)];
    attach(&gate, ALICE, PROVENANCE);
    attach(&gate, ALICE, REPORT);
    gate.admit().await.assert_denied(Reason::ThresholdUnmet);
    attach(&gate, BOB, REPORT);
    gate.admit().await.assert_verified();
}

#[tokio::test]
async fn several_may_share_the_attestations_of_one_authority_unless_signers_are_counted() {
    let anyone = json!({ "keyless": { "identities": [
        { "issuer": ISSUER, "subject": ALICE },
        { "issuer": ISSUER, "subject": BOB },
    ] } });
    let mut gate = Gate::new().await;
    let both = attesting(anyone, &[PROVENANCE, REPORT]);
    gate.demand(std::slice::from_ref(&both));
    attach(&gate, ALICE, PROVENANCE);
    attach(&gate, BOB, REPORT);
    gate.admit().await.assert_verified();
    // Nobody made both: towards two, the first authority counts for nobody.
    let authorities = [both, attesting(keyless(ALICE, ISSUER), &[PROVENANCE])];
    gate.policies = vec![policy::with(policy::cluster("two", &authorities), "threshold", 2)];
    gate.admit().await.assert_denied(Reason::ThresholdUnmet);
    attach(&gate, BOB, PROVENANCE);
    gate.admit().await.assert_verified();
}

#[tokio::test]
async fn a_place_that_cannot_be_read_is_not_an_empty_one() {
    let broken = |status| Fault::Status { status, times: usize::MAX, retry_after: None };
    let attested = gate(&[PROVENANCE]).await;
    attested.registry.fault(".att", broken(500));
    attested.admit().await.assert_denied(Reason::RegistryUnreachable);
    // Who asks for a signature does not look there.
    let signed = Gate::new().await;
    signed.registry.fault(".att", broken(500));
    signed.attach(signed.alice());
    signed.admit().await.assert_verified();
    assert_eq!(signed.registry.count(".att"), 0);
    // Who asks for an attestation does not need the signature tag.
    let unsigned = gate(&[PROVENANCE]).await;
    unsigned.registry.fault(".sig", broken(500));
    attach(&unsigned, ALICE, PROVENANCE);
    unsigned.admit().await.assert_verified();
    let absent = gate(&[PROVENANCE]).await;
    absent.registry.fault(".sig", broken(500));
    absent.admit().await.assert_denied(Reason::AttestationAbsent);
}

#[tokio::test]
async fn policies_that_look_in_the_same_place_ask_once() {
    let mut gate = gate(&[PROVENANCE]).await;
    gate.policies.push(policy::cluster("signature", &[keyless(ALICE, ISSUER)]));
    attach(&gate, ALICE, PROVENANCE);
    gate.attach(gate.alice());
    gate.admit().await.assert_verified();
    assert_eq!(gate.registry.count("/referrers/"), 1);
    assert_eq!(gate.registry.count(".att"), 1);
}
