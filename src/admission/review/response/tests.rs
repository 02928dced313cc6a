use super::*;
use crate::admission::Consequence;
use crate::policy::Mode;
use crate::policy::OnUnavailable;
use crate::verdict::Failure;
use crate::verdict::PolicyReport;
use crate::verdict::Reason;

const UID: &str = "705ab4f5";
const POINTER: &str = "/spec/containers/0/image";

fn pinned_text() -> String {
    format!("r.io/a:1@sha256:{}", "a".repeat(64))
}

fn field(pointer: &str, pinned: Option<String>, failure: Option<Failure>) -> FieldReport {
    let verdict = failure.as_ref().map_or(Verdict::Verified, Failure::verdict);
    let policy = PolicyReport {
        stale: false,
        policy: "ClusterImagePolicy signed".to_owned(),
        mode: Mode::Enforce,
        verdict,
        on_unavailable: OnUnavailable::Deny,
        failure,
        authorities: Vec::new(),
    };
    FieldReport {
        path: "spec.containers[0].image".to_owned(),
        pointer: pointer.to_owned(),
        text: "r.io/a:1".to_owned(),
        pinned,
        unpinned: false,
        consequence: match verdict {
            Verdict::Verified => Consequence::Admit,
            Verdict::Indeterminate | Verdict::Rejected => Consequence::Deny(verdict),
        },
        report: ImageReport {
            image: "r.io/a:1".to_owned(),
            digest: None,
            verdict,
            failure: None,
            policies: vec![policy],
        },
    }
}

fn decision(allowed: bool, images: Vec<FieldReport>) -> Decision {
    Decision { allowed, message: String::new(), warnings: Vec::new(), retry: false, images }
}

fn answer(decision: &Decision, endpoint: Endpoint) -> Value {
    let review: Value =
        serde_json::from_slice(&super::answer(UID, decision, endpoint, None)).unwrap();
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1");
    assert_eq!(review["kind"], "AdmissionReview");
    assert_eq!(review["response"]["uid"], UID);
    review["response"].clone()
}

#[test]
fn a_final_denial_is_403_and_a_passing_one_503() {
    let failure = Failure::new(Reason::SignatureAbsent, "nothing is attached");
    let mut decision = decision(false, vec![field(POINTER, None, Some(failure))]);
    decision.message = "no".to_owned();
    let response = answer(&decision, Endpoint::Validate);
    assert_eq!(response["allowed"], false);
    assert_eq!(
        response["status"],
        json!({"status": "Failure", "code": 403, "reason": "Forbidden", "message": "no"})
    );
    assert_eq!(response["auditAnnotations"]["decision"], "denied");
    assert_eq!(response["auditAnnotations"]["reasons"], "signature-absent");

    decision.retry = true;
    let response = answer(&decision, Endpoint::Mutate);
    assert_eq!(response["status"]["code"], 503);
    assert_eq!(response["status"]["reason"], "ServiceUnavailable");
    assert_eq!(response["auditAnnotations"]["decision"], "denied-for-now");
    assert_eq!(response.get("patch"), None);
}

#[test]
fn a_denial_always_says_something() {
    let response = answer(&decision(false, Vec::new()), Endpoint::Validate);
    assert!(response["status"]["message"].as_str().is_some_and(|text| !text.is_empty()));
}

#[test]
fn an_admission_has_no_status() {
    let response = answer(&decision(true, Vec::new()), Endpoint::Validate);
    assert_eq!(
        response,
        json!({"uid": UID, "allowed": true, "auditAnnotations": {"decision": "admitted", "verdict": "none"}})
    );
}

fn patch(decision: &Decision) -> Value {
    let response = answer(decision, Endpoint::Mutate);
    assert_eq!(response["patchType"], "JSONPatch");
    let patch = BASE64_STANDARD.decode(response["patch"].as_str().unwrap()).unwrap();
    serde_json::from_slice(&patch).unwrap()
}

#[test]
fn the_patch_tests_the_old_text_and_replaces_it() {
    let decision =
        decision(true, vec![field(POINTER, Some(pinned_text()), None), field(POINTER, None, None)]);
    assert_eq!(
        patch(&decision),
        json!([
            {"op": "test", "path": POINTER, "value": "r.io/a:1"},
            {"op": "replace", "path": POINTER, "value": pinned_text()},
        ])
    );
}

#[test]
fn only_an_admission_by_mutate_carries_a_patch() {
    let images = || vec![field(POINTER, Some(pinned_text()), None)];
    let response = answer(&decision(true, images()), Endpoint::Validate);
    assert_eq!((response.get("patch"), response.get("patchType")), (None, None));
    let response = answer(&decision(false, images()), Endpoint::Mutate);
    assert_eq!((response.get("patch"), response.get("patchType")), (None, None));
}

#[test]
fn the_patch_touches_image_fields_only() {
    let bad = |pointer: &str| field(pointer, Some(pinned_text()), None);
    let mut no_digest = field(POINTER, Some("r.io/a:1@latest".to_owned()), None);
    let other = pinned_text().replace("r.io/a", "r.io/evil");
    let other = field(POINTER, Some(other), None);
    let images = vec![
        bad("/spec/containers/0/command"),
        bad("/metadata/labels"),
        bad(""),
        no_digest.clone(),
        other,
    ];
    assert_eq!(answer(&decision(true, images), Endpoint::Mutate).get("patch"), None);
    no_digest.pinned = Some(pinned_text());
    let kept = decision(true, vec![bad("/spec/nodeName"), no_digest]);
    assert_eq!(patch(&kept).as_array().map(Vec::len), Some(2));
}

#[test]
fn warnings_stay_within_the_limits_of_kubernetes() {
    let mut decision = decision(true, Vec::new());
    decision.warnings = vec!["one\nline\u{7}".to_owned(), "é".repeat(300)];
    let response = answer(&decision, Endpoint::Validate);
    assert_eq!(response["warnings"][0], "one line ");
    let second = response["warnings"][1].as_str().unwrap();
    assert_eq!((second.chars().count(), second.ends_with(CUT_WARNING)), (MAX_WARNING, true));

    decision.warnings = (0..100).map(|i| format!("{i}: {}", "x".repeat(200))).collect();
    let response = answer(&decision, Endpoint::Validate);
    let kept: Vec<&str> =
        response["warnings"].as_array().unwrap().iter().flat_map(Value::as_str).collect();
    assert!(kept.iter().map(|line| line.len()).sum::<usize>() <= MAX_WARNINGS);
    let shown = kept.len() - 1;
    assert_eq!(
        kept[shown],
        format!("{} more warnings were left out: see Tegata's log", 100 - shown)
    );
    assert!(shown > 10, "{shown}");
}

#[test]
fn a_warning_is_given_once_and_in_its_place() {
    let mut decision = decision(true, Vec::new());
    decision.warnings = ["b", "a", "b", "c", "a"].map(str::to_owned).to_vec();
    let response = answer(&decision, Endpoint::Validate);
    assert_eq!(response["warnings"], json!(["b", "a", "c"]));
}

#[test]
fn a_request_is_settled_by_its_last_answer() {
    for (endpoint, allowed, settles) in [
        (Endpoint::Mutate, true, false),
        (Endpoint::Mutate, false, true),
        (Endpoint::Validate, true, true),
        (Endpoint::Validate, false, true),
    ] {
        assert_eq!(endpoint.settles(allowed), settles, "{endpoint:?} {allowed}");
    }
}

#[test]
fn annotations_say_verdict_policies_reasons_and_digest() {
    let digest = format!("sha256:{}", "a".repeat(64));
    let mut good = field(POINTER, None, None);
    good.report.digest = Some(digest.clone());
    good.report.policies[0].policy = "ImagePolicy team-a/own".to_owned();
    let bad = field(POINTER, None, Some(Failure::new(Reason::SignatureAbsent, "nothing")));
    let mut also = field(POINTER, None, None);
    also.report.policies[0].policy = "ClusterImagePolicy signed".to_owned();
    let response = answer(&decision(false, vec![good, bad, also]), Endpoint::Validate);
    let annotations = &response["auditAnnotations"];
    assert_eq!(annotations["verdict"], "rejected");
    assert_eq!(annotations["reasons"], "signature-absent");
    let wanted = "ClusterImagePolicy/signed=rejected,ImagePolicy/team-a/own=verified";
    assert_eq!(annotations["policies"], wanted);
    let images: Value = serde_json::from_str(annotations["images"].as_str().unwrap()).unwrap();
    assert_eq!(images[0]["digest"], digest);
    assert_eq!(
        (&images[0]["verdict"], &images[1]["verdict"]),
        (&json!("verified"), &json!("rejected"))
    );
}

/// An auditor who counts rejections must not count what nobody asked to be checked.
#[test]
fn an_uncovered_image_that_was_let_in_is_not_called_rejected() {
    let mut image = field(POINTER, None, None);
    let failure = Failure::new(Reason::PolicyNone, "no policy applies to this image");
    image.report = ImageReport::failed("r.io/a:1".to_owned(), failure);
    for (consequence, allowed, wanted) in [
        (Consequence::Admit, true, "uncovered"),
        (Consequence::Warn, true, "uncovered"),
        (Consequence::Deny(Verdict::Rejected), false, "rejected"),
    ] {
        image.consequence = consequence;
        let response = answer(&decision(allowed, vec![image.clone()]), Endpoint::Validate);
        let annotations = &response["auditAnnotations"];
        assert_eq!(annotations["verdict"], wanted);
        let images: Value = serde_json::from_str(annotations["images"].as_str().unwrap()).unwrap();
        assert_eq!(images[0]["verdict"], wanted);
        assert_eq!(annotations["reasons"], "policy-none", "the reason stays");
    }
}

#[test]
fn long_messages_and_annotations_are_cut() {
    let failure = Failure::new(Reason::RegistryUnreachable, "x");
    let images: Vec<_> = (0..500).map(|_| field(POINTER, None, Some(failure.clone()))).collect();
    let mut decision = decision(false, images);
    decision.message = "é".repeat(MAX_MESSAGE);
    let response = answer(&decision, Endpoint::Validate);
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.len() <= MAX_MESSAGE && message.ends_with('…'));
    for policy in 0..99 {
        decision.images[policy].report.policies[0].policy = format!("ImagePolicy team-a/p{policy}");
    }
    let response = answer(&decision, Endpoint::Validate);
    let policies = response["auditAnnotations"]["policies"].as_str().unwrap();
    assert!(policies.len() <= MAX_LIST, "{}", policies.len());
    let shown = policies.split(',').count() - 1;
    assert!(shown > 10 && policies.ends_with(&format!(",{} more", 100 - shown)), "{policies}");
    let text = response["auditAnnotations"]["images"].as_str().unwrap();
    assert!(text.len() <= MAX_ANNOTATION, "{}", text.len());
    let list: Vec<Value> = serde_json::from_str(text).unwrap();
    assert_eq!(list[0]["reasons"], json!(["registry-unreachable"]));
    let last = list.last().unwrap();
    assert_eq!(last["omitted"], 500 - (list.len() - 1));
}

#[test]
fn a_request_that_cannot_be_judged_is_denied() {
    let body = json!({"apiVersion": API_VERSION, "kind": REVIEW_KIND, "request": {"uid": UID, "operation": "PATCH"}});
    let error = super::super::parse(body.to_string().as_bytes()).unwrap_err();
    let review: Value = serde_json::from_slice(&refusal(error.uid().unwrap(), &error)).unwrap();
    let response = review["response"].clone();
    assert_eq!((&response["allowed"], &response["uid"]), (&json!(false), &json!(UID)));
    assert_eq!(response["status"]["code"], 400);
    assert!(response["status"]["message"].as_str().unwrap().contains("PATCH"), "{response}");
    assert_eq!(response["auditAnnotations"]["reasons"], "request-malformed");
}
