//! Bytes that count towards one budget for as long as they are in memory.
use std::sync::Arc;

use bytes::Bytes;
use tokio::sync::OwnedSemaphorePermit;
use tokio::sync::Semaphore;

use super::limits::MAX_HELD_BYTES;
use super::limits::MIN_HELD_BYTES;

/// Bytes that one permit of the budget stands for.
const UNIT: usize = 1 << 10;

/// A budget of [`MAX_HELD_BYTES`].
pub(super) fn budget() -> Arc<Semaphore> {
    Arc::new(Semaphore::new(MAX_HELD_BYTES / UNIT))
}

/// Bytes with their share of a budget. It is given back when the last of them is dropped.
#[derive(Debug, Default)]
pub(super) struct Held {
    bytes: Vec<u8>,
    share: Option<OwnedSemaphorePermit>,
}

impl Held {
    /// None yet, with room for `announced`. Room that stays empty costs address space only, so it
    /// is not counted; growing step by step would leave holes of the same size again.
    pub(super) fn with_room(announced: usize) -> Self {
        Self { bytes: Vec::with_capacity(announced), share: None }
    }

    /// How many there are.
    pub(super) const fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Adds `chunk`, or nothing where the budget is spent.
    pub(super) fn extend(&mut self, chunk: &[u8], budget: &Arc<Semaphore>) -> Option<()> {
        let held = self.share.as_ref().map_or(0, OwnedSemaphorePermit::num_permits);
        let wanted = weight(self.len() + chunk.len()).saturating_sub(held);
        let more = Arc::clone(budget).try_acquire_many_owned(u32::try_from(wanted).ok()?).ok()?;
        match &mut self.share {
            Some(share) => share.merge(more),
            None => self.share = Some(more),
        }
        self.bytes.extend_from_slice(chunk);
        Some(())
    }

    /// The bytes, in no more memory than they take.
    pub(super) fn freeze(mut self) -> Bytes {
        self.bytes.shrink_to_fit();
        Bytes::from_owner(self)
    }
}

/// What so many bytes count for, in units. Twice their number, since what is parsed from them takes
/// as much again.
fn weight(length: usize) -> usize {
    (2 * length).max(MIN_HELD_BYTES).div_ceil(UNIT)
}

impl AsRef<[u8]> for Held {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_bytes_until_the_last_of_them_is_dropped() {
        let budget = Arc::new(Semaphore::new(12));
        let mut held = Held::default();
        assert_eq!(held.extend(&[1; 100], &budget), Some(()));
        assert_eq!(budget.available_permits(), 8, "the least that counts");
        assert_eq!(held.extend(&[1; 5 * UNIT - 100], &budget), Some(()));
        assert_eq!(budget.available_permits(), 2, "twice the bytes");
        assert_eq!(held.extend(&[1; UNIT + 1], &budget), None);
        assert_eq!((held.len(), budget.available_permits()), (5 * UNIT, 2));
        let bytes = held.freeze();
        let part = bytes.slice(3..7);
        drop(bytes);
        assert_eq!(budget.available_permits(), 2);
        drop(part);
        assert_eq!(budget.available_permits(), 12);
    }
}
