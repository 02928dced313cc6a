//! How much is asked of one server at a time, and when nothing is.
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
use tokio::sync::futures::OwnedNotified;
use tokio::time::Instant;

use super::limits::MAX_CONCURRENT_REQUESTS;
use super::limits::MAX_FOREIGN_REQUESTS;
use super::limits::MAX_PAUSES;
use super::limits::MAX_RETRY_AFTER;
use super::options::HostOptions;

/// What a budget lets through.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    concurrent: usize,
    per_second: Option<u32>,
}

impl Default for Limits {
    fn default() -> Self {
        Self { concurrent: MAX_CONCURRENT_REQUESTS, per_second: None }
    }
}

impl Limits {
    /// The same for those whom another registry has led there.
    pub fn foreign(self) -> Self {
        Self { concurrent: self.concurrent.min(MAX_FOREIGN_REQUESTS), ..self }
    }
}

impl From<&HostOptions> for Limits {
    fn from(options: &HostOptions) -> Self {
        Self {
            concurrent: options
                .max_concurrent
                .map_or(MAX_CONCURRENT_REQUESTS, |n| usize::from(n.get())),
            per_second: options.requests_per_second.map(|n| u32::from(n.get())),
        }
    }
}

/// Who asks: a keyed hash of the credential, or nobody in particular. Registries limit the rate of
/// an account, and where there is none that of an address, which all who have none share.
pub type Account = Option<u64>;

/// Why there is no turn.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum NoTurn {
    /// The server wants to be left alone for so long.
    Paused(Duration),
    /// Our own limit is reached.
    Spent(Spent),
}

/// The setting whose limit is reached, for people.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Spent {
    /// Requests at a time.
    Concurrent(usize),
    /// Requests in a second.
    PerSecond(u32),
}

impl fmt::Display for Spent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Concurrent(limit) => write!(f, "maxConcurrent {limit}"),
            Self::PerSecond(limit) => write!(f, "requestsPerSecond {limit}"),
        }
    }
}

/// How often an account may ask, as a server that refused it has let us know. After each refusal
/// requests are sent half as often, and with every answer a little more often again, so that a server
/// which allows five a second is asked about five times a second, instead of sixteen times at once after
/// each pause.
///
/// Of those that wait, the one goes first whose question began first: of several images whose evidence
/// takes several requests each, one is finished after the other, instead of all of them too late.
#[derive(Debug)]
struct Pace {
    /// Until when nothing is sent.
    paused: Instant,
    /// The time between two requests after that.
    spacing: Duration,
    /// When the server last refused a request that was sent after the refusal before.
    refused: Instant,
    /// When the next request may be sent.
    next: Instant,
    /// Who waits for that, and until when they can.
    line: BTreeMap<Place, Instant>,
    /// Tells those in line that somebody has left it.
    moved: Arc<Notify>,
}

impl Pace {
    /// Of an account that was never refused.
    fn none(now: Instant) -> Self {
        let (spacing, line, moved) = (Duration::ZERO, BTreeMap::default(), Arc::default());
        Self { paused: now, spacing, next: now, refused: now, line, moved }
    }

    /// Whether nobody has used it for so long that it says nothing any more.
    fn is_over(&self, now: Instant) -> bool {
        self.line.is_empty() && self.paused.max(self.next) + PACE_LIFE <= now
    }

    /// When the request of this place may be sent, as far as can be told: after those ahead that can
    /// wait for so long. Whoever of them does not come takes turns from those behind, and stops nobody.
    fn at(&self, place: Place) -> Instant {
        let between = self.spacing.max(NO_SPACING);
        let ahead = self.line.range(..place).map(|(_, until)| *until);
        let after = |at, until| if at < until { at + between } else { at };
        ahead.fold(self.paused.max(self.next), after)
    }

    /// Takes a place in line, if need be that of the last, and says when to come again; `None` where
    /// the line is full of those who were there before.
    fn enter(&mut self, place: Place, until: Instant, at: Instant) -> Option<Wait> {
        let is_new = !self.line.contains_key(&place);
        if is_new && self.line.len() >= MAX_LINE {
            let last = self.line.last_key_value().map(|(last, _)| *last);
            self.leave(last.filter(|last| *last > place)?);
        }
        self.line.insert(place, until);
        Some(Wait { at, moved: Arc::clone(&self.moved).notified_owned() })
    }

    fn leave(&mut self, place: Place) {
        if self.line.remove(&place).is_some() {
            self.moved.notify_waiters();
        }
    }
}

/// A place in line: when the question began, and a number that nobody else has.
type Place = (Instant, u64);

/// When to come again: at that time, or as soon as somebody has left the line.
struct Wait {
    at: Instant,
    moved: OwnedNotified,
}

/// Leaves the line when dropped.
struct InLine<'a> {
    budget: &'a Budget,
    account: Account,
    place: Place,
}

impl Drop for InLine<'_> {
    fn drop(&mut self) {
        let Self { budget, account, place } = self;
        if let Some(pace) = budget.paces().get_mut(account) {
            pace.leave(*place);
        }
    }
}

/// The least time between two requests of one who was refused, and the most: what registries allow lies
/// between a hundred a second and one in some seconds.
const MIN_SPACING: Duration = Duration::from_millis(50);
const MAX_SPACING: Duration = Duration::from_secs(2);

/// Below this nothing is spaced any more.
const NO_SPACING: Duration = Duration::from_millis(10);

/// How long a pace is remembered that nobody used.
const PACE_LIFE: Duration = Duration::from_secs(60);

/// Most requests that wait in one line: those of sixteen questions with sixteen under way. At most paces
/// it is more than can be sent within a question's time.
const MAX_LINE: usize = 256;

/// The budget of one server.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    turns: Semaphore,
    /// What the server has said of how often it wants to be asked, and by whom.
    paces: Mutex<HashMap<Account, Pace>>,
    /// How many have waited in line, or have not had to.
    numbers: AtomicU64,
    /// When the requests so far would have been sent, had they been spread evenly.
    sent_until: Mutex<Option<Instant>>,
}

impl Budget {
    /// Nothing is used up, and nobody waits.
    pub fn new(limits: Limits) -> Self {
        Self {
            limits,
            turns: Semaphore::new(limits.concurrent),
            paces: Mutex::default(),
            numbers: AtomicU64::default(),
            sent_until: Mutex::default(),
        }
    }

    /// Waits for a turn, at most until `until`, for a question that was begun at that time.
    ///
    /// # Errors
    /// What left no turn.
    pub async fn turn(
        &self,
        account: Account,
        began: Instant,
        until: Instant,
    ) -> Result<SemaphorePermit<'_>, NoTurn> {
        loop {
            self.in_line(account, began, until).await.map_err(NoTurn::Paused)?;
            let granted = Instant::now();
            let turn = self.within_limits(until).await.map_err(NoTurn::Spent)?;
            // The server may have refused another while this one waited.
            if !self.refused_since(account, granted) {
                return Ok(turn);
            }
        }
    }

    /// Waits until the account's next request may be sent, which is then taken; the wait where that is
    /// not before `until`.
    async fn in_line(
        &self,
        account: Account,
        began: Instant,
        until: Instant,
    ) -> Result<(), Duration> {
        let place = (began, self.numbers.fetch_add(1, Ordering::Relaxed));
        let _in_line = InLine { budget: self, account, place };
        while let Some(Wait { at, moved }) = self.next(account, place, until)? {
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = moved => {}
            }
        }
        Ok(())
    }

    /// When to come again; `None` where the request is to be sent now. Whoever is to come again has a
    /// place in line, and nobody else.
    fn next(
        &self,
        account: Account,
        place: Place,
        until: Instant,
    ) -> Result<Option<Wait>, Duration> {
        let now = Instant::now();
        let mut paces = self.paces();
        let Some(pace) = paces.get_mut(&account) else { return Ok(None) };
        if pace.is_over(now) {
            paces.remove(&account);
            return Ok(None);
        }
        let at = pace.at(place);
        let wait = at.saturating_duration_since(now);
        if now < at && at < until {
            return pace.enter(place, until, at).map(Some).ok_or(wait);
        }
        pace.leave(place);
        if at.max(now) >= until {
            return Err(wait);
        }
        pace.next = now + pace.spacing;
        Ok(None)
    }

    async fn within_limits(&self, until: Instant) -> Result<SemaphorePermit<'_>, Spent> {
        let Limits { concurrent, per_second } = self.limits;
        if let Some(limit) = per_second {
            let at = self.slot(limit, Instant::now(), until).ok_or(Spent::PerSecond(limit))?;
            tokio::time::sleep_until(at).await;
        }
        match tokio::time::timeout_at(until, self.turns.acquire()).await {
            // A turn that comes free as the time ends was waited for in vain.
            Ok(Ok(turn)) if Instant::now() < until => Ok(turn),
            Ok(_) | Err(_) => Err(Spent::Concurrent(concurrent)),
        }
    }

    /// Leaves the server alone for `time`, at most [`MAX_RETRY_AFTER`], on behalf of an account whose
    /// request, sent at that time, it has refused: of others it has not said so, and whoever has used up
    /// their own must not stop them.
    pub fn pause(&self, account: Account, time: Duration, sent: Instant) {
        let now = Instant::now();
        let end = now + time.min(MAX_RETRY_AFTER);
        let mut paces = self.paces();
        paces.retain(|_, pace| !pace.is_over(now));
        if paces.len() >= MAX_PAUSES && !paces.contains_key(&account) {
            return;
        }
        let pace = paces.entry(account).or_insert_with(|| Pace::none(now));
        // Requests that were under way together are refused together: that is one refusal.
        if pace.spacing.is_zero() || sent > pace.refused {
            pace.spacing = (pace.spacing * 2).clamp(MIN_SPACING, MAX_SPACING);
            pace.refused = now;
        }
        pace.paused = end.max(pace.paused);
        pace.next = pace.next.max(now + pace.spacing);
        // Some of those that wait may now do so in vain.
        pace.moved.notify_waiters();
    }

    /// The server has answered an account's request, sent at that time. One that was sent before it
    /// refused another says nothing of what it allows since.
    pub fn answered(&self, account: Account, sent: Instant) {
        let mut paces = self.paces();
        let Some(pace) = paces.get_mut(&account).filter(|pace| sent > pace.refused) else { return };
        pace.spacing = pace.spacing * 19 / 20;
        let nobody = pace.line.is_empty() && pace.paused <= Instant::now();
        if nobody && pace.spacing < NO_SPACING {
            paces.remove(&account);
        }
    }

    fn refused_since(&self, account: Account, time: Instant) -> bool {
        let paces = self.paces();
        let is_later = |pace: &Pace| pace.refused >= time || pace.paused > Instant::now();
        paces.get(&account).is_some_and(is_later)
    }

    fn paces(&self) -> MutexGuard<'_, HashMap<Account, Pace>> {
        self.paces.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// When the next request may be sent: a second's worth at once, then evenly spread. Nothing is
    /// taken where that is later than `until`.
    fn slot(&self, per_second: u32, now: Instant, until: Instant) -> Option<Instant> {
        const BURST: Duration = Duration::from_secs(1);
        let spacing = BURST / per_second.max(1);
        let mut sent_until = self.sent_until.lock().unwrap_or_else(PoisonError::into_inner);
        let begins = sent_until.map_or(now, |sent_until| sent_until.max(now));
        let after = begins + spacing;
        let at = after.checked_sub(BURST).map_or(now, |at| at.max(now));
        if at > until {
            return None;
        }
        *sent_until = Some(after);
        Some(at)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
