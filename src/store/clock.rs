//! The present, for what has an age.
use jiff::SignedDuration;
use jiff::Timestamp;
use tokio::time::Instant;

/// A clock that moves with the runtime's: it never goes back, and stands where a test or a simulation
/// has stopped the runtime's.
#[derive(Clone, Copy, Debug)]
pub struct Clock {
    started: Timestamp,
    at: Instant,
}

impl Clock {
    /// A clock that shows `now`, and goes on from there.
    pub fn starting_at(now: Timestamp) -> Self {
        Self { started: now, at: Instant::now() }
    }

    /// What it shows.
    pub fn now(&self) -> Timestamp {
        let passed = SignedDuration::try_from(self.at.elapsed()).unwrap_or(SignedDuration::MAX);
        self.started.saturating_add(passed).unwrap_or(Timestamp::MAX)
    }
}
