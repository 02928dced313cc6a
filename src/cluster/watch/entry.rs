//! One policy: its spec, its last good one, and what became of them.
use std::collections::BTreeSet;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use kube::Resource as _;
use serde::de::DeserializeOwned;
use serde_json::Value;

use super::object::Object;
use super::report::Kind;
use super::report::Outcome;
use super::report::Report;
use crate::api;
use crate::policy::Policy;
use crate::policy::PolicyId;
use crate::policy::PolicyState;
use crate::policy::compile;
use crate::policy::compile::CompileError;
use crate::policy::compile::KeyPlace;
use crate::policy::compile::References;

/// An object's identity and status, as they were read.
#[derive(Debug)]
pub(super) struct Seen {
    namespace: String,
    name: String,
    uid: String,
    resource_version: String,
    generation: Option<i64>,
    status: api::Status,
}

impl Seen {
    pub(super) fn of(object: &Object) -> Self {
        let (namespace, name) = object.key();
        let meta = object.meta();
        Self {
            namespace,
            name,
            uid: meta.uid.clone().unwrap_or_default(),
            resource_version: meta.resource_version.clone().unwrap_or_default(),
            generation: meta.generation,
            status: object.status.clone(),
        }
    }

    /// Whether `other` is a version of the same object, and not another one of the same name.
    pub(super) fn is(&self, other: &Self) -> bool {
        !self.uid.is_empty() && self.uid == other.uid
    }

    pub(super) fn report(
        &self,
        kind: Kind,
        authorities: Option<usize>,
        outcome: Outcome,
    ) -> Report {
        let Self { namespace, name, uid, resource_version, generation, status } = self;
        Report {
            kind,
            namespace: namespace.clone(),
            name: name.clone(),
            uid: uid.clone(),
            resource_version: resource_version.clone(),
            generation: *generation,
            status: status.clone(),
            authorities,
            outcome,
            root: None,
        }
    }
}

/// A spec as it was found, and what it names.
#[derive(Debug)]
struct Version {
    spec: Arc<str>,
    keys: BTreeSet<KeyPlace>,
    roots: BTreeSet<String>,
    authorities: Option<usize>,
    /// How many regular expressions and globs are compiled for it.
    patterns: usize,
}

impl Version {
    fn new(id: &PolicyId, spec: &Arc<str>, own_namespace: &str) -> Self {
        let parts = parts(id, spec);
        let (authorities, images) = parts.map_or((None, 0), |(a, images)| (Some(a), images));
        let named = authorities.as_deref().unwrap_or_default();
        Self {
            patterns: images + compile::patterns(named),
            spec: Arc::clone(spec),
            keys: compile::key_places(id, named, own_namespace),
            roots: named.iter().flat_map(root_names).map(str::to_owned).collect(),
            authorities: authorities.as_ref().map(Vec::len),
        }
    }
}

/// A policy.
///
/// Of the last good version the spec is kept, not what it was compiled to: it is compiled again
/// whenever something changes that it names, so that it cannot keep what was taken away.
#[derive(Debug)]
pub(super) struct PolicyEntry {
    seen: Seen,
    id: PolicyId,
    current: Arc<Version>,
    good: Option<Arc<Version>>,
    compiled: Option<(PolicyState, Outcome)>,
    /// Whether it is not compiled because its namespace has too many patterns without it.
    refused: bool,
}

impl PolicyEntry {
    /// The entry of `object`, which had `before`.
    pub(super) fn new(
        kind: PolicyKind,
        before: Option<Self>,
        object: &Object,
        own_namespace: &str,
    ) -> Self {
        let seen = Seen::of(object);
        let good = match before.filter(|before| before.seen.is(&seen)) {
            Some(before) if before.current.spec == object.spec => return Self { seen, ..before },
            Some(before) => before.good,
            None => None,
        };
        let (namespace, name) = object.key();
        let id = match kind {
            PolicyKind::Cluster => PolicyId::Cluster { name },
            PolicyKind::Namespaced => PolicyId::Namespaced { namespace, name },
        };
        let current = Arc::new(Version::new(&id, &object.spec, own_namespace));
        Self { seen, id, current, good, compiled: None, refused: false }
    }

    /// Its namespace; empty for a `ClusterImagePolicy`.
    pub(super) fn namespace(&self) -> &str {
        &self.seen.namespace
    }

    /// How many regular expressions and globs it has compiled at a time, at most.
    pub(super) fn patterns(&self) -> usize {
        self.versions().map(|version| version.patterns).max().unwrap_or_default()
    }

    fn versions(&self) -> impl Iterator<Item = &Version> {
        [Some(&self.current), self.good.as_ref()].into_iter().flatten().map(Arc::as_ref)
    }

    /// Where the keys are that it names, and that its last good version names.
    pub(super) fn keys(&self) -> impl Iterator<Item = &KeyPlace> {
        self.versions().flat_map(|version| &version.keys)
    }

    /// Forgets what it was compiled to: something changed that it may use without naming it.
    pub(super) fn forget_all(&mut self) {
        self.compiled = None;
    }

    /// Forgets what it was compiled to, where it names something that changed.
    pub(super) fn forget(&mut self, keys: &BTreeSet<KeyPlace>, roots: &BTreeSet<String>) {
        let named = |version: &Version| {
            !version.keys.is_disjoint(keys) || !version.roots.is_disjoint(roots)
        };
        if self.versions().any(named) {
            self.compiled = None;
        }
    }

    /// Compiles it unless that is done. Returns whether it was to be done.
    pub(super) fn compile(&mut self, references: &References) -> bool {
        if self.compiled.is_some() && !self.refused {
            return false;
        }
        self.refused = false;
        let compiled = match compile(&self.id, &self.current.spec, references) {
            Ok(policy) => {
                self.good = Some(Arc::clone(&self.current));
                (PolicyState::Ready(Arc::new(policy)), Outcome::Policy)
            }
            Err(error) => {
                let good = self.good.as_ref().filter(|_| !error.missing);
                let good = good.and_then(|good| compile(&self.id, &good.spec, references).ok());
                let last_good = good.is_some();
                let state = match good {
                    Some(policy) => PolicyState::Ready(Arc::new(policy)),
                    None => self.invalid(&error),
                };
                (state, Outcome::Invalid { error, last_good })
            }
        };
        self.compiled = Some(compiled);
        true
    }

    /// Denies in its whole reach instead of being compiled. Returns whether that is new.
    pub(super) fn refuse(&mut self, error: CompileError) -> bool {
        if self.compiled.is_some() && self.refused {
            return false;
        }
        self.refused = true;
        // Its own globs are among what must not be compiled.
        let invalid = compile::invalid(self.id.clone(), &Value::Null, &error);
        let state = PolicyState::Invalid(Arc::new(invalid));
        self.compiled = Some((state, Outcome::Invalid { error, last_good: false }));
        true
    }

    fn invalid(&self, error: &CompileError) -> PolicyState {
        let spec: Value = serde_json::from_str(&self.current.spec).unwrap_or_default();
        PolicyState::Invalid(Arc::new(compile::invalid(self.id.clone(), &spec, error)))
    }

    /// What stands for it in a snapshot. One that is not compiled yet denies.
    pub(super) fn state(&self) -> PolicyState {
        match &self.compiled {
            Some((state, _)) => state.clone(),
            None => self.invalid(&not_compiled()),
        }
    }

    pub(super) fn report(&self) -> Report {
        let kind = match self.id {
            PolicyId::Cluster { .. } => Kind::ClusterImagePolicy,
            PolicyId::Namespaced { .. } => Kind::ImagePolicy,
        };
        let outcome = match &self.compiled {
            Some((_, outcome)) => outcome.clone(),
            None => Outcome::Invalid { error: not_compiled(), last_good: false },
        };
        self.seen.report(kind, self.current.authorities, outcome)
    }
}

pub(super) fn not_compiled() -> CompileError {
    CompileError::new("spec", "it has not been compiled yet", "")
}

/// The kinds of policy.
#[derive(Clone, Copy, Debug)]
pub(super) enum PolicyKind {
    Cluster,
    Namespaced,
}

/// The names of the trust roots that an authority is checked against.
fn root_names(authority: &api::AuthoritySpec) -> impl Iterator<Item = &str> {
    let api::AuthoritySpec { keyless, ctlog, rfc3161timestamp, .. } = authority;
    let keyless = keyless.as_ref().and_then(|keyless| keyless.trust_root_ref.as_deref());
    let ctlog = ctlog.as_ref().and_then(|ctlog| ctlog.trust_root_ref.as_deref());
    let timestamp = rfc3161timestamp.as_ref().and_then(|t| t.trust_root_ref.as_deref());
    [keyless, ctlog, timestamp].into_iter().flatten()
}

/// The authorities of a policy and the number of its image globs, where its spec can be read.
fn parts(id: &PolicyId, spec: &str) -> Option<(Vec<api::AuthoritySpec>, usize)> {
    let read = || {
        Ok(match id {
            PolicyId::Cluster { .. } => {
                let spec: api::ClusterImagePolicySpec = parse(spec)?;
                (spec.authorities, spec.images.len())
            }
            PolicyId::Namespaced { .. } => {
                let spec: api::ImagePolicySpec = parse(spec)?;
                (spec.authorities, spec.images.len())
            }
        })
    };
    guarded(read).ok()
}

pub(super) fn parse<T: DeserializeOwned>(spec: &str) -> Result<T, CompileError> {
    let value: Value =
        serde_json::from_str(spec).map_err(|error| CompileError::new("spec", error, ""))?;
    if value.is_null() {
        return Err(CompileError::new("spec", "it is missing", "the specification"));
    }
    compile::read_spec(&value)
}

fn compile(id: &PolicyId, spec: &str, references: &References) -> Result<Policy, CompileError> {
    guarded(|| match id {
        PolicyId::Cluster { name } => {
            compile::compile_cluster_image_policy(name, &parse(spec)?, references)
        }
        PolicyId::Namespaced { namespace, name } => {
            compile::compile_image_policy(namespace, name, &parse(spec)?, references)
        }
    })
}

/// A defect that one object brings to light must not stop the others from being seen.
pub(super) fn guarded<T>(
    compile: impl FnOnce() -> Result<T, CompileError>,
) -> Result<T, CompileError> {
    catch_unwind(AssertUnwindSafe(compile)).unwrap_or_else(|_| {
        let wanted = "a report of this defect of Tegata, with the resource";
        Err(CompileError::new("spec", "compiling it failed unexpectedly", wanted))
    })
}
