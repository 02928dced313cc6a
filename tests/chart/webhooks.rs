//! What the API server asks Tegata, and about what.
use std::collections::BTreeSet;

use serde_json::Value;
use serde_json::json;

use crate::support::NAMESPACE;
use crate::support::RENDERINGS;
use crate::support::kind;
use crate::support::objects;
use crate::support::of_kind;
use crate::support::texts;

/// Every webhook of a rendering, with the kind of its configuration.
fn webhooks(objects: &[Value]) -> Vec<(&str, &Value)> {
    let mut all = Vec::new();
    for object in objects {
        let hooks = object["webhooks"].as_array();
        all.extend(hooks.into_iter().flatten().map(|hook| (kind(object), hook)));
    }
    all
}

fn webhook<'a>(objects: &'a [Value], name: &str) -> &'a Value {
    webhooks(objects).into_iter().find(|(_, hook)| hook["name"] == name).unwrap().1
}

#[test]
fn every_webhook_fails_closed_and_asks_in_full() {
    for rendering in RENDERINGS {
        let objects = objects(rendering);
        let webhooks = webhooks(&objects);
        assert_eq!(webhooks.len(), if rendering == Some("own-certificate") { 2 } else { 3 });
        for (kind, hook) in webhooks {
            let name = hook["name"].as_str().unwrap();
            let lenient = rendering == Some("smallest") && name != "policies.tegata.dev";
            assert_eq!(hook["failurePolicy"], if lenient { "Ignore" } else { "Fail" }, "{name}");
            let timeout = if rendering == Some("everything") { 15 } else { 10 };
            assert_eq!(hook["timeoutSeconds"], timeout, "{name}");
            assert_eq!(hook["matchPolicy"], "Equivalent", "{name}");
            assert_eq!(hook["sideEffects"], "None", "{name}");
            assert_eq!(hook["admissionReviewVersions"], json!(["v1"]), "{name}");
            let again = (kind == "MutatingWebhookConfiguration").then_some("IfNeeded");
            assert_eq!(hook.get("reinvocationPolicy").and_then(Value::as_str), again, "{name}");
            let service = &hook["clientConfig"]["service"];
            let path = match name {
                "mutate.tegata.dev" => "/mutate",
                "validate.tegata.dev" => "/validate",
                _ => "/validate-policies",
            };
            let wanted =
                json!({ "name": "tegata", "namespace": NAMESPACE, "path": path, "port": 443 });
            assert_eq!(*service, wanted);
        }
    }
}

/// Group, resource and operation of every rule, flat.
fn rules(hook: &Value) -> BTreeSet<String> {
    let mut flat = BTreeSet::new();
    for rule in hook["rules"].as_array().unwrap() {
        for group in texts(&rule["apiGroups"]) {
            for resource in texts(&rule["resources"]) {
                for operation in texts(&rule["operations"]) {
                    let (version, scope) = (texts(&rule["apiVersions"]).join(","), &rule["scope"]);
                    let scope = scope.as_str().unwrap();
                    flat.insert(format!("{operation} {group}/{version} {resource} {scope}"));
                }
            }
        }
    }
    flat
}

fn both(resources: &[&str]) -> BTreeSet<String> {
    let operations = ["CREATE", "UPDATE"];
    let flat = operations.iter().flat_map(|op| resources.iter().map(move |r| format!("{op} {r}")));
    flat.collect()
}

const PODS: [&str; 2] = ["/v1 pods Namespaced", "/v1 pods/ephemeralcontainers Namespaced"];
const ALL: [&str; 10] = [
    PODS[0],
    PODS[1],
    "/v1 podtemplates Namespaced",
    "/v1 replicationcontrollers Namespaced",
    "apps/v1 daemonsets Namespaced",
    "apps/v1 deployments Namespaced",
    "apps/v1 replicasets Namespaced",
    "apps/v1 statefulsets Namespaced",
    "batch/v1 cronjobs Namespaced",
    "batch/v1 jobs Namespaced",
];

#[test]
fn every_object_that_names_images_is_asked_about() {
    for rendering in RENDERINGS {
        let objects = objects(rendering);
        assert_eq!(rules(webhook(&objects, "validate.tegata.dev")), both(&ALL), "{rendering:?}");
        let mutated: &[&str] = match rendering {
            Some("own-certificate") => {
                assert!(of_kind(&objects, "MutatingWebhookConfiguration").is_empty());
                continue;
            }
            Some("everything") => &ALL,
            _ => &PODS,
        };
        assert_eq!(rules(webhook(&objects, "mutate.tegata.dev")), both(mutated), "{rendering:?}");
    }
}

#[test]
fn policies_are_asked_about_in_every_version() {
    let ours = ["clusterimagepolicies", "imagepolicies", "trustroots"]
        .map(|resource| format!("tegata.dev/* {resource} *"));
    let wanted = both(&ours.each_ref().map(String::as_str));
    for rendering in RENDERINGS {
        let objects = objects(rendering);
        let hook = webhook(&objects, "policies.tegata.dev");
        assert_eq!(rules(hook), wanted);
        assert!(hook.get("objectSelector").is_none());
        assert_eq!(exempt(hook), [NAMESPACE]);
    }
}

/// Namespaces that a webhook leaves out by name.
fn exempt(hook: &Value) -> Vec<&str> {
    let first = &hook["namespaceSelector"]["matchExpressions"][0];
    assert_eq!(first["key"], "kubernetes.io/metadata.name");
    assert_eq!(first["operator"], "NotIn");
    texts(&first["values"])
}

#[test]
fn nobody_is_exempt_but_the_system_and_whom_values_name() {
    for rendering in RENDERINGS {
        let objects = objects(rendering);
        for (_, hook) in webhooks(&objects) {
            if hook["name"] == "policies.tegata.dev" {
                continue;
            }
            let selector = &hook["namespaceSelector"];
            if rendering == Some("everything") {
                assert_eq!(exempt(hook), [NAMESPACE, "kube-system", "calico-system"]);
                assert_eq!(selector["matchLabels"], json!({ "checked": "yes" }));
                assert_eq!(selector["matchExpressions"].as_array().unwrap().len(), 2);
                assert_eq!(hook["objectSelector"]["matchLabels"], json!({ "app": "web" }));
            } else {
                assert_eq!(exempt(hook), [NAMESPACE, "kube-system"]);
                assert!(selector.get("matchLabels").is_none());
                assert_eq!(selector["matchExpressions"].as_array().unwrap().len(), 1);
                assert!(hook.get("objectSelector").is_none());
            }
        }
    }
}

/// A condition that left an image out would admit it unchecked; tests/e2e has it evaluated.
#[test]
fn the_only_condition_is_that_an_update_changes_spec_or_template() {
    let wanted = "request.operation != 'UPDATE' \
        || has(object.spec) != has(oldObject.spec) \
        || (has(object.spec) && object.spec != oldObject.spec) \
        || has(object.template) != has(oldObject.template) \
        || (has(object.template) && object.template != oldObject.template)";
    for rendering in RENDERINGS {
        for (_, hook) in webhooks(&objects(rendering)) {
            let conditions = hook["matchConditions"].as_array().unwrap();
            assert_eq!(conditions.len(), 1);
            assert_eq!(conditions[0]["expression"], wanted);
        }
    }
}

#[test]
fn the_authority_is_rendered_only_where_the_administrator_gives_it() {
    for rendering in RENDERINGS {
        for object in objects(rendering) {
            let annotation =
                object["metadata"]["annotations"]["cert-manager.io/inject-ca-from"].as_str();
            for hook in object["webhooks"].as_array().into_iter().flatten() {
                let bundle = hook["clientConfig"].get("caBundle").is_some();
                assert_eq!(bundle, rendering == Some("own-certificate"), "{rendering:?}");
                let injected = rendering.is_some_and(|name| name.starts_with("cert-manager"));
                assert_eq!(annotation, injected.then_some("tegata-system/tegata"), "{rendering:?}");
            }
        }
    }
}
