//! Policies that others wrote for a controller with the same field names: each compiles, or is
//! refused by a named field; what its authors call invalid is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use tegata::files;
use tegata::files::FileProblem;
use tegata::trust_root::TrustRoot;

#[path = "support/collection.rs"]
mod collection;
#[path = "support/foreign_policies.rs"]
mod foreign_policies;

fn vectors() -> Option<PathBuf> {
    let missing = "policies of others are not compiled";
    collection::folder("TEGATA_VECTORS", missing).map(|folder| folder.join("policies"))
}

fn load(text: &str) -> Result<files::Loaded, FileProblem> {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("policy.yaml"), text).unwrap();
    files::load_strict(&[folder.path().to_owned()], &Arc::new(TrustRoot::public_good()))
}

#[test]
fn policies_of_others_compile_or_are_refused_by_a_named_field() {
    let Some(folder) = vectors() else { return };
    let policies = foreign_policies::converted(&folder);
    let (mut compiled, mut differences) = (0, foreign_policies::differences());
    for (name, text) in &policies {
        let invalid = foreign_policies::is_invalid(name);
        match load(text) {
            Ok(_) => {
                assert!(!invalid, "{name} compiles, and is invalid upstream");
                assert!(!differences.contains_key(name), "{name} compiles: it is no difference");
                compiled += 1;
            }
            // An object of the cluster may hold the key, where there is a cluster.
            Err(problem) if problem.field.ends_with(".key.secretRef") => {
                assert!(!differences.contains_key(name), "{name} is no difference in a cluster");
            }
            // A file with nothing but trust roots that compile.
            Err(problem) if problem.problem.contains("there is no policy in it") => {
                assert!(!invalid, "{name} compiles, and is invalid upstream");
                assert!(!differences.contains_key(name), "{name} compiles: it is no difference");
            }
            Err(problem) => {
                println!("{name}: {problem}");
                assert!(problem.line.is_some(), "{name}: {problem}");
                assert!(problem.field.starts_with("spec"), "{name}: {problem}");
                let expected = differences.remove(name).map(|row| row.field);
                let same = expected.as_ref() == Some(&problem.field);
                assert!(invalid || same, "{name}: {problem}, expected {expected:?}");
            }
        }
    }
    println!("{compiled} of {} compile", policies.len());
    let left: Vec<_> = differences.keys().collect();
    assert!(left.is_empty(), "these are not among the policies: {left:?}");
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
