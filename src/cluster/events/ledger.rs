//! What was told lately: a note that repeats is counted, not written again. No I/O; time is an
//! argument.
use std::collections::BTreeMap;

use jiff::SignedDuration;
use jiff::Timestamp;

use super::budget::Budget;
use super::note::Note;
use super::note::is_subdomain;
use crate::metrics::EventOutcome;

/// Least time between two writes of one Event's count. A controller that cannot create its pods
/// retries every few seconds at first; nobody reads the count more often than this.
pub const COUNT_EVERY: SignedDuration = SignedDuration::from_secs(60);

/// How long a note is remembered after it was last seen. The API server keeps an Event for an hour
/// after its last write, so that what is remembered is still there to be counted on.
pub const FORGET_AFTER: SignedDuration = SignedDuration::from_mins(30);

/// Most notes that are remembered, about 3 KiB each; beyond them the one that was longest not seen
/// is forgotten.
pub const MAX_REMEMBERED: usize = 2048;

/// Longest start of an Event's name that is the object's name; the rest of the 253 bytes is the
/// number that tells Events apart.
const MAX_NAME_START: usize = 230;

/// The notes of late, and what is left to write them with.
#[derive(Debug)]
pub struct Ledger {
    told: BTreeMap<Note, Told>,
    budget: Budget,
    /// Tells Events of the same instant apart.
    serial: i128,
}

/// An Event that was written.
#[derive(Debug)]
struct Told {
    /// Its name.
    name: String,
    /// How often the note was seen.
    count: u32,
    /// How much of that is written.
    written: u32,
    written_at: Timestamp,
    seen_at: Timestamp,
}

/// What becomes of a note.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Noted {
    /// There is no budget for it.
    Limited,
    /// It is counted, and the count will be written later.
    Merged,
    /// It is to be written.
    New(Write),
}

/// Something to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Write {
    /// A new Event.
    Create {
        /// What it says.
        note: Note,
        /// Its name.
        name: String,
        /// When it happened.
        at: Timestamp,
    },
    /// How often it has happened by now.
    Count {
        /// What the Event says.
        note: Note,
        /// Its name.
        name: String,
        /// How often.
        count: u32,
        /// When it last happened.
        at: Timestamp,
    },
}

impl Noted {
    /// What to count, where nothing is to be written.
    pub const fn outcome(&self) -> Option<EventOutcome> {
        match self {
            Self::Limited => Some(EventOutcome::Limited),
            Self::Merged => Some(EventOutcome::Merged),
            Self::New(_) => None,
        }
    }

    /// What is to be written.
    pub fn write(self) -> Option<Write> {
        match self {
            Self::Limited | Self::Merged => None,
            Self::New(write) => Some(write),
        }
    }
}

impl Write {
    /// What the Event says.
    pub const fn note(&self) -> &Note {
        match self {
            Self::Create { note, .. } | Self::Count { note, .. } => note,
        }
    }
}

impl Ledger {
    /// An empty one.
    pub fn new(now: Timestamp) -> Self {
        Self { told: BTreeMap::new(), budget: Budget::new(now), serial: 0 }
    }

    /// Takes a note. A new one is to be written at once; one that repeats is counted, and
    /// [`Self::due`] says when.
    pub fn note(&mut self, note: Note, now: Timestamp) -> Noted {
        if let Some(told) = self.told.get_mut(&note)
            && now.duration_since(told.seen_at) <= FORGET_AFTER
        {
            told.count = told.count.saturating_add(1);
            told.seen_at = now;
            return Noted::Merged;
        }
        if !self.budget.take(note.payer(), now) {
            return Noted::Limited;
        }
        self.make_room();
        let name = self.name(&note, now);
        let told = Told { name: name.clone(), count: 1, written: 1, written_at: now, seen_at: now };
        self.told.insert(note.clone(), told);
        Noted::New(Write::Create { note, name, at: now })
    }

    /// The counts that are to be written by now, as far as the budget goes; the others wait.
    pub fn due(&mut self, now: Timestamp) -> Vec<Write> {
        let Self { told, budget, serial: _ } = self;
        let mut writes = Vec::new();
        for (note, told) in told.iter_mut() {
            let due =
                told.count > told.written && now.duration_since(told.written_at) >= COUNT_EVERY;
            if due && budget.take(note.payer(), now) {
                told.written = told.count;
                told.written_at = now;
                writes.push(Write::Count {
                    note: note.clone(),
                    name: told.name.clone(),
                    count: told.count,
                    at: told.seen_at,
                });
            }
        }
        told.retain(|_, told| now.duration_since(told.seen_at) <= FORGET_AFTER);
        writes
    }

    /// Forgets a note whose Event could not be written, or is gone: the next is a new one.
    pub fn forget(&mut self, note: &Note) {
        self.told.remove(note);
    }

    fn make_room(&mut self) {
        while self.told.len() >= MAX_REMEMBERED {
            let oldest = self.told.iter().min_by_key(|(_, told)| told.seen_at);
            let Some(note) = oldest.map(|(note, _)| note.clone()) else { return };
            self.told.remove(&note);
        }
    }

    /// The object's name and a number, as other components name their Events.
    fn name(&mut self, note: &Note, now: Timestamp) -> String {
        self.serial += 1;
        let start = &note.regarding.name;
        let fits = start.len() <= MAX_NAME_START && is_subdomain(start);
        let start = if fits { start.as_str() } else { "tegata" };
        format!("{start}.{:x}", now.as_nanosecond().saturating_add(self.serial).max(0))
    }
}
