//! Taking turns, and medians.
use std::time::Duration;
use std::time::Instant;

/// The median; zero of nothing.
pub fn median(times: &[Duration]) -> Duration {
    let mut sorted = times.to_vec();
    sorted.sort_unstable();
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
}

/// How long and how often.
#[derive(Clone, Copy, Debug)]
pub struct Turns {
    /// How often each side has its turn.
    pub rounds: usize,
    /// How often it does its work in a turn.
    pub block: usize,
    /// The time for all, after which the round under way is the last. Two are done in any case.
    pub time: Duration,
}

/// Has each side do its work in turns, and returns the times that each took. Each measures its own
/// work, so that it may make ready before and look at what came out after.
///
/// # Errors
/// As the sides.
pub fn alternate(
    turns: Turns,
    sides: &mut [&mut dyn FnMut() -> anyhow::Result<Duration>],
) -> anyhow::Result<Vec<Vec<Duration>>> {
    let Turns { rounds, block, time } = turns;
    let mut times = vec![Vec::with_capacity(rounds * block); sides.len()];
    let start = Instant::now();
    for round in 0..rounds {
        if round >= 2 && start.elapsed() > time {
            break;
        }
        for place in 0..sides.len() {
            // Whoever begins a round has the other's leavings in the caches: that takes turns, too.
            let place = (place + round) % sides.len();
            for _ in 0..block {
                times[place].push(sides[place]()?);
            }
        }
    }
    Ok(times)
}
