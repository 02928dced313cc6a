//! Servers that do not answer are left alone for a while.
//!
//! What is no answer, and how much it proves:
//! - *unreached*: no connection. It says the same of every repository. So many in a row shut the
//!   server for all, and one request at a time, after a pause, finds out whether it is back.
//! - *unanswered*: a connection, and a status of a server's failure, or no status for as long as
//!   [`super::limits::SILENCE`]. That may be the fault of one repository (a list of referrers that somebody
//!   made long, a path that leads to a slow server behind a shared name), and whoever may push must not
//!   shut the registry for others. So it takes a longer row, from several repositories, and shuts
//!   out only those that took part in it: any other repository is still asked, and its answer
//!   ends it for all.
//!
//! Any answer ends a row, also a refusal, an absence, a limit on the rate. A body that comes slowly
//! has been answered for. A wait that its caller cut short, or that our own budget or the lookups of
//! other names ended, proves nothing. What a registry leads us to (redirects, token services) counts for that registry alone.
use std::collections::BTreeSet;
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

use super::limits::FIRST_REST;
use super::limits::MAX_REST;
use super::limits::MAX_SUSPECTS;
use super::limits::MIN_SUSPECTS;
use super::limits::UNANSWERED;
use super::limits::UNREACHED;

/// Longest text kept of a failure, in characters: a server chooses parts of it.
const MAX_PROBLEM: usize = 200;

/// Why a request got no answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Silence {
    /// The server failed, or did not say anything.
    Unanswered,
    /// There was no connection.
    Unreached,
}

/// Why a request is not sent.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Refusal {
    /// How long the server has not answered.
    pub silent: Duration,
    /// The last failure.
    pub problem: String,
    /// When it is asked again; `None` where a request is on its way to find out.
    pub again: Option<Duration>,
}

/// What is known of one server.
#[derive(Debug, Default)]
pub struct Breaker {
    hasher: RandomState,
    row: Mutex<Row>,
}

/// Failures since the last answer.
#[derive(Debug, Default)]
struct Row {
    unanswered: u32,
    unreached: u32,
    /// The repositories that were asked for in vain, as hashes.
    suspects: BTreeSet<u64>,
    rest: Option<Rest>,
}

/// The server is left alone.
#[derive(Debug)]
struct Rest {
    since: Instant,
    /// How long each pause is by now.
    pause: Duration,
    again: Instant,
    /// Whether a request is on its way to find out.
    probing: bool,
    problem: String,
}

/// What a request may do.
enum Way {
    Probe,
    Send,
    Wait(Refusal),
}

impl Breaker {
    /// Leave to send a request for `repository` now.
    ///
    /// # Errors
    /// When the server is left alone.
    pub fn pass(&self, repository: &str) -> Result<Pass<'_>, Refusal> {
        let repository = self.hasher.hash_one(repository);
        let mut row = self.row();
        let probe = match row.way(repository, Instant::now()) {
            Way::Wait(refusal) => return Err(refusal),
            Way::Send => false,
            Way::Probe => true,
        };
        if let Some(rest) = row.rest.as_mut().filter(|_| probe) {
            rest.probing = true;
        }
        Ok(Pass { breaker: self, repository, probe })
    }

    /// Whether [`Self::pass`] would be refused now; for those that have yet to wait for a turn.
    ///
    /// # Errors
    /// As [`Self::pass`].
    pub fn look(&self, repository: &str) -> Result<(), Refusal> {
        match self.row().way(self.hasher.hash_one(repository), Instant::now()) {
            Way::Wait(refusal) => Err(refusal),
            Way::Probe | Way::Send => Ok(()),
        }
    }

    fn row(&self) -> MutexGuard<'_, Row> {
        self.row.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Row {
    fn way(&self, repository: u64, now: Instant) -> Way {
        let Some(Rest { since, again, probing, problem, pause: _ }) = &self.rest else {
            return Way::Send;
        };
        if self.unreached < UNREACHED && !self.suspects(repository) {
            return Way::Send;
        }
        if !probing && *again <= now {
            return Way::Probe;
        }
        Way::Wait(Refusal {
            silent: now.saturating_duration_since(*since),
            problem: problem.clone(),
            again: (!probing).then(|| again.saturating_duration_since(now)),
        })
    }

    /// Whether a repository has taken part. Where there is no room to know, all have.
    fn suspects(&self, repository: u64) -> bool {
        self.suspects.len() >= MAX_SUSPECTS || self.suspects.contains(&repository)
    }

    fn fail(&mut self, repository: u64, silence: Silence) {
        match silence {
            Silence::Unanswered => {
                self.unanswered = self.unanswered.saturating_add(1);
                // There was a connection.
                self.unreached = 0;
            }
            Silence::Unreached => self.unreached = self.unreached.saturating_add(1),
        }
        if self.suspects.len() < MAX_SUSPECTS {
            self.suspects.insert(repository);
        }
    }

    fn is_long(&self) -> bool {
        let all = self.unanswered.saturating_add(self.unreached);
        self.unreached >= UNREACHED || all >= UNANSWERED && self.suspects.len() >= MIN_SUSPECTS
    }
}

/// Leave to send one request. Dropped without a word, it proves nothing, and the next one may find
/// out.
#[derive(Debug)]
pub struct Pass<'a> {
    breaker: &'a Breaker,
    repository: u64,
    probe: bool,
}

impl Pass<'_> {
    /// The server answered.
    pub fn answered(self) {
        *self.breaker.row() = Row::default();
    }

    /// It did not.
    pub fn failed(self, silence: Silence, problem: &str) {
        let now = Instant::now();
        let problem: String = problem.chars().take(MAX_PROBLEM).collect();
        let mut row = self.breaker.row();
        row.fail(self.repository, silence);
        let is_long = row.is_long();
        match &mut row.rest {
            Some(rest) => {
                rest.problem = problem;
                if self.probe {
                    rest.pause = (rest.pause * 2).min(MAX_REST);
                    rest.again = now + rest.pause;
                }
            }
            None if is_long => {
                let (pause, again) = (FIRST_REST, now + FIRST_REST);
                row.rest = Some(Rest { since: now, pause, again, probing: false, problem });
            }
            None => {}
        }
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        if let Some(rest) = self.breaker.row().rest.as_mut().filter(|_| self.probe) {
            rest.probing = false;
        }
    }
}

#[cfg(test)]
mod tests;
