//! AdmissionReview as the handlers see it: bytes to a request, a decision to JSON.
//!
//! A stand-in for `crate::admission::review` until that is there, with its signatures. Every image
//! that it finds counts as unparsable, so that a pipeline behind it can only deny.
use serde_json::Value;
use serde_json::json;

use crate::admission::Decision;
use crate::admission::Request;
use crate::image::ImageRefError;
use crate::image::ImageUse;
use crate::policy::Workload;
use crate::verdict::printable;

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Endpoint {
    Mutate,
    Validate,
}

#[derive(Debug, thiserror::Error)]
#[error("not an admission.k8s.io/v1 AdmissionReview: {problem}")]
pub(super) struct ReviewError {
    problem: String,
}

pub(super) fn parse(bytes: &[u8]) -> Result<Request, ReviewError> {
    let error = |problem: &str| ReviewError {
        problem: printable(problem),
    };
    let review: Value = serde_json::from_slice(bytes).map_err(|e| error(&e.to_string()))?;
    let text = |pointer: &str| {
        review
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    if text("/apiVersion") != "admission.k8s.io/v1" || text("/kind") != "AdmissionReview" {
        return Err(error("apiVersion or kind differ"));
    }
    let uid = text("/request/uid");
    if uid.is_empty() {
        return Err(error("request.uid is missing"));
    }
    let mut images = Vec::new();
    collect(
        review.pointer("/request/object").unwrap_or(&Value::Null),
        "",
        &mut images,
    );
    Ok(Request {
        uid,
        workload: Workload {
            namespace: text("/request/namespace"),
            ..Workload::default()
        },
        kind: text("/request/kind/kind"),
        name: text("/request/name"),
        user: text("/request/userInfo/username"),
        dry_run: review.pointer("/request/dryRun") == Some(&Value::Bool(true)),
        images,
    })
}

fn collect(value: &Value, pointer: &str, images: &mut Vec<ImageUse>) {
    let children: Vec<(String, &Value)> = match value {
        Value::Object(members) => members
            .iter()
            .map(|(name, child)| (format!("{pointer}/{name}"), child))
            .collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, child)| (format!("{pointer}/{i}"), child))
            .collect(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return,
    };
    for (pointer, child) in children {
        if let (true, Some(text)) = (pointer.ends_with("/image"), child.as_str()) {
            let found = text.to_owned();
            images.push(ImageUse {
                path: pointer.trim_start_matches('/').replace('/', "."),
                pointer: pointer.clone(),
                text: found.clone(),
                image: Err(ImageRefError::Digest { found }),
            });
        }
        collect(child, &pointer, images);
    }
}

pub(super) fn respond(uid: &str, decision: &Decision, _endpoint: Endpoint) -> Value {
    let mut response = json!({
        "uid": uid,
        "allowed": decision.allowed,
        "warnings": decision.warnings,
    });
    if !decision.allowed {
        let (code, reason) = if decision.retry {
            (503, "ServiceUnavailable")
        } else {
            (403, "Forbidden")
        };
        let status = json!({ "code": code, "reason": reason, "message": decision.message });
        if let Some(response) = response.as_object_mut() {
            response.insert("status".to_owned(), status);
        }
    }
    json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response })
}
