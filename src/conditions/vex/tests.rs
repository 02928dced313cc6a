use serde_json::json;

use super::*;
use crate::conditions::Rules;
use crate::conditions::tests::image;
use crate::conditions::tests::now;
use crate::conditions::tests::outcome;
use crate::conditions::tests::rules;
use crate::conditions::tests::statement;

const KIND: &str = "https://openvex.dev/ns/v0.2.0";

fn of_image() -> Value {
    json!([{"@id": format!("pkg:oci/app@sha256%3A{}?arch=amd64", image().hex())}])
}

fn cleared() -> Value {
    json!({
        "vulnerability": {"name": "CVE-2024-1"}, "products": of_image(),
        "status": "not_affected", "justification": "component_not_present",
    })
}

fn document(statements: Vec<Value>) -> Value {
    json!({
        "@context": "https://openvex.dev/ns/v0.2.0", "@id": "https://example.com/vex",
        "author": "a", "timestamp": "2026-11-20T00:00:00Z", "version": 1,
        "statements": statements,
    })
}

fn demands() -> Rules {
    rules("vex: {vulnerabilities: [CVE-2024-1]}")
}

fn with(field: &str, value: Value) -> Value {
    let mut one = cleared();
    one[field] = value;
    one
}

#[test]
fn accepts_every_form_of_the_statement() {
    let image = image();
    for one in [
        cleared(),
        with("vulnerability", json!("cve-2024-1")),
        with("vulnerability", json!({"name": "GHSA-x", "aliases": ["CVE-2024-1"]})),
        with("status", json!("fixed")),
        with("products", json!([{"@id": format!("ghcr.io/org/app@{image}")}])),
        with("products", json!([image.to_string()])),
        with(
            "products",
            json!([{"@id": "other"}, {"@id": "x", "hashes": {"sha-256": image.hex()}}]),
        ),
        with("products", json!([{"identifiers": {"purl": format!("pkg:oci/app@{image}")}}])),
        {
            let mut one = cleared();
            one.as_object_mut().unwrap().remove("products");
            one
        },
    ] {
        assert_eq!(outcome(&demands(), KIND, &document(vec![one.clone()])), None, "{one}");
    }
}

#[test]
fn rejects_each_field_that_is_wrong() {
    let image = image();
    for one in [
        with("vulnerability", json!({"name": "CVE-2024-10"})),
        with("vulnerability", json!(7)),
        with("status", json!("affected")),
        with("status", json!("under_investigation")),
        with("status", json!("Not_Affected")),
        with("status", Value::Null),
        with("justification", Value::Null),
        with("products", json!([])),
        with("products", json!([{"@id": "ghcr.io/org/app"}])),
        with("products", json!([{"@id": format!("x{image}")}])),
        with("products", json!([{"hashes": {"sha-512": image.hex()}}])),
        with("products", json!({"@id": image.to_string()})),
        with("timestamp", json!("2026-11-22T12:00:01Z")),
        with("timestamp", json!("yesterday")),
    ] {
        let found = outcome(&demands(), KIND, &document(vec![one.clone()]));
        assert_eq!(found, Some(Reason::VexUnmet), "{one}");
    }
    assert_eq!(outcome(&demands(), KIND, &document(vec![])), Some(Reason::VexUnmet));
    let mut undated = document(vec![cleared()]);
    undated.as_object_mut().unwrap().remove("timestamp");
    assert_eq!(outcome(&demands(), KIND, &undated), Some(Reason::VexUnmet));
    for field in ["@context", "statements"] {
        let mut other = document(vec![cleared()]);
        other[field] = json!("other");
        assert_eq!(outcome(&demands(), KIND, &other), Some(Reason::PredicateUnusable), "{field}");
    }
}

#[test]
fn the_newest_statement_counts_and_of_equals_all() {
    let dated = |status: &str, time: &str| {
        let mut one = with("status", json!(status));
        one["timestamp"] = json!(time);
        one
    };
    let (older, newer) = ("2026-11-01T00:00:00Z", "2026-11-02T00:00:00Z");
    for (statements, expected) in [
        (vec![dated("affected", older), dated("fixed", newer)], None),
        (vec![dated("fixed", newer), dated("affected", older)], None),
        (vec![dated("fixed", older), dated("affected", newer)], Some(Reason::VexUnmet)),
        (vec![dated("fixed", older), dated("affected", older)], Some(Reason::VexUnmet)),
        (vec![dated("affected", older), dated("fixed", older)], Some(Reason::VexUnmet)),
    ] {
        assert_eq!(outcome(&demands(), KIND, &document(statements)), expected);
    }
}

#[test]
fn every_vulnerability_that_is_named_needs_its_statement() {
    let rules = rules(
        "vex: {vulnerabilities: [CVE-2024-1, CVE-2024-2], statuses: [affected, not_affected]}",
    );
    let mut second = with("status", json!("affected"));
    second["vulnerability"] = json!("CVE-2024-2");
    assert_eq!(outcome(&rules, KIND, &document(vec![cleared(), second])), None);
    let statement = statement(KIND, &document(vec![cleared()]));
    let failure =
        rules.check(&statement, now(), &crate::conditions::Budget::default()).unwrap_err();
    assert_eq!(failure.reason, Reason::VexUnmet);
    assert_eq!(failure.found, "no statement on CVE-2024-2 for this image");
    assert_eq!(failure.wanted, "the status affected or not_affected");
}
