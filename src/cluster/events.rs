//! Events on the workloads that were denied, or would have been, and on trust roots.
//!
//! An Event is for the person who looks at a workload that does not start, who wonders what a
//! policy would deny once it is enforced, or why a trust root is as it is. It is a hint, never the
//! record (that is the log), and no request waits for one: [`Events`] queues, a task of its own
//! writes. What cannot be queued, paid for or written is counted and forgotten.
//!
//! | part | does |
//! |---|---|
//! | [`note`] | a decision to a note: which object, which reason, which text |
//! | [`ledger`] | a note and the time to what is to be written: once, then counted |
//! | [`budget`] | how much may be written, in each namespace and in all |
//! | [`roots`] | how trust roots stand to notes: what went wrong, what recovered, what changed |
//! | `write` | what is to be written to requests to the API server |
//!
//! Events are `core/v1`: `kubectl describe` and `kubectl get events` read that API, and its counts
//! and times sort in every tool. In RBAC that is `create` and `patch` on `events` of the group
//! `""`, in every namespace.
//!
//! What the Event is about is the requester's word. That is why one is written in the namespace of
//! the request and nowhere else; an Event that names an object which is not there, or not that
//! one, shows nowhere and harms nobody.
//!
//! Every replica tells of its own decisions. Trust roots they all follow alike, so that only the
//! elected one tells of these.
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use tokio::sync::mpsc;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

use self::ledger::Ledger;
use self::note::Note;
use self::roots::Standings;
use self::write::Writer;
use super::watch::Report;
use crate::admission::Decision;
use crate::admission::Request;
use crate::admission::review::Endpoint;
use crate::metrics::EventOutcome;
use crate::metrics::Metrics;
use crate::server;
use crate::server::Observe;

pub mod budget;
pub mod ledger;
pub mod note;
pub mod roots;
mod write;

/// Most notes that wait to be written. Each takes up to 3 KiB; a burst of denials longer than this
/// is told by the log alone.
const MAX_QUEUED: usize = 512;

/// How often counts that have changed are looked at.
const FLUSH_EVERY: Duration = Duration::from_secs(10);

/// Who reports, as people see it in the Event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Reporter {
    /// The component, for example `tegata`.
    pub component: String,
    /// The replica: the name of its pod.
    pub instance: String,
}

/// Queues an Event for each decision that calls for one.
#[derive(Debug)]
pub struct Events {
    queue: mpsc::Sender<Note>,
    metrics: Metrics,
}

impl Events {
    /// An observer of decisions, and the task that writes what it queues. The task never ends by
    /// itself; nothing is written before it is polled.
    pub fn start(
        client: Client,
        reporter: Reporter,
        metrics: Metrics,
    ) -> (Arc<Self>, impl Future<Output = ()> + Send + 'static) {
        let (queue, notes) = mpsc::channel(MAX_QUEUED);
        let task = run(notes, Writer::new(client, reporter), metrics.clone());
        (Arc::new(Self { queue, metrics }), task)
    }
}

impl Events {
    /// Tells of trust roots what `reports` say of them, while `leader` says that this replica
    /// does. Never ends by itself.
    pub async fn of_trust_roots(
        self: Arc<Self>,
        mut reports: watch::Receiver<Arc<Vec<Report>>>,
        mut leader: watch::Receiver<bool>,
    ) {
        let mut standings = Standings::default();
        loop {
            let leads = *leader.borrow_and_update();
            let current = Arc::clone(&reports.borrow_and_update());
            standings.notes(&current, leads).into_iter().for_each(|note| self.queue(note));
            let open = tokio::select! {
                changed = reports.changed() => changed.is_ok(),
                changed = leader.changed() => changed.is_ok(),
            };
            if !open {
                // The process is stopping, and what told of it has ended before us.
                std::future::pending::<()>().await;
            }
        }
    }

    fn queue(&self, note: Note) {
        if self.queue.try_send(note).is_err() {
            self.metrics.event(EventOutcome::Dropped);
        }
    }
}

impl Observe for Events {
    fn decided(&self, endpoint: Endpoint, request: &Request, decision: &Decision) {
        if let Some(note) = Note::of(endpoint, request, decision) {
            self.queue(note);
        }
    }
}

async fn run(mut notes: mpsc::Receiver<Note>, writer: Writer, metrics: Metrics) {
    let mut ledger = Ledger::new(server::now());
    let mut flush = tokio::time::interval(FLUSH_EVERY);
    flush.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        let writes = tokio::select! {
            note = notes.recv() => match note {
                Some(note) => {
                    let noted = ledger.note(note, server::now());
                    if let Some(outcome) = noted.outcome() {
                        metrics.event(outcome);
                    }
                    noted.write().into_iter().collect()
                }
                // The server is stopping, and whoever awaits this task is told of its end as of
                // a failure.
                None => std::future::pending().await,
            },
            _ = flush.tick() => ledger.due(server::now()),
        };
        for write in writes {
            let outcome = writer.write(&write).await;
            if outcome == EventOutcome::Failed {
                ledger.forget(write.note());
            }
            metrics.event(outcome);
        }
    }
}

#[cfg(test)]
mod tests;
