//! What an OpenVEX document must say: named vulnerabilities have an accepted status for the image.
//!
//! OpenVEX specification v0.2.0.
use jiff::Timestamp;
use serde_json::Value;

use super::MAX_VULNERABILITIES;
use super::RuleError;
use super::Statement;
use super::at_most;
use super::text_at;
use crate::api;
use crate::api::VexStatusSpec;
use crate::image::Digest;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Compiled demands.
#[derive(Debug)]
pub(super) struct Demands {
    vulnerabilities: Vec<String>,
    statuses: Vec<VexStatusSpec>,
}

pub(super) fn compile(spec: &api::VexSpec, path: &str) -> Result<Demands, RuleError> {
    let api::VexSpec { vulnerabilities, statuses } = spec;
    let path = format!("{path}.vulnerabilities");
    if vulnerabilities.iter().all(|name| name.trim().is_empty()) {
        return Err(RuleError::new(path, "it names none", "vulnerabilities such as CVE-2024-1234"));
    }
    at_most(&path, vulnerabilities.len(), MAX_VULNERABILITIES)?;
    let statuses = if statuses.is_empty() {
        vec![VexStatusSpec::NotAffected, VexStatusSpec::Fixed]
    } else {
        statuses.clone()
    };
    Ok(Demands { vulnerabilities: vulnerabilities.clone(), statuses })
}

const fn name(status: VexStatusSpec) -> &'static str {
    match status {
        VexStatusSpec::Affected => "affected",
        VexStatusSpec::Fixed => "fixed",
        VexStatusSpec::NotAffected => "not_affected",
        VexStatusSpec::UnderInvestigation => "under_investigation",
    }
}

impl Demands {
    /// Looks for the newest statement on each vulnerability that is about the image. Of several
    /// with the same time all must do.
    pub(super) fn check(&self, statement: &Statement, now: Timestamp) -> Result<(), Failure> {
        let document = statement.predicate();
        let context = text_at(document, "/@context");
        let statements = document.get("statements").and_then(Value::as_array);
        let (Some(_), Some(statements)) =
            (context.filter(|context| context.starts_with("https://openvex.dev/ns")), statements)
        else {
            let found = "a document without the context or the statements of OpenVEX";
            return Err(Failure::new(Reason::PredicateUnusable, found)
                .wanted("`@context: https://openvex.dev/ns/…` and `statements`"));
        };
        let relevant: Vec<&Value> =
            statements.iter().filter(|one| is_about(one, statement.image())).collect();
        self.vulnerabilities
            .iter()
            .try_for_each(|vulnerability| self.check_one(vulnerability, document, &relevant, now))
    }

    fn check_one(
        &self,
        vulnerability: &str,
        document: &Value,
        statements: &[&Value],
        now: Timestamp,
    ) -> Result<(), Failure> {
        let mut dated = Vec::new();
        for one in statements.iter().filter(|one| names(one, vulnerability)) {
            dated.push((time_of(one, document, now, vulnerability)?, *one));
        }
        let Some(newest) = dated.iter().map(|(time, _)| *time).max() else {
            let found = format!("no statement on {vulnerability} for this image");
            return Err(self.unmet(found));
        };
        dated.iter().filter(|(time, _)| *time == newest).try_for_each(|(_, one)| {
            let status = text_at(one, "/status").unwrap_or("none");
            if !self.statuses.iter().any(|accepted| name(*accepted) == status) {
                return Err(self.unmet(format!("{vulnerability} has the status `{status}`")));
            }
            let explained = ["/justification", "/impact_statement"];
            if status == name(VexStatusSpec::NotAffected)
                && !explained.iter().any(|field| text_at(one, field).is_some())
            {
                let found = format!("{vulnerability} is `not_affected` without a justification");
                return Err(self.unmet(found));
            }
            Ok(())
        })
    }

    fn unmet(&self, found: String) -> Failure {
        let wanted: Vec<_> = self.statuses.iter().map(|status| name(*status)).collect();
        Failure::new(Reason::VexUnmet, found).wanted(format!("the status {}", wanted.join(" or ")))
    }
}

/// When a statement was last changed; the document's time where it has none of its own.
fn time_of(
    one: &Value,
    document: &Value,
    now: Timestamp,
    vulnerability: &str,
) -> Result<Timestamp, Failure> {
    let fields = [
        text_at(one, "/last_updated"),
        text_at(one, "/timestamp"),
        text_at(document, "/last_updated"),
        text_at(document, "/timestamp"),
    ];
    let text = fields.into_iter().flatten().next();
    let time = text.and_then(|text| text.parse::<Timestamp>().ok());
    match time {
        Some(time) if time <= now => Ok(time),
        Some(time) => {
            let found = format!("the statement on {vulnerability} is of {time}, in the future");
            Err(Failure::new(Reason::VexUnmet, found).wanted(format!("a time before {now}")))
        }
        None => {
            let found = format!("the statement on {vulnerability} has no time that can be read");
            Err(Failure::new(Reason::VexUnmet, found).wanted("a `timestamp` as of RFC 3339"))
        }
    }
}

/// Whether a statement speaks of the vulnerability, by its name or an alias.
fn names(one: &Value, vulnerability: &str) -> bool {
    let Some(field) = one.get("vulnerability") else { return false };
    let same = |text: &str| text.eq_ignore_ascii_case(vulnerability);
    let aliases = field.get("aliases").and_then(Value::as_array);
    field.as_str().is_some_and(same)
        || text_at(field, "/name").is_some_and(same)
        || aliases.is_some_and(|list| list.iter().filter_map(Value::as_str).any(same))
}

/// Whether a statement is about the image: one of its products is the image's digest, or it names
/// no product, and then it is about the subject of the attestation.
///
/// Statements on some of an image's parts (`subcomponents`) speak of the product too.
fn is_about(one: &Value, image: &Digest) -> bool {
    match one.get("products") {
        None => true,
        Some(products) => {
            products.as_array().is_some_and(|list| list.iter().any(|p| is_image(p, image)))
        }
    }
}

fn is_image(product: &Value, image: &Digest) -> bool {
    let id = product.as_str().or_else(|| text_at(product, "/@id"));
    let purl = text_at(product, "/identifiers/purl");
    let hash = text_at(product, "/hashes/sha-256");
    let in_address = |text: &str| {
        let text = text.replace("%3A", ":").replace("%3a", ":");
        let mut parts = text.split(['@', '?', '&', '#', '=']);
        parts.any(|part| part == image.to_string())
    };
    id.is_some_and(in_address)
        || purl.is_some_and(in_address)
        || hash.is_some_and(|hash| image.to_string() == format!("sha256:{hash}"))
}

#[cfg(test)]
mod tests;
