//! Tegata has the rights of this table and no others.
use std::collections::BTreeSet;

use serde_json::Value;

use crate::support::RENDERINGS;
use crate::support::kind;
use crate::support::name;
use crate::support::objects;
use crate::support::read;
use crate::support::texts;

/// Each rule that is bound to Tegata's ServiceAccount: where, what, which, to do what.
fn rights(objects: &[Value]) -> BTreeSet<String> {
    let find = |reference: &Value, namespace: &Value| {
        objects.iter().find(|role| {
            role["kind"] == reference["kind"]
                && role["metadata"]["name"] == reference["name"]
                && (kind(role) == "ClusterRole" || role["metadata"]["namespace"] == *namespace)
        })
    };
    let mut rights = BTreeSet::new();
    for binding in objects.iter().filter(|object| kind(object).ends_with("RoleBinding")) {
        assert_eq!(binding["subjects"].as_array().unwrap().len(), 1, "{}", name(binding));
        let subject = &binding["subjects"][0];
        assert_eq!((kind(subject), subject["name"].as_str()), ("ServiceAccount", Some("tegata")));
        assert_eq!(subject["namespace"], "tegata-system");
        let role = find(&binding["roleRef"], &binding["metadata"]["namespace"]);
        let place = binding["metadata"]["namespace"].as_str().unwrap_or("everywhere");
        for rule in role.unwrap()["rules"].as_array().unwrap() {
            let group = texts(&rule["apiGroups"]).join(" ");
            let resources = texts(&rule["resources"]).join(" ");
            let names = texts(&rule["resourceNames"]).join(" ");
            let verbs = texts(&rule["verbs"]).join(" ");
            rights.insert(format!("{place} | {group} | {resources} | {names} | {verbs}"));
        }
    }
    rights
}

/// What every rendering has.
const ALWAYS: [&str; 6] = [
    "everywhere | tegata.dev | clusterimagepolicies imagepolicies trustroots |  | get list watch",
    "everywhere | tegata.dev | clusterimagepolicies/status imagepolicies/status trustroots/status |  | patch",
    "everywhere |  | namespaces |  | get list watch",
    "everywhere |  | events |  | create patch",
    "tegata-system | coordination.k8s.io | leases |  | create",
    "tegata-system | coordination.k8s.io | leases | tegata | get update",
];
const MUTATING: &str = "everywhere | admissionregistration.k8s.io | mutatingwebhookconfigurations | tegata | get list watch patch";
const VALIDATING: &str = "everywhere | admissionregistration.k8s.io | validatingwebhookconfigurations | tegata | get list watch patch";
const CREATE_SECRET: &str = "tegata-system |  | secrets |  | create";

fn expected(rendering: Option<&str>) -> Vec<&'static str> {
    match rendering {
        None => vec![
            MUTATING,
            VALIDATING,
            CREATE_SECRET,
            "tegata-system |  | secrets | tegata-tls | get list watch update",
            "tegata-system |  | configmaps secrets |  | get list watch",
            "everywhere |  | secrets serviceaccounts |  | get",
        ],
        Some("everything") => vec![
            MUTATING,
            VALIDATING,
            CREATE_SECRET,
            "tegata-system |  | secrets | serving | get list watch update",
            "tegata-system |  | configmaps secrets |  | get list watch",
            "team-a |  | configmaps secrets |  | get list watch",
            "team-a |  | secrets serviceaccounts |  | get",
            "team-b |  | secrets serviceaccounts |  | get",
        ],
        Some("cert-manager") => vec![
            "everywhere |  | configmaps secrets |  | get list watch",
            "everywhere |  | secrets serviceaccounts |  | get",
        ],
        Some("cert-manager-alone" | "own-certificate") => vec![
            "tegata-system |  | configmaps secrets |  | get list watch",
            "everywhere |  | secrets serviceaccounts |  | get",
        ],
        Some("smallest") => vec![
            MUTATING,
            VALIDATING,
            CREATE_SECRET,
            "tegata-system |  | secrets | tegata-tls | get list watch update",
            "tegata-system |  | configmaps secrets |  | get list watch",
        ],
        Some(other) => panic!("{other} is in no table"),
    }
}

#[test]
fn the_service_account_has_the_rights_of_the_table_and_no_others() {
    for rendering in RENDERINGS {
        let found = rights(&objects(rendering));
        let wanted = ALWAYS.into_iter().chain(expected(rendering)).map(str::to_owned).collect();
        assert_eq!(found, wanted, "{rendering:?}");
    }
}

#[test]
fn roles_for_people_are_about_the_policies_of_a_namespace() {
    let objects = objects(None);
    let aggregated: Vec<_> = objects
        .iter()
        .filter(|role| {
            let labels = role["metadata"]["labels"].as_object().unwrap();
            labels.keys().any(|key| key.contains("/aggregate-to-"))
        })
        .collect();
    assert_eq!(
        aggregated.iter().map(|role| name(role)).collect::<Vec<_>>(),
        ["tegata-admin", "tegata-view"]
    );
    for role in aggregated {
        assert_eq!(role["rules"].as_array().unwrap().len(), 1);
        assert_eq!(texts(&role["rules"][0]["resources"]), ["imagepolicies"]);
    }
}

#[test]
fn every_rule_says_why() {
    let text = read("charts/tegata/templates/rbac.yaml");
    let lines: Vec<_> = text.lines().collect();
    let mut rules = 0;
    for (index, line) in lines.iter().enumerate() {
        if line.trim_start().starts_with("- apiGroups:") {
            let above = lines[index - 1].trim_start();
            assert!(above.starts_with("# "), "rbac.yaml, line {}: {line}", index + 1);
            rules += 1;
        }
    }
    assert!(rules >= 12, "{rules}");
}
