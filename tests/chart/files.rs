//! Generated files are current; renderings are what Kubernetes takes.
use std::fs;

use serde_json::Value;

use crate::support::NAMESPACE;
use crate::support::RENDERINGS;
use crate::support::documents;
use crate::support::kind;
use crate::support::name;
use crate::support::objects;
use crate::support::of_kind;
use crate::support::only;
use crate::support::package;
use crate::support::read;
use crate::support::rendered;
use crate::support::run;
use crate::support::values_file;

/// Set to write generated files in place of comparing them.
const BLESS: &str = "TEGATA_BLESS";

const CHART_CRDS: &str = "charts/tegata/files/crds.yaml";

fn compare(path: &str, generated: &str) {
    if std::env::var_os(BLESS).is_some() {
        fs::write(package(path), generated).unwrap();
    }
    assert!(read(path) == generated, "{path} is out of date: run `make chart`");
}

/// The namespace, which helm does not render, and the rendering with default values.
fn install() -> String {
    // The file that is rendered must be current itself.
    compare(CHART_CRDS, &read("manifests/crds.yaml"));
    let head = "\
# Generated from charts/tegata by `make chart`: everything for `kubectl apply --server-side -f`.
# To remove it, first delete the webhooks, so that nothing waits for Tegata:
#   kubectl delete validatingwebhookconfiguration,mutatingwebhookconfiguration tegata
# Deleting this file's objects deletes the definitions too, and with them every policy.
---
apiVersion: v1
kind: Namespace
metadata:
  name: tegata-system
  labels:
    pod-security.kubernetes.io/enforce: restricted
    pod-security.kubernetes.io/enforce-version: latest
";
    format!("{head}{}", rendered(&["--skip-tests"]))
}

#[test]
fn generated_files_are_current() {
    compare("manifests/install.yaml", &install());
    compare(CHART_CRDS, &read("manifests/crds.yaml"));
}

#[test]
fn definitions_are_the_generated_ones_and_are_kept() {
    let generated = documents(&read("manifests/crds.yaml"));
    for (rendering, keep) in [(None, true), (Some("everything"), false)] {
        let rendered = objects(rendering);
        let rendered = of_kind(&rendered, "CustomResourceDefinition");
        assert_eq!(rendered.len(), generated.len());
        for (rendered, generated) in rendered.into_iter().zip(&generated) {
            let annotations = &rendered["metadata"]["annotations"];
            assert_eq!(annotations["helm.sh/resource-policy"] == "keep", keep, "{annotations}");
            assert_eq!(name(rendered), name(generated));
            let same = whole(&rendered["spec"]) == whole(&generated["spec"]);
            assert!(same, "{}: its spec is not the generated one", name(rendered));
        }
    }
    assert!(of_kind(&objects(Some("smallest")), "CustomResourceDefinition").is_empty());
}

/// The same value with every number as YAML would write it: helm reads `32` as `32.0`.
fn whole(value: &Value) -> Value {
    match value {
        Value::Number(number) => number.as_f64().unwrap().into(),
        Value::Array(list) => list.iter().map(whole).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), whole(value))).collect(),
        Value::Null | Value::Bool(_) | Value::String(_) => value.clone(),
    }
}

#[test]
fn lint_has_nothing_to_say() {
    let chart = package("charts/tegata");
    for rendering in RENDERINGS {
        let file = rendering.map(values_file);
        let mut args = vec!["lint", "--strict", "--quiet", chart.to_str().unwrap()];
        args.extend(file.iter().flat_map(|file| ["--values", file.to_str().unwrap()]));
        let output = run("HELM", "helm", &args);
        let text = String::from_utf8_lossy(&output.stdout);
        assert!(output.status.success() && !text.contains("WARNING"), "{rendering:?}: {text}");
    }
}

/// Kinds whose schema is not Kubernetes' own.
const FOREIGN: [&str; 4] = ["Certificate", "Issuer", "PrometheusRule", "ServiceMonitor"];

/// Validates each object against the schema of a version, unknown fields refused.
fn validate(version: &str, objects: &[Value]) -> Result<usize, String> {
    let file = tempfile::NamedTempFile::with_suffix(".yaml").unwrap();
    let known: Vec<_> = objects.iter().filter(|object| !FOREIGN.contains(&kind(object))).collect();
    fs::write(file.path(), serde_saphyr::to_string_multiple(&known).unwrap()).unwrap();
    let args = ["-k", version, "--strict", file.path().to_str().unwrap()];
    let output = run("KUBERNETES_VALIDATE", "kubernetes-validate", &args);
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    let passed = said.lines().filter(|line| line.contains(" passed ")).count();
    if output.status.success() && passed == known.len() { Ok(passed) } else { Err(said.into()) }
}

#[test]
fn renderings_are_valid_for_kubernetes() {
    for rendering in RENDERINGS {
        let objects = objects(rendering);
        for version in ["1.33", "1.36"] {
            let passed = validate(version, &objects);
            assert!(
                passed.as_ref().is_ok_and(|n| *n >= 10),
                "{rendering:?}, {version}: {passed:?}"
            );
        }
    }
}

#[test]
fn rejects_an_object_that_is_invalid_for_kubernetes() {
    let mut objects = objects(None);
    let deployment = objects.iter_mut().find(|object| kind(object) == "Deployment").unwrap();
    deployment["spec"]["replica"] = 2.into();
    let said = validate("1.36", &objects).unwrap_err();
    assert!(said.contains("replica"), "{said}");
}

#[test]
fn every_object_of_a_namespace_says_which() {
    let cluster = [
        "ClusterRole",
        "ClusterRoleBinding",
        "CustomResourceDefinition",
        "MutatingWebhookConfiguration",
        "ValidatingWebhookConfiguration",
    ];
    for rendering in RENDERINGS {
        for object in objects(rendering) {
            let namespace = object["metadata"]["namespace"].as_str();
            let elsewhere = kind(&object) == "RoleBinding" && namespace.is_some();
            let wanted = (!cluster.contains(&kind(&object))).then_some(NAMESPACE);
            assert!(namespace == wanted || elsewhere, "{} {}", kind(&object), name(&object));
        }
    }
}

#[test]
fn the_dashboard_is_json_and_alerts_name_their_release() {
    let objects = objects(Some("everything"));
    let maps = of_kind(&objects, "ConfigMap");
    let text = maps.iter().find_map(|map| map["data"]["tegata.json"].as_str()).unwrap();
    let dashboard: Value = serde_json::from_str(text).unwrap();
    assert!(dashboard["panels"].as_array().unwrap().len() >= 8);
    let rules = &only(&objects, "PrometheusRule")["spec"]["groups"][0]["rules"];
    assert!(rules.as_array().unwrap().len() >= 6);
    for rule in rules.as_array().unwrap() {
        let expression = rule["expr"].as_str().unwrap();
        assert!(expression.contains("namespace=\"tegata-system\",service=\"tegata\""), "{rule}");
        assert!(!expression.contains("SELECTOR"), "{rule}");
    }
}
