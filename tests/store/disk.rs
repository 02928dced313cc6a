//! The tier on a volume, with processes that share it or are killed.
use std::io::BufRead as _;
use std::io::BufReader;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;
use tegata::metrics::StoreMetrics;
use tegata::metrics::StoreWrite;
use tegata::metrics::Tier;
use tegata::store::disk::Disk;
use tegata::store::disk::DiskError;
use tegata::store::disk::MIN_CAPACITY;

/// Names the folder that the other process is to use.
const FOLDER: &str = "TEGATA_TEST_STORE_FOLDER";

const READY: &str = "the store is ready";

fn open(folder: &Path) -> Result<Disk, DiskError> {
    Disk::open(folder, MIN_CAPACITY, StoreMetrics::default())
}

/// Another process with the folder open, which has written and is writing.
fn other_process(folder: &Path) -> Child {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "disk::is_another_process", "--ignored", "--nocapture"])
        .env(FOLDER, folder)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.map_while(Result::ok).any(|line| line.contains(READY)), "it ended");
    child
}

#[tokio::test]
#[ignore = "run by other tests, in a process of its own"]
async fn is_another_process() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let disk = open(Path::new(&folder)).unwrap();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    for n in 0..100 {
        disk.put([n; 32], &[n; 5_000], now);
    }
    disk.flush().await;
    disk.put([100; 32], b"waits", now);
    println!("{READY}");
    loop {
        disk.put([101; 32], &[0; 50_000], now);
        disk.flush().await;
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

/// A process whose files cannot grow beyond 12 MiB meets what a full volume is to others.
#[test]
fn a_full_volume_costs_writes_only() {
    let folder = tempfile::tempdir().unwrap();
    let script = "trap '' XFSZ; ulimit -f 24576; exec \"$0\" \"$@\"";
    let status = Command::new("sh")
        .args(["-c", script])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", "disk::has_a_full_volume", "--ignored", "--nocapture"])
        .env(FOLDER, folder.path())
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test]
#[ignore = "run by another test, in a process of its own"]
async fn has_a_full_volume() {
    let folder = std::env::var_os(FOLDER).unwrap();
    let metrics = StoreMetrics::default();
    let disk = Disk::open(Path::new(&folder), 256 << 20, metrics.clone()).unwrap();
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let count = |outcome| metrics.writes(Tier::Disk, outcome);
    let mut n = 0_u32;
    let mut put = async || {
        n += 1;
        let mut key = [0; 32];
        key[..4].copy_from_slice(&n.to_be_bytes());
        disk.put(
            key,
            &[7; 50_000],
            now.saturating_add(SignedDuration::from_secs(n.into())).unwrap(),
        );
        disk.flush().await;
        key
    };
    while count(StoreWrite::Failed) == 0 {
        assert!(disk.bytes() < 64 << 20, "it fits");
        put().await;
    }
    let before = disk.len();
    assert!(before > 50, "{before}");
    put().await;
    assert_eq!(count(StoreWrite::Dropped), 1, "it is left alone");
    // Once it is asked again, the oldest make room.
    let again = async {
        loop {
            let key = put().await;
            if disk.get(&key).await.is_some() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), again).await.unwrap();
    assert!(disk.len() > before / 2, "{} of {before} are left", disk.len());
    let failed = count(StoreWrite::Failed);
    for _ in 0..300 {
        put().await;
    }
    assert_eq!(count(StoreWrite::Failed), failed, "it goes on");
}

#[tokio::test]
async fn a_killed_process_loses_at_most_what_waited() {
    let folder = tempfile::tempdir().unwrap();
    for _ in 0..3 {
        let mut child = other_process(folder.path());
        let error = open(folder.path()).unwrap_err();
        assert!(matches!(error, DiskError::Locked { .. }), "{error:?}");
        child.kill().unwrap();
        child.wait().unwrap();
        let disk = open(folder.path()).unwrap();
        for n in 0..100 {
            assert_eq!(disk.get(&[n; 32]).await.unwrap(), [n; 5_000], "{n}");
        }
        assert!(!folder.path().join("evidence.redb.broken").exists());
    }
}
