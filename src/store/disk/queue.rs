//! What waits to be written: the last change to each key, up to a bound.
use std::collections::BTreeMap;

/// Most changes that wait. A rollout across a large cluster brings a few thousand new digests.
const MAX_CHANGES: usize = 4_096;

/// Most bytes of records that wait: those of some eighty ordinary images, which a disk takes in a
/// tenth of a second, or of two of the largest.
const MAX_BYTES: usize = 4 << 20;

/// Changes by key.
pub(super) type Batch = BTreeMap<[u8; 32], Change>;

/// A change to what is under a key.
#[derive(Clone, Debug)]
pub(super) enum Change {
    /// This record, written at this time in milliseconds since the epoch.
    Put {
        /// The time.
        at: i64,
        /// The record.
        record: Vec<u8>,
    },
    /// Nothing any more.
    Remove,
}

impl Change {
    const fn len(&self) -> usize {
        match self {
            Self::Put { record, .. } => record.len(),
            Self::Remove => 0,
        }
    }
}

/// The changes that wait.
#[derive(Debug, Default)]
pub(super) struct Queue {
    changes: Batch,
    bytes: usize,
    /// Whether somebody will empty it.
    pub(super) scheduled: bool,
}

impl Queue {
    /// Whether there was room. A change to a key replaces the one that waits.
    pub(super) fn add(&mut self, key: [u8; 32], change: Change) -> bool {
        let replaced = self.changes.get(&key).map(Change::len);
        let bytes = self.bytes - replaced.unwrap_or(0) + change.len();
        let count = self.changes.len() + usize::from(replaced.is_none());
        if count > MAX_CHANGES || bytes > MAX_BYTES {
            return false;
        }
        self.changes.insert(key, change);
        self.bytes = bytes;
        true
    }

    /// What the change that waits leaves under `key`; the outer `None` where none waits.
    pub(super) fn find(&self, key: &[u8; 32]) -> Option<Option<Vec<u8>>> {
        self.changes.get(key).map(|change| match change {
            Change::Put { record, .. } => Some(record.clone()),
            Change::Remove => None,
        })
    }

    /// Whether it is half full, so that waiting for more is of no use.
    pub(super) fn is_ample(&self) -> bool {
        self.changes.len() >= MAX_CHANGES / 2 || self.bytes >= MAX_BYTES / 2
    }

    /// Takes everything.
    pub(super) fn take(&mut self) -> Batch {
        self.bytes = 0;
        std::mem::take(&mut self.changes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(n: usize) -> [u8; 32] {
        let mut key = [0; 32];
        key[..8].copy_from_slice(&n.to_be_bytes());
        key
    }

    fn put(length: usize) -> Change {
        Change::Put { at: 0, record: vec![1; length] }
    }

    #[test]
    fn bounds_changes_and_bytes() {
        let mut queue = Queue::default();
        let added = (0..2 * MAX_CHANGES).filter(|n| queue.add(key(*n), put(1))).count();
        assert_eq!(added, MAX_CHANGES);
        assert!(queue.add(key(0), put(2)), "a key that waits takes no further place");
        let mut queue = Queue::default();
        assert!(queue.add(key(0), put(MAX_BYTES)));
        assert!(!queue.add(key(1), put(1)));
        assert!(!queue.add(key(0), put(MAX_BYTES + 1)));
        assert!(queue.add(key(0), put(MAX_BYTES - 1)) && queue.add(key(1), put(1)));
        assert_eq!(queue.take().len(), 2);
        assert!(queue.add(key(2), put(MAX_BYTES)), "it is empty again");
    }

    #[test]
    fn the_last_change_counts() {
        let mut queue = Queue::default();
        assert_eq!(queue.find(&key(0)), None);
        queue.add(key(0), put(3));
        assert_eq!(queue.find(&key(0)), Some(Some(vec![1; 3])));
        queue.add(key(0), Change::Remove);
        assert_eq!(queue.find(&key(0)), Some(None));
        assert_eq!(queue.bytes, 0);
    }
}
