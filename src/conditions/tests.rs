//! Statements for the tests of each rule, and how rules are compiled and combined.
use serde_json::json;

use super::*;
use crate::image::Digest;

pub(super) fn image() -> Digest {
    Digest::sha256_of(b"image")
}

pub(super) fn now() -> Timestamp {
    "2026-11-22T12:00:00Z".parse().unwrap()
}

pub(super) fn statement(predicate_type: &str, predicate: &Value) -> Statement {
    let document = json!({
        "_type": "https://in-toto.io/Statement/v1",
        "predicateType": predicate_type,
        "subject": [{ "name": "app", "digest": { "sha256": image().hex() } }],
        "predicate": predicate,
    });
    Statement::parse(document.to_string().as_bytes(), &image()).unwrap()
}

pub(super) fn spec(yaml: &str) -> api::AttestationSpec {
    let options = serde_saphyr::options! {};
    serde_saphyr::from_str_with_options(&format!("name: it\n{yaml}"), options).unwrap()
}

pub(super) fn rules(yaml: &str) -> Rules {
    compile(&spec(yaml), "a").unwrap()
}

/// The reason for which `rules` refuse `predicate`, or none.
pub(super) fn outcome(rules: &Rules, predicate_type: &str, predicate: &Value) -> Option<Reason> {
    let statement = statement(predicate_type, predicate);
    rules.check(&statement, now(), &Budget::default()).err().map(|failure| failure.reason)
}

#[test]
fn rules_can_be_shared_among_threads() {
    fn shared<T: Clone + Send + Sync + fmt::Debug + 'static>() {}
    shared::<Rules>();
    shared::<PolicyRules>();
}

#[test]
fn a_statement_of_another_type_is_not_asked() {
    let rules = rules("predicateType: custom\nconditions: [{cel: 'true'}]");
    let own = "https://cosign.sigstore.dev/attestation/v1";
    assert_eq!(outcome(&rules, own, &json!({})), None);
    let other = outcome(&rules, "https://example.com/other", &json!({}));
    assert_eq!(other, Some(Reason::PredicateTypeUnexpected));
}

#[test]
fn every_rule_must_hold() {
    let rules = rules(
        "sbom: {formats: [spdx, cyclonedx]}\npredicateType: cyclonedx\nconditions:\n- cel: predicate.version == 1\n- cel: predicate.version < 9\n  message: too new",
    );
    let kind = "https://cyclonedx.org/bom/v1.5";
    let good =
        json!({"bomFormat": "CycloneDX", "specVersion": "1.5", "components": [], "version": 1});
    assert_eq!(outcome(&rules, kind, &good), None);
    let mut changed = good.clone();
    changed["version"] = json!(2);
    assert_eq!(outcome(&rules, kind, &changed), Some(Reason::ConditionUnmet));
    let mut changed = good;
    changed["bomFormat"] = json!("other");
    assert_eq!(outcome(&rules, kind, &changed), Some(Reason::PredicateUnusable));
}

#[test]
fn rejects_specs_by_field() {
    for (yaml, path, problem) in [
        ("conditions: [{cel: 'true'}]", "a.predicateType", "missing"),
        ("predicateType: nothing", "a.predicateType", "no predicate type"),
        ("predicateType: vuln\nsbom: {formats: [spdx]}", "a.predicateType", "not a type"),
        ("sbom: {formats: []}", "a.sbom.formats", "empty"),
        ("sbom: {formats: [spdx]}\nvex: {vulnerabilities: [x]}", "a.vex", "second"),
        ("vex: {vulnerabilities: []}", "a.vex.vulnerabilities", "names none"),
        ("slsaProvenance: {}", "a.slsaProvenance", "no builder"),
        (
            "slsaProvenance: {builders: [{glob: a, exact: b}]}",
            "a.slsaProvenance.builders[0]",
            "2 of",
        ),
        (
            "slsaProvenance: {level: {minimum: 0, builders: []}}",
            "a.slsaProvenance.level.minimum",
            "0",
        ),
        (
            "slsaProvenance: {level: {minimum: 5, builders: []}}",
            "a.slsaProvenance.level.minimum",
            "5",
        ),
        (
            "slsaProvenance: {level: {minimum: 4, builders: []}}",
            "a.slsaProvenance.level.builders",
            "empty",
        ),
        ("vulnerabilities: {maxSeverity: low, maxAge: 7}", "a.vulnerabilities.maxAge", "no age"),
        (
            "predicateType: vuln\npolicy: {type: cue, data: x}",
            "a.policy.type",
            "`cue` is not supported",
        ),
        ("predicateType: vuln\npolicy: {type: rego}", "a.policy.data", "missing"),
        (
            "predicateType: vuln\npolicy: {type: rego, data: x, url: y}",
            "a.policy.url",
            "not supported",
        ),
        ("predicateType: vuln\nconditions: [{cel: ''}]", "a.conditions[0].cel", "empty"),
    ] {
        let error = compile(&spec(yaml), "a").unwrap_err();
        assert_eq!(error.path, path, "{yaml}: {error}");
        assert!(error.problem.contains(problem), "{yaml}: {error}");
    }
}

#[test]
fn bounds_lists_from_both_sides() {
    let conditions =
        |count| format!("predicateType: vuln\nconditions: [{}]", "{cel: 'true'},".repeat(count));
    assert!(compile(&spec(&conditions(MAX_CONDITIONS)), "a").is_ok());
    let error = compile(&spec(&conditions(MAX_CONDITIONS + 1)), "a").unwrap_err();
    assert_eq!(error.path, "a.conditions");
    let builders = |count| format!("slsaProvenance: {{builders: [{}]}}", "x,".repeat(count));
    assert!(compile(&spec(&builders(MAX_BUILDERS)), "a").is_ok());
    assert!(compile(&spec(&builders(MAX_BUILDERS + 1)), "a").is_err());
    let allow =
        |count| format!("vulnerabilities: {{maxSeverity: low, allow: [{}]}}", "x,".repeat(count));
    assert!(compile(&spec(&allow(MAX_VULNERABILITIES)), "a").is_ok());
    assert!(compile(&spec(&allow(MAX_VULNERABILITIES + 1)), "a").is_err());
    let vex = |count| format!("vex: {{vulnerabilities: [{}]}}", "x,".repeat(count));
    assert!(compile(&spec(&vex(MAX_VULNERABILITIES)), "a").is_ok());
    assert!(compile(&spec(&vex(MAX_VULNERABILITIES + 1)), "a").is_err());
}

fn policy(yaml: &str) -> Result<PolicyRules, RuleError> {
    let options = serde_saphyr::options! {};
    let spec: api::PolicyRulesSpec = serde_saphyr::from_str_with_options(yaml, options).unwrap();
    compile_policy(&spec, "spec.policy")
}

#[test]
fn policies_are_asked_of_all_that_was_verified() {
    let rules = policy(
        "conditions:\n- cel: input.authorityMatches.release.signatures.exists(s, s.subject == 'me@example.com')\n  message: not released by me",
    )
    .unwrap();
    let input = |subject: &str| json!({"authorityMatches": {"release": {"signatures": [{"subject": subject, "issuer": "i"}]}}});
    let check = |input: &Value| evaluate_policy(&rules, input, now(), &Budget::default());
    assert_eq!(check(&input("me@example.com")), Ok(()));
    let failure = check(&input("you@example.com")).unwrap_err();
    assert_eq!(failure.reason, Reason::ConditionUnmet);
    assert_eq!(failure.found, "not released by me");
    assert_eq!(check(&json!({})).unwrap_err().reason, Reason::ConditionError);
}

#[test]
fn policies_without_a_rule_are_refused() {
    for (yaml, path) in [
        ("{}", "spec.policy"),
        ("data: x", "spec.policy.type"),
        ("{type: cue, data: x}", "spec.policy.type"),
        ("type: rego", "spec.policy.data"),
    ] {
        assert_eq!(policy(yaml).unwrap_err().path, path, "{yaml}");
    }
}
