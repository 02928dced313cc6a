//! The registries: how long they take, when they fail, and what they were asked.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use tegata::image::Digest;
use tokio::time::Instant;

use crate::day::BROWN_OUT;
use crate::day::OUTAGE;
use crate::random::Random;
use crate::world::Host;
use crate::world::Image;
use crate::world::World;

/// How long a server that is down keeps who connects waiting, where it does not refuse at once.
const CONNECTING: Duration = Duration::from_secs(3);

/// How much longer a browned-out server takes.
const SLOWER: f64 = 40.0;

/// What a registry allows in a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limit {
    pub(crate) requests: u64,
    pub(crate) per: Duration,
    /// Whether only requests for manifests count.
    pub(crate) manifests_only: bool,
}

/// What a client asks in one round trip, beside each other.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Round {
    pub(crate) requests: u64,
    /// How many of them are for manifests.
    pub(crate) manifests: u64,
}

/// What comes of it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Reply {
    Answered,
    /// Come back after so long.
    Limited(Duration),
    Silent,
}

/// Why a question is asked.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Why {
    /// For evidence that somebody waits for.
    Evidence,
    /// For evidence that was used, but is old.
    Refresh,
    /// For a tag's digest.
    Tag,
}

/// What was asked in a day.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Asked {
    pub(crate) evidence: u64,
    pub(crate) refreshes: u64,
    pub(crate) tags: u64,
    /// Requests that the questions took.
    pub(crate) requests: u64,
    /// Of these, those that were answered with 429.
    pub(crate) limited: u64,
    /// Most requests to one registry within one minute.
    pub(crate) busiest_minute: u64,
    /// How often evidence was asked for, by the image.
    pub(crate) images: HashMap<Digest, u64>,
}

/// All registries, as the whole cluster sees them: one address, one account.
#[derive(Debug)]
pub(crate) struct Servers {
    pub(crate) world: Arc<World>,
    began: Instant,
    limit: Limit,
    seed: u64,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    asked: Asked,
    /// Which window it is, and what of it is used up.
    window: (u64, u64),
    /// The present minute, and the requests in it by registry.
    minute: (u64, [u64; Host::ALL.len()]),
}

impl Servers {
    /// At the beginning of the day, which is now.
    pub(crate) fn new(world: Arc<World>, limit: Limit, seed: u64) -> Self {
        Self { world, began: Instant::now(), limit, seed, state: Mutex::default() }
    }

    /// The time of day.
    pub(crate) fn now(&self) -> Duration {
        self.began.elapsed()
    }

    pub(crate) fn asked(&self) -> Asked {
        self.state().asked.clone()
    }

    pub(crate) fn question(&self, why: Why, digest: &Digest) {
        let asked = &mut self.state().asked;
        match why {
            Why::Evidence => asked.evidence += 1,
            Why::Refresh => asked.refreshes += 1,
            Why::Tag => asked.tags += 1,
        }
        if why != Why::Tag {
            *asked.images.entry(digest.clone()).or_default() += 1;
        }
    }

    /// One round trip: how long it takes, and what comes of it.
    pub(crate) fn reply(&self, image: &Image, round: Round) -> (Duration, Reply) {
        let (now, host) = (self.now(), image.host);
        let moment = now.as_millis() as u64;
        let random = &mut Random::of([self.seed, image.number, moment, round.requests]);
        let mut state = self.state();
        state.count(host, round, now);
        let State { asked, window, .. } = &mut *state;
        if host == Host::Company && OUTAGE.contains(&now) {
            let refused = random.chance(0.5);
            return (if refused { Duration::ZERO } else { CONNECTING }, Reply::Silent);
        }
        let takes = latency(random, host, now);
        if host == Host::Limited
            && let Some(after) = self.limit.spend(window, round, now)
        {
            asked.limited += round.requests;
            return (takes, Reply::Limited(after));
        }
        (takes, Reply::Answered)
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn count(&mut self, host: Host, round: Round, now: Duration) {
        let Self { asked, minute: (minute, requests), .. } = self;
        asked.requests += round.requests;
        if *minute != now.as_secs() / 60 {
            (*minute, *requests) = (now.as_secs() / 60, Default::default());
        }
        if let Some(requests) = requests.get_mut(host as usize) {
            *requests += round.requests;
            asked.busiest_minute = asked.busiest_minute.max(*requests);
        }
    }
}

impl Limit {
    /// Takes a round from a window, or says when the next one begins.
    fn spend(&self, window: &mut (u64, u64), round: Round, now: Duration) -> Option<Duration> {
        let Self { requests, per, manifests_only } = *self;
        let number = (now.as_millis() / per.as_millis().max(1)) as u64;
        if window.0 != number {
            *window = (number, 0);
        }
        let taken = if manifests_only { round.manifests } else { round.requests };
        if window.1 + taken > requests {
            let next = per * u32::try_from(number + 1).unwrap_or(u32::MAX);
            // `Retry-After` has whole seconds.
            return Some(Duration::from_secs(next.saturating_sub(now).as_secs() + 1));
        }
        window.1 += taken;
        None
    }
}

fn latency(random: &mut Random, host: Host, now: Duration) -> Duration {
    let usual = match host {
        Host::Company => Duration::from_millis(15),
        Host::Public => Duration::from_millis(60),
        Host::Limited => Duration::from_millis(80),
    };
    let tail = if random.chance(0.01) { 10.0 } else { 1.0 };
    let brown_out = host == Host::Public && BROWN_OUT.contains(&now);
    let slower = if brown_out { SLOWER } else { 1.0 };
    usual.mul_f64((0.7 + 0.6 * random.unit()) * tail * slower)
}
