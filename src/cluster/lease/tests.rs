use super::*;

fn lease(holder: &str) -> Lease {
    let spec = LeaseSpec { holder_identity: Some(holder.to_owned()), ..LeaseSpec::default() };
    Lease { spec: Some(spec), ..Lease::default() }
}

#[test]
fn decides_by_holder_and_by_what_was_seen_to_change() {
    for (lease, expired, step) in [
        (None, false, Step::Create),
        (Some(lease("me")), false, Step::Renew),
        (Some(lease("me")), true, Step::Renew),
        (Some(lease("")), false, Step::TakeOver),
        (Some(Lease::default()), false, Step::TakeOver),
        (Some(lease("you")), false, Step::Wait),
        (Some(lease("you")), true, Step::TakeOver),
    ] {
        assert_eq!(decide(lease.as_ref(), "me", expired), step, "{lease:?} {expired}");
    }
}

#[test]
fn the_holder_stops_before_another_may_begin() {
    let Timing { duration, renew, give_up } = Timing::default();
    assert!(renew < give_up && give_up < duration);
}
