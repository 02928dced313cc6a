//! Watching a cluster, writing statuses and holding the Lease, against an API server in memory.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use futures::FutureExt as _;
use futures::future;
use serde_json::Value;
use serde_json::json;
use tegata::cluster::lease;
use tegata::cluster::lease::Timing;
use tegata::cluster::status;
use tegata::cluster::watch;
use tegata::cluster::watch::WatchOptions;
use tegata::cluster::watch::Watching;
use tegata::metrics;
use tegata::policy::PolicySnapshot;
use tegata::policy::PolicyState;
use tegata::policy::Workload;
use tegata::server::health::Readiness;
use tegata::trust_root::TrustRoot;
use tegata::tuf;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;
use tokio::time::sleep;
use tokio::time::timeout;

#[path = "watch/fake_api.rs"]
mod fake_api;
#[path = "tuf/mirror.rs"]
mod mirror;
#[path = "watch/referred.rs"]
mod referred;
#[path = "watch/roots.rs"]
mod roots;
#[path = "support/tuf_repository.rs"]
mod tuf_repository;

use fake_api::FakeApi;

const CLUSTER: &str = "/apis/tegata.dev/v1alpha1/clusterimagepolicies";
const NAMESPACED: &str = "/apis/tegata.dev/v1alpha1/imagepolicies";
const ROOTS: &str = "/apis/tegata.dev/v1alpha1/trustroots";
const NAMESPACES: &str = "/api/v1/namespaces";
const SECRETS: &str = "/api/v1/namespaces/team/secrets";

const KEY: &str = "-----BEGIN PUBLIC KEY-----\n\
    MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEaxNvSO9S15tRF1hYdgPqTzfZ6rkQ\n\
    8rr1ZGRRYmLTqU6Zo4ykMkY4PfWyu4iPSxnHYwNpqJxcQ+tIWfYDSKNl3A==\n\
    -----END PUBLIC KEY-----\n";

fn keyless(glob: &str) -> Value {
    let identities = json!([{"issuer": "https://issuer.example", "subject": "me@example.com"}]);
    json!({"spec": {"images": [{"glob": glob}], "authorities": [{"keyless": {"identities": identities}}]}})
}

fn keyed() -> Value {
    let key = json!({"secretRef": {"name": "signer"}});
    json!({"spec": {"images": [{"glob": "**"}], "authorities": [{"key": key}]}})
}

fn secret(text: &str) -> Value {
    json!({"data": {"cosign.pub": BASE64.encode(text)}})
}

struct Cluster {
    api: FakeApi,
    readiness: Readiness,
    metrics: Arc<prometheus_client::registry::Registry>,
    starting: JoinHandle<Watching>,
}

impl Cluster {
    fn new(api: FakeApi) -> Self {
        Self::with(api, roots::settings(Vec::new(), None))
    }

    fn with(api: FakeApi, settings: tuf::Settings) -> Self {
        let (metrics_registry, metrics) = metrics::registry();
        let readiness = Readiness::new([watch::POLICIES]);
        let (follower, following) = tuf::follow(settings, metrics.trust_roots.clone());
        tokio::spawn(following);
        let options = WatchOptions {
            own_namespace: "tegata-system".to_owned(),
            default_root: Arc::new(TrustRoot::public_good()),
            follower,
        };
        let starting =
            tokio::spawn(watch::start(api.client(), options, metrics, readiness.clone()));
        Self { api, readiness, metrics: metrics_registry, starting }
    }

    async fn started(self) -> Started {
        let watching = timeout(Duration::from_secs(20), self.starting).await.unwrap().unwrap();
        let Watching { snapshots, references: _, reports, task } = watching;
        let (api, readiness, metrics) = (self.api, self.readiness, self.metrics);
        Started { api, readiness, metrics, snapshots, reports, task: tokio::spawn(task) }
    }
}

struct Started {
    api: FakeApi,
    readiness: Readiness,
    metrics: Arc<prometheus_client::registry::Registry>,
    snapshots: tokio::sync::watch::Receiver<Arc<PolicySnapshot>>,
    reports: tokio::sync::watch::Receiver<Arc<Vec<watch::Report>>>,
    task: JoinHandle<()>,
}

impl Started {
    /// How each policy stands.
    fn states(&self) -> Vec<String> {
        states(&self.snapshots.borrow())
    }

    /// Waits until the policies stand like this, for at most the second that a change may take.
    async fn becomes(&self, expected: &[&str]) {
        let start = Instant::now();
        while self.states() != expected {
            assert!(
                start.elapsed() < Duration::from_secs(1),
                "{:?}, not {expected:?}",
                self.states()
            );
            sleep(Duration::from_millis(5)).await;
        }
        assert!(!self.task.is_finished());
    }
}

fn states(snapshot: &PolicySnapshot) -> Vec<String> {
    let state = |state: &PolicyState| match state {
        PolicyState::Ready(policy) => format!("{} ready", policy.id),
        PolicyState::Invalid(policy) => format!("{} invalid", policy.id),
    };
    snapshot.policies().iter().map(state).collect()
}

fn text(metrics: &prometheus_client::registry::Registry) -> String {
    metrics::encode(metrics).unwrap()
}

#[tokio::test]
async fn nothing_is_published_before_everything_has_been_listed() {
    for list in [CLUSTER, NAMESPACED, ROOTS, NAMESPACES] {
        let api = FakeApi::default();
        api.put(CLUSTER, None, "p", keyless("**"));
        api.forbid(list, true);
        let cluster = Cluster::new(api.clone());
        sleep(Duration::from_millis(300)).await;
        assert!(!cluster.starting.is_finished(), "{list}");
        assert!(cluster.readiness.check().is_err());
        let notes = cluster.readiness.notes(Instant::now());
        let resource = list.rsplit('/').next().unwrap();
        assert_eq!(notes.len(), 1, "{notes:?}");
        assert!(notes[0].starts_with(&format!("the watch on {resource} has had no contact")));
        assert!(notes[0].contains("403"), "{notes:?}");
        let unhealthy = format!("tegata_watch_healthy{{resource=\"{resource}\"}} 0");
        assert!(text(&cluster.metrics).contains(&unhealthy));
        api.forbid(list, false);
        let started = cluster.started().await;
        assert_eq!(started.states(), ["ClusterImagePolicy p ready"]);
        assert_eq!(started.readiness.check(), Ok(()));
        assert!(started.readiness.notes(Instant::now()).is_empty());
    }
}

#[tokio::test]
async fn a_key_that_may_not_be_read_denies_and_is_no_lost_contact() {
    let api = FakeApi::default();
    api.put(NAMESPACED, Some("team"), "p", keyed());
    api.put(SECRETS, Some("team"), "signer", secret(KEY));
    api.forbid("/secrets", true);
    let started = Cluster::new(api).started().await;
    assert_eq!(started.states(), ["ImagePolicy team/p invalid"]);
    assert_eq!(started.readiness.notes(Instant::now()), Vec::<String>::new());
}

#[tokio::test]
async fn keys_are_looked_up_before_the_first_snapshot() {
    let api = FakeApi::default();
    api.put(NAMESPACED, Some("team"), "p", keyed());
    api.put(SECRETS, Some("team"), "signer", secret(KEY));
    api.put(SECRETS, Some("team"), "another", secret("hunter2"));
    let started = Cluster::new(api).started().await;
    assert_eq!(started.states(), ["ImagePolicy team/p ready"]);

    let api = FakeApi::default();
    api.put(NAMESPACED, Some("team"), "p", keyed());
    api.forbid("/secrets", true);
    let started = Cluster::new(api).started().await;
    assert_eq!(started.states(), ["ImagePolicy team/p invalid"]);
}

#[tokio::test]
async fn changes_take_effect_within_a_second() {
    let started = Cluster::new(FakeApi::default()).started().await;
    let api = &started.api;
    assert!(started.states().is_empty());
    api.put(CLUSTER, None, "p", keyless("**"));
    started.becomes(&["ClusterImagePolicy p ready"]).await;
    api.put(NAMESPACED, Some("team"), "q", keyed());
    started.becomes(&["ClusterImagePolicy p ready", "ImagePolicy team/q invalid"]).await;
    api.put(SECRETS, Some("team"), "signer", secret(KEY));
    started.becomes(&["ClusterImagePolicy p ready", "ImagePolicy team/q ready"]).await;
    api.delete(CLUSTER, None, "p");
    started.becomes(&["ImagePolicy team/q ready"]).await;
    api.put(SECRETS, Some("team"), "signer", secret("hunter2"));
    started.becomes(&["ImagePolicy team/q invalid"]).await;
    api.put(SECRETS, Some("team"), "signer", secret(KEY));
    started.becomes(&["ImagePolicy team/q ready"]).await;
    api.delete(SECRETS, Some("team"), "signer");
    started.becomes(&["ImagePolicy team/q invalid"]).await;
    api.put(NAMESPACED, Some("team"), "q", json!({"spec": {"images": 7}}));
    started.becomes(&["ImagePolicy team/q invalid"]).await;

    api.put(NAMESPACES, None, "team", json!({"metadata": {"labels": {"signed": "yes"}}}));
    let start = Instant::now();
    let workload = Workload { namespace: "team".to_owned(), ..Workload::default() };
    let labels = || started.snapshots.borrow().know_namespace(&workload).namespace_labels;
    while labels().get("signed").is_none_or(|value| value != "yes") {
        assert!(start.elapsed() < Duration::from_secs(1));
        sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn a_new_policy_and_its_key_take_effect_together() {
    let started = Cluster::new(FakeApi::default()).started().await;
    let mut snapshots = started.snapshots.clone();
    started.api.put(SECRETS, Some("team"), "signer", secret(KEY));
    started.api.put(NAMESPACED, Some("team"), "q", keyed());
    timeout(Duration::from_secs(1), snapshots.changed()).await.unwrap().unwrap();
    assert_eq!(started.states(), ["ImagePolicy team/q ready"]);
}

#[tokio::test]
async fn the_last_snapshot_outlives_the_api_server_and_the_loss_is_told() {
    let api = FakeApi::default();
    api.put(CLUSTER, None, "p", keyless("**"));
    let started = Cluster::new(api.clone()).started().await;
    api.away(true);
    let start = Instant::now();
    while started.readiness.notes(Instant::now()).len() < 4 {
        assert!(start.elapsed() < Duration::from_secs(5), "{:?}", started.readiness);
        sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(started.states(), ["ClusterImagePolicy p ready"]);
    assert_eq!(started.readiness.check(), Ok(()));
    let notes = started.readiness.notes(Instant::now());
    assert!(notes[0].contains("clusterimagepolicies") && notes[0].contains("connection refused"));
    assert!(text(&started.metrics).contains("tegata_watch_healthy{resource=\"namespaces\"} 0"));
    assert!(text(&started.metrics).contains("tegata_watch_errors_total{resource=\"trustroots\"} "));

    // What was deleted in the meantime is gone; and watches on which nothing happens recover, too.
    api.delete(CLUSTER, None, "p");
    api.away(false);
    let start = Instant::now();
    while !started.readiness.notes(Instant::now()).is_empty() || !started.states().is_empty() {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", started.readiness);
        sleep(Duration::from_millis(20)).await;
    }
    assert!(text(&started.metrics).contains("tegata_watch_healthy{resource=\"namespaces\"} 1"));
}

#[tokio::test]
async fn the_leader_alone_writes_statuses() {
    let api = FakeApi::default();
    api.put(CLUSTER, None, "good", keyless("**"));
    api.put(NAMESPACED, Some("team"), "bad", json!({"spec": {"images": []}}));
    let started = Cluster::new(api.clone()).started().await;
    let (leader, leading) = tokio::sync::watch::channel(false);
    tokio::spawn(status::run(api.client(), started.reports.clone(), leading));
    sleep(Duration::from_millis(200)).await;
    assert!(api.patches().is_empty());
    leader.send_replace(true);
    let start = Instant::now();
    while api.patches().len() < 2 {
        assert!(start.elapsed() < Duration::from_secs(5));
        sleep(Duration::from_millis(10)).await;
    }
    sleep(Duration::from_millis(300)).await;
    let mut patches = api.patches();
    patches.sort_by(|a, b| a.0.cmp(&b.0));
    assert_eq!(patches.len(), 2, "each once: {patches:?}");
    let written = |(path, body): &(String, Value)| {
        let ready = &body["status"]["conditions"][0];
        (path.clone(), ready["status"].clone(), ready["reason"].clone())
    };
    let bad = "/apis/tegata.dev/v1alpha1/namespaces/team/imagepolicies/bad/status";
    assert_eq!(
        written(&patches[0]),
        (format!("{CLUSTER}/good/status"), json!("True"), json!("Compiled"))
    );
    assert_eq!(written(&patches[1]), (bad.to_owned(), json!("False"), json!("InvalidSpec")));
    assert_eq!(patches[0].1["metadata"]["resourceVersion"], "1");
}

const LEASES: &str = "/apis/coordination.k8s.io/v1/namespaces/own/leases";

/// A twentieth of the usual times.
fn timing() -> Timing {
    let Timing { duration, renew, give_up } = Timing::default();
    Timing { duration: duration / 20, renew: renew / 20, give_up: give_up / 20 }
}

fn candidate(
    api: &FakeApi,
    identity: &str,
    stop: impl Future<Output = ()> + Send + 'static,
) -> (tokio::sync::watch::Receiver<bool>, JoinHandle<()>) {
    let (leading, running) = lease::run(api.client(), "own", "tegata", identity, timing(), stop);
    (leading, tokio::spawn(running))
}

/// Sleeps for seconds of an election that is as much faster.
async fn seconds(seconds: u64) {
    sleep(Duration::from_secs(seconds) / 20).await;
}

#[tokio::test]
async fn one_of_two_leads_and_the_other_takes_over() {
    let api = FakeApi::default();
    let (first, first_task) = candidate(&api, "first", future::pending());
    seconds(1).await;
    let (second, _second_task) = candidate(&api, "second", future::pending());
    seconds(40).await;
    assert_eq!((*first.borrow(), *second.borrow()), (true, false));
    let held = api.object(LEASES, "lease");
    assert_eq!(held["spec"]["holderIdentity"], "first");
    assert!(held["spec"]["renewTime"].is_string(), "{held}");

    first_task.abort();
    seconds(8).await;
    assert!(!*second.borrow(), "the lease still lasts");
    seconds(18).await;
    assert!(*second.borrow());
    assert_eq!(api.object(LEASES, "lease")["spec"]["leaseTransitions"], 2);
}

#[tokio::test]
async fn who_stops_gives_the_lease_up_if_it_is_theirs() {
    let api = FakeApi::default();
    let (stop_first, first_stops) = oneshot::channel::<()>();
    let (first, first_task) = candidate(&api, "first", first_stops.map(drop));
    seconds(1).await;
    let (stop_other, other_stops) = oneshot::channel::<()>();
    let (_, other_task) = candidate(&api, "other", other_stops.map(drop));
    seconds(6).await;
    drop(stop_other);
    other_task.await.unwrap();
    assert_eq!(api.object(LEASES, "lease")["spec"]["holderIdentity"], "first");

    let (second, _second_task) = candidate(&api, "second", future::pending());
    seconds(1).await;
    assert_eq!((*first.borrow(), *second.borrow()), (true, false));
    drop(stop_first);
    first_task.await.unwrap();
    assert!(!*first.borrow());
    assert_eq!(api.object(LEASES, "lease")["spec"]["holderIdentity"], "");
    seconds(6).await;
    assert!(*second.borrow(), "without waiting for the end of the lease");
}

#[tokio::test]
async fn who_stops_does_not_wait_for_an_api_server_that_is_away() {
    let api = FakeApi::default();
    let (stop, stops) = oneshot::channel::<()>();
    let (leading, task) = candidate(&api, "me", stops.map(drop));
    seconds(1).await;
    assert!(*leading.borrow());
    api.away(true);
    drop(stop);
    timeout(Duration::from_secs(3), task).await.unwrap().unwrap();
    assert!(!*leading.borrow());
}

#[tokio::test]
async fn a_leader_that_cannot_renew_stops_before_another_begins() {
    let api = FakeApi::default();
    let (leading, _task) = candidate(&api, "me", future::pending());
    seconds(12).await;
    assert!(*leading.borrow());
    api.away(true);
    seconds(13).await;
    assert!(!*leading.borrow());
    api.away(false);
    seconds(20).await;
    assert!(*leading.borrow());
}

/// A server that stops gives the lease up first, and must go on answering without a leader.
#[tokio::test]
async fn the_status_writer_outlives_the_election() {
    let started = Cluster::new(FakeApi::default()).started().await;
    let (_reports, reports) = tokio::sync::watch::channel(Arc::default());
    let (leader, leading) = tokio::sync::watch::channel(true);
    drop(leader);
    let writing = status::run(started.api.client(), reports, leading);
    assert!(timeout(Duration::from_millis(200), writing).await.is_err());
}
