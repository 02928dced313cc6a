//! What went wrong with rules over what was signed: work without an end, fields that are not there,
//! and other bytes than those that were verified. Through the whole pipeline.
use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tegata::verdict::Reason;

use crate::gate::ALICE;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::policy::cluster;
use crate::policy::keyless;
use crate::policy::with;
use crate::virtual_sigstore::Part;
use crate::virtual_sigstore::Version;

const KIND: &str = "https://acme.example/review/v1";

/// Longer than any rule may take, without optimisation and on a busy machine. Optimised, the dearest
/// takes a second.
const PATIENCE: Duration = Duration::from_secs(25);

/// A rule over one attestation, as the field of `attestations[]` that holds it.
fn cel(expression: &str) -> Value {
    json!({ "conditions": [{ "cel": expression }] })
}

fn rego(rules: &str) -> Value {
    json!({ "policy": { "type": "rego", "data": format!("package sigstore\n{rules}") } })
}

/// A gate that asks Alice for a review which meets the rule.
async fn gate(rule: &Value) -> Gate {
    let mut attestation = json!({ "name": "review", "predicateType": KIND });
    for (field, value) in rule.as_object().unwrap() {
        attestation[field] = value.clone();
    }
    let mut authority = keyless(ALICE, ISSUER);
    authority["attestations"] = json!([attestation]);
    let mut gate = Gate::new().await;
    gate.demand(&[authority]);
    gate.lenient = true;
    gate.timeout = "30s";
    gate
}

/// A review with a list that is long enough for loops in loops.
fn review(approved: bool) -> Value {
    json!({ "approved": approved, "list": (0..300).collect::<Vec<_>>() })
}

/// Reported elsewhere: a rule of pathological cost stops the controller.
#[tokio::test]
async fn rejects_rules_that_never_end_within_their_budget() {
    let all = "predicate.list.all(a, predicate.list.all(b, predicate.list.all(c, a + b + c >= 0)))";
    let any = "isCompliant { l := input.predicate.list; a := l[_]; b := l[_]; c := l[_]; d := l[_]; \
               a + b + c + d < 0 }";
    for rule in [cel(all), rego(any)] {
        let gate = gate(&rule).await;
        gate.attach(gate.alice().predicate(KIND, review(true)));
        let start = Instant::now();
        gate.admit().await.assert_denied(Reason::ConditionTooCostly);
        assert!(start.elapsed() < PATIENCE, "{rule}: {:?}", start.elapsed());
    }
}

/// Reported elsewhere: a rule overflows the stack. Each is an answer, none ends the process, and a
/// policy that cannot be used denies.
#[tokio::test]
async fn rejects_rules_that_overflow_the_stack() {
    let deep = |open: &str, close: &str| format!("{}1{}", open.repeat(5_000), close.repeat(5_000));
    for rule in [
        cel(&format!("{} == 1", deep("(", ")"))),
        cel(&format!("{} == 1", deep("[", "]"))),
        cel(&format!("1{} == 1", " + 1".repeat(400))),
        rego(&format!("isCompliant {{ x := {} }}", deep("[", "]"))),
        rego("f(x) = y { y := f(x) }\nisCompliant { f(1) }"),
        rego("f(x) = y { y := count(x) with count as f }\nisCompliant { f([1]) }"),
        rego("f(x) = y { y := data.sigstore[\"f\"](x) }\nisCompliant { f(1) }"),
        rego("isCompliant { a }\na { b }\nb { a }"),
    ] {
        let gate = gate(&rule).await;
        gate.attach(gate.alice().predicate(KIND, review(true)));
        let start = Instant::now();
        let answer = gate.admit().await;
        println!("{:.80}: {}", rule.to_string(), answer.message());
        let evaluated = answer.reasons() == [Reason::ConditionError.code()];
        answer.assert_denied(if evaluated {
            Reason::ConditionError
        } else {
            Reason::PolicyInvalid
        });
        assert!(start.elapsed() < PATIENCE, "{:?}", start.elapsed());
    }
}

/// Reported elsewhere: a field that is not there is taken for one that is as it should be.
#[tokio::test]
async fn rejects_where_a_field_that_a_rule_reads_is_missing() {
    for (rule, wanted) in [
        (cel("predicate.signedOff"), Reason::ConditionError),
        (cel("predicate.signedOff == true"), Reason::ConditionError),
        (cel("predicate.revoked != true"), Reason::ConditionError),
        (cel("!predicate.revoked"), Reason::ConditionError),
        (cel("predicate.reviews.all(r, r.ok)"), Reason::ConditionError),
        (cel("has(predicate.signedOff)"), Reason::ConditionUnmet),
        (rego("isCompliant { input.predicate.signedOff }"), Reason::ConditionUnmet),
        (rego("isCompliant { input.predicate.revoked != true }"), Reason::ConditionUnmet),
        (rego("isCompliant = x { x := input.predicate.signedOff }"), Reason::ConditionUnmet),
    ] {
        let gate = gate(&rule).await;
        gate.attach(gate.alice().predicate(KIND, review(true)));
        println!("{rule}");
        gate.admit().await.assert_denied(wanted);
    }
}

fn approved() -> [Value; 2] {
    [cel("predicate.approved == true"), rego("isCompliant { input.predicate.approved == true }")]
}

/// CVE-2026-44309, and CVE-2022-35929 for rules: the bytes that are judged are those that were
/// verified, not others beside them.
#[tokio::test]
async fn rejects_what_only_an_attestation_says_that_was_not_verified() {
    for rule in approved() {
        for part in [Part::SignatureBytes, Part::LogEntryOfAnotherSignature, Part::PayloadDigest] {
            let gate = gate(&rule).await;
            gate.attach(gate.alice().predicate(KIND, review(false)));
            gate.admit().await.assert_denied(Reason::ConditionUnmet);
            // What a stranger says, and what nobody signed, makes no difference, before or after it.
            gate.attach(gate.signer("mallory@example.com").predicate(KIND, review(true)));
            let forged = gate.alice().predicate(KIND, review(true)).tamper(part);
            gate.push(&forged.classic().attest(&gate.digest).oci());
            println!("{rule} {part:?}");
            gate.admit().await.assert_denied(Reason::ConditionUnmet);
            gate.attach(gate.alice().predicate(KIND, review(true)));
            gate.admit().await.assert_verified();
        }
    }
}

/// CVE-2026-44309: nor others in their place.
#[tokio::test]
async fn rejects_a_payload_that_was_exchanged_for_one_that_meets_the_rule() {
    for rule in approved() {
        let gate = gate(&rule).await;
        let signing = gate.alice().predicate(KIND, review(false)).bundle(Version::V03);
        let mut signed = signing.sign(&gate.digest);
        let payload = &mut signed.bundle["dsseEnvelope"]["payload"];
        let text = STANDARD.decode(payload.as_str().unwrap()).unwrap();
        let exchanged = String::from_utf8(text).unwrap().replace("false", "true");
        *payload = json!(STANDARD.encode(exchanged));
        gate.push(&signed.oci());
        gate.admit().await.assert_denied(Reason::SignatureInvalid);
    }
}

/// The same for rules over all that was verified: what was not, they never see.
#[tokio::test]
async fn rules_over_all_that_was_verified_see_nothing_else() {
    let seen = "input.authorityMatches.all(name, name == 'alice') && \
                input.authorityMatches.alice.attestations.review.all(a, a.statement.predicate.approved)";
    let mut authority = keyless(ALICE, ISSUER);
    authority["name"] = json!("alice");
    authority["attestations"] = json!([{ "name": "review", "predicateType": KIND }]);
    let mut bob = keyless("bob@example.com", ISSUER);
    bob["name"] = json!("bob");
    let mut gate = Gate::new().await;
    let policy = cluster("signed", &[authority, bob]);
    gate.policies = vec![with(policy, "policy", json!({ "conditions": [{ "cel": seen }] }))];
    gate.attach(gate.alice().predicate(KIND, review(true)));
    gate.attach(gate.alice().predicate(KIND, review(false)).tamper(Part::SignatureBytes));
    gate.attach(gate.signer("bob@example.com").tamper(Part::SignatureBytes));
    gate.admit().await.assert_verified();
    // As soon as it is verified, it counts.
    gate.attach(gate.alice().predicate(KIND, review(false)));
    gate.admit().await.assert_denied(Reason::ConditionUnmet);
}
