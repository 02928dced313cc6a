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
