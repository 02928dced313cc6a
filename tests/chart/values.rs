//! Values: documented, closed, and refused by path where they are wrong.
use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::RENDERINGS;
use crate::support::package;
use crate::support::read;
use crate::support::run;
use crate::support::template;
use crate::support::yaml;

#[test]
fn rejects_wrong_values_by_their_path() {
    let table = yaml("tests/chart/wrong_values.yaml");
    let rows = table.as_array().unwrap();
    assert!(rows.len() >= 50, "{}", rows.len());
    for row in rows {
        let (set, path) = (row["set"].as_str().unwrap(), row["path"].as_str().unwrap());
        let output = template(&["--set", set]);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{set} is rendered");
        assert!(said.contains(path), "{set}: wanted {path}, found {said}");
    }
}

#[test]
fn every_key_of_the_values_has_a_comment() {
    let text = read("charts/tegata/values.yaml");
    let lines: Vec<_> = text.lines().collect();
    let mut keys = 0;
    for (index, line) in lines.iter().enumerate() {
        let key = line.trim_start();
        if key.is_empty() || key.starts_with(['#', '-']) {
            continue;
        }
        let above = index.checked_sub(1).map_or("", |above| lines[above].trim_start());
        // The first peer of `metricsFrom` is explained as a whole.
        let peer = line.starts_with("        ") || line.starts_with("          ");
        assert!(above.starts_with("# ") || peer, "values.yaml, line {}: {line}", index + 1);
        keys += 1;
    }
    assert!(keys >= 80, "{keys}");
}

/// Paths of the keys of the chart's own settings: objects that the schema describes key by key.
fn keys(schema: &Value, path: &str, into: &mut BTreeSet<String>) {
    for (key, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}/{key}");
        if !matches!(path.as_str(), "/registries" | "/affinity" | "/global") {
            into.insert(path.clone());
            keys(property, &path, into);
        }
    }
}

fn schema_keys() -> BTreeSet<String> {
    let schema: Value = serde_json::from_str(&read("charts/tegata/values.schema.json")).unwrap();
    let mut all = BTreeSet::new();
    keys(&schema, "", &mut all);
    all
}

#[test]
fn every_key_of_the_schema_has_a_default() {
    let defaults = yaml("charts/tegata/values.yaml");
    let all = schema_keys();
    assert!(all.len() >= 80, "{}", all.len());
    for key in all {
        assert!(defaults.pointer(&key).is_some(), "values.yaml lacks {key}");
    }
}

/// Objects of the schema that take any key, each for its reason.
fn check_closed(schema: &Value, path: &str) {
    if schema["type"] == "object" && !path.ends_with("/if") && !path.ends_with("/then") {
        let open = schema.get("additionalProperties").is_none();
        // Parts of Kubernetes' own types, which the API server checks; a parent chart's settings.
        let known = ["Affinity", "KeyRef", "fieldRef", "resourceFieldRef", "global"];
        let known = known.iter().any(|end| path.ends_with(end)) || path.ends_with("AntiAffinity");
        assert_eq!(open, known, "{path}");
    }
    match schema {
        Value::Object(map) => {
            for (key, value) in map {
                check_closed(value, &format!("{path}/{key}"));
            }
        }
        Value::Array(list) => list.iter().for_each(|value| check_closed(value, path)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[test]
fn the_schema_is_closed() {
    let schema: Value = serde_json::from_str(&read("charts/tegata/values.schema.json")).unwrap();
    check_closed(&schema, "");
}

#[test]
fn the_tests_set_every_key_to_something_else() {
    let defaults = yaml("charts/tegata/values.yaml");
    let sets: Vec<_> = RENDERINGS
        .into_iter()
        .flatten()
        .map(|name| yaml(&format!("tests/chart/values/{name}.yaml")))
        .collect();
    for key in schema_keys() {
        let default = defaults.pointer(&key);
        let changed =
            sets.iter().any(|set| set.pointer(&key).is_some_and(|value| Some(value) != default));
        assert!(changed, "no file of tests/chart/values sets {key}");
    }
}

#[test]
fn notes_warn_of_risky_values() {
    let notes = |args: &[&str]| {
        let chart = package("charts/tegata");
        let fixed = ["install", "tegata", chart.to_str().unwrap(), "--dry-run=client"];
        let output = run("HELM", "helm", &[&fixed, args].concat());
        let text = String::from_utf8(output.stdout).unwrap();
        text.split("\nNOTES:\n").nth(1).unwrap_or_else(|| panic!("no notes: {text}")).to_owned()
    };
    let plain = notes(&[]);
    assert!(plain.contains("kind: ClusterImagePolicy") && plain.contains("helm test"), "{plain}");
    assert!(!plain.contains("WARNING"), "{plain}");
    for (set, wanted) in [
        ("webhooks.failurePolicy=Ignore", "every image is admitted unchecked"),
        ("replicas=1", "there is one replica"),
        ("exemptions.namespaces[0]=dev", "any image may run in dev"),
        ("exemptions.namespaceSelector.matchLabels.a=b", "whoever may label a namespace"),
        ("exemptions.objectSelector.matchLabels.a=b", "whoever may create a workload"),
        ("policyKeys.scope=everywhere", "can read every Secret"),
        ("image.tag=latest", "image.tag is latest"),
        ("offline=true,rekor.allow[0]=https://r.example", "rekor.allow has no effect"),
    ] {
        let notes = notes(&["--set", set]);
        assert!(notes.contains("WARNING") && notes.contains(wanted), "{set}: {notes}");
    }
}
