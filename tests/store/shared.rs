//! The shared tier against a real server.
use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use tegata::metrics::StoreLookup;
use tegata::metrics::StoreMetrics;
use tegata::metrics::StoreWrite;
use tegata::metrics::Tier;
use tegata::store::MAX_RECORD_BYTES;
use tegata::store::shared::Shared;
use tegata::store::shared::SharedOptions;
use tokio::time::sleep;
use tokio::time::timeout;

use super::redis_server::RedisServer;
use super::redis_server::answers;
use super::redis_server::free_port;

const KEY: [u8; 32] = [7; 32];
const OTHER: [u8; 32] = [8; 32];

/// Much more than any time that is set, on a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(20);

/// The first pause and a little.
const PAUSE: Duration = Duration::from_millis(1_300);

fn name(key: &[u8; 32]) -> String {
    format!("t:{}", hex::encode(key))
}

fn options(url: String) -> SharedOptions {
    let time = Duration::from_millis(500);
    SharedOptions { url, prefix: "t:".to_owned(), time, ..SharedOptions::default() }
}

/// The tier, and what it counted.
struct Tested {
    shared: Shared,
    metrics: StoreMetrics,
}

impl Tested {
    fn new(options: SharedOptions) -> Self {
        let metrics = StoreMetrics::default();
        Self { shared: Shared::new(options, metrics.clone()).unwrap(), metrics }
    }

    async fn get(&self, key: &[u8; 32]) -> Option<Vec<u8>> {
        timeout(LONG, self.shared.get(key)).await.expect("it takes no longer than its time")
    }

    fn lookups(&self, result: StoreLookup) -> u64 {
        self.metrics.lookups(Tier::Shared, result)
    }

    /// Writes, and waits for what becomes of it.
    async fn put(&self, key: &[u8; 32], record: &[u8]) -> StoreWrite {
        const ALL: [StoreWrite; 3] = [StoreWrite::Dropped, StoreWrite::Failed, StoreWrite::Written];
        let counts = || ALL.map(|outcome| self.metrics.writes(Tier::Shared, outcome));
        let before = counts();
        self.shared.put(key, record);
        let changed = async {
            loop {
                let changed = ALL.into_iter().zip(before).zip(counts());
                if let Some(((outcome, _), _)) = { changed }.find(|((_, old), new)| old != new) {
                    return outcome;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(LONG, changed).await.unwrap()
    }
}

#[tokio::test]
async fn keeps_records_for_their_life() {
    let server = RedisServer::start(&[]);
    let life = Duration::from_secs(1_000);
    let tested = Tested::new(SharedOptions { life, ..options(server.url()) });
    assert_eq!(tested.get(&KEY).await, None);
    assert_eq!(tested.lookups(StoreLookup::Miss), 1);
    let record: Vec<u8> = (0..100_000_u32).map(|n| u8::try_from(n % 256).unwrap()).collect();
    assert_eq!(tested.put(&KEY, &record).await, StoreWrite::Written);
    assert_eq!(tested.get(&KEY).await.unwrap(), record);
    assert_eq!(tested.get(&OTHER).await, None);
    assert_eq!(tested.lookups(StoreLookup::Hit), 1);
    let left: i64 = redis::cmd("TTL").arg(name(&KEY)).query(&mut server.connect()).unwrap();
    assert!((900..=1_000).contains(&left), "{left}");
    assert_eq!(tested.put(&KEY, b"newer").await, StoreWrite::Written);
    let other = Tested::new(options(server.url()));
    assert_eq!(other.get(&KEY).await.unwrap(), b"newer", "another replica");
    assert_eq!(tested.lookups(StoreLookup::Failure), 0);
}

#[tokio::test]
async fn keeps_the_largest_record() {
    let server = RedisServer::start(&[]);
    let tested = Tested::new(options(server.url()));
    let record = vec![3; MAX_RECORD_BYTES];
    assert_eq!(tested.put(&KEY, &record).await, StoreWrite::Written);
    assert_eq!(tested.get(&KEY).await.unwrap(), record);
}

#[tokio::test]
async fn contacts_nobody_before_it_is_used_and_uses_one_connection() {
    let server = RedisServer::start(&[]);
    let tested = Tested::new(options(server.url()));
    let clients = || {
        let list: String = redis::cmd("CLIENT").arg("LIST").query(&mut server.connect()).unwrap();
        // The test's own is one.
        list.lines().count() - 1
    };
    assert_eq!(clients(), 0);
    let keys: Vec<[u8; 32]> = (0..100).map(|n| [n; 32]).collect();
    let found = futures::future::join_all(keys.iter().map(|key| tested.get(key))).await;
    assert!(found.iter().all(Option::is_none));
    assert_eq!(tested.lookups(StoreLookup::Miss), 100);
    assert_eq!(clients(), 1);
}

#[tokio::test]
async fn a_killed_server_is_left_alone_and_used_again_when_it_is_back() {
    let mut server = RedisServer::start(&[]);
    let tested = Tested::new(options(server.url()));
    assert_eq!(tested.put(&KEY, b"x").await, StoreWrite::Written);
    server.kill();
    assert_eq!(tested.get(&KEY).await, None);
    assert_eq!(tested.lookups(StoreLookup::Failure), 1);
    server.restart();
    assert_eq!(tested.get(&KEY).await, None);
    assert_eq!(tested.put(&KEY, b"x").await, StoreWrite::Dropped);
    assert_eq!(tested.lookups(StoreLookup::Failure), 2, "it is left alone");
    sleep(PAUSE).await;
    assert_eq!(tested.get(&KEY).await, None);
    assert_eq!(tested.lookups(StoreLookup::Miss), 1, "it is asked again");
    assert_eq!(tested.put(&KEY, b"y").await, StoreWrite::Written);
    assert_eq!(tested.get(&KEY).await.unwrap(), b"y");
}

#[tokio::test]
async fn a_server_that_closes_idle_connections_costs_nothing() {
    let server = RedisServer::start(&[]);
    let tested = Tested::new(options(server.url()));
    assert_eq!(tested.put(&KEY, b"x").await, StoreWrite::Written);
    let _: () = redis::cmd("CLIENT")
        .arg(&["KILL", "TYPE", "normal", "SKIPME", "yes"])
        .query(&mut server.connect())
        .unwrap();
    assert_eq!(tested.get(&KEY).await.unwrap(), b"x");
    assert_eq!(tested.lookups(StoreLookup::Failure), 0);
}

#[tokio::test]
async fn a_stopped_server_costs_its_time_once_a_pause() {
    let server = RedisServer::start(&[]);
    let tested = Tested::new(options(server.url()));
    assert_eq!(tested.put(&KEY, b"x").await, StoreWrite::Written);
    server.signal("STOP");
    assert_eq!(tested.get(&KEY).await, None);
    // Before its pause is over not even one that answers again is asked.
    server.signal("CONT");
    assert!(answers(&mut server.connect()));
    assert_eq!(tested.get(&KEY).await, None);
    assert_eq!(tested.lookups(StoreLookup::Failure), 2);
    sleep(PAUSE).await;
    assert_eq!(tested.get(&KEY).await.unwrap(), b"x");
}

#[tokio::test]
async fn many_that_wait_for_a_stopped_server_wait_for_its_time_together() {
    let server = RedisServer::start(&[]);
    let time = Duration::from_secs(1);
    let tested = Tested::new(SharedOptions { time, ..options(server.url()) });
    assert_eq!(tested.put(&KEY, b"x").await, StoreWrite::Written);
    server.signal("STOP");
    let keys: Vec<[u8; 32]> = (0..100).map(|n| [n; 32]).collect();
    let all = futures::future::join_all(keys.iter().map(|key| tested.get(key)));
    // One after the other they would take 25 seconds, four at a time.
    let found = timeout(LONG, all).await.unwrap();
    assert!(found.iter().all(Option::is_none));
    assert_eq!(tested.lookups(StoreLookup::Failure), 100);
    server.signal("CONT");
}

#[tokio::test]
async fn garbage_is_refused_and_begins_no_pause() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let tested = Tested::new(options(server.url()));
    let _: () = redis::cmd("LPUSH").arg(name(&KEY)).arg("x").query(&mut connection).unwrap();
    assert_eq!(tested.get(&KEY).await, None);
    assert_eq!(tested.metrics.refusals(Tier::Shared), 1);
    let _: () = redis::cmd("SET").arg(name(&OTHER)).arg("garbage").query(&mut connection).unwrap();
    assert_eq!(tested.get(&OTHER).await.unwrap(), b"garbage", "its reader refuses it");
    assert_eq!(tested.put(&KEY, b"x").await, StoreWrite::Written);
    assert_eq!(tested.get(&KEY).await.unwrap(), b"x");
}

#[tokio::test]
async fn what_is_too_large_is_not_read() {
    let server = RedisServer::start(&[]);
    let mut connection = server.connect();
    let tested = Tested::new(options(server.url()));
    for length in [100 << 20, MAX_RECORD_BYTES + 1] {
        let _: () = redis::cmd("DEL").arg(name(&KEY)).query(&mut connection).unwrap();
        let _: () = redis::cmd("SETRANGE")
            .arg(name(&KEY))
            .arg(length - 1)
            .arg("x")
            .query(&mut connection)
            .unwrap();
        let before = server.sent();
        assert_eq!(tested.get(&KEY).await, None, "{length}");
        let sent = server.sent() - before;
        assert!(sent < 3 << 20, "{sent} bytes");
    }
    assert_eq!(tested.metrics.refusals(Tier::Shared), 2);
    assert_eq!(tested.get(&OTHER).await, None);
    assert_eq!(tested.lookups(StoreLookup::Miss), 1, "it is left alone for nobody's poison");
}

/// A file with a password, as they are mounted.
fn secret(server: &RedisServer, name: &str, text: &str) -> PathBuf {
    let path = server.folder().join(name);
    fs::write(&path, text).unwrap();
    path
}

#[tokio::test]
async fn shows_the_password_in_the_file_and_nobody_else() {
    let server = RedisServer::start(&["--requirepass", "correct-horse"]);
    let password = secret(&server, "password", "wrong-horse\n");
    let with = |password| SharedOptions { password: Some(password), ..options(server.url()) };
    let tested = Tested::new(with(password.clone()));
    assert_eq!(tested.get(&KEY).await, None);
    assert_eq!(tested.put(&KEY, b"x").await, StoreWrite::Dropped);
    assert_eq!(tested.lookups(StoreLookup::Failure), 1);
    fs::write(&password, "correct-horse\n").unwrap();
    sleep(PAUSE).await;
    assert_eq!(tested.put(&KEY, b"x").await, StoreWrite::Written, "the new one counts at once");
    assert_eq!(tested.get(&KEY).await.unwrap(), b"x");
    assert!(!format!("{:?}", tested.shared).contains("horse"));
    let without = Tested::new(options(server.url()));
    assert_eq!(without.get(&KEY).await, None);
    assert_eq!(without.lookups(StoreLookup::Failure), 1);
    let missing = Tested::new(with(server.folder().join("missing")));
    assert_eq!(missing.get(&KEY).await, None);
    assert_eq!(missing.lookups(StoreLookup::Failure), 1);
}

#[tokio::test]
async fn nobody_there_is_a_failure() {
    let tested = Tested::new(options(format!("redis://127.0.0.1:{}", free_port())));
    assert_eq!(tested.get(&KEY).await, None);
    assert_eq!(tested.get(&KEY).await, None);
    assert_eq!(tested.lookups(StoreLookup::Failure), 2);
    // Not a host that resolves, nor one that speaks TLS.
    let tested = Tested::new(options("redis://host.invalid".to_owned()));
    assert_eq!(tested.get(&KEY).await, None);
}

/// An authority's certificate, and a server's certificate and key of it, in PEM.
fn certificates() -> (String, String, String) {
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::new(Vec::new()).unwrap();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let authority = params.self_signed(&key).unwrap().pem();
    let issuer = Issuer::new(params, key);
    let key = KeyPair::generate().unwrap();
    let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
    let leaf = CertificateParams::new(names).unwrap().signed_by(&key, &issuer).unwrap();
    (authority, leaf.pem(), key.serialize_pem())
}

/// No provider is installed for the process here, and none is needed.
#[tokio::test]
async fn speaks_tls_to_whom_its_authorities_vouch_for() {
    let folder = tempfile::tempdir().unwrap();
    let (authority, certificate, key) = certificates();
    let write = |name: &str, text: &str| {
        let path = folder.path().join(name);
        fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    };
    let port = free_port().to_string();
    let (cert, key) = (write("cert.pem", &certificate), write("key.pem", &key));
    let tls = ["--tls-port", &port, "--tls-cert-file", &cert, "--tls-key-file", &key];
    let _server = RedisServer::start(&[&tls[..], &["--tls-auth-clients", "no"]].concat());
    let to = |host: &str, ca_pem: Option<String>| SharedOptions {
        ca_pem,
        // A handshake on a busy machine.
        time: Duration::from_secs(1),
        ..options(format!("rediss://{host}:{port}"))
    };
    for host in ["localhost", "127.0.0.1"] {
        let tested = Tested::new(to(host, Some(authority.clone())));
        assert_eq!(tested.put(&KEY, b"x").await, StoreWrite::Written, "{host}");
        assert_eq!(tested.get(&KEY).await.unwrap(), b"x");
    }
    let (another, _, _) = certificates();
    let system = Shared::new(to("localhost", None), StoreMetrics::default());
    for (what, options) in [
        ("another authority", to("localhost", Some(another))),
        ("another name", to("127.0.0.2", Some(authority.clone()))),
        ("no TLS", options(format!("redis://localhost:{port}"))),
    ] {
        let tested = Tested::new(options);
        assert_eq!(tested.get(&KEY).await, None, "{what}");
        assert_eq!(tested.lookups(StoreLookup::Failure), 1, "{what}");
    }
    // Where the system trusts somebody, it is not this authority.
    if let Ok(system) = system {
        assert_eq!(timeout(LONG, system.get(&KEY)).await.unwrap(), None);
    }
}
