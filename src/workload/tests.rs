use serde_json::Value;
use serde_json::json;

use super::*;

const POD: &str = "Pod";

fn kind(name: &str) -> Kind {
    KINDS.into_iter().find(|kind| kind.name == name).unwrap()
}

/// An object of `kind` around a pod spec.
fn wrap(kind: Kind, spec: Value) -> Value {
    kind.pod_spec.iter().rev().fold(spec, |inner, key| json!({ *key: inner }))
}

fn full_spec() -> Value {
    json!({
        "containers": [{"name": "a", "image": "r.io/a:1", "futureField": {"image": "r.io/no:1"}}, {"name": "b", "image": "r.io/b:1"}],
        "initContainers": [{"name": "c", "image": "r.io/c:1"}],
        "ephemeralContainers": [{"name": "d", "image": "r.io/d:1"}],
        "volumes": [{"name": "e", "emptyDir": {}}, {"name": "f", "image": {"reference": "r.io/f:1", "pullPolicy": "Always"}}],
    })
}

fn texts(uses: &[ImageUse]) -> Vec<&str> {
    uses.iter().map(|image| image.text.as_str()).collect()
}

#[test]
fn finds_every_field_of_every_kind() {
    for kind in KINDS {
        let object = wrap(kind, full_spec());
        let uses = images(kind, &object).unwrap();
        assert_eq!(
            texts(&uses),
            ["r.io/a:1", "r.io/b:1", "r.io/c:1", "r.io/d:1", "r.io/f:1"],
            "{}",
            kind.name
        );
        for image in &uses {
            let there = object.pointer(&image.pointer).and_then(Value::as_str);
            assert_eq!(there, Some(image.text.as_str()), "{}", image.pointer);
            assert!(is_image_pointer(&image.pointer), "{}", image.pointer);
        }
    }
}

#[test]
fn names_the_place_for_people_and_for_patches() {
    let table = [
        (POD, "spec.containers[0].image", "/spec/containers/0/image"),
        ("PodTemplate", "template.spec.containers[0].image", "/template/spec/containers/0/image"),
        (
            "Deployment",
            "spec.template.spec.containers[0].image",
            "/spec/template/spec/containers/0/image",
        ),
        (
            "CronJob",
            "spec.jobTemplate.spec.template.spec.containers[0].image",
            "/spec/jobTemplate/spec/template/spec/containers/0/image",
        ),
    ];
    for (name, path, pointer) in table {
        let kind = kind(name);
        let uses = images(kind, &wrap(kind, json!({"containers": [{"image": "x"}]}))).unwrap();
        assert_eq!((uses[0].path.as_str(), uses[0].pointer.as_str()), (path, pointer));
    }
    let uses = images(kind(POD), &wrap(kind(POD), full_spec())).unwrap();
    assert_eq!(uses[4].path, "spec.volumes[1].image.reference");
    assert_eq!(uses[4].pointer, "/spec/volumes/1/image/reference");
}

#[test]
fn leaves_out_what_no_kubelet_would_run() {
    let spec = json!({
        "containers": [{"name": "a"}, {"image": ""}, {"image": null}],
        "initContainers": null,
        "volumes": [{"image": null}, {"image": {}}, {"image": {"reference": ""}}, {"image": {"reference": null}}],
    });
    assert_eq!(images(kind(POD), &json!({"spec": spec})).unwrap(), []);
}

#[test]
fn judges_texts_that_are_no_reference() {
    for text in [" ", "r.io/x ", "sha256:dead", "r.io/X", "\u{202e}"] {
        let uses = images(kind(POD), &json!({"spec": {"containers": [{"image": text}]}})).unwrap();
        assert_eq!(uses[0].text, text);
        assert!(uses[0].image.is_err(), "{text:?}");
    }
}

#[test]
fn rejects_fields_of_another_type_and_says_where() {
    let table = [
        (json!(null), "spec"),
        (json!({}), "spec"),
        (json!([]), "spec"),
        (json!({"spec": []}), "spec"),
        (json!({"spec": null}), "spec"),
        (json!({"spec": {}}), "spec.containers"),
        (json!({"spec": {"containers": null}}), "spec.containers"),
        (json!({"spec": {"containers": {}}}), "spec.containers"),
        (json!({"spec": {"Containers": [{"image": "x"}]}}), "spec.containers"),
        (json!({"spec": {"containers": [null]}}), "spec.containers[0]"),
        (json!({"spec": {"containers": [{}, "x"]}}), "spec.containers[1]"),
        (json!({"spec": {"containers": [{"image": 1}]}}), "spec.containers[0].image"),
        (json!({"spec": {"containers": [{"image": ["x"]}]}}), "spec.containers[0].image"),
        (
            json!({"spec": {"containers": [{"image": {"reference": "x"}}]}}),
            "spec.containers[0].image",
        ),
        (json!({"spec": {"containers": [{"image": false}]}}), "spec.containers[0].image"),
        (json!({"spec": {"containers": [], "initContainers": "x"}}), "spec.initContainers"),
        (json!({"spec": {"containers": [], "volumes": [{"image": "x"}]}}), "spec.volumes[0].image"),
        (
            json!({"spec": {"containers": [], "volumes": [{"image": {"reference": 1}}]}}),
            "spec.volumes[0].image.reference",
        ),
    ];
    for (object, wanted) in table {
        match images(kind(POD), &object) {
            Err(WorkloadError::Malformed { path, .. }) => assert_eq!(path, wanted, "{object}"),
            other => panic!("{object}: {other:?}"),
        }
    }
}

#[test]
fn rejects_kinds_that_are_not_covered() {
    for (group, version, name) in [
        ("", "v1", "Service"),
        ("apps", "v1", "Pod"),
        ("apps", "v1beta1", "Deployment"),
        ("extensions", "v1beta1", "Deployment"),
        ("batch", "v2", "Job"),
        ("example.com", "v1", "Deployment"),
        ("", "v1", "pod"),
        ("", "", ""),
    ] {
        let error = Kind::find(group, version, name).unwrap_err();
        assert!(
            matches!(&error, WorkloadError::NotCovered { kind, .. } if kind == name),
            "{error}"
        );
    }
    assert!(Kind::of(&json!({"kind": "Pod"})).is_err());
    assert_eq!(
        Kind::of(&json!({"apiVersion": "apps/v1", "kind": "DaemonSet"})),
        Ok(kind("DaemonSet"))
    );
    assert_eq!(Kind::of(&json!({"apiVersion": "v1", "kind": "Pod"})), Ok(kind(POD)));
}

#[test]
fn an_update_is_judged_on_the_texts_that_it_adds() {
    let kind = kind(POD);
    let old = wrap(kind, full_spec());
    assert_eq!(added_images(kind, &old, &old).unwrap(), []);

    let mut moved = full_spec();
    moved["containers"][0]["image"] = json!("r.io/f:1");
    assert_eq!(added_images(kind, &wrap(kind, moved), &old).unwrap(), []);

    let mut changed = full_spec();
    changed["ephemeralContainers"] = json!([{"image": "r.io/d:1"}, {"image": "r.io/evil:1"}]);
    changed["containers"][1]["image"] = json!("r.io/b:1@sha256:0");
    let added = added_images(kind, &wrap(kind, changed), &old).unwrap();
    assert_eq!(texts(&added), ["r.io/b:1@sha256:0", "r.io/evil:1"]);
    assert_eq!(added[1].path, "spec.ephemeralContainers[1].image");
}

#[test]
fn an_old_object_that_cannot_be_read_excuses_nothing() {
    let kind = kind(POD);
    let new = wrap(kind, full_spec());
    let mut broken = full_spec();
    broken["volumes"] = json!("x");
    for old in [json!(null), json!({}), wrap(kind, broken)] {
        assert_eq!(added_images(kind, &new, &old).unwrap().len(), 5, "{old}");
    }
}

#[test]
fn bounds_the_images_that_are_judged() {
    let kind = kind(POD);
    let object = |count: usize, tag: &str| {
        let list: Vec<Value> =
            (0..count).map(|i| json!({"image": format!("r.io/{i}:{tag}")})).collect();
        wrap(kind, json!({ "containers": list }))
    };
    assert_eq!(images(kind, &object(MAX_IMAGES, "a")).unwrap().len(), MAX_IMAGES);
    let error = images(kind, &object(MAX_IMAGES + 1, "a")).unwrap_err();
    assert_eq!(error, WorkloadError::TooManyImages { found: MAX_IMAGES + 1 });
    let stored = object(MAX_IMAGES + 1, "a");
    assert_eq!(added_images(kind, &stored, &stored).unwrap(), []);
    assert!(added_images(kind, &object(MAX_IMAGES + 1, "b"), &stored).is_err());
}

#[test]
fn patches_reach_image_fields_only() {
    for pointer in [
        "",
        "/spec/containers/0/command",
        "/spec/containers/0/image/",
        "/spec/containers/-/image",
        "/spec/containers//image",
        "/spec/containers/0/env/0/image",
        "/metadata/annotations/image",
        "/spec/volumes/0/image",
        "/spec/template/spec/other/0/image",
    ] {
        assert!(!is_image_pointer(pointer), "{pointer}");
    }
}
