//! Keeps a trust root fresh in the background.
use std::hash::BuildHasher as _;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;
use tokio::sync::watch;
use tracing::info;
use tracing::warn;

use crate::error::one_line;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf::Source;

use super::Opened;
use super::Options;
use super::RefreshError;
use super::Refreshed;
use super::Repository;

/// Time between two refreshes. A root that was taken back should not stay for long, which is why
/// the expiry of the timestamp, a week at the public-good instance, is not waited for; an hour
/// costs a mirror two small requests when nothing changed.
const INTERVAL: Duration = Duration::from_secs(60 * 60);

/// The pause after a first failure; it doubles with each further one, up to the interval.
const FIRST_PAUSE: Duration = Duration::from_secs(10);

/// The shortest interval that may be set: no pause is shorter than the one after a first failure.
pub const MIN_INTERVAL: Duration = FIRST_PAUSE;

/// The longest interval that may be set. Whoever takes a key back counts on its being gone within a
/// day, and the timestamps of repositories are made anew every few days.
pub const MAX_INTERVAL: Duration = Duration::from_secs(24 * 60 * 60);

/// When to refresh.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Schedule {
    /// Time between two refreshes; sooner where metadata expires sooner.
    pub interval: Duration,
    /// The pause after a first failure; it doubles with each further one, up to `interval`.
    pub first_pause: Duration,
}

impl Default for Schedule {
    fn default() -> Self {
        Self { interval: INTERVAL, first_pause: FIRST_PAUSE }
    }
}

impl Schedule {
    /// Refreshes after each such time, if that is between [`MIN_INTERVAL`] and [`MAX_INTERVAL`].
    pub fn every(interval: Duration) -> Option<Self> {
        let may_be = (MIN_INTERVAL..=MAX_INTERVAL).contains(&interval);
        may_be.then(|| Self { interval, ..Self::default() })
    }

    /// The pause after a refresh: between nine tenths and all of the interval, so that replicas
    /// do not come together, and half the time until metadata expires where that is sooner.
    fn after_success(&self, now: Timestamp, expires: Timestamp) -> Duration {
        let left = Duration::try_from(now.duration_until(expires)).unwrap_or_default();
        let pause = self.interval.min(left / 2).max(self.first_pause);
        pause.mul_f64(0.9 + 0.1 * fraction())
    }

    /// The pause after so many failures in a row: between half and all of what it doubled to.
    fn after_failure(&self, failures: u32) -> Duration {
        let factor = 1_u32.checked_shl(failures.saturating_sub(1)).unwrap_or(u32::MAX);
        let pause = self.first_pause.saturating_mul(factor).min(self.interval);
        pause.mul_f64(0.5 + 0.5 * fraction())
    }
}

/// Between 0 and 1, at random.
fn fraction() -> f64 {
    let random = std::hash::RandomState::new().hash_one(0_u8);
    (random % 1_000) as f64 / 1_000.0
}

/// What requests use, and how old it is.
#[derive(Clone, Debug, Default)]
pub struct Published {
    /// The last good trust root; none until one was fetched or found in the folder.
    pub root: Option<Arc<TrustRoot>>,
    /// How refreshing goes.
    pub status: Status,
}

/// How refreshing goes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Status {
    /// When a refresh last succeeded; none where none did since the start.
    pub succeeded: Option<Timestamp>,
    /// The version of the root metadata that leads to the trust root.
    pub root_version: Option<u64>,
    /// When the first of the metadata expires that leads to the trust root. The trust root is used
    /// beyond that, because there is no better one; an operator must act.
    pub expires: Option<Timestamp>,
    /// How many refreshes failed in a row.
    pub failures: u32,
    /// Why the last one failed; none where it succeeded.
    pub error: Option<Failure>,
}

/// Why a refresh failed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Failure {
    /// Whose doing it may be.
    pub kind: FailureKind,
    /// Why, in one line.
    pub problem: String,
}

/// The kinds of failures.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum FailureKind {
    /// The mirror answered, and what it holds is not to be believed: older than what is known,
    /// expired, signed by too few, no trusted root. It does not pass by itself.
    Refused,
    /// The mirror did not answer as it should, or is not asked. It may pass by itself.
    Unavailable,
}

impl Failure {
    pub(super) fn unavailable(problem: String) -> Self {
        Self { kind: FailureKind::Unavailable, problem }
    }
}

impl From<&RefreshError> for Failure {
    fn from(error: &RefreshError) -> Self {
        let kind = match error {
            RefreshError::Metadata(_) | RefreshError::Target(_) => FailureKind::Refused,
            RefreshError::Mirror(_)
            | RefreshError::TimedOut { .. }
            | RefreshError::TooManyRoots { .. } => FailureKind::Unavailable,
        };
        Self { kind, problem: one_line(error) }
    }
}

impl Status {
    /// Time since a refresh last succeeded.
    pub fn age(&self, now: Timestamp) -> Option<SignedDuration> {
        self.succeeded.map(|succeeded| succeeded.duration_until(now))
    }
}

/// Fetches the trust root at once and then again and again, and publishes it, until nobody
/// listens.
///
/// Whatever fails, the last good trust root stays. `folder` is this source's alone. `clock` says
/// what time it is.
///
/// # Errors
/// When the settings cannot be used; nothing else ends it.
pub async fn keep(
    source: Source,
    options: Options,
    folder: Option<PathBuf>,
    schedule: Schedule,
    clock: impl Fn() -> Timestamp + Send,
    published: watch::Sender<Published>,
) -> Result<(), RefreshError> {
    let mirror = source.mirror().to_string();
    let opened = Repository::open(&source, &options, folder.as_deref(), clock()).await?;
    let Opened { mut repository, stored, ignored } = opened;
    for problem in ignored {
        warn!(%mirror, %problem, "Ignored part of the stored trust root");
    }
    if let Some(Refreshed { root, root_version, expires, unsaved: _ }) = stored {
        info!(%mirror, root_version, %expires, "Took the trust root from the folder");
        published.send_modify(|published| {
            published.root = Some(root);
            published.status.root_version = Some(root_version);
            published.status.expires = Some(expires);
        });
    }
    loop {
        let refreshed = tokio::select! {
            refreshed = repository.refresh(clock()) => refreshed,
            () = published.closed() => return Ok(()),
        };
        let now = clock();
        let pause = match refreshed {
            Ok(refreshed) => {
                let pause = schedule.after_success(now, refreshed.expires);
                succeed(&published, &mirror, refreshed, now);
                pause
            }
            Err(error) => schedule.after_failure(fail(&published, &mirror, &error)),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            () = published.closed() => return Ok(()),
        }
    }
}

fn succeed(
    published: &watch::Sender<Published>,
    mirror: &str,
    refreshed: Refreshed,
    now: Timestamp,
) {
    let Refreshed { root, root_version, expires, unsaved } = refreshed;
    info!(%mirror, root_version, %expires, "Refreshed the trust root");
    if let Some(problem) = unsaved {
        warn!(%mirror, %problem, "Could not store the trust root; a restart needs the mirror");
    }
    let (root_version, expires) = (Some(root_version), Some(expires));
    let status = Status { succeeded: Some(now), root_version, expires, failures: 0, error: None };
    published.send_replace(Published { root: Some(root), status });
}

/// Returns how many refreshes failed in a row.
fn fail(published: &watch::Sender<Published>, mirror: &str, error: &RefreshError) -> u32 {
    let failure = Failure::from(error);
    let problem = &failure.problem;
    warn!(%mirror, %problem, "Could not refresh the trust root; the last good one stays in use");
    published.send_modify(|published| {
        published.status.failures = published.status.failures.saturating_add(1);
        published.status.error = Some(failure);
    });
    published.borrow().status.failures
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCHEDULE: Schedule =
        Schedule { interval: Duration::from_secs(3600), first_pause: Duration::from_secs(10) };

    fn within(pause: Duration, least: f64, most: f64) {
        assert!((least..=most).contains(&pause.as_secs_f64()), "{pause:?}");
    }

    #[test]
    fn bounds_the_interval() {
        for (interval, may_be) in
            [(INTERVAL, true), (MIN_INTERVAL, true), (MAX_INTERVAL, true), (Duration::ZERO, false)]
        {
            let wanted = may_be.then_some(Schedule { interval, first_pause: FIRST_PAUSE });
            assert_eq!(Schedule::every(interval), wanted, "{interval:?}");
        }
        let little = Duration::from_millis(1);
        assert_eq!(Schedule::every(MIN_INTERVAL - little), None);
        assert_eq!(Schedule::every(MAX_INTERVAL + little), None);
        let pause = Schedule::every(MIN_INTERVAL).unwrap().after_failure(40);
        within(pause, MIN_INTERVAL.as_secs_f64() / 2.0, MIN_INTERVAL.as_secs_f64());
    }

    #[test]
    fn pauses_for_the_interval_or_until_metadata_is_half_expired() {
        let now: Timestamp = "2026-11-22T00:00:00Z".parse().unwrap();
        let pause = |expires: &str| SCHEDULE.after_success(now, expires.parse().unwrap());
        within(pause("2026-11-29T00:00:00Z"), 3240.0, 3600.0);
        within(pause("2026-11-22T01:00:00Z"), 1620.0, 1800.0);
        within(pause("2026-11-22T00:00:01Z"), 9.0, 10.0);
        within(pause("2026-11-21T00:00:00Z"), 9.0, 10.0);
    }

    #[test]
    fn doubles_the_pause_with_each_failure_up_to_the_interval() {
        within(SCHEDULE.after_failure(1), 5.0, 10.0);
        within(SCHEDULE.after_failure(2), 10.0, 20.0);
        within(SCHEDULE.after_failure(5), 80.0, 160.0);
        for failures in [10, 40, u32::MAX] {
            within(SCHEDULE.after_failure(failures), 1800.0, 3600.0);
        }
    }
}
