//! The closed sets of label values.
use prometheus_client::encoding::EncodeLabelSet;

/// A part of answering a request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Stage {
    /// Receiving the body.
    Receive,
    /// From bytes to a request.
    Parse,
    /// The pipeline: resolve, fetch, verify, evaluate.
    Admit,
    /// Of the pipeline: asking the registry for the digest behind one image's tag.
    Resolve,
    /// Of the pipeline: fetching what is attached to one image, from one place.
    Fetch,
    /// From the first byte to the answer.
    Total,
}

impl Stage {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Receive => "receive",
            Self::Parse => "parse",
            Self::Admit => "admit",
            Self::Resolve => "resolve",
            Self::Fetch => "fetch",
            Self::Total => "total",
        }
    }
}

/// What ran over and was turned away.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Shed {
    /// A connection beyond the most that are held.
    Connection,
    /// A request beyond the most in flight, or beyond the memory for bodies.
    Request,
}

impl Shed {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Connection => "connection",
            Self::Request => "request",
        }
    }
}

/// What is re-read while the server runs.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Reload {
    /// The serving certificate and its key.
    Certificate,
    /// The policy files.
    Policies,
    /// The files with settings and credentials of registries.
    Registries,
    /// The file with the default trust root.
    TrustedRoot,
}

impl Reload {
    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Certificate => "certificate",
            Self::Policies => "policies",
            Self::Registries => "registries",
            Self::TrustedRoot => "trusted-root",
        }
    }
}

/// What became of something to be told by an Event.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum EventOutcome {
    /// A new Event was written.
    Created,
    /// The queue was full.
    Dropped,
    /// The API server refused it, or did not answer.
    Failed,
    /// The budget of its namespace, or of all, was used up.
    Limited,
    /// It was added to the count of an Event that says the same.
    Merged,
    /// The count of an Event was written.
    Updated,
}

impl EventOutcome {
    /// Every outcome.
    pub const ALL: [Self; 6] =
        [Self::Created, Self::Dropped, Self::Failed, Self::Limited, Self::Merged, Self::Updated];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::Limited => "limited",
            Self::Merged => "merged",
            Self::Updated => "updated",
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct BuildLabels {
    pub(super) version: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct DecisionLabels {
    pub(super) endpoint: &'static str,
    pub(super) allowed: bool,
    pub(super) verdict: &'static str,
    pub(super) reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct EventLabels {
    pub(super) outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct PolicyLabels {
    pub(super) state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct RefusedLabels {
    pub(super) status: u16,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ReloadLabels {
    pub(super) what: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct ShedLabels {
    pub(super) what: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
pub(super) struct StageLabels {
    pub(super) stage: &'static str,
}
