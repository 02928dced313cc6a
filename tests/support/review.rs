//! Builders of admission reviews and of the objects in them.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test support: included by several programs, each of which uses a part"
)]
use serde_json::Value;
use serde_json::json;

/// The namespace of every object and request made here.
pub const NAMESPACE: &str = "team-a";

/// Every kind that holds a pod spec, with its `apiVersion`, its resource and the pointer to the
/// pod spec.
pub const KINDS: [(&str, &str, &str, &str); 9] = [
    ("Pod", "v1", "pods", "/spec"),
    ("PodTemplate", "v1", "podtemplates", "/template/spec"),
    ("ReplicationController", "v1", "replicationcontrollers", "/spec/template/spec"),
    ("DaemonSet", "apps/v1", "daemonsets", "/spec/template/spec"),
    ("Deployment", "apps/v1", "deployments", "/spec/template/spec"),
    ("ReplicaSet", "apps/v1", "replicasets", "/spec/template/spec"),
    ("StatefulSet", "apps/v1", "statefulsets", "/spec/template/spec"),
    ("CronJob", "batch/v1", "cronjobs", "/spec/jobTemplate/spec/template/spec"),
    ("Job", "batch/v1", "jobs", "/spec/template/spec"),
];

/// A pod with a container for each image.
pub fn pod(images: &[&str]) -> Value {
    workload("Pod", &containers(images))
}

/// A pod spec with a container for each image.
pub fn containers(images: &[&str]) -> Value {
    let container =
        |(index, image): (usize, &&str)| json!({ "name": format!("c{index}"), "image": image });
    let containers: Vec<_> = images.iter().enumerate().map(container).collect();
    json!({ "containers": containers })
}

/// An object of this kind, with this pod spec in its place.
///
/// # Panics
/// When the kind is none of [`KINDS`].
pub fn workload(kind: &str, pod_spec: &Value) -> Value {
    let (_, api_version, _, pointer) = *KINDS.iter().find(|known| known.0 == kind).unwrap();
    let spec = pointer.rsplit('/').filter(|key| !key.is_empty());
    let mut object = spec.fold(pod_spec.clone(), |inner, key| json!({ key: inner }));
    object["apiVersion"] = json!(api_version);
    object["kind"] = json!(kind);
    object["metadata"] = json!({ "name": "web", "namespace": NAMESPACE });
    object
}

/// The request to create an object.
pub fn create(object: &Value) -> Value {
    review("CREATE", object, &Value::Null)
}

/// The request to replace `old` with `object`.
pub fn update(object: &Value, old: &Value) -> Value {
    review("UPDATE", object, old)
}

/// A request for an object of one of [`KINDS`].
pub fn review(operation: &str, object: &Value, old: &Value) -> Value {
    let kind = object["kind"].as_str().unwrap();
    let (_, api_version, resource, _) = *KINDS.iter().find(|known| known.0 == kind).unwrap();
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5-6393-11e8-b7cc-42010a800002",
            "kind": { "group": group, "version": version, "kind": kind },
            "resource": { "group": group, "version": version, "resource": resource },
            "name": object["metadata"]["name"],
            "namespace": NAMESPACE,
            "operation": operation,
            "userInfo": { "username": "alice" },
            "object": object,
            "oldObject": old,
            "dryRun": false,
        },
    })
}
