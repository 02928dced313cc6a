//! Slow and many clients.
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use tegata::server::listen::ConnectionLimits;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;

use crate::live::Live;
use crate::live::no_policies;

#[tokio::test]
async fn closes_connections_of_slow_clients_and_beyond_the_most() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let out = format!("--tls-ca-out={}", ca.display());
    let limits = ConnectionLimits {
        connections: 3,
        first_request: Duration::from_millis(400),
        idle: Duration::from_millis(600),
    };
    let live = Live::start_with(folder, &[&out], &ca, limits, no_policies).await;
    let closed = async |address, text: &'static str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let start = Instant::now();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        // An end or a reset: either way the place is free.
        let _ = tokio::time::timeout(Duration::from_secs(5), read).await.unwrap();
        start.elapsed()
    };
    // No handshake, headers that do not end, and no second request on a kept connection.
    let silent = closed(live.addresses.webhook, "").await;
    assert!(silent >= Duration::from_millis(350), "{silent:?}");
    let dribbling = closed(live.addresses.health, "GET /livez HTTP/1.1\r\nHost: x\r\n").await;
    assert!(dribbling >= Duration::from_millis(350), "{dribbling:?}");
    // By the shorter bound on a first request, not by the one on idle connections.
    assert!(dribbling < Duration::from_millis(580), "{dribbling:?}");
    let kept = closed(live.addresses.health, "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n").await;
    assert!(kept >= Duration::from_millis(550), "{kept:?}");

    let mut held = vec![];
    for _ in 0..3 {
        held.push(tokio::net::TcpStream::connect(live.addresses.webhook).await.unwrap());
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let beyond = closed(live.addresses.webhook, "").await;
    assert!(beyond < Duration::from_millis(200), "{beyond:?}");
    live.until_metric(r#"tegata_shed_total{what="connection"} 1"#).await;
    // The places come back once the slow clients are closed.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(live.review("good").await["allowed"], true);
}

#[tokio::test]
async fn answers_others_while_a_client_dribbles_its_body() {
    let live = Live::start().await;
    let url = format!("https://localhost:{}/validate?timeout=1s", live.addresses.webhook.port());
    let silent = futures::stream::pending::<Result<Bytes, std::io::Error>>();
    let dribbling = live
        .client
        .post(url)
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(silent))
        .send();
    let dribbling = tokio::spawn(dribbling);
    assert_eq!(live.review("good").await["allowed"], true);
    let start = Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(3), dribbling).await.unwrap().unwrap();
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    // HTTP/2 may tell the client to stop sending before it sees the status.
    assert!(answer.as_ref().map_or(true, |answer| answer.status() == 408), "{answer:?}");
}
