use tokio::time::advance;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn fail(breaker: &Breaker, repository: &str, silence: Silence) {
    breaker.pass(repository).unwrap().failed(silence, "it broke");
}

/// Shut, by connections that failed.
fn unreached() -> Breaker {
    let breaker = Breaker::default();
    for _ in 0..UNREACHED {
        fail(&breaker, "a", Silence::Unreached);
    }
    breaker
}

/// Shut for the repositories `a` and `b`, by requests that were not answered.
fn unanswered() -> Breaker {
    let breaker = Breaker::default();
    for number in 0..UNANSWERED {
        fail(&breaker, if number % 2 == 0 { "a" } else { "b" }, Silence::Unanswered);
    }
    breaker
}

#[tokio::test(start_paused = true)]
async fn connections_that_fail_in_a_row_shut_the_server_for_all() {
    let breaker = Breaker::default();
    for _ in 1..UNREACHED {
        fail(&breaker, "a", Silence::Unreached);
    }
    breaker.pass("a").unwrap().answered();
    for _ in 1..UNREACHED {
        fail(&breaker, "a", Silence::Unreached);
    }
    assert!(breaker.look("b").is_ok(), "one less than a row");
    fail(&breaker, "a", Silence::Unreached);
    advance(SECOND / 4).await;
    let refusal = breaker.pass("b").unwrap_err();
    let wanted = Refusal {
        silent: SECOND / 4,
        problem: "it broke".to_owned(),
        again: Some(FIRST_REST - SECOND / 4),
    };
    assert_eq!(refusal, wanted);
    assert_eq!(breaker.look("b"), Err(wanted));
}

#[tokio::test(start_paused = true)]
async fn one_request_finds_out_while_the_others_wait() {
    let breaker = unreached();
    advance(FIRST_REST).await;
    let probe = breaker.pass("b").unwrap();
    assert_eq!(breaker.pass("a").unwrap_err().again, None);
    probe.answered();
    assert!(breaker.look("a").is_ok());
    fail(&breaker, "a", Silence::Unreached);
    assert!(breaker.look("a").is_ok(), "the row begins anew");
}

#[tokio::test(start_paused = true)]
async fn the_pause_doubles_up_to_its_bound() {
    let breaker = unreached();
    let mut wanted = FIRST_REST;
    for _ in 0..10 {
        let again = breaker.look("a").unwrap_err().again.unwrap();
        assert_eq!(again, wanted);
        advance(again - Duration::from_millis(1)).await;
        assert!(breaker.look("a").is_err());
        advance(Duration::from_millis(1)).await;
        fail(&breaker, "a", Silence::Unreached);
        wanted = (wanted * 2).min(MAX_REST);
    }
    assert_eq!(wanted, MAX_REST);
}

#[tokio::test(start_paused = true)]
async fn whoever_finds_out_and_is_dropped_leaves_it_to_the_next() {
    let breaker = unreached();
    advance(FIRST_REST).await;
    for _ in 0..3 {
        let probe = breaker.pass("a").unwrap();
        assert!(breaker.pass("b").is_err());
        drop(probe);
    }
    breaker.pass("b").unwrap().answered();
    assert!(breaker.look("a").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_row_without_answers_shuts_out_those_that_took_part() {
    let breaker = unanswered();
    assert!(breaker.look("a").is_err() && breaker.look("b").is_err());
    // Whoever may push makes no repository of others unreachable.
    breaker.pass("c").unwrap().answered();
    assert!(breaker.look("a").is_ok());
    let breaker = unanswered();
    fail(&breaker, "c", Silence::Unanswered);
    assert!(breaker.look("c").is_err(), "and one that fares the same is one of them");
    assert!(breaker.look("d").is_ok());
}

#[tokio::test(start_paused = true)]
async fn one_repository_alone_shuts_nothing_unless_nobody_connects() {
    let breaker = Breaker::default();
    for _ in 0..10 * UNANSWERED {
        fail(&breaker, "a", Silence::Unanswered);
    }
    assert!(breaker.look("a").is_ok());
    // A connection ends a row of those that failed.
    for _ in 1..UNREACHED {
        fail(&breaker, "a", Silence::Unreached);
    }
    fail(&breaker, "a", Silence::Unanswered);
    for _ in 1..UNREACHED {
        fail(&breaker, "a", Silence::Unreached);
    }
    assert!(breaker.look("a").is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_server_that_serves_nobody_is_left_alone_whoever_asks() {
    let breaker = unanswered();
    for number in 0..MAX_SUSPECTS {
        if let Ok(pass) = breaker.pass(&number.to_string()) {
            pass.failed(Silence::Unanswered, "it broke");
        }
    }
    assert_eq!(breaker.row().suspects.len(), MAX_SUSPECTS);
    assert!(breaker.look("another").is_err());
}

#[tokio::test(start_paused = true)]
async fn what_is_kept_of_a_problem_is_bounded() {
    let breaker = Breaker::default();
    for _ in 0..UNREACHED {
        let pass = breaker.pass("a").unwrap();
        pass.failed(Silence::Unreached, &"ü".repeat(2 * MAX_PROBLEM));
    }
    assert_eq!(breaker.look("a").unwrap_err().problem.chars().count(), MAX_PROBLEM);
}
