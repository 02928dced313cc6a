//! Pairs that are sent.
use super::*;

fn pair(now: Timestamp) -> Served {
    let (chain, key) = SelfSigned::new(&[], now).unwrap().issue(now).unwrap();
    Served::from_pem(chain.as_bytes(), key.as_bytes()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn serves_what_is_sent_at_once_and_keeps_it_when_nothing_will_be() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let (first, second) = (pair(now), pair(now));
    assert!(first.same_as(&first.clone()) && !first.same_as(&second));
    let (sender, receiver) = watch::channel(first.clone());
    let source = Source::Managed(receiver);
    let served = source.load(now).await.unwrap();
    assert!(served.same_as(&first));
    let acceptor = served.acceptor_config();
    let (_, metrics) = crate::metrics::registry();
    let never = Duration::from_secs(3600);
    let watching = tokio::spawn(watch(source, served, acceptor.clone(), metrics, never));
    sender.send(second.clone()).unwrap();
    for _ in 0..100 {
        if Arc::ptr_eq(&acceptor.get_inner(), &second.config) {
            drop(sender);
            tokio::time::sleep(Duration::from_millis(20)).await;
            assert!(!watching.is_finished(), "the watch never ends");
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("the second pair is not served within a second");
}

#[test]
fn rejects_a_pair_that_does_not_belong_together_and_says_nothing_of_keys() {
    let now = Timestamp::from_second(1_800_000_000).unwrap();
    let (chain, key) = SelfSigned::new(&[], now).unwrap().issue(now).unwrap();
    let (_, foreign) = SelfSigned::new(&[], now).unwrap().issue(now).unwrap();
    let of = |chain: &str, key: &str| Served::from_pem(chain.as_bytes(), key.as_bytes());
    assert!(matches!(of(&chain, &foreign), Err(PairError::Rustls(_))));
    assert!(matches!(of("", &key), Err(PairError::Certificate)));
    assert!(matches!(of(&chain, ""), Err(PairError::Key)));
    let debug = format!("{:?}", of(&chain, &key).unwrap());
    assert_eq!(debug, format!("Served {{ expires: {}, .. }}", of(&chain, &key).unwrap().expires()));
}
