//! Builders of policies, as the documents that users write.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "test support: included by several programs, each of which uses a part"
)]
use serde_json::Value;
use serde_json::json;

/// A `ClusterImagePolicy` for every image.
pub fn cluster(name: &str, authorities: &[Value]) -> Value {
    document("ClusterImagePolicy", json!({ "name": name }), authorities)
}

/// An `ImagePolicy` for every image of a namespace.
pub fn namespaced(namespace: &str, name: &str, authorities: &[Value]) -> Value {
    document("ImagePolicy", json!({ "name": name, "namespace": namespace }), authorities)
}

fn document(kind: &str, metadata: Value, authorities: &[Value]) -> Value {
    json!({
        "apiVersion": "tegata.dev/v1alpha1",
        "kind": kind,
        "metadata": metadata,
        "spec": { "images": [{ "glob": "**" }], "authorities": authorities },
    })
}

/// The policy with a field of its `spec` set.
pub fn with(mut policy: Value, field: &str, value: impl Into<Value>) -> Value {
    if let Some(spec) = policy.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert(field.to_owned(), value.into());
    }
    policy
}

/// The policy for images that this glob covers.
pub fn glob(policy: Value, glob: &str) -> Value {
    with(policy, "images", json!([{ "glob": glob }]))
}

/// An authority: one identity.
pub fn keyless(subject: &str, issuer: &str) -> Value {
    json!({ "keyless": { "identities": [{ "issuer": issuer, "subject": subject }] } })
}

/// An authority: one key, in PEM.
pub fn keyed(pem: &str) -> Value {
    json!({ "key": { "data": pem } })
}
