use super::*;

fn lease(holder: &str) -> Lease {
    let spec = LeaseSpec { holder_identity: Some(holder.to_owned()), ..LeaseSpec::default() };
    Lease { spec: Some(spec), ..Lease::default() }
}

#[test]
fn decides_by_the_time_since_the_lease_was_seen_to_change() {
    let long = DURATION * 10;
    let almost = DURATION.checked_sub(Duration::from_millis(1)).unwrap();
    for (lease, unchanged, step) in [
        (None, Duration::ZERO, Step::Create),
        (Some(lease("me")), Duration::ZERO, Step::Renew),
        (Some(lease("me")), long, Step::Renew),
        (Some(lease("")), Duration::ZERO, Step::TakeOver),
        (Some(Lease::default()), Duration::ZERO, Step::TakeOver),
        (Some(lease("you")), Duration::ZERO, Step::Wait),
        (Some(lease("you")), almost, Step::Wait),
        (Some(lease("you")), DURATION, Step::TakeOver),
    ] {
        assert_eq!(decide(lease.as_ref(), "me", unchanged), step, "{lease:?} {unchanged:?}");
    }
}

#[test]
fn the_holder_stops_before_another_may_begin() {
    assert!(RENEW < GIVE_UP && GIVE_UP < DURATION);
}
