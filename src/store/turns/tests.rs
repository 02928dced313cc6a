use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::join_all;
use proptest::prelude::*;
use tokio::task::yield_now;
use tokio::time::sleep;

use super::*;

const HOST: &str = "registry.example";

fn far() -> Instant {
    within(1_000_000)
}

fn within(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

fn waiting(turns: &Turns) -> usize {
    turns.shared.queues().hosts.get(HOST).map_or(0, |host| host.waiting)
}

impl Turns {
    /// Whether nothing is left of anybody.
    fn is_idle(&self) -> bool {
        let queues = self.shared.queues();
        let Queues { bounds: _, arrivals: _, hosts, tenants, busy } = &*queues;
        hosts.is_empty() && tenants.is_empty() && *busy == 0
    }
}

/// Who asks, in order, and who is served, in order, with one turn at a time.
async fn served(asks: &[(&str, u64)]) -> Vec<usize> {
    let turns = Turns::new(1, asks.len());
    let first = turns.turn(HOST, "first", far()).await.unwrap();
    let (now, order) = (Instant::now(), Mutex::new(Vec::new()));
    let all = asks.iter().enumerate().map(|(number, (tenant, deadline))| {
        let (turns, order) = (&turns, &order);
        let until = now + Duration::from_millis(*deadline);
        async move {
            let _turn = turns.turn(HOST, tenant, until).await.unwrap();
            order.lock().unwrap().push(number);
        }
    });
    let ends = async {
        yield_now().await;
        drop(first);
    };
    futures::join!(join_all(all), ends);
    order.into_inner().unwrap()
}

#[tokio::test(start_paused = true)]
async fn within_a_tenant_the_earliest_deadline_is_first() {
    let order = served(&[("a", 300), ("a", 100), ("a", 200), ("a", 100)]).await;
    assert_eq!(order, [1, 3, 2, 0]);
}

#[tokio::test(start_paused = true)]
async fn tenants_take_turns() {
    let asks = [("a", 1), ("a", 1), ("a", 1), ("b", 9), ("b", 9), ("c", 5)];
    let asks = asks.map(|(tenant, deadline)| (tenant, deadline * 1_000));
    assert_eq!(served(&asks).await, [0, 3, 5, 1, 4, 2]);
}

#[tokio::test(start_paused = true)]
async fn a_thousand_of_one_tenant_delay_another_by_one_round() {
    let mut asks: Vec<(&str, u64)> = vec![("a", 1_000); 1_000];
    asks.extend([("b", 9_000), ("c", 9_000)]);
    let order = served(&asks).await;
    let place = |number| order.iter().position(|one| *one == number).unwrap();
    assert!(place(1_000) <= 1 && place(1_001) <= 2, "{} {}", place(1_000), place(1_001));
    assert_eq!(order.len(), asks.len());
}

#[tokio::test(start_paused = true)]
async fn whoever_takes_most_of_a_full_queue_gives_way() {
    let turns = Turns::new(1, 3);
    let _first = turns.turn(HOST, "a", far()).await.unwrap();
    let mut greedy: Vec<_> =
        [3, 1, 2].map(|n| Box::pin(turns.turn(HOST, "a", within(n * 1_000)))).into();
    for one in &mut greedy {
        assert!(one.now_or_never_again().is_none());
    }
    let crowded = |tenant: &str| TurnError::Crowded {
        host: HOST.to_owned(),
        tenant: tenant.to_owned(),
        waiting: 3,
    };
    assert_eq!(turns.turn(HOST, "a", far()).await.unwrap_err(), crowded("a"));
    let mut modest = Box::pin(turns.turn(HOST, "b", far()));
    assert!(modest.now_or_never_again().is_none());
    // The newest has gone, whatever its deadline.
    assert_eq!(greedy[2].now_or_never_again().unwrap().unwrap_err(), crowded("a"));
    assert!(greedy[0].now_or_never_again().is_none());
    assert!(greedy[1].now_or_never_again().is_none());
    assert_eq!(waiting(&turns), 3);
    // Two of `a`, one of `b`: a second of `b` has no better claim than the second of `a`.
    assert_eq!(turns.turn(HOST, "b", far()).await.unwrap_err(), crowded("b"));
    assert!(turns.turn(HOST, "c", far()).now_or_never().is_none());
    assert_eq!(greedy[1].now_or_never_again().unwrap().unwrap_err(), crowded("a"));
    assert_eq!(crowded("a").failure().reason, Reason::Overloaded);
}

/// Polls without dropping.
trait Again: Future + Unpin {
    fn now_or_never_again(&mut self) -> Option<Self::Output> {
        self.now_or_never()
    }
}

impl<F: Future + Unpin> Again for F {}

#[tokio::test(start_paused = true)]
async fn a_deadline_that_passes_is_told_and_takes_no_turn() {
    let turns = Turns::new(1, 9);
    let first = turns.turn(HOST, "a", far()).await.unwrap();
    let start = Instant::now();
    let late = TurnError::Late { host: HOST.to_owned(), running: 1 };
    assert_eq!(turns.turn(HOST, "b", within(250)).await.unwrap_err(), late);
    assert_eq!((start.elapsed(), waiting(&turns)), (Duration::from_millis(250), 0));
    assert_eq!(turns.turn(HOST, "b", Instant::now()).await.unwrap_err(), late);
    // Its time has passed, and nobody has polled it since: the turn goes past it.
    let mut dead = Box::pin(turns.turn(HOST, "b", within(10)));
    assert!(dead.now_or_never_again().is_none());
    let mut alive = Box::pin(turns.turn(HOST, "b", far()));
    assert!(alive.now_or_never_again().is_none());
    tokio::time::advance(Duration::from_millis(20)).await;
    drop(first);
    assert!(alive.now_or_never_again().unwrap().is_ok());
    assert_eq!(dead.now_or_never_again().unwrap().unwrap_err(), late);
}

#[tokio::test(start_paused = true)]
async fn whoever_is_dropped_leaves_the_queue_and_keeps_no_turn() {
    let turns = Turns::new(1, 9);
    let first = turns.turn(HOST, "a", far()).await.unwrap();
    let mut gone = Box::pin(turns.turn(HOST, "b", far()));
    assert!(gone.now_or_never_again().is_none());
    assert_eq!(waiting(&turns), 1);
    drop(gone);
    assert_eq!(waiting(&turns), 0);
    // Dropped between being given the turn and taking it.
    let mut given = Box::pin(turns.turn(HOST, "b", far()));
    assert!(given.now_or_never_again().is_none());
    let mut next = Box::pin(turns.turn(HOST, "b", far()));
    assert!(next.now_or_never_again().is_none());
    drop(first);
    drop(given);
    drop(next.now_or_never_again().unwrap().unwrap());
    assert!(turns.is_idle(), "a host without turns is forgotten");
}

/// Turns at so many hosts with names of their own.
async fn hold(turns: &Turns, tenant: &str, hosts: usize) -> Vec<Turn> {
    let names: Vec<String> = (0..hosts).map(|number| format!("{tenant}-{number}")).collect();
    let held = names.iter().map(|name| turns.turn(name, tenant, far()).now_or_never());
    held.map(|turn| turn.unwrap().unwrap()).collect()
}

#[tokio::test(start_paused = true)]
async fn where_hosts_are_too_many_those_that_ask_few_are_let_in() {
    let turns = Turns::new(1, 1);
    let mut held = Vec::new();
    for number in 0..MAX_HOSTS / MAX_TENANT_RUNNING - 1 {
        held.push(hold(&turns, &format!("greedy-{number}"), MAX_TENANT_RUNNING).await);
    }
    held.push(hold(&turns, "a", MAX_TENANT_RUNNING - 1).await);
    let last = hold(&turns, "other", 1).await;
    assert_eq!(turns.shared.queues().busy, MAX_HOSTS);
    let too_many =
        |tenant: &str| TurnError::Hosts { host: HOST.to_owned(), tenant: tenant.to_owned() };
    assert_eq!(turns.turn(HOST, "a", far()).await.unwrap_err(), too_many("a"));
    let few = hold(&turns, "b", FEW_HOSTS).await;
    assert_eq!(turns.turn(HOST, "b", far()).await.unwrap_err(), too_many("b"));
    // A host that is asked anyway is not one more.
    assert!(turns.turn("b-0", "a", far()).now_or_never().is_none());
    drop((few, last));
    assert!(turns.turn(HOST, "a", far()).await.is_ok());
    drop(held);
    assert!(turns.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_tenant_whose_hosts_never_answer_uses_up_its_own_share() {
    let turns = Turns::new(1, 9);
    let mut stalled = hold(&turns, "a", MAX_TENANT_RUNNING).await;
    let mut waits = Box::pin(turns.turn(HOST, "a", far()));
    assert!(waits.now_or_never_again().is_none(), "more than its share");
    // The turn at the host is for others meanwhile.
    let other = turns.turn(HOST, "b", far()).await.unwrap();
    stalled.pop();
    assert!(waits.now_or_never_again().is_none(), "the host is taken");
    drop(other);
    drop(waits.now_or_never_again().unwrap().unwrap());
    drop(stalled);
    assert!(turns.is_idle());
}

#[tokio::test(start_paused = true)]
async fn a_share_that_comes_free_goes_to_the_earliest_deadline_at_any_host() {
    let turns = Turns::new(2, 9);
    let mut stalled = hold(&turns, "a", MAX_TENANT_RUNNING).await;
    let hosts = [("x", 3_000), ("y", 1_000), ("a-0", 2_000)];
    let [mut x, mut y, mut own] =
        hosts.map(|(host, deadline)| Box::pin(turns.turn(host, "a", within(deadline))));
    for one in [&mut x, &mut y, &mut own] {
        assert!(one.now_or_never_again().is_none());
    }
    stalled.pop();
    let first = y.now_or_never_again().unwrap().unwrap();
    assert!(x.now_or_never_again().is_none() && own.now_or_never_again().is_none());
    drop(first);
    drop(own.now_or_never_again().unwrap().unwrap());
    assert!(x.now_or_never_again().unwrap().is_ok());
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_for_a_share_of_its_own_does_not_hold_up_others() {
    let turns = Turns::new(1, 9);
    let _stalled = hold(&turns, "a", MAX_TENANT_RUNNING).await;
    let first = turns.turn(HOST, "c", far()).await.unwrap();
    let mut waits = Box::pin(turns.turn(HOST, "a", far()));
    assert!(waits.now_or_never_again().is_none());
    let mut next = Box::pin(turns.turn(HOST, "b", far()));
    assert!(next.now_or_never_again().is_none());
    drop(first);
    assert!(next.now_or_never_again().unwrap().is_ok());
    assert!(waits.now_or_never_again().is_none());
}

#[tokio::test(start_paused = true)]
async fn those_of_a_tenant_that_wait_are_bounded_over_all_hosts() {
    let turns = Turns::new(1, MAX_TENANT_WAITING);
    let _stalled = hold(&turns, "a", MAX_TENANT_RUNNING).await;
    let names: Vec<String> = (0..MAX_TENANT_WAITING).map(|number| format!("w-{number}")).collect();
    let mut waits: Vec<_> =
        names.iter().map(|name| Box::pin(turns.turn(name, "a", far()))).collect();
    assert!(waits.iter_mut().all(|one| one.now_or_never_again().is_none()));
    let full = TurnError::Share { tenant: "a".to_owned(), waiting: MAX_TENANT_WAITING };
    assert_eq!(turns.turn(HOST, "a", far()).await.unwrap_err(), full);
    assert!(turns.turn("w-0", "b", far()).await.is_ok());
    waits.pop();
    assert!(turns.turn(HOST, "a", far()).now_or_never().is_none());
}

/// One who wants a turn.
#[derive(Clone, Debug)]
struct Want {
    host: u8,
    tenant: u8,
    comes: u64,
    deadline: u64,
    holds: u64,
    /// When it is dropped, wherever it is by then.
    dropped: Option<u64>,
}

fn want() -> impl Strategy<Value = Want> {
    let dropped = prop_oneof![2 => Just(None), 1 => (0..60_u64).prop_map(Some)];
    (0..2_u8, 0..4_u8, 0..30_u64, 1..200_u64, 0..12_u64, dropped).prop_map(
        |(host, tenant, comes, deadline, holds, dropped)| Want {
            host,
            tenant,
            comes,
            deadline,
            holds,
            dropped,
        },
    )
}

/// What became of one, and when.
type Fate = (Option<Result<(), TurnError>>, Duration);

/// Runs them all; never more than may at a host at a time, nor of a tenant.
async fn run(bounds: Bounds, wants: Vec<Want>) -> (Turns, Vec<Fate>) {
    let Bounds { running, tenant_running, .. } = bounds;
    let turns = Turns::within(bounds);
    let at_once: [AtomicUsize; 2] = Default::default();
    let of_tenants: [AtomicUsize; 5] = Default::default();
    let start = Instant::now();
    let ms = |n: u64| start + Duration::from_millis(n);
    let all = wants.iter().map(|want| {
        let (turns, at_once) = (&turns, &at_once[usize::from(want.host)]);
        let of_tenant = &of_tenants[usize::from(want.tenant)];
        let until = ms(want.comes + want.deadline);
        let one = async move {
            let (host, tenant) = (format!("host-{}", want.host), format!("{}", want.tenant));
            let turn = turns.turn(&host, &tenant, until).await?;
            let _counts = [Count::new(at_once, running), Count::new(of_tenant, tenant_running)];
            assert!(Instant::now() < until, "a turn after the deadline");
            sleep(Duration::from_millis(want.holds)).await;
            drop(turn);
            Ok(())
        };
        async move {
            tokio::time::sleep_until(ms(want.comes)).await;
            let ends = ms(want.comes + want.dropped.unwrap_or(10_000));
            // Looks at the time first: a turn that was given at the same moment is not taken.
            let fate = tokio::select! {
                biased;
                () = tokio::time::sleep_until(ends) => None,
                fate = one => Some(fate),
            };
            (fate, start.elapsed())
        }
    });
    let fates = join_all(all).await;
    (turns, fates)
}

/// How many have a turn, checked as it grows.
struct Count<'a>(&'a AtomicUsize);

impl<'a> Count<'a> {
    fn new(at_once: &'a AtomicUsize, limit: usize) -> Self {
        let now = at_once.fetch_add(1, Ordering::Relaxed) + 1;
        assert!(now <= limit, "{now} at a time, of {limit}");
        Self(at_once)
    }
}

impl Drop for Count<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

fn bounds() -> impl Strategy<Value = Bounds> {
    (1..4_usize, 0..12_usize, 1..6_usize, 0..12_usize).prop_map(
        |(running, waiting, tenant_running, tenant_waiting)| Bounds {
            running,
            waiting,
            tenant_running,
            tenant_waiting,
        },
    )
}

fn paused<T>(future: impl Future<Output = T>) -> T {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_time()
        .start_paused(true)
        .build()
        .unwrap();
    runtime.block_on(future)
}

proptest! {
    /// Whatever comes, waits and goes, in the end every turn is free again, and whoever was told that it
    /// is late was told at its deadline.
    #[test]
    fn never_more_than_may_and_no_turn_is_lost(
        bounds in bounds(),
        wants in prop::collection::vec(want(), 0..60),
    ) {
        let (turns, fates) = paused(run(bounds, wants.clone()));
        prop_assert!(turns.is_idle());
        for (want, (fate, at)) in wants.iter().zip(fates) {
            let deadline = Duration::from_millis(want.comes + want.deadline);
            match fate {
                Some(Err(TurnError::Late { .. })) => prop_assert_eq!(at, deadline),
                Some(Err(TurnError::Hosts { .. })) => prop_assert!(false, "two hosts"),
                Some(Err(TurnError::Crowded { .. } | TurnError::Share { .. })) => prop_assert!(at <= deadline),
                Some(Ok(())) => prop_assert!(at < deadline + Duration::from_millis(want.holds)),
                None => prop_assert!(want.dropped.is_some()),
            }
        }
    }

    /// With room and time enough no turn lies idle while somebody waits: the last one ends when it
    /// must.
    #[test]
    fn no_wake_up_is_lost(running in 1..5_usize, tenants in prop::collection::vec(0..5_u8, 1..80)) {
        let count = tenants.len();
        let all = tenants.into_iter().map(|tenant| Want {
            host: 0, tenant, comes: 0, deadline: 100_000, holds: 10, dropped: None,
        });
        let bounds =
            Bounds { running, waiting: count, tenant_running: running, tenant_waiting: count };
        let (_, fates) = paused(run(bounds, all.collect()));
        prop_assert!(fates.iter().all(|(fate, _)| *fate == Some(Ok(()))));
        let last = fates.iter().map(|(_, at)| *at).max().unwrap();
        prop_assert_eq!(last, Duration::from_millis(10 * count.div_ceil(running) as u64));
    }

    /// Nor while somebody waits for a share: one tenant alone, whose share is less than what the hosts
    /// give, uses it to the end.
    #[test]
    fn no_wake_up_at_another_host_is_lost(
        share in 1..5_usize,
        hosts in prop::collection::vec(0..2_u8, 1..80),
    ) {
        let count = hosts.len();
        let all = hosts.into_iter().map(|host| Want {
            host, tenant: 0, comes: 0, deadline: 100_000, holds: 10, dropped: None,
        });
        let bounds =
            Bounds { running: 5, waiting: count, tenant_running: share, tenant_waiting: count };
        let (_, fates) = paused(run(bounds, all.collect()));
        prop_assert!(fates.iter().all(|(fate, _)| *fate == Some(Ok(()))));
        let last = fates.iter().map(|(_, at)| *at).max().unwrap();
        prop_assert_eq!(last, Duration::from_millis(10 * count.div_ceil(share) as u64));
    }
}
