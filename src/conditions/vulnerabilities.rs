//! What a report on vulnerabilities may say: cosign's predicate `vuln/v1` (cosign's
//! `COSIGN_VULN_ATTESTATION_SPEC.md`) with the result of Trivy or Grype.
use std::collections::BTreeSet;

use jiff::SignedDuration;
use jiff::Timestamp;

use super::MAX_VULNERABILITIES;
use super::RuleError;
use super::Statement;
use super::at_most;
use super::matcher;
use super::text_at;
use crate::api;
use crate::api::SeveritySpec;
use crate::policy::TextMatcher;
use crate::verdict::Failure;
use crate::verdict::Reason;

mod report;

/// Longest `maxAge`, in seconds: ten years. Beyond it, there is nothing to check.
pub(super) const MAX_AGE_SECONDS: i64 = 10 * 366 * 24 * 60 * 60;

/// Compiled demands.
#[derive(Debug)]
pub(super) struct Demands {
    max_severity: SeveritySpec,
    max_age: Option<SignedDuration>,
    /// In upper case.
    allow: BTreeSet<String>,
    scanner: Option<TextMatcher>,
}

pub(super) fn compile(spec: &api::VulnerabilitiesSpec, path: &str) -> Result<Demands, RuleError> {
    let api::VulnerabilitiesSpec { max_severity, max_age, allow, scanner } = spec;
    at_most(&format!("{path}.allow"), allow.len(), MAX_VULNERABILITIES)?;
    let age = |text: &String| {
        parse_age(text).ok_or_else(|| {
            let wanted = "a number with `s`, `m`, `h` or `d`, for example `24h`, up to ten years";
            RuleError::new(format!("{path}.maxAge"), format!("`{text}` is no age"), wanted)
        })
    };
    Ok(Demands {
        max_severity: *max_severity,
        max_age: max_age.as_ref().map(age).transpose()?,
        allow: allow.iter().map(|id| id.trim().to_ascii_uppercase()).collect(),
        scanner: scanner
            .as_ref()
            .map(|spec| matcher(spec, &format!("{path}.scanner")))
            .transpose()?,
    })
}

/// A number and one of `s`, `m`, `h`, `d`.
fn parse_age(text: &str) -> Option<SignedDuration> {
    let unit = text.chars().next_back()?;
    let seconds = match unit {
        's' => 1,
        'm' => 60,
        'h' => 60 * 60,
        'd' => 24 * 60 * 60,
        _ => return None,
    };
    let number = text.strip_suffix(unit)?;
    if !number.chars().all(|c| c.is_ascii_digit()) {
        return None;
    }
    let seconds = number.parse::<i64>().ok()?.checked_mul(seconds)?;
    (1..=MAX_AGE_SECONDS).contains(&seconds).then(|| SignedDuration::from_secs(seconds))
}

impl Demands {
    /// Checks scanner, age and findings.
    pub(super) fn check(&self, statement: &Statement, now: Timestamp) -> Result<(), Failure> {
        let Self { max_severity, max_age, allow, scanner } = self;
        let predicate = statement.predicate();
        if let Some(wanted) = scanner {
            // One that is not named is nobody, whatever the matcher makes of an empty text.
            let found = match text_at(predicate, "/scanner/uri") {
                Some(found) if wanted.matches(found) => None,
                Some(found) => Some(format!("a report of scanner `{found}`")),
                None => Some("a report that names no scanner".to_owned()),
            };
            if let Some(found) = found {
                return Err(Failure::new(Reason::PredicateUnusable, found).wanted(wanted));
            }
        }
        check_age(text_at(predicate, "/metadata/scanFinishedOn"), *max_age, now)?;
        let findings = report::findings(predicate.pointer("/scanner/result"))?;
        let bad = findings.iter().filter(|finding| {
            let tolerated = finding.ids.iter().any(|id| allow.contains(&id.to_ascii_uppercase()));
            !tolerated && finding.severity.is_none_or(|severity| severity > *max_severity)
        });
        // An unknown severity is the worst: it may be any.
        let Some(worst) = bad.clone().max_by_key(|f| (f.severity.is_none(), f.severity)) else {
            return Ok(());
        };
        let more = bad.count() - 1;
        let also = if more == 0 { String::new() } else { format!(" and {more} more") };
        let found = format!("{worst}{also}");
        let wanted = format!("a severity of at most {}", report::name(*max_severity));
        Err(Failure::new(Reason::VulnerabilityFound, found).wanted(wanted))
    }
}

/// The end of the scan must be there, must have been, and must not be too long ago.
fn check_age(
    text: Option<&str>,
    max_age: Option<SignedDuration>,
    now: Timestamp,
) -> Result<(), Failure> {
    let outdated = |found: String| Failure::new(Reason::ScanOutdated, found);
    let Some(text) = text else {
        return Err(outdated("the report has no scanFinishedOn".to_owned())
            .wanted("`metadata.scanFinishedOn` as of RFC 3339"));
    };
    let Ok(finished) = text.parse::<Timestamp>() else {
        return Err(outdated(format!("scanFinishedOn is `{text}`")).wanted("a time as of RFC 3339"));
    };
    if finished > now {
        return Err(outdated(format!("the scan ended at {finished}, in the future"))
            .wanted(format!("a time before {now}")));
    }
    let age = now.duration_since(finished);
    match max_age {
        Some(most) if age > most => {
            Err(outdated(format!("the scan ended at {finished}, {} hours ago", age.as_hours()))
                .wanted(format!("at most {} hours", most.as_hours())))
        }
        Some(_) | None => Ok(()),
    }
}

#[cfg(test)]
mod tests;
