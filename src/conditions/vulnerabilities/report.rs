//! The reports of scanners, in one form.
use std::fmt;

use serde_json::Value;

use crate::api::SeveritySpec;
use crate::conditions::text_at;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// A vulnerability that a scanner found.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Finding<'a> {
    /// Its id, and the ids of the same vulnerability elsewhere; the first is the scanner's.
    pub(super) ids: Vec<&'a str>,
    /// `None` where the scanner does not know it.
    pub(super) severity: Option<SeveritySpec>,
}

impl fmt::Display for Finding<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let id = self.ids.first().copied().unwrap_or_default();
        match self.severity {
            Some(severity) => write!(f, "{id} of severity {}", name(severity)),
            None => write!(f, "{id} of unknown severity"),
        }
    }
}

/// The name of a severity, as policies have it.
pub(super) const fn name(severity: SeveritySpec) -> &'static str {
    match severity {
        SeveritySpec::None => "none",
        SeveritySpec::Negligible => "negligible",
        SeveritySpec::Low => "low",
        SeveritySpec::Medium => "medium",
        SeveritySpec::High => "high",
        SeveritySpec::Critical => "critical",
    }
}

/// All findings of a scanner's result: Trivy's JSON (`Results`, version 2 of its schema) or
/// Grype's (`matches`).
pub(super) fn findings(result: Option<&Value>) -> Result<Vec<Finding<'_>>, Failure> {
    let Some(result) = result.filter(|result| result.is_object()) else {
        return Err(unusable("the report has no result"));
    };
    if result.get("runs").is_some() {
        return Err(unusable("the result is in SARIF, which does not state severities reliably"));
    }
    let trivy = result.get("SchemaVersion").is_some() || result.get("Results").is_some();
    match (trivy, result.get("matches")) {
        (true, None) => of_trivy(result),
        (false, Some(matches)) => of_grype(matches),
        (true, Some(_)) => Err(unusable("the result is of Trivy and of Grype at once")),
        (false, None) => Err(unusable("the result is of a form that is not known")),
    }
}

/// `Results[].Vulnerabilities[]`; both lists are absent where there is nothing to tell.
fn of_trivy(result: &Value) -> Result<Vec<Finding<'_>>, Failure> {
    if result.get("SchemaVersion").and_then(Value::as_u64) != Some(2) {
        return Err(unusable("the result is of another version of Trivy's schema than 2"));
    }
    let mut found = Vec::new();
    for target in list(result.get("Results"))? {
        if !target.is_object() {
            return Err(unusable("an element of Results is no object"));
        }
        for one in list(target.get("Vulnerabilities"))? {
            let id = text_at(one, "/VulnerabilityID").ok_or_else(|| unusable(NO_ID))?;
            found.push(Finding { ids: vec![id], severity: severity(text_at(one, "/Severity")) });
        }
    }
    Ok(found)
}

/// `matches[].vulnerability`, and the same under other names in `relatedVulnerabilities`.
fn of_grype(matches: &Value) -> Result<Vec<Finding<'_>>, Failure> {
    let mut found = Vec::new();
    for one in list(Some(matches))? {
        let id = text_at(one, "/vulnerability/id").ok_or_else(|| unusable(NO_ID))?;
        let related = list(one.get("relatedVulnerabilities"))?;
        let related = related.iter().filter_map(|related| text_at(related, "/id"));
        let ids = std::iter::once(id).chain(related).collect();
        let severity = severity(text_at(one, "/vulnerability/severity"));
        found.push(Finding { ids, severity });
    }
    Ok(found)
}

const NO_ID: &str = "the result has a vulnerability without an id";

/// A list; empty where it is absent or null, as Go writes lists without elements.
fn list(value: Option<&Value>) -> Result<&[Value], Failure> {
    match value {
        None | Some(Value::Null) => Ok(&[]),
        Some(Value::Array(list)) => Ok(list),
        Some(_) => Err(unusable("the result has something else where a list belongs")),
    }
}

fn severity(text: Option<&str>) -> Option<SeveritySpec> {
    match text?.to_ascii_lowercase().as_str() {
        "none" => Some(SeveritySpec::None),
        "negligible" => Some(SeveritySpec::Negligible),
        "low" => Some(SeveritySpec::Low),
        "medium" => Some(SeveritySpec::Medium),
        "high" => Some(SeveritySpec::High),
        "critical" => Some(SeveritySpec::Critical),
        _ => None,
    }
}

fn unusable(found: &str) -> Failure {
    let wanted = "the JSON of Trivy (`--format cosign-vuln`) or of Grype (`--output json`)";
    Failure::new(Reason::PredicateUnusable, found).wanted(wanted)
}
