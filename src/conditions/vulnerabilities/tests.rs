use serde_json::Value;
use serde_json::json;

use super::*;
use crate::conditions::Budget;
use crate::conditions::tests::now;
use crate::conditions::tests::outcome;
use crate::conditions::tests::rules;
use crate::conditions::tests::statement;

const KIND: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

fn predicate(result: Value) -> Value {
    json!({
        "invocation": {"parameters": null, "uri": "", "event_id": "", "builder.id": ""},
        "scanner": {"uri": "pkg:github/aquasecurity/trivy@0.50.0", "version": "0.50.0",
            "db": {"uri": "", "version": ""}, "result": result},
        "metadata": {"scanStartedOn": "2026-11-22T10:00:00Z", "scanFinishedOn": "2026-11-22T11:00:00Z"},
    })
}

fn trivy(findings: &[(&str, &str)]) -> Value {
    let one = |(id, severity): &(&str, &str)| json!({"VulnerabilityID": id, "PkgName": "p", "Severity": severity});
    let list: Vec<Value> = findings.iter().map(one).collect();
    predicate(json!({"SchemaVersion": 2, "ArtifactName": "app", "Results": [
        {"Target": "os", "Class": "os-pkgs"},
        {"Target": "app", "Class": "lang-pkgs", "Vulnerabilities": list},
    ]}))
}

fn grype(findings: &[(&str, &str, &str)]) -> Value {
    let one = |(id, severity, related): &(&str, &str, &str)| {
        json!({"vulnerability": {"id": id, "severity": severity},
            "relatedVulnerabilities": [{"id": related}], "artifact": {"name": "p"}})
    };
    let list: Vec<Value> = findings.iter().map(one).collect();
    predicate(json!({"matches": list, "descriptor": {"name": "grype"}}))
}

const MEDIUM: &str = "vulnerabilities: {maxSeverity: medium, maxAge: 24h, allow: [cve-2024-9], scanner: {glob: 'pkg:github/aquasecurity/trivy@*'}}";

#[test]
fn accepts_what_is_tolerated() {
    let rules = rules(MEDIUM);
    for predicate in [
        trivy(&[]),
        trivy(&[("CVE-2024-1", "LOW"), ("CVE-2024-2", "MEDIUM")]),
        trivy(&[("CVE-2024-9", "CRITICAL")]),
        trivy(&[("CVE-2024-9", "UNKNOWN")]),
        predicate(json!({"SchemaVersion": 2})),
        predicate(json!({"SchemaVersion": 2, "Results": null})),
        grype(&[]),
        grype(&[("CVE-2024-1", "Negligible", "x"), ("CVE-2024-2", "Medium", "x")]),
        grype(&[("GHSA-1", "High", "CVE-2024-9")]),
    ] {
        assert_eq!(outcome(&rules, KIND, &predicate), None, "{predicate}");
    }
}

#[test]
fn rejects_each_field_that_is_wrong() {
    let set = |pointer: &str, value: Value| {
        let mut changed = trivy(&[]);
        *changed.pointer_mut(pointer).unwrap() = value;
        changed
    };
    let finished = "/metadata/scanFinishedOn";
    let found = Reason::VulnerabilityFound;
    let outdated = Reason::ScanOutdated;
    let unusable = Reason::PredicateUnusable;
    let sarif = json!({"version": "2.1.0", "runs": []});
    for (expected, predicate) in [
        (found, trivy(&[("CVE-2024-1", "HIGH")])),
        (found, trivy(&[("CVE-2024-1", "LOW"), ("CVE-2024-2", "CRITICAL")])),
        (found, trivy(&[("CVE-2024-1", "UNKNOWN")])),
        (found, trivy(&[("CVE-2024-1", "")])),
        (found, trivy(&[("CVE-2024-1", "moderate")])),
        (found, grype(&[("CVE-2024-1", "High", "x")])),
        (found, grype(&[("CVE-2024-1", "Unknown", "x")])),
        (found, grype(&[("GHSA-1", "High", "CVE-2024-1")])),
        (outdated, set(finished, json!("2026-11-21T11:59:59Z"))),
        (outdated, set(finished, json!("2026-11-22T12:00:01Z"))),
        (outdated, set(finished, json!("yesterday"))),
        (outdated, set(finished, json!(""))),
        (outdated, set(finished, json!(0))),
        (outdated, set("/metadata", json!({}))),
        (unusable, set("/scanner/uri", json!("pkg:github/other/trivy@1"))),
        (unusable, set("/scanner/uri", Value::Null)),
        (unusable, set("/scanner/result", json!([]))),
        (unusable, set("/scanner/result", json!({"findings": []}))),
        (unusable, set("/scanner/result", sarif)),
        (unusable, set("/scanner/result/SchemaVersion", json!(1))),
        (unusable, set("/scanner/result/Results", json!({}))),
        (unusable, set("/scanner/result/Results", json!(["x"]))),
        (unusable, set("/scanner/result/Results/1/Vulnerabilities", json!("x"))),
        (unusable, set("/scanner/result/Results/1/Vulnerabilities", json!([{"Severity": "LOW"}]))),
        (unusable, predicate(json!({"matches": {}}))),
        (unusable, predicate(json!({"matches": [{"vulnerability": {"severity": "Low"}}]}))),
        (unusable, predicate(json!({"matches": [], "SchemaVersion": 2}))),
        (unusable, predicate(Value::Null)),
    ] {
        assert_eq!(outcome(&rules(MEDIUM), KIND, &predicate), Some(expected), "{predicate}");
    }
}

#[test]
fn the_end_of_the_scan_is_asked_for_even_where_its_age_is_not() {
    let rules = rules("vulnerabilities: {maxSeverity: critical}");
    let mut report = trivy(&[("CVE-2024-1", "CRITICAL")]);
    report["metadata"]["scanFinishedOn"] = json!("2020-01-01T00:00:00Z");
    assert_eq!(outcome(&rules, KIND, &report), None);
    report["metadata"]["scanFinishedOn"] = json!("2030-01-01T00:00:00Z");
    assert_eq!(outcome(&rules, KIND, &report), Some(Reason::ScanOutdated));
    let unknown = trivy(&[("CVE-2024-1", "UNKNOWN")]);
    assert_eq!(outcome(&rules, KIND, &unknown), Some(Reason::VulnerabilityFound));
}

#[test]
fn the_worst_finding_is_told() {
    let report = trivy(&[("CVE-1", "HIGH"), ("CVE-2", "CRITICAL"), ("CVE-3", "HIGH")]);
    let failure =
        rules(MEDIUM).check(&statement(KIND, &report), now(), &Budget::default()).unwrap_err();
    assert_eq!(failure.found, "CVE-2 of severity critical and 2 more");
    assert_eq!(failure.wanted, "a severity of at most medium");
}

#[test]
fn ages_have_one_form() {
    for (text, seconds) in [
        ("1s", Some(1)),
        ("90m", Some(5_400)),
        ("24h", Some(86_400)),
        ("7d", Some(604_800)),
        ("3660d", Some(MAX_AGE_SECONDS)),
        ("3661d", None),
        ("0h", None),
        ("-1h", None),
        ("+1h", None),
        ("1w", None),
        ("h", None),
        ("", None),
        ("1.5h", None),
        ("99999999999999999999d", None),
        ("1 h", None),
        ("1é", None),
    ] {
        assert_eq!(parse_age(text), seconds.map(SignedDuration::from_secs), "{text}");
    }
}

#[test]
fn rejects_a_report_without_a_scanner_whatever_scanner_will_do() {
    let rules = rules("vulnerabilities: {maxSeverity: medium, scanner: {regex: '.*'}}");
    assert_eq!(outcome(&rules, KIND, &trivy(&[])), None);
    let mut anonymous = trivy(&[]);
    anonymous["scanner"].as_object_mut().unwrap().remove("uri");
    assert_eq!(outcome(&rules, KIND, &anonymous), Some(Reason::PredicateUnusable));
}
