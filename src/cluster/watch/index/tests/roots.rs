//! Trust roots that are fetched.
use super::*;
use crate::trust_root::tuf;
use crate::tuf::Failure;
use crate::tuf::FailureKind;
use crate::tuf::Published;
use crate::tuf::Status;

/// A spec that names the repository at this host.
fn repository(host: &str) -> Value {
    let root = tuf::Source::public_good();
    let root = std::str::from_utf8(root.root()).unwrap();
    json!({"spec": {"tuf": {"mirror": format!("https://{host}"), "root": root}}})
}

fn id(host: &str) -> String {
    let root = tuf::Source::public_good();
    let target = tuf::TRUSTED_ROOT_TARGET;
    tuf::Source::new(&format!("https://{host}"), root.root(), target).unwrap().id()
}

fn fetched(root: &Arc<TrustRoot>) -> Published {
    let expires = Some("2030-01-01T00:00:00Z".parse().unwrap());
    let status = Status { succeeded: expires, root_version: Some(1), expires, ..Status::default() };
    Published { root: Some(Arc::clone(root)), status }
}

fn away() -> Status {
    let (kind, problem) = (FailureKind::Unavailable, "away".to_owned());
    Status { failures: 1, error: Some(Failure { kind, problem }), ..Status::default() }
}

fn failing(root: Option<&Arc<TrustRoot>>) -> Published {
    Published { root: root.cloned(), status: away() }
}

fn publish(cluster: &mut Cluster, sources: &[(&str, Published)]) {
    let sources = sources.iter().map(|(host, published)| (id(host), published.clone()));
    cluster.index.fetched(Arc::new(Roots { default: None, sources: sources.collect() }));
}

fn root() -> Arc<TrustRoot> {
    Arc::new(TrustRoot::public_good())
}

/// The trust root of the only policy.
fn in_force(cluster: &mut Cluster) -> Arc<TrustRoot> {
    let view = cluster.index.refresh();
    let PolicyState::Ready(policy) = &view.snapshot.policies()[0] else { panic!("ready") };
    Arc::clone(&policy.authorities[0].trust_root)
}

const MISSING: &str = "invalid spec.authorities[0].keyless.trustRootRef: there is no usable \
                       TrustRoot `private`";

/// A policy under a trust root that was fetched from `a`.
fn with_fetched() -> (Cluster, Arc<TrustRoot>) {
    let (mut cluster, root) = (Cluster::new(), root());
    cluster.policy("p", rooted("a/**", "private"));
    cluster.apply(&Source::TrustRoots, "private", repository("a"));
    publish(&mut cluster, &[("a", fetched(&root))]);
    assert_eq!(cluster.state(), "ready a/**");
    (cluster, root)
}

#[test]
fn a_repository_is_followed_and_denies_until_it_was_fetched() {
    let mut cluster = Cluster::new();
    cluster.policy("p", rooted("a/**", "private"));
    cluster.apply(&Source::TrustRoots, "private", repository("a"));
    assert!(cluster.state().starts_with(MISSING), "{}", cluster.state());
    assert!(cluster.index.roots_pending());
    assert_eq!(cluster.outcome(Kind::TrustRoot), Outcome::NotFetched { status: Status::default() });
    let sources = cluster.index.sources();
    assert_eq!(sources.keys().collect::<Vec<_>>(), ["TrustRoot/private"]);
    assert_eq!(sources["TrustRoot/private"].id(), id("a"));

    publish(&mut cluster, &[("a", failing(None)), ("b", fetched(&root()))]);
    assert!(cluster.state().starts_with(MISSING), "another's root is none of its own");
    assert!(!cluster.index.roots_pending(), "there is an answer");
    assert_eq!(cluster.outcome(Kind::TrustRoot), Outcome::NotFetched { status: away() });
}

#[test]
fn what_is_fetched_reaches_policies_each_time_and_stays_while_refreshing_fails() {
    let (mut cluster, first) = with_fetched();
    assert!(Arc::ptr_eq(&in_force(&mut cluster), &first));
    for _ in 0..2 {
        let next = root();
        publish(&mut cluster, &[("a", fetched(&next))]);
        assert!(Arc::ptr_eq(&in_force(&mut cluster), &next));
        publish(&mut cluster, &[("a", failing(Some(&next)))]);
        assert!(Arc::ptr_eq(&in_force(&mut cluster), &next), "the last good one");
    }
    let Outcome::Fetched { holds, status } = cluster.outcome(Kind::TrustRoot) else {
        panic!("fetched")
    };
    assert!(holds.starts_with("certificate authorities: 2"), "{holds}");
    assert_eq!(status, away());
}

#[test]
fn a_root_does_not_outlive_the_source_that_it_came_from() {
    let broken = json!({"spec": {"tuf": {"mirror": "file:///", "root": "{}"}}});
    let inline = json!({"spec": {"trustedRoot": "{}"}});
    let keys = json!({"spec": {"sigstoreKeys": {}}});
    let both = json!({"spec": {"trustedRoot": "{}", "tuf": repository("a")["spec"]["tuf"]}});
    for spec in [repository("b"), broken, inline, keys, both, json!({"spec": {}}), json!({})] {
        let (mut cluster, root) = with_fetched();
        cluster.apply(&Source::TrustRoots, "private", spec.clone());
        assert!(cluster.state().starts_with(MISSING), "{spec}: {}", cluster.state());
        // What its old source publishes later is nothing to it either.
        publish(&mut cluster, &[("a", fetched(&root))]);
        assert!(cluster.state().starts_with(MISSING), "{spec}");
    }
}

#[test]
fn a_root_in_the_spec_does_not_outlive_a_change_to_a_repository() {
    for spec in [repository("a"), json!({"spec": {"tuf": {"mirror": "x", "root": "{}"}}})] {
        let mut cluster = Cluster::new();
        cluster.policy("p", rooted("a/**", "private"));
        cluster.apply(&Source::TrustRoots, "private", json!({"spec": trusted_root()}));
        assert_eq!(cluster.state(), "ready a/**");
        cluster.apply(&Source::TrustRoots, "private", spec.clone());
        assert!(cluster.state().starts_with(MISSING), "{spec}: {}", cluster.state());
        // And it does not come back with the next mistake.
        cluster.apply(&Source::TrustRoots, "private", json!({"spec": {"trustedRoot": "{}"}}));
        assert!(cluster.state().starts_with(MISSING), "{spec}: {}", cluster.state());
    }
}

#[test]
fn a_deleted_trust_root_is_followed_no_longer() {
    let (mut cluster, _) = with_fetched();
    cluster.delete(&Source::TrustRoots, "private");
    assert!(cluster.state().starts_with(MISSING));
    assert!(cluster.index.sources().is_empty());
}

#[test]
fn another_default_reaches_policies_that_name_none() {
    let mut cluster = Cluster::new();
    cluster.policy("p", keyless("a/**"));
    let before = in_force(&mut cluster);
    let default = root();
    let publish = |cluster: &mut Cluster| {
        let roots = Roots { default: Some(Arc::clone(&default)), ..Roots::default() };
        cluster.index.fetched(Arc::new(roots));
    };
    publish(&mut cluster);
    assert!(Arc::ptr_eq(&in_force(&mut cluster), &default));
    assert!(!Arc::ptr_eq(&before, &default));
    let policy = |cluster: &mut Cluster| {
        let view = cluster.index.refresh();
        let PolicyState::Ready(policy) = &view.snapshot.policies()[0] else { panic!("ready") };
        Arc::clone(policy)
    };
    let compiled = policy(&mut cluster);
    publish(&mut cluster);
    assert!(Arc::ptr_eq(&compiled, &policy(&mut cluster)), "the same root compiles nothing anew");
}
