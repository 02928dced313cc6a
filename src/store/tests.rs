//! The store over a source that is told what to answer, on a clock that stands still.
use std::collections::BTreeMap;
use std::sync::Mutex;

use futures::future::join_all;
use tokio::time::advance;

use super::*;
use crate::evidence::Candidate;
use crate::evidence::Content;
use crate::evidence::Format;
use crate::fingerprint::Parts;
use crate::metrics::StoreMetrics;

mod crowds;
mod tiers;

/// What the source does.
#[derive(Debug, Default)]
struct Script {
    /// Names of signatures that are attached.
    attached: Vec<&'static str>,
    /// Nothing can be asked.
    down: bool,
    /// Time that an answer takes.
    takes: Duration,
    /// What a tag stands for.
    tag: &'static str,
    /// Credentials by namespace; a namespace without any is not in it.
    credentials: BTreeMap<String, u8>,
    /// What the next answer changes the credentials of `a` to.
    renew: Option<u8>,
    fetches: usize,
    resolves: usize,
    reads: usize,
}

#[derive(Clone, Debug, Default)]
struct Source(Arc<Mutex<Script>>);

impl Source {
    fn set(&self, change: impl FnOnce(&mut Script)) {
        change(&mut self.0.lock().unwrap());
    }

    fn fetches(&self) -> usize {
        self.0.lock().unwrap().fetches
    }

    fn store(&self, settings: Settings) -> Stored<Self> {
        Stored::new(
            self.clone(),
            settings,
            Tiers::default(),
            Clock::starting_at(Timestamp::UNIX_EPOCH),
        )
    }
}

fn down() -> Failure {
    Failure::new(Reason::RegistryUnreachable, "the registry is down")
}

fn candidate(payload: &'static str) -> Candidate {
    let digest = Digest::sha256_of(payload.as_bytes());
    let content = Content::SimpleSigning {
        payload: Bytes::from_static(payload.as_bytes()),
        annotations: BTreeMap::new(),
    };
    Candidate::new(Place::SignatureTag, digest.clone(), digest, Format::Legacy, Ok(content))
}

impl FetchEvidence for Source {
    async fn resolve(&self, _: &ImageRef, _: Instant) -> Result<Digest, Failure> {
        let takes = {
            let mut script = self.0.lock().unwrap();
            script.resolves += 1;
            script.takes
        };
        tokio::time::sleep(takes).await;
        let script = self.0.lock().unwrap();
        match script.down {
            true => Err(down()),
            false => Ok(Digest::sha256_of(script.tag.as_bytes())),
        }
    }

    async fn fetch(&self, query: &EvidenceQuery, _: Instant) -> Evidence {
        let takes = {
            let mut script = self.0.lock().unwrap();
            script.fetches += 1;
            script.takes
        };
        tokio::time::sleep(takes).await;
        let mut script = self.0.lock().unwrap();
        if let Some(new) = script.renew.take() {
            script.credentials.insert("a".to_owned(), new);
        }
        let problem = Problem { place: Place::SignatureTag, failure: down() };
        let problems = script.down.then_some(problem).into_iter().collect();
        let candidates = match script.down {
            true => Vec::new(),
            false => script.attached.iter().map(|name| candidate(name)).collect(),
        };
        Evidence { query: query.clone(), candidates, problems, kept: None }
    }

    async fn read(&self, _: &Repository, _: &Part, _: Instant) -> Result<Bytes, Failure> {
        let mut script = self.0.lock().unwrap();
        script.reads += 1;
        if script.down { Err(down()) } else { Ok(Bytes::from_static(b"part")) }
    }

    async fn scope(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        _: &Repository,
        _: Instant,
    ) -> Scope {
        match self.0.lock().unwrap().credentials.get(&tenant.namespace) {
            Some(credentials) => Scope::Tenant {
                credentials: [*credentials; 32],
                secrets: Parts::of(&tenant.namespace).finish(),
                own,
            },
            None => Scope::Own(own),
        }
    }
}

fn tenant(namespace: &str) -> Tenant {
    Tenant { namespace: namespace.to_owned(), ..Tenant::default() }
}

fn query() -> EvidenceQuery {
    EvidenceQuery {
        repository: "registry.example/app".parse::<ImageRef>().unwrap().repository().clone(),
        digest: Digest::sha256_of(b"image"),
        tag_prefix: String::new(),
        attestations: false,
    }
}

const OWN: OwnCredentials = OwnCredentials::Used;

async fn ask(store: &Stored<Source>, namespace: &str) -> Arc<Evidence> {
    ask_within(store, namespace, Duration::from_secs(10)).await
}

async fn ask_within(store: &Stored<Source>, namespace: &str, time: Duration) -> Arc<Evidence> {
    store.fetch_for(&tenant(namespace), OWN, &query(), soon(time)).await
}

async fn again(store: &Stored<Source>, seen: &Arc<Evidence>) -> Option<Arc<Evidence>> {
    store.fetch_again(&tenant("a"), OWN, seen, soon(Duration::from_secs(10))).await
}

/// Lets what runs in the background come to its end.
async fn settle() {
    for _ in 0..50 {
        tokio::task::yield_now().await;
    }
}

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn signed() -> Source {
    let source = Source::default();
    source.set(|script| script.attached = vec!["signature"]);
    source
}

#[tokio::test(start_paused = true)]
async fn asks_a_registry_once_whoever_asks_and_however_often() {
    let source = signed();
    source.set(|script| script.takes = seconds(1));
    let store = source.store(Settings::default());
    let all = join_all((0..100).map(|_| ask(&store, "a"))).await;
    assert!(all.iter().all(|evidence| evidence.candidates.len() == 1));
    assert_eq!(source.fetches(), 1);
    source.set(|script| script.down = true);
    advance(seconds(500)).await;
    assert_eq!(ask(&store, "b").await.candidates.len(), 1);
    assert_eq!(source.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn the_first_of_fifty_is_cancelled_and_the_others_have_their_answer() {
    let source = signed();
    source.set(|script| script.takes = seconds(1));
    let store = source.store(Settings::default());
    let first = tokio::spawn({
        let store = store.clone();
        async move { ask(&store, "a").await }
    });
    settle().await;
    assert_eq!(source.fetches(), 1);
    let others: Vec<_> = (1..50)
        .map(|_| {
            let store = store.clone();
            tokio::spawn(async move { ask(&store, "a").await })
        })
        .collect();
    settle().await;
    first.abort();
    for other in others {
        assert_eq!(other.await.unwrap().candidates.len(), 1);
    }
    assert_eq!(source.fetches(), 1);
}

/// The API server gives up, and asks again later.
#[tokio::test(start_paused = true)]
async fn who_has_no_time_is_told_so_and_the_next_finds_the_answer() {
    let source = signed();
    source.set(|script| script.takes = seconds(15));
    let store = source.store(Settings::default());
    let late = ask(&store, "a").await;
    assert_eq!(late.problems[0].failure.reason, Reason::DeadlineExceeded);
    assert_eq!(late.problems[0].failure.verdict(), Verdict::Indeterminate);
    assert_eq!(ask(&store, "a").await.candidates.len(), 1);
    assert_eq!(source.fetches(), 1);
}

#[tokio::test(start_paused = true)]
async fn believes_for_seconds_only_that_nothing_is_attached() {
    let source = Source::default();
    let store = source.store(Settings::default());
    assert!(ask(&store, "a").await.candidates.is_empty());
    source.set(|script| script.attached = vec!["signature"]);
    advance(NEGATIVE_LIFE - Duration::from_millis(1)).await;
    assert!(ask(&store, "a").await.candidates.is_empty());
    assert_eq!(source.fetches(), 1);
    advance(Duration::from_millis(1)).await;
    assert_eq!(ask(&store, "a").await.candidates.len(), 1);
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn keeps_no_failure() {
    let source = signed();
    source.set(|script| script.down = true);
    let store = source.store(Settings::default());
    assert_eq!(ask(&store, "a").await.problems[0].failure, down());
    source.set(|script| script.down = false);
    assert!(ask(&store, "a").await.problems.is_empty());
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn old_evidence_is_used_while_it_is_asked_for_anew() {
    let source = signed();
    let store = source.store(Settings::default());
    ask(&store, "a").await;
    source.set(|script| script.attached = vec!["signature", "another"]);
    advance(seconds(599)).await;
    ask(&store, "a").await;
    settle().await;
    assert_eq!(source.fetches(), 1);
    advance(seconds(1)).await;
    assert_eq!(ask(&store, "a").await.candidates.len(), 1);
    settle().await;
    assert_eq!(source.fetches(), 2);
    let new = ask(&store, "a").await;
    assert_eq!(new.candidates.len(), 2);
    assert_eq!(new.kept.as_ref().unwrap().stale, None);
}

#[tokio::test(start_paused = true)]
async fn stands_through_an_outage_and_says_so_until_it_is_too_old() {
    let source = signed();
    let settings = Settings { max_age: seconds(3600), ..Settings::default() };
    let store = source.store(settings);
    ask(&store, "a").await;
    source.set(|script| script.down = true);
    advance(seconds(600)).await;
    ask(&store, "a").await;
    settle().await;
    let stale = ask(&store, "a").await;
    let kept = stale.kept.as_ref().unwrap();
    assert_eq!((kept.fetched, kept.stale.clone()), (Timestamp::UNIX_EPOCH, Some(down())));
    settle().await;
    assert_eq!(source.fetches(), 2, "a place that failed is left alone for a while");
    advance(memory::RETRY_AFTER).await;
    ask(&store, "a").await;
    settle().await;
    assert_eq!(source.fetches(), 3);
    source.set(|script| script.down = false);
    advance(memory::RETRY_AFTER).await;
    ask(&store, "a").await;
    settle().await;
    assert_eq!(ask(&store, "a").await.kept.as_ref().unwrap().stale, None);
    source.set(|script| script.down = true);
    advance(seconds(3600)).await;
    assert_eq!(ask(&store, "a").await.problems[0].failure, down());
}

/// A signature that was taken back counts no longer than until the next look.
#[tokio::test(start_paused = true)]
async fn what_is_taken_away_is_gone_after_the_next_look() {
    let source = signed();
    let store = source.store(Settings::default());
    ask(&store, "a").await;
    source.set(|script| script.attached.clear());
    advance(seconds(600)).await;
    ask(&store, "a").await;
    settle().await;
    assert!(ask(&store, "a").await.candidates.is_empty());
}

#[tokio::test(start_paused = true)]
async fn hands_nothing_to_a_tenant_with_other_credentials() {
    let source = signed();
    source.set(|script| {
        script.credentials = [("a".to_owned(), 1), ("b".to_owned(), 2), ("c".to_owned(), 1)].into();
    });
    let store = source.store(Settings::default());
    ask(&store, "a").await;
    ask(&store, "c").await;
    assert_eq!(source.fetches(), 1, "the same credentials open the same");
    source.set(|script| script.down = true);
    assert!(ask(&store, "a").await.problems.is_empty());
    for other in ["b", "without"] {
        assert_eq!(ask(&store, other).await.problems[0].failure, down(), "{other}");
    }
    let withheld = OwnCredentials::Withheld;
    source.set(|script| script.down = false);
    ask(&store, "without").await;
    source.set(|script| script.down = true);
    let asked = store.fetch_for(&tenant("without"), withheld, &query(), soon(seconds(9))).await;
    assert_eq!(asked.problems[0].failure, down(), "what Tegata's own credentials opened");
}

#[tokio::test(start_paused = true)]
async fn keeps_nothing_that_other_credentials_than_those_asked_with_have_opened() {
    let source = signed();
    source.set(|script| {
        script.credentials = [("a".to_owned(), 1), ("c".to_owned(), 1)].into();
        script.renew = Some(9);
    });
    let store = source.store(Settings::default());
    assert_eq!(ask(&store, "a").await.candidates.len(), 1);
    source.set(|script| script.down = true);
    assert_eq!(ask(&store, "c").await.problems[0].failure, down());
}

#[tokio::test(start_paused = true)]
async fn asks_again_for_what_led_to_nothing_unless_it_is_new() {
    let source = signed();
    let store = source.store(Settings::default());
    let seen = ask(&store, "a").await;
    assert!(again(&store, &seen).await.is_none());
    advance(NEGATIVE_LIFE).await;
    source.set(|script| script.attached = vec!["signature", "another"]);
    let (one, two) = tokio::join!(again(&store, &seen), again(&store, &seen));
    assert_eq!(one.unwrap().candidates.len(), 2);
    assert_eq!(two.unwrap().candidates.len(), 2);
    assert_eq!(again(&store, &seen).await.unwrap().candidates.len(), 2);
    assert_eq!(source.fetches(), 2);
    assert_eq!(ask(&store, "a").await.candidates.len(), 2);
    advance(NEGATIVE_LIFE).await;
    source.set(|script| script.down = true);
    assert_eq!(again(&store, &seen).await.unwrap().problems[0].failure, down());
    assert_eq!(ask(&store, "a").await.candidates.len(), 2, "an outage takes nothing away");
}

#[tokio::test(start_paused = true)]
async fn large_evidence_is_handed_on_but_not_kept() {
    let source = Source::default();
    let large: &'static str = Box::leak("x".repeat(600 << 10).into_boxed_str());
    source.set(|script| script.attached = vec![large]);
    let store = source.store(Settings::default());
    assert_eq!(ask(&store, "a").await.candidates.len(), 1);
    assert_eq!(ask(&store, "a").await.candidates.len(), 1);
    assert_eq!(source.fetches(), 2);
}

async fn resolve(store: &Stored<Source>) -> Result<Digest, Failure> {
    let image: ImageRef = "registry.example/app:1".parse().unwrap();
    store.resolve_for(&tenant("a"), &image, soon(seconds(10))).await
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_is_followed_within_seconds() {
    let source = signed();
    source.set(|script| script.tag = "old");
    let store = source.store(Settings { stale_tags: true, ..Settings::default() });
    let (old, new) = (Digest::sha256_of(b"old"), Digest::sha256_of(b"new"));
    assert_eq!(resolve(&store).await, Ok(old.clone()));
    source.set(|script| script.tag = "new");
    advance(TAG_LIFE - Duration::from_millis(1)).await;
    assert_eq!(resolve(&store).await, Ok(old));
    advance(Duration::from_millis(1)).await;
    assert_eq!(resolve(&store).await, Ok(new));
}

#[tokio::test(start_paused = true)]
async fn a_tag_stands_through_an_outage_only_where_digests_are_pinned() {
    for stale_tags in [true, false] {
        let source = signed();
        let store = source.store(Settings { stale_tags, ..Settings::default() });
        let known = resolve(&store).await;
        assert!(known.is_ok());
        advance(seconds(60)).await;
        source.set(|script| script.down = true);
        assert_eq!(resolve(&store).await, if stale_tags { known } else { Err(down()) });
        // One that never answers is not waited for as long as there is time.
        source.set(|script| script.takes = seconds(3600));
        let began = tokio::time::Instant::now();
        assert_eq!(resolve(&store).await.is_ok(), stale_tags);
        assert_eq!(began.elapsed() <= TAG_PATIENCE, stale_tags);
        advance(seconds(24 * 3600)).await;
        assert!(resolve(&store).await.is_err(), "too old");
    }
}

#[tokio::test(start_paused = true)]
async fn parts_of_an_image_are_read_once() {
    let source = signed();
    let store = source.store(Settings::default());
    let part = Part::Config(Digest::sha256_of(b"part"));
    for _ in 0..2 {
        let repository = query().repository;
        let read = store.read_for(&tenant("a"), OWN, &repository, &part, soon(seconds(1))).await;
        assert_eq!(read.unwrap().as_ref(), b"part");
        assert_eq!(source.0.lock().unwrap().reads, 1);
        source.set(|script| script.down = true);
    }
}

/// Whoever writes to a tier may say that it is new.
/// That nothing is attached any more is not undone by what a tier still holds.
/// An image that is used once in some hours must not be admitted on a signature that was taken away
/// hours before, while its registry answers.
#[tokio::test(start_paused = true)]
async fn what_nobody_used_for_long_is_looked_at_first_while_its_registry_answers() {
    let source = signed();
    let store = source.store(Settings::default());
    ask(&store, "a").await;
    advance(seconds(6 * 3600)).await;
    source.set(|script| script.down = true);
    assert_eq!(ask(&store, "a").await.candidates.len(), 1, "an outage takes nothing away");
    source.set(|script| {
        script.down = false;
        script.attached.clear();
    });
    advance(seconds(6 * 3600)).await;
    assert!(ask(&store, "a").await.candidates.is_empty());
}

/// What little memory pushes out between two uses comes from the volume each time: its registry must be
/// asked all the same.
/// Each use during the pause after a failure must not put the next try off.
#[tokio::test(start_paused = true)]
async fn what_is_used_all_the_time_is_asked_for_anew_all_the_same() {
    let source = signed();
    let store = source.store(Settings::default());
    ask(&store, "a").await;
    source.set(|script| script.down = true);
    advance(seconds(600)).await;
    ask(&store, "a").await;
    settle().await;
    assert_eq!(source.fetches(), 2);
    source.set(|script| script.down = false);
    for _ in 0..8 {
        advance(seconds(5)).await;
        ask(&store, "a").await;
        settle().await;
    }
    assert_eq!(source.fetches(), 3);
    assert_eq!(ask(&store, "a").await.kept.as_ref().unwrap().stale, None);
}

/// Whoever writes to a tier puts a record back, as new as they like, after the signature was taken away.
/// A hostile registry's list of problems takes memory, too.
#[test]
fn problems_count_towards_what_is_kept() {
    let failure = Failure::new(Reason::EvidenceMissing, "x".repeat(300));
    let problems = vec![Problem { place: Place::Referrers, failure }; 100];
    let evidence = Evidence { query: query(), candidates: Vec::new(), problems, kept: None };
    assert!(memory::weight(&evidence) > 100 * 300);
}
