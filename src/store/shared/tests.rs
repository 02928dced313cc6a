use super::options::Address;
use super::*;

fn parsed(text: &str) -> Result<Address, SharedError> {
    Address::parse(text)
}

#[test]
fn accepts_addresses() {
    let address = |tls, host: &str, port, database, user: Option<&str>| Address {
        tls,
        host: host.to_owned(),
        port,
        database,
        user: user.map(str::to_owned),
    };
    let table = [
        ("redis://redis", address(false, "redis", 6379, 0, None)),
        ("rediss://redis.ns.svc:6380/3", address(true, "redis.ns.svc", 6380, 3, None)),
        ("redis://tegata@[::1]:7000/", address(false, "::1", 7000, 0, Some("tegata"))),
    ];
    for (text, wanted) in table {
        assert_eq!(parsed(text).unwrap(), wanted, "{text}");
    }
}

#[test]
fn rejects_addresses_and_does_not_quote_passwords() {
    let table = [
        "redis://:hunter2@redis",
        "redis://user:hunter2@redis",
        "hunter2",
        "http://user@redis",
        "redis://",
        "redis:redis",
        "redis+unix:///hunter2",
        "redis://redis:0",
        "redis://redis/x",
        "redis://redis/1024",
        "redis://redis/0/1",
        "redis://redis?password=hunter2",
        "rediss://redis#insecure",
        "redis://a%00@redis",
    ];
    for text in table {
        let error = parsed(text).unwrap_err();
        assert!(!format!("{error} {error:?}").contains("hunter2"), "{error}");
    }
}

#[test]
fn rejects_options_beyond_their_bounds() {
    let good = SharedOptions::default;
    assert!(Shared::new(good(), StoreMetrics::default()).is_ok());
    let table = [
        ("time", SharedOptions { time: Duration::from_millis(4), ..good() }),
        ("time", SharedOptions { time: Duration::from_millis(1_001), ..good() }),
        ("life", SharedOptions { life: Duration::from_millis(999), ..good() }),
        ("life", SharedOptions { life: Duration::MAX, ..good() }),
        ("prefix", SharedOptions { prefix: "x".repeat(65), ..good() }),
        ("prefix", SharedOptions { prefix: "a b".to_owned(), ..good() }),
        ("url", SharedOptions { url: "redis://x/y".to_owned(), ..good() }),
    ];
    for (field, options) in table {
        let error = Shared::new(options.clone(), StoreMetrics::default()).unwrap_err();
        assert_eq!(error.field, field, "{options:?}");
    }
    for pem in ["", "x", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"] {
        let ca_pem = Some(pem.to_owned());
        let options = SharedOptions { url: "rediss://redis".to_owned(), ca_pem, ..good() };
        let error = Shared::new(options, StoreMetrics::default()).unwrap_err();
        assert_eq!(error.field, "caPem", "{pem}");
    }
}

#[tokio::test]
async fn drops_writes_beyond_its_bounds() {
    // Nobody answers there, and nothing is tried before this test lets go of its thread.
    let options = SharedOptions { url: "redis://127.0.0.1:1".to_owned(), ..Default::default() };
    let metrics = StoreMetrics::default();
    let shared = Shared::new(options, metrics.clone()).unwrap();
    let dropped = || metrics.writes(Tier::Shared, StoreWrite::Dropped);
    shared.put(&[0; 32], &vec![0; MAX_RECORD_BYTES + 1]);
    assert_eq!(dropped(), 1);
    for _ in 0..3 {
        shared.put(&[0; 32], &vec![0; MAX_RECORD_BYTES]);
    }
    assert_eq!(dropped(), 2, "two of the largest wait");
    let shared = Shared::new(SharedOptions::default(), metrics.clone()).unwrap();
    for _ in 0..=MAX_WAITING {
        shared.put(&[0; 32], b"x");
    }
    assert_eq!(dropped(), 3, "as many as may wait");
}

#[test]
fn drops_writes_outside_of_a_runtime() {
    let metrics = StoreMetrics::default();
    let shared = Shared::new(SharedOptions::default(), metrics.clone()).unwrap();
    shared.put(&[0; 32], b"x");
    assert_eq!(metrics.writes(Tier::Shared, StoreWrite::Dropped), 1);
}
