//! One configuration, for a day.
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use anyhow::Context as _;
use tegata::store::Settings;
use tegata::verdict::Verdict;
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

/// After so many rejections somebody reads what they say, and stops.
const REJECTIONS: usize = 4;

/// What is compared.
#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) label: String,
    pub(crate) replicas: usize,
    /// `None` for a controller that keeps nothing.
    pub(crate) settings: Option<Settings>,
    /// What the registry that counts allows.
    pub(crate) limit: Limit,
}

/// Runs a day.
///
/// # Errors
/// Where there is no runtime.
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
    Ok(runtime.block_on(day(world, pods, setup, seed)))
}

async fn day(world: &Arc<World>, pods: &[Pod], setup: &Setup, seed: u64) -> Figures {
    let began = Instant::now();
    let cluster = Arc::new(Cluster::new(world, setup, seed));
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
    settings: Option<Settings>,
    /// `None` for one that is away.
    replicas: Mutex<Vec<Option<Arc<Replica>>>>,
    random: Mutex<Random>,
    tally: Mutex<Tally>,
}

fn lock<T>(of: &Mutex<T>) -> MutexGuard<'_, T> {
    of.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cluster {
    fn new(world: &Arc<World>, setup: &Setup, seed: u64) -> Self {
        let Setup { label: _, replicas, settings, limit } = setup;
        let servers = Arc::new(Servers::new(Arc::clone(world), *limit, seed));
        let start = |_| Some(Arc::new(Replica::start(&servers, *settings)));
        let replicas = Mutex::new((0..*replicas).map(start).collect());
        let (settings, random) = (*settings, Mutex::new(Random::new(seed)));
        Self { servers, settings, replicas, random, tally: Mutex::default() }
    }

    /// Creates a pod, as often as it takes.
    async fn create(self: Arc<Self>, pod: Pod) {
        let (first, longest) = RETRY;
        let (mut pause, mut rejections) = (first, 0);
        loop {
            match self.ask(&pod).await {
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
    async fn ask(&self, pod: &Pod) -> Option<Verdict> {
        let asked = self.servers.now();
        let Some(replica) = self.replica() else {
            lock(&self.tally).unanswered(asked);
            return None;
        };
        let checked = replica.admit(pod).await;
        let span = asked..self.servers.now();
        let max_age = self.settings.map(|settings| settings.max_age);
        Some(lock(&self.tally).answer(&self.servers.world, pod, span, &checked, max_age))
    }

    fn replica(&self) -> Option<Arc<Replica>> {
        let up: Vec<_> = lock(&self.replicas).iter().flatten().cloned().collect();
        lock(&self.random).pick(&up).cloned()
    }

    /// Ends and starts replicas.
    async fn disturb(self: Arc<Self>) {
        let began = Instant::now();
        sleep_until(began + CRASH).await;
        self.put(0, None);
        sleep_until(began + CRASH + AWAY).await;
        self.put(0, Some(Replica::start(&self.servers, self.settings)));
        sleep_until(began + RESTART).await;
        let replicas = lock(&self.replicas).len();
        for number in 0..replicas {
            self.put(number, Some(Replica::start(&self.servers, self.settings)));
            tokio::time::sleep(NEXT).await;
        }
    }

    fn put(&self, number: usize, replica: Option<Replica>) {
        if let Some(place) = lock(&self.replicas).get_mut(number) {
            *place = replica.map(Arc::new);
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
