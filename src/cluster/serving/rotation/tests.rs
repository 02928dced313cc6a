//! The machine as a table, and a whole rotation by its rules.
use super::*;

fn day(days: i64) -> Timestamp {
    at(days * 86_400)
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

/// Made on day 0: a leaf of 90 days under an authority of 365.
fn fresh() -> SecretState {
    SecretState {
        leaf_issued: day(0),
        leaf_expires: day(90),
        names_fit: true,
        authority_issued: day(0),
        authority_expires: day(365),
        next: None,
        authorities: 1,
        asked: false,
    }
}

fn announced(in_step_since: Option<Timestamp>) -> SecretState {
    let next = Some(Announced { in_step_since });
    SecretState { next, authorities: 2, ..fresh() }
}

#[test]
fn decides_by_the_table() {
    use Action::*;
    let authority_due = at(365 * 86_400 * 2 / 3);
    let old = |leaf_issued| SecretState {
        leaf_issued: day(leaf_issued),
        leaf_expires: day(leaf_issued + 90),
        ..fresh()
    };
    let retiring = SecretState { authorities: 2, ..fresh() };
    let asked = SecretState { asked: true, ..fresh() };
    let full = SecretState { asked: true, authorities: MAX_AUTHORITIES, ..fresh() };
    let wrong_name = SecretState { names_fit: false, ..fresh() };
    let expired = SecretState { authority_expires: day(30), ..announced(None) };
    let table = [
        ("nothing is due", fresh(), day(1), true, Wait(day(60))),
        ("nor is it for webhooks out of step", fresh(), day(1), false, Wait(day(60))),
        ("the leaf is due", fresh(), day(60), true, Renew),
        ("the leaf is not yet due", fresh(), at(60 * 86_400 - 1), true, Wait(day(60))),
        ("a leaf is renewed out of step too", fresh(), day(60), false, Renew),
        ("an expired leaf", fresh(), day(91), true, Renew),
        ("a leaf for other names", wrong_name, day(1), true, Renew),
        ("the authority comes before the leaf", old(200), day(201), true, Wait(authority_due)),
        ("the authority is due", old(200), authority_due, true, Announce),
        ("even out of step", old(200), authority_due, false, Announce),
        ("someone asks", asked.clone(), day(1), true, Announce),
        ("someone asks, the leaf first", asked, day(60), true, Renew),
        ("someone asks too often", full.clone(), at(9), true, Wait(at(3600))),
        ("and waits until the old ones go", full, at(3600), true, Retire),
        ("announced, not in step", announced(None), day(1), false, Wait(day(60))),
        ("announced, in step", announced(None), day(1), true, Confirm),
        ("in step, grace", announced(Some(day(1))), at(86_429), true, Wait(at(86_430))),
        ("in step, long enough", announced(Some(day(1))), at(86_430), true, Promote),
        ("in step no more", announced(Some(day(1))), at(86_430), false, Withdraw),
        ("in step in the future", announced(Some(day(3))), day(2), true, Confirm),
        ("the leaf is due, announced", announced(None), day(60), false, Renew),
        ("announced, authority over", expired.clone(), day(30), false, Promote),
        ("authority over", SecretState { next: None, ..expired }, day(30), false, Announce),
        ("the old one is trusted still", retiring.clone(), at(3599), true, Wait(at(3600))),
        ("and no longer", retiring, at(3600), false, Retire),
    ];
    for (what, state, now, in_step, wanted) in table {
        assert_eq!(next(&state, now, in_step), wanted, "{what}");
    }
}

#[test]
fn never_serves_a_leaf_of_an_authority_before_every_webhook_trusts_it() {
    let since = [None, Some(at(0)), Some(at(-29)), Some(at(-30)), Some(at(-3000))];
    for (since, in_step) in since.into_iter().flat_map(|since| [(since, false), (since, true)]) {
        let promoted = next(&announced(since), at(0), in_step) == Action::Promote;
        let long_enough = since.is_some_and(|since| since <= at(-30));
        assert_eq!(promoted, in_step && long_enough, "{since:?} {in_step}");
    }
}
