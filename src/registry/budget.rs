//! How much is asked of one server at a time, and when nothing is.
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::Notify;
use tokio::sync::Semaphore;
use tokio::sync::SemaphorePermit;
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
    /// When the next request may be sent.
    next: Instant,
    /// Who waits for that, and until when they can.
    line: BTreeMap<Place, Instant>,
}

impl Pace {
    /// When the request of this place may be sent, as far as can be told. Whoever is ahead and does not
    /// come when it may holds up those behind for its turn alone.
    fn at(&self, place: Place) -> Instant {
        let between = self.spacing.max(NO_SPACING);
        let ahead = self.line.range(..place).map(|(_, until)| *until);
        let after = |at, until| if at < until { at + between } else { at };
        ahead.fold(self.paused.max(self.next), after)
    }
}

/// A place in line: when the question began, and a number that nobody else has.
type Place = (Instant, u64);

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
            budget.leave(pace, *place);
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

/// The budget of one server.
#[derive(Debug)]
pub struct Budget {
    limits: Limits,
    turns: Semaphore,
    /// What the server has said of how often it wants to be asked, and by whom.
    paces: Mutex<HashMap<Account, Pace>>,
    /// How many have waited in line, or have not had to.
    numbers: AtomicU64,
    /// Tells those in line that somebody has left it.
    moved: Notify,
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
            moved: Notify::new(),
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
            let turn = self.within_limits(until).await.map_err(NoTurn::Spent)?;
            // A pause may have begun while this one waited.
            if self.pause_of(account).is_none() {
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
        loop {
            let moved = self.moved.notified();
            let Some(at) = self.next(account, place, until)? else { return Ok(()) };
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = moved => {}
            }
        }
    }

    /// When to come again; `None` where the request is to be sent now. Whoever is to come again has a
    /// place in line, and nobody else.
    fn next(
        &self,
        account: Account,
        place: Place,
        until: Instant,
    ) -> Result<Option<Instant>, Duration> {
        let now = Instant::now();
        let mut paces = self.paces();
        let Some(pace) = paces.get_mut(&account) else { return Ok(None) };
        let at = pace.at(place);
        if now < at && at < until {
            pace.line.insert(place, until);
            return Ok(Some(at));
        }
        self.leave(pace, place);
        if at.max(now) >= until {
            return Err(at.saturating_duration_since(now));
        }
        pace.next = now + pace.spacing;
        Ok(None)
    }

    fn leave(&self, pace: &mut Pace, place: Place) {
        if pace.line.remove(&place).is_some() {
            self.moved.notify_waiters();
        }
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

    /// Leaves the server alone for `time`, at most [`MAX_RETRY_AFTER`], on behalf of an account: of
    /// others it has not said so, and whoever has used up their own must not stop them.
    pub fn pause(&self, account: Account, time: Duration) {
        let now = Instant::now();
        let end = now + time.min(MAX_RETRY_AFTER);
        let mut paces = self.paces();
        let is_used = |pace: &Pace| pace.paused.max(pace.next) + PACE_LIFE > now;
        paces.retain(|_, pace| is_used(pace) || !pace.line.is_empty());
        if paces.len() >= MAX_PAUSES && !paces.contains_key(&account) {
            return;
        }
        let line = BTreeMap::default();
        let none = Pace { paused: now, spacing: Duration::ZERO, next: now, line };
        let pace = paces.entry(account).or_insert(none);
        // Requests that were under way together are refused together: that is one refusal.
        if pace.paused <= now {
            pace.spacing = (pace.spacing * 2).clamp(MIN_SPACING, MAX_SPACING);
        }
        pace.paused = end.max(pace.paused);
    }

    /// The server has answered an account's request.
    pub fn answered(&self, account: Account) {
        let mut paces = self.paces();
        let Some(pace) = paces.get_mut(&account) else { return };
        pace.spacing = pace.spacing * 19 / 20;
        let nobody = pace.line.is_empty() && pace.paused <= Instant::now();
        if nobody && pace.spacing < NO_SPACING {
            paces.remove(&account);
        }
    }

    fn pause_of(&self, account: Account) -> Option<Instant> {
        let end = self.paces().get(&account).map(|pace| pace.paused);
        end.filter(|end| *end > Instant::now())
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
