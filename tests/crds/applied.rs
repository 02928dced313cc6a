//! Policies as they are applied: what `/validate-policies` says of the invalid ones and of the
//! examples. `tests/e2e` applies the same table to an API server, where the schema comes first.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Decision;
use tegata::admission::policies;
use tegata::policy::compile::Keys;
use tegata::policy::compile::References;
use tegata::trust_root::TrustRoot;

use crate::package;

/// One row of `tests/e2e/invalid_policies.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Invalid {
    name: String,
    by: By,
    expect: Vec<String>,
    policy: Value,
}

#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
enum By {
    Schema,
    Webhook,
}

fn judge(policy: &Value) -> Decision {
    let kind = policy["kind"].as_str().unwrap();
    let resource = match kind {
        "ClusterImagePolicy" => "clusterimagepolicies",
        "ImagePolicy" => "imagepolicies",
        _ => "trustroots",
    };
    let version =
        |key: &str, of: &str| json!({"group": "tegata.dev", "version": "v1alpha1", key: of});
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "u",
            "kind": version("kind", kind),
            "resource": version("resource", resource),
            "operation": "CREATE",
            "name": policy["metadata"]["name"],
            "namespace": policy["metadata"]["namespace"],
            "object": policy,
        },
    });
    let default = Arc::new(TrustRoot::public_good());
    let named = ["demo", "private"].map(|name| (name.to_owned(), Arc::clone(&default)));
    let named = BTreeMap::from(named);
    let references = References { default, named, keys: Keys::NoCluster };
    policies::parse(review.to_string().as_bytes()).unwrap().judge(&references)
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple_with_options(text, serde_saphyr::options! {}).unwrap()
}

#[test]
fn every_invalid_policy_is_refused() {
    let text = fs::read_to_string(package("tests/e2e/invalid_policies.yaml")).unwrap();
    let rows: Vec<Invalid> =
        serde_saphyr::from_str_with_options(&text, serde_saphyr::options! {}).unwrap();
    assert!(rows.len() >= 45, "only {} rows", rows.len());
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "two rows have the same name");
    for Invalid { name, by, expect, policy } in &rows {
        let decision = judge(policy);
        assert!(!decision.allowed && !decision.retry, "{name} is admitted");
        assert!(decision.message.starts_with("spec"), "{name}: {}", decision.message);
        assert!(!expect.is_empty(), "{name} expects nothing");
        if *by == By::Webhook {
            for text in expect {
                let message = &decision.message;
                assert!(message.contains(text.as_str()), "{name}: `{text}` is not in {message}");
            }
        }
    }
    for by in [By::Schema, By::Webhook] {
        assert!(rows.iter().filter(|row| row.by == by).count() >= 10, "{by:?}");
    }
}

#[test]
fn every_example_is_admitted_without_a_warning() {
    let mut seen = 0;
    for folder in ["examples/policies", "examples/demo/policies"] {
        for entry in fs::read_dir(package(folder)).unwrap() {
            let file = entry.unwrap().path();
            if file.extension().is_none_or(|ending| ending != "yaml") {
                continue;
            }
            for policy in documents(&fs::read_to_string(&file).unwrap()) {
                let decision = judge(&policy);
                let file = file.display();
                if policy.pointer("/spec/trustedRoot/file").is_some() {
                    assert!(decision.message.contains("cannot name a file"), "{file}");
                    continue;
                }
                assert!(decision.allowed, "{file}: {}", decision.message);
                assert_eq!(decision.warnings, [] as [&str; 0], "{file}");
                seen += 1;
            }
        }
    }
    assert!(seen >= 7, "only {seen} examples");
}
