//! Compiled policies: values that cannot be invalid.
//!
//! [`compile`] makes them from the resources in [`crate::api`]; [`snapshot`] selects those that
//! apply; [`evaluate`] compares them with what was verified. All of it is pure.
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Serialize;

use crate::conditions::PolicyRules;
use crate::conditions::PredicateTypes;
use crate::conditions::Rules;
use crate::evidence::Format;
use crate::evidence::LogUrl;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::trust_root::TrustRoot;
use crate::verify::CertificateAuthority;
use crate::verify::PublicKey;

pub mod compile;
pub mod evaluate;
pub mod glob;
pub mod identity;
pub mod lint;
pub mod pattern;
pub mod selector;
pub mod snapshot;
pub mod suggest;
mod version;

pub use glob::ImageGlob;
pub use glob::Spellings;
pub use identity::IdentityMatcher;
pub use pattern::TextMatcher;
pub use selector::LabelSelector;
pub use snapshot::PolicySnapshot;
pub use snapshot::Workload;
pub use version::Version;

/// Which resource a policy is.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum PolicyId {
    /// A `ClusterImagePolicy`.
    Cluster {
        /// Its name.
        name: String,
    },
    /// An `ImagePolicy`.
    Namespaced {
        /// Its namespace: the only one it speaks for.
        namespace: String,
        /// Its name.
        name: String,
    },
}

impl fmt::Display for PolicyId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Cluster { name } => write!(f, "ClusterImagePolicy {name}"),
            Self::Namespaced { namespace, name } => write!(f, "ImagePolicy {namespace}/{name}"),
        }
    }
}

/// What a failed policy does to the request.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Mode {
    /// Records only.
    Audit,
    /// Denies.
    Enforce,
    /// Admits, with an admission warning.
    Warn,
}

impl Mode {
    /// The name used in policies.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Audit => "audit",
            Self::Enforce => "enforce",
            Self::Warn => "warn",
        }
    }
}

/// What an indeterminate answer does to the request. It never covers a rejected one.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum OnUnavailable {
    /// Admits silently.
    Allow,
    /// Denies; the default.
    Deny,
    /// Admits, with an admission warning.
    Warn,
}

/// Which digests of an image a policy judges. An image that is no index has one.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, PartialEq)]
pub enum Platforms {
    /// Each manifest that the index lists for a platform; the index itself need not be signed,
    /// because whatever a node picks from it is.
    All,
    /// The index, or one of its manifests.
    Any,
    /// The one that the pod names: an index speaks for all that it lists.
    #[default]
    Index,
}

/// A policy as the snapshot holds it.
#[derive(Clone, Debug)]
pub enum PolicyState {
    /// It compiled.
    Ready(Arc<Policy>),
    /// It did not, and no earlier version did: what it matches is denied.
    Invalid(Arc<InvalidPolicy>),
}

/// A policy that cannot be used. It stays visible and denies what it matches.
#[derive(Clone, Debug)]
pub struct InvalidPolicy {
    /// Which resource.
    pub id: PolicyId,
    /// Whom it is for, as far as that could be read. Where it could not, everything in its reach.
    pub scope: Scope,
    /// Why it cannot be used: the path of the field, what was found and what was wanted.
    pub problem: String,
}

/// What a policy is for: images, kinds of workload, namespaces.
#[derive(Clone, Debug)]
pub struct Scope {
    /// Images; one of these must match.
    pub images: Vec<ImageGlob>,
    /// Workloads; one of these must match, or the list is empty.
    pub workloads: Vec<WorkloadMatcher>,
    /// Labels of the namespace; only a `ClusterImagePolicy` has them.
    pub namespaces: Option<LabelSelector>,
}

/// One element of `match`: a resource, a version, labels.
#[derive(Clone, Debug)]
pub struct WorkloadMatcher {
    /// API group, for example `apps`; empty is the core group. `None` matches all.
    pub group: Option<String>,
    /// Version, for example `v1`. `None` matches all.
    pub version: Option<String>,
    /// Plural resource in lower case, for example `deployments`. `None` matches all.
    pub resource: Option<String>,
    /// Labels of the object.
    pub labels: Option<LabelSelector>,
}

/// A compiled policy.
#[derive(Clone, Debug)]
pub struct Policy {
    /// Which resource.
    pub id: PolicyId,
    /// What it is for.
    pub scope: Scope,
    /// What happens when it is not met.
    pub mode: Mode,
    /// What happens when it could not be decided.
    pub on_unavailable: OnUnavailable,
    /// Which digests of an image are judged.
    pub platforms: Platforms,
    /// How many distinct authorities' signers must be verified.
    pub threshold: NonZeroUsize,
    /// The alternatives; never empty.
    pub authorities: Vec<Authority>,
    /// What all that was verified must meet besides.
    pub rules: Option<PolicyRules>,
    /// What its answers may be kept under; `None` where they may not.
    pub version: Option<Version>,
}

/// One way to meet a policy.
#[derive(Clone, Debug)]
pub struct Authority {
    /// Its name; `authority-0` and so on where none is given.
    pub name: String,
    /// Who must have signed.
    pub signer: Signer,
    /// Where signatures are looked for; the image's own repository where empty.
    pub sources: Vec<Source>,
    /// Which formats count; never empty, classic before bundle.
    pub formats: Vec<Format>,
    /// What must prove log inclusion and time.
    pub demands: Demands,
    /// The log that is asked for an entry where one is demanded and none is attached. Its word
    /// counts for nothing: entries are believed for the keys of the trust root.
    pub rekor: Option<LogUrl>,
    /// The trust root for certificates, log entries and timestamps.
    pub trust_root: Arc<TrustRoot>,
    /// The attestations that must be there, all of them. Where empty, a signature must be.
    pub attestations: Vec<Attestation>,
}

/// An attestation that an authority asks for.
#[derive(Clone, Debug)]
pub struct Attestation {
    /// Its name, for explanations and for the rules of the policy.
    pub name: String,
    /// Of which type it must be, and what it must say.
    pub rules: Rules,
}

/// Whose signature an authority accepts.
#[derive(Clone, Debug)]
pub enum Signer {
    /// The holder of one of these keys. They are alternatives; never empty.
    Keys(Vec<PublicKey>),
    /// A certificate's subject. They are alternatives; never empty.
    Identities(Vec<IdentityMatcher>),
    /// The subject of a certificate of an authority that the policy names.
    Certificates {
        /// The authority.
        authority: Arc<CertificateAuthority>,
        /// The subjects. They are alternatives; never empty.
        subjects: Vec<TextMatcher>,
    },
    /// Nobody is asked: always passes.
    StaticPass,
    /// Nobody is asked: always fails, with this message.
    StaticFail {
        /// What to tell the user; may be empty.
        message: String,
    },
}

/// Another place for signatures.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    /// The repository; the image's own where `None`.
    pub repository: Option<Repository>,
    /// Put before the tag `sha256-<hex>.sig`.
    pub tag_prefix: String,
}

/// What must prove inclusion in a log, and the signing time.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Demands {
    /// The log entry.
    pub log: LogDemand,
    /// How many distinct logs must hold an entry, where `log` asks for one.
    pub log_threshold: NonZeroUsize,
    /// Whether an RFC 3161 timestamp must be there and good.
    pub timestamp: bool,
    /// How many distinct authorities must have made a timestamp, where `timestamp` asks for one.
    pub timestamp_threshold: NonZeroUsize,
}

impl Demands {
    /// What is asked of the log, and whether a timestamp is asked for; one of each is enough.
    pub const fn new(log: LogDemand, timestamp: bool) -> Self {
        let one = NonZeroUsize::MIN;
        Self { log, log_threshold: one, timestamp, timestamp_threshold: one }
    }
}

/// What is asked of the log entry. Whatever evidence carries is checked all the same.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub enum LogDemand {
    /// None need be there.
    Optional,
    /// A signed entry timestamp, or an inclusion proof under a trusted checkpoint.
    Entry,
    /// An inclusion proof under a trusted checkpoint.
    Proof,
}

/// What the signed payload must be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum PayloadKind {
    /// A signature of the image: simple signing, cosign's sign statement, or a message signature.
    Signature,
    /// An in-toto statement about the image, of one of these predicate types or of any where
    /// `None`.
    Statement {
        /// The predicate types.
        predicate_types: Option<PredicateTypes>,
    },
}

/// The label that Kubernetes sets on every namespace, and nobody can change.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

impl Scope {
    /// Whether one of the globs matches the reference, with its tag or with its digest.
    pub fn covers_image(&self, image: &ImageRef) -> bool {
        self.covers_any(&Spellings::of(image))
    }

    /// The same, where the spellings of the reference are at hand.
    pub fn covers_any(&self, image: &Spellings) -> bool {
        self.images.iter().any(|glob| glob.matches_any(image))
    }

    /// The namespaces that it may be for, by name, where it is for none but those that it names.
    fn named_namespaces(&self) -> Option<&[String]> {
        self.namespaces.as_ref()?.values_of(NAMESPACE_NAME)
    }

    /// Whether the workload is one that the policy is for, and its namespace one that is selected.
    ///
    /// Labels of a namespace are never empty in Kubernetes, so no labels means that they are not
    /// known, but for the name that every namespace bears: then the policy applies unless the name
    /// says otherwise, rather than being skipped for want of knowledge.
    pub fn covers_workload(&self, workload: &Workload) -> bool {
        let Self { images: _, workloads, namespaces } = self;
        let selected = namespaces.as_ref().is_none_or(|selector| {
            if workload.namespace_labels.is_empty() {
                let name = (NAMESPACE_NAME.to_owned(), workload.namespace.clone());
                selector.may_match(&BTreeMap::from([name]))
            } else {
                selector.matches(&workload.namespace_labels)
            }
        });
        selected && (workloads.is_empty() || workloads.iter().any(|m| m.matches(workload)))
    }
}

impl WorkloadMatcher {
    /// Whether group, version, resource and labels are those asked for.
    pub fn matches(&self, workload: &Workload) -> bool {
        let Self { group, version, resource, labels } = self;
        group.as_ref().is_none_or(|group| *group == workload.group)
            && version.as_ref().is_none_or(|version| *version == workload.version)
            && resource.as_ref().is_none_or(|resource| *resource == workload.resource)
            && labels.as_ref().is_none_or(|labels| labels.matches(&workload.labels))
    }
}

impl PolicyState {
    /// Which resource.
    pub fn id(&self) -> &PolicyId {
        match self {
            Self::Ready(policy) => &policy.id,
            Self::Invalid(policy) => &policy.id,
        }
    }

    /// What it is for.
    pub fn scope(&self) -> &Scope {
        match self {
            Self::Ready(policy) => &policy.scope,
            Self::Invalid(policy) => &policy.scope,
        }
    }
}
