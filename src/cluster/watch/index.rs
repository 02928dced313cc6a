//! From the events of all watches to one view of the cluster. No I/O.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;

use kube::runtime::watcher::Event;

use super::collection::Collection;
use super::entry::PolicyEntry;
use super::entry::PolicyKind;
use super::keys::KeyObject;
use super::keys::KeyObjects;
use super::object::Object;
use super::report::Report;
use super::root::RootEntry;
use crate::policy::PolicySnapshot;
use crate::policy::compile::CompileError;
use crate::policy::compile::KeyPlace;
use crate::policy::compile::Keys;
use crate::policy::compile::References;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf;
use crate::tuf::Roots;

/// Most regular expressions and globs, those of images among them, in all `ImagePolicy` resources
/// of one namespace: what one policy may have. Each may take the memory of
/// [`crate::policy::pattern::MAX_REGEX_BYTES`] and milliseconds to compile, so that without a sum a
/// tenant's few large policies would take the memory of all, and their time at every start.
pub const MAX_PATTERNS_PER_NAMESPACE: usize = 512;

/// What is watched.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Source {
    /// Every `ClusterImagePolicy`.
    ClusterImagePolicies,
    /// Every `ImagePolicy`.
    ImagePolicies,
    /// One object that holds keys, or a trusted root.
    Key(KeyObject),
    /// Every namespace.
    Namespaces,
    /// Every `TrustRoot`.
    TrustRoots,
}

/// What a cluster holds, at one instant.
#[derive(Clone, Debug)]
pub struct View {
    /// Policies and namespaces.
    pub snapshot: Arc<PolicySnapshot>,
    /// What policies may name.
    pub references: Arc<References>,
    /// One report an object of ours.
    pub reports: Arc<Vec<Report>>,
}

/// All that the watches have brought.
#[derive(Debug)]
pub struct Index {
    own_namespace: String,
    /// The default before another one was fetched.
    default_root: Arc<TrustRoot>,
    fetched: Arc<Roots>,
    policies: Collection<PolicyEntry>,
    cluster_policies: Collection<PolicyEntry>,
    roots: Collection<RootEntry>,
    namespaces: Collection<BTreeMap<String, String>>,
    keys: KeyObjects,
    /// Whether the labels of a namespace, or the set of policies, changed since the last view.
    stale: bool,
    view: View,
}

impl Index {
    /// An index of nothing. `default_root` is for authorities that name none, `own_namespace` where
    /// a `ClusterImagePolicy` finds its keys.
    pub fn new(own_namespace: String, default_root: Arc<TrustRoot>) -> Self {
        let found = BTreeMap::new();
        let keys = Keys::Cluster { own_namespace: own_namespace.clone(), found };
        let references =
            References { default: Arc::clone(&default_root), named: BTreeMap::new(), keys };
        Self {
            own_namespace,
            default_root,
            fetched: Arc::default(),
            policies: Collection::default(),
            cluster_policies: Collection::default(),
            roots: Collection::default(),
            namespaces: Collection::default(),
            keys: KeyObjects::default(),
            stale: true,
            view: View {
                snapshot: Arc::default(),
                references: Arc::new(references),
                reports: Arc::default(),
            },
        }
    }

    /// Takes an event in. Returns whether [`Self::refresh`] may have something to do.
    pub fn apply(&mut self, source: &Source, event: Event<Object>) -> bool {
        let own = &self.own_namespace;
        let changed = match source {
            Source::ClusterImagePolicies => {
                let kind = PolicyKind::Cluster;
                self.cluster_policies
                    .apply(event, |old, new| PolicyEntry::new(kind, old, &new, own))
            }
            Source::ImagePolicies => {
                let kind = PolicyKind::Namespaced;
                self.policies.apply(event, |old, new| PolicyEntry::new(kind, old, &new, own))
            }
            Source::Key(object) => return self.keys.apply(object, event),
            Source::Namespaces => self.namespaces.apply(event, |_, new| new.labels()),
            Source::TrustRoots => self.roots.apply(event, |old, new| RootEntry::new(old, &new)),
        };
        self.stale |= changed;
        changed
    }

    /// Notes that an object with keys or a trusted root could not be read. Returns whether
    /// [`Self::refresh`] may have something to do.
    pub fn key_failed(&mut self, object: &KeyObject, problem: String) -> bool {
        self.keys.failed(object, problem)
    }

    /// Takes in what was fetched. [`Self::refresh`] has something to do then.
    pub fn fetched(&mut self, roots: Arc<Roots>) {
        self.fetched = roots;
        self.stale = true;
    }

    /// The sources of trust roots that are to be followed, by their labels in metrics.
    /// [`Self::refresh`] brings it up to date.
    pub fn sources(&self) -> BTreeMap<String, tuf::Source> {
        let held = self.roots.held().iter();
        held.filter_map(|((_, name), root)| {
            Some((format!("TrustRoot/{name}"), root.source()?.clone()))
        })
        .collect()
    }

    /// Whether a source has not been heard of yet. [`Self::refresh`] brings it up to date.
    pub fn roots_pending(&self) -> bool {
        self.roots.held().values().any(|root| root.pending(&self.fetched))
    }

    /// Whether every list has been read once: before, a policy may be missing.
    pub fn listed(&self) -> bool {
        self.policies.listed()
            && self.cluster_policies.listed()
            && self.roots.listed()
            && self.namespaces.listed()
    }

    /// Whether an object with keys or a trusted root has not been heard of yet. [`Self::refresh`]
    /// brings it up to date.
    pub fn keys_pending(&self) -> bool {
        self.keys.pending()
    }

    /// The objects with keys and trusted roots that are to be watched. [`Self::refresh`] brings it
    /// up to date.
    pub fn key_objects(&self) -> impl Iterator<Item = &KeyObject> {
        self.keys.watched()
    }

    /// What there is now: compiles what changed, and what names something that changed.
    pub fn refresh(&mut self) -> View {
        let mut compiled = self.refresh_references();
        let references = &self.view.references;
        for policy in self.cluster_policies.values_mut() {
            compiled |= policy.compile(references);
        }
        // In the order of namespaces, and of names within each.
        let mut used: BTreeMap<String, usize> = BTreeMap::new();
        for policy in self.policies.values_mut() {
            let used = used.entry(policy.namespace().to_owned()).or_default();
            let with = used.saturating_add(policy.patterns());
            compiled |= if with <= MAX_PATTERNS_PER_NAMESPACE {
                *used = with;
                policy.compile(references)
            } else {
                policy.refuse(crowded(with))
            };
        }
        if compiled || self.stale {
            let cluster_policies = self.cluster_policies.held().values();
            let policies = cluster_policies.chain(self.policies.held().values());
            let states = policies.clone().map(PolicyEntry::state).collect();
            let names = self.namespaces.held().iter();
            let namespaces = names.map(|((_, name), labels)| (name.clone(), labels.clone()));
            let snapshot = PolicySnapshot::new(states);
            self.view.snapshot = Arc::new(snapshot.with_namespaces(Arc::new(namespaces.collect())));
            let roots = self.roots.held().values().map(|root| root.report(&self.fetched));
            self.view.reports = Arc::new(policies.map(PolicyEntry::report).chain(roots).collect());
            self.stale = false;
        }
        self.view.clone()
    }

    /// Brings trust roots and keys up to date. Returns whether any of them changed.
    fn refresh_references(&mut self) -> bool {
        let mut compiled = false;
        for root in self.roots.values_mut() {
            compiled |= root.compile(&self.own_namespace);
        }
        let policies = self.cluster_policies.held().values().chain(self.policies.held().values());
        let places: BTreeSet<&KeyPlace> = policies.flat_map(PolicyEntry::keys).collect();
        let of_roots = self.roots.held().values().filter_map(RootEntry::place);
        let objects = places.iter().copied().chain(of_roots).map(KeyObject::of);
        self.keys.watch(&objects.collect(), &self.own_namespace);
        for root in self.roots.values_mut() {
            if let Some(place) = root.place() {
                let found = self.keys.find(place);
                compiled |= root.read(found);
            }
        }
        let held = self.roots.held().iter();
        let named: BTreeMap<_, _> = held
            .filter_map(|((_, name), root)| Some((name.clone(), root.usable(&self.fetched)?)))
            .collect();
        let found: BTreeMap<_, _> = places
            .into_iter()
            .filter_map(|place| Some((place.clone(), self.keys.find(place)?)))
            .collect();

        let before = &self.view.references;
        let roots = changed(&before.named, &named, Arc::ptr_eq);
        let keys = match &before.keys {
            Keys::Cluster { found: before, .. } => changed(before, &found, PartialEq::eq),
            Keys::NoCluster => found.keys().cloned().collect(),
        };
        let default = self.fetched.default.as_ref().unwrap_or(&self.default_root);
        let default = Arc::clone(default);
        let replaced = !Arc::ptr_eq(&default, &before.default);
        if roots.is_empty() && keys.is_empty() && !replaced {
            return compiled;
        }
        for policy in self.cluster_policies.values_mut().chain(self.policies.values_mut()) {
            match replaced {
                // Which authorities fall back on the default is for the compiler to know.
                true => policy.forget_all(),
                false => policy.forget(&keys, &roots),
            }
        }
        let keys = Keys::Cluster { own_namespace: self.own_namespace.clone(), found };
        self.view.references = Arc::new(References { default, named, keys });
        true
    }
}

/// Why a policy is not compiled although it could be.
fn crowded(patterns: usize) -> CompileError {
    CompileError::new(
        "spec",
        format!("with it the namespace's policies hold {patterns} globs and regular expressions"),
        format!("at most {MAX_PATTERNS_PER_NAMESPACE}, those of `images` included"),
    )
}

/// The names whose value is not the same in both.
fn changed<K: Clone + Ord, V>(
    before: &BTreeMap<K, V>,
    after: &BTreeMap<K, V>,
    same: impl Fn(&V, &V) -> bool,
) -> BTreeSet<K> {
    let names = before.keys().chain(after.keys());
    let differs = |name: &&K| match (before.get(name), after.get(name)) {
        (Some(before), Some(after)) => !same(before, after),
        (None, None) => false,
        (Some(_), None) | (None, Some(_)) => true,
    };
    names.filter(differs).cloned().collect()
}

#[cfg(test)]
mod tests;
