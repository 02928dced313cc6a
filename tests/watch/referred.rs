//! Trust roots in a ConfigMap that comes, changes and goes while policies are in force.
use super::*;
use crate::roots::rooted;
use crate::roots::trusted_root;

const CONFIG_MAPS: &str = "/api/v1/namespaces/tegata-system/configmaps";

fn reference() -> Value {
    json!({"spec": {"trustedRoot": {"configMapRef": {"name": "roots"}}}})
}

fn holding(text: &str) -> Value {
    json!({"data": {"trusted_root.json": text}})
}

fn logs(count: usize) -> Value {
    holding(std::str::from_utf8(&trusted_root(count)).unwrap())
}

const READY: &[&str] = &["ClusterImagePolicy p ready"];
const INVALID: &[&str] = &["ClusterImagePolicy p invalid"];

impl Started {
    fn put(&self, config_map: Value) {
        self.api.put(CONFIG_MAPS, Some("tegata-system"), "roots", config_map);
    }

    /// Waits until the only policy's trust root has so many logs, for the second that a change may
    /// take.
    async fn has(&self, logs: usize) {
        timeout(Duration::from_secs(1), self.reaches(logs)).await.unwrap();
    }
}

#[tokio::test]
async fn a_config_map_takes_effect_within_a_second_each_time() {
    let api = FakeApi::default();
    api.put(ROOTS, None, "private", reference());
    api.put(CLUSTER, None, "p", rooted());
    // Another namespace's of the same name is none of its business.
    let elsewhere = "/api/v1/namespaces/team/configmaps";
    api.put(elsewhere, Some("team"), "roots", logs(2));
    let started = Cluster::new(api.clone()).started().await;
    assert_eq!(started.states(), INVALID);
    let (_leader, leading) = tokio::sync::watch::channel(true);
    tokio::spawn(status::run(api.client(), started.reports.clone(), leading));
    let said = started.condition(&api, "ConfigMapMissing").await;
    assert!(said.contains("there is no ConfigMap tegata-system/roots"), "{said}");

    started.put(logs(2));
    started.has(2).await;
    let said = started.condition(&api, "Compiled").await;
    assert!(said.starts_with("\"True\"") && said.contains("logs: 2"), "{said}");
    started.put(logs(1));
    started.has(1).await;

    // What is wrong keeps the last good one.
    started.put(holding("{}"));
    let said = started.condition(&api, "InvalidConfigMap").await;
    assert!(said.starts_with("\"False\"") && said.contains("holds no trusted root"), "{said}");
    assert!(said.contains("the last version that could be used stays in force"), "{said}");
    assert_eq!(started.logs(), 1);

    // What is missing does not, and nor does what was good before bring itself back.
    api.delete(CONFIG_MAPS, Some("tegata-system"), "roots");
    started.becomes(INVALID).await;
    let said = started.condition(&api, "ConfigMapMissing").await;
    assert!(said.contains("policies that name it deny what they match"), "{said}");
    started.put(holding("{}"));
    started.condition(&api, "InvalidConfigMap").await;
    assert_eq!(started.states(), INVALID);
    started.put(logs(0));
    started.has(0).await;
}

#[tokio::test]
async fn a_config_map_is_read_before_the_first_snapshot() {
    let api = FakeApi::default();
    api.put(ROOTS, None, "private", reference());
    api.put(CLUSTER, None, "p", rooted());
    api.put(CONFIG_MAPS, Some("tegata-system"), "roots", logs(2));
    let started = Cluster::new(api.clone()).started().await;
    assert_eq!(
        (started.states(), started.logs()),
        (READY.iter().map(|s| (*s).to_owned()).collect(), 2)
    );

    api.forbid("/configmaps", true);
    let started = Cluster::new(api).started().await;
    assert_eq!(started.states(), INVALID);
    assert_eq!(started.readiness.notes(Instant::now()), Vec::<String>::new());
}

#[tokio::test]
async fn a_trust_root_with_its_policy_and_its_config_map_take_effect_together() {
    let started = Cluster::new(FakeApi::default()).started().await;
    let mut snapshots = started.snapshots.clone();
    started.put(logs(2));
    started.api.put(ROOTS, None, "private", reference());
    started.api.put(CLUSTER, None, "p", rooted());
    timeout(Duration::from_secs(1), snapshots.changed()).await.unwrap().unwrap();
    assert_eq!(started.states(), READY);
}
