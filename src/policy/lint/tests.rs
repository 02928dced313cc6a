use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::Value;
use serde_json::json;

use super::*;
use crate::policy::compile::Keys;
use crate::policy::compile::References;
use crate::policy::compile::compile_cluster_image_policy;
use crate::trust_root::TrustRoot;

const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxNvSO9S15tRF1hYdgPqTzfZ6rkQ\n\
    8rr1ZGRRYmLTqU6Zo4ykMkY4PfWyu4iPSxnHYwNpqJxcQ+tIWfYDSKNl3A==\n\
    -----END PUBLIC KEY-----\n";

const OTHER_KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEGLmxcwYP/hpYY4dtgjN4PcvhKby0\n\
    5jVSistfJmWExqfC0Yobdw2/Yae6pr9mkm/PeH5qCDL150jo1ssqUEotQA==\n\
    -----END PUBLIC KEY-----\n";

const GITHUB: &str = "https://token.actions.githubusercontent.com";

const WORKFLOW: &str = "https://github.com/acme/app/.github/workflows/release.yml@refs/tags/v1";

/// The hints of a policy that compiles.
fn hints(spec: Value) -> Vec<Hint> {
    let default = Arc::new(TrustRoot::public_good());
    let roots = References { default, named: BTreeMap::new(), keys: Keys::NoCluster };
    let text = spec.to_string();
    let spec: api::ClusterImagePolicySpec = serde_json::from_value(spec).unwrap();
    let policy = compile_cluster_image_policy("p", &spec, &roots)
        .unwrap_or_else(|error| panic!("{error}: {text}"));
    cluster_image_policy(&spec, Some(&policy))
}

fn spec(fields: Value) -> Value {
    let mut spec = json!({
        "images": [{"glob": "registry.example/app/**"}],
        "authorities": [{"key": {"data": KEY}}],
    });
    for (field, value) in fields.as_object().unwrap() {
        spec[field] = value.clone();
    }
    spec
}

/// Asserts that a spec has just this hint, or none where `text` is empty.
fn assert_hint(spec: Value, path: &str, text: &str) {
    let shown = spec.to_string();
    let found = hints(spec);
    if text.is_empty() {
        assert_eq!(found, [], "{shown}");
        return;
    }
    let [hint] = found.as_slice() else { panic!("{shown}: {found:?}") };
    assert_eq!(hint.path, path, "{shown}: {hint}");
    assert!(hint.text.contains(text), "{shown}: {hint}");
    let line = hint.to_string();
    assert!(line.chars().count() <= 256, "{} characters: {line}", line.chars().count());
}

#[test]
fn globs_that_cover_nothing_or_other_images() {
    for (glob, text) in [
        ("docker.io/nginx:latest@", "is no digest"),
        ("ghcr.io/acme/app@sha256:abc", "is no digest"),
        ("ghcr.io/acme/app@latest*", "is no digest"),
        ("ghcr.io/acme/app:", "nothing follows the colon"),
        ("ghcr.io/*", "have an owner: write `ghcr.io/**`"),
        ("ghcr.io/app:v1", "have an owner"),
        ("quay.io/acme*", "have an owner"),
        ("docker.io/*", "official images alone"),
        ("*:latest", "official images alone"),
        ("index.docker.io/bitnami/**", "compared as `docker.io/bitnami/**`"),
        ("registry-1.docker.io/nginx", "compared as `docker.io/library/nginx`"),
        ("ghcr.io/**", ""),
        ("ghcr.io/acme/*", ""),
        ("ghcr.io/acme/app:*", ""),
        ("ghcr.io/acme/app@sha256:*", ""),
        ("ghcr.io/acme/app@*", ""),
        (
            "ghcr.io/acme/app@sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
            "",
        ),
        ("docker.io/**", ""),
        ("docker.io/library/*", ""),
        ("bitnami/*", ""),
        ("nginx*", ""),
        ("**/app", ""),
        ("localhost:5000/app", ""),
        ("registry.example:5000/*", ""),
    ] {
        assert_hint(spec(json!({"images": [{"glob": glob}]})), "spec.images[0].glob", text);
    }
    for glob in ["*", "**"] {
        assert_hint(spec(json!({"images": [{"glob": glob}]})), "", "");
    }
    let twice = json!({"images": [{"glob": "a/b"}, {"glob": "c/d"}, {"glob": "a/b"}]});
    assert_hint(spec(twice), "spec.images[2]", "the same as spec.images[0]");
}

/// A policy with this identity.
fn identity(identity: Value) -> Value {
    spec(json!({"authorities": [{"keyless": {"identities": [identity]}}]}))
}

const IDENTITY: &str = "spec.authorities[0].keyless.identities[0]";

#[test]
fn dots_that_stand_for_any_character() {
    for (subject, text) in [
        ("https://github.com/acme/app/.+", "write `github\\.com`"),
        ("https://github\\.com/acme/app/\\.github/workflows/release.yml@.*", "`release\\.yml`"),
        (".*@example.com", "`example\\.com`"),
        ("[.]x@my-host.example", "`my-host\\.example`"),
        (".*@example\\.com", ""),
        (".*@example[.]com", ""),
        ("me@example\\.com", ""),
        ("https://github\\.com/acme/.*/v1.2", ""),
        ("a.*b@c\\.example", ""),
        ("\\w.com@example\\.org", ""),
    ] {
        let spec = identity(json!({"issuer": "https://issuer.example", "subjectRegExp": subject}));
        assert_hint(spec, &format!("{IDENTITY}.subjectRegExp"), text);
    }
    let issuer = identity(json!({"issuerRegExp": "https://a.example", "subject": "me@b.example"}));
    assert_hint(issuer, &format!("{IDENTITY}.issuerRegExp"), "`a\\.example`");
    let claims = json!({"sourceRepositoryURI": {"regex": "https://github.com/acme/app"}});
    let claim = json!({"issuer": GITHUB, "subject": WORKFLOW, "claims": claims});
    let path = format!("{IDENTITY}.claims.sourceRepositoryURI");
    assert_hint(identity(claim), &path, "`github\\.com`");
}

#[test]
fn strangers_who_may_sign() {
    let claims = json!({"sourceRepositoryOwnerURI": "https://github.com/acme"});
    let exact = "https://issuer.example";
    for (identity, field, text) in [
        (json!({"issuer": exact, "subjectRegExp": ".*"}), "subjectRegExp", "anyone whom"),
        (json!({"issuer": exact, "subjectRegExp": "^.+$"}), "subjectRegExp", "anyone whom"),
        (json!({"issuer": exact, "subjectRegExp": "(?s).*"}), "subjectRegExp", "anyone whom"),
        (json!({"issuerRegExp": ".*", "subject": "me@a.example"}), "issuerRegExp", "vouch"),
        (
            json!({"issuer": GITHUB, "subjectRegExp": "https://github\\.com/.*"}),
            "subjectRegExp",
            "any repository on GitHub",
        ),
        (
            json!({"issuer": "https://gitlab.com", "subjectRegExp": "https://gitlab\\.com/.*"}),
            "subjectRegExp",
            "any project on GitLab",
        ),
        (json!({"issuer": GITHUB, "subjectRegExp": ".*", "claims": claims}), "", ""),
        (json!({"issuer": GITHUB, "subjectRegExp": "https://github\\.com/acme/.*"}), "", ""),
        (json!({"issuer": exact, "subjectRegExp": ".*@example\\.com"}), "", ""),
    ] {
        assert_hint(self::identity(identity), &format!("{IDENTITY}.{field}"), text);
    }
    // A policy that denies nothing may begin with anyone.
    let mut lenient = identity(json!({"issuerRegExp": ".*", "subjectRegExp": ".*"}));
    assert_eq!(hints(lenient.clone()).len(), 2);
    for mode in ["warn", "audit"] {
        lenient["mode"] = json!(mode);
        assert_hint(lenient.clone(), "", "");
    }
}

#[test]
fn identities_that_no_certificate_has() {
    let claimed = |claim: Value| json!({"issuer": GITHUB, "subject": WORKFLOW, "claims": {"buildSignerURI": claim}});
    for (identity, field, text) in [
        (json!({"issuer": format!("{GITHUB}/"), "subject": WORKFLOW}), "issuer", GITHUB),
        (
            json!({"issuer": "token.actions.githubusercontent.com", "subject": WORKFLOW}),
            "issuer",
            GITHUB,
        ),
        (
            json!({"issuer": "http://accounts.google.com", "subject": "me@a.example"}),
            "issuer",
            "`https://accounts.google.com`",
        ),
        (json!({"issuer": GITHUB, "subject": "me@a.example"}), "subject", "are URLs"),
        (json!({"issuer": GITHUB, "subject": "acme/app"}), "subject", "are URLs"),
        (
            json!({"issuer": GITHUB, "subject": "https://github.com/acme/app"}),
            "subject",
            "a branch or a tag",
        ),
        (
            claimed(json!("https://github.com/acme/app")),
            "claims.buildSignerURI",
            "no certificate has both",
        ),
        (
            claimed(json!({"glob": "https://github.com/other/**"})),
            "claims.buildSignerURI",
            "no certificate has both",
        ),
        (claimed(json!(WORKFLOW)), "", ""),
        (claimed(json!({"glob": "https://github.com/acme/**"})), "", ""),
        (json!({"issuer": GITHUB, "subject": WORKFLOW}), "", ""),
        (json!({"issuer": "https://accounts.google.com", "subject": "me@a.example"}), "", ""),
        (json!({"issuer": "https://issuer.example/", "subject": "me"}), "", ""),
    ] {
        assert_hint(self::identity(identity), &format!("{IDENTITY}.{field}"), text);
    }
}

#[test]
fn authorities_that_decide_nothing_or_cannot_be_met() {
    let key = |pem: &str| json!({"key": {"data": pem}});
    let keyed = |pem: &str| json!({"key": {"data": pem}, "ctlog": {}});
    let person = |subject: &str| json!({"issuer": "https://issuer.example", "subject": subject});
    let keyless = |identities: &[Value]| json!({"keyless": {"identities": identities}});
    let anyone = json!({"issuer": "https://issuer.example", "subjectRegExp": ".*@a\\.example"});
    let fixed = |action: &str| json!({"static": {"action": action}});
    for (threshold, authorities, path, text) in [
        (1, vec![key(KEY), key(KEY)], "spec.authorities[1]", "the same as spec.authorities[0]"),
        (2, vec![key(KEY), keyed(KEY)], "spec.threshold", "1 distinct signers at most"),
        (
            2,
            vec![key(&format!("{KEY}{OTHER_KEY}")), keyed(KEY), keyless(&[person("a@a.example")])],
            "",
            "",
        ),
        (2, vec![key(KEY), key(OTHER_KEY)], "", ""),
        (
            2,
            vec![
                keyless(&[person("a")]),
                json!({"keyless": {"identities": [person("a")]}, "ctlog": {}}),
            ],
            "spec.threshold",
            "1 distinct signers at most",
        ),
        (2, vec![keyless(&[person("a")]), keyless(std::slice::from_ref(&anyone))], "", ""),
        (
            1,
            vec![keyless(&[person("a"), person("b"), person("a")])],
            "spec.authorities[0].keyless.identities[2]",
            "the same as",
        ),
        (1, vec![key(KEY), fixed("pass")], "spec.authorities[1].static", "whoever signed"),
        (1, vec![fixed("fail"), key(KEY)], "spec.authorities[0].static", "never met"),
        (1, vec![fixed("pass")], "", ""),
        (1, vec![fixed("fail")], "", ""),
    ] {
        assert_hint(spec(json!({"threshold": threshold, "authorities": authorities})), path, text);
    }
    let deny = |fields: Value| {
        let mut spec = spec(json!({"images": [{"glob": "**"}]}));
        spec["authorities"] = json!([fixed("fail")]);
        for (field, value) in fields.as_object().unwrap() {
            spec[field] = value.clone();
        }
        spec
    };
    assert_hint(deny(json!({})), "spec.authorities", "denies every image");
    assert_hint(deny(json!({"mode": "warn"})), "", "");
    assert_hint(deny(json!({"match": [{"resource": "jobs"}]})), "", "");
    let selector = json!({"matchLabels": {"env": "prod"}});
    assert_hint(deny(json!({"namespaceSelector": selector})), "", "");
}

#[test]
fn modes_without_effect() {
    for (mode, on_unavailable, text) in [
        ("audit", "warn", "no effect with `mode: audit`"),
        ("audit", "allow", "no effect with `mode: audit`"),
        ("warn", "warn", "no effect with `mode: warn`"),
        ("warn", "allow", ""),
        ("enforce", "allow", ""),
        ("enforce", "warn", ""),
        ("audit", "deny", ""),
    ] {
        let spec = spec(json!({"mode": mode, "onUnavailable": on_unavailable}));
        assert_hint(spec, "spec.onUnavailable", text);
    }
}

#[test]
fn workloads_that_nothing_is() {
    for (element, text) in [
        (json!({"group": "apps", "resource": "pods"}), "in group ``, not in `apps`"),
        (json!({"group": "", "resource": "deployments"}), "in group `apps`, not in ``"),
        (json!({"group": "extensions"}), "nothing in group `extensions`"),
        (json!({"version": "v1beta1", "resource": "jobs"}), "nothing is of version `v1beta1`"),
        (json!({"group": "apps", "resource": "deployments", "version": "v1"}), ""),
        (json!({"group": "*", "resource": "pods"}), ""),
        (json!({"group": "batch", "resource": "*"}), ""),
        (json!({"resource": "cronjobs"}), ""),
        (json!({}), ""),
    ] {
        assert_hint(spec(json!({"match": [element]})), "spec.match[0]", text);
    }
    let twice = json!({"match": [{"resource": "pods"}, {"resource": "pods"}]});
    assert_hint(spec(twice), "spec.match[1]", "the same as spec.match[0]");
}

#[test]
fn the_resources_are_those_that_are_judged() {
    let known: Vec<(&str, &str)> = scope::RESOURCES
        .iter()
        .flat_map(|(group, resources)| resources.iter().map(|resource| (*group, *resource)))
        .collect();
    for kind in crate::workload::KINDS {
        assert!(known.contains(&(kind.group, kind.resource)), "{}", kind.resource);
        assert_eq!(kind.version, "v1");
    }
    assert_eq!(known.len(), crate::workload::KINDS.len());
}

#[test]
fn selectors_that_nothing_meets() {
    let expression = |key: &str, operator: &str, values: &[&str]| json!({"key": key, "operator": operator, "values": values});
    let without = |key: &str, operator: &str| json!({"key": key, "operator": operator});
    let name = crate::policy::NAMESPACE_NAME;
    for (labels, expressions, text) in [
        (json!({"a": "1"}), vec![expression("a", "NotIn", &["1"])], "asked of `a`"),
        (json!({"a": "1"}), vec![expression("a", "In", &["2", "3"])], "asked of `a`"),
        (json!({"a": "1"}), vec![without("a", "DoesNotExist")], "asked of `a`"),
        (json!({}), vec![without("a", "Exists"), without("a", "DoesNotExist")], "asked of `a`"),
        (
            json!({}),
            vec![expression("a", "In", &["1", "2"]), expression("a", "NotIn", &["2", "1"])],
            "asked of `a`",
        ),
        (
            json!({}),
            vec![expression("a", "In", &["1", "2"]), expression("a", "In", &["3"])],
            "asked of `a`",
        ),
        (json!({}), vec![without(name, "DoesNotExist")], "asked of `kubernetes.io"),
        (json!({"a": "1"}), vec![expression("b", "NotIn", &["1"])], ""),
        (json!({"a": "1"}), vec![expression("a", "In", &["1", "2"])], ""),
        (json!({}), vec![without("a", "DoesNotExist")], ""),
        (json!({}), vec![expression("a", "NotIn", &["1"]), without("a", "DoesNotExist")], ""),
        (json!({}), vec![expression(name, "NotIn", &["kube-system"])], ""),
        (json!({}), vec![], ""),
    ] {
        let selector = json!({"matchLabels": labels, "matchExpressions": expressions});
        let spec_of_namespaces = spec(json!({"namespaceSelector": selector}));
        assert_hint(spec_of_namespaces, "spec.namespaceSelector", text);
        if !text.contains("kubernetes.io") {
            let of_objects = spec(json!({"match": [{"selector": selector}]}));
            assert_hint(of_objects, "spec.match[0].selector", text);
        }
    }
}

#[test]
fn thresholds_that_the_trust_root_cannot_give() {
    let logs = TrustRoot::public_good().distinct_logs();
    let key = |fields: Value| {
        let mut authority = json!({"key": {"data": KEY}});
        for (field, value) in fields.as_object().unwrap() {
            authority[field] = value.clone();
        }
        spec(json!({"authorities": [authority]}))
    };
    let ctlog = "spec.authorities[0].ctlog.threshold";
    let stamp = "spec.authorities[0].rfc3161timestamp.threshold";
    for (fields, path, text) in [
        (json!({"ctlog": {"threshold": logs}}), "", ""),
        (json!({"ctlog": {"threshold": logs + 1}}), ctlog, "distinct logs, so it can never"),
        (json!({"rfc3161timestamp": {"threshold": 1}}), "", ""),
        (json!({"rfc3161timestamp": {"threshold": 2}}), stamp, "1 distinct timestamp authorities"),
        (
            json!({"ctlog": {"threshold": 2}, "signatureFormat": "legacy"}),
            ctlog,
            "has room for one",
        ),
        (json!({"ctlog": {"threshold": 2}, "signatureFormat": "bundle"}), "", ""),
    ] {
        assert_hint(key(fields), path, text);
    }
}

#[test]
fn ready_made_identities_that_let_strangers_in() {
    let path = "spec.authorities[0].keyless.identities[0]";
    let github = |git_ref: &str| {
        let repository = "acme/app";
        json!({"githubWorkflow": {"repository": repository, "workflow": "a.yml", "ref": git_ref}})
    };
    let mail =
        |address: &str| json!({"email": {"address": address, "issuer": "https://i.example"}});
    for (identity, field, text) in [
        (github("refs/**"), ".githubWorkflow.ref", "open a pull request"),
        (github("refs/heads/**"), ".githubWorkflow.ref", "push a branch"),
        (github("refs/heads/main"), "", ""),
        (github("refs/tags/**"), "", ""),
        (
            json!({"gitlabPipeline": {"project": "acme/app", "ref": "refs/**"}}),
            ".gitlabPipeline.ref",
            "name the branch",
        ),
        (mail("*@gmail.com"), ".email.address", "anyone can get such an address"),
        (mail("me@gmail.com"), "", ""),
        (mail("*@acme.example"), "", ""),
    ] {
        let spec = spec(json!({"authorities": [{"keyless": {"identities": [identity]}}]}));
        assert_hint(spec, &format!("{path}{field}"), text);
    }
}
