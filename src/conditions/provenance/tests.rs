use serde_json::json;

use super::*;
use crate::conditions::Rules;
use crate::conditions::tests::outcome;
use crate::conditions::tests::rules;

const BUILDER: &str = "https://github.com/org/app/.github/workflows/release.yml@refs/heads/main";
const COMMIT: &str = "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";

fn all() -> Rules {
    rules(&format!(
        "slsaProvenance:
  builders: [{{glob: 'https://github.com/org/app/.github/workflows/*@refs/heads/main'}}, other]
  sourceRepository: https://github.com/org/app
  ref: refs/heads/main
  commit: {COMMIT}
  buildType: https://example.com/build"
    ))
}

fn v1_github() -> Value {
    json!({
        "buildDefinition": {
            "buildType": "https://example.com/build",
            "externalParameters": {"workflow": {
                "path": ".github/workflows/release.yml", "ref": "refs/heads/main",
                "repository": "https://github.com/org/app",
            }},
            "resolvedDependencies": [{
                "uri": "git+https://github.com/org/app@refs/heads/main",
                "digest": {"gitCommit": COMMIT},
            }],
        },
        "runDetails": {"builder": {"id": BUILDER}},
    })
}

fn v1_with(parameters: Value) -> Value {
    let mut changed = v1_github();
    changed["buildDefinition"]["externalParameters"] = parameters;
    changed
}

fn v0_2() -> Value {
    json!({
        "builder": {"id": BUILDER}, "buildType": "https://example.com/build",
        "invocation": {"configSource": {
            "uri": "git+https://github.com/org/app@refs/heads/main",
            "digest": {"sha1": COMMIT}, "entryPoint": "release.yml",
        }},
    })
}

fn v0_1() -> Value {
    json!({
        "builder": {"id": BUILDER},
        "recipe": {"type": "https://example.com/build", "definedInMaterial": 1},
        "materials": [{"uri": "pkg:other"}, {
            "uri": "git+https://github.com/org/app.git@refs/heads/main", "digest": {"sha1": COMMIT},
        }],
    })
}

#[test]
fn accepts_what_generators_write() {
    let digest = json!({"sha1": COMMIT});
    for (kind, predicate) in [
        (predicate::SLSA_1, v1_github()),
        (predicate::SLSA_0_2, v0_2()),
        (predicate::SLSA_0_1, v0_1()),
        // Google Cloud Build.
        (
            predicate::SLSA_1,
            v1_with(json!({"buildConfigSource": {
            "path": "cloudbuild.yaml", "ref": "refs/heads/main",
            "repository": "git+https://github.com/org/app"}})),
        ),
        // slsa-github-generator.
        (
            predicate::SLSA_1,
            v1_with(json!({"source": {
            "uri": "git+https://github.com/org/app@refs/heads/main", "digest": digest}})),
        ),
        (
            predicate::SLSA_1,
            v1_with(json!({"source": "git+https://github.com/org/app@refs/heads/main"})),
        ),
        // BuildKit.
        (
            predicate::SLSA_1,
            v1_with(json!({"configSource": {
            "uri": "https://github.com/org/app.git#refs/heads/main", "digest": digest}})),
        ),
    ] {
        assert_eq!(outcome(&all(), kind, &predicate), None, "{predicate}");
    }
}

#[test]
fn rejects_when_any_single_field_differs() {
    let cases = [
        (
            predicate::SLSA_1,
            v1_github(),
            vec![
                "/runDetails/builder/id",
                "/buildDefinition/buildType",
                "/buildDefinition/externalParameters/workflow/repository",
                "/buildDefinition/externalParameters/workflow/ref",
                "/buildDefinition/resolvedDependencies/0/digest/gitCommit",
                "/buildDefinition/resolvedDependencies/0/uri",
                "/buildDefinition/externalParameters",
            ],
        ),
        (
            predicate::SLSA_0_2,
            v0_2(),
            vec![
                "/builder/id",
                "/buildType",
                "/invocation/configSource/uri",
                "/invocation/configSource/digest/sha1",
                "/invocation/configSource",
            ],
        ),
        (
            predicate::SLSA_0_1,
            v0_1(),
            vec![
                "/builder/id",
                "/recipe/type",
                "/recipe/definedInMaterial",
                "/materials/1/uri",
                "/materials/1/digest/sha1",
            ],
        ),
    ];
    for (kind, good, pointers) in cases {
        for pointer in pointers {
            for value in [json!("evil"), json!(""), Value::Null, json!(0), json!({})] {
                let mut changed = good.clone();
                *changed.pointer_mut(pointer).unwrap() = value.clone();
                let found = outcome(&all(), kind, &changed);
                assert_eq!(found, Some(Reason::ProvenanceMismatch), "{kind} {pointer} {value}");
            }
        }
    }
}

#[test]
fn rejects_when_any_single_matcher_differs() {
    for (field, other) in [
        ("builders: [other]", true),
        ("builders: ['**']\n  sourceRepository: https://github.com/org/ap", true),
        ("builders: [{regex: '.*'}]\n  sourceRepository: https://github.com/org/ap", true),
        ("builders: [{regex: '.*'}]\n  ref: refs/heads/mai", true),
        ("builders: [{regex: '.*'}]\n  commit: aaaa", true),
        ("builders: [{regex: '.*'}]\n  buildType: https://example.com/buil", true),
        ("builders: [{regex: '.*'}]", false),
    ] {
        let rules = rules(&format!("slsaProvenance:\n  {field}"));
        let expected = other.then_some(Reason::ProvenanceMismatch);
        assert_eq!(outcome(&rules, predicate::SLSA_1, &v1_github()), expected, "{field}");
    }
}

#[test]
fn every_source_that_is_declared_must_match() {
    let mut both = v1_github();
    both["buildDefinition"]["externalParameters"]["source"] =
        json!({"uri": "git+https://github.com/evil/app@refs/heads/main"});
    assert_eq!(outcome(&all(), predicate::SLSA_1, &both), Some(Reason::ProvenanceMismatch));
    // What one source does not say, another does not say for it.
    for field in ["ref", "repository"] {
        let mut silent = v1_github();
        let parameters = &mut silent["buildDefinition"]["externalParameters"];
        let mut other = parameters["workflow"].clone();
        other.as_object_mut().unwrap().remove(field);
        parameters["sourceToBuild"] = other;
        assert_eq!(outcome(&all(), predicate::SLSA_1, &silent), Some(Reason::ProvenanceMismatch));
    }
    // Two commits for one source: it is not known which was built.
    let mut two = v1_github();
    let dependencies = two.pointer_mut("/buildDefinition/resolvedDependencies").unwrap();
    let mut other = dependencies[0].clone();
    other["digest"]["gitCommit"] = json!("bbbb");
    dependencies.as_array_mut().unwrap().push(other);
    assert_eq!(outcome(&all(), predicate::SLSA_1, &two), Some(Reason::ProvenanceMismatch));
}

#[test]
fn levels_are_the_policys() {
    let level = |minimum: u8, builders: &str| {
        rules(&format!("slsaProvenance: {{level: {{minimum: {minimum}, builders: [{builders}]}}}}"))
    };
    let exact = format!("{{builder: '{BUILDER}', level: 3}}");
    let wide = "{builder: {glob: '**'}, level: 1}";
    let mismatch = Some(Reason::ProvenanceMismatch);
    for (minimum, builders, expected) in [
        (3, exact.clone(), None),
        (2, exact.clone(), None),
        (4, exact.clone(), mismatch),
        (1, "{builder: other, level: 4}".to_owned(), mismatch),
        // The lowest of several, so that a wide pattern never raises a level.
        (3, format!("{exact}, {wide}"), mismatch),
        (1, format!("{exact}, {wide}"), None),
    ] {
        let found = outcome(&level(minimum, &builders), predicate::SLSA_1, &v1_github());
        assert_eq!(found, expected, "{minimum} {builders}");
    }
}

#[test]
fn addresses_are_split_once() {
    for (uri, repository, reference) in [
        ("git+https://h/o/a@refs/heads/m", "https://h/o/a", Some("refs/heads/m")),
        ("https://h/o/a.git#refs/tags/v1", "https://h/o/a", Some("refs/tags/v1")),
        ("git+ssh://git@h/o/a@main", "ssh://git@h/o/a", Some("main")),
        ("https://h/o/a", "https://h/o/a", None),
        ("https://h/o/a@", "https://h/o/a", None),
        ("https://h/o/a@x@y", "https://h/o/a", Some("x@y")),
        ("https://h", "https://h", None),
        ("git@h:o/a", "git@h:o/a", None),
        ("", "", None),
    ] {
        let (found, at) = split_uri(uri);
        assert_eq!((found.as_str(), at.as_deref()), (repository, reference), "{uri}");
    }
}
