//! Repositories and roots that others made and published, at fixed dates.
use std::fmt::Display;
use std::path::Path;
use std::path::PathBuf;

use jiff::Timestamp;
use serde_json::Value;
use tegata::trust_root::tuf::Role;
use tegata::trust_root::tuf::Source;
use tegata::trust_root::tuf::Trusted;
use tegata::trust_root::tuf::TufError;

use crate::collection;

/// What each case that must be refused is refused for: the role and the error's name.
const REFUSED: [(&str, &str); 26] = [
    ("java-root-too-big", "root: Malformed"),
    ("java-root-unsigned", "root: BelowThreshold"),
    ("java-snapshot-expired", "snapshot: Expired"),
    ("java-snapshot-invalid-hash", "snapshot: HashMismatch"),
    // Its timestamp was given the snapshot's new hash, but not its length.
    ("java-snapshot-target-missing", "snapshot: LengthMismatch"),
    ("java-targets-download-invalid-hash", "target: HashMismatch"),
    ("java-targets-download-missing-target-metadata", "targets: Malformed"),
    ("java-targets-invalid-hash", "targets: HashMismatch"),
    ("java-targets-snapshot-version-mismatch", "targets: VersionMismatch"),
    ("java-timestamp-unsigned", "timestamp: BelowThreshold"),
    ("partial-root-v10-0eb14478", "root: BelowThreshold"),
    ("partial-root-v10-74805e75", "root: BelowThreshold"),
    ("partial-root-v10-c9ec5785", "root: BelowThreshold"),
    ("partial-root-v10-e7de4eca", "root: BelowThreshold"),
    ("partial-root-v11-05e39a9d", "root: BelowThreshold"),
    ("partial-root-v11-145d2964", "root: BelowThreshold"),
    ("partial-root-v11-46439cc2", "root: BelowThreshold"),
    ("partial-root-v11-8649795a", "root: BelowThreshold"),
    ("partial-root-v11-91bbe2c4", "root: BelowThreshold"),
    ("partial-root-v11-996d98c4", "root: BelowThreshold"),
    ("partial-root-v12-1874668c", "root: BelowThreshold"),
    ("partial-root-v12-6a8f3db5", "root: BelowThreshold"),
    ("partial-root-v12-9d4602b7", "root: BelowThreshold"),
    ("partial-root-v12-ebb06efa", "root: BelowThreshold"),
    ("tough-duplicate-sigs", "root: BelowThreshold"),
    ("tough-expired-root-json-signature", "root: Expired"),
];

/// Those of one more kind: roots that nobody vouches for, refused before anything is trusted.
const UNTRUSTED: [&str; 2] = ["tough-invalid-root-json-signature", "tough-no-root-json-signatures"];

/// When each case is judged: repositories as of the day of their metadata, roots on their own on a
/// day before they expire.
const DATES: [(&str, &str); 7] = [
    ("java-snapshot-expired", "2023-02-01T00:00:00Z"),
    ("java-targets-sha256-or-sha512", "2024-08-20T00:00:00Z"),
    ("java-timestamp-unsigned", "2022-12-01T00:00:00Z"),
    ("java-", "2023-02-01T00:00:00Z"),
    ("tough-", "2023-01-01T00:00:00Z"),
    ("pg-root-chain", "2026-11-01T00:00:00Z"),
    ("staging-root-chain", "2026-10-01T00:00:00Z"),
];

/// Where a case ended: the role, and the error's name.
type Refusal = String;

fn at<T>(role: &str, result: Result<T, TufError>) -> Result<T, Refusal> {
    result.map_err(|error| {
        let text = format!("{error:?}");
        let name = text.split(' ').next().unwrap();
        format!("{role}: {name}")
    })
}

/// A file, where there is one, of the folders in order.
fn read(folders: &[PathBuf], name: &str) -> Option<Vec<u8>> {
    folders.iter().find_map(|folder| std::fs::read(folder.join(name)).ok())
}

/// The same by its name in a repository with consistent snapshots. Some cases are laid out like
/// one although their root does not say so.
fn prefixed(folders: &[PathBuf], prefix: impl Display, name: &str) -> Vec<u8> {
    let (folder, file) = name.rsplit_once('/').map_or(("", name), |(folder, file)| (folder, file));
    let long = Path::new(folder).join(format!("{prefix}.{file}"));
    read(folders, long.to_str().unwrap()).or_else(|| read(folders, name)).unwrap()
}

/// The whole workflow over a repository in folders, with `target` at its end.
fn follow(
    root: &[u8],
    folders: &[PathBuf],
    target: Option<&str>,
    now: Timestamp,
) -> Result<(), Refusal> {
    let mut trusted = at("root", Trusted::from_root(root))?;
    while let Some(next) = read(folders, &format!("{}.root.json", trusted.root_version() + 1)) {
        at("root", trusted.update_root(&next))?;
    }
    at("root", trusted.check_root(now))?;
    let Some(timestamp) = read(folders, "timestamp.json") else { return Ok(()) };
    at("timestamp", trusted.update_timestamp(&timestamp, now))?;
    let (version, _) = at("timestamp", trusted.snapshot_file())?;
    let snapshot = prefixed(folders, version, "snapshot.json");
    at("snapshot", trusted.update_snapshot(&snapshot, now))?;
    let (version, _) = at("snapshot", trusted.targets_file())?;
    let targets = prefixed(folders, version, "targets.json");
    at("targets", trusted.update_targets(&targets, now))?;
    let Some(target) = target else { return Ok(()) };
    let file = at("target", trusted.target(target, now))?;
    let hash = file.hashes().next().unwrap();
    at("target", file.check(&prefixed(folders, hash, &format!("targets/{target}"))))
}

fn date(id: &str) -> Timestamp {
    let (_, date) = DATES.iter().find(|(prefix, _)| id.starts_with(prefix)).unwrap();
    date.parse().unwrap()
}

/// What comes of a case of the index.
fn judge(vectors: &Path, case: &Value) -> Result<(), Refusal> {
    let id = case["id"].as_str().unwrap();
    let path = vectors.join(case["file"].as_str().unwrap());
    let bytes = |path: PathBuf| std::fs::read(path).unwrap();
    if id.starts_with("partial-root-") {
        let trusted = bytes(vectors.join(case["root"].as_str().unwrap()));
        return at("root", Trusted::from_root(&trusted).unwrap().update_root(&bytes(path)));
    }
    let now = date(id);
    if id.ends_with("-root-chain") {
        return follow(&bytes(path.join("1.root.json")), &[path], None, now);
    }
    let synthetic = vectors.join("tuf/sigstore-java-synthetic");
    match id {
        "java-trusted-root" => follow(&bytes(path), &[], None, now),
        // Made from another key ceremony than the template.
        "java-timestamp-unsigned" => follow(&bytes(path.join("2.root.json")), &[path], None, now),
        "java-targets-sha256-or-sha512" => {
            let first = bytes(path.join("1.root.json"));
            follow(&first, std::slice::from_ref(&path), Some("test.txt"), now)?;
            follow(&first, &[path], Some("test2.txt"), now)
        }
        id if id.starts_with("java-") => {
            let folders = [path, synthetic.join("test-template")];
            follow(&bytes(synthetic.join("trusted-root.json")), &folders, Some("test.txt"), now)
        }
        _ => {
            let folders = [path.join("metadata"), path];
            let first = read(&folders, "1.root.json").or_else(|| read(&folders, "root.json"));
            let target = (id == "tough-consistent-snapshots").then_some("data1.txt");
            follow(&first.unwrap(), &folders, target, now)
        }
    }
}

#[test]
fn metadata_of_others_gets_the_verdict_of_its_index() {
    let missing = "TUF repositories of others are not followed";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let index = std::fs::read(vectors.join("index.json")).unwrap();
    let index: Vec<Value> = serde_json::from_slice(&index).unwrap();
    let cases: Vec<&Value> = index.iter().filter(|case| case["section"] == "tuf").collect();
    let mut wrong = Vec::new();
    for case in &cases {
        let id = case["id"].as_str().unwrap();
        let refused = REFUSED.iter().find(|(name, _)| *name == id).map(|(_, error)| *error);
        let refused = refused.or_else(|| UNTRUSTED.contains(&id).then_some("root: BelowThreshold"));
        let verdict = case["expected"].as_str().unwrap();
        assert_eq!(verdict.starts_with("reject"), refused.is_some(), "{id}: {verdict}");
        let wanted = refused.map_or(Ok(()), |error| Err(error.to_owned()));
        let found = judge(&vectors, case);
        if found != wanted {
            wrong.push(format!("{id}: {found:?}, wanted {wanted:?}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(cases.len(), 48, "cases of TUF");
}

/// The chain may be entered anywhere, and every single root of it may be left out only at its end.
#[test]
fn the_public_good_chain_is_followed_from_any_root() {
    let missing = "the public-good root chain is not followed";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let folder = vectors.join("tuf/public-good/root_history");
    let root = |version: u64| std::fs::read(folder.join(format!("{version}.root.json"))).unwrap();
    for first in 1..=15 {
        let mut trusted = Trusted::from_root(&root(first)).unwrap();
        for next in first + 1..=15 {
            trusted.update_root(&root(next)).unwrap();
        }
        assert_eq!(trusted.root_version(), 15);
        let before = "2026-11-20T13:58:17Z".parse().unwrap();
        let expires: Timestamp = "2026-11-20T13:58:18Z".parse().unwrap();
        assert_eq!(trusted.check_root(before), Ok(()));
        let expired = TufError::Expired { role: Role::Root, expires };
        assert_eq!(trusted.check_root(expires), Err(expired));
    }
    let mut trusted = Trusted::from_root(&root(15)).unwrap();
    assert_eq!(trusted.update_root(Source::public_good().root()), Ok(()), "the embedded root");
    let mut trusted = Trusted::from_root(&root(3)).unwrap();
    for offered in [3, 5] {
        let wanted = TufError::RootVersion { trusted: 3, offered };
        assert_eq!(trusted.update_root(&root(offered)), Err(wanted));
    }
}
