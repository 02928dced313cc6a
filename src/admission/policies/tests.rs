use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::json;

use super::*;
use crate::policy::compile::Keys;
use crate::trust_root::TrustRoot;

fn references() -> References {
    let default = Arc::new(TrustRoot::public_good());
    References { default, named: BTreeMap::new(), keys: Keys::NoCluster }
}

fn spec(glob: &str) -> Value {
    let identity = json!({"issuer": "https://issuer.example", "subject": "me@a.example"});
    json!({
        "images": [{"glob": glob}],
        "authorities": [{"keyless": {"identities": [identity]}}],
    })
}

/// A spec that names a trust root which is not there.
fn pending(glob: &str) -> Value {
    let mut spec = spec(glob);
    spec["authorities"][0]["keyless"]["trustRootRef"] = json!("ours");
    spec
}

fn review(kind: &str, resource: &str, operation: &str, spec: Value) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": "u",
            "kind": {"group": "tegata.dev", "version": "v1alpha1", "kind": kind},
            "resource": {"group": "tegata.dev", "version": "v1alpha1", "resource": resource},
            "name": "p",
            "namespace": if kind == "ImagePolicy" { "team" } else { "" },
            "operation": operation,
            "userInfo": {"username": "alice"},
            "object": {
                "apiVersion": "tegata.dev/v1alpha1",
                "kind": kind,
                "metadata": {"name": "p"},
                "spec": spec,
            },
            "oldObject": null,
            "dryRun": true,
        },
    })
}

fn cluster(spec: Value) -> Value {
    review("ClusterImagePolicy", "clusterimagepolicies", "CREATE", spec)
}

fn update(old: Value, new: Value) -> Value {
    let mut review = review("ClusterImagePolicy", "clusterimagepolicies", "UPDATE", new);
    let mut object = review["request"]["object"].clone();
    object["spec"] = old;
    object["metadata"]["labels"] = json!({"old": "yes"});
    review["request"]["oldObject"] = object;
    review
}

fn judge(review: &Value) -> Decision {
    parse(review.to_string().as_bytes()).unwrap().judge(&references())
}

#[test]
fn rejects_what_does_not_compile_with_the_field() {
    let bad = spec("ghcr.io/Org/**");
    let problem = "spec.images[0].glob: `ghcr.io/Org/**` is no image glob";
    let namespaced = review("ImagePolicy", "imagepolicies", "CREATE", bad.clone());
    let root = review("TrustRoot", "trustroots", "CREATE", json!({"trustedRoot": "{}"}));
    let misspelt = json!({"images": [], "authorities": [], "thresold": 1});
    for (review, message) in [
        (cluster(bad.clone()), problem),
        (namespaced, problem),
        (update(spec("**"), bad), problem),
        (cluster(misspelt), "spec.thresold: unknown field `thresold`, wanted `threshold`"),
        (cluster(Value::Null), "spec: "),
        (cluster(json!({"images": "x"})), "spec.images: invalid type"),
        (root, "spec.trustedRoot: "),
    ] {
        let decision = judge(&review);
        assert!(!decision.allowed && !decision.retry, "{review}");
        assert!(decision.message.starts_with(message), "{}", decision.message);
    }
}

#[test]
fn admits_what_compiles_with_hints() {
    let decision = judge(&cluster(spec("ghcr.io/org/**")));
    assert!(decision.allowed);
    assert_eq!(decision.warnings, [] as [&str; 0]);
    let decision = judge(&cluster(spec("ghcr.io/*")));
    assert!(decision.allowed);
    let [warning] = decision.warnings.as_slice() else { panic!("{:?}", decision.warnings) };
    assert!(warning.starts_with("spec.images[0].glob: it covers nothing"), "{warning}");
}

#[test]
fn admits_what_waits_for_a_trust_root_with_a_warning() {
    let decision = judge(&cluster(pending("ghcr.io/org/**")));
    assert!(decision.allowed);
    let [warning] = decision.warnings.as_slice() else { panic!("{:?}", decision.warnings) };
    assert!(warning.starts_with("until this is there, the policy denies what it matches"));
    assert!(warning.contains("no usable TrustRoot `ours`"), "{warning}");
    // Hints are given all the same.
    assert_eq!(judge(&cluster(pending("ghcr.io/*"))).warnings.len(), 2);
}

#[test]
fn rejects_an_error_that_a_missing_trust_root_would_hide() {
    let identity = json!({"issuer": "https://issuer.example", "subjectRegExp": "["});
    let mut second = pending("**");
    second["authorities"] =
        json!([second["authorities"][0], {"keyless": {"identities": [identity]}}]);
    let mut threshold = pending("**");
    threshold["threshold"] = json!(2);
    let mut source = pending("**");
    source["authorities"][0]["source"] = json!([{}]);
    for (spec, path) in [
        (second, "spec.authorities[1].keyless.identities[0].subjectRegExp: "),
        (threshold, "spec.threshold: "),
        (source, "spec.authorities[0].source[0]: "),
    ] {
        let decision = judge(&cluster(spec));
        assert!(!decision.allowed, "{path}");
        assert!(decision.message.starts_with(path), "{}", decision.message);
    }
}

#[test]
fn admits_an_invalid_policy_whose_spec_stays() {
    let bad = || spec("ghcr.io/Org/**");
    let decision = judge(&update(bad(), bad()));
    assert!(decision.allowed);
    let [warning] = decision.warnings.as_slice() else { panic!("{:?}", decision.warnings) };
    assert!(warning.starts_with("as before, the policy denies what it matches: spec.images[0]"));
    // Its status is written without one; whoever changes the spec there is looked at.
    let mut status = update(bad(), bad());
    status["request"]["subResource"] = json!("status");
    assert_eq!(judge(&status).warnings, [] as [&str; 0]);
    let mut smuggled = update(spec("**"), bad());
    smuggled["request"]["subResource"] = json!("status");
    assert!(!judge(&smuggled).allowed);
    // A creation has no earlier spec, whatever it says.
    let mut created = update(bad(), bad());
    created["request"]["operation"] = json!("CREATE");
    assert!(!judge(&created).allowed);
    // Hints are for those who write the spec.
    assert_eq!(judge(&update(spec("ghcr.io/*"), spec("ghcr.io/*"))).warnings, [] as [&str; 0]);
}

/// A review of what `kubectl apply` makes of a spec: what it was given is in an annotation.
fn applied(mut review: Value, place: &str, given: &Value) -> Value {
    let given = json!({"kind": "ClusterImagePolicy", "spec": given}).to_string();
    let annotations = json!({"kubectl.kubernetes.io/last-applied-configuration": given});
    review["request"][place]["metadata"]["annotations"] = annotations;
    review
}

#[test]
fn rejects_an_empty_field_that_kubectl_apply_left_out() {
    let mut given = spec("ghcr.io/org/**");
    given["authorities"][0]["ctlog"] = Value::Null;
    let message = "spec.authorities[0].ctlog: it has no value, wanted a value, or no such field";
    let changed = update(spec("**"), spec("ghcr.io/org/**"));
    for review in [
        applied(cluster(spec("ghcr.io/org/**")), "object", &given),
        applied(cluster(pending("ghcr.io/org/**")), "object", &given),
        applied(changed.clone(), "object", &given),
        // A creation has no earlier version, whatever it says.
        applied(applied(cluster(spec("**")), "object", &given), "oldObject", &given),
    ] {
        let decision = judge(&review);
        assert!(!decision.allowed && !decision.retry, "{review}");
        assert_eq!(decision.message, message);
    }
    // What is wrong in the object itself comes first.
    let decision = judge(&applied(cluster(spec("ghcr.io/Org/**")), "object", &given));
    assert!(decision.message.starts_with("spec.images[0].glob: "), "{}", decision.message);
    // An annotation that another change leaves as it was says nothing about that change.
    let later = applied(applied(changed, "object", &given), "oldObject", &given);
    let same = update(spec("ghcr.io/org/**"), spec("ghcr.io/org/**"));
    let labels = applied(same, "object", &given);
    let complete = applied(cluster(spec("ghcr.io/org/**")), "object", &spec("ghcr.io/org/**"));
    for review in [later, labels, complete] {
        let decision = judge(&review);
        assert!(decision.allowed, "{}", decision.message);
        assert_eq!(decision.warnings, [] as [&str; 0]);
    }
    let waits = applied(cluster(pending("ghcr.io/org/**")), "object", &spec("ghcr.io/org/**"));
    assert_eq!(judge(&waits).warnings.len(), 1, "a trust root that is missing is still told");
}

#[test]
fn admits_deletions_without_a_look() {
    for operation in ["DELETE", "CONNECT"] {
        let review = review("ClusterImagePolicy", "clusterimagepolicies", operation, json!(7));
        let decision = judge(&review);
        assert!(decision.allowed && decision.warnings.is_empty(), "{operation}");
    }
}

#[test]
fn tells_what_a_trust_root_leaves_out() {
    let mut root: Value =
        serde_json::from_str(sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT)
            .unwrap();
    let good = review("TrustRoot", "trustroots", "CREATE", json!({"trustedRoot": root}));
    assert_eq!(judge(&good).warnings, [] as [&str; 0]);
    root["tlogs"][0]["logId"]["keyId"] = json!("AAAAAA==");
    let partly = json!({"trustedRoot": root.to_string()});
    let decision = judge(&review("TrustRoot", "trustroots", "CREATE", partly));
    assert!(decision.allowed);
    let [warning] = decision.warnings.as_slice() else { panic!("{:?}", decision.warnings) };
    assert!(warning.starts_with("spec.trustedRoot: tlogs[0] is left out"), "{warning}");
}

#[test]
fn rejects_what_is_not_ours_or_contradicts_itself() {
    let good = || cluster(spec("**"));
    let changed = |pointer: &str, value: Value| {
        let mut review = good();
        *review.pointer_mut(pointer).unwrap() = value;
        review
    };
    for (review, problem) in [
        (changed("/request/kind/group", json!("policy.sigstore.dev")), "wanted ClusterImagePolicy"),
        (changed("/request/kind/version", json!("v1")), "wanted ClusterImagePolicy"),
        (changed("/request/kind/kind", json!("Pod")), "correct the webhook's rules"),
        (changed("/request/resource/resource", json!("imagepolicies")), "clusterimagepolicies"),
        (changed("/request/object/kind", json!("ImagePolicy")), "request.object.kind"),
        (changed("/request/object/apiVersion", json!("v1")), "request.object.apiVersion"),
        (changed("/request/operation", json!("PATCH")), "request.operation"),
        (changed("/request/object", Value::Null), "request.object.kind"),
    ] {
        let error = parse(review.to_string().as_bytes()).unwrap_err();
        assert_eq!(error.uid(), Some("u"), "{error}");
        assert_eq!(error.status(), 400);
        assert!(error.to_string().contains(problem), "{error}");
    }
}
