//! What a software bill of materials must be: of an accepted format, and one at all.
use serde_json::Value;

use super::RuleError;
use super::Statement;
use super::text_at;
use crate::api;
use crate::api::SbomFormatSpec;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Compiled demands: the formats that will do, never none.
#[derive(Debug)]
pub(super) struct Demands {
    formats: Vec<SbomFormatSpec>,
}

pub(super) fn compile(spec: &api::SbomSpec, path: &str) -> Result<Demands, RuleError> {
    let api::SbomSpec { formats } = spec;
    if formats.is_empty() {
        let wanted = "at least one of `cyclonedx`, `spdx` and `spdxjson`";
        return Err(RuleError::new(format!("{path}.formats"), "it is empty", wanted));
    }
    Ok(Demands { formats: formats.clone() })
}

impl Demands {
    /// Checks the format of the document, whatever its predicate type says.
    pub(super) fn check(&self, statement: &Statement) -> Result<(), Failure> {
        let wanted = || self.formats.iter().map(|f| name(*f)).collect::<Vec<_>>().join(" or ");
        let Some(found) = format_of(statement.predicate()) else {
            let found = "a document that is neither CycloneDX nor SPDX, or lists nothing";
            return Err(Failure::new(Reason::PredicateUnusable, found).wanted(wanted()));
        };
        let will_do = |accepted: &SbomFormatSpec| {
            *accepted == found
                || (*accepted == SbomFormatSpec::Spdx && found == SbomFormatSpec::Spdxjson)
        };
        if self.formats.iter().any(will_do) {
            return Ok(());
        }
        let found = format!("a bill of materials in {}", name(found));
        Err(Failure::new(Reason::PredicateUnusable, found).wanted(wanted()))
    }
}

const fn name(format: SbomFormatSpec) -> &'static str {
    match format {
        SbomFormatSpec::Cyclonedx => "CycloneDX",
        SbomFormatSpec::Spdx => "SPDX",
        SbomFormatSpec::Spdxjson => "SPDX JSON",
    }
}

/// The format, where the document has what its specification demands of the top level: CycloneDX
/// 1.x `bomFormat` and `specVersion`; SPDX 2.x `spdxVersion`, `SPDXID`, and packages or files;
/// SPDX 3 `@context` and `@graph`. `Spdx` stands for the tag-value form.
fn format_of(document: &Value) -> Option<SbomFormatSpec> {
    // cosign has put the document into `Data`, as a text or as it is.
    let document = document.get("Data").unwrap_or(document);
    if let Some(text) = document.as_str() {
        return format_of_text(text);
    }
    let is_list = |field: &str| document.get(field).is_some_and(Value::is_array);
    if text_at(document, "/bomFormat") == Some("CycloneDX") {
        let version = text_at(document, "/specVersion")?;
        let known = version.starts_with("1.") && (is_list("components") || is_list("dependencies"));
        return known.then_some(SbomFormatSpec::Cyclonedx);
    }
    let version = text_at(document, "/spdxVersion");
    let spdx_2 = version.is_some_and(|version| version.starts_with("SPDX-2."))
        && text_at(document, "/SPDXID") == Some("SPDXRef-DOCUMENT")
        && (is_list("packages") || is_list("files"));
    let context = text_at(document, "/@context");
    let spdx_3 = context.is_some_and(|context| context.starts_with("https://spdx.org/rdf/3."))
        && is_list("@graph");
    (spdx_2 || spdx_3).then_some(SbomFormatSpec::Spdxjson)
}

/// A text is JSON again, or SPDX in its tag-value form.
fn format_of_text(text: &str) -> Option<SbomFormatSpec> {
    if text.trim_start().starts_with('{') {
        let document = crate::json::parse(text.as_bytes()).ok()?;
        // Not within itself once more.
        return if document.get("Data").is_some() { None } else { format_of(&document) };
    }
    let has = |tag: &str| text.lines().any(|line| line.starts_with(tag));
    (has("SPDXVersion: SPDX-2.") && has("SPDXID: SPDXRef-DOCUMENT") && has("PackageName:"))
        .then_some(SbomFormatSpec::Spdx)
}

#[cfg(test)]
mod tests;
