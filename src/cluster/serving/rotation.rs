//! What is to be done with the certificates of a Secret, as a pure function of what it holds.
//!
//! The authority is replaced with an overlap, so that no API server ever meets a leaf that it
//! cannot verify:
//!
//! | step | `ca.crt` | leaf is of | goes on |
//! |---|---|---|---|
//! | at rest | old | old | when the authority is due, or someone asks |
//! | [`Action::Announce`] | new, old | old | when every configuration holds both |
//! | [`Action::Confirm`] | new, old | old | after [`GRACE`], if they still do |
//! | [`Action::Promote`] | new, old | new | after [`OVERLAP`] |
//! | [`Action::Retire`] | new | new | at rest |
//!
//! Which step was reached shows in the certificates themselves; only when the configurations were
//! seen to hold the bundle is written beside them.
use jiff::SignedDuration;
use jiff::Timestamp;

use crate::server::tls::issue;

/// How long every configuration must have held a new authority before a leaf under it is served.
/// API servers learn of a changed configuration by watch, usually within a second, and a busy one
/// within a few.
pub(super) const GRACE: SignedDuration = SignedDuration::from_secs(30);

/// How long an authority is trusted after its last leaf was replaced. Replicas learn of the new
/// leaf by watch, at once, and look every minute besides; an hour is for one that cannot reach the
/// API server for a while.
pub(super) const OVERLAP: SignedDuration = SignedDuration::from_hours(1);

/// How near its end a leaf may come before every replica acts, elected or not: renewal is then a
/// month late, and nobody is elected.
pub(super) const URGENT: SignedDuration = SignedDuration::from_hours(24);

/// Most authorities in a bundle. A rotation needs two; more are there when several are asked for
/// within [`OVERLAP`].
pub(super) const MAX_AUTHORITIES: usize = 4;

/// What a Secret holds, as far as it matters when things are to be done.
#[derive(Clone, Debug)]
pub(super) struct SecretState {
    /// When the leaf was made.
    pub(super) leaf_issued: Timestamp,
    /// When the leaf ends.
    pub(super) leaf_expires: Timestamp,
    /// Whether the leaf is for every name that clients use.
    pub(super) names_fit: bool,
    /// When the authority that issues was made.
    pub(super) authority_issued: Timestamp,
    /// When the authority that issues ends.
    pub(super) authority_expires: Timestamp,
    /// The authority that is to issue next, if one is announced.
    pub(super) next: Option<Announced>,
    /// How many authorities are trusted, those two included.
    pub(super) authorities: usize,
    /// Whether someone asks for a new authority.
    pub(super) asked: bool,
}

/// An authority that is trusted already and does not issue yet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Announced {
    /// Since when every configuration was seen to hold it.
    pub(super) in_step_since: Option<Timestamp>,
}

/// What to do next.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Action {
    /// Put a new authority into the bundle.
    Announce,
    /// Write down that every configuration holds the bundle.
    Confirm,
    /// Issue a leaf under the announced authority, which takes the old one's place.
    Promote,
    /// Issue a leaf under the authority that issues.
    Renew,
    /// Trust only the authority that issues.
    Retire,
    /// Nothing, until then.
    Wait(Timestamp),
    /// Write down that not every configuration holds the bundle.
    Withdraw,
}

/// What to do at `now`. `in_step`: every configuration was seen to hold exactly the bundle.
pub(super) fn next(state: &SecretState, now: Timestamp, in_step: bool) -> Action {
    if state.authority_expires <= now {
        // Nobody trusts the leaf any more: nothing is lost by haste.
        return if state.next.is_some() { Action::Promote } else { Action::Announce };
    }
    let leaf_due = issue::renewal(state.leaf_issued, state.leaf_expires);
    if leaf_due <= now || !state.names_fit {
        return Action::Renew;
    }
    match state.next {
        Some(announced) => announce(announced, now, in_step).unwrap_or(Action::Wait(leaf_due)),
        None => at_rest(state, leaf_due, now),
    }
}

/// What to do while an authority is announced, if anything.
fn announce(announced: Announced, now: Timestamp, in_step: bool) -> Option<Action> {
    match (announced.in_step_since, in_step) {
        // A time to come was written by a clock that is ahead of ours.
        (Some(since), true) if since <= now => {
            let until = later(since, GRACE);
            Some(if until <= now { Action::Promote } else { Action::Wait(until) })
        }
        (Some(_) | None, true) => Some(Action::Confirm),
        (Some(_), false) => Some(Action::Withdraw),
        (None, false) => None,
    }
}

fn at_rest(state: &SecretState, leaf_due: Timestamp, now: Timestamp) -> Action {
    let mut until = leaf_due;
    if state.authorities > 1 {
        let retire = later(state.leaf_issued, OVERLAP);
        if retire <= now {
            return Action::Retire;
        }
        until = until.min(retire);
    }
    let authority_due = issue::renewal(state.authority_issued, state.authority_expires);
    let due = state.asked || authority_due <= now;
    if due && state.authorities < MAX_AUTHORITIES {
        return Action::Announce;
    }
    if !due {
        until = until.min(authority_due);
    }
    Action::Wait(until)
}

fn later(than: Timestamp, by: SignedDuration) -> Timestamp {
    than.checked_add(by).unwrap_or(Timestamp::MAX)
}

#[cfg(test)]
mod tests;
