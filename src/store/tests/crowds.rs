//! Many who ask at once, and places that others have taken.
use super::*;

/// Two namespaces ask the same: the one whose turn comes first fetches for both.
#[tokio::test(start_paused = true)]
async fn who_asks_the_same_as_a_crowded_namespace_does_not_wait_in_its_queue() {
    let source = signed();
    source.set(|script| script.takes = seconds(1));
    let store = source.store(Settings::default());
    let ask_for = |namespace: &'static str, name: String| {
        let store = store.clone();
        let query = EvidenceQuery { digest: Digest::sha256_of(name.as_bytes()), ..query() };
        async move {
            let asked = tokio::time::Instant::now();
            let tenant = tenant(namespace);
            let evidence = store.fetch_for(&tenant, OWN, &query, soon(seconds(600))).await;
            assert_eq!(evidence.candidates.len(), 1);
            asked.elapsed()
        }
    };
    let crowd = join_all((0..200).map(|number| ask_for("crowd", number.to_string())));
    let other = async {
        settle().await;
        ask_for("other", "199".to_owned()).await
    };
    let (all, waited) = tokio::join!(crowd, other);
    assert!(waited <= seconds(3), "{waited:?}");
    assert!(all[198] > seconds(5), "{:?}", all[198]);
    assert_eq!(source.fetches(), 200, "nothing is fetched twice");
}

/// Refreshes that stall take every place of their registry: what is long overdue is looked at all the
/// same before it is used.
#[tokio::test(start_paused = true)]
async fn what_is_overdue_is_looked_at_although_no_place_is_free() {
    let source = signed();
    let store = source.store(Settings::default());
    let ask_for = async |name: &str| {
        let query = EvidenceQuery { digest: Digest::sha256_of(name.as_bytes()), ..query() };
        store.fetch_for(&tenant("a"), OWN, &query, soon(seconds(10))).await
    };
    for name in ["0", "1", "2", "3", "last"] {
        ask_for(name).await;
    }
    advance(seconds(700)).await;
    source.set(|script| script.takes = seconds(24 * 3600));
    for name in ["0", "1", "2", "3"] {
        ask_for(name).await;
    }
    settle().await;
    assert_eq!(source.fetches(), 9);
    advance(seconds(1200)).await;
    source.set(|script| {
        script.takes = Duration::ZERO;
        script.attached.clear();
    });
    assert!(ask_for("last").await.candidates.is_empty());
}
