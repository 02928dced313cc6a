//! The keeper against an API server in memory.
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;

use super::super::ServingError;
use super::super::ServingOptions;
use super::super::keeper::Keeper;
use super::super::secret::Keep;
use super::fake::FakeApi;
use super::fake::MUTATING;
use super::fake::SECRET;
use super::fake::VALIDATING;
use super::stages::at;
use super::stages::names;
use super::stages::text;
use super::stages::trusts;
use crate::server::tls::Served;

struct Cluster {
    api: FakeApi,
    now: Arc<Mutex<Timestamp>>,
}

impl Cluster {
    fn new() -> Self {
        let api = FakeApi::new();
        let webhook = |name: &str| json!({ "name": name, "sideEffects": "None", "clientConfig": { "service": {} } });
        api.put(MUTATING, json!({ "webhooks": [webhook("a.tegata.dev")] }));
        api.put(
            VALIDATING,
            json!({ "webhooks": [webhook("b.tegata.dev"), webhook("c.tegata.dev")] }),
        );
        Self { api, now: Arc::new(Mutex::new(at(0))) }
    }

    fn pass_to(&self, now: Timestamp) {
        *self.now.lock().unwrap() = now;
    }

    async fn replica(
        &self,
        leads: bool,
    ) -> Result<(Keeper, watch::Receiver<Served>, watch::Sender<bool>), ServingError> {
        let options = ServingOptions {
            namespace: "ns".to_owned(),
            secret_name: "tls".to_owned(),
            dns_names: names(),
            mutating: vec!["m".to_owned()],
            validating: vec!["v".to_owned(), "disabled".to_owned()],
        };
        let (elect, leader) = watch::channel(leads);
        let (_, metrics) = crate::metrics::registry();
        let now = Arc::clone(&self.now);
        let clock = Arc::new(move || *now.lock().unwrap());
        let (keeper, served) =
            Keeper::start(self.api.client(), options, leader, metrics, clock).await?;
        Ok((keeper, served, elect))
    }

    fn keep(&self) -> Keep {
        let (namespace, name) = ("ns".to_owned(), "tls".to_owned());
        Keep { client: self.api.client(), namespace, name, names: names() }
    }

    /// What each webhook trusts.
    fn bundles(&self) -> Vec<String> {
        let of = |path| self.api.object(path).unwrap()["webhooks"].as_array().unwrap().clone();
        let all = [of(MUTATING), of(VALIDATING)].concat();
        let bundle = |webhook: &Value| {
            let bundle = webhook["clientConfig"]["caBundle"].as_str().unwrap_or_default();
            String::from_utf8(STANDARD.decode(bundle).unwrap()).unwrap()
        };
        all.iter().map(bundle).collect()
    }

    /// Whether each webhook trusts what the Secret holds, and nothing else.
    fn in_step(&self) -> bool {
        let secret = self.api.secret();
        let now = *self.now.lock().unwrap();
        self.bundles()
            .iter()
            .all(|bundle| bundle == text(&secret, "ca.crt") && trusts(bundle, &secret, now))
    }

    fn annotate(&self, name: &str, value: &str) {
        self.api.change(SECRET, |secret| secret["metadata"]["annotations"][name] = value.into());
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..100 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within a second: {what}");
}

#[tokio::test]
async fn replicas_that_start_at_once_serve_one_certificate() {
    let cluster = Cluster::new();
    let replicas = futures::future::join_all((0..5).map(|_| cluster.replica(false))).await;
    let replicas: Vec<_> = replicas.into_iter().map(Result::unwrap).collect();
    let writes = cluster.api.writes();
    assert_eq!(writes.iter().filter(|write| write.contains("/secrets/")).count(), 1, "{writes:?}");
    let (_, first, _) = &replicas[0];
    for (_, served, _) in &replicas {
        assert!(served.borrow().same_as(&first.borrow()));
    }
    assert!(cluster.in_step());
    let secret = cluster.api.secret();
    assert_eq!(secret.type_.as_deref(), Some("kubernetes.io/tls"));
    assert_eq!(secret.metadata.labels.unwrap()["app.kubernetes.io/managed-by"], "tegata");
    // A replica that starts later finds everything as it should be.
    cluster.replica(true).await.unwrap();
    assert_eq!(cluster.api.writes(), [""; 0]);
}

#[tokio::test]
async fn who_loses_the_race_to_make_or_mend_the_secret_uses_the_winners() {
    let cluster = Cluster::new();
    for damaged in [false, true] {
        if damaged {
            cluster.api.change(SECRET, |secret| secret["data"]["tls.key"] = "Zm9v".into());
        }
        cluster.api.writes();
        let racers = (0..5).map(|_| cluster.keep()).collect::<Vec<_>>();
        let ensured = racers.iter().map(|keep| keep.ensure(true, at(0)));
        let ensured = futures::future::join_all(ensured).await;
        assert_eq!(cluster.api.writes().len(), 1);
        assert!(cluster.api.conflicts() > 0, "nobody lost");
        for ensured in &ensured {
            let (_, stored) = ensured.as_ref().unwrap_or_else(|error| panic!("{error}"));
            assert_eq!(stored.bundle(), text(&cluster.api.secret(), "ca.crt"));
        }
    }
}

#[tokio::test]
async fn a_wiped_ca_bundle_is_repaired_within_a_second() {
    let cluster = Cluster::new();
    let (keeper, _, _elect) = cluster.replica(true).await.unwrap();
    let keeping = tokio::spawn(keeper.run());
    // What the watches begin with makes it look a few times: what follows is to be due to changes.
    tokio::time::sleep(Duration::from_secs(2)).await;
    for path in [MUTATING, VALIDATING] {
        cluster.api.change(path, |configuration| {
            let config = configuration["webhooks"][0]["clientConfig"].as_object_mut().unwrap();
            config.remove("caBundle").unwrap();
        });
        assert!(!cluster.in_step());
        eventually("repaired", || cluster.in_step()).await;
    }
    cluster.api.change(VALIDATING, |configuration| {
        configuration["webhooks"][1]["clientConfig"]["caBundle"] = "Zm9yZWlnbg==".into();
    });
    eventually("foreign bundle replaced", || cluster.in_step()).await;
    cluster.api.delete(MUTATING);
    let webhook = json!({ "name": "new", "sideEffects": "None", "clientConfig": {} });
    cluster.api.put(MUTATING, json!({ "webhooks": [webhook] }));
    eventually("made anew", || cluster.in_step()).await;
    assert_eq!(cluster.api.object(MUTATING).unwrap()["webhooks"][0]["sideEffects"], "None");
    keeping.abort();
}

#[tokio::test]
async fn only_the_elected_replica_repairs_and_rotates() {
    let cluster = Cluster::new();
    let (mut keeper, _, elect) = cluster.replica(false).await.unwrap();
    cluster.api.writes();
    cluster.annotate("tegata.dev/rotate", "now");
    cluster.api.change(MUTATING, |configuration| {
        configuration["webhooks"][0]["clientConfig"]["caBundle"] = Value::Null;
    });
    keeper.look(false).await.unwrap();
    assert_eq!(cluster.api.writes(), [""; 0]);
    elect.send_replace(true);
    keeper.look(false).await.unwrap();
    assert!(!cluster.api.writes().is_empty());
    assert!(cluster.in_step());
}

#[tokio::test]
async fn rotates_the_authority_when_asked_without_a_moment_of_distrust() {
    let cluster = Cluster::new();
    let (mut leader, mut served, _elect) = cluster.replica(true).await.unwrap();
    let (mut other, others, _not_elected) = cluster.replica(false).await.unwrap();
    let before = cluster.api.secret();
    served.mark_unchanged();
    cluster.annotate("tegata.dev/rotate", "now");
    leader.look(false).await.unwrap();
    // Seen to hold on the look after the one that wrote it; a look in which it was wiped sets back.
    leader.look(false).await.unwrap();
    assert_eq!(text(&cluster.api.secret(), "tls.crt"), text(&before, "tls.crt"));
    cluster.pass_to(at(29));
    leader.look(false).await.unwrap();
    assert!(cluster.in_step() && !served.has_changed().unwrap(), "too soon");
    cluster.api.change(MUTATING, |configuration| {
        let old = STANDARD.encode(text(&before, "ca.crt"));
        configuration["webhooks"][0]["clientConfig"]["caBundle"] = old.into();
    });
    cluster.pass_to(at(40));
    leader.look(false).await.unwrap();
    leader.look(false).await.unwrap();
    assert!(cluster.in_step() && !served.has_changed().unwrap(), "the grace begins anew");
    cluster.pass_to(at(70));
    leader.look(false).await.unwrap();
    assert!(cluster.in_step() && served.has_changed().unwrap());
    other.look(false).await.unwrap();
    assert!(others.borrow().same_as(&served.borrow()));
    assert!(cluster.bundles()[0].ends_with(text(&before, "ca.crt")), "the old one is trusted");
    assert!(!trusts(text(&before, "ca.crt"), &cluster.api.secret(), at(70)));

    cluster.pass_to(at(70 + 3599));
    leader.look(false).await.unwrap();
    assert!(cluster.bundles()[0].ends_with(text(&before, "ca.crt")));
    cluster.pass_to(at(70 + 3600));
    leader.look(false).await.unwrap();
    assert!(cluster.in_step());
    assert_eq!(cluster.bundles()[0].matches("BEGIN CERTIFICATE").count(), 1);
}

#[tokio::test]
async fn a_leaf_under_the_new_authority_waits_for_every_configuration() {
    let cluster = Cluster::new();
    let (mut leader, served, _elect) = cluster.replica(true).await.unwrap();
    cluster.api.refuse(&format!("PATCH {VALIDATING}"), Some(403));
    cluster.annotate("tegata.dev/rotate", "now");
    for seconds in [1, 100, 10_000] {
        cluster.pass_to(at(seconds));
        let error = leader.look(false).await.unwrap_err();
        assert!(matches!(error, ServingError::Api { .. }), "{error}");
    }
    assert!(!served.has_changed().unwrap());
    cluster.pass_to(at(61 * 86_400));
    leader.look(false).await.unwrap_err();
    assert!(served.has_changed().unwrap(), "the leaf is renewed all the same");
    for bundle in cluster.bundles() {
        assert!(trusts(&bundle, &cluster.api.secret(), at(61 * 86_400)));
    }
    cluster.api.refuse(&format!("PATCH {VALIDATING}"), None);
    for seconds in [61 * 86_400, 61 * 86_400 + 1, 61 * 86_400 + 31] {
        cluster.pass_to(at(seconds));
        leader.look(false).await.unwrap();
    }
    assert!(cluster.in_step());
    let renewed = cluster.bundles()[0].clone();
    let (newest, _) = renewed.split_at(renewed.find("END CERTIFICATE").unwrap() + 26);
    assert!(trusts(newest, &cluster.api.secret(), at(61 * 86_400 + 31)));
}

#[tokio::test]
async fn the_leaf_is_renewed_in_time_and_on_its_last_day_by_anyone() {
    let cluster = Cluster::new();
    let (mut leader, led, _elect) = cluster.replica(true).await.unwrap();
    let (mut other, served, _not_elected) = cluster.replica(false).await.unwrap();
    cluster.pass_to(at(60 * 86_400 - 1));
    leader.look(false).await.unwrap();
    assert!(!led.has_changed().unwrap());
    cluster.pass_to(at(60 * 86_400));
    leader.look(false).await.unwrap();
    assert!(led.has_changed().unwrap());
    assert_eq!(led.borrow().expires(), at(150 * 86_400));
    other.look(false).await.unwrap();
    assert!(served.borrow().same_as(&led.borrow()));

    cluster.pass_to(at(149 * 86_400));
    other.look(false).await.unwrap();
    assert_eq!(served.borrow().expires(), at(150 * 86_400), "a day left is the leader's");
    cluster.pass_to(at(149 * 86_400 + 1));
    other.look(false).await.unwrap();
    assert_eq!(served.borrow().expires(), at(239 * 86_400 + 1));
    assert!(cluster.in_step());
}

#[tokio::test]
async fn a_damaged_secret_is_never_served_and_made_anew_by_the_elected() {
    let cluster = Cluster::new();
    let (mut leader, led, _elect) = cluster.replica(true).await.unwrap();
    let (mut other, served, _not_elected) = cluster.replica(false).await.unwrap();
    cluster.api.change(SECRET, |secret| secret["data"]["tls.key"] = "Zm9v".into());
    let error = other.look(false).await.unwrap_err();
    assert!(matches!(error, ServingError::Damaged { .. }), "{error}");
    assert!(!served.has_changed().unwrap());
    leader.look(false).await.unwrap();
    assert!(led.has_changed().unwrap() && cluster.in_step());
    other.look(false).await.unwrap();
    assert!(served.borrow().same_as(&led.borrow()));

    cluster.api.delete(SECRET);
    let error = other.look(false).await.unwrap_err();
    assert!(matches!(error, ServingError::Absent { .. }), "{error}");
    leader.look(false).await.unwrap();
    assert!(cluster.in_step());
    // At the start anyone does.
    cluster.api.change(SECRET, |secret| secret["data"]["ca.key"] = Value::Null);
    cluster.replica(false).await.unwrap();
    assert!(cluster.in_step());
}

#[tokio::test]
async fn a_secret_of_someone_else_is_not_touched() {
    let cluster = Cluster::new();
    let foreign = json!({ "metadata": {}, "data": { "tls.crt": "Zm9v", "tls.key": "Zm9v" } });
    cluster.api.put(SECRET, foreign);
    let error = cluster.replica(true).await.err().unwrap();
    assert!(matches!(error, ServingError::Foreign { .. }), "{error}");
    assert_eq!(cluster.api.writes(), [""; 0]);
    // An empty one, made so that Tegata need not be allowed to, is filled.
    cluster.api.put(SECRET, json!({ "metadata": {}, "type": "Opaque" }));
    cluster.replica(false).await.unwrap();
    assert!(cluster.in_step());
    assert_eq!(cluster.api.secret().type_.as_deref(), Some("Opaque"));
}

#[tokio::test]
async fn nothing_older_is_written_over_what_someone_else_wrote() {
    let cluster = Cluster::new();
    let (mut leader, _, _elect) = cluster.replica(true).await.unwrap();
    cluster.annotate("tegata.dev/rotate", "now");
    cluster.api.write_after_reads(SECRET, 3);
    cluster.api.write_after_reads(MUTATING, 2);
    leader.look(false).await.unwrap();
    assert_eq!(cluster.bundles()[0].matches("BEGIN CERTIFICATE").count(), 2);
    assert!(cluster.in_step());
    cluster.annotate("tegata.dev/rotate", "now");
    cluster.pass_to(at(61 * 86_400));
    cluster.api.write_after_reads(SECRET, 1000);
    let error = leader.look(false).await.unwrap_err();
    assert!(matches!(error, ServingError::Contended { .. }), "{error}");
}

#[tokio::test]
async fn says_what_it_could_not_do_and_nothing_of_keys() {
    let cluster = Cluster::new();
    let keep = cluster.keep();
    let error = async || keep.ensure(true, at(0)).await.err().unwrap().to_string();
    cluster.api.refuse(&format!("GET {SECRET}"), Some(403));
    assert_eq!(error().await, "cannot read secret ns/tls: 403 refused by the test");
    cluster.api.refuse(&format!("GET {SECRET}"), None);
    let create = "POST /api/v1/namespaces/ns/secrets";
    cluster.api.refuse(create, Some(404));
    assert_eq!(error().await, "cannot create secret ns/tls: 404 refused by the test");
    cluster.api.refuse(create, None);
    cluster.api.put(SECRET, json!({ "metadata": {}, "data": { "tls.key": "!PRIVATE" } }));
    assert_eq!(error().await, "cannot read secret ns/tls: the answer is not a Secret");
}

#[tokio::test(start_paused = true)]
async fn a_start_outlasts_an_api_server_that_is_away() {
    let cluster = Cluster::new();
    let read = format!("GET {SECRET}");
    cluster.api.refuse(&read, Some(503));
    let mut starting = std::pin::pin!(cluster.replica(false));
    let an_hour = Duration::from_secs(3600);
    assert!(tokio::time::timeout(an_hour, starting.as_mut()).await.is_err(), "it waits");
    cluster.api.refuse(&read, None);
    let (_, served, _elect) = starting.await.unwrap();
    assert!(served.borrow().expires() > at(0));
    assert!(cluster.in_step());
}

#[tokio::test(start_paused = true)]
async fn a_start_does_not_wait_for_what_is_not_its_own() {
    let cluster = Cluster::new();
    cluster.api.put(SECRET, json!({ "metadata": {}, "data": { "tls.key": STANDARD.encode("k") } }));
    let started = tokio::time::timeout(Duration::from_secs(3600), cluster.replica(true)).await;
    let error = started.unwrap().err().unwrap();
    assert!(matches!(error, ServingError::Foreign { .. }), "{error}");
}
