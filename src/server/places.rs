//! The places of requests that are answered at once, and the room in which further ones wait for
//! one.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

use tokio::sync::oneshot;

/// Most requests that wait for a place. Each holds what was read of it, some ten KiB and at most
/// some hundred; a rollout sends its pods in bursts of about this many.
pub const MAX_WAITING: usize = 128;

/// The places, and who waits for one.
#[derive(Debug)]
pub(super) struct Places {
    all: usize,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    free: usize,
    /// Those who wait, by when they must be answered; and a number, for those who must at the same
    /// time.
    waiting: BTreeMap<Turn, oneshot::Sender<Place>>,
    last: u64,
}

type Turn = (Instant, u64);

/// A place; given back when dropped.
#[derive(Debug)]
pub(super) struct Place(Option<Arc<Places>>);

impl Drop for Place {
    fn drop(&mut self) {
        if let Some(places) = self.0.take() {
            places.pass_on();
        }
    }
}

impl Places {
    pub(super) fn new(all: usize) -> Self {
        Self { all, state: Mutex::new(State { free: all, ..State::default() }) }
    }

    /// A place, if one is free.
    pub(super) fn take(self: &Arc<Self>) -> Option<Place> {
        let mut state = self.state();
        state.free = state.free.checked_sub(1)?;
        Some(Place(Some(Arc::clone(self))))
    }

    /// A place, as soon as one is given back, for a request that must be answered by `deadline` and
    /// waits until `by`. Who must be answered first has the first turn. Where too many wait, who has
    /// the least time left gives way: it would hardly make it.
    pub(super) async fn wait(self: &Arc<Self>, deadline: Instant, by: Instant) -> Option<Place> {
        let (turn, passed) = self.enter(deadline)?;
        let _leaving = Leaving { places: self, turn };
        tokio::time::timeout_at(by.into(), passed).await.ok()?.ok()
    }

    fn enter(self: &Arc<Self>, deadline: Instant) -> Option<(Turn, oneshot::Receiver<Place>)> {
        if self.all == 0 {
            return None;
        }
        let (sender, receiver) = oneshot::channel();
        let mut state = self.state();
        state.last += 1;
        let turn = (deadline, state.last);
        if let Some(free) = state.free.checked_sub(1) {
            state.free = free;
            drop(state);
            // Somebody gave one back since it was found that there is none.
            let _ = sender.send(Place(Some(Arc::clone(self))));
            return Some((turn, receiver));
        }
        if state.waiting.len() >= MAX_WAITING {
            let first = state.waiting.first_key_value().map(|(first, _)| *first);
            if first.is_none_or(|first| turn < first) {
                return None;
            }
            // Its sender is dropped, which tells it.
            state.waiting.pop_first();
        }
        state.waiting.insert(turn, sender);
        Some((turn, receiver))
    }

    /// Gives a place to who must be answered first, or keeps it where nobody waits.
    fn pass_on(self: &Arc<Self>) {
        let mut place = Place(Some(Arc::clone(self)));
        loop {
            let next = {
                let mut state = self.state();
                let next = state.waiting.pop_first();
                if next.is_none() {
                    state.free += 1;
                }
                next
            };
            let Some((_, sender)) = next else {
                place.0 = None;
                return;
            };
            match sender.send(place) {
                Ok(()) => return,
                // It has stopped waiting.
                Err(back) => place = back,
            }
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Someone who waits, until they do not.
struct Leaving<'a> {
    places: &'a Places,
    turn: Turn,
}

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        self.places.state().waiting.remove(&self.turn);
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use futures::FutureExt as _;

    use super::*;

    fn after(seconds: u64) -> Instant {
        tokio::time::Instant::now().into_std() + Duration::from_secs(seconds)
    }

    #[tokio::test(start_paused = true)]
    async fn who_must_be_answered_first_has_the_first_turn() {
        let places = Arc::new(Places::new(1));
        let held = places.take().unwrap();
        assert!(places.take().is_none());
        let mut late = Box::pin(places.wait(after(9), after(8)));
        let mut soon = Box::pin(places.wait(after(3), after(2)));
        assert!((&mut late).now_or_never().is_none() && (&mut soon).now_or_never().is_none());
        drop(held);
        assert!((&mut late).now_or_never().is_none());
        let held = soon.now_or_never().unwrap().unwrap();
        drop(held);
        assert!(late.now_or_never().unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_place_is_not_lost_with_those_who_stopped_waiting() {
        let places = Arc::new(Places::new(1));
        let held = places.take().unwrap();
        let gone = Box::pin(places.wait(after(9), after(8)));
        let mut given = Box::pin(places.wait(after(3), after(2)));
        assert!((&mut given).now_or_never().is_none());
        drop(gone);
        // It was given its place, and goes without having looked.
        drop(held);
        drop(given);
        assert!(places.state().waiting.is_empty());
        let held = places.take().unwrap();
        let patient = places.wait(after(3), after(2));
        assert!(patient.await.is_none(), "its time is up");
        assert!(places.state().waiting.is_empty());
        drop(held);
        assert!(places.take().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn who_has_the_least_time_left_gives_way_where_too_many_wait() {
        let places = Arc::new(Places::new(1));
        let held = places.take().unwrap();
        let mut waiting: Vec<_> = (0..MAX_WAITING as u64)
            .map(|index| Box::pin(places.wait(after(10 + index), after(9))))
            .collect();
        for one in &mut waiting {
            assert!(one.now_or_never().is_none());
        }
        // The newcomer itself, where it has the least.
        assert!(places.wait(after(5), after(4)).now_or_never().unwrap().is_none());
        let mut newcomer = Box::pin(places.wait(after(50), after(49)));
        assert!((&mut newcomer).now_or_never().is_none());
        assert!((&mut waiting[0]).now_or_never().unwrap().is_none());
        assert!((&mut waiting[1]).now_or_never().is_none());
        drop(held);
        let given = (&mut waiting[1]).now_or_never().unwrap();
        assert!(given.is_some());
        assert_eq!(places.state().waiting.len(), MAX_WAITING - 1);
    }

    #[tokio::test]
    async fn without_places_nobody_waits() {
        let places = Arc::new(Places::new(0));
        assert!(places.take().is_none());
        assert!(places.wait(after(9), after(8)).now_or_never().unwrap().is_none());
    }
}
