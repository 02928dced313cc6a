//! `/validate-policies`: policies at apply time.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::body::Body;
use axum::http::Request as HttpRequest;
use axum::http::StatusCode;
use serde_json::Value;
use serde_json::json;
use tegata::metrics;
use tegata::policy::PolicySnapshot;
use tegata::policy::compile::Keys;
use tegata::policy::compile::References;
use tegata::server;
use tegata::server::AppState;
use tegata::server::Limits;
use tegata::trust_root::TrustRoot;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::fake::Fake;
use crate::fake::assert_indeterminate;
use crate::fake::response_of;
use crate::fake::review;

/// A review of a `ClusterImagePolicy` that trusts this root.
fn policy(name: &str, glob: &str, root: &str) -> Value {
    let identity = json!({ "issuer": "https://issuer.example", "subject": "me@a.example" });
    let mut review = review(name);
    let version =
        |key: &str, of: &str| json!({ "group": "tegata.dev", "version": "v1alpha1", key: of });
    review["request"]["kind"] = version("kind", "ClusterImagePolicy");
    review["request"]["resource"] = version("resource", "clusterimagepolicies");
    review["request"]["object"] = json!({
        "apiVersion": "tegata.dev/v1alpha1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": name },
        "spec": {
            "images": [{ "glob": glob }],
            "authorities": [{ "keyless": { "trustRootRef": root, "identities": [identity] } }],
        },
    });
    review
}

fn references(names: &[&str]) -> Arc<References> {
    let default = Arc::new(TrustRoot::public_good());
    let named: BTreeMap<_, _> =
        names.iter().map(|name| ((*name).to_owned(), Arc::clone(&default))).collect();
    Arc::new(References { default, named, keys: Keys::NoCluster })
}

async fn send(router: &axum::Router, path: &str, body: String) -> (StatusCode, String) {
    let request = HttpRequest::post(path)
        .header("content-type", "application/json")
        .body(Body::from(body))
        .unwrap();
    let response = router.clone().oneshot(request).await.unwrap();
    let status = response.status();
    let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
    (status, String::from_utf8(body.to_vec()).unwrap())
}

async fn answer(router: &axum::Router, review: &Value, name: &str) -> Value {
    let (status, text) = send(router, "/validate-policies?timeout=10s", review.to_string()).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    response_of(&text, name)
}

#[tokio::test]
async fn denies_what_does_not_compile_and_warns_of_what_is_missing() {
    let fake = Fake::default();
    let (registry, metrics) = metrics::registry();
    let policies = watch::Sender::new(Arc::new(PolicySnapshot::default()));
    let known = watch::Sender::new(references(&[]));
    let state = AppState::new(fake.clone(), policies.subscribe(), metrics, Limits::default())
        .with_references(known.subscribe());
    let router = server::router(state);

    let bad = answer(&router, &policy("bad", "ghcr.io/Org/**", "ours"), "bad").await;
    assert_eq!(bad["allowed"], false, "{bad}");
    assert_eq!(bad["status"]["code"], 422, "{bad}");
    assert_eq!(bad["status"]["reason"], "Invalid", "{bad}");
    assert_eq!(bad["auditAnnotations"]["reasons"], "policy-invalid", "{bad}");
    let message = bad["status"]["message"].as_str().unwrap();
    assert!(message.starts_with("spec.images[0].glob: `ghcr.io/Org/**` is no image"), "{message}");

    let early = answer(&router, &policy("early", "ghcr.io/org/**", "ours"), "early").await;
    assert_eq!(early["allowed"], true, "{early}");
    assert!(early["warnings"][0].as_str().unwrap().contains("no usable TrustRoot `ours`"));
    // What policies may name is what is known when they are applied.
    known.send_replace(references(&["ours"]));
    let good = answer(&router, &policy("good", "ghcr.io/org/**", "ours"), "good").await;
    assert_eq!(good["allowed"], true, "{good}");
    assert!(good.get("warnings").is_none() && good.get("patch").is_none(), "{good}");

    assert_eq!(fake.asked.load(Ordering::SeqCst), 0, "policies are no workloads");
    let metrics = metrics::encode(&registry).unwrap();
    for line in [
        r#"tegata_decisions_total{endpoint="validate-policies",allowed="false",verdict="rejected",reason="policy-invalid"} 1"#,
        r#"tegata_decisions_total{endpoint="validate-policies",allowed="true",verdict="none",reason="none"} 2"#,
    ] {
        assert!(metrics.contains(line), "{metrics}");
    }
}

#[tokio::test]
async fn denies_what_is_no_policy() {
    let policies = watch::Sender::new(Arc::new(PolicySnapshot::default()));
    let (_, metrics) = metrics::registry();
    let state = AppState::new(Fake::default(), policies.subscribe(), metrics, Limits::default());
    let router = server::router(state);
    let pod = answer(&router, &review("pod"), "pod").await;
    assert_eq!(pod["allowed"], false, "{pod}");
    assert_eq!(pod["status"]["code"], 400, "{pod}");
    for (body, wanted) in [("{", 400), ("[]", 400)] {
        let (status, text) = send(&router, "/validate-policies", body.to_owned()).await;
        assert_eq!(status.as_u16(), wanted, "{text}");
    }
}

/// Requests about policies wait for each other, and take no places from pods.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn sheds_policies_that_wait_too_long_and_keeps_the_places_of_pods() {
    let policies = watch::Sender::new(Arc::new(PolicySnapshot::default()));
    let (_, metrics) = metrics::registry();
    let limits = Limits { max_in_flight: 1, ..Limits::default() };
    let state = AppState::new(Fake::default(), policies.subscribe(), metrics, limits);
    let router = server::router(state);
    // Two clients that never send their bodies take both places.
    let silent: Vec<_> = (0..2)
        .map(|_| {
            let body = futures::stream::pending::<Result<bytes::Bytes, std::io::Error>>();
            let request = HttpRequest::post("/validate-policies")
                .header("content-type", "application/json")
                .body(Body::from_stream(body))
                .unwrap();
            let router = router.clone();
            tokio::spawn(async move { router.oneshot(request).await.unwrap().status() })
        })
        .collect();
    tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    let body = policy("late", "**", "ours").to_string();
    let (status, text) = send(&router, "/validate-policies?timeout=1s", body).await;
    assert_eq!(status, StatusCode::OK, "{text}");
    assert_indeterminate(&response_of(&text, "late"), "overloaded");
    let (_, text) = send(&router, "/validate", review("good").to_string()).await;
    assert_eq!(response_of(&text, "good")["allowed"], true, "{text}");
    for silent in silent {
        silent.abort();
    }
}
