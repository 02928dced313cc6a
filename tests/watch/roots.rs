//! Trust roots from a repository that rotates them while policies are in force.
use std::collections::BTreeSet;
use std::path::PathBuf;

use tegata::cluster::events::Events;
use tegata::cluster::events::Reporter;

use super::*;
use crate::mirror::Answer;
use crate::mirror::Mirror;
use crate::tuf_repository::NOW;
use crate::tuf_repository::Roles;

/// A trusted root with so many of the public instance's logs.
pub(crate) fn trusted_root(logs: usize) -> Vec<u8> {
    let json = sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
    let mut root: Value = serde_json::from_str(json).unwrap();
    root["tlogs"].as_array_mut().unwrap().truncate(logs);
    serde_json::to_vec(&root).unwrap()
}

/// What tells trust roots apart.
fn shape(logs: usize) -> String {
    let json = trusted_root(logs);
    format!("{:?}", TrustRoot::from_json(std::str::from_utf8(&json).unwrap()).unwrap())
}

pub(crate) fn rooted() -> Value {
    let mut policy = keyless("**");
    policy["spec"]["authorities"][0]["keyless"]["trustRootRef"] = json!("private");
    policy
}

fn repository(mirror: &Mirror, roles: &Roles) -> Value {
    let root = String::from_utf8(roles.signed_root(1, &[])).unwrap();
    json!({"spec": {"tuf": {"mirror": mirror.url(), "root": root}}})
}

pub(crate) fn settings(hosts: Vec<String>, folder: Option<PathBuf>) -> tuf::Settings {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    tuf::Settings {
        default: tuf::DefaultRoot::Unchanging,
        folder,
        mirrors: tuf::Mirrors::Ask(tuf::Options { allow_http: hosts, ..tuf::Options::default() }),
        schedule: tuf::Schedule {
            interval: Duration::from_millis(30),
            first_pause: Duration::from_millis(10),
        },
        clock: || NOW.parse().unwrap(),
    }
}

async fn mirror() -> (Mirror, Roles) {
    let (mirror, roles) = (Mirror::start().await, Roles::new("a"));
    mirror.publish(&roles, 1, &trusted_root(2));
    (mirror, roles)
}

impl Started {
    /// How many logs the only policy's trust root has; 99 while it denies.
    pub(crate) fn logs(&self) -> usize {
        match &self.snapshots.borrow().policies()[0] {
            PolicyState::Ready(policy) => {
                let found = format!("{:?}", policy.authorities[0].trust_root);
                (0..=2).find(|logs| found == shape(*logs)).unwrap()
            }
            PolicyState::Invalid(_) => 99,
        }
    }

    /// Waits until it has so many, reading the snapshot all the while. Returns all that was seen.
    pub(crate) async fn reaches(&self, logs: usize) -> BTreeSet<usize> {
        let (start, mut seen) = (Instant::now(), BTreeSet::new());
        loop {
            let now = self.logs();
            seen.insert(now);
            if now == logs {
                return seen;
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{seen:?}, not {logs}");
            sleep(Duration::from_millis(1)).await;
        }
    }

    /// Reason and message of the trust root's condition, once it has this reason.
    pub(crate) async fn condition(&self, api: &FakeApi, reason: &str) -> String {
        let start = Instant::now();
        loop {
            let patches = api.patches();
            let last = patches.iter().rev().find(|(path, _)| path.starts_with(ROOTS));
            let condition = last.map(|(_, body)| body["status"]["conditions"][0].clone());
            let condition = condition.unwrap_or_default();
            if condition["reason"] == reason {
                return format!("{}: {}", condition["status"], condition["message"]);
            }
            assert!(start.elapsed() < Duration::from_secs(10), "{condition}, not {reason}");
            sleep(Duration::from_millis(10)).await;
        }
    }
}

#[tokio::test]
async fn each_rotation_takes_effect_without_a_gap_and_the_last_good_root_stays() {
    let (mirror, roles) = mirror().await;
    let api = FakeApi::default();
    api.put(ROOTS, None, "private", repository(&mirror, &roles));
    api.put(CLUSTER, None, "p", rooted());
    let settings = settings(vec![mirror.host()], None);
    let started = Cluster::with(api.clone(), settings).started().await;
    assert_eq!(started.logs(), 2, "the first snapshot has it");
    let (_leader, leading) = tokio::sync::watch::channel(true);
    tokio::spawn(status::run(api.client(), started.reports.clone(), leading));
    let said = started.condition(&api, "Fetched").await;
    assert!(said.contains("certificate authorities: 2, logs: 2"), "{said}");
    assert!(said.contains("root version 1, last refreshed 2026-11-22T00:00:00Z"), "{said}");
    assert!(said.contains("its metadata expires 2027-01-01T00:00:00Z"), "{said}");

    mirror.publish(&roles, 2, &trusted_root(1));
    assert_eq!(started.reaches(1).await, BTreeSet::from([1, 2]), "never without one");
    mirror.publish(&roles, 3, &trusted_root(0));
    assert_eq!(started.reaches(0).await, BTreeSet::from([0, 1]));

    mirror.answer("timestamp.json", Answer::Status(503));
    let said = started.condition(&api, "RefreshFailing").await;
    assert!(said.starts_with("\"True\"") && said.contains("with status 503"), "{said}");
    assert!(said.contains("it stays in use although refreshing it fails"), "{said}");
    assert_eq!(started.logs(), 0);
    let failed =
        "tegata_trust_root_refresh_total{trust_root=\"TrustRoot/private\",outcome=\"error\"}";
    assert!(text(&started.metrics).contains(failed));

    // A source of its own, which does not answer: what the other one gave is of no use.
    let other = json!({"spec": {"tuf": {"mirror": format!("{}/b", mirror.url())}}});
    let mut spec = repository(&mirror, &roles);
    spec["spec"]["tuf"]["mirror"] = other["spec"]["tuf"]["mirror"].clone();
    api.put(ROOTS, None, "private", spec);
    started.becomes(&["ClusterImagePolicy p invalid"]).await;
    let said = started.condition(&api, "NotFetched").await;
    assert!(said.starts_with("\"False\"") && said.contains("nothing was fetched"), "{said}");
    assert!(!started.task.is_finished());
}

/// Type, reason and message of each Event, all of which are on the trust root.
fn events(api: &FakeApi) -> Vec<String> {
    let about = |(path, event): &(String, Value)| {
        assert_eq!(path, "/api/v1/namespaces/default/events");
        let object = &event["involvedObject"];
        assert_eq!((&object["kind"], &object["name"]), (&json!("TrustRoot"), &json!("private")));
        assert_eq!(object["uid"], format!("{ROOTS}/private"));
        let text = |field: &str| event[field].as_str().unwrap().to_owned();
        format!("{} {}: {}", text("type"), text("reason"), text("message"))
    };
    api.posts().iter().map(about).collect()
}

/// The Event that begins like this, once there is one.
async fn told(api: &FakeApi, start: &str) -> String {
    let began = Instant::now();
    loop {
        let events = events(api);
        if let Some(event) = events.iter().find(|event| event.starts_with(start)) {
            return event.clone();
        }
        assert!(began.elapsed() < Duration::from_secs(10), "{events:?}, not {start}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[tokio::test]
async fn the_leader_alone_tells_of_refusals_recoveries_and_new_roots() {
    let (mirror, roles) = mirror().await;
    let api = FakeApi::default();
    api.put(ROOTS, None, "private", repository(&mirror, &roles));
    api.put(CLUSTER, None, "p", rooted());
    let started = Cluster::with(api.clone(), settings(vec![mirror.host()], None)).started().await;
    let (leader, leading) = tokio::sync::watch::channel(false);
    let (_, metrics) = metrics::registry();
    let reporter = Reporter { component: "tegata".to_owned(), instance: "tegata-0".to_owned() };
    let (observer, sending) = Events::start(api.client(), reporter, metrics);
    tokio::spawn(sending);
    tokio::spawn(observer.of_trust_roots(started.reports.clone(), leading));

    mirror.publish(&roles, 2, &trusted_root(1));
    started.reaches(1).await;
    sleep(Duration::from_millis(200)).await;
    assert_eq!(api.posts(), [], "it does not lead");
    leader.send_replace(true);
    mirror.publish(&roles, 3, &trusted_root(2));
    let said =
        told(&api, "Normal TrustRootChanged: its repository brought another trust root").await;
    assert!(
        said.ends_with("in force: certificate authorities: 2, logs: 2, timestamp authorities: 1"),
        "{said}"
    );

    // An older version than what is known, for many attempts: one Event.
    mirror.publish(&roles, 1, &trusted_root(0));
    let said = told(&api, "Warning RefreshRefused: what the repository offers is refused").await;
    assert!(said.contains("the last good trust root stays in force: the repository's metadata is not to be trusted: "), "{said}");
    sleep(Duration::from_millis(300)).await;
    let refused = events(&api).iter().filter(|event| event.contains("RefreshRefused")).count();
    assert_eq!(refused, 1, "{:?}", events(&api));
    assert_eq!(started.logs(), 2);

    mirror.publish(&roles, 4, &trusted_root(2));
    told(&api, "Normal RefreshRecovered: the repository is followed again; in force: ").await;
    mirror.answer("timestamp.json", Answer::Status(503));
    let said = told(&api, "Warning RefreshUnavailable: the repository has not been reached").await;
    assert!(said.contains("with status 503"), "{said}");
    assert!(!started.task.is_finished());
}

#[tokio::test]
async fn a_mirror_that_is_away_denies_what_needs_it_and_holds_nobody_up() {
    let (mirror, roles) = mirror().await;
    mirror.answer("timestamp.json", Answer::Status(503));
    let api = FakeApi::default();
    api.put(ROOTS, None, "private", repository(&mirror, &roles));
    api.put(CLUSTER, None, "p", rooted());
    api.put(NAMESPACED, Some("team"), "q", keyless("**"));
    let folder = tempfile::tempdir().unwrap();
    let settings = || settings(vec![mirror.host()], Some(folder.path().to_owned()));
    let started = Cluster::with(api.clone(), settings()).started().await;
    assert_eq!(started.states(), ["ClusterImagePolicy p invalid", "ImagePolicy team/q ready"]);
    assert_eq!(started.readiness.check(), Ok(()));
    mirror.publish(&roles, 2, &trusted_root(1));
    started.reaches(1).await;

    // The folder has it at the next start.
    mirror.answer("timestamp.json", Answer::Hang);
    let started = Cluster::with(api, settings()).started().await;
    assert_eq!(started.logs(), 1);
}

#[tokio::test]
async fn a_default_that_is_given_anew_reaches_policies_within_a_second() {
    let root = |logs: usize| {
        let json = trusted_root(logs);
        Arc::new(TrustRoot::from_json(std::str::from_utf8(&json).unwrap()).unwrap())
    };
    let (giver, given) = tokio::sync::watch::channel(root(2));
    let default = tuf::DefaultRoot::Given(given);
    let api = FakeApi::default();
    api.put(CLUSTER, None, "p", keyless("**"));
    let started =
        Cluster::with(api, tuf::Settings { default, ..settings(Vec::new(), None) }).started().await;
    for logs in [2, 1, 0] {
        giver.send_replace(root(logs));
        timeout(Duration::from_secs(1), started.reaches(logs)).await.unwrap();
    }
}
