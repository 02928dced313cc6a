//! Policies as they are applied: what `/validate-policies` says of the invalid ones and of the
//! examples. `tests/e2e` applies the same table to an API server, where the schema comes first.
use std::collections::BTreeMap;
use std::fs;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;
use tegata::admission::Decision;
use tegata::admission::policies;
use tegata::policy::compile::Entry;
use tegata::policy::compile::KeyHolder;
use tegata::policy::compile::KeyPlace;
use tegata::policy::compile::Keys;
use tegata::policy::compile::References;
use tegata::trust_root::TrustRoot;

use crate::invalid_policies;
use crate::invalid_policies::By;
use crate::invalid_policies::Invalid;
use crate::package;

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
    // The trust roots of the examples, which are applied before policies that name them.
    let named = ["acme-log", "acme-sigstore", "carried-in", "demo", "private"];
    let named = named.map(|name| (name.to_owned(), Arc::clone(&default)));
    let named = BTreeMap::from(named);
    let key = KeyPlace {
        kind: KeyHolder::Secret,
        namespace: "tegata-system".to_owned(),
        name: "platform-key".to_owned(),
        entry: Entry::Named("cosign.pub".to_owned()),
    };
    let pem = fs::read_to_string(package("examples/trust/cosign.pub")).unwrap();
    let found = BTreeMap::from([(key, Ok(pem))]);
    let keys = Keys::Cluster { own_namespace: "tegata-system".to_owned(), found };
    let references = References { default, named, keys };
    policies::parse(review.to_string().as_bytes()).unwrap().judge(&references)
}

fn documents(text: &str) -> Vec<Value> {
    serde_saphyr::from_multiple_with_options(text, serde_saphyr::options! {}).unwrap()
}

#[test]
fn every_invalid_policy_is_refused() {
    for Invalid { name, by, expect, policy } in invalid_policies::rows() {
        let decision = judge(&policy);
        assert!(!decision.allowed && !decision.retry, "{name} is admitted");
        assert!(decision.message.starts_with("spec"), "{name}: {}", decision.message);
        if by == By::Webhook {
            for text in expect {
                let message = &decision.message;
                assert!(message.contains(text.as_str()), "{name}: `{text}` is not in {message}");
            }
        }
    }
}

#[test]
fn every_example_is_admitted_without_a_warning() {
    let mut seen = 0;
    for folder in ["examples/policies", "examples/policies/in-cluster", "examples/demo/policies"] {
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
    assert!(seen >= 8, "only {seen} examples");
}
