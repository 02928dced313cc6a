use std::fs;
use std::io::Read as _;
use std::io::Seek as _;
use std::io::SeekFrom;
use std::io::Write as _;

use tempfile::TempDir;
use tokio::time::Instant;

use super::*;

const FILE: &str = "evidence.redb";
const BROKEN: &str = "evidence.redb.broken";

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn open(folder: &TempDir) -> Disk {
    opened(folder, MIN_CAPACITY, StoreMetrics::default())
}

fn opened(folder: &TempDir, capacity: u64, metrics: StoreMetrics) -> Disk {
    Disk::open(folder.path(), capacity, metrics).unwrap()
}

fn key(n: u64) -> [u8; 32] {
    let mut key = [0; 32];
    key[..8].copy_from_slice(&n.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes());
    key[8..16].copy_from_slice(&n.to_be_bytes());
    key
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + second).unwrap()
}

/// Bytes that differ from record to record, of a length between 1 and `most`.
fn record(n: u64, most: usize) -> Vec<u8> {
    let length = usize::try_from(n.wrapping_mul(7_919)).unwrap() % most + 1;
    n.to_be_bytes().iter().copied().cycle().take(length).collect()
}

fn length(folder: &TempDir) -> u64 {
    fs::metadata(folder.path().join(FILE)).unwrap().len()
}

#[tokio::test]
async fn keeps_records_across_a_restart() {
    let folder = folder();
    let disk = open(&folder);
    for n in 0..500 {
        disk.put(key(n), &record(n, 3_000), at(0));
    }
    disk.put(key(0), b"newer", at(1));
    disk.remove(key(1));
    disk.flush().await;
    let before = (disk.len(), disk.bytes());
    drop(disk);
    let metrics = StoreMetrics::default();
    let disk = opened(&folder, MIN_CAPACITY, metrics.clone());
    assert_eq!((disk.len(), disk.bytes()), before);
    assert_eq!(disk.len(), 499);
    assert_eq!(disk.get(&key(0)).await.unwrap(), b"newer");
    assert_eq!(disk.get(&key(1)).await, None);
    for n in 2..500 {
        assert_eq!(disk.get(&key(n)).await.unwrap(), record(n, 3_000), "{n}");
    }
    assert_eq!(metrics.lookups(Tier::Disk, StoreLookup::Hit), 499);
    assert_eq!(metrics.lookups(Tier::Disk, StoreLookup::Miss), 1);
    assert_eq!(metrics.lookups(Tier::Disk, StoreLookup::Failure), 0);
}

#[tokio::test]
async fn finds_what_waits_to_be_written() {
    let folder = folder();
    let disk = open(&folder);
    disk.put(key(0), b"waits", at(0));
    assert_eq!(disk.get(&key(0)).await.unwrap(), b"waits");
    assert_eq!(disk.len(), 0);
    disk.flush().await;
    assert_eq!(disk.len(), 1);
    disk.remove(key(0));
    assert_eq!(disk.get(&key(0)).await, None);
    disk.flush().await;
    assert!(disk.is_empty());
    assert_eq!(disk.bytes(), 0);
}

#[tokio::test(start_paused = true)]
async fn writes_together_after_a_while_and_at_once_where_there_is_much() {
    let folder = folder();
    let disk = open(&folder);
    let start = Instant::now();
    disk.put(key(0), b"a", at(0));
    disk.put(key(1), b"b", at(0));
    while disk.len() < 2 {
        sleep(Duration::from_millis(10)).await;
    }
    assert!(start.elapsed() >= LINGER);
    let start = Instant::now();
    for n in 2..2_200 {
        disk.put(key(n), b"x", at(0));
    }
    while disk.len() < 2_200 {
        // Not ahead of the thread that writes.
        disk.flush().await;
        tokio::task::yield_now().await;
    }
    assert!(start.elapsed() < LINGER);
}

#[tokio::test]
async fn drops_what_is_too_much() {
    let folder = folder();
    let metrics = StoreMetrics::default();
    let disk = opened(&folder, MIN_CAPACITY, metrics.clone());
    disk.put(key(0), &vec![0; MAX_RECORD_BYTES + 1], at(0));
    assert_eq!(disk.get(&key(0)).await, None);
    // The queue is emptied by nobody meanwhile: this thread is not let go of.
    for n in 0..10_000 {
        disk.put(key(n), b"x", at(0));
    }
    let dropped = metrics.writes(Tier::Disk, StoreWrite::Dropped);
    assert_eq!(dropped, 1 + 10_000 - 4_096);
    disk.flush().await;
    assert_eq!(metrics.writes(Tier::Disk, StoreWrite::Written), 4_096);
    assert_eq!(disk.len(), 4_096);
}

#[test]
fn drops_writes_outside_of_a_runtime() {
    let folder = folder();
    let metrics = StoreMetrics::default();
    opened(&folder, MIN_CAPACITY, metrics.clone()).put(key(0), b"x", at(0));
    assert_eq!(metrics.writes(Tier::Disk, StoreWrite::Dropped), 1);
}

/// Records of any size, many times the capacity, and never a file that is larger.
#[tokio::test]
async fn stays_below_its_capacity_and_evicts_the_oldest() {
    for (capacity, most) in
        [(64 << 20, 2_000), (64 << 20, 90_000), (100 << 20, 90_000), (128 << 20, 900_000)]
    {
        let folder = folder();
        let metrics = StoreMetrics::default();
        let disk = opened(&folder, capacity, metrics.clone());
        let mut n = 0;
        for _ in 0..4 {
            let mut bytes = 0;
            while bytes < capacity / 4 {
                let record = record(n, most);
                bytes += u64::try_from(record.len()).unwrap() + 100;
                disk.put(key(n), &record, at(i64::try_from(n).unwrap()));
                n += 1;
                if disk.inner.queue().is_ample() {
                    disk.flush().await;
                    assert!(length(&folder) <= capacity, "{} of {capacity}", length(&folder));
                    assert!(disk.bytes() <= capacity);
                }
            }
        }
        disk.flush().await;
        assert_eq!(metrics.writes(Tier::Disk, StoreWrite::Failed), 0, "it is not full before that");
        assert!(disk.bytes() > capacity / 4, "it keeps what it may: {}", disk.bytes());
        assert!(disk.get(&key(n - 1)).await == Some(record(n - 1, most)), "the newest");
        assert!(disk.get(&key(0)).await.is_none(), "the oldest");
        let (kept, used) = (disk.len(), disk.bytes());
        drop(disk);
        let disk = opened(&folder, capacity, metrics);
        assert_eq!((disk.len(), disk.bytes()), (kept, used));
    }
}

#[tokio::test]
async fn evicts_by_the_time_of_writing() {
    let folder = folder();
    let disk = open(&folder);
    disk.put(key(0), &[1; 50_000], at(0));
    disk.put(key(1), &[1; 50_000], at(1));
    disk.flush().await;
    for n in 2..200 {
        disk.put(key(n), &[1; 50_000], at(2));
        disk.put(key(0), &[2; 50_000], at(100));
        disk.flush().await;
    }
    for n in 200..520 {
        disk.put(key(n), &[1; 50_000], at(50));
        disk.flush().await;
    }
    assert!(disk.get(&key(1)).await.is_none());
    assert!(disk.get(&key(0)).await.unwrap() == [2; 50_000], "written again, it is young");
}

#[tokio::test]
async fn a_smaller_capacity_begins_anew() {
    let folder = folder();
    let disk = opened(&folder, 512 << 20, StoreMetrics::default());
    for n in 0..1_500 {
        disk.put(key(n), &[1; 50_000], at(0));
        if n % 40 == 0 {
            disk.flush().await;
        }
    }
    disk.flush().await;
    drop(disk);
    assert!(length(&folder) > MIN_CAPACITY);
    let disk = open(&folder);
    assert!(disk.is_empty() && length(&folder) <= MIN_CAPACITY);
    assert!(!folder.path().join(BROKEN).exists());
}

/// Whatever is done to the file while nobody has it open: what was there is lost, and a new one works.
async fn is_set_aside(damage: impl Fn(&mut fs::File, u64)) {
    let folder = folder();
    let disk = open(&folder);
    for n in 0..200 {
        disk.put(key(n), &record(n, 9_000), at(0));
    }
    disk.put(key(1_000), b"anew", at(0));
    disk.flush().await;
    drop(disk);
    for _ in 0..2 {
        let mut file =
            fs::OpenOptions::new().read(true).write(true).open(folder.path().join(FILE)).unwrap();
        damage(&mut file, length(&folder));
        drop(file);
        let disk = open(&folder);
        assert!(folder.path().join(BROKEN).exists());
        assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
        assert_eq!(disk.get(&key(7)).await, None);
        disk.put(key(7), b"anew", at(0));
        disk.flush().await;
        drop(disk);
        assert_eq!(open(&folder).get(&key(7)).await.unwrap(), b"anew");
    }
}

#[tokio::test]
async fn a_truncated_file_is_set_aside() {
    is_set_aside(|file, length| file.set_len(length / 2).unwrap()).await;
    is_set_aside(|file, _| file.set_len(100).unwrap()).await;
}

#[tokio::test]
async fn garbage_is_set_aside() {
    is_set_aside(|file, length| {
        file.set_len(0).unwrap();
        file.write_all(&vec![0x5a; usize::try_from(length).unwrap()]).unwrap();
    })
    .await;
    is_set_aside(|file, _| {
        file.set_len(0).unwrap();
        file.write_all(b"no database").unwrap();
    })
    .await;
}

#[tokio::test]
async fn garbage_in_the_middle_is_set_aside() {
    is_set_aside(|file, length| {
        // Every second page: some of them are in use.
        for page in (2..length / 4_096).step_by(2) {
            file.seek(SeekFrom::Start(page * 4_096)).unwrap();
            file.write_all(&[0xa5; 4_096]).unwrap();
        }
    })
    .await;
}

/// One that no walk through the trees stumbles over.
#[tokio::test]
async fn a_changed_byte_in_a_record_is_set_aside() {
    is_set_aside(|file, _| {
        let mut content = Vec::new();
        file.read_to_end(&mut content).unwrap();
        let found = content.windows(4).enumerate().filter(|(_, window)| *window == b"anew");
        let places: Vec<usize> = found.map(|(place, _)| place).collect();
        assert!(!places.is_empty());
        for place in places {
            file.seek(SeekFrom::Start(place.try_into().unwrap())).unwrap();
            file.write_all(b"A").unwrap();
        }
    })
    .await;
}

/// The same while it is open: each lookup has an answer, and sooner or later it works again.
#[tokio::test]
async fn garbage_written_while_it_is_open_costs_records_only() {
    let folder = folder();
    let disk = opened(&folder, 64 << 20, StoreMetrics::default());
    // More than the database keeps in memory.
    for n in 0..400 {
        disk.put(key(n), &[7; 30_000], at(0));
        if n % 40 == 0 {
            disk.flush().await;
        }
    }
    disk.flush().await;
    let mut file = fs::OpenOptions::new().write(true).open(folder.path().join(FILE)).unwrap();
    file.seek(SeekFrom::Start(4_096)).unwrap();
    file.write_all(&vec![0xa5; usize::try_from(length(&folder) - 4_096).unwrap()]).unwrap();
    let mut good = 0;
    for n in 0..400 {
        good += usize::from(disk.get(&key(n)).await.is_some_and(|found| found == [7; 30_000]));
    }
    assert!(good < 400, "some pages were not in memory");
    let works = async {
        loop {
            disk.put(key(1_000), b"anew", at(0));
            disk.flush().await;
            if disk.get(&key(1_000)).await.is_some_and(|found| found == b"anew") {
                return;
            }
            sleep(Duration::from_millis(100)).await;
        }
    };
    timeout(Duration::from_secs(60), works).await.unwrap();
}

#[tokio::test]
async fn a_file_that_somebody_enlarged_is_begun_anew() {
    let folder = folder();
    drop(open(&folder));
    let path = folder.path().join(FILE);
    fs::OpenOptions::new().write(true).open(path).unwrap().set_len(1 << 40).unwrap();
    let disk = open(&folder);
    assert!(length(&folder) <= MIN_CAPACITY);
    disk.put(key(0), b"x", at(0));
    disk.flush().await;
    assert_eq!(disk.get(&key(0)).await.unwrap(), b"x");
}

#[tokio::test]
async fn loses_what_waits_and_no_more_when_it_is_dropped() {
    let folder = folder();
    let disk = open(&folder);
    disk.put(key(0), b"flushed", at(0));
    disk.flush().await;
    disk.put(key(1), b"waits", at(0));
    drop(disk);
    let disk = open(&folder);
    assert_eq!(disk.get(&key(0)).await.unwrap(), b"flushed");
    assert_eq!(disk.get(&key(1)).await, None);
}

#[test]
fn refuses_a_file_in_use() {
    let folder = folder();
    let disk = open(&folder);
    let error = Disk::open(folder.path(), MIN_CAPACITY, StoreMetrics::default()).unwrap_err();
    assert!(matches!(error, DiskError::Locked { .. }), "{error:?}");
    assert!(!folder.path().join(BROKEN).exists());
    drop(disk);
    open(&folder);
}

#[test]
fn refuses_folders_that_cannot_be_written_to() {
    let folder = folder();
    let file = folder.path().join("file");
    fs::write(&file, "x").unwrap();
    // Not even root may create files in the last.
    for path in [file.as_path(), &file.join("below"), Path::new("/sys/kernel")] {
        let error = Disk::open(path, MIN_CAPACITY, StoreMetrics::default()).unwrap_err();
        assert!(matches!(error, DiskError::Unwritable { .. }), "{error:?}");
        assert!(error.to_string().contains("mount a volume there"), "{error}");
    }
    let error = Disk::open(folder.path(), MIN_CAPACITY - 1, StoreMetrics::default()).unwrap_err();
    assert!(matches!(error, DiskError::Capacity { .. }), "{error:?}");
}
