//! The background task: the last good trust root stays, whatever the mirror does.
use std::time::Duration;

use jiff::Timestamp;
use tegata::tuf::Published;
use tegata::tuf::Schedule;
use tegata::tuf::keep;
use tokio::sync::watch;

use crate::mirror::Answer;
use crate::refresh::GOOD;
use crate::refresh::options;
use crate::refresh::published;
use crate::refresh::shape;
use crate::refresh::shape_of;
use crate::refresh::smaller;
use crate::tuf_repository::NOW;

const SCHEDULE: Schedule =
    Schedule { interval: Duration::from_millis(40), first_pause: Duration::from_millis(10) };

fn clock() -> Timestamp {
    NOW.parse().unwrap()
}

async fn until(
    seen: &mut watch::Receiver<Published>,
    wanted: impl FnMut(&Published) -> bool,
) -> Published {
    let found = tokio::time::timeout(Duration::from_secs(20), seen.wait_for(wanted)).await;
    found.unwrap().unwrap().clone()
}

#[tokio::test]
async fn the_last_good_trust_root_stays_until_there_is_a_newer_one() {
    let (mirror, roles, source) = published().await;
    let (sender, mut seen) = watch::channel(Published::default());
    let folder = tempfile::tempdir().unwrap();
    let state = Some(folder.path().to_owned());
    let settings = options(&mirror);
    let task = tokio::spawn(keep(source.clone(), settings, state.clone(), SCHEDULE, clock, sender));
    let first = until(&mut seen, |it| it.status.succeeded.is_some()).await;
    let root = first.root.unwrap();
    assert_eq!(shape(&root), shape_of(GOOD));
    assert_eq!(first.status.error, None);
    assert!(first.status.age(clock()).unwrap().is_zero());
    mirror.publish(&roles, 2, &smaller());
    mirror.answer("timestamp.json", Answer::Status(500));
    let failed = until(&mut seen, |it| it.status.failures >= 3).await;
    assert_eq!(shape(failed.root.as_ref().unwrap()), shape_of(GOOD));
    assert!(failed.status.error.unwrap().problem.contains("is answered with status 500"));
    assert_eq!(failed.status.expires, first.status.expires);
    mirror.publish(&roles, 2, &smaller());
    let smaller = shape_of(&smaller());
    let next =
        until(&mut seen, |it| it.root.as_deref().is_some_and(|it| shape(it) == smaller)).await;
    assert_eq!((next.status.failures, next.status.error), (0, None));
    drop(seen);
    assert_eq!(task.await.unwrap(), Ok(()));

    mirror.answer("timestamp.json", Answer::Hang);
    let (sender, mut seen) = watch::channel(Published::default());
    let task = tokio::spawn(keep(source, options(&mirror), state, SCHEDULE, clock, sender));
    let stored = until(&mut seen, |it| it.root.is_some()).await;
    assert_eq!(shape(&stored.root.unwrap()), smaller);
    assert_eq!(stored.status.succeeded, None);
    drop(seen);
    let ended = tokio::time::timeout(Duration::from_secs(1), task).await;
    assert_eq!(ended.unwrap().unwrap(), Ok(()), "nobody listens: it does not wait for the mirror");
}

#[tokio::test]
async fn publishes_no_trust_root_before_there_is_one() {
    let (mirror, _, source) = published().await;
    mirror.answer("timestamp.json", Answer::Status(503));
    let (sender, mut seen) = watch::channel(Published::default());
    let task = tokio::spawn(keep(source, options(&mirror), None, SCHEDULE, clock, sender));
    let failed = until(&mut seen, |it| it.status.failures >= 2).await;
    assert!(failed.root.is_none());
    assert_eq!(failed.status.age(clock()), None);
    drop(seen);
    assert_eq!(task.await.unwrap(), Ok(()));
}
