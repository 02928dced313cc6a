//! What it takes to answer with what is known, on a thread that all requests share.
//!
//! Such an answer waits for no place and counts for no namespace's share, so that it must not take long,
//! whatever a request names and whatever is attached to its images. What would take more is answered as
//! if nothing were known.
use std::ops::AddAssign;

/// What answering takes, and the most that it may: see [`MOST`].
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(super) struct Spent {
    /// Policies of the namespace that were compared with an image, whether or not they apply.
    pub(super) compared: usize,
    /// Reports of a policy on an image field.
    pub(super) reports: usize,
    /// Places whose scope was asked for.
    pub(super) places: usize,
    /// Bytes that were unpacked, or copied from what was.
    pub(super) bytes: usize,
}

/// Most that one answer may take: one or two milliseconds, and some two MiB of memory. Fifty
/// containers under five policies stay below.
pub(super) const MOST: Spent = Spent {
    // Each takes less than half a microsecond.
    compared: 4096,
    // Fifty containers under five policies.
    reports: 256,
    // Four for each report.
    places: 1024,
    // Each report is of some 400 bytes, and takes ten to twenty times as much when it is unpacked.
    bytes: 128 << 10,
};

impl Spent {
    /// Adds what is about to be spent; `None` where that is more than there may be.
    pub(super) fn spend(&mut self, more: Self) -> Option<()> {
        *self += more;
        let Self { compared, reports, places, bytes } = *self;
        let within = compared <= MOST.compared
            && reports <= MOST.reports
            && places <= MOST.places
            && bytes <= MOST.bytes;
        within.then_some(())
    }

    /// What it takes to give a report again that took so much, after `before` had been spent.
    pub(super) const fn again(self, before: Self) -> Self {
        let Self { compared: _, reports, places: _, bytes } = self;
        Self {
            compared: 0,
            reports: reports - before.reports,
            places: 0,
            bytes: bytes - before.bytes,
        }
    }
}

impl AddAssign for Spent {
    fn add_assign(&mut self, more: Self) {
        let Self { compared, reports, places, bytes } = more;
        self.compared += compared;
        self.reports += reports;
        self.places += places;
        self.bytes += bytes;
    }
}
