//! The pods of a day, and what else happens in it.
use std::ops::Range;
use std::sync::Arc;
use std::time::Duration;

use crate::random::Random;
use crate::world::Image;
use crate::world::Size;
use crate::world::Workload;
use crate::world::World;

/// A day, as the clock has it.
pub(crate) const DAY: Duration = hours(24.0);

/// The company's registry does not answer at all.
pub(crate) const OUTAGE: Range<Duration> = hours(11.0)..hours(11.5);

/// The public registry takes forty times as long.
pub(crate) const BROWN_OUT: Range<Duration> = hours(15.0)..hours(16.0);

/// All nodes are replaced, and with them every pod.
const UPGRADE: Range<Duration> = hours(1.0)..hours(5.0);

/// One replica of Tegata ends without notice.
pub(crate) const CRASH: Duration = hours(10.0);

/// All replicas are replaced, one after the other: the new one is ready before the old one ends.
pub(crate) const RESTART: Duration = hours(14.0);

/// How much happens in each hour, as parts of the busiest one.
const CURVE: [f64; 24] = [
    0.1, 0.1, 0.1, 0.1, 0.1, 0.15, 0.3, 0.5, 0.8, 1.0, 1.0, 0.9, 0.7, 0.9, 1.0, 1.0, 0.9, 0.7, 0.5,
    0.4, 0.3, 0.2, 0.15, 0.1,
];

/// Pods of the workloads that are rolled out several times a day.
const BUSY: std::ops::RangeInclusive<u64> = 50..=500;

/// Pods in a day that autoscalers add, in a whole cluster.
const SCALED: u64 = 40_000;

/// Nodes lost in a day, in a whole cluster.
const NODES: u64 = 24;

/// Pods that come back at once from a lost node, and within how many milliseconds.
const NODE: (u64, u64) = (200, 30_000);

/// CronJobs of a whole cluster.
const CRON_JOBS: u64 = 400;

/// How many of pods have a sidecar.
const WITH_SIDECAR: f64 = 0.6;

const fn hours(hours: f64) -> Duration {
    Duration::from_secs((hours * 3600.0) as u64)
}

/// One pod that is created.
#[derive(Clone, Debug)]
pub(crate) struct Pod {
    /// No other has it.
    pub(crate) number: u64,
    pub(crate) at: Duration,
    pub(crate) workload: Arc<Workload>,
    pub(crate) image: Arc<Image>,
    pub(crate) sidecar: Option<Arc<Image>>,
}

/// When a workload with so many pods is rolled out: those of [`BUSY`] size three times a day, of the
/// rest one in ten once.
pub(crate) fn rollouts(random: &mut Random, pods: u64) -> Vec<Duration> {
    let times = match BUSY.contains(&pods) {
        true => 3,
        false => u64::from(random.chance(0.1)),
    };
    let mut begins: Vec<_> = (0..times).map(|_| in_the_day(random)).collect();
    begins.sort();
    begins
}

/// A time that is likelier where more happens.
fn in_the_day(random: &mut Random) -> Duration {
    loop {
        let at = DAY.mul_f64(random.unit());
        let hour = (at.as_secs() / 3600) as usize;
        if CURVE.get(hour).is_some_and(|share| random.chance(*share)) {
            return at;
        }
    }
}

/// All pods that are created in a day, in their order.
pub(crate) fn pods(world: &World, size: Size, seed: u64) -> Vec<Pod> {
    let mut day = Day { world, random: Random::new(seed), pods: Vec::new() };
    let running = day.running();
    day.upgrade(running.clone());
    day.rollouts();
    day.cron_jobs(size);
    for _ in 0..size.of(SCALED) {
        let at = in_the_day(&mut day.random);
        day.pod_of(&running, at);
    }
    for _ in 0..size.of(NODES) {
        let lost = in_the_day(&mut day.random);
        for _ in 0..NODE.0 {
            let at = lost + Duration::from_millis(day.random.below(NODE.1));
            day.pod_of(&running, at);
        }
    }
    day.pods.sort_by_key(|pod| pod.at);
    day.pods
}

struct Day<'a> {
    world: &'a World,
    random: Random,
    pods: Vec<Pod>,
}

impl Day<'_> {
    /// The workload of each pod that runs.
    fn running(&self) -> Vec<Arc<Workload>> {
        let of_workload =
            |workload: &Arc<Workload>| (0..workload.pods).map(|_| Arc::clone(workload)).collect();
        self.world.workloads.iter().flat_map::<Vec<_>, _>(of_workload).collect()
    }

    fn pod_of(&mut self, running: &[Arc<Workload>], at: Duration) {
        if let Some(workload) = self.random.pick(running) {
            self.pod(&Arc::clone(workload), at);
        }
    }

    fn pod(&mut self, workload: &Arc<Workload>, at: Duration) {
        let Some(image) = workload.image(at).cloned() else { return };
        let sidecar = match self.random.chance(WITH_SIDECAR) {
            true => self.random.pick(&self.world.sidecars).cloned(),
            false => None,
        };
        let number = self.pods.len() as u64;
        self.pods.push(Pod { number, at, workload: Arc::clone(workload), image, sidecar });
    }

    fn upgrade(&mut self, mut running: Vec<Arc<Workload>>) {
        self.random.shuffle(&mut running);
        let time = UPGRADE.end - UPGRADE.start;
        let each = time / u32::try_from(running.len()).unwrap_or(u32::MAX).max(1);
        for (number, workload) in (0..).zip(&running) {
            self.pod(workload, UPGRADE.start + each * number);
        }
    }

    /// Ten pods a second, as a large maxSurge lets them.
    fn rollouts(&mut self) {
        for workload in &self.world.workloads {
            for (begins, _) in workload.versions.iter().skip(1) {
                for number in 0..workload.pods {
                    let at = *begins + Duration::from_millis(100 * number);
                    self.pod(workload, at);
                }
            }
        }
    }

    /// At full minutes, as people write them: every 5, 15, 30 or 60.
    fn cron_jobs(&mut self, size: Size) {
        let small = self.world.workloads.iter().rev();
        for workload in small.take(size.of(CRON_JOBS) as usize) {
            let minutes = self.random.pick(&[5, 15, 30, 60]).map_or(60, |minutes| *minutes);
            let every = Duration::from_secs(minutes * 60);
            let times = u32::try_from(24 * 60 / minutes).unwrap_or_default();
            for number in 0..times {
                // The controller takes up to two seconds for all that are due.
                let at = every * number + Duration::from_millis(self.random.below(2_000));
                self.pod(workload, at);
            }
        }
    }
}
