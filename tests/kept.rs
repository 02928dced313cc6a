//! The pipeline through the evidence store: what is kept never admits what a registry would not, and
//! never keeps out what it would let in.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Admission;
use tegata::admission::Decision;
use tegata::admission::Request;
use tegata::admission::Settings;
use tegata::admission::review;
use tegata::evidence::Candidate;
use tegata::evidence::Evidence;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence;
use tegata::evidence::Part;
use tegata::evidence::Place;
use tegata::evidence::Problem;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::image::Repository;
use tegata::policy::PolicySnapshot;
use tegata::policy::PolicyState;
use tegata::policy::compile;
use tegata::policy::compile::Keys;
use tegata::policy::compile::References;
use tegata::store;
use tegata::store::Clock;
use tegata::store::NEGATIVE_LIFE;
use tegata::store::Stored;
use tegata::store::TAG_LIFE;
use tegata::store::Tiers;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Failure;
use tegata::verdict::Reason;
use tokio::time::advance;

use self::virtual_sigstore::Algorithm;
use self::virtual_sigstore::Key;
use self::virtual_sigstore::VirtualSigstore;

#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

const IMAGE: &str = "registry.example/team/app:v1";

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// A registry that is told what it holds.
#[derive(Clone, Default)]
struct Fake(Arc<Mutex<Held>>);

#[derive(Default)]
struct Held {
    /// What is attached, by the name of the image.
    attached: Vec<(Digest, Candidate)>,
    tag: Option<Digest>,
    down: bool,
    fetches: usize,
}

impl FetchEvidence for Fake {
    async fn resolve(&self, image: &ImageRef, _: Instant) -> Result<Digest, Failure> {
        let held = self.0.lock().unwrap();
        match (image.digest(), held.down) {
            (Some(digest), _) => Ok(digest.clone()),
            (None, true) => Err(down()),
            (None, false) => Ok(held.tag.clone().unwrap()),
        }
    }

    async fn fetch(&self, query: &EvidenceQuery, _: Instant) -> Evidence {
        let mut held = self.0.lock().unwrap();
        held.fetches += 1;
        let attached = held.attached.iter().filter(|(digest, _)| *digest == query.digest);
        let candidates: Vec<_> = attached.map(|(_, candidate)| candidate.clone()).collect();
        let problem = Problem { place: Place::Referrers, failure: down() };
        let (candidates, problems) = match held.down {
            true => (Vec::new(), vec![problem]),
            false => (candidates, Vec::new()),
        };
        Evidence { query: query.clone(), candidates, problems, kept: None }
    }

    async fn read(&self, _: &Repository, _: &Part, _: Instant) -> Result<Bytes, Failure> {
        Err(down())
    }
}

fn down() -> Failure {
    Failure::new(Reason::RegistryUnreachable, "the registry is down")
}

/// A cluster that wants its key's signature on every image.
struct Cluster {
    sigstore: VirtualSigstore,
    key: Key,
    fake: Fake,
    admission: Admission<Stored<Fake>>,
    snapshot: PolicySnapshot,
}

impl Cluster {
    fn new() -> Self {
        Self::matching(json!([]))
    }

    /// With a policy for some kinds of workload.
    fn matching(workloads: Value) -> Self {
        let sigstore = VirtualSigstore::new(start());
        let key = Key::generate(Algorithm::P256);
        let root = Arc::new(TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap());
        let roots = References { default: root, named: [].into(), keys: Keys::NoCluster };
        let spec = json!({"images": [{"glob": "**"}], "match": workloads,
            "authorities": [{"key": {"data": key.public_pem()}}]});
        let spec = serde_json::from_value(spec).unwrap();
        let policy = compile::compile_cluster_image_policy("signed", &spec, &roots).unwrap();
        let snapshot = PolicySnapshot::new(vec![PolicyState::Ready(Arc::new(policy))]);
        let fake = Fake::default();
        let settings = store::Settings { stale_tags: true, ..store::Settings::default() };
        let stored =
            Stored::new(fake.clone(), settings, Tiers::default(), Clock::starting_at(start()));
        let admission = Admission::new(stored, Settings::default());
        Self { sigstore, key, fake, admission, snapshot }
    }

    fn attach(&self, image: &Digest, key: &Key) {
        let candidate = self.sigstore.keyed(key).classic().sign(image).candidate();
        self.fake.0.lock().unwrap().attached.push((image.clone(), candidate));
    }

    fn set(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.fake.0.lock().unwrap());
    }

    fn fetches(&self) -> usize {
        self.fake.0.lock().unwrap().fetches
    }

    fn request(kind: &str, image: &str) -> Request {
        let (group, resource) = match kind {
            "Pod" => ("", "pods"),
            _ => ("apps", "deployments"),
        };
        let pod = json!({"containers": [{"name": "c", "image": image}]});
        let spec = match kind {
            "Pod" => pod,
            _ => json!({"template": {"spec": pod}}),
        };
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5",
                "operation": "CREATE",
                "namespace": "team",
                "kind": {"group": group, "version": "v1", "kind": kind},
                "resource": {"group": group, "version": "v1", "resource": resource},
                "object": {
                    "apiVersion": version,
                    "kind": kind,
                    "metadata": {"name": "p"},
                    "spec": spec,
                },
            },
        });
        review::parse(review.to_string().as_bytes()).unwrap()
    }

    async fn admit(&self, image: &str) -> Decision {
        self.admit_as("Pod", image).await
    }

    async fn admit_as(&self, kind: &str, image: &str) -> Decision {
        let request = Self::request(kind, image);
        self.admission.admit(&request, &self.snapshot, now(), soon()).await
    }
}

fn digest(name: &str) -> Digest {
    Digest::sha256_of(name.as_bytes())
}

fn by_digest(name: &str) -> String {
    format!("registry.example/team/app@{}", digest(name))
}

fn reason(decision: &Decision) -> Option<Reason> {
    decision.images[0].report.policies[0].failure.as_ref().map(|failure| failure.reason)
}

fn now() -> Timestamp {
    start() + 24.hours()
}

fn soon() -> Instant {
    (tokio::time::Instant::now() + Duration::from_secs(20)).into_std()
}

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
    let decision = cluster.admit(IMAGE).await;
    assert!(!decision.allowed);
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
