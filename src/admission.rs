//! The pipeline: from an admission request to its answer.
//!
//! [`Admission::admit`] is the picture of the crate's documentation as code.
use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use futures::stream;
use jiff::Timestamp;
use serde::Serialize;
use tokio::sync::Semaphore;

use crate::evidence::FetchEvidence;
use crate::evidence::NoLog;
use crate::evidence::SearchLog;
use crate::evidence::Tenant;
use crate::image::ImageUse;
use crate::policy::PolicySnapshot;
use crate::policy::Workload;
use crate::verdict::Failure;
use crate::verdict::ImageReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;
use crate::verdict::printable;
use crate::verdict::text;

pub mod check;
pub mod facts;
mod gather;
mod judge;
pub mod known;
mod lookup;
mod outcome;
pub mod policies;
mod prefetch;
mod recall;
pub mod review;
pub mod shares;
mod subjects;

pub use lookup::MAX_SEARCHES;
pub use outcome::Consequence;
pub use outcome::Outcome;

use check::Tags;
use facts::Facts;
use known::Known;
use review::Endpoint;
use shares::Shares;

/// What the API server asks, as far as Tegata looks at it.
#[derive(Clone, Debug)]
pub struct Request {
    /// Echoed in the response.
    pub uid: String,
    /// Which webhook is asked.
    pub endpoint: Endpoint,
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
    /// What is done to the object; for people.
    pub operation: Operation,
    /// The object itself, as far as it has a name already.
    pub object: ObjectRef,
    /// The controller that owns the object, as the object says: where people look for events. Not
    /// to be believed for anything else.
    pub owner: Option<ObjectRef>,
    /// Whose credentials its images are pulled with.
    pub tenant: Tenant,
    /// The images to judge: all of a new object, of an update those that it adds.
    pub images: Vec<ImageUse>,
}

/// What a request does to its object.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Operation {
    /// Opens a connection to it.
    Connect,
    /// Stores a new one.
    Create,
    /// Deletes it.
    Delete,
    /// Changes it.
    Update,
}

impl Operation {
    /// The name used in AdmissionReviews.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Connect => "CONNECT",
            Self::Create => "CREATE",
            Self::Delete => "DELETE",
            Self::Update => "UPDATE",
        }
    }
}

/// An object of the cluster, in the namespace of the request.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ObjectRef {
    /// For example `apps/v1`.
    pub api_version: String,
    /// For example `ReplicaSet`.
    pub kind: String,
    /// Its name; empty where it has none yet.
    pub name: String,
    /// Its `uid`; empty where it has none yet.
    pub uid: String,
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

/// How much [`Admission::admit_known`] tells of images that it admits.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum Detail {
    /// Every step of every signature, as the pipeline does.
    #[default]
    Steps,
    /// Which policies were met, and no more: for where nobody is shown the steps of an admission.
    Verdicts,
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
    /// What it does to the request.
    pub consequence: Consequence,
    /// What was found out about its image.
    #[serde(flatten)]
    pub report: ImageReport,
}

/// The kind whose images are run.
const POD: &str = "Pod";

/// Images of one request that are checked at once: enough to hide a registry's latency, few enough
/// that one request's evidence stays a small part of the memory.
const CONCURRENT_IMAGES: usize = 8;

/// Images of all requests that are checked at once. What one check holds beside its evidence
/// (connections, buffers, reports) adds up; those that wait do so until their deadline. One
/// namespace gets half of them: a few pods with slow registries would otherwise stop all others.
const MAX_CHECKS: usize = 64;

/// The pipeline with its I/O: where evidence comes from, and where log entries are looked up that it
/// lacks.
#[derive(Debug)]
pub struct Admission<F, L = NoLog> {
    fetch: F,
    log: L,
    settings: Settings,
    checking: Semaphore,
    shares: Shares,
    verifying: Arc<Semaphore>,
    facts: Arc<Facts>,
    known: Known,
    detail: Detail,
}

impl<F: FetchEvidence> Admission<F> {
    /// A pipeline that fetches through `fetch`, and asks no log.
    pub fn new(fetch: F, settings: Settings) -> Self {
        let threads = std::thread::available_parallelism().map_or(1, NonZeroUsize::get);
        let checking = Semaphore::new(MAX_CHECKS);
        let shares = Shares::half_of(MAX_CHECKS);
        let verifying = Arc::new(Semaphore::new(threads));
        let facts = Arc::default();
        let known = Known::new(known::Limits::default());
        let detail = Detail::default();
        Self { fetch, log: NoLog, settings, checking, shares, verifying, facts, known, detail }
    }
}

impl<F: FetchEvidence, L: SearchLog> Admission<F, L> {
    /// The same pipeline, looking up log entries through `log`.
    pub fn with_log<M: SearchLog>(self, log: M) -> Admission<F, M> {
        let Self { fetch, log: _, settings, checking, shares, verifying, facts, known, detail } =
            self;
        Admission { fetch, log, settings, checking, shares, verifying, facts, known, detail }
    }

    /// The same pipeline, keeping what it knows of images within these limits.
    #[must_use]
    pub fn keeping(self, limits: known::Limits) -> Self {
        Self { known: Known::new(limits), ..self }
    }

    /// The same pipeline, telling so much of known images.
    #[must_use]
    pub fn telling(self, detail: Detail) -> Self {
        Self { detail, ..self }
    }

    /// What was verified so far, for all requests.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What is known of images.
    pub const fn known(&self) -> &Known {
        &self.known
    }

    /// Answers one request, by `deadline`, under one snapshot of the policies.
    pub async fn admit(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
        deadline: Instant,
    ) -> Decision {
        let Request { workload, images, tenant, .. } = request;
        let workload = &snapshot.know_namespace(workload);
        let tags = self.tags(request);
        let asked = check::Asked { workload, tenant, snapshot, now, deadline, tags };
        let distinct: BTreeMap<&str, &ImageUse> =
            images.iter().map(|image| (image.text.as_str(), image)).collect();
        let checks: Vec<_> =
            distinct.into_values().map(|image| self.check_use(image, asked)).collect();
        let reports: BTreeMap<&str, ImageReport> =
            stream::iter(checks).buffer_unordered(CONCURRENT_IMAGES).collect().await;
        let report = |image: &ImageUse| {
            reports.get(image.text.as_str()).cloned().unwrap_or_else(|| {
                let failure = Failure::new(Reason::InternalError, "the image was not checked");
                ImageReport::failed(printable(&image.text), failure)
            })
        };
        self.decide(request, images.iter().map(report).collect())
    }

    /// What the reports on the images of a request do to it; in their order.
    fn decide(&self, request: &Request, reports: Vec<ImageReport>) -> Decision {
        let Request { kind, images, .. } = request;
        let pins = self.pins(kind);
        let field = |(image, report): (&ImageUse, ImageReport)| FieldReport {
            path: image.path.clone(),
            pointer: image.pointer.clone(),
            text: image.text.clone(),
            pinned: pinned(image, &report).filter(|_| pins),
            unpinned: self.settings.mutate == Mutate::Off && is_tag(image),
            consequence: outcome::consequence(&report, self.settings),
            report,
        };
        decide(images.iter().zip(reports).map(field).collect())
    }

    /// Whether `/mutate` writes verified digests into objects of this kind.
    fn pins(&self, kind: &str) -> bool {
        match self.settings.mutate {
            Mutate::Off => false,
            Mutate::Pods => kind == POD,
            Mutate::All => true,
        }
    }

    /// What the request's tags may be judged by. A tag that a pod brings to `/validate` was written
    /// over by nobody: whoever runs it asks for the tag once more. The pods of other objects come
    /// by themselves, and are judged and written over then.
    fn tags(&self, request: &Request) -> Tags {
        let Request { kind, endpoint, .. } = request;
        let pinned_now = *endpoint == Endpoint::Mutate && self.pins(kind);
        let pinned_later = kind != POD && self.pins(POD);
        if pinned_now || pinned_later { Tags::MayBeOld } else { Tags::Fresh }
    }

    async fn check_use<'a>(
        &self,
        image: &'a ImageUse,
        asked: check::Asked<'_>,
    ) -> (&'a str, ImageReport) {
        let report = match &image.image {
            Ok(parsed) => self.check_image(parsed, asked).await,
            Err(error) => {
                let failure = Failure::new(Reason::ImageReferenceInvalid, error);
                check::undecided(
                    printable(&image.text),
                    &asked.snapshot.select_workload(asked.workload),
                    failure,
                )
            }
        };
        (&image.text, report)
    }
}

/// The field's text with the digest that was judged, where it names none and a policy was met.
///
/// One policy is enough: another that only warns or audits must not undo what an enforced one
/// proved, or whoever may write such a policy could have the tag moved after the check.
fn pinned(image: &ImageUse, report: &ImageReport) -> Option<String> {
    let digest = report.digest.as_ref().filter(|_| is_tag(image))?;
    let met = report.policies.iter().any(|policy| policy.verdict == Verdict::Verified);
    met.then(|| format!("{}@{digest}", image.text))
}

fn is_tag(image: &ImageUse) -> bool {
    image.image.as_ref().is_ok_and(|image| image.digest().is_none())
}

/// Reports to the answer.
fn decide(images: Vec<FieldReport>) -> Decision {
    let mut denials = Vec::new();
    let mut warnings = Vec::new();
    let mut verdicts = Vec::new();
    for field in &images {
        match field.consequence {
            Consequence::Admit if field.unpinned && field.report.verdict == Verdict::Verified => {
                warnings.push(format!(
                    "{}: {} was verified by its tag, which can move; refer to it by its digest",
                    field.path, field.report.image
                ));
            }
            Consequence::Admit => {}
            Consequence::Warn => warnings.push(text::warning(&field.path, &field.report)),
            Consequence::Deny(verdict) => {
                denials.push(text::denial(&field.path, &field.report));
                verdicts.push(verdict);
            }
        }
    }
    Decision {
        allowed: denials.is_empty(),
        retry: !verdicts.is_empty() && verdicts.iter().all(|v| *v == Verdict::Indeterminate),
        message: denials.join("; "),
        warnings,
        images,
    }
}
