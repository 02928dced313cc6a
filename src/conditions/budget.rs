//! How much work rules may cost.
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

/// Work that the rules of one image may cost. A unit is one value looked at, or eight bytes of a
/// text: some ten to a hundred nanoseconds. A condition over every package of a bill of materials
/// of 1 MiB costs some 300 thousand; with all of these units spent, a check has taken about a
/// second.
pub const MAX_UNITS: u64 = 8 << 20;

/// Work left, shared by all rules and statements of one image. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget {
    left: Arc<AtomicU64>,
    /// Whether something asked for more than was left. It stays.
    exhausted: Arc<std::sync::atomic::AtomicBool>,
}

impl Default for Budget {
    fn default() -> Self {
        Self::new(MAX_UNITS)
    }
}

impl Budget {
    /// A budget of this many units, see [`MAX_UNITS`].
    pub fn new(units: u64) -> Self {
        Self { left: Arc::new(AtomicU64::new(units)), exhausted: Arc::default() }
    }

    /// Takes `units`, or marks the budget as exhausted.
    pub(super) fn spend(&self, units: u64) -> Result<(), Exhausted> {
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(units));
        if taken.is_err() {
            self.exhausted.store(true, Ordering::Relaxed);
        }
        if self.is_exhausted() { Err(Exhausted) } else { Ok(()) }
    }

    /// Whether more was asked for than was left: whatever a rule answered then does not count.
    pub(super) fn is_exhausted(&self) -> bool {
        self.exhausted.load(Ordering::Relaxed)
    }
}

/// More was asked for than was left.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("the budget is exhausted")]
pub(super) struct Exhausted;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_budget_ends_and_stays_ended() {
        let budget = Budget::new(3);
        assert_eq!(budget.spend(3), Ok(()));
        assert!(!budget.is_exhausted());
        assert_eq!(budget.clone().spend(1), Err(Exhausted));
        assert!(budget.is_exhausted());
        assert_eq!(budget.spend(0), Err(Exhausted));
    }
}
