//! What is known of an image: what it takes to say it, and how long it may stand.
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::json;
use tegata::admission::Decision;
use tegata::admission::Request;
use tegata::admission::known::Key;
use tegata::admission::known::Origin;
use tegata::evidence::Candidate;
use tegata::evidence::Content;
use tegata::evidence::Format;
use tegata::evidence::OwnCredentials;
use tegata::evidence::Place;
use tegata::evidence::Scope;
use tegata::image::Digest;
use tegata::policy::Policy;
use tegata::policy::PolicyId;
use tegata::policy::PolicySnapshot;
use tegata::policy::PolicyState;
use tegata::verdict::Failure;
use tegata::verdict::Reason;
use tokio::time::advance;

use crate::signed_cluster::Cluster;
use crate::signed_cluster::by_digest;
use crate::signed_cluster::digest;
use crate::signed_cluster::reason;
use crate::signed_cluster::soon;
use crate::signed_cluster::start;

/// With a signature on the image `app`.
fn signed() -> Cluster {
    let cluster = Cluster::new();
    cluster.attach(&digest("app"), &cluster.key);
    cluster
}

/// A pod with these images, each given with the number of containers that run it.
fn pod(images: &[(String, usize)]) -> Request {
    let each = |(image, count): &(String, usize)| {
        let pod = Cluster::request("Pod", image);
        vec![pod.images[0].clone(); *count]
    };
    let images = images.iter().flat_map(each).collect();
    Request { images, ..Cluster::request("Pod", &by_digest("app")) }
}

fn known(cluster: &Cluster, pod: &Request, now: Timestamp) -> Option<Decision> {
    cluster.admission.admit_known(pod, &cluster.snapshot, now)
}

async fn ask(cluster: &Cluster, pod: &Request, now: Timestamp) -> Decision {
    cluster.admission.admit(pod, &cluster.snapshot, now, soon()).await
}

fn policy(cluster: &Cluster) -> Arc<Policy> {
    match &cluster.snapshot.policies()[0] {
        PolicyState::Ready(policy) => Arc::clone(policy),
        PolicyState::Invalid(_) => panic!("the policy is good"),
    }
}

#[tokio::test(start_paused = true)]
async fn equal_images_are_looked_at_once() {
    let cluster = signed();
    let pod = pod(&[(by_digest("app"), 50)]);
    assert!(ask(&cluster, &pod, start()).await.allowed);
    cluster.set(|held| held.scopes = 0);
    let known = known(&cluster, &pod, start()).unwrap();
    assert_eq!((known.allowed, known.images.len()), (true, 50));
    assert_eq!(cluster.fake.0.lock().unwrap().scopes, 1);
}

/// It is said on a thread that all share, and for no place.
#[tokio::test(start_paused = true)]
async fn what_has_more_than_so_many_reports_is_not_said_at_once() {
    let cluster = signed();
    let all_known = |images: &[(String, usize)]| known(&cluster, &pod(images), start()).is_some();
    assert!(ask(&cluster, &pod(&[(by_digest("app"), 1)]), start()).await.allowed);
    assert!(all_known(&[(by_digest("app"), 256)]));
    assert!(!all_known(&[(by_digest("app"), 257)]));
    let many = pod(&[(by_digest("app"), 257)]);
    assert!(ask(&cluster, &many, start()).await.allowed, "it is answered all the same");
    // Those that no policy covers count, too.
    let none = PolicySnapshot::default();
    for (count, said) in [(256, true), (257, false)] {
        let each = (0..count).map(|number| (by_digest(&format!("{number}")), 1));
        let pod = pod(&each.collect::<Vec<_>>());
        assert_eq!(cluster.admission.admit_known(&pod, &none, start()).is_some(), said);
    }
}

#[tokio::test(start_paused = true)]
async fn reports_of_more_than_so_many_bytes_are_not_made_at_once() {
    let cluster = signed();
    let policy = policy(&cluster);
    let first = ask(&cluster, &pod(&[(by_digest("app"), 1)]), start()).await;
    let mut report = first.images[0].report.policies[0].clone();
    let signatures = &mut report.authorities[0].signatures;
    *signatures = vec![signatures[0].clone(); 128];
    let scopes = [Scope::Own(OwnCredentials::Used)];
    let origin = Origin { fetched: start(), second_hand: false };
    let names: Vec<String> = (0..16).map(|number| format!("large-{number}")).collect();
    for name in &names {
        let repository = "registry.example/team/app".parse().unwrap();
        let version = policy.version.as_ref().unwrap();
        let key = Key::new(version, &digest(name), &repository, &scopes);
        cluster.admission.known().insert(&key, &policy, &report, origin);
    }
    let said = |images: &[(String, usize)]| known(&cluster, &pod(images), start()).is_some();
    assert!(said(&[(by_digest(&names[0]), 1)]));
    assert!(!said(&[(by_digest(&names[0]), 50)]), "the same again");
    let each: Vec<_> = names.iter().map(|name| (by_digest(name), 1)).collect();
    assert!(each.iter().all(|one| said(std::slice::from_ref(one))));
    assert!(!said(&each));
    assert!(ask(&cluster, &pod(&each), start()).await.allowed);
    // Fifty ordinary ones are far from that.
    assert!(said(&[(by_digest("app"), 50)]));
}

/// Whoever may write policies in a namespace may write thousands.
#[tokio::test(start_paused = true)]
async fn a_namespace_with_many_policies_is_not_answered_at_once() {
    let cluster =
        Cluster::matching(json!([{"group": "apps", "version": "v1", "resource": "deployments"}]));
    let of_namespace = |number: usize| {
        let id = PolicyId::Namespaced { namespace: "team".to_owned(), name: format!("p{number}") };
        PolicyState::Ready(Arc::new(Policy { id, ..Policy::clone(&policy(&cluster)) }))
    };
    let snapshot = PolicySnapshot::new((0..64).map(of_namespace).collect());
    for (count, said) in [(64, true), (65, false)] {
        let each = (0..count).map(|number| (by_digest(&format!("{number}")), 1));
        let pod = pod(&each.collect::<Vec<_>>());
        assert_eq!(cluster.admission.admit_known(&pod, &snapshot, start()).is_some(), said);
    }
}

/// Evidence of somebody's that is too large to be kept.
fn junk() -> (Digest, Candidate) {
    let content = Ok(Content::Bundle(vec![b' '; 600 << 10].into()));
    let (manifest, layer) = (digest("manifest"), digest("layer"));
    let candidate = Candidate::new(Place::Referrers, manifest, layer, Format::Bundle, content);
    (digest("app"), candidate)
}

/// A signature is withdrawn, and a registry that is slow says so each time: somebody has attached so
/// much that its answer is kept nowhere. That must count all the same.
#[tokio::test(start_paused = true)]
async fn a_slow_registry_that_says_that_a_signature_is_gone_is_heard_within_minutes() {
    let cluster = signed();
    cluster.set(|held| held.attached.push(junk()));
    let pod = pod(&[(by_digest("app"), 1)]);
    let begun = tokio::time::Instant::now();
    assert!(ask(&cluster, &pod, start()).await.allowed);
    cluster.set(|held| {
        held.attached = vec![junk()];
        held.takes = Duration::from_secs(1);
    });
    advance(Duration::from_secs(600)).await;
    let now = || start() + i64::try_from(begun.elapsed().as_secs()).unwrap().seconds();
    assert!(known(&cluster, &pod, now()).is_none(), "it is due");
    for _ in 0..4 {
        ask(&cluster, &pod, now()).await;
        advance(Duration::from_secs(60)).await;
    }
    assert!(cluster.admission.known().is_empty());
    let gone = ask(&cluster, &pod, now()).await;
    assert!(!gone.allowed && reason(&gone).is_some(), "{}", gone.message);
}

/// Whoever asks anew and waits longer than usual keeps nobody else.
#[tokio::test(start_paused = true)]
async fn one_waits_for_a_slow_registry_and_others_are_answered_meanwhile() {
    let cluster = signed();
    let pod = pod(&[(by_digest("app"), 1)]);
    assert!(ask(&cluster, &pod, start()).await.allowed);
    // Nothing is kept by the store, so that whoever asks waits for the registry.
    cluster.set(|held| {
        held.attached.push(junk());
        held.takes = Duration::from_secs(3600);
    });
    advance(Duration::from_secs(24 * 3600)).await;
    let now = |minute: i64| start() + 10.minutes() + minute.minutes();
    for minute in 0..8 {
        let begun = tokio::time::Instant::now();
        let long = (minute + 1) % 4 == 0;
        let (claiming, meanwhile) = tokio::join!(biased; ask(&cluster, &pod, now(minute)), async {
            tokio::time::sleep(Duration::from_millis(100)).await;
            let known = known(&cluster, &pod, now(minute)).is_some();
            (known, begun.elapsed())
        });
        assert!(claiming.allowed, "{}", claiming.message);
        assert_eq!(meanwhile, (true, Duration::from_millis(100)));
        assert_eq!(begun.elapsed() > Duration::from_secs(10), long, "{minute}");
        assert!(begun.elapsed() < Duration::from_secs(20), "{minute}");
    }
}

/// Otherwise whoever asks and leaves, again and again, has what is known stand.
#[tokio::test(start_paused = true)]
async fn who_leaves_before_the_registry_has_answered_leaves_the_question_to_the_next() {
    let cluster = signed();
    let pod = pod(&[(by_digest("app"), 1)]);
    assert!(ask(&cluster, &pod, start()).await.allowed);
    advance(Duration::from_secs(24 * 3600)).await;
    cluster.set(|held| held.takes = Duration::from_secs(1));
    let due = start() + 10.minutes();
    let left = tokio::time::timeout(Duration::from_millis(100), ask(&cluster, &pod, due)).await;
    assert!(left.is_err());
    assert!(known(&cluster, &pod, due).is_none(), "nobody asks");
    assert!(ask(&cluster, &pod, due).await.allowed);
    assert!(known(&cluster, &pod, due).is_some(), "somebody has");
}

/// What is known stands through an outage, and through nothing else that leaves an image undecided.
#[tokio::test(start_paused = true)]
async fn what_is_known_does_not_stand_through_a_defect() {
    for (defect, admits) in [(false, true), (true, false)] {
        let cluster = signed();
        let pod = pod(&[(by_digest("app"), 1)]);
        assert!(ask(&cluster, &pod, start()).await.allowed);
        advance(Duration::from_secs(24 * 3600)).await;
        cluster.set(|held| {
            held.down = true;
            held.defect = defect.then(|| Failure::new(Reason::InternalError, "a defect"));
        });
        let decision = ask(&cluster, &pod, start() + 10.minutes()).await;
        assert_eq!(decision.allowed, admits, "{}", decision.message);
        let wanted = defect.then_some(Reason::InternalError);
        assert_eq!(reason(&decision), wanted);
    }
}
