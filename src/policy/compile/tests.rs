use serde_json::json;

use super::*;
use crate::evidence::Format;
use crate::policy::Demands;
use crate::policy::LogDemand;
use crate::policy::Signer;
use crate::verdict::Reason;
use crate::verify::CertificateIdentity;

const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxNvSO9S15tRF1hYdgPqTzfZ6rkQ\n\
    8rr1ZGRRYmLTqU6Zo4ykMkY4PfWyu4iPSxnHYwNpqJxcQ+tIWfYDSKNl3A==\n\
    -----END PUBLIC KEY-----\n";

fn roots() -> TrustRoots {
    let default = Arc::new(TrustRoot::public_good());
    let named = BTreeMap::from([
        ("private".to_owned(), Arc::new(TrustRoot::public_good())),
        ("other".to_owned(), Arc::new(TrustRoot::public_good())),
    ]);
    TrustRoots { default, named }
}

/// A keyless authority that compiles.
fn keyless() -> Value {
    json!({"keyless": {"identities": [{"issuer": "https://issuer.example", "subject": "me@example.com"}]}})
}

fn spec(authority: Value) -> Value {
    json!({"images": [{"glob": "ghcr.io/org/**"}], "authorities": [authority]})
}

fn compile_in(spec: Value, roots: &TrustRoots) -> Result<Policy, CompileError> {
    compile_cluster_image_policy("p", &serde_json::from_value(spec).unwrap(), roots)
}

fn compile(spec: Value) -> Result<Policy, CompileError> {
    compile_in(spec, &roots())
}

/// `base` with the value at `pointer` set.
fn with(mut base: Value, pointer: &str, value: Value) -> Value {
    let (parent, field) = pointer.rsplit_once('/').unwrap();
    let parent = base.pointer_mut(parent).unwrap();
    parent
        .as_object_mut()
        .unwrap()
        .insert(field.to_owned(), value);
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
    let [authority] = policy.authorities.as_slice() else {
        panic!("one authority")
    };
    assert_eq!(authority.name, "authority-0");
    assert_eq!(authority.formats, [Format::Legacy, Format::Bundle]);
    assert_eq!(
        authority.demands,
        Demands {
            log: LogDemand::Entry,
            timestamp: false
        }
    );
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
        assert_eq!(
            policy.authorities[0].demands,
            Demands { log, timestamp },
            "{text}"
        );
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
        assert_eq!(
            compile(spec(authority)).unwrap().authorities[0].formats,
            formats
        );
    }
    let unknown = with(
        spec(keyless()),
        "/authorities/0/signatureFormat",
        json!("v2"),
    );
    assert!(serde_json::from_value::<api::ClusterImagePolicySpec>(unknown).is_err());
}

#[test]
fn refuses_by_name_what_is_not_supported_yet() {
    let key = || json!({"key": {"data": KEY}});
    let with_source = |source: Value| with(keyless(), "/source", json!([source]));
    for (spec, path) in [
        (
            with(spec(keyless()), "/policy", json!({"type": "cue"})),
            "spec.policy",
        ),
        (
            spec(with(keyless(), "/attestations", json!([]))),
            "spec.authorities[0].attestations",
        ),
        (
            spec(with(keyless(), "/ctlog", json!({"url": "x"}))),
            "spec.authorities[0].ctlog.url",
        ),
        (
            spec(with(keyless(), "/keyless/url", json!("x"))),
            "spec.authorities[0].keyless.url",
        ),
        (
            spec(with(keyless(), "/keyless/ca-cert", json!({}))),
            "spec.authorities[0].keyless.ca-cert",
        ),
        (
            spec(with(keyless(), "/keyless/certificate", json!({}))),
            "spec.authorities[0].keyless.certificate",
        ),
        (
            spec(with(keyless(), "/keyless/insecureIgnoreSCT", json!(true))),
            "spec.authorities[0].keyless.insecureIgnoreSCT",
        ),
        (
            spec(with(key(), "/key/secretRef", json!({"name": "x"}))),
            "spec.authorities[0].key.secretRef",
        ),
        (
            spec(with(key(), "/key/configMapRef", json!({"name": "x"}))),
            "spec.authorities[0].key.configMapRef",
        ),
        (
            spec(with(key(), "/key/kms", json!("awskms://x"))),
            "spec.authorities[0].key.kms",
        ),
        (
            spec(with_source(json!({"signaturePullSecrets": []}))),
            "spec.authorities[0].source[0].signaturePullSecrets",
        ),
    ] {
        let error = compile(spec).unwrap_err();
        assert_eq!(error.path, path);
        assert!(error.problem.contains("not supported yet"), "{error}");
    }
    let checked = with(keyless(), "/keyless/insecureIgnoreSCT", json!(false));
    assert!(compile(spec(checked)).is_ok());
}

#[test]
fn rejects_incomplete_or_contradictory_specs_at_their_field() {
    let base = || spec(keyless());
    let identity = "/authorities/0/keyless/identities/0";
    let changed =
        |pointer: &str, value: Value| with(base(), &format!("{identity}{pointer}"), value);
    let bare = |identity: Value| spec(json!({"keyless": {"identities": [identity]}}));
    let at = "spec.authorities[0].keyless.identities[0]";
    for (spec, path) in [
        (with(base(), "/images", json!([])), "spec.images".to_owned()),
        (
            with(base(), "/images", json!([{"glob": "["}])),
            "spec.images[0].glob".to_owned(),
        ),
        (
            with(base(), "/authorities", json!([])),
            "spec.authorities".to_owned(),
        ),
        (
            with(base(), "/threshold", json!(0)),
            "spec.threshold".to_owned(),
        ),
        (
            with(base(), "/threshold", json!(2)),
            "spec.threshold".to_owned(),
        ),
        (
            with(base(), "/match", json!([{"resource": "deployment"}])),
            "spec.match[0].resource".to_owned(),
        ),
        (
            with(
                base(),
                "/namespaceSelector",
                json!({"matchLabels": {"a b": "c"}}),
            ),
            "spec.namespaceSelector.matchLabels[a b]".to_owned(),
        ),
        (spec(json!({})), "spec.authorities[0]".to_owned()),
        (spec(json!({"ctlog": {}})), "spec.authorities[0]".to_owned()),
        (
            spec(with(keyless(), "/static", json!({"action": "pass"}))),
            "spec.authorities[0]".to_owned(),
        ),
        (
            spec(json!({"key": {}})),
            "spec.authorities[0].key.data".to_owned(),
        ),
        (
            spec(json!({"key": {"data": "---"}})),
            "spec.authorities[0].key.data".to_owned(),
        ),
        (
            spec(json!({"keyless": {"identities": []}})),
            "spec.authorities[0].keyless.identities".to_owned(),
        ),
        (bare(json!({})), at.to_owned()),
        (bare(json!({"issuer": "i"})), at.to_owned()),
        (bare(json!({"subject": "s"})), at.to_owned()),
        (
            bare(json!({"issuer": "", "subject": "s"})),
            format!("{at}.issuer"),
        ),
        (
            bare(json!({"issuer": "i", "subject": ""})),
            format!("{at}.subject"),
        ),
        (
            bare(json!({"issuer": "i", "subjectRegExp": "****"})),
            format!("{at}.subjectRegExp"),
        ),
        (
            bare(json!({"issuerRegExp": "a)|(b", "subject": "s"})),
            format!("{at}.issuerRegExp"),
        ),
        (changed("/issuerRegExp", json!(".*")), at.to_owned()),
        (changed("/subjectRegExp", json!(".*")), at.to_owned()),
        (
            changed("/claims", json!({"sourceRepositoryUri": "x"})),
            format!("{at}.claims.sourceRepositoryUri"),
        ),
        (
            changed("/claims", json!({"buildTrigger": {}})),
            format!("{at}.claims.buildTrigger"),
        ),
        (
            changed(
                "/claims",
                json!({"buildTrigger": {"exact": "x", "glob": "y"}}),
            ),
            format!("{at}.claims.buildTrigger"),
        ),
        (
            with(base(), "/authorities/0/source", json!([{}])),
            "spec.authorities[0].source[0]".to_owned(),
        ),
        (
            with(
                base(),
                "/authorities/0/source",
                json!([{"oci": "ghcr.io/a:tag"}]),
            ),
            "spec.authorities[0].source[0].oci".to_owned(),
        ),
        (
            with(
                base(),
                "/authorities/0/source",
                json!([{"tagPrefix": "a/b"}]),
            ),
            "spec.authorities[0].source[0].tagPrefix".to_owned(),
        ),
        (
            spec(json!({"static": {"action": "pass"}, "ctlog": {}})),
            "spec.authorities[0].ctlog".to_owned(),
        ),
    ] {
        let text = spec.to_string();
        assert_eq!(path_of(spec), path, "{text}");
    }
}

#[test]
fn suggests_what_was_probably_meant() {
    let spec = with(
        spec(keyless()),
        "/match",
        json!([{"resource": "deployment"}]),
    );
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
            (
                "sourceRepositoryURI",
                "https://github.com/org/app".to_owned(),
            ),
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
    assert!(is(
        with(named("private"), "/ctlog", reference("private")),
        private
    ));
    assert!(is(with(key(), "/ctlog", reference("private")), private));
    assert!(is(
        with(key(), "/rfc3161timestamp", reference("private")),
        private
    ));
    for (authority, path) in [
        (
            with(keyless(), "/ctlog", reference("private")),
            "ctlog.trustRootRef",
        ),
        (
            with(named("private"), "/ctlog", reference("other")),
            "ctlog.trustRootRef",
        ),
        (
            with(named("private"), "/rfc3161timestamp", reference("other")),
            "rfc3161timestamp.trustRootRef",
        ),
        (named("privat"), "keyless.trustRootRef"),
    ] {
        assert_eq!(
            chosen(authority).unwrap_err().path,
            format!("spec.authorities[0].{path}")
        );
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
    assert_eq!(
        path_of(with(spec(keyless()), "/authorities", json!(many))),
        "spec.authorities"
    );
    let identity = json!({"issuer": "i", "subject": "s"});
    let identities = json!(vec![identity; api::MAX_IDENTITIES + 1]);
    let crowd = spec(json!({"keyless": {"identities": identities}}));
    assert_eq!(path_of(crowd), "spec.authorities[0].keyless.identities");
}

#[test]
fn an_invalid_policy_denies_what_it_could_be_for() {
    let id = || PolicyId::Cluster {
        name: "p".to_owned(),
    };
    let globs = |spec: Value| {
        let invalid = invalid(id(), &spec, "bad key");
        invalid
            .scope
            .images
            .iter()
            .map(ToString::to_string)
            .collect::<Vec<_>>()
    };
    assert_eq!(
        globs(json!({"images": [{"glob": "ghcr.io/**"}], "authorities": 7})),
        ["ghcr.io/**"]
    );
    // One unreadable glob may have been for anything.
    assert_eq!(
        globs(json!({"images": [{"glob": "ghcr.io/**"}, {"glob": "["}]})),
        ["**"]
    );
    for spec in [
        json!({}),
        Value::Null,
        json!({"images": "x"}),
        json!({"images": []}),
    ] {
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
        (
            json!({"trustedRoot": {"file": "a", "mediaType": "x"}}),
            "spec.trustedRoot.file",
        ),
        (json!({"remote": {"mirror": "x"}}), "spec.remote"),
        (
            json!({"trustedRoot": "{}", "sigstoreKeys": {}}),
            "spec.sigstoreKeys",
        ),
        (json!({"repository": {}}), "spec.repository"),
    ] {
        assert_eq!(source(spec).unwrap_err().path, path);
    }
    let file = serde_json::from_value(json!({"trustedRoot": {"file": "a"}})).unwrap();
    assert_eq!(
        compile_trust_root(&file).unwrap_err().path,
        "spec.trustedRoot.file"
    );
    let empty = serde_json::from_value(json!({"trustedRoot": "{}"})).unwrap();
    assert_eq!(
        compile_trust_root(&empty).unwrap_err().path,
        "spec.trustedRoot"
    );
}

#[test]
fn an_empty_field_is_not_an_absent_one() {
    for (pointer, field) in [
        ("/threshold", "threshold"),
        ("/namespaceSelector", "namespaceSelector"),
        ("/match", "match"),
        ("/mode", "mode"),
        ("/authorities/0/ctlog", "ctlog"),
        ("/authorities/0/rfc3161timestamp", "rfc3161timestamp"),
        ("/authorities/0/source", "source"),
        ("/authorities/0/keyless/trustRootRef", "trustRootRef"),
        ("/authorities/0/keyless/identities/0/claims", "claims"),
        (
            "/authorities/0/keyless/identities/0/issuerRegExp",
            "issuerRegExp",
        ),
    ] {
        let spec = with(spec(keyless()), pointer, Value::Null);
        let parsed = serde_json::from_value::<api::ClusterImagePolicySpec>(spec);
        assert!(parsed.is_err(), "{field}");
    }
    // What is not supported yet is refused whatever it holds.
    assert_eq!(
        path_of(with(spec(keyless()), "/policy", Value::Null)),
        "spec.policy"
    );
}
