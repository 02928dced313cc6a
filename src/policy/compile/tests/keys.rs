//! Keys that are in objects of a cluster.
use super::*;

const OTHER_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n\
    -----END PUBLIC KEY-----\n";

const OWN: &str = "tegata-system";

fn place(kind: KeyHolder, namespace: &str, key: Option<&str>) -> KeyPlace {
    let (namespace, name) = (namespace.to_owned(), "signer".to_owned());
    let entry = key.map_or(Entry::Usual("cosign.pub"), |key| Entry::Named(key.to_owned()));
    KeyPlace { kind, namespace, name, entry }
}

fn cluster(found: impl IntoIterator<Item = (KeyPlace, Result<String, String>)>) -> References {
    let found = found.into_iter().collect();
    References { keys: Keys::Cluster { own_namespace: OWN.to_owned(), found }, ..roots() }
}

fn named(field: &str, reference: Value) -> Value {
    let mut key = json!({"key": {}});
    key["key"][field] = reference;
    spec(key)
}

fn of_namespace(spec: Value, roots: &References) -> Result<Policy, CompileError> {
    compile_image_policy("team", "p", &serde_json::from_value(spec).unwrap(), roots)
}

fn fingerprints(policy: &Policy) -> Vec<String> {
    let Signer::Keys(keys) = &policy.authorities[0].signer else { panic!("keys") };
    keys.iter().map(|key| key.fingerprint().to_owned()).collect()
}

#[test]
fn each_kind_of_policy_reads_from_its_own_namespace() {
    let pem = |pem: &str| Ok(pem.to_owned());
    let references = cluster([
        (place(KeyHolder::Secret, OWN, None), pem(KEY)),
        (place(KeyHolder::Secret, "team", None), pem(OTHER_KEY)),
        (place(KeyHolder::ConfigMap, OWN, Some("k.pem")), pem(&format!("{KEY}{OTHER_KEY}"))),
    ]);
    let secret = || named("secretRef", json!({"name": "signer"}));
    let cluster_wide = fingerprints(&compile_in(secret(), &references).unwrap());
    let namespaced = fingerprints(&of_namespace(secret(), &references).unwrap());
    assert_eq!(cluster_wide.len(), 1);
    assert_ne!(cluster_wide, namespaced);
    let entry = named("configMapRef", json!({"name": "signer", "key": "k.pem"}));
    let both = fingerprints(&compile_in(entry, &references).unwrap());
    assert_eq!(both, [cluster_wide, namespaced].concat());
}

#[test]
fn rejects_another_namespace_than_the_one_that_is_read() {
    let found = ["team", "other", OWN]
        .map(|namespace| (place(KeyHolder::Secret, namespace, None), Ok(KEY.to_owned())));
    let references = cluster(found);
    let at =
        |namespace: &str| named("secretRef", json!({"name": "signer", "namespace": namespace}));
    assert!(compile_in(at(OWN), &references).is_ok());
    assert!(of_namespace(at("team"), &references).is_ok());
    for error in [
        compile_in(at("team"), &references).unwrap_err(),
        of_namespace(at(OWN), &references).unwrap_err(),
        of_namespace(at("other"), &references).unwrap_err(),
    ] {
        assert_eq!(error.path, "spec.authorities[0].key.secretRef.namespace");
        assert!(!error.missing, "{error}");
    }
}

#[test]
fn rejects_keys_that_are_not_there_as_missing() {
    let spec = || named("secretRef", json!({"name": "signer"}));
    let not_there = "there is no Secret tegata-system/signer";
    for (references, problem) in [
        (cluster([]), "Secret tegata-system/signer has not been read yet"),
        (
            cluster([(place(KeyHolder::Secret, OWN, None), Err(not_there.to_owned()))]),
            "there is no Secret tegata-system/signer",
        ),
    ] {
        let error = compile_in(spec(), &references).unwrap_err();
        assert_eq!((error.problem.as_str(), error.missing), (problem, true), "{error}");
        assert_eq!(error.path, "spec.authorities[0].key.secretRef");
    }
    let error = compile(spec()).unwrap_err();
    assert!(error.problem.contains("in a file") && !error.missing, "{error}");
}

#[test]
fn rejects_content_that_is_no_key_and_quotes_none_of_it() {
    let private = "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n";
    let label = "-----BEGIN HUNTER2-----\naHVudGVyMg==\n-----END HUNTER2-----\n";
    let broken = "-----BEGIN PUBLIC KEY-----\naHVudGVyMg==\n-----END PUBLIC KEY-----\n";
    let crowd = KEY.repeat(33);
    for (content, problem) in [
        ("hunter2", "no public key in PEM"),
        ("", "no public key in PEM"),
        (label, "no public key in PEM"),
        (private, "a private key"),
        (&format!("{KEY}{private}"), "a private key"),
        (&format!("{KEY}{label}"), "no public key in PEM"),
        (broken, "no public key that can be used"),
        (&crowd, "no public key that can be used"),
        (&"x".repeat(65 * 1024), "no public key in PEM"),
    ] {
        let found = [(place(KeyHolder::Secret, OWN, None), Ok(content.to_owned()))];
        let spec = named("secretRef", json!({"name": "signer"}));
        let error = compile_in(spec, &cluster(found)).unwrap_err();
        let text = error.to_string().to_lowercase();
        assert!(error.missing, "{text}");
        assert!(
            text.contains(&format!("secret tegata-system/signer holds {}", problem.to_lowercase())),
            "{text}"
        );
        assert!(!text.contains("hunter2") && !text.contains("ahvudgv"), "{text}");
    }
}

#[test]
fn rejects_references_that_cannot_be_followed() {
    let at = "spec.authorities[0].key";
    let reference = || json!({"name": "signer"});
    for (spec, path) in [
        (spec(json!({"key": {"data": KEY, "secretRef": reference()}})), at.to_owned()),
        (spec(json!({"key": {"configMapRef": reference(), "secretRef": reference()}})), at.into()),
        (named("secretRef", json!({"name": ""})), format!("{at}.secretRef.name")),
        (named("secretRef", json!({"name": "a,b=c"})), format!("{at}.secretRef.name")),
        (named("secretRef", json!({"name": "../x"})), format!("{at}.secretRef.name")),
        (named("configMapRef", json!({"name": "A"})), format!("{at}.configMapRef.name")),
        (named("secretRef", json!({"name": "a", "key": ""})), format!("{at}.secretRef.key")),
        (named("secretRef", json!({"name": "a", "key": "b/c"})), format!("{at}.secretRef.key")),
    ] {
        let parsed: api::ImagePolicySpec = serde_json::from_value(spec).unwrap();
        let error = compile_image_policy("team", "p", &parsed, &cluster([])).unwrap_err();
        assert_eq!((error.path, error.missing), (path, false));
        let id = PolicyId::Namespaced { namespace: "team".to_owned(), name: "p".to_owned() };
        assert!(key_places(&id, &parsed.authorities, OWN).is_empty());
    }
}

#[test]
fn the_places_are_those_that_compiling_asks_for() {
    let authority = |field: &str| named(field, json!({"name": "signer"}))["authorities"][0].clone();
    let authorities = json!([authority("secretRef"), keyless(), authority("configMapRef")]);
    let authorities: Vec<api::AuthoritySpec> = serde_json::from_value(authorities).unwrap();
    let places = |id: PolicyId| key_places(&id, &authorities, OWN);
    let expected = |namespace: &str| {
        [KeyHolder::ConfigMap, KeyHolder::Secret].map(|kind| place(kind, namespace, None)).into()
    };
    assert_eq!(places(PolicyId::Cluster { name: "p".to_owned() }), expected(OWN));
    let (namespace, name) = ("team".to_owned(), "p".to_owned());
    assert_eq!(places(PolicyId::Namespaced { namespace, name }), expected("team"));
}

#[test]
fn an_entry_is_the_one_asked_for_the_usual_one_or_the_only_one() {
    let entry = |key: Option<&str>, names: &[&str]| {
        key_entry(&place(KeyHolder::Secret, OWN, key), names.iter().copied()).map(str::to_owned)
    };
    for (key, names, expected) in [
        (Some("b"), &["a", "b"][..], "b"),
        (None, &["a", "cosign.pub"], "cosign.pub"),
        (None, &["a"], "a"),
    ] {
        assert_eq!(entry(key, names).as_deref(), Ok(expected));
    }
    for (key, names, problem) in [
        (Some("c"), &["a", "b"][..], "entry `c` is not there: the object holds `a`, `b`"),
        (Some("c"), &["a"], "entry `c` is not there: the object holds `a`"),
        (None, &["a", "b"], "has several entries: `a`, `b`; say which one in `key`"),
        (None, &[], "is not there: the object holds nothing"),
    ] {
        let error = entry(key, names).unwrap_err();
        assert!(error.ends_with(problem), "{error}");
    }
}

#[test]
fn refuses_key_services_by_name_with_the_way_out() {
    for (uri, name, wanted) in [
        ("awskms:///alias/release", "AWS KMS", "cosign public-key"),
        ("gcpkms://projects/p/locations/l", "Google Cloud KMS", "cosign public-key"),
        ("azurekms://vault.example/key", "Azure Key Vault", "cosign public-key"),
        ("hashivault://release", "HashiCorp Vault", "cosign public-key"),
        ("k8s://namespace/secret", "a Kubernetes Secret", "`secretRef`"),
        ("pkcs11:token", "no key service that is known", "cosign public-key"),
    ] {
        let error = compile(spec(json!({"key": {"kms": uri}}))).unwrap_err();
        assert_eq!(error.path, "spec.authorities[0].key.kms");
        assert!(error.problem.contains(name), "{error}");
        assert!(error.wanted.contains(wanted), "{error}");
        assert!(!error.missing);
    }
}
