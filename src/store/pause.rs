//! Leaves alone what does not answer, for a pause that grows with each failure, and then lets one
//! probe find out whether it is back.
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tokio::time::Instant;

/// The pause after a first failure: a restart takes about as long.
pub(super) const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// The longest pause. A tier that is back is of use again within so long, and one that stays away
/// costs one time-out in so long.
pub(super) const MAX_PAUSE: Duration = Duration::from_secs(30);

/// Whether something may be asked.
#[derive(Debug, Default)]
pub(super) struct Pauses {
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// Grows with each change between asking and leaving alone. What was asked before the last
    /// one says nothing any more.
    epoch: u64,
    /// How many failures in a row began a pause.
    failures: u32,
    /// When the pause ends; none where all may ask.
    until: Option<Instant>,
    /// Whether a probe is under way.
    probing: bool,
}

impl Pauses {
    /// Leave to ask; none during a pause, and after it only for one at a time until that one has
    /// succeeded.
    pub(super) fn enter(&self) -> Option<Pass<'_>> {
        let mut state = self.state();
        let probe = match state.until {
            None => false,
            Some(until) if state.probing || Instant::now() < until => return None,
            Some(_) => true,
        };
        state.probing = probe;
        Some(Pass { pauses: self, epoch: state.epoch, probe })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Leave to ask once. Dropped without a result it changes nothing: whoever gave up early has
/// learnt nothing.
#[derive(Debug)]
pub(super) struct Pass<'a> {
    pauses: &'a Pauses,
    epoch: u64,
    probe: bool,
}

impl Pass<'_> {
    /// There was an answer.
    pub(super) fn succeeded(self) {
        let mut state = self.pauses.state();
        if self.probe && state.epoch == self.epoch {
            *state = State { epoch: state.epoch + 1, ..State::default() };
        }
    }

    /// There was none. Returns the pause that begins with it, where one does: of many that fail
    /// together one counts.
    pub(super) fn failed(self) -> Option<Duration> {
        let mut state = self.pauses.state();
        if state.epoch != self.epoch {
            return None;
        }
        let failures = state.failures.saturating_add(1);
        let pause = pause_after(failures);
        let until = Some(Instant::now() + pause);
        *state = State { epoch: state.epoch + 1, failures, until, probing: false };
        Some(pause)
    }
}

impl Drop for Pass<'_> {
    fn drop(&mut self) {
        let mut state = self.pauses.state();
        if self.probe && state.epoch == self.epoch {
            state.probing = false;
        }
    }
}

fn pause_after(failures: u32) -> Duration {
    let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_PAUSE.saturating_mul(factor).min(MAX_PAUSE)
}

#[cfg(test)]
mod tests {
    use tokio::time::advance;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_failure_begins_a_pause_and_one_probe_ends_it() {
        let pauses = Pauses::default();
        assert_eq!(pauses.enter().unwrap().failed(), Some(FIRST_PAUSE));
        assert!(pauses.enter().is_none());
        advance(FIRST_PAUSE - Duration::from_millis(1)).await;
        assert!(pauses.enter().is_none());
        advance(Duration::from_millis(1)).await;
        let probe = pauses.enter().unwrap();
        assert!(pauses.enter().is_none(), "one probe at a time");
        probe.succeeded();
        let passes = (pauses.enter(), pauses.enter());
        assert!(passes.0.is_some() && passes.1.is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn pauses_grow_to_a_bound_and_are_short_again_after_a_success() {
        let pauses = Pauses::default();
        let mut seconds = Vec::new();
        for _ in 0..8 {
            let pause = pauses.enter().unwrap().failed().unwrap();
            seconds.push(pause.as_secs());
            advance(pause).await;
        }
        assert_eq!(seconds, [1, 2, 4, 8, 16, 30, 30, 30]);
        pauses.enter().unwrap().succeeded();
        assert_eq!(pauses.enter().unwrap().failed(), Some(FIRST_PAUSE));
        assert_eq!(pause_after(u32::MAX), MAX_PAUSE);
    }

    #[tokio::test(start_paused = true)]
    async fn of_many_that_fail_together_one_counts() {
        let pauses = Pauses::default();
        let passes: Vec<_> = (0..100).map(|_| pauses.enter().unwrap()).collect();
        let late = pauses.enter().unwrap();
        let begun = passes.into_iter().filter_map(Pass::failed).count();
        assert_eq!(begun, 1);
        advance(FIRST_PAUSE).await;
        late.succeeded();
        let probe = pauses.enter().unwrap();
        assert!(pauses.enter().is_none(), "an answer from before the pause is no probe's");
        assert_eq!(probe.failed(), Some(2 * FIRST_PAUSE));
    }

    #[tokio::test(start_paused = true)]
    async fn a_probe_that_is_given_up_makes_room_for_the_next() {
        let pauses = Pauses::default();
        let _ = pauses.enter().unwrap().failed();
        advance(FIRST_PAUSE).await;
        drop(pauses.enter().unwrap());
        assert!(pauses.enter().is_some());
    }
}
