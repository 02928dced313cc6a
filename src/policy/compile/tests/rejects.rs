//! Specs that do not compile, and the field at which they are refused.
use super::*;

#[test]
fn refuses_by_name_what_is_not_supported_yet() {
    let with_source = |source: Value| with(keyless(), "/source", json!([source]));
    for (spec, path) in [
        (with(spec(keyless()), "/policy", json!({"type": "cue"})), "spec.policy"),
        (spec(with(keyless(), "/attestations", json!([]))), "spec.authorities[0].attestations"),
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
