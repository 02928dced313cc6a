//! Verdicts do not depend on the tiers: what they hold, or whether they answer.
use std::fs;
use std::path::Path;
use std::time::Duration;

use jiff::ToSpan as _;
use redis::Commands as _;
use redis::Connection;
use tegata::metrics::StoreMetrics;
use tegata::store::Disk;
use tegata::store::Shared;
use tegata::store::SharedOptions;
use tegata::store::Tiers;
use tegata::verdict::Reason;
use tokio::time::sleep;

use super::redis_server::RedisServer;
use crate::signed_cluster::Cluster;
use crate::signed_cluster::by_digest;
use crate::signed_cluster::digest;
use crate::signed_cluster::reason;
use crate::signed_cluster::soon;
use crate::signed_cluster::start;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Key;

/// How long the shared store is waited for.
const TIME: Duration = Duration::from_millis(200);

fn on_disk(folder: &Path) -> Tiers {
    let disk = Disk::open(folder, 64 << 20, StoreMetrics::default()).unwrap();
    Tiers { disk: Some(disk), ..Tiers::default() }
}

fn on(server: &RedisServer) -> Tiers {
    let options = SharedOptions { url: server.url(), time: TIME, ..SharedOptions::default() };
    let shared = Shared::new(options, StoreMetrics::default()).unwrap();
    Tiers { shared: Some(shared), ..Tiers::default() }
}

/// The names of the records of both images, once they are there.
async fn names(connection: &mut Connection) -> Vec<String> {
    loop {
        let names: Vec<String> = connection.keys("*").unwrap();
        if names.len() >= 2 {
            return names;
        }
        sleep(Duration::from_millis(10)).await;
    }
}

/// A cluster with a good and a bad image, both looked at once through `tiers`.
async fn seen(tiers: Tiers) -> Cluster {
    let mut cluster = Cluster::new();
    cluster.attach(&digest("good"), &cluster.key);
    cluster.attach(&digest("bad"), &Key::generate(Algorithm::P256));
    cluster.restart(tiers);
    as_the_registry_has_it(&cluster).await;
    cluster
}

async fn as_the_registry_has_it(cluster: &Cluster) {
    let decision = cluster.admit(&by_digest("good")).await;
    assert!(decision.allowed, "{}", decision.message);
    for (name, wanted) in [("bad", Reason::SignatureInvalid), ("new", Reason::SignatureAbsent)] {
        assert_eq!(reason(&cluster.admit(&by_digest(name)).await), Some(wanted), "{name}");
    }
}

/// Only what was verified before is admitted, and nothing is refused for good.
async fn as_in_an_outage(cluster: &Cluster) {
    assert!(cluster.admit(&by_digest("good")).await.allowed);
    for name in ["bad", "new"] {
        let decision = cluster.admit(&by_digest(name)).await;
        assert!(!decision.allowed && decision.retry, "{name}: {}", decision.message);
    }
}

#[tokio::test]
async fn a_restart_during_an_outage_loses_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let tiers = on_disk(folder.path());
    let mut cluster = seen(tiers.clone()).await;
    tiers.flush().await;
    cluster.restart(Tiers::default());
    drop(tiers);
    cluster.set(|held| held.down = true);
    assert!(!cluster.admit(&by_digest("good")).await.allowed, "nothing is left in memory");
    cluster.restart(on_disk(folder.path()));
    let asked = cluster.fetches();
    assert!(cluster.admit(&by_digest("good")).await.allowed);
    assert_eq!(cluster.fetches(), asked);
    as_in_an_outage(&cluster).await;
}

/// Whoever may write to a volume must not be believed for as long as a registry; and an outage after a
/// restart makes no review slow.
#[tokio::test]
async fn what_a_volume_gave_is_judged_again_at_its_next_use_and_then_once_a_minute() {
    let folder = tempfile::tempdir().unwrap();
    let tiers = on_disk(folder.path());
    let mut cluster = seen(tiers.clone()).await;
    tiers.flush().await;
    cluster.restart(Tiers::default());
    drop(tiers);
    cluster.set(|held| held.down = true);
    cluster.restart(on_disk(folder.path()));
    let pod = Cluster::request("Pod", &by_digest("good"));
    for minute in 0..3 {
        let now = start() + minute.minutes();
        let judge = async || cluster.admission.admit(&pod, &cluster.snapshot, now, soon()).await;
        let known = |now| cluster.admission.admit_known(&pod, &cluster.snapshot, now).is_some();
        if minute == 0 {
            assert!(judge().await.allowed);
        }
        assert!(!known(now), "{minute}");
        assert!(judge().await.allowed);
        assert!(known(now) && known(now + 59.seconds()), "{minute}");
    }
}

#[tokio::test]
async fn a_damaged_disk_costs_a_look_at_the_registry() {
    let folder = tempfile::tempdir().unwrap();
    let tiers = on_disk(folder.path());
    let mut cluster = seen(tiers.clone()).await;
    tiers.flush().await;
    cluster.restart(Tiers::default());
    drop(tiers);
    for file in fs::read_dir(folder.path()).unwrap() {
        let path = file.unwrap().path();
        let mut bytes = fs::read(&path).unwrap();
        for byte in bytes.iter_mut().skip(4096).step_by(97) {
            *byte ^= 0x55;
        }
        fs::write(&path, bytes).unwrap();
    }
    cluster.restart(on_disk(folder.path()));
    let asked = cluster.fetches();
    as_the_registry_has_it(&cluster).await;
    assert!(cluster.fetches() > asked);
}

/// What another replica has seen is enough in an outage.
#[tokio::test]
async fn replicas_stand_in_for_a_registry() {
    let server = RedisServer::start(&[]);
    let mut cluster = seen(on(&server)).await;
    names(&mut server.connect()).await;
    cluster.restart(on(&server));
    cluster.set(|held| held.down = true);
    assert!(cluster.admit(&by_digest("good")).await.allowed);
    as_in_an_outage(&cluster).await;
}

#[tokio::test]
async fn garbage_in_the_shared_store_changes_no_verdict() {
    for garbage in [&b""[..], b"garbage", &[0xff; 70_000]] {
        let server = RedisServer::start(&[]);
        let mut cluster = seen(on(&server)).await;
        let mut connection = server.connect();
        for name in names(&mut connection).await {
            let () = connection.set(name, garbage).unwrap();
        }
        cluster.restart(on(&server));
        let asked = cluster.fetches();
        as_the_registry_has_it(&cluster).await;
        assert_eq!(cluster.fetches(), asked + 3);
    }
}

/// Somebody exchanges records: each answers another question, and is not used.
#[tokio::test]
async fn a_good_record_under_another_key_changes_no_verdict() {
    let server = RedisServer::start(&[]);
    let mut cluster = seen(on(&server)).await;
    let mut connection = server.connect();
    let names = names(&mut connection).await;
    let records: Vec<Vec<u8>> = names.iter().map(|name| connection.get(name).unwrap()).collect();
    for (name, record) in names.iter().zip(records.iter().cycle().skip(1)) {
        let () = connection.set(name, record.as_slice()).unwrap();
    }
    cluster.restart(on(&server));
    let asked = cluster.fetches();
    as_the_registry_has_it(&cluster).await;
    assert_eq!(cluster.fetches(), asked + 3);
}

#[tokio::test]
async fn a_shared_store_that_is_killed_or_slow_changes_no_verdict() {
    let mut server = RedisServer::start(&[]);
    let mut cluster = seen(on(&server)).await;
    let tiers = on(&server);
    cluster.restart(tiers.clone());
    as_the_registry_has_it(&cluster).await;
    server.signal("STOP");
    cluster.restart(tiers.clone());
    as_the_registry_has_it(&cluster).await;
    server.signal("CONT");
    server.kill();
    for tiers in [tiers, on(&server)] {
        cluster.restart(tiers);
        as_the_registry_has_it(&cluster).await;
    }
}
