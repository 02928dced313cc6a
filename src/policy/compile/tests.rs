use serde_json::json;

use super::*;
use crate::evidence::Format;
use crate::policy::Demands;
use crate::policy::LogDemand;
use crate::policy::Signer;
use crate::verdict::Reason;
use crate::verify::CertificateIdentity;
use crate::verify::MAX_LOG_ENTRIES;
use crate::verify::MAX_TIMESTAMPS;

mod keys;
mod rejects;

const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxNvSO9S15tRF1hYdgPqTzfZ6rkQ\n\
    8rr1ZGRRYmLTqU6Zo4ykMkY4PfWyu4iPSxnHYwNpqJxcQ+tIWfYDSKNl3A==\n\
    -----END PUBLIC KEY-----\n";

fn roots() -> References {
    let default = Arc::new(TrustRoot::public_good());
    let named = BTreeMap::from([
        ("private".to_owned(), Arc::new(TrustRoot::public_good())),
        ("other".to_owned(), Arc::new(TrustRoot::public_good())),
    ]);
    References { default, named, keys: Keys::NoCluster }
}

/// A keyless authority that compiles.
fn keyless() -> Value {
    json!({"keyless": {"identities": [{"issuer": "https://issuer.example", "subject": "me@example.com"}]}})
}

fn spec(authority: Value) -> Value {
    json!({"images": [{"glob": "ghcr.io/org/**"}], "authorities": [authority]})
}

fn compile_in(spec: Value, roots: &References) -> Result<Policy, CompileError> {
    compile_cluster_image_policy("p", &serde_json::from_value(spec).unwrap(), roots)
}

fn compile(spec: Value) -> Result<Policy, CompileError> {
    compile_in(spec, &roots())
}

/// `base` with the value at `pointer` set.
fn with(mut base: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = base.pointer_mut(parent).unwrap();
    parent.as_object_mut().unwrap().insert(field.to_owned(), value);
    base
}

fn path_of(spec: Value) -> String {
    compile(spec).unwrap_err().path
}

#[test]
fn compiles_a_policy_with_its_defaults() {
    let policy = compile(spec(keyless())).unwrap();
    assert_eq!(policy.id.to_string(), "ClusterImagePolicy p");
    assert_eq!(policy.mode, Mode::Enforce);
    assert_eq!(policy.on_unavailable, OnUnavailable::Deny);
    assert_eq!(policy.threshold.get(), 1);
    let [authority] = policy.authorities.as_slice() else { panic!("one authority") };
    assert_eq!(authority.name, "authority-0");
    assert_eq!(authority.formats, [Format::Legacy, Format::Bundle]);
    assert_eq!(authority.demands, Demands::new(LogDemand::Entry, false));
}

#[test]
fn a_namespaced_policy_knows_its_namespace() {
    let spec = serde_json::from_value(spec(keyless())).unwrap();
    let policy = compile_image_policy("team", "p", &spec, &roots()).unwrap();
    assert_eq!(policy.id.to_string(), "ImagePolicy team/p");
    assert!(policy.scope.namespaces.is_none());
}

#[test]
fn demands_follow_the_kind_of_authority() {
    let key = || json!({"key": {"data": KEY}});
    let entry = json!({});
    let proof = json!({"inclusionProof": "required"});
    let optional = json!({"inclusionProof": "optional"});
    for (authority, ctlog, timestamp, log) in [
        (keyless(), None, false, LogDemand::Entry),
        (keyless(), None, true, LogDemand::Optional),
        (keyless(), Some(&entry), true, LogDemand::Entry),
        (keyless(), Some(&proof), false, LogDemand::Proof),
        (keyless(), Some(&optional), false, LogDemand::Entry),
        (key(), None, false, LogDemand::Optional),
        (key(), None, true, LogDemand::Optional),
        (key(), Some(&entry), false, LogDemand::Entry),
        (key(), Some(&proof), true, LogDemand::Proof),
    ] {
        let mut authority = authority;
        if let Some(ctlog) = ctlog {
            authority = with(authority, "/ctlog", ctlog.clone());
        }
        if timestamp {
            authority = with(authority, "/rfc3161timestamp", json!({}));
        }
        let text = authority.to_string();
        let policy = compile(spec(authority)).unwrap();
        assert_eq!(policy.authorities[0].demands, Demands::new(log, timestamp), "{text}");
    }
}

#[test]
fn thresholds_of_logs_and_authorities_are_bounded() {
    for (field, most) in [("ctlog", MAX_LOG_ENTRIES), ("rfc3161timestamp", MAX_TIMESTAMPS)] {
        let asked = |threshold: usize| {
            let pointer = format!("/{field}");
            compile(spec(with(keyless(), &pointer, json!({"threshold": threshold}))))
        };
        for good in [1, 2, most] {
            let demands = asked(good).unwrap().authorities[0].demands;
            let found = [demands.log_threshold.get(), demands.timestamp_threshold.get()];
            let wanted = if field == "ctlog" { [good, 1] } else { [1, good] };
            assert_eq!(found, wanted, "{field} {good}");
        }
        for bad in [0, most + 1] {
            let error = asked(bad).unwrap_err();
            assert_eq!(error.path, format!("spec.authorities[0].{field}.threshold"));
            assert!(error.wanted.contains(&format!("1 to {most}")), "{error}");
        }
    }
}

#[test]
fn signature_formats_are_named_as_users_know_them() {
    for (name, formats) in [
        ("legacy", &[Format::Legacy][..]),
        ("bundle", &[Format::Bundle]),
        ("both", &[Format::Legacy, Format::Bundle]),
    ] {
        let authority = with(keyless(), "/signatureFormat", json!(name));
        assert_eq!(compile(spec(authority)).unwrap().authorities[0].formats, formats);
    }
    let unknown = with(spec(keyless()), "/authorities/0/signatureFormat", json!("v2"));
    assert!(serde_json::from_value::<api::ClusterImagePolicySpec>(unknown).is_err());
}

#[test]
fn suggests_what_was_probably_meant() {
    let spec = with(spec(keyless()), "/match", json!([{"resource": "deployment"}]));
    assert_eq!(compile(spec).unwrap_err().wanted, "`deployments`");
}

#[test]
fn anyone_must_be_said() {
    let anyone =
        json!({"keyless": {"identities": [{"issuerRegExp": ".*", "subjectRegExp": ".*"}]}});
    assert!(compile(spec(anyone)).is_ok());
}

#[test]
fn identities_reach_the_matcher_field_by_field() {
    let authority = with(
        keyless(),
        "/keyless/identities/0/claims",
        json!({
            "runnerEnvironment": "github-hosted",
            "sourceRepositoryURI": {"glob": "https://github.com/org/*"},
            "sourceRepositoryRef": {"regex": "refs/(heads/main|tags/v.*)"},
        }),
    );
    let policy = compile(spec(authority)).unwrap();
    let Signer::Identities(identities) = &policy.authorities[0].signer else {
        panic!("identities")
    };
    let good = CertificateIdentity {
        issuer: "https://issuer.example".to_owned(),
        subjects: vec!["me@example.com".to_owned()],
        claims: BTreeMap::from([
            ("runnerEnvironment", "github-hosted".to_owned()),
            ("sourceRepositoryURI", "https://github.com/org/app".to_owned()),
            ("sourceRepositoryRef", "refs/tags/v1".to_owned()),
        ]),
    };
    assert_eq!(identities[0].matches(&good), Ok(()));
    for (claim, value) in [
        ("runnerEnvironment", "self-hosted"),
        ("sourceRepositoryURI", "https://github.com/org/app/evil"),
        ("sourceRepositoryRef", "refs/heads/main-evil"),
    ] {
        let mut bad = good.clone();
        bad.claims.insert(claim, value.to_owned());
        let failure = identities[0].matches(&bad).unwrap_err();
        assert_eq!(failure.reason, Reason::ClaimMismatch, "{claim}");
    }
}

#[test]
fn one_trust_root_for_an_authority() {
    let roots = roots();
    let chosen = |authority: Value| {
        compile_in(spec(authority), &roots)
            .map(|policy| Arc::clone(&policy.authorities[0].trust_root))
    };
    let is =
        |authority: Value, root: &Arc<TrustRoot>| Arc::ptr_eq(&chosen(authority).unwrap(), root);
    let private = &roots.named["private"];
    let named = |name: &str| with(keyless(), "/keyless/trustRootRef", json!(name));
    let reference = |name: &str| json!({"trustRootRef": name});
    let key = || json!({"key": {"data": KEY}});
    assert!(is(keyless(), &roots.default));
    assert!(is(named("private"), private));
    assert!(is(with(named("private"), "/ctlog", json!({})), private));
    assert!(is(with(named("private"), "/ctlog", reference("private")), private));
    assert!(is(with(key(), "/ctlog", reference("private")), private));
    assert!(is(with(key(), "/rfc3161timestamp", reference("private")), private));
    for (authority, path) in [
        (with(keyless(), "/ctlog", reference("private")), "ctlog.trustRootRef"),
        (with(named("private"), "/ctlog", reference("other")), "ctlog.trustRootRef"),
        (
            with(named("private"), "/rfc3161timestamp", reference("other")),
            "rfc3161timestamp.trustRootRef",
        ),
        (named("privat"), "keyless.trustRootRef"),
    ] {
        assert_eq!(chosen(authority).unwrap_err().path, format!("spec.authorities[0].{path}"));
    }
    let unknown = chosen(named("privat")).unwrap_err();
    assert_eq!(unknown.wanted, "`private`");
}

#[test]
fn names_of_authorities_are_distinct() {
    let named = || with(keyless(), "/name", json!("ci"));
    let twice = json!({"images": [{"glob": "**"}], "authorities": [named(), named()]});
    assert_eq!(path_of(twice), "spec.authorities[1].name");
    let default = with(keyless(), "/name", json!("authority-1"));
    let clash = json!({"images": [{"glob": "**"}], "authorities": [default, keyless()]});
    assert_eq!(path_of(clash), "spec.authorities[1].name");
}

#[test]
fn lists_are_bounded() {
    let many = vec![keyless(); api::MAX_AUTHORITIES + 1];
    assert_eq!(path_of(with(spec(keyless()), "/authorities", json!(many))), "spec.authorities");
    let identity = json!({"issuer": "i", "subject": "s"});
    let identities = json!(vec![identity; api::MAX_IDENTITIES + 1]);
    let crowd = spec(json!({"keyless": {"identities": identities}}));
    assert_eq!(path_of(crowd), "spec.authorities[0].keyless.identities");
    let regex = json!({"issuerRegExp": "a+", "subjectRegExp": "b+"});
    let regexes = |count: usize| json!({"keyless": {"identities": vec![regex.clone(); count]}});
    let half = vec![regexes(api::MAX_IDENTITIES); 4];
    let within = with(spec(keyless()), "/authorities", json!(half));
    assert!(compile(within).is_ok());
    let beyond = vec![regexes(api::MAX_IDENTITIES); 5];
    let beyond = with(spec(keyless()), "/authorities", json!(beyond));
    assert_eq!(path_of(beyond), "spec.authorities");
}

#[test]
fn an_invalid_policy_denies_what_it_could_be_for() {
    let id = || PolicyId::Cluster { name: "p".to_owned() };
    let globs = |spec: Value| {
        let invalid = invalid(id(), &spec, "bad key");
        invalid.scope.images.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        globs(json!({"images": [{"glob": "ghcr.io/**"}], "authorities": 7})),
        ["ghcr.io/**"]
    );
    // One unreadable glob may have been for anything.
    assert_eq!(globs(json!({"images": [{"glob": "ghcr.io/**"}, {"glob": "["}]})), ["**"]);
    for spec in [json!({}), Value::Null, json!({"images": "x"}), json!({"images": []})] {
        assert_eq!(globs(spec), ["**"]);
    }
    let narrow = json!({
        "match": [{"resource": "pods"}],
        "namespaceSelector": {"matchLabels": {"env": "prod"}},
    });
    let scope = invalid(id(), &narrow, "bad key").scope;
    assert_eq!(scope.workloads.len(), 1);
    assert!(scope.namespaces.is_some());
    let broken = json!({
        "match": [{"resource": "pods"}, {"resuorce": "jobs"}],
        "namespaceSelector": {"matchLables": {"env": "prod"}},
    });
    let scope = invalid(id(), &broken, "bad key").scope;
    assert!(scope.workloads.is_empty() && scope.namespaces.is_none());
}

#[test]
fn trust_roots_are_inline_or_files() {
    let source = |spec: Value| trust_root_source(&serde_json::from_value(spec).unwrap());
    assert_eq!(
        source(json!({"trustedRoot": "{}"})).unwrap(),
        TrustRootSource::Json("{}".to_owned())
    );
    assert_eq!(
        source(json!({"trustedRoot": {"mediaType": "x"}})).unwrap(),
        TrustRootSource::Json(r#"{"mediaType":"x"}"#.to_owned())
    );
    assert_eq!(
        source(json!({"trustedRoot": {"file": "root.json"}})).unwrap(),
        TrustRootSource::File("root.json".to_owned())
    );
    for (spec, path) in [
        (json!({}), "spec.trustedRoot"),
        (json!({"trustedRoot": 7}), "spec.trustedRoot"),
        (json!({"trustedRoot": {"file": "a", "mediaType": "x"}}), "spec.trustedRoot.file"),
        (json!({"trustedRoot": {"secretRef": {"name": "a"}}}), "spec.trustedRoot.secretRef"),
        (json!({"remote": {"mirror": "x"}}), "spec.remote"),
        (json!({"trustedRoot": "{}", "sigstoreKeys": {}}), "spec.sigstoreKeys"),
        (json!({"trustedRoot": "{}", "tuf": {"mirror": "x", "root": "{}"}}), "spec.tuf"),
        (json!({"repository": {}}), "spec.repository"),
    ] {
        assert_eq!(source(spec).unwrap_err().path, path);
    }
    let file = serde_json::from_value(json!({"trustedRoot": {"file": "a"}})).unwrap();
    assert_eq!(compile_trust_root(&file).unwrap_err().path, "spec.trustedRoot.file");
    let empty = serde_json::from_value(json!({"trustedRoot": "{}"})).unwrap();
    assert_eq!(compile_trust_root(&empty).unwrap_err().path, "spec.trustedRoot");
}

#[test]
fn an_empty_field_is_not_an_absent_one() {
    for (pointer, field) in [
        ("/threshold", "threshold"),
        ("/namespaceSelector", "namespaceSelector"),
        ("/match", "match"),
        ("/mode", "mode"),
        ("/policy", "policy"),
        ("/authorities/0/attestations", "attestations"),
        ("/authorities/0/ctlog", "ctlog"),
        ("/authorities/0/rfc3161timestamp", "rfc3161timestamp"),
        ("/authorities/0/source", "source"),
        ("/authorities/0/keyless/trustRootRef", "trustRootRef"),
        ("/authorities/0/keyless/identities/0/claims", "claims"),
        ("/authorities/0/keyless/identities/0/issuerRegExp", "issuerRegExp"),
    ] {
        let spec = with(spec(keyless()), pointer, Value::Null);
        let parsed = serde_json::from_value::<api::ClusterImagePolicySpec>(spec);
        assert!(parsed.is_err(), "{field}");
    }
}
