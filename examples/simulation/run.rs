//! One configuration, for a day.
use std::num::NonZeroU16;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context as _;
use tegata::metrics::StoreMetrics;
use tegata::store::Disk;
use tegata::store::Settings;
use tegata::store::Tiers;
use tegata::verdict::Verdict;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio::time::sleep_until;

use crate::day::CRASH;
use crate::day::DAY;
use crate::day::Pod;
use crate::day::RESTART;
use crate::figures::Figures;
use crate::figures::Tally;
use crate::random::Random;
use crate::replica::Replica;
use crate::servers::Limit;
use crate::servers::Servers;
use crate::world::World;

/// How long a replica that ended without notice is away: its lease, a start, the first list of
/// policies.
const AWAY: Duration = Duration::from_secs(15);

/// Between two replicas that are replaced.
const NEXT: Duration = Duration::from_secs(60);

/// How often it is looked how much is kept.
const LOOK: Duration = Duration::from_secs(600);

/// Between a controller's tries to create a pod: at first, and at most. Those of Kubernetes begin with
/// milliseconds, and wait for 1,000 seconds in the end.
const RETRY: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(1_000));

/// Bytes of each volume: for everything, and as much again.
const CAPACITY: u64 = 512 << 20;

/// After so many rejections somebody reads what they say, and stops.
const REJECTIONS: usize = 4;

/// What is compared.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) label: String,
    pub(crate) replicas: usize,
    /// `None` for a controller that keeps nothing.
    pub(crate) settings: Option<Settings>,
    /// Where else evidence is kept than in memory.
    pub(crate) volume: Volume,
    /// Most requests of a replica to a registry in a second.
    pub(crate) per_second: Option<NonZeroU16>,
    /// What the registry that counts allows.
    pub(crate) limit: Limit,
}

/// Where evidence is kept beyond memory.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Volume {
    /// Each replica has a volume of its own, also after a restart.
    Each,
    Nowhere,
    /// One for all. It stands for a server that they share: that one answers over a network, which
    /// knows no other clock than the real one.
    One,
}

impl Volume {
    /// What each replica keeps evidence in.
    fn open(self, folder: &Path, replicas: usize) -> anyhow::Result<Vec<Tiers>> {
        let disk = |name: &str| {
            let folder = folder.join(name);
            std::fs::create_dir(&folder).with_context(|| format!("{}", folder.display()))?;
            let disk = Disk::open(&folder, CAPACITY, StoreMetrics::default())?;
            anyhow::Ok(Tiers { disk: Some(disk), ..Tiers::default() })
        };
        match self {
            Self::Each => (0..replicas).map(|number| disk(&number.to_string())).collect(),
            Self::Nowhere => Ok(vec![Tiers::default(); replicas]),
            Self::One => Ok(vec![disk("all")?; replicas]),
        }
    }
}

/// Runs a day.
///
/// # Errors
/// Where there is no runtime, or no folder for volumes.
pub(crate) fn run(
    world: &Arc<World>,
    pods: &[Pod],
    setup: &Setup,
    seed: u64,
) -> anyhow::Result<Figures> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .context("a runtime")?;
    let folder = TempDir::new().context("a folder")?;
    let tiers = setup.volume.open(folder.path(), setup.replicas)?;
    Ok(runtime.block_on(day(world, pods, setup, tiers, seed)))
}

async fn day(
    world: &Arc<World>,
    pods: &[Pod],
    setup: &Setup,
    tiers: Vec<Tiers>,
    seed: u64,
) -> Figures {
    let began = Instant::now();
    let cluster = Arc::new(Cluster::new(world, setup.clone(), tiers, seed));
    let mut tasks = JoinSet::new();
    tasks.spawn(Arc::clone(&cluster).disturb());
    tasks.spawn(Arc::clone(&cluster).watch());
    for pod in pods {
        sleep_until(began + pod.at).await;
        tasks.spawn(Arc::clone(&cluster).create(pod.clone()));
        while tasks.try_join_next().is_some() {}
    }
    while tasks.join_next().await.is_some() {}
    let tally = lock(&cluster.tally).clone();
    Figures::new(&setup.label, tally, cluster.servers.asked())
}

struct Cluster {
    servers: Arc<Servers>,
    setup: Setup,
    tiers: Vec<Tiers>,
    /// `None` for one that is away.
    replicas: Mutex<Vec<Option<Arc<Replica>>>>,
    seed: u64,
    tally: Mutex<Tally>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    fn new(world: &Arc<World>, setup: Setup, tiers: Vec<Tiers>, seed: u64) -> Self {
        let servers = Arc::new(Servers::new(Arc::clone(world), setup.limit, seed));
        let start = |tiers: &Tiers| Replica::start(&servers, &setup, tiers.clone());
        let replicas = tiers.iter().map(|tiers| Some(Arc::new(start(tiers)))).collect();
        let replicas = Mutex::new(replicas);
        Self { servers, setup, tiers, replicas, seed, tally: Mutex::default() }
    }

    /// Creates a pod, as often as it takes.
    async fn create(self: Arc<Self>, pod: Pod) {
        let (first, longest) = RETRY;
        let (mut pause, mut rejections) = (first, 0);
        for number in 0.. {
            match self.ask(&pod, number).await {
                Some(Verdict::Verified) => return,
                Some(Verdict::Rejected) => rejections += 1,
                Some(Verdict::Indeterminate) | None => {}
            }
            if rejections == REJECTIONS {
                return;
            }
            if self.servers.now() + pause >= DAY {
                lock(&self.tally).left();
                return;
            }
            tokio::time::sleep(pause).await;
            pause = longest.min(pause * 2);
        }
    }

    /// One AdmissionReview, to whichever replica the API server's connection leads.
    async fn ask(&self, pod: &Pod, number: u64) -> Option<Verdict> {
        let asked = self.servers.now();
        let Some(replica) = self.replica(pod, number) else {
            lock(&self.tally).unanswered(asked);
            return None;
        };
        let checked = replica.admit(pod).await;
        let span = asked..self.servers.now();
        let settings = self.setup.settings;
        Some(lock(&self.tally).answer(&self.servers.world, pod, span, &checked, settings))
    }

    fn replica(&self, pod: &Pod, number: u64) -> Option<Arc<Replica>> {
        let up: Vec<_> = lock(&self.replicas).iter().flatten().cloned().collect();
        Random::of([self.seed, pod.number, number, 0]).pick(&up).cloned()
    }

    /// Ends and starts replicas.
    async fn disturb(self: Arc<Self>) {
        let began = Instant::now();
        sleep_until(began + CRASH).await;
        self.put(0, None);
        sleep_until(began + CRASH + AWAY).await;
        self.start(0);
        sleep_until(began + RESTART).await;
        for number in 0..self.tiers.len() {
            self.start(number);
            tokio::time::sleep(NEXT).await;
        }
    }

    /// Puts a new replica in the place of an old one, with the volume of the old one.
    fn start(&self, number: usize) {
        let Some(tiers) = self.tiers.get(number) else { return };
        self.put(number, Some(Arc::new(Replica::start(&self.servers, &self.setup, tiers.clone()))));
    }

    fn put(&self, number: usize, replica: Option<Arc<Replica>>) {
        if let Some(place) = lock(&self.replicas).get_mut(number) {
            *place = replica;
        }
    }

    /// Looks now and then how much the replicas keep.
    async fn watch(self: Arc<Self>) {
        while self.servers.now() < DAY {
            let replicas: Vec<_> = lock(&self.replicas).iter().flatten().cloned().collect();
            for replica in replicas {
                let held = replica.held().await;
                lock(&self.tally).held(held);
            }
            tokio::time::sleep(LOOK).await;
        }
    }
}
