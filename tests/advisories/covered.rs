//! The table at the top of `tests/advisories.rs` names tests that exist, and the build runs them.
use std::collections::BTreeSet;
use std::path::Path;

#[test]
fn every_test_that_the_table_names_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let table = include_str!("../advisories.rs");
    let rows: Vec<&str> = table.lines().filter_map(|line| line.strip_prefix("//! | ")).collect();
    let mut named = BTreeSet::new();
    let mut missing = Vec::new();
    for row in rows.iter().skip(1) {
        let covered = row.rsplit(" | ").next().unwrap();
        let tests: Vec<&str> = covered.split('`').skip(1).step_by(2).collect();
        if tests.is_empty() && !covered.starts_with("not built: ") {
            missing.push(format!("{row} names no test"));
        }
        for test in tests {
            let (file, function) = test.split_once("::").unwrap();
            let text = std::fs::read_to_string(root.join(file)).unwrap_or_default();
            let at = text.find(&format!("fn {function}("));
            // The attribute stands before the function, with other attributes between at most.
            let before = at.map_or("", |at| text.get(..at).unwrap());
            let attribute = before.rfind("test").map_or("", |start| before.get(start..).unwrap());
            if at.is_none() || attribute.contains("\n}\n") || attribute.contains("fn ") {
                missing.push(format!("{test} is no test"));
            }
            named.insert(test);
        }
    }
    assert_eq!(missing, [] as [String; 0]);
    assert!(rows.len() > 30 && named.len() > 40, "{} rows, {} tests", rows.len(), named.len());
}

/// Portieris 0.14.2: tests that nobody runs find nothing.
#[test]
fn the_build_counts_the_tests_that_ran() {
    let build = Path::new(env!("CARGO_MANIFEST_DIR")).join(".ci/run");
    let build = std::fs::read_to_string(build).unwrap();
    for (name, ran, least) in [("minimum", "passed", 600), ("minimum_e2e", "ran", 60)] {
        let set = build.lines().find_map(|line| line.strip_prefix(&format!("{name}=")));
        let set: usize = set.unwrap().parse().unwrap();
        assert!(set >= least, "{name} is {set}");
        let held = format!("[ \"${ran}\" -ge \"${name}\" ] || fail ");
        assert!(build.contains(&held), "{held} is not in .ci/run");
    }
}
