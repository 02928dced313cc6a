//! How much is asked of one server at a time.
use std::fmt;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;

use super::limits::MAX_CONCURRENT_REQUESTS;
use super::options::HostOptions;

/// What a budget lets through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Limits {
    concurrent: usize,
    per_second: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrent: MAX_CONCURRENT_REQUESTS, per_second: None }
    }
}

impl From<&HostOptions> for Limits {
    fn from(options: &HostOptions) -> Self {
        Self {
            concurrent: options
                .max_concurrent
                .map_or(MAX_CONCURRENT_REQUESTS, |n| usize::from(n.get())),
            per_second: options.requests_per_second.map(|n| u32::from(n.get())),
        }
    }
}

/// The setting whose limit is reached, for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Spent {
    Concurrent(usize),
    PerSecond(u32),
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrent(limit) => write!(f, "maxConcurrent {limit}"),
            Self::PerSecond(limit) => write!(f, "requestsPerSecond {limit}"),
        }
    }
}

/// The budget of one server.
#[derive(Debug)]
pub(super) struct Budget {
    limits: Limits,
    turns: Semaphore,
    /// When the requests so far would have been sent, had they been spread evenly.
    sent_until: Mutex<Option<Instant>>,
}

impl Budget {
    pub(super) fn new(limits: Limits) -> Self {
        Self { limits, turns: Semaphore::new(limits.concurrent), sent_until: Mutex::default() }
    }

    /// Waits for a turn, at most until `until`.
    ///
    /// # Errors
    /// The limit that left no turn.
    pub(super) async fn turn(&self, until: Instant) -> Result<SemaphorePermit<'_>, Spent> {
        let Limits { concurrent, per_second } = self.limits;
        if let Some(limit) = per_second {
            let at = self.slot(limit, Instant::now(), until).ok_or(Spent::PerSecond(limit))?;
            tokio::time::sleep_until(at.into()).await;
        }
        match tokio::time::timeout_at(until.into(), self.turns.acquire()).await {
            // A turn that comes free as the time ends was waited for in vain.
            Ok(Ok(turn)) if Instant::now() < until => Ok(turn),
            Ok(_) | Err(_) => Err(Spent::Concurrent(concurrent)),
        }
    }

    /// When the next request may be sent: a second's worth at once, then evenly spread. Nothing is
    /// taken where that is later than `until`.
    fn slot(&self, per_second: u32, now: Instant, until: Instant) -> Option<Instant> {
        const BURST: Duration = Duration::from_secs(1);
        let spacing = BURST / per_second.max(1);
        let mut sent_until = self.sent_until.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = sent_until.map_or(now, |sent_until| sent_until.max(now));
        let after = begins + spacing;
        let at = after.checked_sub(BURST).map_or(now, |at| at.max(now));
        if at > until {
            return None;
        }
        *sent_until = Some(after);
        Some(at)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_goes_at_once_and_the_rest_is_spread() {
        let budget = Budget::new(Limits::default());
        let now = Instant::now();
        let far = now + Duration::from_secs(60);
        let waits: Vec<_> =
            (0..7).map(|_| (budget.slot(4, now, far).unwrap() - now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 250, 500, 750]);
        // Too late for its deadline, and so it takes nothing from those after it.
        assert_eq!(budget.slot(4, now, now + Duration::from_millis(999)), None);
        assert_eq!(budget.slot(4, now, far), Some(now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(30);
        assert_eq!(budget.slot(4, later, far), Some(later));
    }

    #[tokio::test]
    async fn names_the_limit_that_is_reached() {
        let soon = || Instant::now() + Duration::from_millis(20);
        let budget = Budget::new(Limits { concurrent: 1, per_second: None });
        let turn = budget.turn(soon()).await.unwrap();
        assert_eq!(budget.turn(soon()).await.unwrap_err(), Spent::Concurrent(1));
        drop(turn);
        assert!(budget.turn(soon()).await.is_ok());
        let budget = Budget::new(Limits { concurrent: 1, per_second: Some(1) });
        assert!(budget.turn(soon()).await.is_ok());
        assert_eq!(budget.turn(soon()).await.unwrap_err(), Spent::PerSecond(1));
    }
}
