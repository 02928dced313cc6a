//! Turns at a registry: who may fetch next, where more want to than may at a time.
//!
//! Each host has its own queue. Those that wait are served one tenant after the other, and of one
//! tenant the earliest deadline first, so that a namespace that starts a thousand pods delays the
//! first pod of another by one turn of each tenant at most. Where the queue is full, whoever takes most
//! of it gives way. Nothing here runs in the background: whoever ends hands on its turn, and whoever
//! gives up leaves the queue, by being dropped.
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use tokio::sync::oneshot;
use tokio::time::Instant;

use crate::verdict::Failure;
use crate::verdict::Reason;

/// Most hosts with turns given out at a time. A cluster uses some ten; the checks of all requests
/// that run at once name fewer.
pub const MAX_HOSTS: usize = 1_024;

/// Why there is no turn. Each is worth a retry.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TurnError {
    /// The queue is full, and this tenant takes most of it.
    #[error("{waiting} fetches from {host} are waiting already, most of them of {tenant}")]
    Crowded {
        /// The host.
        host: String,
        /// The tenant.
        tenant: String,
        /// How many wait.
        waiting: usize,
    },
    /// More hosts are asked than are kept apart.
    #[error("{host} is not asked: evidence is being fetched from {MAX_HOSTS} other hosts")]
    Hosts {
        /// The host.
        host: String,
    },
    /// The deadline passed.
    #[error("no turn to fetch from {host} in time: {running} fetches at a time are allowed")]
    Late {
        /// The host.
        host: String,
        /// How many run at a time.
        running: usize,
    },
}

impl TurnError {
    /// The failure that people and policies see: never a verdict about the image.
    pub fn failure(&self) -> Failure {
        Failure::new(Reason::Overloaded, self)
    }
}

/// The queues of all hosts. Clones are the same queues.
#[derive(Clone, Debug)]
pub struct Turns {
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    running: usize,
    waiting: usize,
    hosts: Mutex<HashMap<String, Host>>,
}

/// Where one waits within its tenant: the earliest deadline first, of equal ones the first to come.
type Place = (Instant, u64);

/// How one that waits is told.
type Answer = Result<(), TurnError>;

/// The queue of one host. Invariants: somebody waits only while all turns are taken; a tenant is in
/// `order` once if it has somebody waiting, else not at all.
#[derive(Debug, Default)]
struct Host {
    running: usize,
    waiting: usize,
    arrivals: u64,
    tenants: HashMap<String, BTreeMap<Place, oneshot::Sender<Answer>>>,
    order: VecDeque<String>,
}

impl Turns {
    /// Queues with `running` turns at a time and `waiting` places for each host.
    pub fn new(running: usize, waiting: usize) -> Self {
        let hosts = Mutex::default();
        Self { shared: Arc::new(Shared { running: running.max(1), waiting, hosts }) }
    }

    /// Waits for a turn at `host`, at most until `until`.
    ///
    /// # Errors
    /// When there is none by then, or no place to wait.
    pub async fn turn(&self, host: &str, tenant: &str, until: Instant) -> Result<Turn, TurnError> {
        match self.shared.enter(host, tenant, until)? {
            None => Ok(self.shared.begin(host)),
            Some((place, told)) => {
                let (shared, host, tenant) = (self.shared.clone(), host.into(), tenant.into());
                let waits = Waits { shared, host, tenant, place, told, settled: false };
                waits.turn(until).await
            }
        }
    }
}

impl Shared {
    /// Takes a turn, or a place in the queue.
    fn enter(
        &self,
        host: &str,
        tenant: &str,
        until: Instant,
    ) -> Result<Option<(Place, oneshot::Receiver<Answer>)>, TurnError> {
        let Self { running, waiting, .. } = *self;
        if until <= Instant::now() {
            return Err(self.late(host));
        }
        let mut hosts = self.hosts();
        if !hosts.contains_key(host) && hosts.len() >= MAX_HOSTS {
            return Err(TurnError::Hosts { host: host.to_owned() });
        }
        let queue = hosts.entry(host.to_owned()).or_default();
        if queue.running < running {
            queue.running += 1;
            return Ok(None);
        }
        if queue.waiting >= waiting {
            let crowd = queue.crowd(tenant);
            let tenant = crowd.clone().unwrap_or_else(|| tenant.to_owned());
            let error = TurnError::Crowded { host: host.to_owned(), tenant, waiting };
            match crowd.and_then(|tenant| queue.take_newest(&tenant)) {
                // Whoever has gone needs no telling.
                Some(newest) => drop(newest.send(Err(error))),
                None => return Err(error),
            }
        }
        let (tell, told) = oneshot::channel();
        Ok(Some((queue.join(tenant, until, tell), told)))
    }

    fn begin(self: &Arc<Self>, host: &str) -> Turn {
        Turn { shared: self.clone(), host: host.to_owned() }
    }

    /// Hands a turn on to whoever is next, or takes it back.
    fn end(&self, host: &str) {
        let now = Instant::now();
        let mut hosts = self.hosts();
        let Some(queue) = hosts.get_mut(host) else { return };
        while let Some(((until, _), tell)) = queue.next() {
            let answer = if until > now { Ok(()) } else { Err(self.late(host)) };
            let is_turn = answer.is_ok();
            if tell.send(answer).is_ok() && is_turn {
                return;
            }
        }
        queue.running = queue.running.saturating_sub(1);
        if queue.running == 0 {
            hosts.remove(host);
        }
    }

    fn late(&self, host: &str) -> TurnError {
        TurnError::Late { host: host.to_owned(), running: self.running }
    }

    fn hosts(&self) -> MutexGuard<'_, HashMap<String, Host>> {
        self.hosts.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Host {
    fn join(&mut self, tenant: &str, until: Instant, tell: oneshot::Sender<Answer>) -> Place {
        let place = (until, self.arrivals);
        self.arrivals += 1;
        self.waiting += 1;
        let waiting = self.tenants.entry(tenant.to_owned()).or_default();
        if waiting.is_empty() {
            self.order.push_back(tenant.to_owned());
        }
        waiting.insert(place, tell);
        place
    }

    /// The next to be served, taken out of the queue; its tenant goes to the end of the order.
    fn next(&mut self) -> Option<(Place, oneshot::Sender<Answer>)> {
        let tenant = self.order.front()?.clone();
        self.order.rotate_left(1);
        let place = *self.tenants.get(&tenant)?.keys().next()?;
        self.take(&tenant, place).map(|tell| (place, tell))
    }

    /// Takes one out of the queue, if it is still there.
    fn take(&mut self, tenant: &str, place: Place) -> Option<oneshot::Sender<Answer>> {
        let waiting = self.tenants.get_mut(tenant)?;
        let tell = waiting.remove(&place)?;
        self.waiting -= 1;
        if waiting.is_empty() {
            self.tenants.remove(tenant);
            self.order.retain(|one| one != tenant);
        }
        Some(tell)
    }

    /// The tenant that has more waiting than `tenant` would have with one more, if one has: the
    /// largest of them, of equals the first by name.
    fn crowd(&self, tenant: &str) -> Option<String> {
        let own = self.tenants.get(tenant).map_or(0, BTreeMap::len) + 1;
        let sizes = self.tenants.iter().map(|(name, waiting)| (waiting.len(), name));
        let largest = sizes.max_by(|(left, a), (right, b)| left.cmp(right).then(b.cmp(a)));
        largest.filter(|(size, _)| *size > own).map(|(_, name)| name.clone())
    }

    /// Takes out the last of a tenant's to have come.
    fn take_newest(&mut self, tenant: &str) -> Option<oneshot::Sender<Answer>> {
        let places = self.tenants.get(tenant)?.keys();
        let newest = *places.max_by_key(|(_, arrival)| *arrival)?;
        self.take(tenant, newest)
    }
}

/// One that waits. Dropped, it leaves the queue, or hands on the turn that it was given just then.
#[derive(Debug)]
struct Waits {
    shared: Arc<Shared>,
    host: String,
    tenant: String,
    place: Place,
    told: oneshot::Receiver<Answer>,
    /// Whether the answer has been taken.
    settled: bool,
}

impl Waits {
    async fn turn(mut self, until: Instant) -> Result<Turn, TurnError> {
        let Ok(Ok(answer)) = tokio::time::timeout_at(until, &mut self.told).await else {
            return Err(self.shared.late(&self.host));
        };
        self.settled = true;
        answer.map(|()| self.shared.begin(&self.host))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let mut hosts = self.shared.hosts();
        let left = hosts.get_mut(&self.host).and_then(|host| host.take(&self.tenant, self.place));
        drop(hosts);
        // Not in the queue any more, and so it was told: by now, as that happens under the lock.
        if left.is_none() && matches!(self.told.try_recv(), Ok(Ok(()))) {
            self.shared.end(&self.host);
        }
    }
}

/// A turn; dropped, it goes to whoever is next.
#[derive(Debug)]
#[must_use = "the turn ends when it is dropped"]
pub struct Turn {
    shared: Arc<Shared>,
    host: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.end(&self.host);
    }
}

#[cfg(test)]
mod tests;
