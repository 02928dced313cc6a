//! What is known of images: that a policy was met, and by whom.
//!
//! Only that is kept. A policy that was not met is asked again each time, and one whose answer may
//! change by itself, by the clock or by what others revoke, is never kept ([`Version`]). A new policy,
//! key or trust root is a new version, under which nothing is known yet.
use std::collections::HashMap;
use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use jiff::Timestamp;
use sha2::Digest as _;
use sha2::Sha256;

use crate::evidence::OwnCredentials;
use crate::evidence::Scope;
use crate::image::Algorithm;
use crate::image::Digest;
use crate::image::Repository;
use crate::policy::Policy;
use crate::policy::Version;
use crate::verdict::PolicyReport;
use crate::verdict::Step;
use crate::verdict::StepReport;

mod pack;

/// Most memory of all that is known, unless set otherwise: some 50,000 images under one policy, which
/// is what a cluster of a thousand nodes runs.
pub const DEFAULT_BYTES: usize = 40 << 20;

/// How old the evidence may be before the registry is asked anew, unless set otherwise.
pub const DEFAULT_REFRESH_AFTER: Duration = Duration::from_secs(10 * 60);

/// How old the evidence may be at most, unless set otherwise: a registry may be away for a day.
pub const DEFAULT_MAX_AGE: Duration = Duration::from_secs(24 * 60 * 60);

/// After somebody has begun to ask anew, others answer with what is known for so long: longer than
/// any request may take, so that one asks at a time.
const RECHECK_PAUSE: Duration = Duration::from_secs(60);

/// How far ahead of the clock a time may lie: clocks that are kept right are moved by less. Of one that
/// lies further ahead, it is not known how long ago it was.
const MAX_AHEAD: i64 = 60;

/// How far ahead the time may lie at which evidence was fetched. From there on nothing is known: it
/// would be believed for longer than is set.
const MAX_FETCHED_AHEAD: i64 = 5 * 60;

/// What an entry takes besides its bytes: its key in the table and in the queue, both of which grow
/// by doubling, the count of who reads it, and what the allocator rounds up.
const ENTRY_OVERHEAD: usize = 240;

/// Parts of the table with a lock of their own, so that requests seldom wait for one another, and
/// that no more than a part is moved when it grows.
const PARTS: usize = 16;

/// Largest share of a part that one entry may take: a report with hundreds of signatures is made anew
/// each time instead of driving others out.
const LARGEST_SHARE: usize = 8;

/// Bounds on what is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    /// Most memory, in bytes.
    pub bytes: usize,
    /// The age from which the evidence is to be asked for anew.
    pub refresh_after: Duration,
    /// The age from which nothing is known any more.
    pub max_age: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            bytes: DEFAULT_BYTES,
            refresh_after: DEFAULT_REFRESH_AFTER,
            max_age: DEFAULT_MAX_AGE,
        }
    }
}

/// What an answer is an answer to: which policy, which image, and whose credentials opened the places
/// in which its signatures lie.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub struct Key([u8; 32]);

impl Key {
    /// The key for an image under a policy of this version. `scopes` are those of the places in which
    /// the policy looks, in their order.
    pub fn new(
        version: &Version,
        digest: &Digest,
        repository: &Repository,
        scopes: &[Scope],
    ) -> Self {
        let mut hash = Sha256::new();
        hash.update(version.as_bytes());
        hash.update([match digest.algorithm() {
            Algorithm::Sha256 => 0,
            Algorithm::Sha512 => 1,
        }]);
        hash.update(digest.hex());
        for text in [repository.registry(), repository.path()] {
            hash.update((text.len() as u64).to_le_bytes());
            hash.update(text);
        }
        let own = |own: &OwnCredentials| match own {
            OwnCredentials::Used => 0,
            OwnCredentials::Withheld => 1,
        };
        for scope in scopes {
            match scope {
                Scope::Own(used) => hash.update([0, own(used)]),
                Scope::Tenant { credentials, secrets: _, own: used } => {
                    hash.update([1, own(used)]);
                    hash.update(credentials);
                }
            }
        }
        Self(hash.finalize().into())
    }
}

/// An answer that is known.
#[derive(Clone, Debug)]
pub struct Recalled {
    /// What the policy says, and that it is known from before.
    pub report: PolicyReport,
    /// When the registry gave the oldest evidence that it stands on.
    pub fetched: Timestamp,
    /// Whether it is time to ask anew, and nobody does yet: see [`Known::claim`].
    pub due: bool,
}

/// An answer that is known, in few bytes. It holds no lock.
#[derive(Debug)]
pub(super) struct Found {
    packed: Arc<[u8]>,
    fetched: Timestamp,
    stale: bool,
    due: bool,
}

impl Found {
    /// As [`Recalled::due`].
    pub(super) const fn is_due(&self) -> bool {
        self.due
    }

    /// That `policy` was met, without how.
    pub(super) fn brief(&self, policy: &Policy) -> PolicyReport {
        pack::brief(policy, self.stale)
    }

    /// How many bytes [`Self::unpack`] reads.
    pub(super) fn bytes(&self) -> usize {
        self.packed.len()
    }

    /// The answer, as `policy` said it.
    pub(super) fn unpack(self, policy: &Policy) -> Option<Recalled> {
        let Self { packed, fetched, stale, due } = self;
        let note = if stale { ", and could not be asked for since: stale" } else { "" };
        let note = format!("verified before, with what was fetched at {fetched}{note}");
        let note = StepReport::passed(Step::Subject, note);
        let report = pack::unpack(policy, &packed, &note, stale)?;
        Some(Recalled { report, fetched, due })
    }
}

/// When and from whom the evidence came that an answer stands on.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Origin {
    /// When the registry gave the oldest of it.
    pub fetched: Timestamp,
    /// Whether something else than a registry gave some of it to this process. What stands on that is
    /// not believed for as long as the rest: it is to be asked for anew at its next use.
    pub second_hand: bool,
}

/// The table.
#[derive(Debug)]
pub struct Known {
    limits: Limits,
    parts: Box<[Mutex<Part>]>,
}

#[derive(Debug, Default)]
struct Part {
    entries: HashMap<Key, Entry>,
    /// Every key of the table once, the one that is looked at next for its place first.
    order: VecDeque<Key>,
    bytes: usize,
}

#[derive(Debug)]
struct Entry {
    /// The report; empty where nothing is known any more.
    packed: Arc<[u8]>,
    /// In seconds since the Unix epoch, as is the next.
    fetched: i64,
    /// When somebody last began to ask anew.
    claimed: i64,
    /// How often that was done since an answer was found.
    claims: u8,
    /// As [`Origin::second_hand`].
    second_hand: bool,
    /// Whether the registry was asked anew in vain since.
    stale: bool,
    /// Whether it was of use since its place was last looked at.
    used: bool,
}

/// Before all time.
const NEVER: i64 = i64::MIN;

impl Entry {
    /// Nothing.
    fn none() -> Self {
        Self {
            packed: Arc::default(),
            fetched: 0,
            claimed: NEVER,
            claims: 0,
            second_hand: false,
            stale: false,
            used: false,
        }
    }

    fn cost(&self) -> usize {
        self.packed.len() + ENTRY_OVERHEAD
    }

    fn is_too_old(&self, now: Timestamp, limits: Limits) -> bool {
        since(self.fetched, now, MAX_FETCHED_AHEAD) >= limits.max_age
    }

    fn is_due(&self, now: Timestamp, limits: Limits) -> bool {
        let old = since(self.fetched, now, MAX_AHEAD) >= limits.refresh_after;
        (self.second_hand || old) && since(self.claimed, now, MAX_AHEAD) >= RECHECK_PAUSE
    }
}

/// The time since `then`; without end where that lies so far ahead that the clock was set back.
fn since(then: i64, now: Timestamp, ahead: i64) -> Duration {
    let passed = now.as_second().saturating_sub(then);
    if passed < -ahead {
        return Duration::MAX;
    }
    Duration::from_secs(u64::try_from(passed).unwrap_or_default())
}

impl Known {
    /// An empty table.
    pub fn new(limits: Limits) -> Self {
        let parts = (0..PARTS).map(|_| Mutex::default()).collect();
        Self { limits, parts }
    }

    /// What `policy` said under this key, as far as it is known at `now`.
    pub fn get(&self, key: &Key, policy: &Policy, now: Timestamp) -> Option<Recalled> {
        self.find(key, now)?.unpack(policy)
    }

    /// The same, not yet unpacked.
    pub(super) fn find(&self, key: &Key, now: Timestamp) -> Option<Found> {
        let mut part = self.part(key);
        let entry = part.entries.get_mut(key)?;
        if entry.packed.is_empty() || entry.is_too_old(now, self.limits) {
            return None;
        }
        entry.used = true;
        let fetched = Timestamp::from_second(entry.fetched).ok()?;
        let due = entry.is_due(now, self.limits);
        Some(Found { packed: Arc::clone(&entry.packed), fetched, stale: entry.stale, due })
    }

    /// Takes it upon the caller to ask anew; says how often somebody has since an answer was found, the
    /// caller included. `None` where it is not time, or somebody else does.
    pub fn claim(&self, key: &Key, now: Timestamp) -> Option<u8> {
        let mut part = self.part(key);
        let entry = part.entries.get_mut(key).filter(|entry| entry.is_due(now, self.limits))?;
        entry.claimed = now.as_second();
        // Around again, so that it never stands still.
        entry.claims = entry.claims.wrapping_add(1);
        Some(entry.claims)
    }

    /// Gives a claim back: whoever made it does not ask to the end.
    pub fn release(&self, key: &Key) {
        if let Some(entry) = self.part(key).entries.get_mut(key) {
            entry.claimed = NEVER;
        }
    }

    /// Keeps what `policy` said, if it was met.
    pub fn insert(&self, key: &Key, policy: &Policy, report: &PolicyReport, origin: Origin) {
        let Some(packed) = pack::pack(policy, report) else { return };
        let most = self.limits.bytes / PARTS;
        let Origin { fetched, second_hand } = origin;
        let (packed, fetched) = (packed.into(), fetched.as_second());
        let entry = Entry { packed, fetched, second_hand, stale: report.stale, ..Entry::none() };
        if entry.cost() > most / LARGEST_SHARE {
            return;
        }
        let mut part = self.part(key);
        part.put(*key, entry);
        part.shrink(most);
    }

    /// Notes that the registry was asked anew in vain.
    pub fn mark_stale(&self, key: &Key) {
        if let Some(entry) = self.part(key).entries.get_mut(key) {
            entry.stale = true;
        }
    }

    /// Forgets what was known under this key.
    pub fn remove(&self, key: &Key) {
        let mut part = self.part(key);
        // Its place in the queue stays; the entry goes when that is looked at.
        if part.entries.contains_key(key) {
            part.put(*key, Entry::none());
        }
    }

    /// The memory that it takes, in bytes; an estimate from above.
    pub fn bytes(&self) -> usize {
        self.parts.iter().map(|part| locked(part).bytes).sum()
    }

    /// How many answers are known.
    pub fn len(&self) -> usize {
        let there = |part: &Mutex<Part>| {
            locked(part).entries.values().filter(|entry| !entry.packed.is_empty()).count()
        };
        self.parts.iter().map(there).sum()
    }

    /// Whether nothing is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    #[expect(clippy::indexing_slicing, reason = "the remainder is below the number of parts")]
    fn part(&self, key: &Key) -> MutexGuard<'_, Part> {
        let Key([first, ..]) = key;
        locked(&self.parts[usize::from(*first) % PARTS])
    }
}

fn locked(part: &Mutex<Part>) -> MutexGuard<'_, Part> {
    part.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Part {
    /// Puts an entry in the place of what is known; who has begun to ask anew goes on to.
    fn put(&mut self, key: Key, mut entry: Entry) {
        if let Some(before) = self.entries.get(&key) {
            entry.claimed = before.claimed;
        }
        let cost = entry.cost();
        match self.entries.insert(key, entry) {
            Some(before) => self.bytes -= before.cost(),
            None => self.order.push_back(key),
        }
        self.bytes += cost;
    }

    /// Lets entries go until no more than `most` bytes are left: those first that were of no use
    /// since their place was last looked at.
    fn shrink(&mut self, most: usize) {
        while self.bytes > most {
            let Some(key) = self.order.pop_front() else { return };
            match self.entries.get_mut(&key) {
                Some(entry) if entry.used => {
                    entry.used = false;
                    self.order.push_back(key);
                }
                Some(_) | None => {
                    let gone = self.entries.remove(&key);
                    self.bytes -= gone.as_ref().map_or(0, Entry::cost);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
