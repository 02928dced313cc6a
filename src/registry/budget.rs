//! How much is asked of one server at a time, and when nothing is.
use std::collections::HashMap;
use std::fmt;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

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
#[derive(Clone, Copy, Debug)]
struct Pace {
    /// Until when nothing is sent.
    paused: Instant,
    /// The time between two requests after that.
    spacing: Duration,
    /// When the next request may be sent.
    next: Instant,
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
    /// When the requests so far would have been sent, had they been spread evenly.
    sent_until: Mutex<Option<Instant>>,
}

impl Budget {
    /// Nothing is used up, and nobody waits.
    pub fn new(limits: Limits) -> Self {
        let (paces, sent_until) = (Mutex::default(), Mutex::default());
        Self { limits, turns: Semaphore::new(limits.concurrent), paces, sent_until }
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
            let at = self.next(account, until).map_err(NoTurn::Paused)?;
            if let Some(at) = at {
                tokio::time::sleep_until(at).await;
            }
            let turn = self.within_limits(until).await.map_err(NoTurn::Spent)?;
            // A pause may have begun while this one waited.
            if self.pause_of(account).is_none() {
                return Ok(turn);
            }
        }
    }

    /// When the account's next request may be sent, which is then taken; the wait where that is not
    /// before `until`.
    fn next(&self, account: Account, until: Instant) -> Result<Option<Instant>, Duration> {
        let now = Instant::now();
        let mut paces = self.paces();
        let Some(pace) = paces.get_mut(&account) else { return Ok(None) };
        let at = pace.paused.max(pace.next).max(now);
        if at >= until {
            return Err(at.saturating_duration_since(now));
        }
        pace.next = at + pace.spacing;
        Ok(Some(at))
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
        let none = Pace { paused: now, spacing: Duration::ZERO, next: now };
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
