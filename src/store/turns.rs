//! Turns at a registry: who may fetch next, where more want to than may at a time.
//!
//! Each host has its own queue. Those that wait are served one tenant after the other, and of one
//! tenant the earliest deadline first, so that a namespace that starts a thousand pods delays the
//! first pod of another by one turn of each tenant at most. Where the queue is full, whoever takes most
//! of it gives way. Over all hosts a tenant has a share of turns, beyond which its fetches wait, so
//! that hosts which never answer keep nobody else from their own. Nothing here runs in the background: whoever ends hands on its turn, and whoever
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
/// that run at once name fewer. Where there are so many, somebody makes them up: whoever asks few
/// hosts ([`FEW_HOSTS`]) is let in all the same.
pub const MAX_HOSTS: usize = 1_024;

/// Hosts that a tenant may ask whatever the others do. An application's images come from three or
/// four.
pub const FEW_HOSTS: usize = 8;

/// Most turns of one tenant at all hosts together: all those of four hosts. Whoever names hosts that
/// do not answer uses up their own share.
pub const MAX_TENANT_RUNNING: usize = 64;

/// Most fetches of one tenant that wait, at all hosts together: as many as wait for one host, whose
/// images alone would not be fetched within any request's time.
pub const MAX_TENANT_WAITING: usize = 1_024;

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
    /// Too many hosts are asked at a time, and this tenant asks more than a few.
    #[error(
        "{host} is not asked: evidence is being fetched from {MAX_HOSTS} other hosts, \
         of which {tenant} asks {FEW_HOSTS} or more"
    )]
    Hosts {
        /// The host.
        host: String,
        /// The tenant.
        tenant: String,
    },
    /// The deadline passed.
    #[error("no turn to fetch from {host} in time: {running} fetches at a time are allowed")]
    Late {
        /// The host.
        host: String,
        /// How many run at a time.
        running: usize,
    },
    /// As many fetches of this tenant wait as may, at all hosts together.
    #[error("{waiting} fetches of {tenant} from all hosts are waiting already")]
    Share {
        /// The tenant.
        tenant: String,
        /// How many wait.
        waiting: usize,
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
    bounds: Bounds,
    queues: Mutex<Queues>,
}

/// How many may.
#[derive(Clone, Copy, Debug)]
struct Bounds {
    /// Turns at one host.
    running: usize,
    /// Places to wait for one host.
    waiting: usize,
    /// Turns of one tenant.
    tenant_running: usize,
    /// Places to wait of one tenant.
    tenant_waiting: usize,
}

/// Where one waits within its tenant: the earliest deadline first, of equal ones the first to come.
type Place = (Instant, u64);

/// How one that waits is told.
type Answer = Result<(), TurnError>;

/// All queues. Invariant: somebody waits only while all turns of the host are taken, or all those of
/// the tenant.
#[derive(Debug)]
struct Queues {
    bounds: Bounds,
    arrivals: u64,
    hosts: HashMap<String, Host>,
    tenants: HashMap<String, Tenant>,
    /// Hosts with turns given out.
    busy: usize,
}

/// The queue of one host. Invariant: a tenant is in `order` once if it has somebody waiting, else
/// not at all.
#[derive(Debug, Default)]
struct Host {
    running: usize,
    waiting: usize,
    tenants: HashMap<String, BTreeMap<Place, oneshot::Sender<Answer>>>,
    order: VecDeque<String>,
}

/// What one tenant has at all hosts together.
#[derive(Debug, Default)]
struct Tenant {
    running: usize,
    waiting: usize,
    /// How many run or wait at each host.
    hosts: BTreeMap<String, usize>,
}

impl Turns {
    /// Queues with `running` turns at a time and `waiting` places for each host.
    pub fn new(running: usize, waiting: usize) -> Self {
        Self::within(Bounds {
            running: running.max(1),
            waiting,
            tenant_running: MAX_TENANT_RUNNING,
            tenant_waiting: MAX_TENANT_WAITING,
        })
    }

    fn within(bounds: Bounds) -> Self {
        let queues = Mutex::new(Queues {
            bounds,
            arrivals: 0,
            hosts: HashMap::new(),
            tenants: HashMap::new(),
            busy: 0,
        });
        Self { shared: Arc::new(Shared { bounds, queues }) }
    }

    /// Waits for a turn at `host`, at most until `until`.
    ///
    /// # Errors
    /// When there is none by then, or no place to wait.
    pub async fn turn(&self, host: &str, tenant: &str, until: Instant) -> Result<Turn, TurnError> {
        match self.shared.enter(host, tenant, until)? {
            None => Ok(self.shared.begin(host, tenant)),
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
        if until <= Instant::now() {
            return Err(self.late(host));
        }
        let mut queues = self.queues();
        if queues.is_one_host_too_many(host, tenant) {
            return Err(TurnError::Hosts { host: host.to_owned(), tenant: tenant.to_owned() });
        }
        if queues.may_begin(host, tenant) {
            queues.begin(host, tenant);
            return Ok(None);
        }
        queues.make_room(host, tenant)?;
        let (tell, told) = oneshot::channel();
        Ok(Some((queues.join(host, tenant, until, tell), told)))
    }

    fn begin(self: &Arc<Self>, host: &str, tenant: &str) -> Turn {
        Turn { shared: self.clone(), host: host.to_owned(), tenant: tenant.to_owned() }
    }

    /// Hands a turn on to whoever is next, at the host or of the tenant, or takes it back.
    fn end(&self, host: &str, tenant: &str) {
        let now = Instant::now();
        let mut queues = self.queues();
        queues.end(host, tenant);
        self.serve(&mut queues, host, now);
        while let Some(other) = queues.waits_for_share(tenant) {
            self.serve(&mut queues, &other, now);
        }
    }

    /// Gives out the turns of a host that may be given out.
    fn serve(&self, queues: &mut Queues, host: &str, now: Instant) {
        while let Some((tenant, (until, _), tell)) = queues.next(host) {
            let answer = if until > now { Ok(()) } else { Err(self.late(host)) };
            let is_turn = answer.is_ok();
            if tell.send(answer).is_ok() && is_turn {
                queues.begin(host, &tenant);
            }
        }
    }

    fn late(&self, host: &str) -> TurnError {
        TurnError::Late { host: host.to_owned(), running: self.bounds.running }
    }

    fn queues(&self) -> MutexGuard<'_, Queues> {
        self.queues.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Queues {
    /// Whether there are hosts enough without this one, for one who asks more than a few.
    fn is_one_host_too_many(&self, host: &str, tenant: &str) -> bool {
        let is_asked = self.hosts.get(host).is_some_and(|queue| queue.running > 0);
        let asks = self.tenants.get(tenant).map_or(0, |tenant| tenant.hosts.len());
        !is_asked && self.busy >= MAX_HOSTS && asks >= FEW_HOSTS
    }

    fn may_begin(&self, host: &str, tenant: &str) -> bool {
        let running = self.hosts.get(host).map_or(0, |queue| queue.running);
        running < self.bounds.running && self.has_share(tenant)
    }

    /// Whether the tenant may have one more turn, wherever it is.
    fn has_share(&self, tenant: &str) -> bool {
        let running = self.tenants.get(tenant).map_or(0, |tenant| tenant.running);
        running < self.bounds.tenant_running
    }

    /// A place to wait; where there is none, whoever takes most of the host's gives way.
    fn make_room(&mut self, host: &str, tenant: &str) -> Result<(), TurnError> {
        let Bounds { waiting, tenant_waiting, .. } = self.bounds;
        if self.tenants.get(tenant).is_some_and(|tenant| tenant.waiting >= tenant_waiting) {
            let (tenant, waiting) = (tenant.to_owned(), tenant_waiting);
            return Err(TurnError::Share { tenant, waiting });
        }
        let Some(queue) = self.hosts.get(host).filter(|queue| queue.waiting >= waiting) else {
            return Ok(());
        };
        let newest = queue.crowd(tenant).and_then(|crowd| {
            let place = queue.newest(&crowd)?;
            Some((crowd, place))
        });
        let error = |tenant: &str| {
            let (host, tenant) = (host.to_owned(), tenant.to_owned());
            TurnError::Crowded { host, tenant, waiting }
        };
        let Some((crowd, place)) = newest else { return Err(error(tenant)) };
        let tell = self.take(host, &crowd, place).ok_or_else(|| error(tenant))?;
        // Whoever has gone needs no telling.
        drop(tell.send(Err(error(&crowd))));
        Ok(())
    }

    fn begin(&mut self, host: &str, tenant: &str) {
        let queue = self.hosts.entry(host.to_owned()).or_default();
        self.busy += usize::from(queue.running == 0);
        queue.running += 1;
        self.enter(host, tenant).running += 1;
    }

    fn end(&mut self, host: &str, tenant: &str) {
        if let Some(queue) = self.hosts.get_mut(host) {
            queue.running = queue.running.saturating_sub(1);
            self.busy -= usize::from(queue.running == 0);
        }
        if let Some(of) = self.tenants.get_mut(tenant) {
            of.running = of.running.saturating_sub(1);
        }
        self.leave(host, tenant);
    }

    fn join(
        &mut self,
        host: &str,
        tenant: &str,
        until: Instant,
        tell: oneshot::Sender<Answer>,
    ) -> Place {
        let place = (until, self.arrivals);
        self.arrivals += 1;
        self.enter(host, tenant).waiting += 1;
        self.hosts.entry(host.to_owned()).or_default().join(tenant, place, tell);
        place
    }

    /// Takes one out of the queue, if it is still there.
    fn take(&mut self, host: &str, tenant: &str, place: Place) -> Option<oneshot::Sender<Answer>> {
        let tell = self.hosts.get_mut(host)?.take(tenant, place)?;
        if let Some(of) = self.tenants.get_mut(tenant) {
            of.waiting = of.waiting.saturating_sub(1);
        }
        self.leave(host, tenant);
        Some(tell)
    }

    /// The next to be given a turn at a host, taken out of the queue; its tenant goes to the end of
    /// the order. Who has no share left keeps its place in it.
    fn next(&mut self, host: &str) -> Option<(String, Place, oneshot::Sender<Answer>)> {
        let queue = self.hosts.get(host).filter(|queue| queue.running < self.bounds.running)?;
        let next = queue.order.iter().position(|tenant| self.has_share(tenant))?;
        let queue = self.hosts.get_mut(host)?;
        let tenant = queue.order.remove(next)?;
        queue.order.push_back(tenant.clone());
        let place = *queue.tenants.get(&tenant)?.keys().next()?;
        let tell = self.take(host, &tenant, place)?;
        Some((tenant, place, tell))
    }

    /// The host that has a turn for a tenant which waited for its own share alone; of several, that
    /// of the earliest deadline.
    fn waits_for_share(&self, tenant: &str) -> Option<String> {
        let of = self.tenants.get(tenant).filter(|_| self.has_share(tenant))?;
        let places = of.hosts.keys().filter_map(|host| {
            let queue = self.hosts.get(host).filter(|host| host.running < self.bounds.running)?;
            let (place, _) = queue.tenants.get(tenant)?.first_key_value()?;
            Some((place, host))
        });
        places.min().map(|(_, host)| host.clone())
    }

    /// Counts one more of a tenant's at a host.
    fn enter(&mut self, host: &str, tenant: &str) -> &mut Tenant {
        let of = self.tenants.entry(tenant.to_owned()).or_default();
        *of.hosts.entry(host.to_owned()).or_default() += 1;
        of
    }

    /// Counts one less, and forgets who has none.
    fn leave(&mut self, host: &str, tenant: &str) {
        if let Some(of) = self.tenants.get_mut(tenant) {
            let left = of.hosts.get(host).map_or(0, |count| count.saturating_sub(1));
            if left > 0 {
                of.hosts.insert(host.to_owned(), left);
            } else {
                of.hosts.remove(host);
            }
            if of.hosts.is_empty() {
                self.tenants.remove(tenant);
            }
        }
        if self.hosts.get(host).is_some_and(|queue| queue.running + queue.waiting == 0) {
            self.hosts.remove(host);
        }
    }
}

impl Host {
    fn join(&mut self, tenant: &str, place: Place, tell: oneshot::Sender<Answer>) {
        self.waiting += 1;
        let waiting = self.tenants.entry(tenant.to_owned()).or_default();
        if waiting.is_empty() {
            self.order.push_back(tenant.to_owned());
        }
        waiting.insert(place, tell);
    }

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

    /// The last of a tenant's to have come.
    fn newest(&self, tenant: &str) -> Option<Place> {
        self.tenants.get(tenant)?.keys().max_by_key(|(_, arrival)| *arrival).copied()
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
        answer.map(|()| self.shared.begin(&self.host, &self.tenant))
    }
}

impl Drop for Waits {
    fn drop(&mut self) {
        if self.settled {
            return;
        }
        let left = self.shared.queues().take(&self.host, &self.tenant, self.place);
        // Not in the queue any more, and so it was told: by now, as that happens under the lock.
        if left.is_none() && matches!(self.told.try_recv(), Ok(Ok(()))) {
            self.shared.end(&self.host, &self.tenant);
        }
    }
}

/// A turn; dropped, it goes to whoever is next.
#[derive(Debug)]
#[must_use = "the turn ends when it is dropped"]
pub struct Turn {
    shared: Arc<Shared>,
    host: String,
    tenant: String,
}

impl Drop for Turn {
    fn drop(&mut self) {
        self.shared.end(&self.host, &self.tenant);
    }
}

#[cfg(test)]
mod tests;
