//! Policies that others wrote for a controller with the same field names: each compiles, or is
//! refused by a named field; what its authors call invalid is refused.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;

use tegata::files;
use tegata::files::FileProblem;
use tegata::trust_root::TrustRoot;

#[path = "support/collection.rs"]
mod collection;

/// Fields that are refused until a later version supports them.
const NOT_YET: [&str; 7] =
    ["attestations", "policy", "kms", "url", "ca-cert", "sigstoreKeys", "signaturePullSecrets"];

/// Files whose refusal is neither upstream's verdict nor a field that is not supported yet.
const EXCEPTIONS: [(&str, &str, &str); 2] = [
    (
        "policy-controller/empty-authorities/authorities-absent.yaml",
        "spec",
        "a policy without authorities could never be met; there it has a configured meaning",
    ),
    (
        "policy-controller/empty-authorities/authorities-present.yaml",
        "spec.authorities",
        "the same",
    ),
];

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

fn is_not_yet(problem: &FileProblem) -> bool {
    let field = problem.field.rsplit('.').next().unwrap();
    NOT_YET.contains(&field) && problem.problem.contains("not supported yet")
}

/// A key in an object of a cluster, which a file cannot name.
fn needs_cluster(problem: &FileProblem) -> bool {
    let field = problem.field.rsplit('.').next().unwrap();
    ["secretRef", "configMapRef"].contains(&field) && problem.problem.contains("in a file")
}

#[test]
fn policies_of_others_compile_or_are_refused_by_a_named_field() {
    let Some(folder) = vectors() else { return };
    let policies = policies(&folder);
    assert!(policies.len() >= 70, "only {} policies found", policies.len());
    let (mut compiled, mut refused) = (0, BTreeMap::<String, usize>::new());
    for (name, text) in &policies {
        let invalid = name.contains("/invalid/");
        // What is invalid upstream must be refused for more than the address of a service.
        let without_url = text.replace("      url: https://fulcio.sigstore.dev\n", "");
        match load(if invalid { &without_url } else { text }) {
            Ok(_) => {
                assert!(!invalid, "{name} compiles, and is invalid upstream");
                compiled += 1;
            }
            Err(problem) => {
                println!("{name}: {problem}");
                assert!(problem.line.is_some(), "{name}: {problem}");
                assert!(problem.field.starts_with("spec"), "{name}: {problem}");
                let exception = EXCEPTIONS.iter().find(|(file, _, _)| file == name);
                let expected = exception.is_some_and(|(_, field, _)| *field == problem.field);
                let named = is_not_yet(&problem) || needs_cluster(&problem);
                assert!(invalid || expected || named, "{name}: {problem}");
                let field = problem.field.rsplit('.').next().unwrap().to_owned();
                *refused.entry(field).or_default() += 1;
            }
        }
    }
    println!("{compiled} of {} compile; refused by field: {refused:?}", policies.len());
    assert!(compiled >= 7, "only {compiled} compile");
}

/// The same policies with the fields that are not needed left out, as the refusals advise.
#[test]
fn policies_of_others_compile_once_the_service_addresses_are_left_out() {
    let Some(folder) = vectors() else { return };
    let mut compiled = 0;
    for (name, text) in policies(&folder) {
        if !name.starts_with("chainguard-catalog/policies/sigstore-landscape/") {
            continue;
        }
        let text = text
            .replace("ctlog:\n      url: https://rekor.sigstore.dev", "ctlog: {}")
            .replace("url: https://fulcio.sigstore.dev\n", "\n");
        load(&text).unwrap_or_else(|problem| panic!("{name}: {problem}"));
        compiled += 1;
    }
    assert!(compiled >= 8, "only {compiled} compile");
}

#[test]
fn unconverted_policies_are_refused_with_the_conversion() {
    let Some(folder) = vectors() else { return };
    let file = folder.join("chainguard-catalog/policies/sigstore-landscape/istio-signed.yaml");
    let problem = load(&fs::read_to_string(file).unwrap()).unwrap_err();
    assert_eq!(problem.field, "apiVersion");
    assert!(problem.wanted.contains("change apiVersion"), "{problem}");
}
