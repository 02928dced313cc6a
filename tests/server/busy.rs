//! Probes under full load.
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tegata::server::DEFAULT_MAX_IN_FLIGHT;

use crate::fake::review;
use crate::live::Live;

/// Asks without any runtime.
fn probe(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(5))).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

/// The server's runtime has one thread, and that does not come back before the probes were answered:
/// a server that answered them there would let them wait for their time-out.
#[tokio::test]
async fn answers_probes_while_every_place_is_taken_and_every_thread_is_busy() {
    let live = Live::start().await;
    let url = format!("https://localhost:{}/validate?timeout=30s", live.addresses.webhook.port());
    let ca = std::fs::read(live.folder.path().join("ca.pem")).unwrap();
    let ca = reqwest::Certificate::from_pem(&ca).unwrap();
    // Each on a connection of its own.
    let client = reqwest::Client::builder().tls_certs_only([ca]).no_proxy().http1_only();
    let client = client.build().unwrap();
    for index in 0..DEFAULT_MAX_IN_FLIGHT {
        let mut body = review("hang");
        body["request"]["namespace"] = format!("team-{}", index % 2).into();
        let request = client.post(&url).header("content-type", "application/json");
        tokio::spawn(request.body(body.to_string()).send());
    }
    while live.fake.asked.load(Ordering::SeqCst) < DEFAULT_MAX_IN_FLIGHT {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let health = live.addresses.health;
    let paths = ["/livez", "/readyz", "/metrics"];
    let answers = std::thread::scope(|scope| {
        scope.spawn(|| paths.map(|path| probe(health, path))).join().unwrap()
    });
    for (path, answer) in paths.iter().zip(&answers) {
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
    let wanted = format!("tegata_in_flight {DEFAULT_MAX_IN_FLIGHT}\n");
    assert!(answers[2].contains(&wanted), "{}", answers[2]);
}
