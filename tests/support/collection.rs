//! Collections of others' work that are no part of this project: an environment variable names
//! their folder. Without it the test says so, in one line that the test runner does not hide.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "test support: each test crate uses a part of it"
)]
use std::io::Write as _;
use std::path::Path;
use std::path::PathBuf;

use serde_json::Value;

/// The folder that `variable` names; `what` is not done without it.
pub fn folder(variable: &str, what: &str) -> Option<PathBuf> {
    let found = std::env::var_os(variable).map(PathBuf::from);
    if found.is_none() {
        say(&format!("{variable} is not set: {what}"));
    }
    found
}

/// Writes a line past the runner, which keeps what passing tests print to itself.
#[allow(clippy::explicit_write, reason = "`eprintln` is what the runner keeps to itself")]
pub fn say(line: &str) {
    writeln!(std::io::stderr(), "\n{line}").unwrap();
}

/// The rows of the collection's index in one of its sections.
pub fn rows(vectors: &Path, section: &str) -> Vec<Value> {
    let index = std::fs::read(vectors.join("index.json")).unwrap();
    let index: Vec<Value> = serde_json::from_slice(&index).unwrap();
    index.into_iter().filter(|row| row["section"] == section).collect()
}
