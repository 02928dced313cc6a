use super::*;
use crate::image::Digest;
use crate::verdict::Reason;

fn query(log: &str, named_by: NamedBy) -> LogQuery {
    let (log, hash) = (log.parse().unwrap(), Digest::sha256_of(b"payload"));
    LogQuery { log, named_by, hash, signature: vec![1] }
}

fn listed(count: usize) -> Vec<String> {
    (0..count).map(|number| number.to_string()).collect()
}

#[test]
fn looks_at_both_ends_of_a_long_list() {
    assert_eq!(pick(&listed(MAX_LISTED)), listed(MAX_LISTED));
    let many = listed(10_000);
    let picked = pick(&many);
    assert_eq!(picked.len(), MAX_LISTED);
    assert_eq!(picked.first(), many.first());
    assert_eq!(picked.last(), many.last());
    assert_eq!(picked.iter().collect::<BTreeSet<_>>().len(), MAX_LISTED);
}

#[tokio::test]
async fn asks_no_address_that_is_not_allowed() {
    let listed = ["http://127.0.0.1:1", "https://127.0.0.1:2"].map(|log| log.parse().unwrap());
    let rekor = Rekor::new(&RegistryOptions::default(), listed).unwrap();
    use NamedBy::Administrator;
    use NamedBy::Tenant;
    let (forbidden, asked) = (Reason::LogAddressForbidden, Reason::LogUnreachable);
    for (log, named_by, wanted) in [
        ("http://127.0.0.1:1/", Tenant, asked),
        ("http://127.0.0.1:1", Administrator, asked),
        ("https://127.0.0.1:2", Tenant, asked),
        ("https://127.0.0.1:3", Administrator, asked),
        ("https://localhost:3", Administrator, asked),
        ("https://127.0.0.1:3", Tenant, forbidden),
        ("https://localhost:3", Tenant, forbidden),
        ("https://10.0.0.1", Tenant, forbidden),
        ("https://[::1]", Tenant, forbidden),
        ("http://127.0.0.1:3", Administrator, forbidden),
        ("http://rekor.sigstore.dev", Administrator, forbidden),
        ("http://127.0.0.1:1/elsewhere", Tenant, forbidden),
        ("https://169.254.169.254", Administrator, forbidden),
        ("https://169.254.169.254", Tenant, forbidden),
    ] {
        let deadline = Instant::now() + Duration::from_secs(5);
        let failure = rekor.search(&query(log, named_by), deadline).await.unwrap_err();
        assert_eq!(failure.reason, wanted, "{log} of {named_by:?}: {failure}");
    }
}

#[test]
fn remembers_hits_longer_than_misses() {
    let life = |entries: &[Bytes]| {
        let query = query("https://x", NamedBy::Tenant);
        moka::Expiry::expire_after_create(&Life, &query, &remembered(entries), Instant::now())
    };
    assert_eq!(life(&[Bytes::from_static(b"{}")]), Some(HIT_LIFE));
    assert_eq!(life(&[]), Some(MISS_LIFE));
}

fn remembered(entries: &[Bytes]) -> Remembered {
    let answer = Arc::new(LogAnswer { entries: entries.to_vec(), ..LogAnswer::default() });
    Remembered { answer, at: Instant::now() }
}

#[tokio::test]
async fn what_led_to_nothing_good_is_asked_for_anew_as_often_as_what_is_missing() {
    let rekor = Rekor::new(&RegistryOptions::default(), []).unwrap();
    let query = query("https://x", NamedBy::Tenant);
    let kept = async || {
        rekor.doubt(&query).await;
        rekor.0.answers.get(&query).await.is_some()
    };
    let young = remembered(&[Bytes::from_static(b"{}")]);
    rekor.0.answers.insert(query.clone(), young.clone()).await;
    assert!(kept().await);
    let old = Remembered { at: young.at.checked_sub(MISS_LIFE).unwrap(), ..young };
    rekor.0.answers.insert(query.clone(), old).await;
    assert!(!kept().await);
}
