//! All policies of one instant.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;

use super::ImageGlob;
use super::NAMESPACE_NAME;
use super::PolicyId;
use super::PolicyState;
use super::Spellings;
use crate::image::ImageRef;

/// What a policy's `match` and `namespaceSelector` look at.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// The namespace of the request; empty for none.
    pub namespace: String,
    /// Labels of the namespace, where known. Kubernetes itself sets `kubernetes.io/metadata.name`.
    pub namespace_labels: BTreeMap<String, String>,
    /// API group of the object, for example `apps`; empty is the core group.
    pub group: String,
    /// Version, for example `v1`.
    pub version: String,
    /// Plural resource, for example `deployments`.
    pub resource: String,
    /// Labels of the object.
    pub labels: BTreeMap<String, String>,
}

/// All policies of one instant, immutable.
#[derive(Clone, Debug, Default)]
pub struct PolicySnapshot {
    policies: Vec<PolicyState>,
    index: Arc<Index>,
    namespaces: Arc<Namespaces>,
}

/// The labels of each namespace, by its name.
pub type Namespaces = BTreeMap<String, BTreeMap<String, String>>;

impl PolicySnapshot {
    /// A snapshot of these policies, with nothing known of namespaces.
    pub fn new(policies: Vec<PolicyState>) -> Self {
        let index = Arc::new(Index::new(&policies));
        Self { policies, index, namespaces: Arc::default() }
    }

    /// The same, with the labels of the namespaces that are there.
    #[must_use]
    pub fn with_namespaces(self, namespaces: Arc<Namespaces>) -> Self {
        Self { namespaces, ..self }
    }

    /// The workload with what is known of its namespace. The labels of a namespace that is not
    /// known, because it is only just being made or nothing watches namespaces, stay unknown.
    pub fn know_namespace(&self, workload: &Workload) -> Workload {
        let mut known = workload.clone();
        if let Some(labels) = self.namespaces.get(&workload.namespace) {
            known.namespace_labels.clone_from(labels);
        }
        known
    }

    /// All of them.
    pub fn policies(&self) -> &[PolicyState] {
        &self.policies
    }

    /// Those that apply to `image` in `workload`: cluster policies first, then the namespace's,
    /// each by name. Policies that are invalid are among them.
    pub fn select<'a>(&'a self, workload: &Workload, image: &ImageRef) -> Vec<&'a PolicyState> {
        let image = &Spellings::of(image);
        self.may_cover(workload, image)
            .filter(|policy| policy.scope().covers_any(image))
            .filter(|policy| policy.scope().covers_workload(workload))
            .collect()
    }

    /// Those that apply to `image`, named by its tag, and those that may apply once its digest is
    /// known, because they look at digests; in the order of [`Self::select`].
    pub fn select_unresolved<'a>(
        &'a self,
        workload: &Workload,
        image: &ImageRef,
    ) -> Vec<&'a PolicyState> {
        let image = &Spellings::of(image);
        let may = |glob: &ImageGlob| glob.may_match_digest(image);
        self.may_cover(workload, image)
            .filter(|policy| {
                let scope = policy.scope();
                scope.covers_any(image) || scope.images.iter().any(may)
            })
            .filter(|policy| policy.scope().covers_workload(workload))
            .collect()
    }

    /// Those that apply to `workload` whatever its image: what an image that could not be parsed
    /// is judged by.
    pub fn select_workload<'a>(&'a self, workload: &Workload) -> Vec<&'a PolicyState> {
        let speaks = |policy: &&PolicyState| match policy.id() {
            PolicyId::Cluster { .. } => true,
            PolicyId::Namespaced { namespace, .. } => *namespace == workload.namespace,
        };
        let order = self.index.order.iter();
        let speaking = order.filter_map(|place| self.policies.get(*place)).filter(speaks);
        speaking.filter(|policy| policy.scope().covers_workload(workload)).collect()
    }

    /// How many policies of its own the workload's namespace has: [`Self::select`] looks at each.
    pub fn own_policies(&self, workload: &Workload) -> usize {
        self.index.by_namespace.get(&workload.namespace).map_or(0, Vec::len)
    }

    /// Every policy that may cover the image, and few that do not.
    fn may_cover(
        &self,
        workload: &Workload,
        image: &Spellings,
    ) -> impl Iterator<Item = &PolicyState> {
        let ranks = self.index.ranks(workload, image.undigested());
        let order = &self.index.order;
        ranks.into_iter().filter_map(|rank| self.policies.get(*order.get(rank)?))
    }
}

/// Where policies are found without looking at all of them: those of the cluster by the namespaces
/// that they name, or else by what their globs begin with; those of a namespace by its name.
#[derive(Clone, Debug, Default)]
struct Index {
    /// Places of the policies by rank: those of the cluster first, then those of namespaces, each by
    /// name. What follows holds ranks.
    order: Vec<usize>,
    by_prefix: HashMap<String, Vec<usize>>,
    /// The lengths of those prefixes, in bytes.
    lengths: BTreeSet<usize>,
    by_named: HashMap<String, Vec<usize>>,
    by_namespace: HashMap<String, Vec<usize>>,
}

impl Index {
    fn new(policies: &[PolicyState]) -> Self {
        let mut ranked: Vec<(usize, &PolicyState)> = policies.iter().enumerate().collect();
        ranked.sort_by_key(|(_, policy)| policy.id());
        let order = ranked.iter().map(|(place, _)| *place).collect();
        let mut index = Self { order, ..Self::default() };
        for (rank, (_, policy)) in ranked.into_iter().enumerate() {
            match policy.id() {
                PolicyId::Namespaced { namespace, .. } => {
                    index.by_namespace.entry(namespace.clone()).or_default().push(rank);
                }
                PolicyId::Cluster { .. } => {
                    if let Some(names) = policy.scope().named_namespaces() {
                        for name in names {
                            index.by_named.entry(name.clone()).or_default().push(rank);
                        }
                        continue;
                    }
                    for glob in &policy.scope().images {
                        let prefix = glob.literal_prefix();
                        index.lengths.insert(prefix.len());
                        index.by_prefix.entry(prefix.to_owned()).or_default().push(rank);
                    }
                }
            }
        }
        index
    }

    /// The ranks of the policies that may cover an image, each once and in order.
    fn ranks(&self, workload: &Workload, image: &str) -> Vec<usize> {
        let Workload { namespace, namespace_labels, .. } = workload;
        let prefixes = self.lengths.range(..=image.len()).filter_map(|length| image.get(..*length));
        let of_cluster = prefixes.filter_map(|prefix| self.by_prefix.get(prefix));
        let of_namespace = self.by_namespace.get(namespace);
        // The label says the same as the name, but for where something else than Kubernetes set it.
        let names = [Some(namespace), namespace_labels.get(NAMESPACE_NAME)];
        let named = names.into_iter().flatten().filter_map(|name| self.by_named.get(name));
        let found = of_cluster.chain(of_namespace).chain(named);
        let mut ranks: Vec<usize> = found.flatten().copied().collect();
        ranks.sort_unstable();
        ranks.dedup();
        ranks
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api;
    use crate::policy::ImageGlob;
    use crate::policy::InvalidPolicy;
    use crate::policy::LabelSelector;
    use crate::policy::Scope;
    use crate::policy::WorkloadMatcher;

    fn scope(glob: &str) -> Scope {
        let images = vec![ImageGlob::parse(glob).unwrap()];
        Scope { images, workloads: Vec::new(), namespaces: None }
    }

    fn invalid(id: PolicyId, scope: Scope) -> PolicyState {
        PolicyState::Invalid(Arc::new(InvalidPolicy { id, scope, problem: "bad key".to_owned() }))
    }

    fn cluster(name: &str, scope: Scope) -> PolicyState {
        invalid(PolicyId::Cluster { name: name.to_owned() }, scope)
    }

    fn namespaced(namespace: &str, name: &str, scope: Scope) -> PolicyState {
        let (namespace, name) = (namespace.to_owned(), name.to_owned());
        invalid(PolicyId::Namespaced { namespace, name }, scope)
    }

    fn labels(key: &str, value: &str) -> LabelSelector {
        let match_labels = BTreeMap::from([(key.to_owned(), value.to_owned())]);
        let spec = api::LabelSelector { match_labels, ..api::LabelSelector::default() };
        LabelSelector::try_from(&spec).unwrap()
    }

    fn pod(namespace: &str) -> Workload {
        Workload {
            namespace: namespace.to_owned(),
            namespace_labels: BTreeMap::from([("team".to_owned(), namespace.to_owned())]),
            version: "v1".to_owned(),
            resource: "pods".to_owned(),
            ..Workload::default()
        }
    }

    fn names(snapshot: &PolicySnapshot, workload: &Workload, image: &str) -> Vec<String> {
        let image = image.parse().unwrap();
        snapshot.select(workload, &image).iter().map(|p| p.id().to_string()).collect()
    }

    #[test]
    fn a_namespaced_policy_speaks_for_its_namespace_only() {
        let snapshot = PolicySnapshot::new(vec![
            namespaced("a", "p", scope("**")),
            namespaced("b", "p", scope("**")),
            cluster("z", scope("**")),
            cluster("c", scope("ghcr.io/**")),
        ]);
        assert_eq!(
            names(&snapshot, &pod("a"), "ghcr.io/x/y"),
            ["ClusterImagePolicy c", "ClusterImagePolicy z", "ImagePolicy a/p"]
        );
        assert_eq!(
            names(&snapshot, &pod("b"), "quay.io/x/y"),
            ["ClusterImagePolicy z", "ImagePolicy b/p"]
        );
        assert_eq!(names(&snapshot, &pod(""), "quay.io/x/y"), ["ClusterImagePolicy z"]);
    }

    #[test]
    fn a_namespace_selector_skips_other_namespaces_but_not_unknown_ones() {
        let selective = Scope { namespaces: Some(labels("team", "a")), ..scope("**") };
        let snapshot = PolicySnapshot::new(vec![cluster("c", selective)]);
        assert_eq!(names(&snapshot, &pod("a"), "x").len(), 1);
        assert_eq!(names(&snapshot, &pod("b"), "x").len(), 0);
        let unknown = Workload { namespace_labels: BTreeMap::new(), ..pod("b") };
        assert_eq!(names(&snapshot, &unknown, "x").len(), 1);
    }

    #[test]
    fn a_match_compares_resource_and_labels() {
        let matcher = |group: Option<&str>, resource: Option<&str>, selector| WorkloadMatcher {
            group: group.map(str::to_owned),
            version: None,
            resource: resource.map(str::to_owned),
            labels: selector,
        };
        for (matcher, expected) in [
            (matcher(None, None, None), true),
            (matcher(None, Some("pods"), None), true),
            (matcher(Some(""), Some("pods"), None), true),
            (matcher(Some("apps"), Some("pods"), None), false),
            (matcher(None, Some("deployments"), None), false),
            (matcher(None, None, Some(labels("app", "web"))), true),
            (matcher(None, None, Some(labels("app", "db"))), false),
            (
                WorkloadMatcher { version: Some("v2".to_owned()), ..matcher(None, None, None) },
                false,
            ),
        ] {
            let text = format!("{matcher:?}");
            let scope = Scope { workloads: vec![matcher], ..scope("**") };
            let snapshot = PolicySnapshot::new(vec![cluster("c", scope)]);
            let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
            let workload = Workload { labels, ..pod("a") };
            assert_eq!(!names(&snapshot, &workload, "x").is_empty(), expected, "{text}");
        }
    }

    /// A pod of a namespace whose labels are as Kubernetes sets them, lack the name, or are unknown.
    fn known_in_three_ways(namespace: &str) -> [Workload; 3] {
        let mut named = pod(namespace);
        named.namespace_labels.insert(NAMESPACE_NAME.to_owned(), namespace.to_owned());
        [named, pod(namespace), Workload { namespace_labels: BTreeMap::new(), ..pod(namespace) }]
    }

    #[test]
    fn the_index_finds_what_a_look_at_every_policy_finds() {
        let digest = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
        let pinned = format!("ghcr.io/acme/app@{digest}");
        let globs = [
            "**",
            "*",
            "ghcr.io/**",
            "ghcr.io/acme/*",
            "ghcr.io/acme/app",
            "ghcr.io/acme/app:v1",
            "ghcr.io/acme/app:v*",
            "ghcr.io/acme/app@*",
            "ghcr.io/acme/app@sha256:e3*",
            &pinned,
            "ghcr.io/acme/a?p",
            "nginx",
            "nginx*",
            "docker.io/**",
            "**/app",
            "ghcr.io**",
            "[::1]:5000/x/*",
            "localhost:5000/**",
            "quay.io/*/app:v1",
        ];
        let mut policies = Vec::new();
        for (number, glob) in globs.iter().enumerate() {
            policies.push(namespaced("a", &format!("n{number}"), scope(glob)));
            policies.push(cluster(&format!("c{number}"), scope(glob)));
        }
        let selective = |name: &str, namespaces| {
            cluster(name, Scope { namespaces: Some(namespaces), ..scope("ghcr.io/**") })
        };
        policies.push(selective("of-a", labels(NAMESPACE_NAME, "a")));
        policies.push(selective("of-b", labels(NAMESPACE_NAME, "b")));
        policies.push(selective("of-team", labels("team", "a")));
        let snapshot = PolicySnapshot::new(policies);
        let mut found = 0;
        for image in [
            "ghcr.io/acme/app",
            "ghcr.io/acme/app:v1",
            "ghcr.io/acme/app:v2",
            &pinned,
            &format!("ghcr.io/acme/app:v1@{digest}"),
            "nginx",
            "nginx:1",
            "bitnami/nginx",
            "[::1]:5000/x/y",
            "localhost:5000/a/b:c",
            "quay.io/x/app:v1",
            "ghcr.io/acmes/app",
        ] {
            let image = image.parse().unwrap();
            for namespace in ["a", "b"] {
                for workload in known_in_three_ways(namespace) {
                    let mut all: Vec<_> = snapshot.select_workload(&workload);
                    let mut open = all.clone();
                    all.retain(|policy| policy.scope().covers_image(&image));
                    let ids = |policies: &[&PolicyState]| -> Vec<String> {
                        policies.iter().map(|policy| policy.id().to_string()).collect()
                    };
                    found += all.len();
                    assert_eq!(ids(&snapshot.select(&workload, &image)), ids(&all), "{image}");
                    open.retain(|policy| {
                        let scope = policy.scope();
                        let may = |glob: &ImageGlob| glob.may_match_digest_of(&image);
                        scope.covers_image(&image) || scope.images.iter().any(may)
                    });
                    let unresolved = snapshot.select_unresolved(&workload, &image);
                    assert_eq!(ids(&unresolved), ids(&open), "{image}");
                }
            }
        }
        assert!(found > 100, "{found}");
    }
}
