//! What a tag named before stands in for it only where that is what will run.
use std::time::Duration;

use tegata::admission::Admission;
use tegata::admission::Mutate;
use tegata::admission::Request;
use tegata::admission::Settings;
use tegata::admission::review::Endpoint;
use tegata::store;
use tegata::store::Clock;
use tegata::store::Stored;
use tegata::store::Tiers;
use tegata::verdict::Reason;
use tokio::time::advance;

use crate::signed_cluster::Cluster;
use crate::signed_cluster::IMAGE;
use crate::signed_cluster::digest;
use crate::signed_cluster::now;
use crate::signed_cluster::reason;
use crate::signed_cluster::soon;
use crate::signed_cluster::start;

/// A pod's tag that comes to `/validate` was written over by nobody.
#[tokio::test(start_paused = true)]
async fn an_old_digest_stands_in_for_a_tag_only_where_it_is_written_into_the_pod() {
    use Endpoint::Mutate as Mutating;
    use Endpoint::Validate as Validating;
    for (mutate, kind, endpoint, stands) in [
        (Mutate::Pods, "Pod", Mutating, true),
        (Mutate::Pods, "Pod", Validating, false),
        (Mutate::Pods, "Deployment", Mutating, true),
        (Mutate::Pods, "Deployment", Validating, true),
        (Mutate::All, "Pod", Validating, false),
        (Mutate::All, "Deployment", Mutating, true),
        (Mutate::Off, "Pod", Mutating, false),
        (Mutate::Off, "Deployment", Validating, false),
    ] {
        let cluster = Cluster::new();
        cluster.attach(&digest("old"), &cluster.key);
        cluster.set(|held| held.tag = Some(digest("old")));
        let settings = store::Settings { stale_tags: true, ..store::Settings::default() };
        let clock = Clock::starting_at(start());
        let stored = Stored::new(cluster.fake.clone(), settings, Tiers::default(), clock);
        let admission = Admission::new(stored, Settings { mutate, ..Settings::default() });
        let request = Request { endpoint, ..Cluster::request(kind, IMAGE) };
        let ask = async || admission.admit(&request, &cluster.snapshot, now(), soon()).await;
        assert!(ask().await.allowed);
        cluster.set(|held| held.down = true);
        advance(Duration::from_secs(60)).await;
        let decision = ask().await;
        let case = format!("{mutate:?} {kind} {endpoint:?}: {}", decision.message);
        assert_eq!(decision.allowed, stands, "{case}");
        if !stands {
            assert_eq!(reason(&decision), Some(Reason::RegistryUnreachable), "{case}");
        }
    }
}
