//! The table of policies that must not get into a cluster: `tests/e2e/invalid_policies.yaml`.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test support: each test crate uses a part of it"
)]
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde::Deserialize;
use serde_json::Value;

/// The least number of rows: a table that lost half of its rows shows nothing.
const AT_LEAST: usize = 45;

/// One row.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Invalid {
    /// What is wrong with it, in words; no two rows have the same.
    pub name: String,
    /// Who refuses it.
    pub by: By,
    /// What the message must hold: the field, and what to do about it.
    pub expect: Vec<String>,
    /// The object that is applied.
    pub policy: Value,
}

/// Who refuses a policy.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum By {
    /// The API server, by the schema and its rules.
    Schema,
    /// The webhook `/validate-policies`.
    Webhook,
}

/// The rows: enough of them, by both, with names of their own, and each expects something.
pub fn rows() -> Vec<Invalid> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/invalid_policies.yaml");
    let text = fs::read_to_string(file).unwrap();
    let rows: Vec<Invalid> =
        serde_saphyr::from_str_with_options(&text, serde_saphyr::options! {}).unwrap();
    assert!(rows.len() >= AT_LEAST, "only {} rows", rows.len());
    let names: BTreeSet<&str> = rows.iter().map(|row| row.name.as_str()).collect();
    assert_eq!(names.len(), rows.len(), "two rows have the same name");
    for row in &rows {
        assert!(!row.expect.is_empty(), "{} expects nothing", row.name);
    }
    for by in [By::Schema, By::Webhook] {
        assert!(rows.iter().filter(|row| row.by == by).count() >= 10, "{by:?}");
    }
    rows
}
