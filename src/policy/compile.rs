//! Resources to policies.
//!
//! A [`Policy`] is made only here, and every value in it is valid. What cannot be compiled becomes
//! an [`InvalidPolicy`], which denies what it matches.
use std::collections::BTreeMap;
use std::fmt;
use std::num::NonZeroUsize;
use std::sync::Arc;

use serde::Serialize;
use serde_json::Value;

use super::ImageGlob;
use super::InvalidPolicy;
use super::LabelSelector;
use super::Mode;
use super::OnUnavailable;
use super::Platforms;
use super::Policy;
use super::PolicyId;
use super::Scope;
use super::Version;
use super::WorkloadMatcher;
use super::suggest;
use crate::api;
use crate::trust_root::TrustRoot;
use crate::verdict::printable;

mod attestation;
mod authority;
mod certificate;
mod form;
mod key;
mod object;
mod read;
mod service;
mod signer;
mod sigstore_keys;
mod trust_root;

pub use authority::patterns;
pub use key::key_places;
pub use object::key_entry;
pub use read::read_spec;
pub use read::refuse_empty_fields;
pub use trust_root::TrustRootSource;
pub use trust_root::check_trust_root;
pub use trust_root::compile_trust_root;
pub use trust_root::no_cluster;
pub use trust_root::referred_trust_root;
pub use trust_root::trust_root_field;
pub use trust_root::trust_root_place;
pub use trust_root::trust_root_source;

/// What policies may name: trust roots and keys.
#[derive(Clone, Debug)]
pub struct References {
    /// The trust root of authorities that name none.
    pub default: Arc<TrustRoot>,
    /// Trust roots by the name of the `TrustRoot` resource.
    pub named: BTreeMap<String, Arc<TrustRoot>>,
    /// Keys in Secrets and ConfigMaps.
    pub keys: Keys,
}

/// The keys that policies may name.
#[derive(Clone, Debug, Default)]
pub enum Keys {
    /// None: there is no cluster that could hold them.
    #[default]
    NoCluster,
    /// Those of a cluster.
    Cluster {
        /// Tegata's own namespace: where a `ClusterImagePolicy` finds its keys.
        own_namespace: String,
        /// PEM by place, or why there is none; a place that is not here has not been looked at.
        found: BTreeMap<KeyPlace, Result<String, String>>,
    },
}

impl Keys {
    /// Tegata's own namespace, where there is a cluster.
    pub fn own_namespace(&self) -> Option<&str> {
        match self {
            Self::NoCluster => None,
            Self::Cluster { own_namespace, .. } => Some(own_namespace),
        }
    }
}

/// Where a key or a trusted root is kept.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct KeyPlace {
    /// What holds it.
    pub kind: KeyHolder,
    /// The namespace of that object.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// The entry in its data.
    pub entry: Entry,
}

/// An entry in the data of an object.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Entry {
    /// This one.
    Named(String),
    /// None is named: this one if it is there, else the only one.
    Usual(&'static str),
}

/// The kinds of objects that hold keys.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum KeyHolder {
    /// A ConfigMap.
    ConfigMap,
    /// A Secret.
    Secret,
}

impl KeyHolder {
    /// The kind, as Kubernetes names it.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ConfigMap => "ConfigMap",
            Self::Secret => "Secret",
        }
    }
}

impl fmt::Display for KeyPlace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name, entry } = self;
        write!(f, "{} {namespace}/{name}", kind.as_str())?;
        match entry {
            Entry::Named(entry) => write!(f, ", entry `{entry}`"),
            Entry::Usual(_) => Ok(()),
        }
    }
}

/// Why a resource cannot be compiled.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct CompileError {
    /// The field, for example `spec.authorities[0].keyless.identities[0].subjectRegExp`.
    pub path: String,
    /// What was found, in one clause without a full stop.
    pub problem: String,
    /// What was wanted, or what to do, in one clause. Empty where the problem says it.
    pub wanted: String,
    /// Whether the policy names something that is not there or cannot be used: a key, a trust
    /// root. An earlier version of the policy must not be used then, for it may stand on just
    /// what was taken away; and what is not there may still come.
    pub missing: bool,
}

impl CompileError {
    /// An error at `path`.
    pub fn new(
        path: impl fmt::Display,
        problem: impl fmt::Display,
        wanted: impl fmt::Display,
    ) -> Self {
        Self {
            path: path.to_string(),
            problem: printable(&problem.to_string()),
            wanted: printable(&wanted.to_string()),
            missing: false,
        }
    }

    /// The same, as one about something that the policy names.
    #[must_use]
    pub fn missing(self) -> Self {
        Self { missing: true, ..self }
    }
}

impl fmt::Display for CompileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)?;
        if self.wanted.is_empty() { Ok(()) } else { write!(f, ", wanted {}", self.wanted) }
    }
}

/// Compiles an `ImagePolicy`.
///
/// # Errors
/// The first field that cannot be used; what is missing ([`CompileError::missing`]) only where
/// everything else can.
pub fn compile_image_policy(
    namespace: &str,
    name: &str,
    spec: &api::ImagePolicySpec,
    roots: &References,
) -> Result<Policy, CompileError> {
    let api::ImagePolicySpec {
        images,
        matches,
        mode,
        threshold,
        on_unavailable,
        platforms,
        authorities,
        policy,
    } = spec;
    let id = PolicyId::Namespaced { namespace: namespace.to_owned(), name: name.to_owned() };
    let fields = Fields {
        images,
        matches,
        namespaces: None,
        mode: *mode,
        threshold: *threshold,
        on_unavailable: *on_unavailable,
        platforms: *platforms,
        authorities,
        policy: policy.as_ref(),
    };
    fields.compile(id, spec, roots)
}

/// Compiles a `ClusterImagePolicy`.
///
/// # Errors
/// As [`compile_image_policy`].
pub fn compile_cluster_image_policy(
    name: &str,
    spec: &api::ClusterImagePolicySpec,
    roots: &References,
) -> Result<Policy, CompileError> {
    let api::ClusterImagePolicySpec {
        images,
        matches,
        namespace_selector,
        mode,
        threshold,
        on_unavailable,
        platforms,
        authorities,
        policy,
    } = spec;
    let fields = Fields {
        images,
        matches,
        namespaces: namespace_selector.as_ref(),
        mode: *mode,
        threshold: *threshold,
        on_unavailable: *on_unavailable,
        platforms: *platforms,
        authorities,
        policy: policy.as_ref(),
    };
    fields.compile(PolicyId::Cluster { name: name.to_owned() }, spec, roots)
}

/// The policy that stands for one that cannot be used: it denies what its spec is for, as far as
/// that can be read, and everything in its reach where it cannot.
///
/// `spec` is the resource's `spec` as it was found; `Value::Null` where there is none.
pub fn invalid(id: PolicyId, spec: &Value, problem: impl fmt::Display) -> InvalidPolicy {
    let images = read::<Vec<api::ImagePattern>>(spec, "images")
        .and_then(|images| compile_images(&images).ok())
        .unwrap_or_else(|| ImageGlob::everything().into_iter().collect());
    let workloads = read::<Vec<api::WorkloadSelector>>(spec, "match")
        .and_then(|matches| compile_matches(&matches).ok())
        .unwrap_or_default();
    let namespaces = match id {
        PolicyId::Cluster { .. } => read::<api::LabelSelector>(spec, "namespaceSelector")
            .and_then(|selector| LabelSelector::try_from(&selector).ok()),
        PolicyId::Namespaced { .. } => None,
    };
    let scope = Scope { images, workloads, namespaces };
    InvalidPolicy { id, scope, problem: problem.to_string() }
}

fn read<T: serde::de::DeserializeOwned>(spec: &Value, field: &str) -> Option<T> {
    serde_json::from_value(spec.get(field)?.clone()).ok()
}

/// What both kinds of policy have.
struct Fields<'a> {
    images: &'a [api::ImagePattern],
    matches: &'a [api::WorkloadSelector],
    namespaces: Option<&'a api::LabelSelector>,
    mode: api::ModeSpec,
    threshold: Option<u32>,
    on_unavailable: api::OnUnavailableSpec,
    platforms: api::PlatformsSpec,
    authorities: &'a [api::AuthoritySpec],
    policy: Option<&'a api::PolicyRulesSpec>,
}

impl Fields<'_> {
    fn compile(
        &self,
        id: PolicyId,
        spec: &impl Serialize,
        roots: &References,
    ) -> Result<Policy, CompileError> {
        let Self {
            images, matches, namespaces, mode, threshold, on_unavailable, platforms, ..
        } = self;
        let rules = attestation::compile_policy(&id, self.policy, "spec.policy")?;
        let namespaces = namespaces
            .map(|selector| compile_selector(selector, "spec.namespaceSelector"))
            .transpose()?;
        let scope = Scope {
            images: compile_images(images)?,
            workloads: compile_matches(matches)?,
            namespaces,
        };
        // What is missing may still come, so it is reported only where nothing else is wrong.
        let authorities = match authority::compile_all(&id, self.authorities, roots) {
            Err(error) if !error.missing => return Err(error),
            authorities => authorities,
        };
        let threshold = compile_threshold(*threshold, self.authorities.len())?;
        let authorities = authorities?;
        let mode = match mode {
            api::ModeSpec::Audit => Mode::Audit,
            api::ModeSpec::Enforce => Mode::Enforce,
            api::ModeSpec::Warn => Mode::Warn,
        };
        let on_unavailable = match on_unavailable {
            api::OnUnavailableSpec::Allow => OnUnavailable::Allow,
            api::OnUnavailableSpec::Deny => OnUnavailable::Deny,
            api::OnUnavailableSpec::Warn => OnUnavailable::Warn,
        };
        let platforms = match platforms {
            api::PlatformsSpec::All => Platforms::All,
            api::PlatformsSpec::Any => Platforms::Any,
            api::PlatformsSpec::Index => Platforms::Index,
        };
        let version = Version::of(&id, spec, &authorities, rules.as_ref());
        Ok(Policy {
            id,
            scope,
            mode,
            on_unavailable,
            platforms,
            threshold,
            authorities,
            rules,
            version,
        })
    }
}

fn compile_images(images: &[api::ImagePattern]) -> Result<Vec<ImageGlob>, CompileError> {
    count("spec.images", images.len(), api::MAX_IMAGES)?;
    let glob = |(index, api::ImagePattern { glob }): (usize, &api::ImagePattern)| {
        ImageGlob::parse(glob).map_err(|error| {
            CompileError::new(
                format!("spec.images[{index}].glob"),
                format!("`{glob}` is no image glob: {}", error.problem),
                "a reference with the wildcards `*`, `**` and `?`, for example `ghcr.io/org/**`",
            )
        })
    };
    images.iter().enumerate().map(glob).collect()
}

fn compile_matches(
    matches: &[api::WorkloadSelector],
) -> Result<Vec<WorkloadMatcher>, CompileError> {
    if matches.is_empty() {
        return Ok(Vec::new());
    }
    count("spec.match", matches.len(), api::MAX_MATCHES)?;
    matches.iter().enumerate().map(|(index, spec)| compile_match(index, spec)).collect()
}

/// The resources whose images are judged; another one would never match.
const RESOURCES: [&str; 9] = [
    "cronjobs",
    "daemonsets",
    "deployments",
    "jobs",
    "pods",
    "podtemplates",
    "replicasets",
    "replicationcontrollers",
    "statefulsets",
];

fn compile_match(
    index: usize,
    spec: &api::WorkloadSelector,
) -> Result<WorkloadMatcher, CompileError> {
    let api::WorkloadSelector { group, version, resource, selector } = spec;
    let any = |text: &String| (text != "*").then(|| text.clone());
    let resource = resource.as_ref().and_then(any);
    if let Some(resource) = &resource
        && !RESOURCES.contains(&resource.as_str())
    {
        let wanted = suggest::nearest(resource, RESOURCES).map_or_else(
            || format!("one of {}", RESOURCES.join(", ")),
            |nearest| format!("`{nearest}`"),
        );
        return Err(CompileError::new(
            format!("spec.match[{index}].resource"),
            format!("`{resource}` is no resource whose images are judged"),
            wanted,
        ));
    }
    let path = format!("spec.match[{index}].selector");
    let labels = selector.as_ref().map(|s| compile_selector(s, &path)).transpose()?;
    Ok(WorkloadMatcher {
        group: group.as_ref().and_then(any),
        version: version.as_ref().and_then(any),
        resource,
        labels,
    })
}

fn compile_selector(
    selector: &api::LabelSelector,
    path: &str,
) -> Result<LabelSelector, CompileError> {
    LabelSelector::try_from(selector).map_err(|error| {
        CompileError::new(format!("{path}.{}", error.field), error.problem, error.wanted)
    })
}

fn compile_threshold(
    threshold: Option<u32>,
    authorities: usize,
) -> Result<NonZeroUsize, CompileError> {
    let threshold = threshold.unwrap_or(1);
    usize::try_from(threshold)
        .ok()
        .and_then(NonZeroUsize::new)
        .filter(|threshold| threshold.get() <= authorities)
        .ok_or_else(|| {
            CompileError::new(
                "spec.threshold",
                format!("{threshold} of {authorities} authorities"),
                format!("a number from 1 to {authorities}, the number of authorities"),
            )
        })
}

/// A list must have something in it, and not too much.
fn count(path: &str, found: usize, most: usize) -> Result<(), CompileError> {
    if (1..=most).contains(&found) {
        return Ok(());
    }
    Err(CompileError::new(path, format!("{found} elements"), format!("1 to {most} elements")))
}

/// A field that a later version will support: refused, never ignored.
fn unsupported(path: impl fmt::Display, advice: &str) -> CompileError {
    let path = path.to_string();
    let field = path.rsplit('.').next().unwrap_or_default();
    let problem = format!("`{field}` is not supported yet: {advice}");
    CompileError::new(&path, problem, "")
}

#[cfg(test)]
mod tests;
