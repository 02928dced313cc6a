//! The answer, as `admission.k8s.io/v1` AdmissionReview JSON.
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::API_VERSION;
use super::REVIEW_KIND;
use super::ReviewError;
use crate::admission::Decision;
use crate::admission::FieldReport;
use crate::image::Digest;
use crate::verdict::ImageReport;
use crate::workload;

/// Longest warning, in characters. Kubernetes: "individual warning messages should be limited to
/// 256 characters"; longer ones may be cut by the API server.
const MAX_WARNING: usize = 256;

/// Longest sum of warnings, in bytes, as the API server drops what exceeds 4,096 characters.
const MAX_WARNINGS: usize = 4096;

/// Kept free of [`MAX_WARNINGS`] for the line that counts what was left out.
const WARNING_RESERVE: usize = 64;

/// Longest denial message, in bytes: some lines for each of the images of a large object, and far
/// less than what an event or a status field may hold.
const MAX_MESSAGE: usize = 16 * 1024;

/// Longest audit annotation, in bytes: one line of an audit log.
const MAX_ANNOTATION: usize = 8 * 1024;

/// Which webhook answers.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Endpoint {
    /// `/mutate`: the answer may carry a patch.
    Mutate,
    /// `/validate`: it never does.
    Validate,
    /// `/validate-policies`: nor does this one.
    ValidatePolicies,
}

impl Endpoint {
    /// The name used in logs and metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Mutate => "mutate",
            Self::Validate => "validate",
            Self::ValidatePolicies => "validate-policies",
        }
    }
}

/// The answer to the request with this `uid`.
///
/// A denial that is final has code 403 (422 where the object itself is at fault, a policy), one
/// that a retry may change has 503. The patch replaces
/// image fields only, and each only where it still holds the text that was judged.
pub fn respond(request_uid: &str, decision: &Decision, endpoint: Endpoint) -> Value {
    let Decision { allowed, message, warnings, retry, images } = decision;
    let mut response = Map::new();
    response.insert("uid".to_owned(), request_uid.into());
    response.insert("allowed".to_owned(), (*allowed).into());
    if !allowed {
        let (code, reason) = match (retry, endpoint) {
            (true, _) => (503, "ServiceUnavailable"),
            (false, Endpoint::ValidatePolicies) => (422, "Invalid"),
            (false, Endpoint::Mutate | Endpoint::Validate) => (403, "Forbidden"),
        };
        response.insert("status".to_owned(), status(code, reason, message));
    }
    let warnings = bounded_warnings(warnings);
    if !warnings.is_empty() {
        response.insert("warnings".to_owned(), warnings.into());
    }
    response.insert("auditAnnotations".to_owned(), annotations(decision));
    if *allowed && endpoint == Endpoint::Mutate {
        let operations: Vec<Value> = images.iter().filter_map(pin).flatten().collect();
        if !operations.is_empty() {
            let patch = BASE64_STANDARD.encode(Value::Array(operations).to_string());
            response.insert("patchType".to_owned(), "JSONPatch".into());
            response.insert("patch".to_owned(), patch.into());
        }
    }
    review(response)
}

/// The denial of a request that cannot be judged.
pub fn refuse(request_uid: &str, error: &ReviewError) -> Value {
    let code = error.status();
    let reason = if code == 403 { "Forbidden" } else { "BadRequest" };
    let mut response = Map::new();
    response.insert("uid".to_owned(), request_uid.into());
    response.insert("allowed".to_owned(), false.into());
    response.insert("status".to_owned(), status(code, reason, &error.to_string()));
    let reasons = error.reason().map_or("request-malformed", |reason| reason.code());
    response
        .insert("auditAnnotations".to_owned(), json!({"decision": "denied", "reasons": reasons}));
    review(response)
}

fn review(response: Map<String, Value>) -> Value {
    json!({"apiVersion": API_VERSION, "kind": REVIEW_KIND, "response": response})
}

fn status(code: u16, reason: &str, message: &str) -> Value {
    let message = match message {
        "" => "the request was denied without an explanation: look at the log of this request",
        message => message,
    };
    json!({
        "status": "Failure",
        "code": code,
        "reason": reason,
        "message": cut(message, MAX_MESSAGE),
    })
}

/// At most `limit` bytes, ending in `…` where something is missing.
fn cut(text: &str, limit: usize) -> String {
    if text.len() <= limit {
        return text.to_owned();
    }
    let mark = '…';
    let end = text.floor_char_boundary(limit.saturating_sub(mark.len_utf8()));
    let mut short = text.get(..end).unwrap_or_default().to_owned();
    short.push(mark);
    short
}

/// Within the API server's limits, which would otherwise drop some of them unseen. Line breaks
/// would make it drop one altogether: a warning travels in an HTTP header.
fn bounded_warnings(warnings: &[String]) -> Vec<String> {
    let mut kept: Vec<String> = Vec::new();
    let mut left = MAX_WARNINGS - WARNING_RESERVE;
    for warning in warnings {
        let mut line: String =
            warning.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
        if let Some((end, _)) = line.char_indices().nth(MAX_WARNING) {
            let before_last = line.floor_char_boundary(end.saturating_sub(1));
            line.truncate(before_last);
            line.push('…');
        }
        match left.checked_sub(line.len()) {
            Some(rest) => left = rest,
            None => {
                kept.push(format!("{} more warnings were left out", warnings.len() - kept.len()));
                break;
            }
        }
        kept.push(line);
    }
    kept
}

/// The short form for the audit log. The API server puts the webhook's name before each key.
fn annotations(decision: &Decision) -> Value {
    let Decision { allowed, message: _, warnings: _, retry, images } = decision;
    let word = match (allowed, retry) {
        (true, _) => "admitted",
        (false, true) => "denied-for-now",
        (false, false) => "denied",
    };
    let mut annotations = Map::new();
    annotations.insert("decision".to_owned(), word.into());
    let reasons: BTreeSet<&str> = images.iter().flat_map(|image| reasons(&image.report)).collect();
    if !reasons.is_empty() {
        let reasons: Vec<&str> = reasons.into_iter().collect();
        annotations.insert("reasons".to_owned(), cut(&reasons.join(","), MAX_ANNOTATION).into());
    }
    if !images.is_empty() {
        annotations.insert("images".to_owned(), short_reports(images).into());
    }
    Value::Object(annotations)
}

fn reasons(report: &ImageReport) -> BTreeSet<&'static str> {
    let policies = report.policies.iter().filter_map(|policy| policy.failure.as_ref());
    report.failure.iter().chain(policies).map(|failure| failure.reason.code()).collect()
}

/// A JSON list, complete or ending in the number of images that found no room.
fn short_reports(images: &[FieldReport]) -> String {
    let mut list = String::from("[");
    for (index, FieldReport { path, report, .. }) in images.iter().enumerate() {
        let mut entry = Map::new();
        entry.insert("path".to_owned(), path.as_str().into());
        entry.insert("image".to_owned(), crate::verdict::printable(&report.image).into());
        if let Some(digest) = &report.digest {
            entry.insert("digest".to_owned(), digest.as_str().into());
        }
        entry.insert("verdict".to_owned(), report.verdict.as_str().into());
        let reasons: Vec<Value> = reasons(report).into_iter().map(Value::from).collect();
        if !reasons.is_empty() {
            entry.insert("reasons".to_owned(), reasons.into());
        }
        let entry = Value::Object(entry).to_string();
        let comma = if index == 0 { "" } else { "," };
        if list.len() + entry.len() > MAX_ANNOTATION - WARNING_RESERVE {
            list.push_str(&format!("{comma}{{\"omitted\":{}}}", images.len() - index));
            break;
        }
        list.push_str(comma);
        list.push_str(&entry);
    }
    list.push(']');
    list
}

/// Test and replacement for one field, or `None` where there is nothing to pin.
///
/// Whatever is not an image field, or would do more than add a digest to it, is left alone.
fn pin(image: &FieldReport) -> Option<[Value; 2]> {
    let FieldReport { path: _, pointer, text, pinned, unpinned: _, report: _ } = image;
    let pinned = pinned.as_deref()?;
    pinned.strip_prefix(text.as_str())?.strip_prefix('@')?.parse::<Digest>().ok()?;
    workload::is_image_pointer(pointer).then(|| {
        [
            json!({"op": "test", "path": pointer, "value": text}),
            json!({"op": "replace", "path": pointer, "value": pinned}),
        ]
    })
}

#[cfg(test)]
mod tests;
