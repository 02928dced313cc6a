//! The pipeline through the evidence store: what is kept never admits what a registry would not, and
//! never keeps out what it would let in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::time::Duration;

use serde_json::json;
use tegata::admission::Decision;
use tegata::admission::Request;
use tegata::admission::review::Endpoint;
use tegata::store::NEGATIVE_LIFE;
use tegata::store::TAG_LIFE;
use tegata::verdict::Reason;
use tokio::time::advance;

use self::signed_cluster::Cluster;
use self::signed_cluster::IMAGE;
use self::signed_cluster::by_digest;
use self::signed_cluster::digest;
use self::signed_cluster::now;
use self::signed_cluster::reason;
use self::signed_cluster::soon;
use self::virtual_sigstore::Algorithm;
use self::virtual_sigstore::Key;

#[path = "kept/known.rs"]
mod known;
#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "support/signed_cluster.rs"]
mod signed_cluster;
#[path = "kept/tags.rs"]
mod tags;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

/// Lets what runs in the background come to its end.
async fn settle() {
    for _ in 0..100 {
        tokio::task::yield_now().await;
    }
}

#[tokio::test(start_paused = true)]
async fn an_image_that_is_signed_after_its_denial_is_admitted_within_seconds() {
    let cluster = Cluster::new();
    let image = by_digest("app");
    assert_eq!(reason(&cluster.admit(&image).await), Some(Reason::SignatureAbsent));
    cluster.attach(&digest("app"), &cluster.key);
    advance(NEGATIVE_LIFE).await;
    let decision = cluster.admit(&image).await;
    assert!(decision.allowed, "{}", decision.message);
}

/// What is kept may have been tampered with, or be older than the signature that counts.
#[tokio::test(start_paused = true)]
async fn what_is_kept_and_not_enough_is_asked_for_anew() {
    let cluster = Cluster::new();
    let image = by_digest("app");
    cluster.attach(&digest("app"), &Key::generate(Algorithm::P256));
    assert_eq!(reason(&cluster.admit(&image).await), Some(Reason::SignatureInvalid));
    cluster.attach(&digest("app"), &cluster.key);
    assert!(!cluster.admit(&image).await.allowed);
    assert_eq!(cluster.fetches(), 1, "seconds after the last look nothing is asked");
    advance(NEGATIVE_LIFE).await;
    let decision = cluster.admit(&image).await;
    assert!(decision.allowed, "{}", decision.message);
    assert_eq!(cluster.fetches(), 2);
}

/// Nothing is refused for good on what is kept alone.
#[tokio::test(start_paused = true)]
async fn in_an_outage_what_was_verified_is_admitted_and_the_rest_is_undecided() {
    let cluster = Cluster::new();
    cluster.attach(&digest("good"), &cluster.key);
    cluster.attach(&digest("bad"), &Key::generate(Algorithm::P256));
    assert!(cluster.admit(&by_digest("good")).await.allowed);
    assert!(!cluster.admit(&by_digest("bad")).await.allowed);
    cluster.set(|held| held.down = true);
    advance(Duration::from_secs(3600)).await;
    for _ in 0..2 {
        assert!(cluster.admit(&by_digest("good")).await.allowed);
        settle().await;
    }
    let stale = cluster.admit(&by_digest("good")).await;
    let steps = &stale.images[0].report.policies[0].authorities[0].signatures[0].steps;
    let text = serde_json::to_string(steps).unwrap();
    assert!(text.contains("stale") && text.contains("the registry is down"), "{text}");
    for unknown in ["bad", "new"] {
        let decision = cluster.admit(&by_digest(unknown)).await;
        assert!(!decision.allowed && decision.retry, "{unknown}: {}", decision.message);
        assert_eq!(reason(&decision), Some(Reason::RegistryUnreachable), "{unknown}");
    }
    advance(Duration::from_secs(24 * 3600)).await;
    assert!(!cluster.admit(&by_digest("good")).await.allowed, "too old");
}

#[tokio::test(start_paused = true)]
async fn a_tag_that_moves_while_it_is_kept_never_pins_what_was_not_verified() {
    let cluster = Cluster::new();
    cluster.attach(&digest("old"), &cluster.key);
    cluster.set(|held| held.tag = Some(digest("old")));
    let pinned = |decision: &Decision| decision.images[0].pinned.clone();
    let old = Some(format!("{IMAGE}@{}", digest("old")));
    assert_eq!(pinned(&cluster.admit(IMAGE).await), old);
    cluster.set(|held| held.tag = Some(digest("new")));
    let decision = cluster.admit(IMAGE).await;
    assert!(decision.allowed);
    assert_eq!(pinned(&decision), old, "what was verified, and nothing else");
    advance(TAG_LIFE).await;
    let decision = cluster.admit(IMAGE).await;
    assert_eq!(reason(&decision), Some(Reason::SignatureAbsent));
    assert_eq!(pinned(&decision), None);
    // In an outage the tag's last digest stands in: here one that is not signed.
    cluster.set(|held| held.down = true);
    advance(Duration::from_secs(60)).await;
    let request = Request { endpoint: Endpoint::Mutate, ..Cluster::request("Pod", IMAGE) };
    let decision = cluster.admission.admit(&request, &cluster.snapshot, now(), soon()).await;
    assert!(!decision.allowed && decision.images[0].report.digest.is_some());
    assert_eq!(pinned(&decision), None);
}

/// A Deployment's pods come at once and from many nodes: what they need is at hand by then, also where
/// policies are for pods alone.
#[tokio::test(start_paused = true)]
async fn the_pods_of_an_admitted_workload_arrive_warm() {
    let pods = json!([{"group": "", "version": "v1", "resource": "pods"}]);
    for (workloads, asked) in [(json!([]), 1), (pods, 0)] {
        let cluster = Cluster::matching(workloads);
        let image = by_digest("app");
        cluster.attach(&digest("app"), &cluster.key);
        assert!(cluster.admit_as("Deployment", &image).await.allowed);
        assert_eq!(cluster.fetches(), asked);
        let request = Cluster::request("Deployment", &image);
        cluster.admission.prefetch(&request, &cluster.snapshot, now(), soon()).await;
        assert_eq!(cluster.fetches(), 1);
        cluster.set(|held| held.down = true);
        for _ in 0..50 {
            assert!(cluster.admit(&image).await.allowed);
        }
        assert_eq!(cluster.fetches(), 1);
    }
}
