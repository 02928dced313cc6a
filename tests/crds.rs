//! The committed definitions are the generated ones, and every example can be applied.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use tegata::commands::crds;
use tegata::files;
use tegata::policy::PolicyState;
use tegata::trust_root::TrustRoot;

#[path = "crds/applied.rs"]
mod applied;
#[path = "support/invalid_policies.rs"]
mod invalid_policies;

fn package(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

#[test]
fn the_committed_definitions_are_the_generated_ones() {
    let generated = crds::yaml().unwrap();
    let file = package("manifests/crds.yaml");
    if std::env::var_os("TEGATA_BLESS").is_some() {
        fs::write(&file, &generated).unwrap();
    }
    let committed = fs::read_to_string(&file).unwrap();
    assert!(
        committed == generated,
        "manifests/crds.yaml is out of date: run TEGATA_BLESS=1 cargo test --test crds"
    );
}

#[test]
fn the_yaml_reads_back_as_the_definitions() {
    let options = serde_saphyr::options! {};
    let yaml = crds::yaml().unwrap();
    let read: Vec<Value> = serde_saphyr::from_multiple_with_options(&yaml, options).unwrap();
    let definitions = crds::definitions().map(|crd| serde_json::to_value(crd).unwrap());
    assert_eq!(read, definitions);
}

fn schema(index: usize) -> Value {
    let crd = serde_json::to_value(&crds::definitions()[index]).unwrap();
    crd["spec"]["versions"][0]["schema"]["openAPIV3Schema"].clone()
}

#[test]
fn names_scopes_and_columns_are_those_of_the_documentation() {
    let found = crds::definitions().map(|crd| {
        let names = &crd.spec.names;
        let version = &crd.spec.versions[0];
        assert!(version.subresources.as_ref().is_some_and(|s| s.status.is_some()));
        assert!(version.additional_printer_columns.as_ref().is_some_and(|c| c.len() >= 3));
        let short = names.short_names.clone().unwrap().join(",");
        (names.plural.clone(), crd.spec.scope.clone(), short)
    });
    let expected = [
        ("clusterimagepolicies", "Cluster", "tcip"),
        ("imagepolicies", "Namespaced", "tip"),
        ("trustroots", "Cluster", "ttr"),
    ];
    assert_eq!(found, expected.map(|(a, b, c)| (a.to_owned(), b.to_owned(), c.to_owned())));
}

/// Kubernetes, "Specifying a structural schema": a type at every level or free form said so, no
/// `additionalProperties: false` beside properties, no `$ref`, no composition with structure in it.
/// And no format that it does not know, of which `kubectl` warns.
fn check_structural(schema: &Value, path: &str) {
    let free = schema["x-kubernetes-preserve-unknown-fields"] == Value::Bool(true)
        || schema["x-kubernetes-int-or-string"] == Value::Bool(true);
    assert!(schema["type"].is_string() || free, "{path} has no type: {schema}");
    for word in [
        "$ref",
        "definitions",
        "$defs",
        "patternProperties",
        "const",
        "oneOf",
        "anyOf",
        "allOf",
        "not",
    ] {
        assert!(schema.get(word).is_none(), "{path} has {word}: {schema}");
    }
    if let Some(format) = schema.get("format") {
        assert!(["date-time", "int32", "int64"].contains(&format.as_str().unwrap()), "{path}");
    }
    if schema.get("properties").is_some() {
        assert!(schema.get("additionalProperties").is_none(), "{path}");
    }
    if let (Some(default), Some(least)) = (schema.get("default"), schema["minItems"].as_u64()) {
        assert!(default.as_array().unwrap().len() as u64 >= least, "{path}: {default}");
    }
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        check_structural(property, &format!("{path}.{name}"));
    }
    for word in ["items", "additionalProperties"] {
        if let Some(inner) = schema.get(word) {
            check_structural(inner, &format!("{path}[]"));
        }
    }
}

#[test]
fn the_schemas_are_structural() {
    for index in 0..3 {
        let schema = schema(index);
        check_structural(&schema, "");
        assert!(schema["required"].as_array().is_some_and(|r| r.contains(&"spec".into())));
    }
}

#[test]
fn fields_that_are_not_supported_are_kept_by_the_api_server() {
    let spec = &schema(0)["properties"]["spec"];
    let authority = &spec["properties"]["authorities"]["items"]["properties"];
    for field in [
        &spec["properties"]["policy"],
        &authority["attestations"]["items"],
        &authority["keyless"]["properties"]["ca-cert"],
    ] {
        assert_eq!(field["x-kubernetes-preserve-unknown-fields"], Value::Bool(true), "{field}");
    }
    let root = &schema(2)["properties"]["spec"]["properties"]["trustedRoot"];
    assert_eq!(root["x-kubernetes-preserve-unknown-fields"], Value::Bool(true));
}

#[test]
fn rules_have_messages_and_the_schema_says_what_it_can() {
    let spec = &schema(1)["properties"]["spec"];
    let authority = &spec["properties"]["authorities"]["items"];
    let identity = &authority["properties"]["keyless"]["properties"]["identities"]["items"];
    for (place, least) in [(spec, 2), (authority, 3), (identity, 2)] {
        let rules = place["x-kubernetes-validations"].as_array().unwrap();
        assert!(rules.len() >= least);
        for rule in rules {
            assert!(rule["message"].as_str().is_some_and(|m| m.len() > 20), "{rule}");
        }
    }
    assert_eq!(spec["properties"]["images"]["minItems"], 1);
    assert_eq!(spec["properties"]["authorities"]["minItems"], 1);
    assert_eq!(spec["properties"]["mode"]["enum"], serde_json::json!(["enforce", "warn", "audit"]));
    assert_eq!(spec["properties"]["mode"]["default"], "enforce");
    assert_eq!(spec["required"], serde_json::json!(["authorities", "images"]));
    assert_eq!(spec["properties"]["threshold"]["nullable"], true, "an empty field is kept");
    assert!(spec["properties"]["mode"].get("nullable").is_none());
    assert!(spec["properties"].get("namespaceSelector").is_none());
    assert!(schema(0)["properties"]["spec"]["properties"].get("namespaceSelector").is_some());
}

#[test]
fn every_example_compiles() {
    let folder = package("examples/policies");
    let loaded = files::load_strict(&[folder], &Arc::new(TrustRoot::public_good()))
        .unwrap_or_else(|problem| panic!("{problem}"));
    let policies = loaded.snapshot.policies();
    assert!(policies.len() >= 6, "{}", policies.len());
    assert!(policies.iter().all(|policy| matches!(policy, PolicyState::Ready(_))));
    for name in ["acme-log", "acme-sigstore", "carried-in", "private"] {
        assert!(loaded.trust_roots.contains_key(name), "{name}");
    }
}

#[test]
fn every_example_can_be_read_on_its_own() {
    for entry in fs::read_dir(package("examples/policies")).unwrap() {
        let file = entry.unwrap().path();
        if file.extension().is_some_and(|ending| ending == "yaml") {
            let loaded = files::load(&[file], &Arc::new(TrustRoot::public_good())).unwrap();
            assert_eq!(loaded.problems, []);
        }
    }
}
