//! `admission.k8s.io/v1` AdmissionReview: bytes to [`super::Request`], [`super::Decision`] to JSON.
//!
//! Only images decide. Owner references, annotations, `deletionTimestamp`, replicas, user names and
//! subresources are never a reason to look away.
use std::collections::BTreeMap;

use serde_json::Value;

use super::Operation;
use super::Request;
use crate::image::ImageUse;
use crate::json;
use crate::json::Tree;
use crate::json::Wanted;
use crate::policy::Workload;
use crate::verdict::printable;
use crate::workload;
use crate::workload::Kind;

mod about;
mod error;
mod response;

pub use error::ReviewError;
pub use error::ReviewProblem;
pub use response::Endpoint;
pub use response::answer;
pub use response::refusal;

/// Largest body, in bytes. An API server takes requests of up to 3 MiB and etcd stores 1.5 MiB by
/// default; a review of an update holds new and old object, with room for either limit raised.
pub const MAX_BODY: usize = 8 * 1024 * 1024;

/// Longest `uid`, in bytes. The API server sends 36; the value is echoed and logged.
pub const MAX_UID: usize = 128;

/// Most labels read from an object. They stay in memory while the request is judged; 1,000 are far
/// more than selectors can use.
const MAX_LABELS: usize = 1000;

/// The only version that is spoken.
pub(super) const API_VERSION: &str = "admission.k8s.io/v1";

/// The kind of both the question and the answer.
pub(super) const REVIEW_KIND: &str = "AdmissionReview";

/// Kinds behind subresources of workloads that hold no image, as group and name: rules such as
/// `pods/*` send them, and refusing them would stop scheduling and eviction.
const IMAGELESS: [(&str, &str); 4] = [
    ("", "Binding"),
    ("authentication.k8s.io", "TokenRequest"),
    ("autoscaling", "Scale"),
    ("policy", "Eviction"),
];

/// What is read of a request with an object that holds images. Most of a usual review is something
/// else: environments, mounts, probes, and who manages which field.
const WANTED: Wanted = Wanted {
    names: &[
        "apiVersion",
        "containers",
        "controller",
        "dryRun",
        "ephemeralContainers",
        "generateName",
        "group",
        "image",
        "imagePullSecrets",
        "initContainers",
        "jobTemplate",
        "kind",
        "labels",
        "metadata",
        "name",
        "namespace",
        "object",
        "oldObject",
        "operation",
        "ownerReferences",
        "reference",
        "request",
        "resource",
        "serviceAccountName",
        "spec",
        "template",
        "uid",
        "userInfo",
        "username",
        "version",
        "volumes",
    ],
    whole: &["labels"],
};

/// Parses the body of an admission request, and lists the images to judge: all that a new object
/// names; of an update those that it adds; none of a deletion or a connection.
///
/// # Errors
/// When the body is not one JSON document, holds a key twice where it is read, is not an AdmissionReview of
/// `admission.k8s.io/v1`, or its object is not of a covered kind and shape. Each is to be answered as a
/// denial ([`refusal`]) where the error knows the `uid`, with HTTP status 400 otherwise.
pub fn parse(body: &[u8]) -> Result<Request, ReviewError> {
    let text = text(body)?;
    let review = json::excerpt(text, WANTED).map_err(|error| malformed(&error))?;
    within(&review, read)
}

fn read<V: Tree>(request: &V, uid: &str) -> Result<Request, ReviewProblem> {
    let mut read = describe(request, uid)?;
    read.images = match read.operation {
        Operation::Connect | Operation::Delete => Vec::new(),
        Operation::Create | Operation::Update => images(request, read.operation)?,
    };
    Ok(read)
}

/// Opens the envelope, and reads the whole request in it together with its `uid`.
pub(super) fn open<T>(
    body: &[u8],
    read: impl FnOnce(&Value, &str) -> Result<T, ReviewProblem>,
) -> Result<T, ReviewError> {
    let text = text(body)?;
    let review = json::parse(text.as_bytes()).map_err(|error| malformed(&error))?;
    within(&review, read)
}

/// Reads the request in the envelope.
fn within<V: Tree, T>(
    review: &V,
    read: impl FnOnce(&V, &str) -> Result<T, ReviewProblem>,
) -> Result<T, ReviewError> {
    let request = envelope(review)?;
    let uid = uid(request)?;
    read(request, uid).map_err(|problem| ReviewError::of_request(uid, problem))
}

fn text(body: &[u8]) -> Result<&str, ReviewProblem> {
    if body.len() > MAX_BODY {
        return Err(ReviewProblem::TooLarge { found: body.len() });
    }
    str::from_utf8(body).map_err(|error| ReviewProblem::Encoding { index: error.valid_up_to() })
}

fn malformed(error: &serde_json::Error) -> ReviewProblem {
    ReviewProblem::Json { problem: printable(&error.to_string()) }
}

fn envelope<V: Tree>(review: &V) -> Result<&V, ReviewProblem> {
    for (key, wanted) in [("kind", REVIEW_KIND), ("apiVersion", API_VERSION)] {
        let found = review.get(key).and_then(V::as_str);
        if found != Some(wanted) {
            let found = found.map_or_else(|| "nothing".to_owned(), printable);
            return Err(ReviewProblem::Envelope { key, found, wanted });
        }
    }
    review
        .get("request")
        .filter(|request| request.is_object())
        .ok_or(ReviewProblem::Field { path: "request", wanted: "an object" })
}

fn uid<V: Tree>(request: &V) -> Result<&str, ReviewProblem> {
    let good = |uid: &&str| {
        (1..=MAX_UID).contains(&uid.len()) && uid.bytes().all(|b| b.is_ascii_graphic())
    };
    request.get("uid").and_then(V::as_str).filter(good).ok_or(ReviewProblem::Field {
        path: "request.uid",
        wanted: "a string of 1 to 128 visible ASCII characters",
    })
}

/// Everything about the request but its images.
pub(super) fn describe<V: Tree>(request: &V, uid: &str) -> Result<Request, ReviewProblem> {
    let operation = match string(request, "operation", "request.operation")? {
        "CREATE" => Operation::Create,
        "UPDATE" => Operation::Update,
        "DELETE" => Operation::Delete,
        "CONNECT" => Operation::Connect,
        found => {
            return Err(ReviewProblem::Operation { found: printable(found) });
        }
    };
    let kind = triple(request, "kind", "request.kind")?;
    let resource = triple(request, "resource", "request.resource")?;
    let object = request.get("object");
    let namespace = optional(request, "namespace", "request.namespace")?;
    Ok(Request {
        uid: uid.to_owned(),
        // The one that admits less. The body does not say which: whoever received it does.
        endpoint: Endpoint::Validate,
        operation,
        object: about::object(&kind, request, object),
        owner: about::owner(object),
        tenant: about::tenant(&kind, namespace, object),
        workload: Workload {
            namespace: namespace.to_owned(),
            namespace_labels: BTreeMap::new(),
            group: resource.group.to_owned(),
            version: resource.version.to_owned(),
            resource: resource.name.to_owned(),
            labels: labels(object)?,
        },
        kind: printable(kind.name),
        name: name(request, object),
        user: printable(text_at(Some(request), &["userInfo", "username"])),
        dry_run: dry_run(request)?,
        images: Vec::new(),
    })
}

fn images<V: Tree>(request: &V, operation: Operation) -> Result<Vec<ImageUse>, ReviewProblem> {
    let kind = triple(request, "kind", "request.kind")?;
    if IMAGELESS.contains(&(kind.group, kind.name)) {
        return Ok(Vec::new());
    }
    let kind = Kind::find(kind.group, kind.version, kind.name)?;
    let resource = Triple { group: kind.group, version: kind.version, name: kind.resource };
    let object = object(request, &resource, kind.name)?;
    let old = match operation {
        Operation::Update => request.get("oldObject").filter(|old| Kind::of(*old) == Ok(kind)),
        Operation::Connect | Operation::Create | Operation::Delete => None,
    };
    Ok(match old {
        Some(old) => workload::added_images(kind, object, old)?,
        None => workload::images(kind, object)?,
    })
}

/// The request's object, where it and the request's resource are what the request's kind says.
pub(super) fn object<'a, V: Tree>(
    request: &'a V,
    wanted: &Triple<'_>,
    kind: &str,
) -> Result<&'a V, ReviewProblem> {
    let resource = triple(request, "resource", "request.resource")?;
    if resource != *wanted {
        return Err(ReviewProblem::Mismatch {
            path: "request.resource.resource",
            found: printable(resource.name),
            wanted: wanted.name.to_owned(),
        });
    }
    let path = "request.object.kind";
    let object = request.get("object").ok_or(ReviewProblem::Field { path, wanted: "a string" })?;
    agree(object, "kind", path, kind)?;
    agree(object, "apiVersion", "request.object.apiVersion", &wanted.api_version())?;
    Ok(object)
}

fn agree<V: Tree>(
    object: &V,
    key: &str,
    path: &'static str,
    wanted: &str,
) -> Result<(), ReviewProblem> {
    match string(object, key, path)? {
        found if found == wanted => Ok(()),
        found => Err(ReviewProblem::Mismatch {
            path,
            found: printable(found),
            wanted: wanted.to_owned(),
        }),
    }
}

/// A GroupVersionKind or GroupVersionResource.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Triple<'a> {
    pub(super) group: &'a str,
    pub(super) version: &'a str,
    pub(super) name: &'a str,
}

impl Triple<'_> {
    /// `apiVersion` as objects state it.
    fn api_version(&self) -> String {
        let Self { group, version, name: _ } = self;
        if group.is_empty() { (*version).to_owned() } else { format!("{group}/{version}") }
    }
}

/// Reads `{group, version, <key>}` at `key`.
pub(super) fn triple<'a, V: Tree>(
    request: &'a V,
    key: &str,
    path: &'static str,
) -> Result<Triple<'a>, ReviewProblem> {
    let error = ReviewProblem::Field { path, wanted: "an object of group, version and name" };
    let read = || {
        let value = request.get(key)?;
        Some(Triple {
            group: optional(value, "group", path).ok()?,
            version: string(value, "version", path).ok()?,
            name: string(value, key, path).ok()?,
        })
    };
    read().ok_or(error)
}

fn string<'a, V: Tree>(
    value: &'a V,
    key: &str,
    path: &'static str,
) -> Result<&'a str, ReviewProblem> {
    value.get(key).and_then(V::as_str).ok_or(ReviewProblem::Field { path, wanted: "a string" })
}

/// Absent and `null` read as empty, as in Kubernetes.
fn optional<'a, V: Tree>(
    value: &'a V,
    key: &str,
    path: &'static str,
) -> Result<&'a str, ReviewProblem> {
    match value.get(key) {
        Some(found) if !found.is_null() => string(value, key, path),
        None | Some(_) => Ok(""),
    }
}

fn dry_run<V: Tree>(request: &V) -> Result<bool, ReviewProblem> {
    match request.get("dryRun") {
        Some(value) if !value.is_null() => value
            .as_bool()
            .ok_or(ReviewProblem::Field { path: "request.dryRun", wanted: "true or false" }),
        None | Some(_) => Ok(false),
    }
}

fn labels<V: Tree>(object: Option<&V>) -> Result<BTreeMap<String, String>, ReviewProblem> {
    let error = ReviewProblem::Field {
        path: "request.object.metadata.labels",
        wanted: "a map of at most 1000 strings",
    };
    let found = object.and_then(|object| object.get("metadata")?.get("labels"));
    let Some(found) = found.filter(|labels| !labels.is_null()) else {
        return Ok(BTreeMap::new());
    };
    let Some(labels) = found.members().filter(|labels| labels.len() <= MAX_LABELS) else {
        return Err(error);
    };
    labels
        .map(|(key, value)| Some((key.to_owned(), value.as_str()?.to_owned())))
        .collect::<Option<_>>()
        .ok_or(error)
}

/// For people: the first of the places that say what the object is or will be called.
fn name<V: Tree>(request: &V, object: Option<&V>) -> String {
    let candidates = [
        text_at(Some(request), &["name"]),
        text_at(object, &["metadata", "name"]),
        text_at(object, &["metadata", "generateName"]),
    ];
    printable(candidates.into_iter().find(|name| !name.is_empty()).unwrap_or_default())
}

/// The text at the end of these keys; empty where there is none.
pub(super) fn text_at<'a, V: Tree>(value: Option<&'a V>, keys: &[&str]) -> &'a str {
    let found = value.and_then(|value| keys.iter().try_fold(value, |value, key| value.get(key)));
    found.and_then(V::as_str).unwrap_or_default()
}

#[cfg(test)]
mod tests;
