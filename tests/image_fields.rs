//! The image fields that the Kubernetes API types have are those that `workload` reads.
//!
//! The list is derived from the types' JSON schemas, so that a Kubernetes version with a new image
//! field breaks this test instead of opening a gap.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::collections::BTreeSet;

use k8s_openapi::api::apps::v1 as apps;
use k8s_openapi::api::batch::v1 as batch;
use k8s_openapi::api::core::v1 as core;
use schemars::JsonSchema;
use schemars::SchemaGenerator;
use serde_json::Value;
use serde_json::json;

use tegata::workload;
use tegata::workload::IMAGE_FIELDS;
use tegata::workload::KINDS;
use tegata::workload::Kind;

/// String fields with "image" in their path below a pod spec that name no container image.
const NOT_IMAGES: [(&str, &str); 6] = [
    ("containers[].imagePullPolicy", "when to pull"),
    ("ephemeralContainers[].imagePullPolicy", "when to pull"),
    ("imagePullSecrets[].name", "the name of a Secret"),
    ("initContainers[].imagePullPolicy", "when to pull"),
    ("volumes[].image.pullPolicy", "when to pull"),
    ("volumes[].rbd.image", "a block device in a Ceph pool; nothing in it is executed by its name"),
];

fn schema<T: JsonSchema>() -> Value {
    SchemaGenerator::default().into_root_schema_for::<T>().to_value()
}

/// Every string field below `schema` whose path has "image" in it, whatever its case.
fn image_strings(schema: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    walk(schema, schema, "", &mut Vec::new(), &mut found);
    found.retain(|path| path.to_ascii_lowercase().contains("image"));
    found
}

fn walk(
    root: &Value,
    at: &Value,
    path: &str,
    seen: &mut Vec<String>,
    found: &mut BTreeSet<String>,
) {
    if let Some(reference) = at.get("$ref").and_then(Value::as_str) {
        if seen.iter().any(|name| name == reference) {
            return;
        }
        seen.push(reference.to_owned());
        let target = root.pointer(reference.trim_start_matches('#')).unwrap();
        walk(root, target, path, seen, found);
        seen.pop();
    }
    for key in ["allOf", "anyOf", "oneOf"] {
        for part in at.get(key).and_then(Value::as_array).into_iter().flatten() {
            walk(root, part, path, seen, found);
        }
    }
    let string = |kind: &Value| {
        kind == "string" || kind.as_array().is_some_and(|kinds| kinds.contains(&json!("string")))
    };
    if at.get("type").is_some_and(string) {
        found.insert(path.to_owned());
    }
    if let Some(items) = at.get("items") {
        walk(root, items, &format!("{path}[]"), seen, found);
    }
    if let Some(values) = at.get("additionalProperties").filter(|values| values.is_object()) {
        walk(root, values, &format!("{path}{{}}"), seen, found);
    }
    for (name, property) in at.get("properties").and_then(Value::as_object).into_iter().flatten() {
        let dot = if path.is_empty() { "" } else { "." };
        walk(root, property, &format!("{path}{dot}{name}"), seen, found);
    }
}

/// The fields that must be read, by the schema of a pod spec.
fn wanted(pod_spec: &Value) -> BTreeSet<String> {
    let mut found = image_strings(pod_spec);
    for (path, reason) in NOT_IMAGES {
        assert!(found.remove(path), "{path} ({reason}) is gone from the API: drop the exception");
    }
    found
}

#[test]
fn every_image_field_of_a_pod_spec_is_read() {
    let read: BTreeSet<String> = IMAGE_FIELDS.iter().map(|field| (*field).to_owned()).collect();
    assert_eq!(wanted(&schema::<core::PodSpec>()), read);
}

/// The walk sees fields that do not exist yet, wherever they are added.
#[test]
fn a_new_field_would_be_noticed() {
    let plain = schema::<core::PodSpec>();
    let known = wanted(&plain);
    let string = json!({"type": "string"});
    let nullable = json!({"type": ["string", "null"]});
    let list =
        json!({"type": "array", "items": {"type": "object", "properties": {"image": string}}});
    let nested = json!({"type": "object", "properties": {"imageRef": nullable}});
    let mut places = vec!["".to_owned()];
    places.extend(plain["$defs"].as_object().unwrap().keys().map(|name| format!("/$defs/{name}")));
    let places: Vec<_> = places
        .into_iter()
        .filter(|place| plain.pointer(&format!("{place}/properties")).is_some())
        .collect();
    assert!(places.len() > 20, "{places:?}");
    for place in places {
        for new in [&list, &nested] {
            let mut changed = plain.clone();
            changed.pointer_mut(&format!("{place}/properties")).unwrap()["novelty"] = new.clone();
            assert_ne!(wanted(&changed), known, "{place}");
        }
    }
}

/// The place of `path` in `object`, made on the way.
fn put(object: &mut Value, path: &str, text: &str) {
    let mut at = object;
    for part in path.split('.') {
        match part.strip_suffix("[]") {
            Some(list) => {
                if at.get(list).is_none() {
                    at[list] = json!([{}]);
                }
                at = &mut at[list][0];
            }
            None => at = &mut at[part],
        }
    }
    *at = json!(text);
}

/// From the types of whole objects: each field that the schema has is read at its place, and
/// nothing else. A status is written by the kubelet and runs nothing.
fn check<T: JsonSchema>(name: &str) -> Kind {
    let kind = KINDS.into_iter().find(|kind| kind.name == name).unwrap();
    let mut fields = image_strings(&schema::<T>());
    fields.retain(|path| !path.starts_with("status."));
    fields.retain(|path| !NOT_IMAGES.iter().any(|(other, _)| path.ends_with(&format!(".{other}"))));
    assert_eq!(fields.len(), IMAGE_FIELDS.len(), "{name}: {fields:?}");
    let mut object = json!({});
    for field in &fields {
        put(&mut object, field, &format!("r.io/{}:1", field.len()));
    }
    let uses = workload::images(kind, &object).unwrap();
    let read: BTreeSet<String> = uses.iter().map(|image| image.path.replace("[0]", "[]")).collect();
    assert_eq!(read, fields, "{name}");
    kind
}

#[test]
fn every_kind_is_read_where_its_type_has_the_pod_spec() {
    let checked = [
        check::<core::Pod>("Pod"),
        check::<core::PodTemplate>("PodTemplate"),
        check::<core::ReplicationController>("ReplicationController"),
        check::<apps::DaemonSet>("DaemonSet"),
        check::<apps::Deployment>("Deployment"),
        check::<apps::ReplicaSet>("ReplicaSet"),
        check::<apps::StatefulSet>("StatefulSet"),
        check::<batch::CronJob>("CronJob"),
        check::<batch::Job>("Job"),
    ];
    assert_eq!(checked, KINDS);
}

/// Group, version, kind and plural as the API types state them.
#[test]
fn kinds_are_named_as_in_the_api() {
    fn named<T: k8s_openapi::Resource>() -> (&'static str, &'static str, &'static str, &'static str)
    {
        (T::GROUP, T::VERSION, T::KIND, T::URL_PATH_SEGMENT)
    }
    let wanted = [
        named::<core::Pod>(),
        named::<core::PodTemplate>(),
        named::<core::ReplicationController>(),
        named::<apps::DaemonSet>(),
        named::<apps::Deployment>(),
        named::<apps::ReplicaSet>(),
        named::<apps::StatefulSet>(),
        named::<batch::CronJob>(),
        named::<batch::Job>(),
    ];
    let found = KINDS.map(|kind| (kind.group, kind.version, kind.name, kind.resource));
    assert_eq!(found, wanted);
}
