//! The answer, as `admission.k8s.io/v1` AdmissionReview JSON.
use std::borrow::Cow;
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde::Serialize;
use serde_json::Value;
use serde_json::json;

use super::API_VERSION;
use super::REVIEW_KIND;
use super::ReviewError;
use crate::admission::Decision;
use crate::admission::FieldReport;
use crate::image::Digest;
use crate::verdict::ImageReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;
use crate::verdict::printable;
use crate::verdict::printed;
use crate::workload;

/// Longest warning, in characters. Of warnings that exceed [`MAX_WARNINGS`] together, the API
/// server keeps this much of each; its reference asks for 120 "if possible" and says that those
/// over 256 may be cut.
const MAX_WARNING: usize = 256;

/// What stands at the end of a warning that was cut.
const CUT_WARNING: &str = "… (cut: see Tegata's log)";

/// Longest sum of warnings, in bytes: all that one response of the API server carries, from
/// whomever, is 4,096 characters.
const MAX_WARNINGS: usize = 4096;

/// Kept free of [`MAX_WARNINGS`] for the line that counts what was left out.
const WARNING_RESERVE: usize = 96;

/// Longest denial message, in bytes: some lines for each of the images of a large object, and far
/// less than what an event or a status field may hold.
const MAX_MESSAGE: usize = 16 * 1024;

/// Longest value of the annotation with the images, in bytes. Kubernetes sets no limit of its own
/// to what a webhook annotates, but by default its audit log keeps 10 MiB of events at once; this
/// is room for some forty images.
const MAX_ANNOTATION: usize = 8 * 1024;

/// Longest value of the annotations that list reasons or policies, in bytes: room for twenty.
const MAX_LIST: usize = 1024;

/// Kept free of [`MAX_ANNOTATION`] for the entry that counts what was left out.
const OMITTED_RESERVE: usize = 64;

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

    /// Whether this answer is the last that the API server hears of the request. It asks `/mutate`
    /// before `/validate` and stops at the first denial: counting last answers alone counts each
    /// request once.
    pub const fn settles(self, allowed: bool) -> bool {
        match self {
            Self::Mutate => !allowed,
            Self::Validate | Self::ValidatePolicies => true,
        }
    }
}

/// An AdmissionReview with an answer.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    api_version: &'static str,
    kind: &'static str,
    response: Response<'a>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Response<'a> {
    uid: &'a str,
    allowed: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    status: Option<Status<'a>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    warnings: Vec<String>,
    audit_annotations: Annotations<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch_type: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    patch: Option<String>,
}

#[derive(Serialize)]
struct Status<'a> {
    status: &'static str,
    code: u16,
    reason: &'static str,
    message: Cow<'a, str>,
}

/// The short form for the audit log. The API server puts the webhook's name before each key.
#[derive(Serialize)]
struct Annotations<'a> {
    decision: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    verdict: Option<&'static str>,
    #[serde(skip_serializing_if = "str::is_empty")]
    reasons: Cow<'a, str>,
    #[serde(skip_serializing_if = "String::is_empty")]
    policies: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    images: String,
}

/// The answer to the request with this `uid`, as JSON; `own` is the reason of whoever answers in the
/// pipeline's stead.
///
/// A denial that is final has code 403 (422 where the object itself is at fault, a policy), one
/// that a retry may change has 503. The patch replaces
/// image fields only, and each only where it still holds the text that was judged.
pub fn answer(
    request_uid: &str,
    decision: &Decision,
    endpoint: Endpoint,
    own: Option<Reason>,
) -> Vec<u8> {
    written(&review(request_uid, decision, endpoint, own))
}

/// Nothing in an answer can fail to be written; an empty one would be no admission.
fn written(review: &Review<'_>) -> Vec<u8> {
    serde_json::to_vec(review).unwrap_or_default()
}

fn review<'a>(
    uid: &'a str,
    decision: &'a Decision,
    endpoint: Endpoint,
    own: Option<Reason>,
) -> Review<'a> {
    let Decision { allowed, message, warnings, retry, images } = decision;
    let (code, reason) = match (retry, endpoint) {
        (true, _) => (503, "ServiceUnavailable"),
        (false, Endpoint::ValidatePolicies) => (422, "Invalid"),
        (false, Endpoint::Mutate | Endpoint::Validate) => (403, "Forbidden"),
    };
    let pins = *allowed && endpoint == Endpoint::Mutate;
    let operations: Vec<Value> = images.iter().filter(|_| pins).filter_map(pin).flatten().collect();
    let patch = (!operations.is_empty())
        .then(|| BASE64_STANDARD.encode(Value::Array(operations).to_string()));
    Review {
        api_version: API_VERSION,
        kind: REVIEW_KIND,
        response: Response {
            uid,
            allowed: *allowed,
            status: (!allowed).then(|| status(code, reason, message)),
            warnings: bounded_warnings(warnings),
            audit_annotations: annotations(decision, own),
            patch_type: patch.as_ref().map(|_| "JSONPatch"),
            patch,
        },
    }
}

/// The denial of a request that cannot be judged, as JSON.
pub fn refusal(request_uid: &str, error: &ReviewError) -> Vec<u8> {
    let message = error.to_string();
    written(&refused(request_uid, error, &message))
}

fn refused<'a>(uid: &'a str, error: &ReviewError, message: &'a str) -> Review<'a> {
    let code = error.status();
    let reason = if code == 403 { "Forbidden" } else { "BadRequest" };
    let annotations = Annotations {
        decision: "denied",
        verdict: None,
        reasons: error.reason().map_or("request-malformed", |reason| reason.code()).into(),
        policies: String::new(),
        images: String::new(),
    };
    Review {
        api_version: API_VERSION,
        kind: REVIEW_KIND,
        response: Response {
            uid,
            allowed: false,
            status: Some(status(code, reason, message)),
            warnings: Vec::new(),
            audit_annotations: annotations,
            patch_type: None,
            patch: None,
        },
    }
}

fn status<'a>(code: u16, reason: &'static str, message: &'a str) -> Status<'a> {
    let message = match message {
        "" => "the request was denied without an explanation: look at the log of this request",
        message => message,
    };
    Status { status: "Failure", code, reason, message: cut(message, MAX_MESSAGE) }
}

/// At most `limit` bytes, ending in `…` where something is missing.
fn cut(text: &str, limit: usize) -> Cow<'_, str> {
    if text.len() <= limit {
        return Cow::Borrowed(text);
    }
    let mark = '…';
    let end = text.floor_char_boundary(limit.saturating_sub(mark.len_utf8()));
    let mut short = text.get(..end).unwrap_or_default().to_owned();
    short.push(mark);
    Cow::Owned(short)
}

/// Each once, in their order, within the API server's limits, which would otherwise drop some of
/// them unseen. Line breaks would make it drop one altogether: a warning travels in an HTTP header.
fn bounded_warnings(warnings: &[String]) -> Vec<String> {
    let mut seen = BTreeSet::new();
    let lines: Vec<String> = warnings
        .iter()
        .map(|warning| warning_line(warning))
        .filter(|line| seen.insert(line.clone()))
        .collect();
    let mut kept: Vec<String> = Vec::new();
    let mut left = MAX_WARNINGS - WARNING_RESERVE;
    for line in &lines {
        let Some(rest) = left.checked_sub(line.len()) else {
            let omitted = lines.len() - kept.len();
            kept.push(format!("{omitted} more warnings were left out: see Tegata's log"));
            break;
        };
        left = rest;
        kept.push(line.clone());
    }
    kept
}

fn warning_line(warning: &str) -> String {
    let line: String = warning.chars().map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.chars().count() <= MAX_WARNING {
        return line;
    }
    let room = MAX_WARNING - CUT_WARNING.chars().count();
    line.chars().take(room).chain(CUT_WARNING.chars()).collect()
}

fn annotations(decision: &Decision, own: Option<Reason>) -> Annotations<'_> {
    let Decision { allowed, message: _, warnings: _, retry, images } = decision;
    let decided = match (allowed, retry) {
        (true, _) => "admitted",
        (false, true) => "denied-for-now",
        (false, false) => "denied",
    };
    let reasons: BTreeSet<&str> = images.iter().flat_map(|image| reasons(&image.report)).collect();
    let reasons: Vec<String> = reasons.into_iter().map(str::to_owned).collect();
    Annotations {
        decision: decided,
        verdict: Some(decision.outcome().as_str()),
        reasons: own.map_or_else(|| joined(&reasons, MAX_LIST).into(), |own| own.code().into()),
        policies: joined(&policies(images), MAX_LIST),
        images: short_reports(images),
    }
}

/// Each policy that was asked with its worst verdict, as `ClusterImagePolicy/signed=rejected`;
/// those that are not met first.
fn policies(images: &[FieldReport]) -> Vec<String> {
    let mut worst: BTreeMap<&str, Verdict> = BTreeMap::new();
    for policy in images.iter().flat_map(|image| &image.report.policies) {
        let verdict = worst.entry(&policy.policy).or_insert(policy.verdict);
        *verdict = policy.verdict.max(*verdict);
    }
    let mut sorted: Vec<(&str, Verdict)> = worst.into_iter().collect();
    sorted.sort_by_key(|(_, verdict)| Reverse(*verdict));
    let short = |policy: &str| printable(&policy.replacen(' ', "/", 1));
    sorted.into_iter().map(|(policy, verdict)| format!("{}={verdict}", short(policy))).collect()
}

/// The elements joined by commas, complete or ending in the number of those that found no room.
fn joined(list: &[String], limit: usize) -> String {
    let mut out = String::new();
    for (index, element) in list.iter().enumerate() {
        let comma = if index == 0 { "" } else { "," };
        if out.len() + comma.len() + element.len() > limit.saturating_sub(OMITTED_RESERVE) {
            out.push_str(&format!("{comma}{} more", list.len() - index));
            break;
        }
        out.push_str(comma);
        out.push_str(element);
    }
    out
}

fn reasons(report: &ImageReport) -> BTreeSet<&'static str> {
    let policies = report.policies.iter().filter_map(|policy| policy.failure.as_ref());
    report.failure.iter().chain(policies).map(|failure| failure.reason.code()).collect()
}

/// One image in the annotation with all of them.
#[derive(Serialize)]
struct ShortReport<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    digest: Option<&'a str>,
    image: Cow<'a, str>,
    path: &'a str,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    reasons: BTreeSet<&'static str>,
    verdict: &'static str,
}

/// A JSON list, complete or ending in the number of images that found no room; nothing where there
/// are none.
fn short_reports(images: &[FieldReport]) -> String {
    if images.is_empty() {
        return String::new();
    }
    let mut list = String::from("[");
    for (index, image) in images.iter().enumerate() {
        let FieldReport { path, report, .. } = image;
        let entry = ShortReport {
            digest: report.digest.as_deref(),
            image: printed(&report.image),
            path,
            reasons: reasons(report),
            verdict: image.outcome().as_str(),
        };
        // It holds nothing that cannot be written.
        let entry = serde_json::to_string(&entry).unwrap_or_default();
        let comma = if index == 0 { "" } else { "," };
        if list.len() + entry.len() > MAX_ANNOTATION - OMITTED_RESERVE {
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
    let FieldReport { pointer, text, pinned, .. } = image;
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
