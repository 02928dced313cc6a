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
    let turn = budget.turn(None, Instant::now(), soon()).await.unwrap();
    let spent = budget.turn(None, Instant::now(), soon()).await.unwrap_err();
    assert_eq!(spent, NoTurn::Spent(Spent::Concurrent(1)));
    drop(turn);
    assert!(budget.turn(None, Instant::now(), soon()).await.is_ok());
    let budget = Budget::new(Limits { concurrent: 1, per_second: Some(1) });
    assert!(budget.turn(None, Instant::now(), soon()).await.is_ok());
    let spent = budget.turn(None, Instant::now(), soon()).await.unwrap_err();
    assert_eq!(spent, NoTurn::Spent(Spent::PerSecond(1)));
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_for_everyone_with_that_account_and_for_nobody_else() {
    let seconds = Duration::from_secs;
    let budget = Budget::new(Limits::default());
    let start = Instant::now();
    budget.pause(None, seconds(4), Instant::now());
    // A shorter one does not end it.
    budget.pause(None, seconds(1), Instant::now());
    let refused = budget.turn(None, Instant::now(), start + seconds(3)).await.unwrap_err();
    assert_eq!((refused, start.elapsed()), (NoTurn::Paused(seconds(4)), Duration::ZERO));
    assert!(budget.turn(Some(1), Instant::now(), start + seconds(3)).await.is_ok());
    assert_eq!(start.elapsed(), Duration::ZERO, "another account does not wait");
    assert!(budget.turn(None, Instant::now(), start + seconds(10)).await.is_ok());
    assert_eq!(start.elapsed(), seconds(4));
}

#[tokio::test(start_paused = true)]
async fn a_pause_holds_for_those_that_wait_already_and_is_bounded() {
    let budget = Budget::new(Limits { concurrent: 1, per_second: None });
    let start = Instant::now();
    let far = start + Duration::from_secs(1_000);
    let turn = budget.turn(None, Instant::now(), far).await.unwrap();
    let waits = budget.turn(None, Instant::now(), far);
    let ends = async {
        tokio::task::yield_now().await;
        budget.pause(None, Duration::from_secs(u64::from(u32::MAX)), Instant::now());
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
        let turn = budget.turn(None, Instant::now(), far).await.unwrap();
        let now = start.elapsed().as_secs();
        second = if second.0 == now { (now, second.1 + 1) } else { (now, 1) };
        if second.1 <= 5 {
            allowed += 1;
            budget.answered(None, Instant::now());
        } else {
            refused += 1;
            budget.pause(None, Duration::from_secs(1), Instant::now());
        }
        drop(turn);
    }
    assert!(allowed >= 150, "{allowed} of 300");
    assert!(refused * 5 <= allowed, "{refused} beside {allowed}");
}

/// A budget that sends a request every second from the next second on.
fn paced() -> Budget {
    let budget = Budget::new(Limits::default());
    budget.pause(None, Duration::from_secs(1), Instant::now());
    budget.paces().get_mut(&None).unwrap().spacing = Duration::from_secs(1);
    budget
}

/// In the order of turns, they would all be finished at the end.
#[tokio::test(start_paused = true)]
async fn what_is_begun_first_is_finished_first() {
    let (budget, start) = (paced(), Instant::now());
    let several = async |began: u64| {
        let began = start + Duration::from_millis(began);
        for _ in 0..3 {
            drop(budget.turn(None, began, start + Duration::from_secs(100)).await.unwrap());
        }
        start.elapsed().as_secs()
    };
    let finished = futures::join!(several(2), several(0), several(1));
    assert_eq!(finished, (9, 3, 6));
    assert!(budget.paces()[&None].line.is_empty());
}

/// Whoever can wait for long is not put off for ever by those that cannot.
#[tokio::test(start_paused = true)]
async fn those_in_a_hurry_do_not_go_first() {
    let (budget, start) = (paced(), Instant::now());
    let hurried = async |second: u64| {
        let began = start + Duration::from_secs(second);
        tokio::time::sleep_until(began).await;
        budget.turn(None, began, began + Duration::from_millis(2_500)).await.is_ok()
    };
    let flow =
        futures::future::join_all((0..30).flat_map(|second| [hurried(second), hurried(second)]));
    let patient = async {
        let began = start + Duration::from_secs(5);
        tokio::time::sleep_until(began).await;
        drop(budget.turn(None, began, began + Duration::from_secs(30)).await.unwrap());
        start.elapsed().as_secs()
    };
    let (served, went) = futures::join!(flow, patient);
    assert!(went <= 8, "it went after {went} s");
    let served = served.into_iter().filter(|served| *served).count();
    assert!(served >= 27, "{served} of 60, one a second");
}

#[tokio::test(start_paused = true)]
async fn whoever_leaves_the_line_or_does_not_come_holds_nobody_up() {
    let (budget, start) = (paced(), Instant::now());
    let began = |millis: u64| start + Duration::from_millis(millis);
    let far = start + Duration::from_secs(100);
    let mut leaves = Box::pin(budget.turn(None, began(0), far));
    let mut stays_away = Box::pin(budget.turn(None, began(1), far));
    assert!(futures::poll!(&mut leaves).is_pending());
    assert!(futures::poll!(&mut stays_away).is_pending());
    let goes = async {
        drop(budget.turn(None, began(2), far).await.unwrap());
        start.elapsed().as_secs()
    };
    let left = async { drop(leaves) };
    let (went, ()) = futures::join!(goes, left);
    assert_eq!(went, 2);
    drop(stays_away);
    assert!(budget.paces()[&None].line.is_empty());
}

/// The answer is at hand at once, counts whoever is before it and can still be served, and leaves
/// nothing behind.
#[tokio::test(start_paused = true)]
async fn whoever_comes_too_late_is_told_at_once() {
    let (budget, start) = (paced(), Instant::now());
    let after = |seconds: u64| start + Duration::from_secs(seconds);
    let mut first = Box::pin(budget.turn(None, after(0), after(100)));
    let mut second = Box::pin(budget.turn(None, after(0), after(3)));
    assert!(futures::poll!(&mut first).is_pending());
    assert!(futures::poll!(&mut second).is_pending());
    let late = budget.turn(None, after(0), after(3)).await.map(drop);
    assert_eq!(late, Err(NoTurn::Paused(Duration::from_secs(3))));
    assert_eq!((start.elapsed(), budget.paces()[&None].line.len()), (Duration::ZERO, 2));
    // One that is put back behind the end of its time takes none of another's.
    budget.pause(None, Duration::from_secs(2), Instant::now());
    let third = budget.turn(None, after(0), after(5)).await.map(drop);
    assert!(third.is_ok());
    assert_eq!(start.elapsed(), Duration::from_secs(3), "behind the first alone");
}

#[tokio::test(start_paused = true)]
async fn a_pace_stays_while_somebody_waits() {
    let budget = paced();
    let start = Instant::now();
    let mut waits = Box::pin(budget.turn(None, start, start + Duration::from_secs(100)));
    assert!(futures::poll!(&mut waits).is_pending());
    budget.paces().get_mut(&None).unwrap().paused = start;
    let later = start + Duration::from_secs(1);
    for _ in 0..200 {
        budget.answered(None, later);
    }
    assert_eq!(budget.paces()[&None].line.len(), 1);
    drop(waits.await.unwrap());
    budget.answered(None, later);
    assert!(budget.paces().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_pace_is_forgotten_with_answers_and_with_time() {
    let budget = Budget::new(Limits::default());
    budget.pause(None, Duration::from_secs(1), Instant::now());
    tokio::time::advance(Duration::from_secs(2)).await;
    for _ in 0..50 {
        budget.answered(None, Instant::now());
    }
    assert!(budget.paces().is_empty());
    budget.pause(None, Duration::from_secs(1), Instant::now());
    budget.pause(Some(1), Duration::from_secs(1), Instant::now());
    tokio::time::advance(Duration::from_secs(1) + PACE_LIFE).await;
    let start = Instant::now();
    drop(budget.turn(None, start, start + Duration::from_millis(1)).await.unwrap());
    assert_eq!((start.elapsed(), budget.paces().len()), (Duration::ZERO, 1));
    budget.pause(Some(2), Duration::from_secs(1), Instant::now());
    assert_eq!(budget.paces().len(), 1);
}

/// Requests that were under way together are refused together, and what is answered then was let
/// through before.
#[tokio::test(start_paused = true)]
async fn a_refusal_counts_once() {
    let budget = Budget::new(Limits::default());
    let sent = Instant::now();
    tokio::time::advance(Duration::from_millis(100)).await;
    let spacing = || budget.paces()[&None].spacing;
    for _ in 0..16 {
        budget.pause(None, Duration::ZERO, sent);
        budget.answered(None, sent);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(spacing(), MIN_SPACING);
    let next = budget.turn(None, sent, sent + Duration::from_secs(9)).await.map(drop);
    assert_eq!((next, sent.elapsed()), (Ok(()), Duration::from_millis(300)));
    budget.pause(None, Duration::ZERO, Instant::now());
    assert_eq!(spacing(), MIN_SPACING * 2);
}

#[tokio::test(start_paused = true)]
async fn a_line_is_bounded_and_has_room_for_those_who_began_before() {
    let (budget, start) = (paced(), Instant::now());
    let far = start + Duration::from_secs(10_000);
    let began = |index: usize| start + Duration::from_secs(index as u64);
    let mut line: Vec<_> =
        (1..=MAX_LINE).map(|index| Box::pin(budget.turn(None, began(index), far))).collect();
    for waits in &mut line {
        assert!(futures::poll!(waits).is_pending());
    }
    let late = budget.turn(None, began(MAX_LINE + 1), far).await.map(drop);
    assert_eq!(late, Err(NoTurn::Paused(Duration::from_secs(MAX_LINE as u64 + 1))));
    let mut early = Box::pin(budget.turn(None, began(0), far));
    assert!(futures::poll!(&mut early).is_pending());
    assert_eq!(budget.paces()[&None].line.len(), MAX_LINE);
    let last = line.pop().unwrap().await.map(drop);
    assert!(matches!(last, Err(NoTurn::Paused(_))), "{last:?}");
}

#[test]
fn pauses_are_bounded_in_number() {
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    let _guard = runtime.enter();
    let budget = Budget::new(Limits::default());
    for account in 0..2 * MAX_PAUSES as u64 {
        budget.pause(Some(account), Duration::from_secs(5), Instant::now());
    }
    assert_eq!(budget.paces().len(), MAX_PAUSES);
    assert!(budget.refused_since(Some(0), Instant::now() - Duration::from_secs(1)));
}
