//! Policies that others wrote for a controller with the same field names, converted as a user
//! would, and the table of those that are valid there and refused here.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test support: each test crate uses a part of it"
)]
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;

use serde::Deserialize;

/// One row of `tests/e2e/policy_differences.yaml`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Difference {
    file: String,
    /// The field at which it is refused.
    pub field: String,
    /// The field that the API server's schema misses first, where that is another.
    pub schema: Option<String>,
    reason: String,
}

/// The table, by the path of the file; each row has a reason.
pub fn differences() -> BTreeMap<String, Difference> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/policy_differences.yaml");
    let text = fs::read_to_string(file).unwrap();
    let rows: Vec<Difference> =
        serde_saphyr::from_str_with_options(&text, serde_saphyr::options! {}).unwrap();
    let count = rows.len();
    let rows: BTreeMap<_, _> = rows.into_iter().map(|row| (row.file.clone(), row)).collect();
    for Difference { file, reason, .. } in rows.values() {
        assert!(reason.len() > 20, "{file} has no reason");
    }
    assert_eq!(rows.len(), count, "a file is listed twice");
    rows
}

/// The policies and trust roots below a folder by their path, with our `apiVersion`.
pub fn converted(folder: &Path) -> BTreeMap<String, String> {
    let mut files = Vec::new();
    yaml_files(folder, &mut files);
    let mut policies = BTreeMap::new();
    for file in files {
        let text = fs::read_to_string(&file).unwrap();
        if !text.contains("policy.sigstore.dev/") {
            continue;
        }
        let text = text
            .replace("policy.sigstore.dev/v1alpha1", "tegata.dev/v1alpha1")
            .replace("policy.sigstore.dev/v1beta1", "tegata.dev/v1alpha1");
        let name = file.strip_prefix(folder).unwrap().to_str().unwrap().to_owned();
        policies.insert(name, text);
    }
    assert!(policies.len() >= 70, "only {} policies found", policies.len());
    policies
}

/// Whether its authors call it invalid.
pub fn is_invalid(name: &str) -> bool {
    name.contains("/invalid/")
}

fn yaml_files(folder: &Path, files: &mut Vec<PathBuf>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            yaml_files(&path, files);
        } else if path.extension().is_some_and(|ending| ending == "yaml") {
            files.push(path);
        }
    }
}
