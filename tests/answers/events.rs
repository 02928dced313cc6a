//! Events, from the request to the API server.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use tegata::admission::Decision;
use tegata::admission::Request;
use tegata::admission::review::Endpoint;
use tegata::metrics;
use tegata::policy::Mode;
use tegata::server::Observe;

use crate::house::House;
use crate::house::SILENT;
use crate::review;

/// The request for a pod of a ReplicaSet.
fn request() -> Value {
    let mut pod = review::pod(&["r.io/app:1"]);
    pod["metadata"] = json!({
        "generateName": "web-5d4-",
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4",
            "uid": "rs", "controller": true }],
    });
    review::create(&pod)
}

fn named(name: &str) -> Value {
    let mut pod = review::pod(&["r.io/app:1"]);
    pod["metadata"]["name"] = json!(name);
    review::create(&pod)
}

fn outcome(outcome: &str, count: usize) -> String {
    format!("tegata_events_total{{outcome=\"{outcome}\"}} {count}")
}

#[tokio::test]
async fn a_denial_is_told_on_the_controller() {
    let house = House::new(Mode::Enforce);
    assert_eq!(house.ask("mutate", &request()).await["allowed"], false);
    house.until(&outcome("created", 1)).await;
    let (line, event) = house.written.lock().unwrap().remove(0);
    assert_eq!(line, "POST /api/v1/namespaces/team-a/events");
    assert_eq!((&event["reason"], &event["type"]), (&json!("ImageDenied"), &json!("Warning")));
    assert_eq!(event["message"], "nobody signed it");
    let about = &event["involvedObject"];
    assert_eq!((&about["kind"], &about["name"]), (&json!("ReplicaSet"), &json!("web-5d4")));
    assert_eq!((&about["namespace"], &about["uid"]), (&json!("team-a"), &json!("rs")));
}

/// Has one more pod told of, and waits for it: whatever was queued before it is dealt with then.
async fn settle(house: &House) {
    house.ask("validate", &named("last")).await;
    let start = Instant::now();
    while !house.told().iter().any(|name| name == "last") {
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", house.told());
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test]
async fn what_would_be_denied_is_told_once_though_both_webhooks_see_it() {
    for mode in [Mode::Audit, Mode::Warn] {
        let house = House::new(mode);
        for endpoint in ["mutate", "validate", "mutate", "validate"] {
            assert_eq!(house.ask(endpoint, &request()).await["allowed"], true);
        }
        settle(&house).await;
        assert_eq!(house.told(), ["web-5d4", "last"], "{mode:?}");
        assert!(house.metrics().contains(&outcome("merged", 1)), "{}", house.metrics());
        let event = &house.written.lock().unwrap()[0].1;
        assert_eq!(event["reason"], "ImageWouldBeDenied", "{mode:?}");
        let message = event["message"].as_str().unwrap();
        assert!(message.contains("is rejected by ImagePolicy team-a/signed"), "{message}");
    }
}

#[tokio::test]
async fn a_dry_run_is_answered_alike_and_tells_nobody() {
    for mode in [Mode::Enforce, Mode::Warn, Mode::Audit] {
        let house = House::new(mode);
        let mut dry = named("dry");
        dry["request"]["dryRun"] = json!(true);
        let found = house.ask("validate", &dry).await;
        assert_eq!(house.ask("validate", &named("real")).await, found, "{mode:?}");
        settle(&house).await;
        assert_eq!(house.told(), ["real", "last"], "{mode:?}");
    }
}

#[tokio::test]
async fn an_event_that_could_not_be_written_is_tried_with_the_next_denial() {
    let house = House::new(Mode::Enforce);
    house.status.store(403, Ordering::SeqCst);
    assert_eq!(house.ask("validate", &request()).await["allowed"], false);
    house.until(&outcome("failed", 1)).await;
    house.status.store(201, Ordering::SeqCst);
    assert_eq!(house.ask("validate", &request()).await["allowed"], false);
    house.until(&outcome("created", 1)).await;
}

#[tokio::test]
async fn a_silent_api_server_holds_up_no_answer_and_no_memory() {
    let house = House::new(Mode::Enforce);
    house.status.store(SILENT, Ordering::SeqCst);
    let start = Instant::now();
    for index in 0..520 {
        let answer = house.ask("validate", &named(&format!("p{index}"))).await;
        assert_eq!(answer["status"]["message"], "nobody signed it");
    }
    // One is being written, 512 wait.
    house.until(&outcome("dropped", 7)).await;
    assert!(start.elapsed() < Duration::from_secs(8), "{:?}", start.elapsed());
    assert_eq!(house.written.lock().unwrap().len(), 1);
}

struct Defect;

impl Observe for Defect {
    fn decided(&self, _endpoint: Endpoint, _request: &Request, _decision: &Decision) {
        panic!("a defect")
    }
}

/// An HTTP error instead would admit where `failurePolicy` is `Ignore`.
#[tokio::test]
async fn a_defect_of_the_observer_leaves_the_denial_as_it_is() {
    let house = House::observed_by(Mode::Enforce, Arc::new(Defect), metrics::registry());
    let answer = house.ask("validate", &request()).await;
    assert_eq!(answer["allowed"], false);
    assert_eq!(answer["status"]["message"], "nobody signed it");
}
