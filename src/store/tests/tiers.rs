//! What tiers beyond memory may say, and what they may not.
use super::*;

#[tokio::test]
async fn what_a_tier_holds_never_counts_as_the_registrys_last_word() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path(), disk::MIN_CAPACITY, StoreMetrics::default()).unwrap();
    let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
    let source = signed();
    let key = Key { query: query(), scope: Scope::Own(OWN) };
    let candidates = vec![candidate("somebody's")];
    let problems = Vec::new();
    let planted = Evidence { query: query(), candidates, problems, kept: None };
    let record = record::encode(&planted, clock.now()).unwrap();
    disk.put(key.lasting(), &record, clock.now());
    disk.flush().await;
    let tiers = Tiers { disk: Some(disk), ..Tiers::default() };
    let store = Stored::new(source.clone(), Settings::default(), tiers, clock);
    let seen = ask(&store, "a").await;
    assert_eq!(seen.candidates[0].layer, planted.candidates[0].layer);
    assert_eq!(source.fetches(), 0);
    let fresh = again(&store, &seen).await.unwrap();
    assert_eq!(fresh.candidates[0].layer, candidate("signature").layer);
    assert_eq!(source.fetches(), 1);
    assert_eq!(ask(&store, "a").await.candidates[0].layer, candidate("signature").layer);
}

#[tokio::test(start_paused = true)]
async fn what_a_tier_holds_does_not_come_back_after_the_registry_has_said_otherwise() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path(), disk::MIN_CAPACITY, StoreMetrics::default()).unwrap();
    let tiers = Tiers { disk: Some(disk.clone()), ..Tiers::default() };
    let source = signed();
    let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
    let store = Stored::new(source.clone(), Settings::default(), tiers, clock);
    let seen = ask(&store, "a").await;
    let key = Key { query: query(), scope: Scope::Own(OWN) };
    let record = record::encode(&seen, clock.now()).unwrap();
    advance(seconds(60)).await;
    source.set(|script| script.attached.clear());
    assert!(again(&store, &seen).await.unwrap().candidates.is_empty());
    // As a write that was lost, or another replica's.
    disk.put(key.lasting(), &record, clock.now());
    advance(NEGATIVE_LIFE).await;
    assert!(ask(&store, "a").await.candidates.is_empty());
    assert_eq!(source.fetches(), 3);
}

#[tokio::test(start_paused = true)]
async fn what_comes_from_a_tier_and_is_old_is_asked_for_anew() {
    let folder = tempfile::tempdir().unwrap();
    let metrics = StoreMetrics::default();
    let disk = Disk::open(folder.path(), disk::MIN_CAPACITY, metrics).unwrap();
    let tiers = Tiers { disk: Some(disk), ..Tiers::default() };
    let source = signed();
    let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
    let started = || Stored::new(source.clone(), Settings::default(), tiers.clone(), clock);
    ask(&started(), "a").await;
    tiers.flush().await;
    advance(seconds(900)).await;
    assert_eq!(ask(&started(), "a").await.candidates.len(), 1);
    tokio::time::sleep(seconds(1)).await;
    assert_eq!(source.fetches(), 2);
}

#[tokio::test(start_paused = true)]
async fn what_a_tier_says_never_replaces_what_a_registry_said() {
    let folder = tempfile::tempdir().unwrap();
    let disk = Disk::open(folder.path(), disk::MIN_CAPACITY, StoreMetrics::default()).unwrap();
    let tiers = Tiers { disk: Some(disk.clone()), ..Tiers::default() };
    let source = Source::default();
    let clock = Clock::starting_at(Timestamp::UNIX_EPOCH);
    let store = Stored::new(source.clone(), Settings::default(), tiers, clock);
    assert!(ask(&store, "a").await.candidates.is_empty());
    let key = Key { query: query(), scope: Scope::Own(OWN) };
    let candidates = vec![candidate("signature")];
    let old = Evidence { query: query(), candidates, problems: Vec::new(), kept: None };
    advance(seconds(60)).await;
    let record = record::encode(&old, clock.now()).unwrap();
    disk.put(key.lasting(), &record, clock.now());
    assert!(ask(&store, "a").await.candidates.is_empty());
    assert_eq!(source.fetches(), 2);
}
