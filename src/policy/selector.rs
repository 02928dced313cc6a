//! Kubernetes label selectors.
use std::collections::BTreeMap;

use k8s_openapi::apimachinery::pkg::apis::meta::v1 as meta;

use crate::api;

/// A compiled label selector (`matchLabels`, `matchExpressions`): everything in it must hold, and
/// an empty one selects everything.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LabelSelector {
    requirements: Vec<Requirement>,
}

#[derive(Clone, Debug, Eq, PartialEq)]
enum Requirement {
    In { key: String, values: Vec<String> },
    NotIn { key: String, values: Vec<String> },
    Exists { key: String },
    DoesNotExist { key: String },
}

/// Why a selector cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: {problem}")]
pub struct SelectorError {
    /// The field within the selector, for example `matchExpressions[0].values`.
    pub field: String,
    /// What was found, in one clause.
    pub problem: String,
    /// What was wanted, in one clause.
    pub wanted: String,
}

impl LabelSelector {
    /// Whether the labels are those asked for.
    pub fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        self.requirements.iter().all(|requirement| requirement.is_met(labels))
    }

    /// Whether the labels may be those asked for, where only `known` ones can be told: a
    /// requirement on any other label counts as met.
    pub fn may_match(&self, known: &BTreeMap<String, String>) -> bool {
        let mut told = self.requirements.iter().filter(|one| known.contains_key(one.key()));
        told.all(|requirement| requirement.is_met(known))
    }
}

impl LabelSelector {
    /// The values of which the label `key` must have one, where that is asked.
    pub(super) fn values_of(&self, key: &str) -> Option<&[String]> {
        self.requirements.iter().find_map(|requirement| match requirement {
            Requirement::In { key: of, values } if of == key => Some(values.as_slice()),
            Requirement::In { .. }
            | Requirement::NotIn { .. }
            | Requirement::Exists { .. }
            | Requirement::DoesNotExist { .. } => None,
        })
    }
}

impl Requirement {
    fn key(&self) -> &str {
        match self {
            Self::In { key, .. }
            | Self::NotIn { key, .. }
            | Self::Exists { key }
            | Self::DoesNotExist { key } => key,
        }
    }

    fn is_met(&self, labels: &BTreeMap<String, String>) -> bool {
        match self {
            Self::In { key, values } => labels.get(key).is_some_and(|value| values.contains(value)),
            Self::NotIn { key, values } => {
                labels.get(key).is_none_or(|value| !values.contains(value))
            }
            Self::Exists { key } => labels.contains_key(key),
            Self::DoesNotExist { key } => !labels.contains_key(key),
        }
    }
}

impl TryFrom<&api::LabelSelector> for LabelSelector {
    type Error = SelectorError;

    fn try_from(spec: &api::LabelSelector) -> Result<Self, SelectorError> {
        let api::LabelSelector { match_labels, match_expressions } = spec;
        let mut requirements = Vec::new();
        for (key, value) in match_labels {
            check_key(key, || format!("matchLabels[{key}]"))?;
            check_value(value, || format!("matchLabels[{key}]"))?;
            requirements.push(Requirement::In { key: key.clone(), values: vec![value.clone()] });
        }
        for (index, expression) in match_expressions.iter().enumerate() {
            requirements.push(compile(expression, &format!("matchExpressions[{index}]"))?);
        }
        Ok(Self { requirements })
    }
}

impl TryFrom<&meta::LabelSelector> for LabelSelector {
    type Error = SelectorError;

    fn try_from(spec: &meta::LabelSelector) -> Result<Self, SelectorError> {
        let meta::LabelSelector { match_labels, match_expressions } = spec;
        let mut expressions = Vec::new();
        for (index, expression) in match_expressions.iter().flatten().enumerate() {
            let meta::LabelSelectorRequirement { key, operator, values } = expression;
            expressions.push(api::LabelExpression {
                key: key.clone(),
                operator: parse_operator(operator, index)?,
                values: values.clone().unwrap_or_default(),
            });
        }
        Self::try_from(&api::LabelSelector {
            match_labels: match_labels.clone().unwrap_or_default(),
            match_expressions: expressions,
        })
    }
}

fn parse_operator(operator: &str, index: usize) -> Result<api::LabelOperator, SelectorError> {
    match operator {
        "In" => Ok(api::LabelOperator::In),
        "NotIn" => Ok(api::LabelOperator::NotIn),
        "Exists" => Ok(api::LabelOperator::Exists),
        "DoesNotExist" => Ok(api::LabelOperator::DoesNotExist),
        other => Err(SelectorError {
            field: format!("matchExpressions[{index}].operator"),
            problem: format!("unknown operator `{other}`"),
            wanted: "one of In, NotIn, Exists and DoesNotExist".to_owned(),
        }),
    }
}

fn compile(expression: &api::LabelExpression, field: &str) -> Result<Requirement, SelectorError> {
    let api::LabelExpression { key, operator, values } = expression;
    check_key(key, || format!("{field}.key"))?;
    for value in values {
        check_value(value, || format!("{field}.values"))?;
    }
    let takes_values = matches!(operator, api::LabelOperator::In | api::LabelOperator::NotIn);
    if takes_values == values.is_empty() {
        let (problem, wanted) = if takes_values {
            ("no values are given", "at least one value for In and NotIn")
        } else {
            ("values are given", "no values for Exists and DoesNotExist")
        };
        return Err(SelectorError {
            field: format!("{field}.values"),
            problem: problem.to_owned(),
            wanted: wanted.to_owned(),
        });
    }
    let (key, values) = (key.clone(), values.clone());
    Ok(match operator {
        api::LabelOperator::In => Requirement::In { key, values },
        api::LabelOperator::NotIn => Requirement::NotIn { key, values },
        api::LabelOperator::Exists => Requirement::Exists { key },
        api::LabelOperator::DoesNotExist => Requirement::DoesNotExist { key },
    })
}

/// Kubernetes, "Labels and Selectors", syntax: an optional DNS prefix, then a name of at most 63.
fn check_key(key: &str, field: impl Fn() -> String) -> Result<(), SelectorError> {
    let (prefix, name) = key.rsplit_once('/').unwrap_or(("", key));
    let good_prefix = prefix.len() <= 253
        && prefix
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'.' || b == b'-');
    if !name.is_empty() && good_prefix && is_label_text(name) && !key.starts_with('/') {
        return Ok(());
    }
    Err(SelectorError {
        field: field(),
        problem: format!("`{key}` is no label key"),
        wanted: "a name of letters, digits, `-`, `_` and `.`, with an optional DNS prefix and `/`"
            .to_owned(),
    })
}

fn check_value(value: &str, field: impl Fn() -> String) -> Result<(), SelectorError> {
    if is_label_text(value) {
        return Ok(());
    }
    Err(SelectorError {
        field: field(),
        problem: format!("`{value}` is no label value"),
        wanted: "at most 63 letters, digits, `-`, `_` and `.`".to_owned(),
    })
}

fn is_label_text(text: &str) -> bool {
    let alphanumeric = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    text.len() <= 63
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_.".contains(c))
        && alphanumeric(text.chars().next())
        && alphanumeric(text.chars().last())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn selector(json: serde_json::Value) -> Result<LabelSelector, SelectorError> {
        LabelSelector::try_from(&serde_json::from_value::<api::LabelSelector>(json).unwrap())
    }

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        pairs.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect()
    }

    #[test]
    fn judges_only_what_is_known() {
        let name = "kubernetes.io/metadata.name";
        let known = labels(&[(name, "shop")]);
        for (selector, wanted) in [
            (serde_json::json!({ "matchLabels": { name: "shop" } }), true),
            (serde_json::json!({ "matchLabels": { name: "other" } }), false),
            (serde_json::json!({ "matchLabels": { "env": "prod" } }), true),
            (serde_json::json!({ "matchLabels": { "env": "prod", name: "other" } }), false),
            (
                serde_json::json!({ "matchExpressions": [
                    { "key": name, "operator": "NotIn", "values": ["shop"] },
                ] }),
                false,
            ),
        ] {
            let text = selector.to_string();
            assert_eq!(self::selector(selector).unwrap().may_match(&known), wanted, "{text}");
        }
    }

    #[test]
    fn every_requirement_must_hold() {
        let both = selector(serde_json::json!({
            "matchLabels": {"env": "prod"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}],
        }))
        .unwrap();
        assert!(both.matches(&labels(&[("env", "prod"), ("tier", "b")])));
        assert!(!both.matches(&labels(&[("env", "dev"), ("tier", "b")])));
        assert!(!both.matches(&labels(&[("env", "prod"), ("tier", "c")])));
        assert!(!both.matches(&labels(&[("env", "prod")])));
    }

    #[test]
    fn follows_kubernetes_on_absent_labels() {
        for (operator, values, absent, present, other) in [
            ("In", vec!["x"], false, true, false),
            ("NotIn", vec!["x"], true, false, true),
            ("Exists", vec![], false, true, true),
            ("DoesNotExist", vec![], true, false, false),
        ] {
            let selector = selector(serde_json::json!({
                "matchExpressions": [{"key": "k", "operator": operator, "values": values}],
            }))
            .unwrap();
            assert_eq!(selector.matches(&labels(&[])), absent, "{operator}");
            assert_eq!(selector.matches(&labels(&[("k", "x")])), present, "{operator}");
            assert_eq!(selector.matches(&labels(&[("k", "y")])), other, "{operator}");
        }
        assert!(LabelSelector::default().matches(&labels(&[])));
    }

    #[test]
    fn rejects_selectors_that_kubernetes_rejects() {
        for (json, field) in [
            (
                serde_json::json!({"matchExpressions": [{"key": "k", "operator": "In"}]}),
                "matchExpressions[0].values",
            ),
            (
                serde_json::json!(
                    {"matchExpressions": [{"key": "k", "operator": "Exists", "values": ["x"]}]}
                ),
                "matchExpressions[0].values",
            ),
            (serde_json::json!({"matchLabels": {"": "x"}}), "matchLabels[]"),
            (serde_json::json!({"matchLabels": {"a b": "x"}}), "matchLabels[a b]"),
            (serde_json::json!({"matchLabels": {"a": "-x"}}), "matchLabels[a]"),
        ] {
            assert_eq!(selector(json).unwrap_err().field, field);
        }
    }

    #[test]
    fn takes_kubernetes_own_type() {
        let spec = meta::LabelSelector {
            match_labels: None,
            match_expressions: Some(vec![meta::LabelSelectorRequirement {
                key: "k".to_owned(),
                operator: "Exists".to_owned(),
                values: None,
            }]),
        };
        let compiled = LabelSelector::try_from(&spec).unwrap();
        assert!(!compiled.matches(&labels(&[])));
        let bad = meta::LabelSelector {
            match_expressions: Some(vec![meta::LabelSelectorRequirement {
                key: "k".to_owned(),
                operator: "Gt".to_owned(),
                values: None,
            }]),
            ..meta::LabelSelector::default()
        };
        let error = LabelSelector::try_from(&bad).unwrap_err();
        assert_eq!(error.field, "matchExpressions[0].operator");
    }
}
