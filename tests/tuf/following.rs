//! All sources at once: which are followed, what is published of each, and what is forgotten.
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tegata::metrics;
use tegata::trust_root::TrustRoot;
use tegata::trust_root::tuf::Source;
use tegata::trust_root::tuf::TRUSTED_ROOT_TARGET;
use tegata::tuf::DefaultRoot;
use tegata::tuf::Follower;
use tegata::tuf::MAX_FOLLOWED;
use tegata::tuf::Mirrors;
use tegata::tuf::Roots;
use tegata::tuf::Schedule;
use tegata::tuf::Settings;
use tegata::tuf::fetch_once;
use tegata::tuf::follow;

use crate::mirror::Answer;
use crate::mirror::Mirror;
use crate::refresh::GOOD;
use crate::refresh::options;
use crate::refresh::published;
use crate::refresh::shape;
use crate::refresh::shape_of;
use crate::refresh::smaller;
use crate::tuf_repository::NOW;

const SCHEDULE: Schedule =
    Schedule { interval: Duration::from_millis(40), first_pause: Duration::from_millis(10) };

fn clock() -> Timestamp {
    NOW.parse().unwrap()
}

fn settings(mirrors: Mirrors, folder: Option<&Path>) -> Settings {
    let folder = folder.map(Path::to_owned);
    let default = DefaultRoot::Unchanging;
    Settings { default, folder, mirrors, schedule: SCHEDULE, clock }
}

fn asking(mirror: &Mirror, folder: Option<&Path>) -> Settings {
    settings(Mirrors::Ask(options(mirror)), folder)
}

fn wanted(sources: &[(&str, &Source)]) -> BTreeMap<String, Source> {
    sources.iter().map(|(label, source)| ((*label).to_owned(), (*source).clone())).collect()
}

/// A follower whose task runs, and the metrics as text.
fn started(settings: Settings) -> (Follower, impl Fn() -> String) {
    let (registry, metrics) = metrics::registry();
    let (follower, task) = follow(settings, metrics.trust_roots.clone());
    tokio::spawn(task);
    (follower, move || metrics::encode(&registry).unwrap())
}

async fn until(follower: &mut Follower, wanted: impl Fn(&Roots) -> bool) -> Arc<Roots> {
    let found = async {
        loop {
            let roots = follower.published();
            if wanted(&roots) {
                return roots;
            }
            follower.changed().await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), found).await.unwrap()
}

fn error<'a>(roots: &'a Roots, source: &Source) -> Option<&'a str> {
    roots.sources.get(&source.id())?.status.error.as_ref().map(|error| error.problem.as_str())
}

#[tokio::test]
async fn a_source_of_two_names_is_fetched_once_and_forgotten_when_neither_names_it() {
    let (mirror, _, source) = published().await;
    let (mut follower, metrics) = started(asking(&mirror, None));
    follower.follow(wanted(&[("TrustRoot/a", &source), ("TrustRoot/b", &source)]));
    let roots = until(&mut follower, |roots| roots.find(&source).is_ok()).await;
    assert_eq!(shape(&roots.find(&source).unwrap()), shape_of(GOOD));
    assert_eq!(roots.sources.len(), 1);
    assert!(roots.default.is_none());
    let of =
        |label: &str| format!("refresh_total{{trust_root=\"TrustRoot/{label}\",outcome=\"ok\"}}");
    assert!(metrics().contains(&of("a")) && metrics().contains(&of("b")), "{}", metrics());
    let expiry =
        "tegata_trust_root_expiry_timestamp_seconds{trust_root=\"TrustRoot/a\"} 1798761600";
    assert!(metrics().contains(expiry), "{}", metrics());
    let version = "tegata_trust_root_metadata_version{trust_root=\"TrustRoot/a\"} 1\n";
    assert!(metrics().contains(version), "{}", metrics());

    follower.follow(wanted(&[("TrustRoot/b", &source)]));
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert!(follower.published().find(&source).is_ok());
    assert!(!metrics().contains("TrustRoot/a") && metrics().contains(&of("b")), "{}", metrics());

    follower.follow(BTreeMap::new());
    let roots = until(&mut follower, |roots| roots.sources.is_empty()).await;
    assert!(roots.find(&source).is_err());
    assert!(!metrics().contains("TrustRoot/b"), "{}", metrics());
    tokio::time::sleep(Duration::from_millis(50)).await;
    mirror.asked();
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(mirror.asked().is_empty(), "nobody wants it any longer");
}

#[tokio::test]
async fn the_default_is_followed_always_and_failures_are_counted() {
    let (mirror, _, source) = published().await;
    let default = DefaultRoot::Fetched(source.clone());
    let settings = Settings { default, ..asking(&mirror, None) };
    let (mut follower, metrics) = started(settings);
    let roots = until(&mut follower, |roots| roots.default.is_some()).await;
    mirror.answer("timestamp.json", Answer::Status(500));
    let failed = until(&mut follower, |roots| error(roots, &source).is_some()).await;
    assert!(Roots::same(&roots, &failed), "the last good one, and the very same");
    assert!(!Roots::same(&roots, &Roots::default()));
    let count = "tegata_trust_root_refresh_total{trust_root=\"default\",outcome=\"error\"} ";
    let text = metrics();
    let count = text.lines().find_map(|line| line.strip_prefix(count)).unwrap();
    assert!(count.parse::<u64>().unwrap() >= 1);
}

#[tokio::test]
async fn no_more_than_a_bounded_number_is_followed_and_newcomers_displace_nobody() {
    let (mirror, roles, source) = published().await;
    let root = roles.signed_root(1, &[]);
    let other = |index: usize| {
        Source::new(&format!("{}/{index}", mirror.url()), &root, TRUSTED_ROOT_TARGET).unwrap()
    };
    let settings = Settings { default: DefaultRoot::Fetched(other(999)), ..asking(&mirror, None) };
    let (mut follower, _) = started(settings);
    let mut all = wanted(&[("z", &source)]);
    follower.follow(all.clone());
    until(&mut follower, |roots| roots.find(&source).is_ok()).await;
    all.extend((0..MAX_FOLLOWED).map(|index| (format!("a{index:02}"), other(index))));
    follower.follow(all.clone());
    let refused = other(MAX_FOLLOWED - 1);
    let roots = until(&mut follower, |roots| error(roots, &refused).is_some()).await;
    assert_eq!(error(&roots, &refused), Some("16 repositories are followed already"));
    assert!(roots.find(&source).is_ok(), "it was there before");
    assert_ne!(error(&roots, &other(MAX_FOLLOWED - 2)), error(&roots, &refused));
    all.remove("z");
    follower.follow(all);
    until(&mut follower, |roots| {
        error(roots, &refused).is_some_and(|it| it.contains("404") || it.contains("not there"))
    })
    .await;
}

#[tokio::test]
async fn settings_that_cannot_be_used_are_told_and_stop_nothing() {
    let (mirror, _, source) = published().await;
    let (mut follower, _) = started(settings(Mirrors::Ask(tegata::tuf::Options::default()), None));
    follower.follow(wanted(&[("a", &source)]));
    let roots = until(&mut follower, |roots| error(roots, &source).is_some()).await;
    assert!(error(&roots, &source).unwrap().contains("plain HTTP"));
    assert!(mirror.asked().is_empty());
}

#[tokio::test]
async fn offline_the_folder_is_all_there_is() {
    let (mirror, _, source) = published().await;
    let folder = tempfile::tempdir().unwrap();
    let path = Some(folder.path());
    for (folder, problem) in
        [(None, "no folder is named with --tuf-state"), (path, "holds no trust root")]
    {
        let (mut follower, _) = started(settings(Mirrors::Offline, folder));
        follower.follow(wanted(&[("a", &source)]));
        let roots = until(&mut follower, |roots| error(roots, &source).is_some()).await;
        assert!(error(&roots, &source).unwrap().contains(problem), "{roots:?}");
    }
    let fetched = fetch_once(&asking(&mirror, path), wanted(&[("a", &source)])).await;
    assert!(fetched.find(&source).is_ok());
    mirror.asked();

    let (mut follower, _) = started(settings(Mirrors::Offline, path));
    follower.follow(wanted(&[("a", &source)]));
    let roots = until(&mut follower, |roots| roots.find(&source).is_ok()).await;
    assert_eq!(shape(&roots.find(&source).unwrap()), shape_of(GOOD));
    let once = fetch_once(&settings(Mirrors::Offline, path), wanted(&[("a", &source)])).await;
    assert!(once.find(&source).is_ok());
    assert!(mirror.asked().is_empty(), "nothing left");

    // Metadata that has expired by now is believed no longer.
    let late = || "2031-01-01T00:00:00Z".parse().unwrap();
    let settings = Settings { clock: late, ..settings(Mirrors::Offline, path) };
    let once = fetch_once(&settings, wanted(&[("a", &source)])).await;
    assert!(once.find(&source).unwrap_err().contains("expired"), "{once:?}");
}

#[tokio::test]
async fn fetched_once_the_folder_stands_in_for_the_mirror() {
    let (mirror, roles, source) = published().await;
    let folder = tempfile::tempdir().unwrap();
    let path: Option<PathBuf> = Some(folder.path().to_owned());
    let once =
        async || fetch_once(&asking(&mirror, path.as_deref()), wanted(&[("a", &source)])).await;
    mirror.answer("timestamp.json", Answer::Status(500));
    assert!(once().await.find(&source).unwrap_err().contains("status 500"));
    mirror.publish(&roles, 2, &smaller());
    assert_eq!(shape(&once().await.find(&source).unwrap()), shape_of(&smaller()));
    mirror.answer("timestamp.json", Answer::Status(500));
    assert_eq!(shape(&once().await.find(&source).unwrap()), shape_of(&smaller()));
}

#[tokio::test]
async fn a_default_that_is_given_is_published_each_time_and_nothing_is_asked_for_it() {
    let (mirror, _, source) = published().await;
    let root = || Arc::new(TrustRoot::public_good());
    let first = root();
    let (giver, given) = tokio::sync::watch::channel(Arc::clone(&first));
    let settings = Settings { default: DefaultRoot::Given(given), ..asking(&mirror, None) };
    let (mut follower, metrics) = started(settings);
    let is = |roots: &Roots, wanted: &Arc<TrustRoot>| {
        roots.default.as_ref().is_some_and(|root| Arc::ptr_eq(root, wanted))
    };
    until(&mut follower, |roots| is(roots, &first)).await;
    let second = root();
    giver.send_replace(Arc::clone(&second));
    until(&mut follower, |roots| is(roots, &second)).await;
    assert!(mirror.asked().is_empty());
    assert!(!metrics().contains("trust_root=\"default\""), "{}", metrics());

    // It outlives the giver, and the others are followed all the same.
    drop(giver);
    follower.follow(wanted(&[("TrustRoot/a", &source)]));
    let roots = until(&mut follower, |roots| roots.find(&source).is_ok()).await;
    assert!(is(&roots, &second));
}
