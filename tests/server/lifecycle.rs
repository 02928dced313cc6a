//! Probes, metrics, draining.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tegata::commands::serve::ServeError;
use tegata::server;
use tegata::server::listen::ConnectionLimits;

use crate::fake::review;
use crate::live::Live;
use crate::live::client;
use crate::live::no_policies;

#[tokio::test]
async fn serves_over_tls_with_a_certificate_of_its_own() {
    let live = Live::start().await;
    assert_eq!(live.review("good").await["allowed"], true);
    assert_eq!(live.probe("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(live.probe("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(live.probe("/nothing").await.0, 404);
    let expires = live.metric("tegata_certificate_expiry_timestamp_seconds ").await;
    let expires: i64 = expires.rsplit_once(' ').unwrap().1.parse().unwrap();
    let days = (expires - server::now().as_second()) / 86_400;
    assert!((88..=90).contains(&days), "{days}");
    let written = std::fs::read_to_string(live.folder.path().join("ca.pem")).unwrap();
    assert!(!written.contains("PRIVATE"), "the key is in the file for clients");
    // Without the authority's certificate nobody is believed.
    let stranger = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!("https://localhost:{}/validate", live.addresses.webhook.port());
    assert!(stranger.post(url).send().await.is_err());
}

#[tokio::test]
async fn writes_metrics_as_open_metrics_text_with_closed_labels() {
    let live = Live::start().await;
    live.review("good").await;
    live.review("deny").await;
    let response = reqwest::get(format!("http://{}/metrics", live.addresses.health)).await.unwrap();
    let media_type = response.headers()["content-type"].to_str().unwrap().to_owned();
    assert!(media_type.starts_with("application/openmetrics-text"), "{media_type}");
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        r#"tegata_decisions_total{endpoint="validate",allowed="true",verdict="verified",reason="none"} 1"#,
        r#"tegata_stage_duration_seconds_count{stage="admit"} 2"#,
        r#"tegata_policies{state="ready"} 0"#,
        r#"tegata_policies{state="invalid"} 0"#,
        r#"tegata_reload_failures_total{what="policies"} 0"#,
        r#"tegata_shed_total{what="connection"} 0"#,
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    for private in ["registry.example", "team-a", "alice", "uid-good"] {
        assert!(!text.contains(private), "{private} in {text}");
    }
}

#[tokio::test]
async fn drains_readiness_first_and_finishes_what_is_in_flight() {
    let live = Arc::new(Live::start().await);
    let waiting = tokio::spawn({
        let live = Arc::clone(&live);
        async move { live.review("wait").await }
    });
    while live.fake.asked.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    live.signals.send(()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (status, text) = live.probe("/readyz").await;
    assert_eq!((status, text.as_str()), (503, "not ready: the server is stopping\n"));
    assert_eq!(live.probe("/livez").await.0, 200);
    // Within the delay it still answers: not everybody has noticed yet.
    let ca = live.folder.path().join("ca.pem");
    assert_eq!(live.review_with(&client(&ca), "good").await["allowed"], true);
    tokio::time::sleep(Duration::from_millis(400)).await;
    let refused = tokio::net::TcpStream::connect(live.addresses.webhook).await;
    assert!(refused.is_err(), "still accepting after the delay");
    assert!(!live.server.is_finished(), "did not wait for the request in flight");
    live.fake.release.notify_waiters();
    assert_eq!(waiting.await.unwrap()["allowed"], true);
    let live = Arc::into_inner(live).unwrap();
    drop(live.client);
    let ended = tokio::time::timeout(Duration::from_secs(4), live.server).await.unwrap();
    assert!(ended.as_ref().unwrap().is_ok(), "{ended:?}");
}

#[tokio::test]
async fn stops_at_once_on_a_second_signal() {
    let live = Live::start().await;
    live.signals.send(()).await.unwrap();
    live.signals.send(()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_millis(250), live.server).await.unwrap();
    assert!(matches!(ended, Ok(Err(ServeError::Interrupted))), "{ended:?}");
}

#[tokio::test]
async fn ends_a_drain_that_takes_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let out = format!("--tls-ca-out={}", ca.display());
    let arguments = [out.as_str(), "--drain-timeout=200ms"];
    let live =
        Live::start_with(folder, &arguments, &ca, ConnectionLimits::default(), no_policies).await;
    let url = format!("https://localhost:{}/validate?timeout=30s", live.addresses.webhook.port());
    let request = live
        .client
        .post(url)
        .header("content-type", "application/json")
        .body(review("hang").to_string())
        .send();
    let request = tokio::spawn(request);
    while live.fake.asked.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    live.signals.send(()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(2), live.server).await.unwrap();
    assert!(ended.as_ref().unwrap().is_ok(), "{ended:?}");
    // Without an answer the API server goes by its failure policy.
    assert!(request.await.unwrap().is_err());
}

/// An API server keeps connections over HTTP/1.1: it must leave before they are closed for it.
#[tokio::test]
async fn asks_for_connections_to_be_closed_while_it_drains() {
    let live = Live::start().await;
    let ca = std::fs::read(live.folder.path().join("ca.pem")).unwrap();
    let ca = reqwest::Certificate::from_pem(&ca).unwrap();
    let client = || reqwest::Client::builder().tls_certs_only([ca.clone()]).no_proxy();
    let url = format!("https://localhost:{}/validate", live.addresses.webhook.port());
    let connection = async |client: reqwest::Client| {
        let body = review("good").to_string();
        let request = client.post(&url).header("content-type", "application/json").body(body);
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 200);
        answer.headers().get("connection").map(|value| value.to_str().unwrap().to_owned())
    };
    let old = client().http1_only().build().unwrap();
    assert_eq!(connection(old.clone()).await, None);
    live.signals.send(()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(connection(old).await.as_deref(), Some("close"));
    assert_eq!(
        connection(client().build().unwrap()).await,
        None,
        "over HTTP/2 there is no such field"
    );
}
