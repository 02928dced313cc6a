//! Answers to other people's cases, held against the answers that are wanted.
//!
//! Where this project answers otherwise, on purpose or for want of something, `exceptions.yaml`
//! beside the tests says so, with the reason. An exception that is not needed is an error too.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test support: each test crate uses a part of it"
)]
use std::collections::BTreeMap;

/// What a case that is accepted gets, whatever its group calls it.
pub const VERIFIED: &str = "verified";

/// The groups of cases, so that no exception is for a group that nobody looks at.
const GROUPS: [&str; 10] = [
    "blob-bundles",
    "checkpoints",
    "crypto",
    "ct",
    "tlog",
    "trust-roots",
    "trust-roots-history",
    "tsa",
    "x509",
    "x509-limbo",
];

#[derive(serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Exception {
    group: String,
    cases: Vec<String>,
    found: String,
    reason: String,
}

/// The answers to the cases of one group.
pub struct Answers {
    group: String,
    exceptions: BTreeMap<String, String>,
    seen: usize,
    wrong: Vec<String>,
}

impl Answers {
    /// No answers yet. The exceptions of the group are read.
    pub fn new(group: &str) -> Self {
        let text = include_str!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/exceptions.yaml"));
        let all: Vec<Exception> = serde_saphyr::from_str(text).unwrap();
        assert!(GROUPS.contains(&group), "{group} is no group");
        let mut exceptions = BTreeMap::new();
        for Exception { group: of, cases, found, reason } in all {
            assert!(GROUPS.contains(&&*of), "an exception of {of}, which is no group");
            assert!(!reason.trim().is_empty(), "an exception of {of} gives no reason");
            for case in cases.into_iter().filter(|_| of == group) {
                let twice = exceptions.insert(case, found.clone());
                assert!(twice.is_none(), "{of} has two exceptions for one case");
            }
        }
        Self { group: group.to_owned(), exceptions, seen: 0, wrong: Vec::new() }
    }

    /// Holds the answer to a case against the one that is wanted, or the exception's.
    pub fn hold(&mut self, case: &str, found: &str, wanted: &str) {
        self.seen += 1;
        let exception = self.exceptions.remove(case);
        if exception.as_deref() == Some(wanted) {
            self.wrong.push(format!("{case}: the exception is what is wanted anyway"));
        }
        let wanted = exception.as_deref().unwrap_or(wanted);
        if found != wanted {
            self.wrong.push(format!("{case}: {found}, wanted {wanted}"));
        }
    }

    /// Ends the group.
    ///
    /// # Panics
    /// When an answer is wrong, an exception was not met, or not `count` cases were seen.
    pub fn finish(mut self, count: usize) {
        let unmet = self.exceptions.keys().map(|case| format!("{case}: an exception without case"));
        self.wrong.extend(unmet);
        let Self { group, wrong, seen, .. } = &self;
        assert!(wrong.is_empty(), "{} of {group}:\n{}", wrong.len(), wrong.join("\n"));
        assert_eq!(*seen, count, "cases of {group}");
    }
}
