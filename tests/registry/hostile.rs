//! Attacks on time and memory.
use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence as _;
use tegata::evidence::MAX_CANDIDATES;
use tegata::evidence::Place;
use tegata::registry::limits::MAX_REFERRERS_PAGES;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;

use crate::fake_registry::Fault;
use crate::support::Fixture;
use crate::support::REPOSITORY;
use crate::support::failure;
use crate::support::problem;
use crate::support::soon;
use crate::support::within;

const TEN_GIB: u64 = 10 << 30;

#[tokio::test]
async fn rejects_a_manifest_of_ten_gib() {
    for fault in [Fault::AnnounceLength(TEN_GIB), Fault::Endless] {
        let fixture = Fixture::new().await;
        fixture.registry.fault("/manifests/v1", fault);
        let start = Instant::now();
        assert_eq!(fixture.resolve().await.unwrap_err().reason, Reason::ImageUnreadable);
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn rejects_a_blob_of_ten_gib() {
    for fault in [Fault::AnnounceLength(TEN_GIB), Fault::Endless] {
        let fixture = Fixture::signed().await;
        fixture.registry.fault("/blobs/", fault);
        let start = Instant::now();
        let evidence = fixture.fetch().await;
        assert_eq!(failure(&evidence, 0), Reason::EvidenceTooLarge);
        assert_eq!(failure(&evidence, 1), Reason::EvidenceTooLarge);
        assert!(start.elapsed() < Duration::from_secs(3));
    }
}

#[tokio::test]
async fn a_blob_announced_as_huge_is_not_asked_for() {
    let fixture = Fixture::new().await;
    let mut layer = crate::support::layer(&fixture.registry, "payload", json!({}));
    layer["size"] = json!(TEN_GIB);
    fixture.sign_classic(&[layer]);
    let evidence = fixture.fetch().await;
    assert_eq!(failure(&evidence, 0), Reason::EvidenceTooLarge);
    assert_eq!(fixture.registry.count("/blobs/"), 0);
}

#[tokio::test]
async fn rejects_compressed_answers() {
    let fixture = Fixture::signed().await;
    fixture.registry.fault("/blobs/", Fault::Gzip);
    fixture.registry.fault("/manifests/v1", Fault::Gzip);
    assert_eq!(failure(&fixture.fetch().await, 0), Reason::EvidenceMalformed);
    assert_eq!(fixture.resolve().await.unwrap_err().reason, Reason::ImageUnreadable);
}

#[tokio::test]
async fn rejects_other_bytes_than_the_digest_names() {
    let fixture = Fixture::signed().await;
    fixture.registry.fault("/blobs/", Fault::AnswerFrom(1, "other".into()));
    assert_eq!(failure(&fixture.fetch().await, 0), Reason::EvidenceDigestMismatch);
    fixture.registry.heal();
    let manifest = crate::support::image("other").to_string();
    fixture.registry.fault("/manifests/sha256", Fault::AnswerFrom(1, manifest.into()));
    let evidence = fixture.fetch().await;
    let referrer = evidence.candidates.iter().position(|c| c.place == Place::Referrers).unwrap();
    assert_eq!(failure(&evidence, referrer), Reason::EvidenceDigestMismatch);
}

#[tokio::test]
async fn a_slow_body_ends_at_the_deadline() {
    let fixture = Fixture::signed().await;
    let slow = Fault::Slow(Duration::from_millis(50));
    fixture.registry.fault("/v2/", slow);
    let start = Instant::now();
    let evidence = fixture.client().fetch(&fixture.query(), within(1_000)).await;
    assert!(start.elapsed() < Duration::from_millis(1_500), "{:?}", start.elapsed());
    for place in [Place::SignatureTag, Place::Referrers] {
        assert_eq!(problem(&evidence, place), Some(Reason::DeadlineExceeded));
    }
    let failure = fixture.client().resolve(&fixture.image(), within(1_000)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::DeadlineExceeded);
    assert!(start.elapsed() < Duration::from_millis(3_000));
}

#[tokio::test]
async fn a_slow_body_ends_at_the_request_timeout() {
    let fixture = Fixture::new().await;
    fixture.registry.fault("/manifests/v1", Fault::Slow(Duration::from_millis(50)));
    let mut options = fixture.options(Default::default());
    options.request_timeout = Duration::from_millis(300);
    let client = tegata::registry::Registry::new(options, Default::default()).unwrap();
    let start = Instant::now();
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::DeadlineExceeded);
    assert!(start.elapsed() < Duration::from_secs(2));
}

#[tokio::test]
async fn a_deadline_in_the_past_sends_nothing() {
    let fixture = Fixture::signed().await;
    let evidence = fixture.client().fetch(&fixture.query(), Instant::now()).await;
    assert_eq!(evidence.candidates.len(), 0);
    assert_eq!(problem(&evidence, Place::SignatureTag), Some(Reason::DeadlineExceeded));
    assert_eq!(fixture.registry.log().len(), 0);
}

#[tokio::test]
async fn endless_pages_of_referrers_are_cut() {
    let fixture = Fixture::signed().await;
    fixture.registry.set_page_size(0);
    let evidence = fixture.fetch().await;
    assert_eq!(problem(&evidence, Place::Referrers), Some(Reason::EvidenceTooLarge));
    assert_eq!(fixture.registry.count("/referrers/"), MAX_REFERRERS_PAGES);
    assert!(evidence.candidates.iter().any(|c| c.place == Place::Referrers), "partial list");
}

#[tokio::test]
async fn pages_that_lead_in_a_circle_or_elsewhere_are_refused() {
    let fixture = Fixture::signed().await;
    let path = format!("/v2/{REPOSITORY}/referrers/{}", fixture.digest);
    let other = Fixture::new().await;
    let elsewhere = format!("<http://{}/v2/x>; rel=\"next\"", other.registry.host());
    for (link, expected) in [
        (format!("<{path}?n=1>; rel=\"next\""), Reason::EvidenceMalformed),
        (elsewhere, Reason::RegistryAddressForbidden),
    ] {
        fixture.registry.heal();
        fixture.registry.fault("/referrers/", Fault::Header("link", link));
        let evidence = fixture.fetch().await;
        assert_eq!(problem(&evidence, Place::Referrers), Some(expected));
    }
    assert_eq!(other.registry.log().len(), 0);
}

#[tokio::test]
async fn a_signature_manifest_of_many_layers_is_bounded() {
    let fixture = Fixture::new().await;
    let digest = fixture.registry.put_blob("payload").to_string();
    let media_type = tegata::evidence::SIMPLE_SIGNING_MEDIA_TYPE;
    let layer = json!({"mediaType": media_type, "digest": digest, "size": 7});
    // More than the limit on bytes: refused unread. Just below it: cut.
    let count = 100_000;
    fixture.sign_classic(&vec![layer.clone(); count]);
    let start = Instant::now();
    let evidence = fixture.fetch().await;
    assert_eq!(problem(&evidence, Place::SignatureTag), Some(Reason::EvidenceTooLarge));
    assert_eq!(evidence.candidates.len(), 0);
    fixture.sign_classic(&vec![layer; 20_000]);
    let evidence = fixture.fetch().await;
    assert_eq!(problem(&evidence, Place::SignatureTag), Some(Reason::EvidenceTooLarge));
    assert_eq!(evidence.candidates.len(), MAX_CANDIDATES);
    assert_eq!(fixture.registry.count("/blobs/"), 1);
    assert!(start.elapsed() < Duration::from_secs(8));
}

#[tokio::test]
async fn many_large_blobs_do_not_add_up() {
    let fixture = Fixture::new().await;
    let layers: Vec<_> = (0..64_u8)
        .map(|n| {
            let digest = fixture.registry.put_blob(vec![n; 1 << 20]).to_string();
            json!({"mediaType": tegata::evidence::SIMPLE_SIGNING_MEDIA_TYPE, "digest": digest})
        })
        .collect();
    fixture.sign_classic(&layers);
    let evidence = fixture.fetch().await;
    let kept = evidence.candidates.iter().filter(|c| c.content.is_ok()).count();
    assert!((1..32).contains(&kept), "{kept}");
    let failures = evidence.candidates.iter().filter_map(|c| c.content.as_ref().err());
    assert!(failures.into_iter().all(|failure| failure.reason == Reason::EvidenceTooLarge));
}

#[tokio::test]
async fn an_attack_is_never_a_reason_to_retry() {
    for fault in [
        Fault::AnnounceLength(TEN_GIB),
        Fault::Endless,
        Fault::Gzip,
        Fault::AnswerFrom(1, "nonsense".into()),
        Fault::Redirect("http://169.254.169.254/".into()),
        Fault::Redirect("/v2/loop".into()),
    ] {
        let fixture = Fixture::signed().await;
        fixture.registry.fault("/v2/", fault.clone());
        let query = EvidenceQuery { ..fixture.query() };
        let evidence = fixture.client().fetch(&query, soon()).await;
        let problems = evidence.problems.iter().map(|problem| &problem.failure);
        let candidates = evidence.candidates.iter().filter_map(|c| c.content.as_ref().err());
        let failures: Vec<_> = problems.chain(candidates).collect();
        assert!(!failures.is_empty(), "{fault:?}");
        for failure in failures {
            assert_eq!(failure.verdict(), Verdict::Rejected, "{fault:?}: {failure:?}");
        }
    }
}
