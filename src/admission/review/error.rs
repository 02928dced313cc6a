//! Why an admission request cannot be judged.
use super::MAX_BODY;
use crate::verdict::Reason;
use crate::workload::WorkloadError;

/// A request that cannot be judged, with its `uid` where that was read.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct ReviewError {
    uid: Option<String>,
    problem: ReviewProblem,
}

impl ReviewError {
    pub(super) fn of_request(uid: &str, problem: ReviewProblem) -> Self {
        Self { uid: Some(uid.to_owned()), problem }
    }

    /// The request's `uid`, where it was read: then the answer is a denial, which a webhook with
    /// `failurePolicy: Ignore` respects too, as it does not a bare HTTP status.
    pub fn uid(&self) -> Option<&str> {
        self.uid.as_deref()
    }

    /// What is wrong.
    pub const fn problem(&self) -> &ReviewProblem {
        &self.problem
    }

    /// The reason code, where one fits; `None` means that the request itself is malformed.
    pub const fn reason(&self) -> Option<Reason> {
        match self.problem {
            ReviewProblem::Workload(WorkloadError::TooManyImages { .. }) => {
                Some(Reason::ImageFieldLimit)
            }
            ReviewProblem::Encoding { .. }
            | ReviewProblem::Envelope { .. }
            | ReviewProblem::Field { .. }
            | ReviewProblem::Foreign { .. }
            | ReviewProblem::Json { .. }
            | ReviewProblem::Mismatch { .. }
            | ReviewProblem::Operation { .. }
            | ReviewProblem::TooLarge { .. }
            | ReviewProblem::Workload(
                WorkloadError::Malformed { .. } | WorkloadError::NotCovered { .. },
            ) => None,
        }
    }

    /// The HTTP status code that says so: 413 for a body that is too large, 403 where a reason
    /// code fits, 400 otherwise.
    pub const fn status(&self) -> u16 {
        match (&self.problem, self.reason()) {
            (ReviewProblem::TooLarge { .. }, _) => 413,
            (_, Some(_)) => 403,
            (_, None) => 400,
        }
    }
}

impl From<ReviewProblem> for ReviewError {
    fn from(problem: ReviewProblem) -> Self {
        Self { uid: None, problem }
    }
}

/// What is wrong with an admission request.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ReviewProblem {
    /// The body is not UTF-8.
    #[error("the body is not UTF-8 at byte {index}: wanted JSON")]
    Encoding {
        /// The place of the first bad byte.
        index: usize,
    },
    /// It is JSON, but no review of a version that is spoken.
    #[error(
        "{key} of the admission review is {found}: wanted {wanted}; set `admissionReviewVersions: [v1]`"
    )]
    Envelope {
        /// The key of the document.
        key: &'static str,
        /// Its value.
        found: String,
        /// The only value that will do.
        wanted: &'static str,
    },
    /// A field is absent or of another type.
    #[error("{path} of the admission review is not {wanted}")]
    Field {
        /// The JSON path of the field.
        path: &'static str,
        /// What it must be.
        wanted: &'static str,
    },
    /// A resource that is not ours, at the webhook for those that are.
    #[error(
        "request.kind of the admission review is {found}: wanted {}; correct the webhook's rules",
        super::super::policies::WANTED
    )]
    Foreign {
        /// The group, version and kind.
        found: String,
    },
    /// The body is not exactly one JSON document, repeats a key, or nests too deeply.
    #[error("the body is not acceptable JSON: {problem}")]
    Json {
        /// What is wrong, and where.
        problem: String,
    },
    /// Two fields contradict each other.
    #[error("{path} of the admission review is {found}: wanted {wanted}, as `request.kind` says")]
    Mismatch {
        /// The JSON path of the field.
        path: &'static str,
        /// Its value.
        found: String,
        /// What `request.kind` makes of it.
        wanted: String,
    },
    /// An operation that Kubernetes does not have.
    #[error(
        "request.operation of the admission review is {found}: wanted CREATE, UPDATE, DELETE or CONNECT"
    )]
    Operation {
        /// The operation.
        found: String,
    },
    /// The body is too large.
    #[error("the body has {found} bytes: wanted at most {}", MAX_BODY)]
    TooLarge {
        /// Its length, in bytes.
        found: usize,
    },
    /// The images of the object cannot be listed.
    #[error(transparent)]
    Workload(#[from] WorkloadError),
}
