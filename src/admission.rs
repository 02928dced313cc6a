//! The pipeline: from an admission request to its answer.
//!
//! [`Admission::admit`] is the picture of the crate's documentation as code.
use std::time::Instant;

use jiff::Timestamp;
use serde::Serialize;

use crate::evidence::FetchEvidence;
use crate::image::ImageUse;
use crate::policy::PolicySnapshot;
use crate::policy::Workload;
use crate::verdict::ImageReport;

pub mod review;

/// What the API server asks, as far as Tegata looks at it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Echoed in the response.
    pub uid: String,
    /// Kind, namespace and labels: what policies select on.
    pub workload: Workload,
    /// The object's kind, for example `Deployment`.
    pub kind: String,
    /// The object's name, or its `generateName`; for people.
    pub name: String,
    /// The user who asks; for the log only.
    pub user: String,
    /// Whether nothing will be persisted.
    pub dry_run: bool,
    /// The images to judge: all of a new object, of an update those that it adds.
    pub images: Vec<ImageUse>,
}

/// What to do about images that no policy covers.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum NoMatch {
    /// Admit: installing Tegata breaks nothing.
    #[default]
    Allow,
    /// Admit with a warning.
    Warn,
    /// Deny.
    Deny,
}

/// Which objects `/mutate` changes.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Mutate {
    /// None.
    Off,
    /// Pods only: what runs is what was verified, and templates stay as their owners wrote them.
    #[default]
    Pods,
    /// Every kind.
    All,
}

/// Settings of the pipeline.
#[derive(Clone, Copy, Debug, Default)]
pub struct Settings {
    /// For images that no policy covers.
    pub no_match: NoMatch,
    /// For `/mutate`.
    pub mutate: Mutate,
}

/// The answer to a request.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Decision {
    /// Whether the object may be stored.
    pub allowed: bool,
    /// What a person reads when it may not: one line an image.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub message: String,
    /// Admission warnings: would-be denials, tags that are not pinned.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// Whether a retry may get another answer: some denial is indeterminate and none is final.
    pub retry: bool,
    /// One report an image, in the order of the request; `path` names the field.
    pub images: Vec<FieldReport>,
}

/// The report of one image field.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct FieldReport {
    /// The JSON path of the field.
    pub path: String,
    /// The same as a JSON pointer, for the patch.
    #[serde(skip)]
    pub pointer: String,
    /// The field's text, exactly.
    #[serde(skip)]
    pub text: String,
    /// The field's text with the verified digest added, where `/mutate` is to write it.
    #[serde(skip)]
    pub pinned: Option<String>,
    /// Whether the field names a tag that nothing will pin.
    #[serde(skip)]
    pub unpinned: bool,
    /// What was found out about its image.
    #[serde(flatten)]
    pub report: ImageReport,
}

/// The pipeline with its I/O.
#[derive(Debug)]
pub struct Admission<F> {
    fetch: F,
    settings: Settings,
}

impl<F: FetchEvidence> Admission<F> {
    /// A pipeline that fetches through `fetch`.
    pub const fn new(fetch: F, settings: Settings) -> Self {
        Self { fetch, settings }
    }

    /// Answers one request, by `deadline`, under one snapshot of the policies.
    pub async fn admit(
        &self,
        _request: &Request,
        _snapshot: &PolicySnapshot,
        _now: Timestamp,
        _deadline: Instant,
    ) -> Decision {
        let _ = (&self.fetch, &self.settings);
        todo!()
    }
}
