use std::fs;

use super::*;

const STATIC: &str = "apiVersion: tegata.dev/v1alpha1\nkind: ClusterImagePolicy\nmetadata:\n  name: NAME\nspec:\n  images:\n    - glob: ghcr.io/NAME/**\n  authorities:\n    - static:\n        action: pass\n";

fn policy(name: &str) -> String {
    STATIC.replace("NAME", name)
}

fn read(folder: &Path) -> Loaded {
    load(&[folder.to_owned()], &Arc::new(TrustRoot::public_good())).unwrap()
}

fn strict(folder: &Path) -> Result<Loaded, FileProblem> {
    load_strict(&[folder.to_owned()], &Arc::new(TrustRoot::public_good()))
}

/// Name, whether it is ready, and globs, of every policy.
fn states(loaded: &Loaded) -> Vec<(String, bool, String)> {
    let globs = |state: &PolicyState| {
        state.scope().images.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    };
    let policies = loaded.snapshot.policies().iter();
    policies
        .map(|state| {
            let name = match state.id() {
                PolicyId::Cluster { name } | PolicyId::Namespaced { name, .. } => name.clone(),
            };
            (name, matches!(state, PolicyState::Ready(_)), globs(state))
        })
        .collect()
}

fn ready(name: &str) -> (String, bool, String) {
    (name.to_owned(), true, format!("ghcr.io/{name}/**"))
}

#[test]
fn reads_folders_by_name_and_skips_what_is_not_ours() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::write(path.join("b.yml"), policy("b")).unwrap();
    fs::write(path.join("a.yaml"), format!("---\n{}---\n{}---\n", policy("a"), policy("a2")))
        .unwrap();
    fs::write(path.join("notes.txt"), "no YAML: [").unwrap();
    fs::write(path.join(".hidden.yaml"), "no YAML: [").unwrap();
    fs::create_dir(path.join("sub.yaml")).unwrap();
    fs::write(path.join("sub.yaml/c.yaml"), policy("c")).unwrap();
    let loaded = strict(path).unwrap();
    assert_eq!(states(&loaded), [ready("a"), ready("a2"), ready("b")]);
}

#[cfg(unix)]
#[test]
fn reads_a_mounted_config_map_once() {
    use std::os::unix::fs::symlink;
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    fs::create_dir(path.join("..2026_01_01")).unwrap();
    fs::write(path.join("..2026_01_01/p.yaml"), policy("p")).unwrap();
    symlink("..2026_01_01", path.join("..data")).unwrap();
    symlink("..data/p.yaml", path.join("p.yaml")).unwrap();
    assert_eq!(states(&strict(path).unwrap()), [ready("p")]);
    // A link that leads nowhere is a file that cannot be read, not a file that is not there.
    fs::remove_file(path.join("..2026_01_01/p.yaml")).unwrap();
    let loaded = read(path);
    let [(_, false, globs)] = &states(&loaded)[..] else { panic!("one invalid policy") };
    assert_eq!(globs, "**");
}

#[test]
fn errors_name_file_line_and_field() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    for (from, to, line, field, problem, wanted) in [
        ("images:", "image:", 6, "spec.image", "unknown field `image`", "`images`"),
        (
            "    - static:",
            "    - statik:",
            9,
            "spec.authorities[0].statik",
            "unknown field `statik`",
            "`static`",
        ),
        (
            "action: pass",
            "action: maybe",
            10,
            "spec.authorities[0].static.action",
            "unknown variant",
            "",
        ),
        (
            "glob: ghcr.io",
            "glob: \"[\" #",
            7,
            "spec.images[0].glob",
            "no image glob",
            "a reference",
        ),
        ("spec:", "spce:", 5, "spce", "unknown field `spce`", "`spec`"),
        (
            "ClusterImagePolicy",
            "ClusterImagePolciy",
            2,
            "kind",
            "ClusterImagePolciy",
            "`ClusterImagePolicy`",
        ),
        ("v1alpha1", "v1", 1, "apiVersion", "tegata.dev/v1", "`tegata.dev/v1alpha1`"),
        (
            "tegata.dev/v1alpha1",
            "policy.sigstore.dev/v1beta1",
            1,
            "apiVersion",
            "policy.sigstore.dev/v1beta1",
            "change apiVersion",
        ),
        ("  name: NAME", "  nam: NAME", 3, "metadata.name", "missing", "a name"),
        (
            "  name: NAME",
            "  name: x\n  namespace: y",
            5,
            "metadata.namespace",
            "`y`",
            "ImagePolicy",
        ),
        (
            "ClusterImagePolicy",
            "ImagePolicy",
            3,
            "metadata.namespace",
            "missing",
            "ClusterImagePolicy",
        ),
        ("  name: NAME", "  name: 7", 4, "metadata.name", "no text", "in quotes"),
        ("metadata:", "kind: X\nmetadata:", 3, "", "duplicate", ""),
    ] {
        fs::write(&file, STATIC.replace(from, to).replace("NAME", "p")).unwrap();
        let error = strict(folder.path()).unwrap_err();
        assert_eq!(error.file, file);
        assert_eq!((error.line, error.field.as_str()), (Some(line), field), "{error}");
        assert!(error.problem.contains(problem), "{error}");
        assert!(error.wanted.contains(wanted), "{error}");
        let [(_, false, _)] = &states(&read(folder.path()))[..] else { panic!("{to}: not denied") };
    }
}

#[test]
fn a_broken_document_denies_its_own_images_only() {
    let folder = tempfile::tempdir().unwrap();
    let broken = policy("bad").replace("action: pass", "action: maybe");
    fs::write(folder.path().join("p.yaml"), format!("{}---\n{broken}", policy("good"))).unwrap();
    let loaded = read(folder.path());
    let bad = ("bad".to_owned(), false, "ghcr.io/bad/**".to_owned());
    assert_eq!(states(&loaded), [ready("good"), bad]);
    assert_eq!(loaded.problems.len(), 1);
}

#[test]
fn other_kinds_are_reported_and_deny_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let other = "apiVersion: apps/v1\nkind: Deployment\nmetadata:\n  name: d\n";
    fs::write(folder.path().join("p.yaml"), format!("{other}---\n{}", policy("p"))).unwrap();
    let loaded = read(folder.path());
    assert_eq!(states(&loaded), [ready("p")]);
    assert_eq!(loaded.problems[0].field, "apiVersion");
    assert!(strict(folder.path()).is_err());
}

#[test]
fn a_second_definition_is_invalid() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("a.yaml"), policy("p")).unwrap();
    fs::write(folder.path().join("b.yaml"), policy("p")).unwrap();
    let loaded = read(folder.path());
    let invalid = ("p".to_owned(), false, "ghcr.io/p/**".to_owned());
    assert_eq!(states(&loaded), [ready("p"), invalid]);
}

#[test]
fn a_path_that_is_not_there_is_an_error_in_both_modes() {
    let folder = tempfile::tempdir().unwrap();
    let absent = folder.path().join("absent");
    let root = Arc::new(TrustRoot::public_good());
    assert!(load(std::slice::from_ref(&absent), &root).is_err());
    let empty = strict(folder.path()).unwrap_err();
    assert_eq!(empty.problem, "there is no policy in it");
}

#[test]
fn large_and_odd_files_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("p.yaml");
    for (bytes, problem) in [
        (vec![b'#'; 1024 * 1024 + 1], "more than 1048576 bytes"),
        (vec![0xff, 0xfe], "not UTF-8"),
        (b"a: [".to_vec(), "no YAML"),
    ] {
        fs::write(&file, bytes).unwrap();
        let error = strict(folder.path()).unwrap_err();
        assert!(error.problem.contains(problem), "{error}");
        assert_eq!(states(&read(folder.path())).len(), 1, "it denies");
    }
}

#[test]
fn the_last_good_version_stays_in_use() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let write = |name: &str, text: &str| fs::write(path.join(name), text).unwrap();
    write("a.yaml", &policy("a"));
    write("b.yaml", &policy("b"));
    let good = read(path);

    // A document that is broken now, and one that was never good.
    let broken = |name: &str| policy(name).replace("action: pass", "action: maybe");
    write("a.yaml", &format!("{}---\n{}", broken("a"), broken("new")));
    let merged = merge(&good, read(path));
    let new = ("new".to_owned(), false, "ghcr.io/new/**".to_owned());
    assert_eq!(states(&merged), [ready("a"), new, ready("b")]);
    assert_eq!(merged.problems.len(), 2);

    // A file that cannot be read now keeps all that it held, over several reloads.
    write("a.yaml", &format!("{}---\n{}", policy("a"), policy("new")));
    let good = merge(&merged, read(path));
    write("a.yaml", "a: [");
    let merged = merge(&good, read(path));
    let merged = merge(&merged, read(path));
    assert_eq!(states(&merged), [ready("a"), ready("new"), ready("b")]);
    assert_eq!(merged.problems.len(), 1);

    // A file that was never good denies everything.
    write("c.yaml", "a: [");
    let merged = merge(&good, read(path));
    assert_eq!(states(&merged).last().unwrap().2, "**");

    // What is deleted is gone: that is a decision, not an accident.
    fs::remove_file(path.join("a.yaml")).unwrap();
    fs::remove_file(path.join("c.yaml")).unwrap();
    assert_eq!(states(&merge(&merged, read(path))), [ready("b")]);
}

const ROOT: &str = "apiVersion: tegata.dev/v1alpha1\nkind: TrustRoot\nmetadata:\n  name: NAME\nspec:\n  trustedRoot:\n    file: FILE\n";

#[test]
fn trust_roots_name_files_beside_them_only() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let root = |file: &str| ROOT.replace("NAME", "private").replace("FILE", file);
    fs::write(path.join("root.yaml"), root("root.txt")).unwrap();
    let absent = strict(path).unwrap_err();
    assert_eq!((absent.line, absent.field.as_str()), (Some(7), "spec.trustedRoot.file"));
    fs::write(path.join("root.txt"), "{}").unwrap();
    assert!(!strict(path).unwrap_err().problem.contains("cannot be read"));
    for name in ["../root.txt", "/etc/passwd", "..", "a/../root.txt"] {
        fs::write(path.join("root.yaml"), root(name)).unwrap();
        let error = strict(path).unwrap_err();
        assert!(error.problem.contains("is no file name"), "{error}");
        assert!(read(path).trust_roots.is_empty());
    }
}

#[test]
fn trust_roots_name_no_object_of_a_cluster() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let json = sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
    let reference = r#"{"trustedRoot": {"configMapRef": {"name": "roots"}}}"#;
    write_rooted(path, reference);
    let error = strict(path).unwrap_err();
    assert_eq!(error.field, "spec.trustedRoot.configMapRef");
    assert_eq!(error.problem, "a trust root in a file cannot name an object of a cluster");
    assert!(error.wanted.starts_with("`{file: NAME}`"), "{error}");
    assert!(root_of(&read(path)).is_none());
    // Nor does one that was in a file stand in for it.
    write_root(path, &serde_json::json!({"trustedRoot": json}).to_string());
    let good = merge(&Loaded::default(), read(path));
    assert!(root_of(&good).is_some());
    write_root(path, reference);
    assert!(root_of(&merge(&good, read(path))).is_none());
}

#[test]
fn a_list_of_policies_denies_instead_of_being_skipped() {
    let folder = tempfile::tempdir().unwrap();
    let indented = policy("p").replace('\n', "\n    ");
    for kind in ["List", "ClusterImagePolicyList"] {
        let list = format!("apiVersion: v1\nkind: {kind}\nitems:\n  - {indented}\n");
        fs::write(folder.path().join("p.yaml"), list).unwrap();
        let loaded = read(folder.path());
        let states = states(&loaded);
        assert!(matches!(states.as_slice(), [(_, false, glob)] if glob == "**"), "{states:?}");
        assert_eq!(loaded.problems[0].field, "items");
    }
}

/// A policy under the trust root `private`, and that trust root with this spec, in files of their
/// own.
fn write_rooted(folder: &Path, root: &str) {
    let policy = "apiVersion: tegata.dev/v1alpha1\nkind: ClusterImagePolicy\nmetadata:\n  name: p\n\
        spec:\n  images:\n    - glob: a/**\n  authorities:\n    - keyless:\n        \
        trustRootRef: private\n        identities:\n          - issuer: https://i.example\n            \
        subject: me@example.com\n";
    fs::write(folder.join("policy.yaml"), policy).unwrap();
    write_root(folder, root);
}

fn write_root(folder: &Path, spec: &str) {
    let spec: serde_json::Value = serde_json::from_str(spec).unwrap();
    let root = serde_json::json!({"apiVersion": "tegata.dev/v1alpha1", "kind": "TrustRoot",
        "metadata": {"name": "private"}, "spec": spec});
    fs::write(folder.join("root.yaml"), root.to_string()).unwrap();
}

fn repository(host: &str) -> (String, Source) {
    let root = Source::public_good();
    let text = std::str::from_utf8(root.root()).unwrap();
    let mirror = format!("https://{host}");
    let spec = serde_json::json!({"tuf": {"mirror": mirror, "root": text}});
    let source = Source::new(&mirror, root.root(), "trusted_root.json").unwrap();
    (spec.to_string(), source)
}

fn fetched(source: &Source) -> (Arc<Roots>, Arc<TrustRoot>) {
    let root = Arc::new(TrustRoot::public_good());
    let published =
        crate::tuf::Published { root: Some(Arc::clone(&root)), ..crate::tuf::Published::default() };
    let sources = [(source.id(), published)].into();
    (Arc::new(Roots { default: None, sources }), root)
}

fn read_with(folder: &Path, roots: &Arc<Roots>) -> Loaded {
    load_with(&[folder.to_owned()], &Arc::new(TrustRoot::public_good()), roots).unwrap()
}

/// The trust root of the only policy, if it is ready.
fn root_of(loaded: &Loaded) -> Option<Arc<TrustRoot>> {
    match loaded.snapshot.policies() {
        [PolicyState::Ready(policy)] => Some(Arc::clone(&policy.authorities[0].trust_root)),
        [PolicyState::Invalid(_)] => None,
        policies => panic!("{} policies", policies.len()),
    }
}

fn is(found: Option<Arc<TrustRoot>>, wanted: &Arc<TrustRoot>) -> bool {
    found.is_some_and(|found| Arc::ptr_eq(&found, wanted))
}

#[test]
fn a_trust_root_from_a_repository_denies_until_it_was_fetched() {
    let folder = tempfile::tempdir().unwrap();
    let (spec, source) = repository("a");
    write_rooted(folder.path(), &spec);
    let loaded = read(folder.path());
    assert!(root_of(&loaded).is_none());
    assert_eq!(loaded.problems[0].field, "spec.tuf");
    assert_eq!(loaded.problems[0].problem, "nothing was fetched from it yet");
    assert_eq!(loaded.sources(), [("TrustRoot/private".to_owned(), source.clone())].into());
    let (roots, root) = fetched(&source);
    let loaded = merge(&loaded, read_with(folder.path(), &roots));
    assert!(is(root_of(&loaded), &root));
    assert!(loaded.problems.is_empty(), "{:?}", loaded.problems);
}

#[test]
fn a_fetched_root_does_not_outlive_its_source() {
    let (spec, source) = repository("a");
    let (roots, _) = fetched(&source);
    let broken_policy = |folder: &Path| {
        let file = folder.join("policy.yaml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(file, text.replace("  images:", "  threshold: 7\n  images:")).unwrap();
    };
    let (other, _) = repository("b");
    let invalid = r#"{"tuf": {"mirror": "x", "root": "{}"}}"#;
    for other in [other.as_str(), invalid, r#"{"trustedRoot": "{}"}"#, r#"{"sigstoreKeys": {}}"#] {
        for break_policy in [false, true] {
            let folder = tempfile::tempdir().unwrap();
            let path = folder.path();
            write_rooted(path, &spec);
            let good = merge(&Loaded::default(), read_with(path, &roots));
            assert!(root_of(&good).is_some());
            write_root(path, other);
            if break_policy {
                broken_policy(path);
            }
            let next = merge(&good, read_with(path, &roots));
            assert!(root_of(&next).is_none(), "{other} {break_policy}");
        }
    }
}

#[test]
fn a_root_in_a_file_does_not_outlive_a_change_to_a_repository() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let json = sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
    write_rooted(path, &serde_json::json!({"trustedRoot": json}).to_string());
    let good = merge(&Loaded::default(), read(path));
    assert!(root_of(&good).is_some());
    write_root(path, r#"{"trustedRoot": "{}"}"#);
    let broken = merge(&good, read(path));
    assert!(root_of(&broken).is_some(), "the last good version of the same field");
    write_root(path, &repository("a").0);
    let moved = merge(&broken, read(path));
    assert!(root_of(&moved).is_none());
    write_root(path, r#"{"trustedRoot": "{}"}"#);
    assert!(root_of(&merge(&moved, read(path))).is_none(), "it does not come back");
}

#[test]
fn what_is_kept_of_broken_files_takes_rotations_and_losses_of_its_root() {
    let (spec, source) = repository("a");
    for broken in ["threshold: 7\n  images", "no: [yaml"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write_rooted(path, &spec);
        let good = merge(&Loaded::default(), read_with(path, &fetched(&source).0));
        let file = path.join("policy.yaml");
        let text = fs::read_to_string(&file).unwrap();
        fs::write(&file, text.replacen("images", broken, 1)).unwrap();
        let (roots, rotated) = fetched(&source);
        let next = merge(&good, read_with(path, &roots));
        assert!(is(root_of(&next), &rotated), "{broken}: the policy of before, the root of now");
        let gone = merge(&next, read(path));
        assert!(root_of(&gone).is_none(), "{broken}: no root, no policy");
    }
}

#[test]
fn a_root_in_a_file_does_not_outlive_a_change_to_another_field() {
    let json = sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
    for other in [r#"{"sigstoreKeys": {}}"#, r#"{"tuf": {"mirror": "x", "root": "{}"}}"#, "{}"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path();
        write_rooted(path, &serde_json::json!({"trustedRoot": json}).to_string());
        let good = merge(&Loaded::default(), read(path));
        assert!(root_of(&good).is_some());
        write_root(path, other);
        assert!(root_of(&merge(&good, read(path))).is_none(), "{other}");
    }
}

#[test]
fn a_version_that_names_an_absent_root_denies_and_no_earlier_one_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    let json = sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
    write_rooted(path, &serde_json::json!({"trustedRoot": json}).to_string());
    let good = merge(&Loaded::default(), read(path));
    let file = path.join("policy.yaml");
    let text = fs::read_to_string(&file).unwrap();
    fs::write(&file, text.replace("trustRootRef: private", "trustRootRef: absent")).unwrap();
    assert!(root_of(&merge(&good, read(path))).is_none());
}
