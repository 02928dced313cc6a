//! Policies that others wrote for a controller with the same field names: each compiles, or is
//! refused by a named field; what its authors call invalid is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use serde::Deserialize;
use tegata::files;
use tegata::files::FileProblem;
use tegata::trust_root::TrustRoot;

#[path = "support/collection.rs"]
mod collection;

/// One row of `tests/e2e/policy_differences.yaml`: a policy that is valid upstream and refused here.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Difference {
    file: String,
    field: String,
    reason: String,
}

fn differences() -> BTreeMap<String, String> {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/policy_differences.yaml");
    let text = fs::read_to_string(file).unwrap();
    let rows: Vec<Difference> =
        serde_saphyr::from_str_with_options(&text, serde_saphyr::options! {}).unwrap();
    let count = rows.len();
    let fields: BTreeMap<_, _> = rows
        .into_iter()
        .map(|Difference { file, field, reason }| {
            assert!(reason.len() > 20, "{file} has no reason");
            (file, field)
        })
        .collect();
    assert_eq!(fields.len(), count, "a file is listed twice");
    fields
}

fn vectors() -> Option<PathBuf> {
    let missing = "policies of others are not compiled";
    collection::folder("TEGATA_VECTORS", missing).map(|folder| folder.join("policies"))
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
    files.sort();
}

/// The policies and trust roots of the vectors by their path, converted as a user would.
fn policies(folder: &Path) -> BTreeMap<String, String> {
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
    policies
}

fn load(text: &str) -> Result<files::Loaded, FileProblem> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("policy.yaml"), text).unwrap();
    files::load_strict(&[folder.path().to_owned()], &Arc::new(TrustRoot::public_good()))
}

#[test]
fn policies_of_others_compile_or_are_refused_by_a_named_field() {
    let Some(folder) = vectors() else { return };
    let policies = policies(&folder);
    assert!(policies.len() >= 70, "only {} policies found", policies.len());
    let (mut compiled, mut differences) = (0, differences());
    for (name, text) in &policies {
        let invalid = name.contains("/invalid/");
        match load(text) {
            Ok(_) => {
                assert!(!invalid, "{name} compiles, and is invalid upstream");
                assert!(!differences.contains_key(name), "{name} compiles: it is no difference");
                compiled += 1;
            }
            Err(problem) => {
                println!("{name}: {problem}");
                assert!(problem.line.is_some(), "{name}: {problem}");
                assert!(problem.field.starts_with("spec"), "{name}: {problem}");
                let expected = differences.remove(name);
                let same = expected.as_ref() == Some(&problem.field);
                assert!(invalid || same, "{name}: {problem}, expected {expected:?}");
            }
        }
    }
    println!("{compiled} of {} compile", policies.len());
    assert!(differences.is_empty(), "these are not among the policies: {differences:?}");
    assert!(compiled >= 15, "only {compiled} compile");
}

#[test]
fn unconverted_policies_are_refused_with_the_conversion() {
    let Some(folder) = vectors() else { return };
    let file = folder.join("chainguard-catalog/policies/sigstore-landscape/istio-signed.yaml");
    let problem = load(&fs::read_to_string(file).unwrap()).unwrap_err();
    assert_eq!(problem.field, "apiVersion");
    assert!(problem.wanted.contains("change apiVersion"), "{problem}");
}
