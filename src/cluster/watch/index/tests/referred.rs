//! Trust roots that are in a ConfigMap.
use super::*;

const JSON: &str = sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

const NOT_USABLE: &str = "invalid spec.authorities[0].keyless.trustRootRef: there is no usable \
                          TrustRoot `private`";

const FIELD: &str = "spec.trustedRoot.configMapRef";

/// The ConfigMap of this name in Tegata's namespace.
fn config_map(name: &str) -> Source {
    let (namespace, name) = (OWN.to_owned(), name.to_owned());
    Source::Key(KeyObject { namespace, kind: KeyHolder::ConfigMap, name })
}

fn reference(name: &str) -> Value {
    json!({"spec": {"trustedRoot": {"configMapRef": {"name": name}}}})
}

/// The public instance's root with so many of its logs.
fn logs(count: usize) -> Value {
    let mut root: Value = serde_json::from_str(JSON).unwrap();
    root["tlogs"].as_array_mut().unwrap().truncate(count);
    json!({"trusted_root.json": root.to_string()})
}

impl Cluster {
    /// A cluster with a policy under a trust root in the ConfigMap `roots`, of which nothing has
    /// been heard.
    fn referring() -> Self {
        let mut cluster = Self::new();
        cluster.policy("p", rooted("a/**", "private"));
        cluster.apply(&Source::TrustRoots, "private", reference("roots"));
        cluster
    }

    /// The same, with this in the ConfigMap and the policy in force.
    fn with_root(data: Value) -> Self {
        let mut cluster = Self::referring();
        cluster.state();
        cluster.config_map("roots", Some(data));
        assert_eq!(cluster.state(), "ready a/**");
        cluster
    }

    /// The ConfigMap has been looked up: it holds `data`, or is not there.
    fn config_map(&mut self, name: &str, data: Option<Value>) {
        let data =
            data.map(|data| self.object(&format!("{OWN}/{name}"), name, json!({"data": data})));
        self.list(&config_map(name), data.into_iter().collect());
    }

    /// What the only policy's trust root holds of logs.
    fn logs(&mut self) -> usize {
        let view = self.index.refresh();
        let PolicyState::Ready(policy) = &view.snapshot.policies()[0] else { panic!("ready") };
        policy.authorities[0].trust_root.logs().len()
    }

    /// Whether the trust root is not usable for this reason, and no last good one stands in.
    fn is_missing(&mut self, wanted: &str) {
        assert!(self.state().starts_with(NOT_USABLE), "{}", self.state());
        let Outcome::Invalid { error, last_good: false } = self.outcome(Kind::TrustRoot) else {
            panic!("{:?}", self.outcome(Kind::TrustRoot))
        };
        assert!(error.missing, "{error}");
        assert_eq!((error.path.as_str(), error.problem.as_str()), (FIELD, wanted));
    }
}

#[test]
fn it_is_watched_and_denies_until_it_has_been_read() {
    let mut cluster = Cluster::referring();
    cluster.is_missing("ConfigMap tegata-system/roots has not been read yet");
    assert!(cluster.index.keys_pending());
    assert!(cluster.index.key_objects().cloned().map(Source::Key).eq([config_map("roots")]));
    cluster.config_map("roots", Some(logs(2)));
    assert!(!cluster.index.keys_pending());
    assert_eq!(cluster.state(), "ready a/**");
    assert_eq!(cluster.logs(), 2);
    let Outcome::TrustRoot { holds } = cluster.outcome(Kind::TrustRoot) else { panic!("ready") };
    assert!(holds.starts_with("certificate authorities: 2, logs: 2"), "{holds}");
    assert!(cluster.index.sources().is_empty() && !cluster.index.roots_pending());
}

#[test]
fn each_change_reaches_policies_and_the_same_content_compiles_nothing_anew() {
    let mut cluster = Cluster::with_root(logs(2));
    cluster.config_map("roots", Some(logs(1)));
    assert_eq!(cluster.logs(), 1);
    let policy = |cluster: &mut Cluster| {
        let view = cluster.index.refresh();
        let PolicyState::Ready(policy) = &view.snapshot.policies()[0] else { panic!("ready") };
        Arc::clone(policy)
    };
    let before = policy(&mut cluster);
    let mut data = logs(1);
    data["another"] = json!("entry");
    cluster.config_map("roots", Some(data));
    assert!(Arc::ptr_eq(&before, &policy(&mut cluster)));
}

#[test]
fn what_is_missing_denies_at_once_and_no_last_good_one_comes_back() {
    for (taken, problem) in [
        (None, "there is no ConfigMap tegata-system/roots"),
        (Some(json!({})), "ConfigMap tegata-system/roots is not there: the object holds nothing"),
        (
            Some(json!({"a": "", "b": ""})),
            "ConfigMap tegata-system/roots has several entries: `a`, `b`; say which one in `key`",
        ),
    ] {
        let mut cluster = Cluster::with_root(logs(2));
        cluster.config_map("roots", taken);
        cluster.is_missing(problem);
        // What comes next is wrong, and the good one is gone.
        cluster.config_map("roots", Some(json!({"trusted_root.json": "{}"})));
        assert!(cluster.state().starts_with(NOT_USABLE), "{}", cluster.state());
        let outcome = cluster.outcome(Kind::TrustRoot);
        assert!(matches!(outcome, Outcome::Unusable { last_good: false, .. }), "{outcome:?}");
        cluster.config_map("roots", Some(logs(1)));
        assert_eq!(cluster.logs(), 1);
    }
}

#[test]
fn an_entry_that_is_named_must_be_there() {
    let mut cluster = Cluster::with_root(logs(2));
    let named = json!({"configMapRef": {"name": "roots", "key": "x.json"}});
    cluster.apply(&Source::TrustRoots, "private", json!({"spec": {"trustedRoot": named}}));
    cluster.is_missing(
        "ConfigMap tegata-system/roots, entry `x.json` is not there: the object holds \
         `trusted_root.json`",
    );
    cluster.config_map("roots", Some(json!({"x.json": JSON, "trusted_root.json": "{}"})));
    assert_eq!(cluster.state(), "ready a/**");
}

#[test]
fn what_is_wrong_keeps_the_last_good_one_and_says_so() {
    let mut cluster = Cluster::with_root(logs(2));
    for wrong in ["{}", "", "hunter2"] {
        cluster.config_map("roots", Some(json!({"trusted_root.json": wrong})));
        assert_eq!(cluster.state(), "ready a/**");
        assert_eq!(cluster.logs(), 2);
        let Outcome::Unusable { error, last_good: true } = cluster.outcome(Kind::TrustRoot) else {
            panic!("{:?}", cluster.outcome(Kind::TrustRoot))
        };
        let problem = "ConfigMap tegata-system/roots holds no trusted root";
        assert_eq!((error.path.as_str(), error.problem.as_str()), (FIELD, problem));
        assert!(!error.missing);
    }
    cluster.config_map("roots", Some(logs(1)));
    assert_eq!(cluster.logs(), 1);
}

#[test]
fn what_was_never_good_denies() {
    let mut cluster = Cluster::referring();
    cluster.state();
    cluster.config_map("roots", Some(json!({"trusted_root.json": "{}"})));
    assert!(cluster.state().starts_with(NOT_USABLE), "{}", cluster.state());
    let outcome = cluster.outcome(Kind::TrustRoot);
    assert!(matches!(outcome, Outcome::Unusable { last_good: false, .. }), "{outcome:?}");
}

#[test]
fn it_does_not_outlive_a_change_to_something_else() {
    let same_but_broken = json!({"trustedRoot": {"configMapRef": {"name": "Roots"}}});
    for spec in [
        json!({"trustedRoot": {"configMapRef": {"name": "others"}}}),
        same_but_broken,
        json!({"trustedRoot": {"configMapRef": {"name": "roots", "key": "others.json"}}}),
        json!({"trustedRoot": {"configMapRef": {"name": "roots"}, "file": "x"}}),
        json!({"trustedRoot": "{}"}),
        json!({"trustedRoot": {}}),
        json!({"sigstoreKeys": {}}),
        json!({"tuf": {"mirror": "x", "root": "{}"}}),
        json!({}),
    ] {
        let mut cluster = Cluster::with_root(logs(2));
        cluster.apply(&Source::TrustRoots, "private", json!({"spec": spec}));
        assert!(cluster.state().starts_with(NOT_USABLE), "{spec}: {}", cluster.state());
        // And it is not there when the next mistake looks for a last good one.
        let wrong = || Some(json!({"trusted_root.json": "{}"}));
        cluster.config_map("roots", wrong());
        cluster.apply(&Source::TrustRoots, "private", reference("roots"));
        cluster.state();
        cluster.config_map("roots", wrong());
        assert!(cluster.state().starts_with(NOT_USABLE), "{spec}: {}", cluster.state());
    }
}

#[test]
fn a_root_in_the_spec_does_not_outlive_a_change_to_a_config_map() {
    let mut cluster = Cluster::new();
    cluster.policy("p", rooted("a/**", "private"));
    cluster.apply(&Source::TrustRoots, "private", json!({"spec": trusted_root()}));
    assert_eq!(cluster.state(), "ready a/**");
    cluster.apply(&Source::TrustRoots, "private", reference("roots"));
    cluster.is_missing("ConfigMap tegata-system/roots has not been read yet");
    cluster.config_map("roots", Some(json!({"trusted_root.json": "{}"})));
    assert!(cluster.state().starts_with(NOT_USABLE), "{}", cluster.state());
}

#[test]
fn one_that_may_not_be_read_is_missing_and_says_why() {
    let mut cluster = Cluster::referring();
    cluster.state();
    let Source::Key(object) = config_map("roots") else { panic!("a key") };
    assert!(cluster.index.key_failed(&object, "forbidden".to_owned()));
    cluster.is_missing("ConfigMap tegata-system/roots cannot be read: forbidden");
    cluster.config_map("roots", Some(logs(2)));
    assert_eq!(cluster.state(), "ready a/**");
    assert!(!cluster.index.key_failed(&object, "connection refused".to_owned()));
    assert_eq!(cluster.state(), "ready a/**", "what was read stays while nobody answers");
}

#[test]
fn a_config_map_may_hold_keys_and_a_trusted_root() {
    let mut cluster = Cluster::with_root(logs(2));
    let key = json!({"configMapRef": {"name": "roots"}});
    let spec = json!({"images": [{"glob": "b/**"}], "authorities": [{"key": key}]});
    cluster.policy("q", spec);
    cluster.states();
    let mut data = logs(2);
    data["cosign.pub"] = json!(KEY);
    cluster.config_map("roots", Some(data));
    assert_eq!(
        cluster.states(),
        ["ClusterImagePolicy p ready a/**", "ClusterImagePolicy q ready b/**"]
    );
    cluster.delete(&Source::TrustRoots, "private");
    cluster.delete(&Source::ClusterImagePolicies, "q");
    cluster.states();
    assert_eq!(cluster.index.key_objects().count(), 0, "nobody names it any longer");
}
