//! Workloads and namespaces that nothing can be in, and modes without effect.
use std::collections::BTreeSet;

use super::Fields;
use super::Hint;
use super::repeated;
use crate::api;
use crate::api::LabelOperator;
use crate::policy::NAMESPACE_NAME;

/// The resources whose images are judged, by their group. Their version is `v1`.
pub(super) const RESOURCES: [(&str, &[&str]); 3] = [
    ("", &["pods", "podtemplates", "replicationcontrollers"]),
    ("apps", &["daemonsets", "deployments", "replicasets", "statefulsets"]),
    ("batch", &["cronjobs", "jobs"]),
];

pub(super) fn check(fields: Fields<'_>, hints: &mut Vec<Hint>) {
    let Fields { matches, namespaces, mode, on_unavailable, platforms, .. } = fields;
    repeated(matches, "spec.match", hints);
    for (index, spec) in matches.iter().enumerate() {
        let path = format!("spec.match[{index}]");
        if let Some(text) = never_matches(spec) {
            hints.push(Hint::new(&path, text));
        }
        if let Some(key) = spec.selector.as_ref().and_then(|spec| impossible(spec, false)) {
            let text = format!("no object has such labels: see what is asked of `{key}`");
            hints.push(Hint::new(format!("{path}.selector"), text));
        }
    }
    if let Some(key) = namespaces.and_then(|spec| impossible(spec, true)) {
        let text = format!("no namespace has such labels: see what is asked of `{key}`");
        hints.push(Hint::new("spec.namespaceSelector", text));
    }
    if platforms == api::PlatformsSpec::Any {
        let text = "nodes of the other platforms may run what nobody signed: write `all`, or `index` \
                    where the index is signed";
        hints.push(Hint::new("spec.platforms", text));
    }
    let without_effect = match (mode, on_unavailable) {
        (api::ModeSpec::Audit, api::OnUnavailableSpec::Allow | api::OnUnavailableSpec::Warn) => {
            Some("audit")
        }
        (api::ModeSpec::Warn, api::OnUnavailableSpec::Warn) => Some("warn"),
        (
            api::ModeSpec::Audit | api::ModeSpec::Enforce | api::ModeSpec::Warn,
            api::OnUnavailableSpec::Allow
            | api::OnUnavailableSpec::Deny
            | api::OnUnavailableSpec::Warn,
        ) => None,
    };
    if let Some(mode) = without_effect {
        let text = format!("it has no effect with `mode: {mode}`, which never denies");
        hints.push(Hint::new("spec.onUnavailable", text));
    }
}

/// Why no object that is judged is of this group, version and resource.
fn never_matches(spec: &api::WorkloadSelector) -> Option<String> {
    let api::WorkloadSelector { group, version, resource, selector: _ } = spec;
    let asked = |field: &Option<String>| field.clone().filter(|text| text != "*");
    let (group, version, resource) = (asked(group), asked(version), asked(resource));
    if let Some(version) = version.filter(|version| version != "v1") {
        return Some(format!("nothing is of version `{version}`: leave it out, or write `v1`"));
    }
    let group = group?;
    let Some((_, resources)) = RESOURCES.iter().find(|(known, _)| *known == group) else {
        return Some(format!(
            "nothing in group `{group}` is judged: leave it out, or write ``, `apps` or `batch`"
        ));
    };
    let resource = resource.filter(|resource| !resources.contains(&resource.as_str()))?;
    let home = RESOURCES.iter().find(|(_, all)| all.contains(&resource.as_str()))?;
    Some(format!("`{resource}` are in group `{}`, not in `{group}`: leave it out", home.0))
}

/// A label of which a selector asks what no value can be.
fn impossible(selector: &api::LabelSelector, of_namespace: bool) -> Option<&str> {
    let api::LabelSelector { match_labels, match_expressions } = selector;
    let keys: BTreeSet<&str> = match_labels
        .keys()
        .chain(match_expressions.iter().map(|expression| &expression.key))
        .map(String::as_str)
        .collect();
    keys.into_iter().find(|key| {
        let of_key = || match_expressions.iter().filter(|expression| expression.key == *key);
        let wants = |operator| of_key().any(|expression| expression.operator == operator);
        let fixed = match_labels.get(*key).map(std::slice::from_ref);
        let lists: Vec<&[String]> = fixed
            .into_iter()
            .chain(of_key().filter_map(|expression| {
                (expression.operator == LabelOperator::In).then_some(expression.values.as_slice())
            }))
            .collect();
        let refused = |value: &String| {
            of_key().any(|expression| {
                expression.operator == LabelOperator::NotIn && expression.values.contains(value)
            })
        };
        let always = of_namespace && *key == NAMESPACE_NAME;
        let there = always || !lists.is_empty() || wants(LabelOperator::Exists);
        let left = lists.first().is_none_or(|first| {
            first
                .iter()
                .any(|value| !refused(value) && lists.iter().all(|list| list.contains(value)))
        });
        !left || there && wants(LabelOperator::DoesNotExist)
    })
}
