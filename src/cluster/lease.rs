//! Which replica writes: a `coordination.k8s.io` Lease.
//!
//! What is written by the holder is written with preconditions and means the same whoever writes
//! it, so that two holders for a moment do no harm.
use std::future::Future;
use std::time::Duration;

use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::coordination::v1::LeaseSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use kube::Api;
use kube::Client;
use kube::api::ObjectMeta;
use kube::api::PostParams;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::error::one_line;
use crate::server;

/// The times of an election.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timing {
    /// How long a lease lasts that is not renewed. All candidates must agree.
    pub duration: Duration,
    /// How often it is renewed, and looked at by those who do not hold it.
    pub renew: Duration,
    /// How long the holder goes on without renewing: it stops before another may begin.
    pub give_up: Duration,
}

/// As of Kubernetes' own controllers.
impl Default for Timing {
    fn default() -> Self {
        let seconds = Duration::from_secs;
        Self { duration: seconds(15), renew: seconds(5), give_up: seconds(10) }
    }
}

/// Longest time for giving the Lease up: whoever waits for it longer may as well wait for its end.
const RELEASE_TIMEOUT: Duration = Duration::from_secs(2);

/// Takes part in the election for the Lease `namespace/name`, as `identity`, which must be another
/// one for each process, until `stop`. Then the Lease is given up, so that another process need not
/// wait for its end.
///
/// The receiver says whether this process holds the Lease. The future must be polled, and ends
/// within two seconds after `stop`; if it is dropped, the receiver keeps what it said last.
pub fn run<S>(
    client: Client,
    namespace: &str,
    name: &str,
    identity: &str,
    timing: Timing,
    stop: S,
) -> (watch::Receiver<bool>, impl Future<Output = ()> + Send + use<S>)
where
    S: Future<Output = ()> + Send,
{
    let (sender, receiver) = watch::channel(false);
    let mut candidate = Candidate {
        leases: Api::namespaced(client, namespace),
        name: name.to_owned(),
        identity: identity.to_owned(),
        timing,
        seen: None,
        renewed: None,
        failing: false,
    };
    let running = async move {
        tokio::select! {
            () = candidate.run(&sender) => {}
            () = stop => {}
        }
        // Whatever this process still does as the leader ends before another one begins.
        if !sender.send_replace(false) {
            return;
        }
        match tokio::time::timeout(RELEASE_TIMEOUT, candidate.release()).await {
            Ok(Ok(())) => tracing::info!("Gave the lease up"),
            Ok(Err(error)) => {
                tracing::warn!(error = one_line(&error), "The lease could not be given up");
            }
            Err(_) => tracing::warn!("The lease could not be given up in time"),
        }
    };
    (receiver, running)
}

/// One process that wants the Lease.
struct Candidate {
    leases: Api<Lease>,
    name: String,
    identity: String,
    timing: Timing,
    /// The version of the Lease that was seen last, and since when it is unchanged.
    seen: Option<(String, Instant)>,
    /// When the Lease was renewed last, while it is held.
    renewed: Option<Instant>,
    /// Whether the last attempt failed: told once, however long it lasts.
    failing: bool,
}

impl Candidate {
    /// Never ends by itself.
    async fn run(&mut self, sender: &watch::Sender<bool>) {
        let mut every = tokio::time::interval(self.timing.renew);
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            every.tick().await;
            let leading = self.attempt().await;
            sender.send_if_modified(|held| {
                let changed = *held != leading;
                if changed {
                    tracing::info!(leading, "Leadership changed");
                }
                *held = leading;
                changed
            });
        }
    }

    /// Gives the Lease up, if it is still held.
    async fn release(&self) -> Result<(), kube::Error> {
        let Some(mut lease) = self.leases.get_opt(&self.name).await? else { return Ok(()) };
        if holder(&lease) != self.identity {
            return Ok(());
        }
        let spec = lease.spec.get_or_insert_default();
        spec.holder_identity = Some(String::new());
        spec.renew_time = Some(MicroTime(server::now()));
        self.leases.replace(&self.name, &PostParams::default(), &lease).await.map(drop)
    }

    /// Tries to get or to keep the Lease. Returns whether it is held.
    async fn attempt(&mut self) -> bool {
        let Timing { renew, give_up, .. } = self.timing;
        let start = Instant::now();
        // Whoever holds the Lease must know in time that it could not be renewed.
        let until = self.renewed.map_or(start + renew, |renewed| renewed + give_up);
        let result = tokio::time::timeout_at(until, self.ask(start)).await;
        let failed = match result {
            Ok(Ok(held)) => {
                self.renewed = held.then_some(start);
                None
            }
            Ok(Err(error)) => Some(one_line(&error)),
            Err(_) => Some("no answer in time".to_owned()),
        };
        match (&failed, self.failing) {
            (Some(error), false) => tracing::warn!(error, "The lease cannot be asked for"),
            (None, true) => tracing::info!("The lease can be asked for again"),
            (Some(_), true) | (None, false) => {}
        }
        self.failing = failed.is_some();
        if self.renewed.is_some_and(|renewed| renewed.elapsed() >= give_up) {
            self.renewed = None;
        }
        self.renewed.is_some()
    }

    /// Whether the Lease is held now; `false` where another one holds it.
    async fn ask(&mut self, now: Instant) -> Result<bool, kube::Error> {
        let lease = self.leases.get_opt(&self.name).await?;
        let unchanged = lease.as_ref().map_or(Duration::ZERO, |lease| self.look(lease, now));
        let step = decide(lease.as_ref(), &self.identity, unchanged >= self.timing.duration);
        let asked = match (step, lease) {
            (Step::Wait, _) => return Ok(false),
            (Step::Create, _) | (_, None) => {
                let lease = self.claim(Lease::default());
                self.leases.create(&PostParams::default(), &lease).await
            }
            (Step::Renew | Step::TakeOver, Some(lease)) => {
                let lease = self.claim(lease);
                self.leases.replace(&self.name, &PostParams::default(), &lease).await
            }
        };
        match asked {
            Ok(lease) => {
                self.look(&lease, now);
                Ok(true)
            }
            // Another process was faster.
            Err(kube::Error::Api(status)) if status.code == 409 => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// For how long the Lease is unchanged, by the clock of this process.
    fn look(&mut self, lease: &Lease, now: Instant) -> Duration {
        let version = lease.metadata.resource_version.clone().unwrap_or_default();
        match &self.seen {
            Some((seen, since)) if *seen == version => now.saturating_duration_since(*since),
            _ => {
                self.seen = Some((version, now));
                Duration::ZERO
            }
        }
    }

    /// The Lease with this process as its holder. Its version, if it has one, is kept: the write
    /// fails if someone else wrote in between.
    fn claim(&self, mut lease: Lease) -> Lease {
        let now = MicroTime(server::now());
        let held = holder(&lease) == self.identity;
        let spec = lease.spec.take().unwrap_or_default();
        let transitions = spec.lease_transitions.unwrap_or(0);
        let spec = LeaseSpec {
            holder_identity: Some(self.identity.clone()),
            lease_duration_seconds: i32::try_from(self.timing.duration.as_secs().max(1)).ok(),
            acquire_time: if held { spec.acquire_time } else { Some(now.clone()) },
            renew_time: Some(now),
            lease_transitions: Some(transitions.saturating_add(i32::from(!held))),
            ..spec
        };
        let ObjectMeta { name, .. } = &mut lease.metadata;
        *name = Some(self.name.clone());
        Lease { spec: Some(spec), ..lease }
    }
}

fn holder(lease: &Lease) -> &str {
    let spec = lease.spec.as_ref();
    spec.and_then(|spec| spec.holder_identity.as_deref()).unwrap_or_default()
}

/// What to do about a Lease.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Step {
    /// There is none: make one.
    Create,
    /// It is ours: keep it.
    Renew,
    /// It is nobody's, or its holder is gone.
    TakeOver,
    /// It is another's.
    Wait,
}

/// What `identity` does about a Lease. `expired` is whether it has not changed for its duration, as
/// far as this process can tell itself: what the holder's clock says counts for nothing.
fn decide(lease: Option<&Lease>, identity: &str, expired: bool) -> Step {
    match lease.map(holder) {
        None => Step::Create,
        Some(holder) if holder == identity => Step::Renew,
        Some("") => Step::TakeOver,
        Some(_) if expired => Step::TakeOver,
        Some(_) => Step::Wait,
    }
}

#[cfg(test)]
mod tests;
