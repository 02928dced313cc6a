//! Specs that do not compile, and the field at which they are refused.
use super::*;

#[test]
fn refuses_by_name_what_is_not_supported_yet() {
    let attesting = |mut more: Value| {
        more["name"] = json!("slsa");
        more["predicateType"] = json!("slsaprovenance");
        with(keyless(), "/attestations", json!([more]))
    };
    let with_source = |source: Value| with(keyless(), "/source", json!([source]));
    for (spec, path) in [
        (with(spec(keyless()), "/policy", json!({"type": "cue", "data": "x"})), "spec.policy.type"),
        (
            with(
                spec(keyless()),
                "/policy",
                json!({"type": "rego", "data": "x", "includeSpec": true}),
            ),
            "spec.policy.includeSpec",
        ),
        (
            with(
                spec(keyless()),
                "/policy",
                json!({"type": "rego", "configMapRef": {"name": "x"}}),
            ),
            "spec.policy.configMapRef",
        ),
        (
            spec(attesting(
                json!({"policy": {"type": "rego", "data": "x", "fetchConfigFile": true}}),
            )),
            "spec.authorities[0].attestations[0].policy.fetchConfigFile",
        ),
        (
            spec(attesting(json!({"policy": {"type": "cue", "data": "x"}}))),
            "spec.authorities[0].attestations[0].policy.type",
        ),
        (spec(with(keyless(), "/keyless/url", json!("x"))), "spec.authorities[0].keyless.url"),
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
            spec(with_source(json!({"signaturePullSecrets": []}))),
            "spec.authorities[0].source[0].signaturePullSecrets",
        ),
    ] {
        let error = compile(spec).unwrap_err();
        assert_eq!(error.path, path);
        assert!(error.problem.contains("not supported"), "{error}");
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
        (with(base(), "/images", json!([{"glob": "["}])), "spec.images[0].glob".to_owned()),
        (with(base(), "/authorities", json!([])), "spec.authorities".to_owned()),
        (with(base(), "/threshold", json!(0)), "spec.threshold".to_owned()),
        (with(base(), "/threshold", json!(2)), "spec.threshold".to_owned()),
        (
            with(base(), "/match", json!([{"resource": "deployment"}])),
            "spec.match[0].resource".to_owned(),
        ),
        (
            with(base(), "/namespaceSelector", json!({"matchLabels": {"a b": "c"}})),
            "spec.namespaceSelector.matchLabels[a b]".to_owned(),
        ),
        (spec(json!({})), "spec.authorities[0]".to_owned()),
        (spec(json!({"ctlog": {}})), "spec.authorities[0]".to_owned()),
        (
            spec(json!({
                "certificate": { "data": "x", "identities": [{ "subject": "me@a.example" }] },
                "ctlog": { "url": "https://rekor.example" },
            })),
            "spec.authorities[0].ctlog.url".to_owned(),
        ),
        (
            spec(with(keyless(), "/static", json!({"action": "pass"}))),
            "spec.authorities[0]".to_owned(),
        ),
        (spec(json!({"key": {}})), "spec.authorities[0].key".to_owned()),
        (spec(json!({"key": {"data": "---"}})), "spec.authorities[0].key.data".to_owned()),
        (
            spec(json!({"keyless": {"identities": []}})),
            "spec.authorities[0].keyless.identities".to_owned(),
        ),
        (bare(json!({})), at.to_owned()),
        (bare(json!({"issuer": "i"})), at.to_owned()),
        (bare(json!({"subject": "s"})), at.to_owned()),
        (bare(json!({"issuer": "", "subject": "s"})), format!("{at}.issuer")),
        (bare(json!({"issuer": "i", "subject": ""})), format!("{at}.subject")),
        (bare(json!({"issuer": "i", "subjectRegExp": "****"})), format!("{at}.subjectRegExp")),
        (bare(json!({"issuerRegExp": "a)|(b", "subject": "s"})), format!("{at}.issuerRegExp")),
        (changed("/issuerRegExp", json!(".*")), at.to_owned()),
        (changed("/subjectRegExp", json!(".*")), at.to_owned()),
        (
            changed("/claims", json!({"sourceRepositoryUri": "x"})),
            format!("{at}.claims.sourceRepositoryUri"),
        ),
        (changed("/claims", json!({"buildTrigger": {}})), format!("{at}.claims.buildTrigger")),
        (
            changed("/claims", json!({"buildTrigger": {"exact": "x", "glob": "y"}})),
            format!("{at}.claims.buildTrigger"),
        ),
        (
            with(base(), "/authorities/0/source", json!([{}])),
            "spec.authorities[0].source[0]".to_owned(),
        ),
        (
            with(base(), "/authorities/0/source", json!([{"oci": "ghcr.io/a:tag"}])),
            "spec.authorities[0].source[0].oci".to_owned(),
        ),
        (
            with(base(), "/authorities/0/source", json!([{"tagPrefix": "a/b"}])),
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
fn rejects_attestations_that_cannot_be_told_apart_or_asked_for() {
    let list = |attestations: Value| spec(with(keyless(), "/attestations", attestations));
    let slsa = json!({"name": "slsa", "predicateType": "slsaprovenance1"});
    let sign = json!({"name": "sign", "predicateType": "https://sigstore.dev/cosign/sign/v1"});
    for (attestations, path) in [
        (json!([]), "spec.authorities[0].attestations"),
        (json!([slsa, slsa]), "spec.authorities[0].attestations[1].name"),
        (json!([{"name": ""}]), "spec.authorities[0].attestations[0].name"),
        (json!([{"name": "a"}]), "spec.authorities[0].attestations[0].predicateType"),
        (
            json!([{"name": "a", "predicateType": "slsaprovenence"}]),
            "spec.authorities[0].attestations[0].predicateType",
        ),
        (json!([sign]), "spec.authorities[0].attestations[0].predicateType"),
    ] {
        assert_eq!(compile(list(attestations)).unwrap_err().path, path);
    }
}

#[test]
fn rejects_rego_of_a_namespaces_owners() {
    let module =
        "package sigstore\nimport rego.v1\ndefault isCompliant := false\nisCompliant if input.x";
    let rego = json!({"type": "rego", "data": module});
    let attested = json!([{"name": "a", "predicateType": "slsaprovenance1", "policy": rego}]);
    for (spec, path) in [
        (with(spec(keyless()), "/policy", rego.clone()), "spec.policy"),
        (
            spec(with(keyless(), "/attestations", attested)),
            "spec.authorities[0].attestations[0].policy",
        ),
    ] {
        let namespaced = serde_json::from_value(spec.clone()).unwrap();
        let error = compile_image_policy("team", "p", &namespaced, &roots());
        assert_eq!(error.unwrap_err().path, path);
        assert!(compile(spec).is_ok());
    }
}
