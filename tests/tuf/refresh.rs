//! Refreshing from a mirror and a folder, either of which may be hostile.
use std::path::Path;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;
use sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
use tegata::trust_root::TrustRoot;
use tegata::trust_root::tuf::MAX_ROOTS;
use tegata::trust_root::tuf::Role;
use tegata::trust_root::tuf::Source;
use tegata::trust_root::tuf::TRUSTED_ROOT_TARGET;
use tegata::trust_root::tuf::TufError;
use tegata::tuf::MirrorError;
use tegata::tuf::Opened;
use tegata::tuf::Options;
use tegata::tuf::RefreshError;
use tegata::tuf::Refreshed;
use tegata::tuf::Repository;

use crate::mirror::Answer;
use crate::mirror::Mirror;
use crate::tuf_repository::NOW;
use crate::tuf_repository::Roles;

pub(crate) const GOOD: &[u8] = SIGSTORE_PRODUCTION_TRUSTED_ROOT.as_bytes();

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

/// A trusted root that can be told from the other one: it has no logs.
pub(crate) fn smaller() -> Vec<u8> {
    let mut root: serde_json::Value = serde_json::from_slice(GOOD).unwrap();
    root["tlogs"] = serde_json::json!([]);
    serde_json::to_vec(&root).unwrap()
}

/// What tells trust roots apart.
pub(crate) fn shape(root: &TrustRoot) -> String {
    format!("{root:?}")
}

pub(crate) fn shape_of(json: &[u8]) -> String {
    shape(&TrustRoot::from_json(std::str::from_utf8(json).unwrap()).unwrap())
}

/// A mirror with one release, and its source.
pub(crate) async fn published() -> (Mirror, Roles, Source) {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let (mirror, roles) = (Mirror::start().await, Roles::new("a"));
    mirror.publish(&roles, 1, GOOD);
    let root = roles.signed_root(1, &[]);
    let source = Source::new(&mirror.url(), &root, TRUSTED_ROOT_TARGET).unwrap();
    (mirror, roles, source)
}

pub(crate) fn options(mirror: &Mirror) -> Options {
    let deadline = Duration::from_secs(5);
    Options { allow_http: vec![mirror.host()], deadline, ..Options::default() }
}

async fn open(mirror: &Mirror, source: &Source, folder: Option<&Path>) -> Opened {
    Repository::open(source, &options(mirror), folder, now()).await.unwrap()
}

async fn refreshed(mirror: &Mirror, source: &Source) -> Result<Refreshed, RefreshError> {
    open(mirror, source, None).await.repository.refresh(now()).await
}

#[tokio::test]
async fn fetches_a_trust_root_and_then_only_what_is_new() {
    let (mirror, roles, source) = published().await;
    let mut repository = open(&mirror, &source, None).await.repository;
    let first = repository.refresh(now()).await.unwrap();
    assert_eq!(shape(&first.root), shape_of(GOOD));
    assert_eq!((first.root_version, first.unsaved), (1, None));
    let asked = mirror.asked();
    let names = ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json"];
    assert_eq!(asked[..4], names);
    assert_eq!(asked.len(), 5);
    repository.refresh(now()).await.unwrap();
    assert_eq!(mirror.asked(), ["2.root.json", "timestamp.json"]);
    mirror.publish(&roles, 2, &smaller());
    let next = repository.refresh(now()).await.unwrap();
    assert_eq!(shape(&next.root), shape_of(&smaller()));
    assert_ne!(shape_of(&smaller()), shape_of(GOOD));
}

#[tokio::test]
async fn follows_a_root_that_is_rotated_twice() {
    let (mirror, one, source) = published().await;
    let (two, three) = (Roles::new("2"), Roles::new("3"));
    mirror.put("2.root.json", &two.signed_root(2, &one.root));
    mirror.put("3.root.json", &three.signed_root(3, &two.root));
    mirror.publish(&three, 1, GOOD);
    assert_eq!(refreshed(&mirror, &source).await.unwrap().root_version, 3);
}

#[tokio::test]
async fn follows_a_bounded_number_of_roots() {
    let (mirror, roles, source) = published().await;
    for version in 2..=MAX_ROOTS as u64 + 1 {
        mirror.put(&format!("{version}.root.json"), &roles.signed_root(version, &[]));
    }
    let mut repository = open(&mirror, &source, None).await.repository;
    let found = repository.refresh(now()).await.map(drop);
    assert_eq!(found, Err(RefreshError::TooManyRoots { limit: MAX_ROOTS }));
    let next = repository.refresh(now()).await.unwrap();
    assert_eq!(next.root_version, MAX_ROOTS as u64 + 1);
    mirror.remove(&format!("{}.root.json", MAX_ROOTS + 1));
    assert!(refreshed(&mirror, &source).await.is_ok());
}

#[tokio::test]
async fn reads_a_repository_without_consistent_snapshots() {
    let (mirror, roles) = (Mirror::start().await, Roles::new("a"));
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let mut root = roles.root(1);
    root["consistent_snapshot"] = serde_json::json!(false);
    let root = crate::tuf_repository::sign(&root, &[&roles.root[0]]);
    let signed = roles.sign(&roles.release(1, &[("a/t r%.json", GOOD)]));
    mirror.put("timestamp.json", &signed.timestamp);
    mirror.put("snapshot.json", &signed.snapshot);
    mirror.put("targets.json", &signed.targets);
    mirror.put("targets/a/t%20r%25.json", GOOD);
    let source = Source::new(&mirror.url(), &root, "a/t r%.json").unwrap();
    assert!(refreshed(&mirror, &source).await.is_ok());
}

/// What happens when one file is answered so.
async fn with(name: &str, answer: Answer) -> RefreshError {
    let (mirror, roles, source) = published().await;
    let target = mirror.publish(&roles, 1, GOOD);
    mirror.answer(if name == "target" { &target } else { name }, answer);
    let started = Instant::now();
    let error = refreshed(&mirror, &source).await.unwrap_err();
    assert!(started.elapsed() < Duration::from_secs(8), "{error}");
    error
}

const FILES: [&str; 5] =
    ["2.root.json", "timestamp.json", "1.snapshot.json", "1.targets.json", "target"];

#[tokio::test]
async fn rejects_answers_without_an_end() {
    for name in FILES {
        for answer in [Answer::Endless, Answer::Huge] {
            let error = with(name, answer).await;
            let too_large = matches!(error, RefreshError::Mirror(MirrorError::TooLarge { .. }));
            assert!(too_large, "{name}: {error:?}");
        }
    }
}

#[tokio::test]
async fn gives_up_on_a_mirror_that_hangs() {
    let error = with("2.root.json", Answer::Hang).await;
    assert_eq!(error, RefreshError::TimedOut { limit: Duration::from_secs(5) });
}

#[tokio::test]
async fn rejects_errors_of_the_mirror() {
    for name in FILES {
        let error = with(name, Answer::Status(500)).await;
        let status = matches!(error, RefreshError::Mirror(MirrorError::Status { status: 500, .. }));
        assert!(status, "{name}: {error:?}");
    }
    for name in &FILES[1..] {
        for status in [403, 404] {
            let error = with(name, Answer::Status(status)).await;
            let missing = matches!(error, RefreshError::Mirror(MirrorError::Missing { .. }));
            assert!(missing, "{name}: {error:?}");
        }
    }
}

#[tokio::test]
async fn follows_redirects_on_its_own_host_only() {
    let (other, _, _) = published().await;
    let elsewhere = [
        other.url() + "/timestamp.json",
        "https://metadata.internal/timestamp.json".to_owned(),
        "file:///etc/passwd".to_owned(),
    ];
    for to in &elsewhere {
        let error = with("timestamp.json", Answer::Redirect(to.clone())).await;
        let away = matches!(error, RefreshError::Mirror(MirrorError::Elsewhere { .. }));
        assert!(away, "{to}: {error:?}");
    }
    assert_eq!(other.asked(), [] as [String; 0]);
    let error = with("timestamp.json", Answer::Redirect("timestamp.json".to_owned())).await;
    let looping = matches!(error, RefreshError::Mirror(MirrorError::Redirects { limit: 3, .. }));
    assert!(looping, "{error:?}");
    let (mirror, roles, source) = published().await;
    let timestamp = roles.sign(&roles.release(1, &[(TRUSTED_ROOT_TARGET, GOOD)])).timestamp;
    mirror.put("moved.json", &timestamp);
    mirror.answer("timestamp.json", Answer::Redirect("/repo/moved.json".to_owned()));
    assert!(refreshed(&mirror, &source).await.is_ok());
}

#[tokio::test]
async fn speaks_plain_http_only_where_it_is_allowed() {
    let (mirror, _, source) = published().await;
    let found = Repository::open(&source, &Options::default(), None, now()).await.map(drop);
    let wanted = RefreshError::Mirror(MirrorError::PlainHttp { host: mirror.host() });
    assert_eq!(found, Err(wanted));
}

#[tokio::test]
async fn rejects_a_target_that_is_no_trusted_root() {
    let (mirror, roles, source) = published().await;
    for bytes in [&b"{}"[..], b"\xff"] {
        mirror.publish(&roles, 1, bytes);
        let error = refreshed(&mirror, &source).await.unwrap_err();
        assert!(matches!(error, RefreshError::Target(_)), "{error:?}");
    }
}

/// A mirror that goes back to older metadata, before and after a restart.
#[tokio::test]
async fn rejects_rollback_across_a_restart() {
    let (mirror, roles, source) = published().await;
    let folder = tempfile::tempdir().unwrap();
    mirror.publish(&roles, 5, GOOD);
    let mut repository = open(&mirror, &source, Some(folder.path())).await.repository;
    repository.refresh(now()).await.unwrap();
    mirror.publish(&roles, 4, &smaller());
    let name = "timestamp.json".to_owned();
    let wanted = Err(RefreshError::Metadata(TufError::Rollback { name, trusted: 5, offered: 4 }));
    assert_eq!(repository.refresh(now()).await.map(drop), wanted);
    // Expired metadata is no trust root any more, and guards all the same.
    let later: Timestamp = "2027-06-01T00:00:00Z".parse().unwrap();
    let opened =
        Repository::open(&source, &options(&mirror), Some(folder.path()), later).await.unwrap();
    assert!(opened.stored.is_none());
    assert_eq!(opened.ignored.len(), 1);
    let mut repository = opened.repository;
    assert_eq!(repository.refresh(now()).await.map(drop), wanted);
}

#[tokio::test]
async fn starts_without_the_mirror_from_what_was_stored() {
    let (mirror, one, source) = published().await;
    let folder = tempfile::tempdir().unwrap();
    let two = Roles::new("2");
    mirror.put("2.root.json", &two.signed_root(2, &one.root));
    mirror.publish(&two, 3, &smaller());
    let state = folder.path().join("made/by/us");
    open(&mirror, &source, Some(&state)).await.repository.refresh(now()).await.unwrap();
    let mut names: Vec<_> = std::fs::read_dir(&state)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["2.root.json", "latest.json"]);
    mirror.asked();
    let Opened { stored, ignored, .. } = open(&mirror, &source, Some(&state)).await;
    let stored = stored.unwrap();
    assert_eq!((shape(&stored.root), stored.root_version), (shape_of(&smaller()), 2));
    assert_eq!(ignored, []);
    assert_eq!(mirror.asked(), [] as [String; 0]);
}

#[tokio::test]
async fn ignores_a_folder_that_was_tampered_with() {
    let (mirror, one, source) = published().await;
    let two = Roles::new("2");
    mirror.put("2.root.json", &two.signed_root(2, &one.root));
    mirror.publish(&two, 3, GOOD);
    let target = String::from_utf8(smaller()).unwrap();
    let forged = two.sign(&two.release(9, &[(TRUSTED_ROOT_TARGET, target.as_bytes())]));
    let attacker = Roles::new("attacker");
    let by_attacker = attacker.sign(&attacker.release(9, &[(TRUSTED_ROOT_TARGET, GOOD)]));
    let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
    let latest = |signed: &crate::tuf_repository::Signed, target: &str| {
        let value = serde_json::json!({
            "timestamp": text(&signed.timestamp), "snapshot": text(&signed.snapshot),
            "targets": text(&signed.targets), "target": target,
        });
        serde_json::to_vec(&value).unwrap()
    };
    let cases: [(&str, Vec<u8>); 6] = [
        ("2.root.json", b"{}".to_vec()),
        ("2.root.json", attacker.signed_root(2, &[])),
        ("latest.json", b"{".to_vec()),
        ("latest.json", latest(&by_attacker, &target)),
        // Metadata of the repository, with a target that it does not name.
        ("latest.json", latest(&forged, std::str::from_utf8(GOOD).unwrap())),
        ("latest.json", vec![b' '; 32 << 20]),
    ];
    for (index, (name, bytes)) in cases.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        open(&mirror, &source, Some(folder.path())).await.repository.refresh(now()).await.unwrap();
        std::fs::write(folder.path().join(name), bytes).unwrap();
        let opened = open(&mirror, &source, Some(folder.path())).await;
        assert!(opened.stored.is_none(), "case {index}");
        assert_eq!(opened.ignored.len(), 1, "case {index}: {:?}", opened.ignored);
        let mut repository = opened.repository;
        match repository.refresh(now()).await {
            Ok(refreshed) => assert_eq!(shape(&refreshed.root), shape_of(GOOD), "case {index}"),
            // The repository did sign version 9, and goes back to 3.
            Err(error) => {
                let name = "timestamp.json".to_owned();
                let back = TufError::Rollback { name, trusted: 9, offered: 3 };
                assert_eq!((index, error), (4, RefreshError::Metadata(back)));
                continue;
            }
        }
        let Opened { stored, ignored, .. } = open(&mirror, &source, Some(folder.path())).await;
        assert!(stored.is_some() && ignored.is_empty(), "case {index}: written anew");
    }
}

#[tokio::test]
async fn writes_nothing_outside_its_folder() {
    let (mirror, roles, source) = published().await;
    mirror.put("2.root.json", &roles.signed_root(2, &[]));
    let (folder, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let victim = outside.path().join("victim");
    std::fs::write(&victim, "untouched").unwrap();
    for name in ["latest.json", ".latest.json.new", "2.root.json", ".2.root.json.new"] {
        std::os::unix::fs::symlink(&victim, folder.path().join(name)).unwrap();
    }
    let mut repository = open(&mirror, &source, Some(folder.path())).await.repository;
    assert_eq!(repository.refresh(now()).await.unwrap().unsaved, None);
    assert_eq!(std::fs::read_to_string(&victim).unwrap(), "untouched");
    assert_eq!(std::fs::read_dir(outside.path()).unwrap().count(), 1);
    assert!(open(&mirror, &source, Some(folder.path())).await.stored.is_some());
}

#[tokio::test]
async fn a_folder_that_cannot_be_written_is_reported_and_stops_nothing() {
    let (mirror, _, source) = published().await;
    let folder = tempfile::tempdir().unwrap();
    let state = folder.path().join("file");
    std::fs::write(&state, "").unwrap();
    let opened = open(&mirror, &source, Some(&state)).await;
    let mut repository = opened.repository;
    let refreshed = repository.refresh(now()).await.unwrap();
    assert_eq!(refreshed.unsaved.unwrap().file, "latest.json");
}

/// Verified metadata stays although the rest of the refresh failed.
#[tokio::test]
async fn a_refresh_that_fails_half_way_takes_nothing_back() {
    let (mirror, roles, source) = published().await;
    let mut repository = open(&mirror, &source, None).await.repository;
    repository.refresh(now()).await.unwrap();
    mirror.publish(&roles, 7, &smaller());
    mirror.answer("7.snapshot.json", Answer::Status(500));
    assert!(matches!(repository.refresh(now()).await, Err(RefreshError::Mirror(_))));
    mirror.publish(&roles, 6, GOOD);
    let name = "timestamp.json".to_owned();
    let wanted = TufError::Rollback { name, trusted: 7, offered: 6 };
    let found = repository.refresh(now()).await.map(drop);
    assert_eq!(found, Err(RefreshError::Metadata(wanted)));
}

#[tokio::test]
async fn rejects_metadata_that_expires_while_it_is_kept() {
    let (mirror, _, source) = published().await;
    let mut repository = open(&mirror, &source, None).await.repository;
    repository.refresh(now()).await.unwrap();
    let expires: Timestamp = crate::tuf_repository::EXPIRES.parse().unwrap();
    let found = repository.refresh(expires).await.map(drop);
    let expired = TufError::Expired { role: Role::Root, expires };
    assert_eq!(found, Err(RefreshError::Metadata(expired)));
}
