use serde_json::Value;
use serde_json::json;

use super::*;
use crate::cluster::watch::report::Kind;
use crate::cluster::watch::report::Outcome;
use crate::image::ImageRef;
use crate::policy::PolicyState;
use crate::policy::Signer;
use crate::policy::Workload;
use crate::policy::compile::KeyHolder;

mod certificates;
mod referred;
mod roots;

const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxNvSO9S15tRF1hYdgPqTzfZ6rkQ\n\
    8rr1ZGRRYmLTqU6Zo4ykMkY4PfWyu4iPSxnHYwNpqJxcQ+tIWfYDSKNl3A==\n\
    -----END PUBLIC KEY-----\n";

const OWN: &str = "tegata-system";

/// An index, and what it made of the events so far.
struct Cluster {
    index: Index,
    version: u64,
}

impl Cluster {
    /// A cluster in which everything has been listed, and is empty.
    fn new() -> Self {
        let mut cluster = Self::unlisted();
        for source in [
            Source::ClusterImagePolicies,
            Source::ImagePolicies,
            Source::Namespaces,
            Source::TrustRoots,
        ] {
            cluster.list(&source, Vec::new());
        }
        assert!(cluster.index.listed());
        cluster
    }

    fn unlisted() -> Self {
        let root = Arc::new(TrustRoot::public_good());
        Self { index: Index::new(OWN.to_owned(), root), version: 0 }
    }

    fn list(&mut self, source: &Source, objects: Vec<Object>) {
        self.index.apply(source, Event::Init);
        for object in objects {
            self.index.apply(source, Event::InitApply(object));
        }
        self.index.apply(source, Event::InitDone);
    }

    fn object(&mut self, name: &str, uid: &str, fields: Value) -> Object {
        self.version += 1;
        let (namespace, name) =
            name.split_once('/').map_or((None, name), |(n, name)| (Some(n), name));
        let mut object = json!({"metadata": {
            "name": name, "namespace": namespace, "uid": uid, "generation": self.version,
            "resourceVersion": self.version.to_string(),
        }});
        object.as_object_mut().unwrap().extend(fields.as_object().unwrap().clone());
        parse(&object.to_string())
    }

    fn apply(&mut self, source: &Source, name: &str, fields: Value) {
        let object = self.object(name, name, fields);
        self.index.apply(source, Event::Apply(object));
    }

    fn delete(&mut self, source: &Source, name: &str) {
        let object = self.object(name, name, json!({}));
        self.index.apply(source, Event::Delete(object));
    }

    fn policy(&mut self, name: &str, spec: Value) {
        let source =
            if name.contains('/') { Source::ImagePolicies } else { Source::ClusterImagePolicies };
        self.apply(&source, name, json!({"spec": spec}));
    }

    /// The key object has been looked up: it holds `data`, or is not there.
    fn key(&mut self, namespace: &str, data: Option<Value>) {
        let source = secret(namespace);
        let data = data
            .map(|data| self.object(&format!("{namespace}/signer"), "k", json!({"data": data})));
        self.list(&source, data.into_iter().collect());
    }

    /// How each policy stands: `ready GLOB`, or `invalid PROBLEM`.
    fn states(&mut self) -> Vec<String> {
        let view = self.index.refresh();
        let state = |state: &PolicyState| match state {
            PolicyState::Ready(policy) => format!("{} ready {}", policy.id, policy.scope.images[0]),
            PolicyState::Invalid(policy) => format!("{} invalid {}", policy.id, policy.problem),
        };
        view.snapshot.policies().iter().map(state).collect()
    }

    /// The only policy's state.
    fn state(&mut self) -> String {
        let states = self.states();
        assert_eq!(states.len(), 1, "{states:?}");
        states[0].split_once(" p ").map_or_else(|| states[0].clone(), |(_, state)| state.to_owned())
    }

    fn outcome(&mut self, kind: Kind) -> Outcome {
        let view = self.index.refresh();
        view.reports.iter().find(|report| report.kind == kind).unwrap().outcome.clone()
    }
}

fn parse(text: &str) -> Object {
    serde_json::from_str(text).unwrap()
}

fn secret(namespace: &str) -> Source {
    let (namespace, name) = (namespace.to_owned(), "signer".to_owned());
    Source::Key(KeyObject { namespace, kind: KeyHolder::Secret, name })
}

fn keyless(glob: &str) -> Value {
    let identities = json!([{"issuer": "https://issuer.example", "subject": "me@example.com"}]);
    json!({"images": [{"glob": glob}], "authorities": [{"keyless": {"identities": identities}}]})
}

fn rooted(glob: &str, root: &str) -> Value {
    let mut spec = keyless(glob);
    spec["authorities"][0]["keyless"]["trustRootRef"] = json!(root);
    spec
}

fn keyed(glob: &str) -> Value {
    let reference = json!({"name": "signer"});
    json!({"images": [{"glob": glob}], "authorities": [{"key": {"secretRef": reference}}]})
}

/// A spec that does not compile.
fn broken(glob: &str) -> Value {
    let mut spec = keyless(glob);
    spec["threshold"] = json!(7);
    spec
}

fn pem(text: &str) -> Value {
    use base64::Engine as _;
    json!({"cosign.pub": base64::engine::general_purpose::STANDARD.encode(text)})
}

fn trusted_root() -> Value {
    json!({"trustedRoot": sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT})
}

#[test]
fn nothing_is_complete_before_every_list_has_ended() {
    let mut cluster = Cluster::unlisted();
    for source in [Source::ClusterImagePolicies, Source::ImagePolicies, Source::TrustRoots] {
        cluster.list(&source, Vec::new());
        assert!(!cluster.index.listed());
    }
    cluster.index.apply(&Source::Namespaces, Event::Init);
    assert!(!cluster.index.listed());
    cluster.index.apply(&Source::Namespaces, Event::InitDone);
    assert!(cluster.index.listed());
}

#[test]
fn a_new_list_replaces_the_old_one_when_it_has_ended_and_not_before() {
    let mut cluster = Cluster::new();
    cluster.policy("p", keyless("a/**"));
    cluster.policy("q", keyless("b/**"));
    assert_eq!(cluster.states().len(), 2);
    let source = Source::ClusterImagePolicies;
    let object = cluster.object("p", "p", json!({"spec": keyless("c/**")}));
    assert!(!cluster.index.apply(&source, Event::Init));
    assert!(!cluster.index.apply(&source, Event::InitApply(object.clone())));
    assert_eq!(cluster.states().len(), 2, "the list has not ended");
    // It broke off, and begins again.
    assert!(!cluster.index.apply(&source, Event::Init));
    assert!(!cluster.index.apply(&source, Event::InitApply(object)));
    assert!(cluster.index.apply(&source, Event::InitDone));
    assert_eq!(cluster.state(), "ready c/**");
}

#[test]
fn what_cannot_be_read_denies_and_is_never_absent() {
    for (spec, problem) in [
        (json!({}), "spec: missing field `images`"),
        (Value::Null, "spec: it is missing, wanted the specification"),
        (
            json!({"images": 7, "authorities": []}),
            "spec.images: invalid type: integer `7`, expected a sequence",
        ),
        (
            json!("text"),
            "spec: invalid type: string \"text\", expected struct ClusterImagePolicySpec",
        ),
        (
            broken("**"),
            "spec.threshold: 7 of 1 authorities, wanted a number from 1 to 1, the number of authorities",
        ),
    ] {
        let mut cluster = Cluster::new();
        cluster.policy("p", spec);
        assert_eq!(cluster.state(), format!("invalid {problem}"));
        let Outcome::Invalid { error, last_good: false } =
            cluster.outcome(Kind::ClusterImagePolicy)
        else {
            panic!("invalid")
        };
        assert!(!error.missing);
    }
}

#[test]
fn a_spec_that_nests_too_deep_denies_and_leaves_others_alone() {
    let mut cluster = Cluster::new();
    cluster.policy("other/q", keyless("a/**"));
    let deep = format!("{}1{}", r#"{"a":"#.repeat(5000), "}".repeat(5000));
    let object = format!(
        r#"{{"metadata":{{"name":"p","namespace":"team","uid":"u"}},"spec":{{"policy":{deep}}}}}"#
    );
    cluster.index.apply(&Source::ImagePolicies, Event::Apply(parse(&object)));
    let states = cluster.states();
    assert_eq!(states[0], "ImagePolicy other/q ready a/**");
    assert!(
        states[1].starts_with("ImagePolicy team/p invalid spec: recursion limit"),
        "{states:?}"
    );
}

#[test]
fn the_last_good_version_stays_in_force_while_a_new_one_is_broken() {
    let mut cluster = Cluster::new();
    cluster.policy("p", keyless("a/**"));
    assert_eq!(cluster.state(), "ready a/**");
    cluster.policy("p", broken("b/**"));
    assert_eq!(cluster.state(), "ready a/**");
    let outcome = cluster.outcome(Kind::ClusterImagePolicy);
    assert!(matches!(outcome, Outcome::Invalid { last_good: true, .. }), "{outcome:?}");
    cluster.policy("p", broken("c/**"));
    assert_eq!(cluster.state(), "ready a/**");
    cluster.policy("p", keyless("d/**"));
    assert_eq!(cluster.state(), "ready d/**");
    assert_eq!(cluster.outcome(Kind::ClusterImagePolicy), Outcome::Policy);
}

#[test]
fn a_deleted_policy_is_gone_with_its_last_good_version() {
    let mut cluster = Cluster::new();
    cluster.policy("p", keyless("a/**"));
    cluster.states();
    cluster.delete(&Source::ClusterImagePolicies, "p");
    assert!(cluster.states().is_empty());
    cluster.policy("p", broken("b/**"));
    assert!(cluster.state().starts_with("invalid"));

    // The same while the watch was away: another object of the same name.
    cluster.policy("p", keyless("a/**"));
    assert_eq!(cluster.state(), "ready a/**");
    let other = cluster.object("p", "another", json!({"spec": broken("b/**")}));
    cluster.list(&Source::ClusterImagePolicies, vec![other]);
    assert!(cluster.state().starts_with("invalid"));
}

#[test]
fn a_key_that_is_taken_away_is_not_used_any_longer() {
    let missing = "invalid spec.authorities[0].key.secretRef: ";
    let key = secret(OWN);
    for (taken, problem) in [
        (None, "there is no Secret tegata-system/signer"),
        (Some(pem("hunter2")), "Secret tegata-system/signer holds no public key in PEM"),
        (Some(json!({"a": "", "b": ""})), "Secret tegata-system/signer has several entries"),
        (Some(json!({"a": "*"})), "Secret tegata-system/signer holds no text"),
    ] {
        let mut cluster = Cluster::new();
        cluster.policy("p", keyed("a/**"));
        assert!(cluster.state().starts_with(missing), "not read yet");
        assert!(cluster.index.keys_pending());
        assert!(cluster.index.key_objects().cloned().map(Source::Key).eq([key.clone()]));
        cluster.key(OWN, Some(pem(KEY)));
        assert!(!cluster.index.keys_pending());
        assert_eq!(cluster.state(), "ready a/**");

        // A broken version changes nothing; it keeps the good one's key watched.
        cluster.policy("p", broken("b/**"));
        assert_eq!(cluster.state(), "ready a/**");
        cluster.key(OWN, taken);
        assert!(cluster.state().starts_with("invalid spec.threshold"));
        cluster.policy("p", keyed("a/**"));
        let state = cluster.state();
        assert!(state.starts_with(&format!("{missing}{problem}")), "{state}");
        cluster.key(OWN, Some(pem(KEY)));
        assert_eq!(cluster.state(), "ready a/**");

        cluster.policy("p", keyless("a/**"));
        assert_eq!(cluster.state(), "ready a/**");
        assert_eq!(cluster.index.key_objects().count(), 1, "until it has compiled");
        cluster.policy("p", keyless("b/**"));
        cluster.state();
        assert_eq!(cluster.index.key_objects().count(), 0);
    }
}

#[test]
fn a_version_that_names_what_is_not_there_denies_and_no_earlier_one_is_used() {
    for (spec, problem) in [
        (keyed("b/**"), "invalid spec.authorities[0].key.secretRef: there is no Secret"),
        (
            rooted("b/**", "private"),
            "invalid spec.authorities[0].keyless.trustRootRef: there is no usable TrustRoot",
        ),
    ] {
        let mut cluster = Cluster::new();
        cluster.policy("p", keyless("a/**"));
        assert_eq!(cluster.state(), "ready a/**");
        cluster.policy("p", spec);
        cluster.state();
        cluster.key(OWN, None);
        assert!(cluster.state().starts_with(problem), "{}", cluster.state());
        let outcome = cluster.outcome(Kind::ClusterImagePolicy);
        assert!(matches!(outcome, Outcome::Invalid { last_good: false, .. }), "{outcome:?}");
    }
}

#[test]
fn a_key_that_cannot_be_read_denies_until_it_can_and_is_kept_after() {
    let mut cluster = Cluster::new();
    cluster.policy("team/p", keyed("a/**"));
    cluster.states();
    let Source::Key(object) = secret("team") else { panic!("a key") };
    assert!(cluster.index.key_failed(&object, "forbidden".to_owned()));
    assert!(!cluster.index.keys_pending());
    let states = cluster.states();
    assert!(states[0].contains("Secret team/signer cannot be read: forbidden"), "{states:?}");
    cluster.key("team", Some(pem(KEY)));
    assert_eq!(cluster.states(), ["ImagePolicy team/p ready a/**"]);
    assert!(!cluster.index.key_failed(&object, "connection refused".to_owned()));
    assert_eq!(cluster.states(), ["ImagePolicy team/p ready a/**"]);
}

#[test]
fn a_rotated_key_reaches_policies_and_the_last_good_ones() {
    const OTHER: &str = "-----BEGIN PUBLIC KEY-----\n\
        MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
        -----END PUBLIC KEY-----\n";
    let mut cluster = Cluster::new();
    let key = |cluster: &mut Cluster| {
        let view = cluster.index.refresh();
        let PolicyState::Ready(policy) = &view.snapshot.policies()[0] else { panic!("ready") };
        let Signer::Keys(keys) = &policy.authorities[0].signer else { panic!("keys") };
        keys[0].fingerprint().to_owned()
    };
    cluster.policy("p", keyed("a/**"));
    cluster.state();
    cluster.key(OWN, Some(pem(KEY)));
    let first = key(&mut cluster);
    cluster.policy("p", broken("b/**"));
    cluster.key(OWN, Some(pem(OTHER)));
    assert_ne!(key(&mut cluster), first);
}

#[test]
fn a_trust_root_reaches_those_that_name_it_and_its_end_does_too() {
    let roots = Source::TrustRoots;
    let mut cluster = Cluster::new();
    cluster.policy("p", rooted("a/**", "private"));
    assert!(cluster.state().contains("there is no usable TrustRoot `private`"));
    cluster.apply(&roots, "private", json!({"spec": trusted_root()}));
    assert_eq!(cluster.state(), "ready a/**");
    let Outcome::TrustRoot { holds } = cluster.outcome(Kind::TrustRoot) else { panic!("ready") };
    assert!(holds.starts_with("certificate authorities: 2, logs: "), "{holds}");

    cluster.apply(&roots, "private", json!({"spec": {"trustedRoot": "{}"}}));
    assert_eq!(cluster.state(), "ready a/**", "the last good version");
    let outcome = cluster.outcome(Kind::TrustRoot);
    assert!(matches!(outcome, Outcome::Invalid { last_good: true, .. }), "{outcome:?}");

    cluster.policy("p", rooted("b/**", "private"));
    assert_eq!(cluster.state(), "ready b/**");
    cluster.delete(&roots, "private");
    assert!(cluster.state().contains("there is no usable TrustRoot `private`"));
}

#[test]
fn labels_of_namespaces_reach_the_snapshot() {
    let mut cluster = Cluster::new();
    let mut spec = keyless("**");
    spec["namespaceSelector"] = json!({"matchLabels": {"signed": "yes"}});
    cluster.policy("p", spec);
    let mut selected = |labels: Value| {
        let object = json!({"metadata": {"name": "team", "uid": "n", "labels": labels}});
        cluster.index.apply(&Source::Namespaces, Event::Apply(parse(&object.to_string())));
        let view = cluster.index.refresh();
        let workload = Workload { namespace: "team".to_owned(), ..Workload::default() };
        let image: ImageRef = "ghcr.io/org/app".parse().unwrap();
        view.snapshot.select(&view.snapshot.know_namespace(&workload), &image).len()
    };
    assert_eq!(selected(json!({"signed": "yes"})), 1);
    assert_eq!(selected(json!({"signed": "no"})), 0);
    assert_eq!(selected(json!({"signed": "yes"})), 1);
}

#[test]
fn a_status_alone_compiles_nothing_anew() {
    let mut cluster = Cluster::new();
    cluster.policy("p", keyless("a/**"));
    let policy = |cluster: &mut Cluster| {
        let view = cluster.index.refresh();
        let PolicyState::Ready(policy) = &view.snapshot.policies()[0] else { panic!("ready") };
        Arc::clone(policy)
    };
    let before = policy(&mut cluster);
    let status = json!({"observedGeneration": 1, "conditions": []});
    let fields = json!({"spec": keyless("a/**"), "status": status});
    cluster.apply(&Source::ClusterImagePolicies, "p", fields);
    assert!(Arc::ptr_eq(&before, &policy(&mut cluster)));
    let view = cluster.index.refresh();
    assert_eq!(view.reports[0].status.observed_generation, Some(1));
    assert_eq!(view.reports[0].resource_version, "2");
    assert!(Arc::ptr_eq(&view.snapshot, &cluster.index.refresh().snapshot), "nothing is new");
}

#[test]
fn an_object_named_like_another_kind_is_another_object() {
    let mut cluster = Cluster::new();
    cluster.policy("p", keyless("a/**"));
    cluster.policy("team/p", keyless("b/**"));
    cluster.apply(&Source::TrustRoots, "p", json!({"spec": trusted_root()}));
    assert_eq!(
        cluster.states(),
        ["ClusterImagePolicy p ready a/**", "ImagePolicy team/p ready b/**"]
    );
    cluster.delete(&Source::ImagePolicies, "team/p");
    assert_eq!(cluster.states(), ["ClusterImagePolicy p ready a/**"]);
}

#[test]
fn a_namespace_has_its_share_of_patterns_and_what_is_beyond_denies() {
    let globs = |count: usize| {
        let mut spec = keyless("a");
        let glob = |index| json!({"glob": format!("registry.example/{index}/**")});
        spec["images"] = (0..count).map(glob).collect();
        spec
    };
    let mut matching = keyless("c/**");
    let identity = json!({"issuerRegExp": "a+", "subjectRegExp": "b+"});
    matching["authorities"][0]["keyless"]["identities"] = json!([identity]);
    let mut cluster = Cluster::new();
    for name in ["all", "team/a", "team/b"] {
        cluster.policy(name, globs(MAX_PATTERNS_PER_NAMESPACE / 2));
    }
    cluster.policy("team/c", matching);
    cluster.policy("zeal/d", keyless("d/**"));
    let refused = "ImagePolicy team/c invalid spec: with it the namespace's policies hold 515 globs \
                   and regular expressions, wanted at most 512, those of `images` included";
    let states = cluster.states();
    assert_eq!(states[3], refused);
    assert!([0, 1, 2, 4].iter().all(|index| states[*index].contains(" ready ")), "{states:?}");
    let view = cluster.index.refresh();
    let PolicyState::Invalid(policy) = &view.snapshot.policies()[3] else { panic!("{states:?}") };
    let other: ImageRef = "elsewhere.example/x:1".parse().unwrap();
    assert!(policy.scope.covers_image(&other), "it denies in its whole reach");
    // What is refused is not looked at again and again, and has its place once there is one.
    assert!(Arc::ptr_eq(&view.snapshot, &cluster.index.refresh().snapshot));
    cluster.delete(&Source::ImagePolicies, "team/a");
    assert_eq!(cluster.states()[2], "ImagePolicy team/c ready c/**");
}
