//! Servers that send more than they were asked for.
use std::time::Duration;

use tegata::metrics::StoreLookup;
use tegata::metrics::StoreMetrics;
use tegata::metrics::Tier;
use tegata::store::shared::Shared;
use tegata::store::shared::SharedOptions;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::time::timeout;

const LONG: Duration = Duration::from_secs(20);

/// More than is ever taken, with what the sockets of both sides hold.
const MOST: usize = 64 << 20;

/// A server that answers the first command with `first`, and then sends zeros without end. Returns
/// how many bytes it got rid of before the connection was closed.
async fn flood(listener: TcpListener, first: &[u8]) -> usize {
    let (mut stream, _) = listener.accept().await.unwrap();
    let mut command = [0; 4_096];
    assert!(stream.read(&mut command).await.unwrap() > 0);
    stream.write_all(first).await.unwrap();
    let (zeros, mut sent) = (vec![0; 64 << 10], 0);
    while sent <= MOST {
        match stream.write(&zeros).await {
            Ok(count) => sent += count,
            Err(_) => break,
        }
    }
    sent
}

async fn bounds(first: &'static [u8], wanted: StoreLookup) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("redis://{}", listener.local_addr().unwrap());
    let flood = tokio::spawn(flood(listener, first));
    let metrics = StoreMetrics::default();
    let options = SharedOptions { url, time: Duration::from_secs(1), ..SharedOptions::default() };
    let shared = Shared::new(options, metrics.clone()).unwrap();
    let found = timeout(LONG, shared.get(&[0; 32])).await.unwrap();
    assert_eq!(found, None);
    assert_eq!(metrics.lookups(Tier::Shared, wanted), 1);
    let sent = timeout(LONG, flood).await.unwrap().unwrap();
    assert!(sent <= MOST, "{sent} bytes");
}

#[tokio::test]
async fn an_endless_answer_ends_the_connection() {
    bounds(b"$1000000000000\r\n", StoreLookup::Failure).await;
}

#[tokio::test]
async fn an_endless_line_ends_the_connection() {
    bounds(b"+", StoreLookup::Failure).await;
}

/// An empty text is nothing under the key. What follows it nobody has asked for.
#[tokio::test]
async fn bytes_that_nobody_asked_for_end_the_connection() {
    bounds(b"$0\r\n\r\n$1000000000000\r\n", StoreLookup::Miss).await;
}

#[tokio::test]
async fn an_answer_with_endless_elements_is_a_failure() {
    bounds(b"*9223372036854775807\r\n", StoreLookup::Failure).await;
}

#[tokio::test]
async fn another_kind_of_answer_is_a_failure() {
    bounds(b":5\r\n$1000000000000\r\n", StoreLookup::Failure).await;
}
