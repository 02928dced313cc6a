//! How much is asked of one server at a time, and when nothing is.
use std::collections::BTreeSet;
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
/// Of those that wait, the one goes first whose time ends first: of several images whose evidence takes
/// several requests each, one is finished after the other, instead of all of them too late.
#[derive(Debug)]
struct Pace {
    /// Until when nothing is sent.
    paused: Instant,
    /// The time between two requests after that.
    spacing: Duration,
    /// When the next request may be sent.
    next: Instant,
    /// Who waits for that.
    line: BTreeSet<Place>,
}

/// A place in line: until when its holder can wait, and a number that nobody else has.
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
        let left = budget.paces().get_mut(account).is_some_and(|pace| pace.line.remove(place));
        if left {
            budget.moved.notify_waiters();
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

    /// Waits for a turn, at most until `until`.
    ///
    /// # Errors
    /// What left no turn.
    pub async fn turn(
        &self,
        account: Account,
        until: Instant,
    ) -> Result<SemaphorePermit<'_>, NoTurn> {
        loop {
            self.in_line(account, until).await.map_err(NoTurn::Paused)?;
            let turn = self.within_limits(until).await.map_err(NoTurn::Spent)?;
            // A pause may have begun while this one waited.
            if self.pause_of(account).is_none() {
                return Ok(turn);
            }
        }
    }

    /// Waits until the account's next request may be sent, which is then taken; the wait where that is
    /// not before `until`.
    async fn in_line(&self, account: Account, until: Instant) -> Result<(), Duration> {
        let place = (until, self.numbers.fetch_add(1, Ordering::Relaxed));
        let _in_line = InLine { budget: self, account, place };
        loop {
            let moved = self.moved.notified();
            let Some(at) = self.next(account, place)? else { return Ok(()) };
            tokio::select! {
                () = tokio::time::sleep_until(at) => {}
                () = moved => {}
            }
        }
    }

    /// When the request of this place may be sent, as far as can be told; `None` where it is to be sent
    /// now. Takes its place, or leaves it.
    fn next(&self, account: Account, place: Place) -> Result<Option<Instant>, Duration> {
        let now = Instant::now();
        let mut paces = self.paces();
        let Some(pace) = paces.get_mut(&account) else { return Ok(None) };
        pace.line.insert(place);
        let ahead = u32::try_from(pace.line.range(..place).count()).unwrap_or(u32::MAX);
        let before = pace.spacing.max(NO_SPACING).saturating_mul(ahead);
        let at = pace.paused.max(pace.next) + before;
        let (until, _) = place;
        if at.max(now) >= until {
            return Err(at.saturating_duration_since(now));
        }
        // Whoever is ahead and does not come when it may holds up those behind for its turn alone.
        if at > now {
            return Ok(Some(at));
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

    /// Leaves the server alone for `time`, at most [`MAX_RETRY_AFTER`], on behalf of an account: of
    /// others it has not said so, and whoever has used up their own must not stop them.
    pub fn pause(&self, account: Account, time: Duration) {
        let now = Instant::now();
        let end = now + time.min(MAX_RETRY_AFTER);
        let mut paces = self.paces();
        paces.retain(|_, pace| pace.paused.max(pace.next) + PACE_LIFE > now);
        if paces.len() >= MAX_PAUSES && !paces.contains_key(&account) {
            return;
        }
        let line = BTreeSet::default();
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
        if pace.spacing < NO_SPACING && pace.paused <= Instant::now() {
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
mod tests {
    use super::*;

    #[test]
    fn a_seconds_worth_goes_at_once_and_the_rest_is_spread() {
        let budget = Budget::new(Limits::default());
        let now = Instant::now();
        let far = now + Duration::from_secs(60);
        let waits: Vec<_> =
            (0..7).map(|_| (budget.slot(4, now, far).unwrap() - now).as_millis()).collect();
        assert_eq!(waits, [0, 0, 0, 0, 250, 500, 750]);
        // Too late for its deadline, and so it takes nothing from those after it.
        assert_eq!(budget.slot(4, now, now + Duration::from_millis(999)), None);
        assert_eq!(budget.slot(4, now, far), Some(now + Duration::from_secs(1)));
        let later = now + Duration::from_secs(30);
        assert_eq!(budget.slot(4, later, far), Some(later));
    }

    #[tokio::test(start_paused = true)]
    async fn names_the_limit_that_is_reached() {
        let soon = || Instant::now() + Duration::from_millis(20);
        let budget = Budget::new(Limits { concurrent: 1, per_second: None });
        let turn = budget.turn(None, soon()).await.unwrap();
        let spent = budget.turn(None, soon()).await.unwrap_err();
        assert_eq!(spent, NoTurn::Spent(Spent::Concurrent(1)));
        drop(turn);
        assert!(budget.turn(None, soon()).await.is_ok());
        let budget = Budget::new(Limits { concurrent: 1, per_second: Some(1) });
        assert!(budget.turn(None, soon()).await.is_ok());
        let spent = budget.turn(None, soon()).await.unwrap_err();
        assert_eq!(spent, NoTurn::Spent(Spent::PerSecond(1)));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_for_everyone_with_that_account_and_for_nobody_else() {
        let seconds = Duration::from_secs;
        let budget = Budget::new(Limits::default());
        let start = Instant::now();
        budget.pause(None, seconds(4));
        // A shorter one does not end it.
        budget.pause(None, seconds(1));
        let refused = budget.turn(None, start + seconds(3)).await.unwrap_err();
        assert_eq!((refused, start.elapsed()), (NoTurn::Paused(seconds(4)), Duration::ZERO));
        assert!(budget.turn(Some(1), start + seconds(3)).await.is_ok());
        assert_eq!(start.elapsed(), Duration::ZERO, "another account does not wait");
        assert!(budget.turn(None, start + seconds(10)).await.is_ok());
        assert_eq!(start.elapsed(), seconds(4));
    }

    #[tokio::test(start_paused = true)]
    async fn a_pause_holds_for_those_that_wait_already_and_is_bounded() {
        let budget = Budget::new(Limits { concurrent: 1, per_second: None });
        let start = Instant::now();
        let far = start + Duration::from_secs(1_000);
        let turn = budget.turn(None, far).await.unwrap();
        let waits = budget.turn(None, far);
        let ends = async {
            tokio::task::yield_now().await;
            budget.pause(None, Duration::from_secs(u64::from(u32::MAX)));
            drop(turn);
        };
        let (turn, ()) = futures::join!(waits, ends);
        assert!(turn.is_ok());
        assert_eq!(start.elapsed(), MAX_RETRY_AFTER);
    }

    /// Of requests to a server that lets five a second through, few are refused, and most of the five
    /// are used.
    #[tokio::test(start_paused = true)]
    async fn finds_the_pace_of_a_server_that_refuses() {
        let budget = Budget::new(Limits::default());
        let start = Instant::now();
        let far = start + Duration::from_secs(1_000);
        let (mut allowed, mut refused) = (0, 0);
        let mut second = (0, 0);
        while start.elapsed() < Duration::from_secs(60) {
            let turn = budget.turn(None, far).await.unwrap();
            let now = start.elapsed().as_secs();
            second = if second.0 == now { (now, second.1 + 1) } else { (now, 1) };
            if second.1 <= 5 {
                allowed += 1;
                budget.answered(None);
            } else {
                refused += 1;
                budget.pause(None, Duration::from_secs(1));
            }
            drop(turn);
        }
        assert!(allowed >= 150, "{allowed} of 300");
        assert!(refused * 5 <= allowed, "{refused} beside {allowed}");
    }

    /// A budget that sends a request every second from the next second on.
    fn paced() -> Budget {
        let budget = Budget::new(Limits::default());
        budget.pause(None, Duration::from_secs(1));
        budget.paces().get_mut(&None).unwrap().spacing = Duration::from_secs(1);
        budget
    }

    /// In the order of turns, they would all be finished at the end.
    #[tokio::test(start_paused = true)]
    async fn what_is_begun_is_finished_first() {
        let (budget, start) = (paced(), Instant::now());
        let several = async |image: u64| {
            let until = start + Duration::from_secs(100 + image);
            for _ in 0..3 {
                drop(budget.turn(None, until).await.unwrap());
            }
            start.elapsed().as_secs()
        };
        let finished = futures::join!(several(2), several(0), several(1));
        assert_eq!(finished, (9, 3, 6));
    }

    #[tokio::test(start_paused = true)]
    async fn whoever_leaves_the_line_or_does_not_come_holds_nobody_up() {
        let (budget, start) = (paced(), Instant::now());
        let far = |seconds: u64| start + Duration::from_secs(100 + seconds);
        let mut leaves = Box::pin(budget.turn(None, far(0)));
        let mut stays_away = Box::pin(budget.turn(None, far(1)));
        assert!(futures::poll!(&mut leaves).is_pending());
        assert!(futures::poll!(&mut stays_away).is_pending());
        let goes = async {
            drop(budget.turn(None, far(2)).await.unwrap());
            start.elapsed().as_secs()
        };
        let left = async { drop(leaves) };
        let (went, ()) = futures::join!(goes, left);
        assert_eq!(went, 2);
        // Told at once where the time does not suffice behind those who wait.
        let wait = Duration::from_secs(2);
        let none = budget.turn(None, start + Duration::from_secs(4)).await.map(drop);
        assert!(none.is_ok(), "it goes before those that can wait longer");
        let late = budget.turn(None, start + Duration::from_secs(3)).await.map(drop);
        assert_eq!(late, Err(NoTurn::Paused(wait / 2)));
        drop(stays_away);
        assert!(budget.paces()[&None].line.is_empty());
    }

    #[tokio::test(start_paused = true)]
    async fn a_pace_is_forgotten_with_answers_and_with_time() {
        let budget = Budget::new(Limits::default());
        budget.pause(None, Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(2)).await;
        for _ in 0..50 {
            budget.answered(None);
        }
        assert!(budget.paces().is_empty());
        budget.pause(None, Duration::from_secs(1));
        tokio::time::advance(Duration::from_secs(1) + PACE_LIFE).await;
        budget.pause(Some(1), Duration::from_secs(1));
        assert_eq!(budget.paces().len(), 1);
    }

    #[test]
    fn pauses_are_bounded_in_number() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _guard = runtime.enter();
        let budget = Budget::new(Limits::default());
        for account in 0..2 * MAX_PAUSES as u64 {
            budget.pause(Some(account), Duration::from_secs(5));
        }
        assert_eq!(budget.paces().len(), MAX_PAUSES);
        assert!(budget.pause_of(Some(0)).is_some());
    }
}
