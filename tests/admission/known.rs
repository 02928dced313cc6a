//! What is known of an image is used again, and never for longer or for others than it holds.
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Decision;
use tegata::admission::Detail;
use tegata::admission::Request;
use tegata::admission::known::Limits;
use tegata::admission::review as reviews;
use tegata::evidence::FetchEvidence;
use tegata::evidence::SearchLog;
use tegata::policy::PolicySnapshot;
use tegata::server;
use tegata::verdict::Reason;

use crate::fake_registry::Fault;
use crate::gate::BOB;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::gate::REPOSITORY;
use crate::policy;
use crate::policy::with;
use crate::review;
use crate::virtual_sigstore::VirtualSigstore;

type Admission<F, L> = tegata::admission::Admission<F, L>;

fn request(images: &[&str]) -> Request {
    reviews::parse(review::create(&review::pod(images)).to_string().as_bytes()).unwrap()
}

fn deadline() -> Instant {
    Instant::now() + Duration::from_secs(10)
}

/// The whole decision as one document.
fn document(decision: &Decision) -> Value {
    serde_json::to_value(decision).unwrap()
}

async fn ask<F: FetchEvidence, L: SearchLog>(
    admission: &Admission<F, L>,
    images: &[&str],
    snapshot: &PolicySnapshot,
    now: Timestamp,
) -> Decision {
    admission.admit(&request(images), snapshot, now, deadline()).await
}

fn failing(status: u16) -> Fault {
    Fault::Status { status, times: usize::MAX, retry_after: None }
}

async fn signed() -> Gate {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    gate
}

#[tokio::test]
async fn says_at_once_what_the_pipeline_would_and_asks_no_registry() {
    let gate = signed().await;
    let (admission, snapshot, now) = (gate.admission(), gate.snapshot(), server::now());
    let pinned = gate.pinned();
    let two = request(&[&pinned, &pinned]);
    assert!(admission.admit_known(&two, &snapshot, now).is_none());
    let first = ask(&admission, &[&pinned], &snapshot, now).await;
    assert!(first.allowed, "{}", first.message);
    let asked = gate.registry.log().len();
    let known = admission.admit_known(&two, &snapshot, now).unwrap();
    let pipeline = admission.admit(&two, &snapshot, now, deadline()).await;
    assert_eq!(document(&known), document(&pipeline));
    assert_eq!(gate.registry.log().len(), asked, "a request was made");
    let text = document(&known).to_string();
    assert!(text.contains("verified before, with what was fetched at"), "{text}");
    // All that people and metrics are told is what they were told at first.
    assert_eq!((known.allowed, &known.warnings), (first.allowed, &first.warnings));
    for (known, first) in known.images.iter().zip(&first.images) {
        assert_eq!(known.report.digest, first.report.digest);
        let [known, first] = [known, first].map(|field| field.report.policies[0].clone());
        assert_eq!((known.policy, known.verdict), (first.policy, first.verdict));
        let [known, first] = [known.authorities, first.authorities].map(|mut all| all.remove(0));
        assert_eq!(known.name, first.name);
        assert_eq!(known.signatures[0].signer, first.signatures[0].signer);
        assert_eq!(known.signatures[0].steps[1..], first.signatures[0].steps);
    }
}

/// Where nobody is shown the steps, they are left out, and nothing else.
#[tokio::test]
async fn tells_no_more_than_it_is_to() {
    let gate = signed().await;
    let (snapshot, now) = (gate.snapshot(), server::now());
    let admission = gate.admission().telling(Detail::Verdicts);
    let pinned = gate.pinned();
    let pod = request(&[&pinned]);
    let first = ask(&admission, &[&pinned], &snapshot, now).await;
    assert!(!first.images[0].report.policies[0].authorities.is_empty());
    let brief = admission.admit_known(&pod, &snapshot, now).unwrap();
    let mut full = admission.admit(&pod, &snapshot, now, deadline()).await;
    let authorities = std::mem::take(&mut full.images[0].report.policies[0].authorities);
    assert!(!authorities.is_empty());
    assert_eq!(document(&brief), document(&full));
}

#[tokio::test]
async fn a_tag_is_resolved_each_time_and_what_it_names_is_not_judged_again() {
    let gate = signed().await;
    let (admission, snapshot, now) = (gate.admission(), gate.snapshot(), server::now());
    let tagged = gate.image();
    assert!(ask(&admission, &[&tagged], &snapshot, now).await.allowed);
    assert!(admission.admit_known(&request(&[&tagged]), &snapshot, now).is_none());
    assert!(admission.admit_known(&request(&[&gate.pinned()]), &snapshot, now).is_some());
    // The tag moves to an image that nobody signed.
    gate.put_image("unsigned", "v1");
    let moved = gate.admission();
    assert!(!ask(&moved, &[&tagged], &snapshot, now).await.allowed);
}

#[tokio::test]
async fn another_policy_key_repository_or_digest_is_another_question() {
    let mut gate = signed().await;
    let (admission, snapshot, now) = (gate.admission(), gate.snapshot(), server::now());
    let pinned = gate.pinned();
    assert!(ask(&admission, &[&pinned], &snapshot, now).await.allowed);
    let known = |snapshot: &PolicySnapshot, images: &[&str]| {
        admission.admit_known(&request(images), snapshot, now).is_some()
    };
    assert!(known(&snapshot, &[&pinned]));
    let other = gate.put_image("other", "v2");
    let other = format!("{}/{REPOSITORY}@{other}", gate.registry.host());
    assert!(!known(&snapshot, &[&pinned, &other]));
    let elsewhere = format!("{}/elsewhere/app@{}", gate.registry.host(), gate.digest);
    assert!(!known(&snapshot, &[&elsewhere]));
    // One more policy, or another text of the same.
    let alice = gate.policies.clone();
    gate.policies.push(policy::cluster("by-bob", &[policy::keyless(BOB, ISSUER)]));
    assert!(!known(&gate.snapshot(), &[&pinned]));
    gate.policies = vec![with(alice[0].clone(), "mode", "warn")];
    assert!(!known(&gate.snapshot(), &[&pinned]));
    // Nor one that cannot be used.
    gate.policies = alice;
    gate.yaml = Some(policy::cluster("broken", &[json!({ "key": { "data": "x" } })]).to_string());
    gate.lenient = true;
    assert!(!known(&gate.snapshot(), &[&pinned]));
}

#[tokio::test]
async fn what_depends_on_the_clock_or_was_not_met_is_asked_again() {
    let rules = json!({ "type": "rego", "data": "package sigstore\nisCompliant { true }" });
    for (policy, met) in [
        (with(policy::cluster("ruled", &[]), "policy", rules), true),
        (policy::cluster("by-bob", &[]), false),
    ] {
        let mut gate = signed().await;
        let by = if met { crate::gate::ALICE } else { BOB };
        gate.policies = vec![with(policy, "authorities", json!([policy::keyless(by, ISSUER)]))];
        let (admission, snapshot, now) = (gate.admission(), gate.snapshot(), server::now());
        let pinned = gate.pinned();
        let first = ask(&admission, &[&pinned], &snapshot, now).await;
        assert_eq!(first.allowed, met, "{}", first.message);
        assert!(admission.admit_known(&request(&[&pinned]), &snapshot, now).is_none());
        assert!(admission.known().is_empty());
    }
}

/// Answers of a static authority need no table, and images without a policy no answer.
#[tokio::test]
async fn what_needs_no_evidence_is_always_known() {
    let mut gate = Gate::new().await;
    gate.demand(&[json!({ "static": { "action": "fail", "message": "no" } })]);
    let (admission, snapshot, now) = (gate.admission(), gate.snapshot(), server::now());
    let request = request(&[&gate.pinned()]);
    for snapshot in [snapshot, PolicySnapshot::default()] {
        let known = admission.admit_known(&request, &snapshot, now).unwrap();
        let pipeline = admission.admit(&request, &snapshot, now, deadline()).await;
        assert_eq!(document(&known), document(&pipeline));
        assert_eq!(known.allowed, snapshot.policies().is_empty());
    }
    // Of a denial everything is told, and only the pipeline does.
    let brief = gate.admission().telling(Detail::Verdicts);
    assert!(brief.admit_known(&request, &gate.snapshot(), now).is_none());
    assert!(brief.admit_known(&request, &PolicySnapshot::default(), now).is_some());
}

#[tokio::test]
async fn is_asked_for_anew_when_due_and_stands_through_an_outage_until_its_age_is_up() {
    let gate = signed().await;
    let (admission, snapshot, start) = (gate.admission(), gate.snapshot(), server::now());
    let pinned = gate.pinned();
    let pod = request(&[&pinned]);
    assert!(ask(&admission, &[&pinned], &snapshot, start).await.allowed);
    let before = gate.registry.log().len();
    let due = start + 11.minutes();
    assert!(admission.admit_known(&pod, &snapshot, due).is_none());
    gate.registry.fault("/v2/", failing(503));
    // Whoever comes first finds the registry down, and it stands.
    let stale = ask(&admission, &[&pinned], &snapshot, due).await;
    assert!(stale.allowed, "{}", stale.message);
    assert!(gate.registry.log().len() > before, "nobody asked");
    assert!(admission.admit_known(&pod, &snapshot, due + 30.seconds()).is_some());
    let late = start + 23.hours() + 59.minutes();
    assert!(ask(&admission, &[&pinned], &snapshot, late).await.allowed);
    let denied = ask(&admission, &[&pinned], &snapshot, start + 24.hours()).await;
    assert!(!denied.allowed && denied.retry, "{}", denied.message);
}

#[tokio::test]
async fn a_signature_that_is_gone_when_it_is_asked_for_anew_is_no_longer_known() {
    let gate = signed().await;
    let (admission, snapshot, start) = (gate.admission(), gate.snapshot(), server::now());
    let limits = Limits { refresh_after: Duration::ZERO, ..Limits::default() };
    let admission = admission.keeping(limits);
    let pinned = gate.pinned();
    assert!(ask(&admission, &[&pinned], &snapshot, start).await.allowed);
    assert_eq!(admission.known().len(), 1);
    gate.registry.fault("/referrers/", failing(404));
    let gone = ask(&admission, &[&pinned], &snapshot, start + 1.hour()).await;
    assert!(!gone.allowed, "{}", document(&gone));
    assert!(gone.message.contains(Reason::SignatureAbsent.code()), "{}", gone.message);
    assert!(admission.known().is_empty());
}

/// While one asks and asks, the trust root is replaced by one under which the image is not signed:
/// from the first question under the new one on, no answer of the old one is used.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn nothing_known_under_a_trust_root_outlives_it() {
    let mut gate = signed().await;
    let old = gate.snapshot();
    gate.trusted_root = VirtualSigstore::new(server::now() - 1.hour()).trusted_root_json();
    let new = gate.snapshot();
    let policies = Arc::new(tokio::sync::watch::Sender::new((false, Arc::new(old))));
    let admission = Arc::new(gate.admission());
    let pod = Arc::new(request(&[&gate.pinned()]));
    assert!(
        admission
            .admit(&pod, &policies.borrow().1.clone(), server::now(), deadline())
            .await
            .allowed
    );
    let asking = (0..8).map(|index: usize| {
        let (policies, admission, pod) = (policies.clone(), admission.clone(), pod.clone());
        tokio::spawn(async move {
            let (mut under_old, mut under_new) = (0, 0);
            while under_new < 10 {
                let (replaced, snapshot) = policies.borrow().clone();
                let known = admission.admit_known(&pod, &snapshot, server::now());
                let decision = match known {
                    Some(decision) if index.is_multiple_of(2) => decision,
                    _ => admission.admit(&pod, &snapshot, server::now(), deadline()).await,
                };
                assert_eq!(decision.allowed, !replaced, "{}", decision.message);
                tokio::task::yield_now().await;
                *(if replaced { &mut under_new } else { &mut under_old }) += 1;
            }
            under_old
        })
    });
    let asking: Vec<_> = asking.collect();
    tokio::time::sleep(Duration::from_millis(100)).await;
    policies.send_replace((true, Arc::new(new)));
    for asking in asking {
        assert!(asking.await.unwrap() > 0, "nobody asked before");
    }
}
