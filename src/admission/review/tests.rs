use serde_json::json;

use super::*;
use crate::admission::ObjectRef;
use crate::evidence::Tenant;
use crate::verdict::Reason;
use crate::workload::WorkloadError;

fn pod(image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "web", "labels": {"app": "web"}},
        "spec": {"containers": [{"name": "a", "image": image}]},
    })
}

fn review(operation: &str, object: Value, old: Value) -> Value {
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "namespace": "team-a",
            "operation": operation,
            "userInfo": {"username": "jane"},
            "object": object,
            "oldObject": old,
            "dryRun": false,
        },
    })
}

fn create() -> Value {
    review("CREATE", pod("r.io/a:1"), Value::Null)
}

/// What is read of the excerpt, which is the same that is read of the whole document.
fn parse_value(review: &Value) -> Result<Request, ReviewError> {
    let found = parse(review.to_string().as_bytes());
    let whole = within(review, read);
    assert_eq!(format!("{found:?}"), format!("{whole:?}"), "{review}");
    found
}

fn texts(review: &Value) -> Vec<String> {
    parse_value(review).unwrap().images.into_iter().map(|image| image.text).collect()
}

/// A review with the value at `pointer` replaced.
fn with(mut review: Value, pointer: &str, value: Value) -> Value {
    *review.pointer_mut(pointer).unwrap() = value;
    review
}

#[test]
fn accepts_a_pod() {
    let mut review = create();
    review["request"]["dryRun"] = json!(true);
    let request = parse_value(&review).unwrap();
    let Request { uid, workload, kind, name, user, dry_run, images, operation, .. } = request;
    assert_eq!(operation, Operation::Create);
    assert_eq!(uid, "705ab4f5-6393-11e8-b7cc-42010a800002");
    assert_eq!(
        (kind.as_str(), name.as_str(), user.as_str(), dry_run),
        ("Pod", "web", "jane", true)
    );
    let Workload { namespace, namespace_labels, group, version, resource, labels } = workload;
    assert_eq!((namespace.as_str(), group.as_str()), ("team-a", ""));
    assert_eq!((version.as_str(), resource.as_str()), ("v1", "pods"));
    assert_eq!(labels, BTreeMap::from([("app".to_owned(), "web".to_owned())]));
    assert!(namespace_labels.is_empty());
    assert_eq!(images[0].path, "spec.containers[0].image");
}

/// A name that is not wanted would read as a field that is not there: an image that nobody judges.
#[test]
fn wants_every_name_on_the_way_to_an_image() {
    for name in workload::names() {
        assert!(WANTED.names.contains(&name), "{name}");
    }
    assert!(WANTED.whole.iter().all(|name| WANTED.names.contains(name)));
}

/// As above, for what else is read: a name that is not wanted would read as the default.
#[test]
fn wants_every_name_of_a_full_review_of_every_kind() {
    let spec = json!({
        "serviceAccountName": "robot",
        "imagePullSecrets": [{"name": "one"}, {"name": "two"}],
        "containers": [{"name": "a", "image": "r.io/a:1", "env": [{"name": "N", "value": "v"}]}],
        "initContainers": [{"name": "b", "image": "r.io/b:1"}],
        "ephemeralContainers": [{"name": "c", "image": "r.io/c:1"}],
        "volumes": [{"name": "d", "image": {"reference": "r.io/d:1", "pullPolicy": "Always"}}],
    });
    for kind in workload::KINDS {
        let mut object = json!({
            "apiVersion": kind.api_version(), "kind": kind.name,
            "metadata": {
                "name": "web", "uid": "o", "labels": {"app": "web"}, "annotations": {"x": "y"},
                "ownerReferences": [{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "rs",
                    "uid": "u", "controller": true}],
            },
        });
        match kind.name {
            "Pod" => object["spec"] = spec.clone(),
            "PodTemplate" => object["template"]["spec"] = spec.clone(),
            "CronJob" => object["spec"]["jobTemplate"]["spec"]["template"]["spec"] = spec.clone(),
            _ => object["spec"]["template"]["spec"] = spec.clone(),
        }
        let mut review = review("CREATE", object, Value::Null);
        let request = &mut review["request"];
        let group = kind.group;
        request["kind"] = json!({"group": group, "version": "v1", "kind": kind.name});
        request["resource"] = json!({"group": group, "version": "v1", "resource": kind.resource});
        request["dryRun"] = json!(true);
        let found = parse_value(&review).unwrap();
        let images: Vec<&str> = found.images.iter().map(|image| image.text.as_str()).collect();
        assert_eq!(images, ["r.io/a:1", "r.io/b:1", "r.io/c:1", "r.io/d:1"], "{}", kind.name);
        let Tenant { namespace, service_account, pull_secrets } = found.tenant;
        assert_eq!((namespace.as_str(), service_account.as_str()), ("team-a", "robot"));
        assert_eq!(pull_secrets, ["one", "two"]);
        assert_eq!((found.user.as_str(), found.dry_run), ("jane", true));
        assert_eq!((found.name.as_str(), found.object.uid.as_str()), ("web", "o"));
        assert_eq!(found.owner.map(|owner| owner.name).as_deref(), Some("rs"));
        assert_eq!(found.workload.labels.len(), 1);
    }
}

#[test]
fn names_a_pod_by_generate_name_until_it_has_one() {
    let review = with(create(), "/request/object/metadata", json!({"generateName": "web-"}));
    let request = parse_value(&review).unwrap();
    assert_eq!(request.name, "web-");
    assert_eq!(request.object.name, "", "nothing bears a generateName");
}

#[test]
fn knows_the_object_and_its_controller() {
    let mut review = create();
    let owner = |kind: &str, controller: bool| json!({"apiVersion": "apps/v1", "kind": kind, "name": "web-5d4", "uid": "u", "controller": controller});
    review["request"]["object"]["metadata"]["uid"] = json!("pod-uid");
    review["request"]["object"]["metadata"]["ownerReferences"] =
        json!([owner("ConfigMap", false), owner("ReplicaSet", true)]);
    let Request { object, owner, .. } = parse_value(&review).unwrap();
    let text = |o: ObjectRef| [o.api_version, o.kind, o.name, o.uid].join(" ");
    assert_eq!(text(object), "v1 Pod web pod-uid");
    assert_eq!(owner.map(text).as_deref(), Some("apps/v1 ReplicaSet web-5d4 u"));
}

#[test]
fn judges_updates_on_added_images_only() {
    let same = review("UPDATE", pod("r.io/a:1"), pod("r.io/a:1"));
    assert!(texts(&same).is_empty());
    let changed = review("UPDATE", pod("r.io/a:2"), pod("r.io/a:1"));
    assert_eq!(texts(&changed), ["r.io/a:2"]);
}

#[test]
fn judges_everything_where_the_old_object_is_missing_or_another_kind() {
    let mut other = pod("r.io/a:1");
    other["kind"] = json!("PodTemplate");
    for old in [json!(null), json!({}), json!([]), other] {
        assert_eq!(texts(&review("UPDATE", pod("r.io/a:1"), old.clone())), ["r.io/a:1"], "{old}");
    }
    let mut absent = review("UPDATE", pod("r.io/a:1"), json!(null));
    absent["request"].as_object_mut().unwrap().remove("oldObject");
    assert_eq!(texts(&absent), ["r.io/a:1"]);
    let create = review("CREATE", pod("r.io/a:1"), pod("r.io/a:1"));
    assert_eq!(texts(&create), ["r.io/a:1"]);
}

/// Nothing but an unchanged image excuses an image.
#[test]
fn nothing_else_skips_the_check() {
    let owner = json!([{"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "x", "uid": "y", "controller": true}]);
    for (key, value) in [
        ("ownerReferences", owner),
        ("deletionTimestamp", json!("2026-01-01T00:00:00Z")),
        ("annotations", json!({"tegata.dev/verified": "true", "kubernetes.io/config.mirror": "x"})),
        ("labels", json!({"tegata.dev/skip": "true"})),
        ("finalizers", json!([])),
    ] {
        for operation in ["CREATE", "UPDATE"] {
            let mut object = pod("r.io/evil:1");
            object["metadata"][key] = value.clone();
            let review = review(operation, object, pod("r.io/a:1"));
            assert_eq!(texts(&review), ["r.io/evil:1"], "{operation} {key}");
        }
    }
    for user in ["system:serviceaccount:kube-system:replicaset-controller", "system:admin"] {
        assert_eq!(texts(&with(create(), "/request/userInfo/username", json!(user))).len(), 1);
    }
}

#[test]
fn judges_every_subresource_alike() {
    for subresource in ["ephemeralcontainers", "status", "resize", "unknown", ""] {
        let mut object = pod("r.io/a:1");
        object["spec"]["ephemeralContainers"] = json!([{"name": "debug", "image": "r.io/evil:1"}]);
        let mut review = review("UPDATE", object, pod("r.io/a:1"));
        review["request"]["subResource"] = json!(subresource);
        assert_eq!(texts(&review), ["r.io/evil:1"], "{subresource}");
    }
}

#[test]
fn judges_a_deployment_scaled_to_zero() {
    let mut review = create();
    review["request"]["kind"] = json!({"group": "apps", "version": "v1", "kind": "Deployment"});
    review["request"]["resource"] =
        json!({"group": "apps", "version": "v1", "resource": "deployments"});
    review["request"]["object"] = json!({
        "apiVersion": "apps/v1", "kind": "Deployment",
        "spec": {"replicas": 0, "template": {"spec": {"containers": [{"image": "r.io/a:1"}]}}},
    });
    let request = parse_value(&review).unwrap();
    assert_eq!(request.images[0].path, "spec.template.spec.containers[0].image");
    assert_eq!(
        (request.workload.group.as_str(), request.workload.resource.as_str()),
        ("apps", "deployments")
    );
}

#[test]
fn has_nothing_to_judge_in_deletions_connections_and_imageless_kinds() {
    for operation in ["DELETE", "CONNECT"] {
        assert!(texts(&review(operation, json!(null), pod("r.io/a:1"))).is_empty());
    }
    for (group, kind) in IMAGELESS {
        let review =
            with(create(), "/request/kind", json!({"group": group, "version": "v1", "kind": kind}));
        assert!(texts(&review).is_empty(), "{kind}");
    }
    let foreign = json!({"group": "evil.example", "version": "v1", "kind": "Scale"});
    assert!(parse_value(&with(create(), "/request/kind", foreign)).is_err());
}

#[test]
fn keeps_images_that_are_no_reference_for_judging() {
    let request = parse_value(&review("CREATE", pod("sha256:dead"), Value::Null)).unwrap();
    assert!(request.images[0].image.is_err());
}

/// The field that an error names, or the variant.
fn place(error: &ReviewError) -> String {
    match error.problem() {
        ReviewProblem::Encoding { .. } => "encoding".to_owned(),
        ReviewProblem::Envelope { key, found, .. } => format!("{key}={found}"),
        ReviewProblem::Field { path, .. } => (*path).to_owned(),
        ReviewProblem::Foreign { found } => format!("foreign {found}"),
        ReviewProblem::Json { .. } => "json".to_owned(),
        ReviewProblem::Mismatch { path, found, .. } => format!("{path}={found}"),
        ReviewProblem::Operation { found } => format!("operation={found}"),
        ReviewProblem::TooLarge { .. } => "too large".to_owned(),
        ReviewProblem::Workload(WorkloadError::Malformed { path, .. }) => format!("object {path}"),
        ReviewProblem::Workload(WorkloadError::NotCovered { kind, .. }) => {
            format!("not covered {kind}")
        }
        ReviewProblem::Workload(WorkloadError::TooManyImages { .. }) => "too many".to_owned(),
    }
}

#[test]
fn rejects_malformed_reviews_and_says_where() {
    let table = [
        ("/apiVersion", json!("admission.k8s.io/v1beta1"), "apiVersion=admission.k8s.io/v1beta1"),
        ("/apiVersion", json!("admission.k8s.io/v2"), "apiVersion=admission.k8s.io/v2"),
        ("/apiVersion", json!(1), "apiVersion=nothing"),
        ("/kind", json!("Pod"), "kind=Pod"),
        ("/request", json!(null), "request"),
        ("/request", json!([]), "request"),
        ("/request/uid", json!(null), "request.uid"),
        ("/request/uid", json!(""), "request.uid"),
        ("/request/uid", json!("a b"), "request.uid"),
        ("/request/uid", json!("u".repeat(MAX_UID + 1)), "request.uid"),
        ("/request/operation", json!("PATCH"), "operation=PATCH"),
        ("/request/operation", json!("create"), "operation=create"),
        ("/request/operation", json!(null), "request.operation"),
        ("/request/kind", json!(null), "request.kind"),
        ("/request/kind", json!("Pod"), "request.kind"),
        ("/request/kind/kind", json!(null), "request.kind"),
        ("/request/kind/version", json!(1), "request.kind"),
        ("/request/kind/group", json!(1), "request.kind"),
        ("/request/kind/group", json!("apps"), "not covered Pod"),
        ("/request/kind/version", json!("v2"), "not covered Pod"),
        ("/request/kind/kind", json!("Service"), "not covered Service"),
        ("/request/kind/kind", json!("PodTemplate"), "request.resource.resource=pods"),
        ("/request/resource", json!(null), "request.resource"),
        ("/request/resource/resource", json!("services"), "request.resource.resource=services"),
        ("/request/resource/group", json!("apps"), "request.resource.resource=pods"),
        ("/request/namespace", json!(["x"]), "request.namespace"),
        ("/request/dryRun", json!("yes"), "request.dryRun"),
        ("/request/object", json!(null), "request.object.kind"),
        ("/request/object", json!([]), "request.object.kind"),
        ("/request/object/kind", json!("ConfigMap"), "request.object.kind=ConfigMap"),
        ("/request/object/kind", json!(null), "request.object.kind"),
        ("/request/object/apiVersion", json!("v2"), "request.object.apiVersion=v2"),
        ("/request/object/metadata/labels", json!([]), "request.object.metadata.labels"),
        ("/request/object/metadata/labels", json!({"a": 1}), "request.object.metadata.labels"),
        ("/request/object/spec", json!(null), "object spec"),
        ("/request/object/spec/containers/0/image", json!(7), "object spec.containers[0].image"),
    ];
    for (pointer, value, wanted) in table {
        let review = with(create(), pointer, value.clone());
        let error = parse_value(&review).expect_err(wanted);
        assert_eq!(place(&error), wanted, "{pointer} {value}: {error}");
        assert_eq!((error.status(), error.reason()), (400, None), "{error}");
        let known = !matches!(place(&error).as_str(), "request" | "request.uid")
            && !pointer.starts_with("/kind")
            && !pointer.starts_with("/apiVersion");
        assert_eq!(error.uid().is_some(), known, "{pointer}: {error}");
    }
}

#[test]
fn rejects_bodies_that_are_not_one_json_document() {
    let text = create().to_string();
    let twice = text.replacen("\"image\":", "\"image\":\"r.io/good:1\",\"image\":", 1);
    let deep = text.replacen("\"web\"", &format!("{}{}", "[".repeat(200), "]".repeat(200)), 1);
    let table: [(Vec<u8>, &str); 8] = [
        (Vec::new(), "json"),
        (b"null".to_vec(), "kind=nothing"),
        (b"[]".to_vec(), "kind=nothing"),
        (b"{\"kind\":\xff}".to_vec(), "encoding"),
        (format!("{text}{{}}").into_bytes(), "json"),
        (text.as_bytes()[..text.len() - 1].to_vec(), "json"),
        (twice.into_bytes(), "json"),
        (deep.into_bytes(), "json"),
    ];
    for (body, wanted) in table {
        let error = parse(&body).unwrap_err();
        assert_eq!(place(&error), wanted, "{error}");
        assert_eq!((error.status(), error.uid()), (400, None));
    }
    let error = parse(&vec![b' '; MAX_BODY + 1]).unwrap_err();
    assert_eq!((place(&error).as_str(), error.status()), ("too large", 413));
}

#[test]
fn rejects_too_many_images_with_the_reason_code() {
    let list: Vec<Value> =
        (0..=workload::MAX_IMAGES).map(|i| json!({"image": format!("r.io/{i}")})).collect();
    let review = with(create(), "/request/object/spec/containers", json!(list));
    let error = parse_value(&review).unwrap_err();
    assert_eq!((error.reason(), error.status()), (Some(Reason::ImageFieldLimit), 403));
}
