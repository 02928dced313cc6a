//! Registries that do not answer, and those that ask to be left alone.
use std::net::SocketAddr;
use std::time::Duration;

use tegata::evidence::FetchEvidence as _;
use tegata::image::ImageRef;
use tegata::registry::HostOptions;
use tegata::registry::Keychain;
use tegata::registry::Registry;
use tegata::registry::RegistryOptions;
use tegata::registry::limits::FIRST_REST;
use tegata::registry::limits::MAX_CONCURRENT_REQUESTS;
use tegata::registry::limits::MAX_FOREIGN_REQUESTS;
use tegata::registry::limits::UNANSWERED;
use tegata::registry::limits::UNREACHED;
use tegata::verdict::Failure;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;
use tokio::net::TcpListener;

use crate::fake_registry::Auth;
use crate::fake_registry::FakeRegistry;
use crate::fake_registry::Fault;
use crate::support::Fixture;
use crate::support::REPOSITORY;
use crate::support::image;
use crate::support::soon;

const DOWN: Fault = Fault::Status { status: 503, times: usize::MAX, retry_after: None };

/// An image in a repository of a registry.
fn image_at(host: &str, repository: &str) -> ImageRef {
    format!("{host}/{repository}:v1").parse().unwrap()
}

/// A registry with an image `v1` in each repository.
async fn registry_with(repositories: &[&str]) -> FakeRegistry {
    let registry = FakeRegistry::start().await.unwrap();
    for repository in repositories {
        let digest = registry.put_manifest(repository, &image("app"));
        registry.tag(repository, "v1", &digest);
    }
    registry
}

fn client(hosts: &[&str]) -> Registry {
    let allow_http = hosts.iter().map(|host| (*host).to_owned()).collect();
    let options = RegistryOptions { allow_http, ..RegistryOptions::default() };
    Registry::new(options, Keychain::anonymous()).unwrap()
}

fn is_left_alone(failure: &Failure) -> bool {
    assert_eq!(failure.reason, Reason::RegistryUnreachable, "{failure:?}");
    assert_eq!(failure.verdict(), Verdict::Indeterminate);
    failure.found.contains("is not asked")
}

#[tokio::test]
async fn a_dead_registry_is_left_alone_and_found_again() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address: SocketAddr = listener.local_addr().unwrap();
    drop(listener);
    let host = address.to_string();
    let client = client(&[&host]);
    let image = image_at(&host, REPOSITORY);
    let first = client.resolve(&image, soon()).await.unwrap_err();
    assert!(!is_left_alone(&first), "a request's own tries are no row: {first:?}");
    let mut failure = first;
    for _ in 0..UNREACHED {
        failure = client.resolve(&image, soon()).await.unwrap_err();
    }
    assert!(is_left_alone(&failure), "{failure:?}");
    for part in ["Connection refused", "no answer for", "asked again in"] {
        assert!(failure.found.contains(part), "{part}: {failure:?}");
    }
    // Back, on the same address.
    let registry = FakeRegistry::start_at(address).await.unwrap();
    let digest = registry.put_manifest(REPOSITORY, &crate::support::image("app"));
    registry.tag(REPOSITORY, "v1", &digest);
    let back = async {
        while client.resolve(&image, soon()).await.is_err() {
            tokio::time::sleep(FIRST_REST / 10).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), back).await.unwrap();
    assert_eq!(client.resolve(&image, soon()).await, Ok(digest));
}

#[tokio::test]
async fn a_registry_that_fails_is_left_alone_by_those_it_failed() {
    let registry = registry_with(&["a/app", "b/app", "c/app"]).await;
    let host = registry.host();
    let client = client(&[&host]);
    registry.fault("/v2/a/", DOWN);
    registry.fault("/v2/b/", DOWN);
    let mut last = None;
    for number in 0..UNANSWERED {
        let repository = if number % 2 == 0 { "a/app" } else { "b/app" };
        last = client.resolve(&image_at(&host, repository), soon()).await.err();
    }
    assert!(last.as_ref().is_some_and(is_left_alone), "{last:?}");
    assert!(last.unwrap().found.contains("status 503"));
    assert!(registry.log().len() < 3 * UNANSWERED as usize);
    // Whoever may push, or lead a path astray, stops nobody else.
    assert!(client.resolve(&image_at(&host, "c/app"), soon()).await.is_ok());
    registry.heal();
    assert!(client.resolve(&image_at(&host, "a/app"), soon()).await.is_ok(), "an answer ends it");
}

#[tokio::test]
async fn refusals_absences_and_limits_are_answers() {
    for status in [401, 403, 404, 429, 501] {
        let registry = registry_with(&["a/app", "b/app"]).await;
        let host = registry.host();
        let client = client(&[&host]);
        registry.fault("/v2/", Fault::Status { status, times: usize::MAX, retry_after: None });
        for _ in 0..UNANSWERED {
            for repository in ["a/app", "b/app"] {
                // Of 429 one try each: the pauses between tries would only take time.
                let deadline = std::time::Instant::now() + Duration::from_millis(90);
                let _ = client.resolve(&image_at(&host, repository), deadline).await;
            }
        }
        registry.heal();
        let answer = client.resolve(&image_at(&host, "a/app"), soon()).await;
        assert!(answer.is_ok(), "{status}: {answer:?}");
    }
}

#[tokio::test]
async fn a_body_that_comes_slowly_and_a_wait_cut_short_are_no_outage() {
    for fault in [Fault::Slow(Duration::from_secs(1)), Fault::Late(Duration::from_secs(60))] {
        let registry = registry_with(&["a/app", "b/app"]).await;
        let host = registry.host();
        let client = client(&[&host]);
        registry.fault("/v2/", fault.clone());
        for _ in 0..UNANSWERED {
            for repository in ["a/app", "b/app"] {
                let deadline = std::time::Instant::now() + Duration::from_millis(50);
                let failure = client.resolve(&image_at(&host, repository), deadline).await;
                let reason = failure.unwrap_err().reason;
                assert_eq!(reason, Reason::DeadlineExceeded, "{fault:?}");
            }
        }
    }
}

/// A server that takes connections and says nothing.
#[tokio::test]
async fn a_registry_that_says_nothing_is_left_alone() {
    let registry = registry_with(&["a/app", "b/app"]).await;
    let host = registry.host();
    registry.fault("/v2/", Fault::Late(Duration::from_secs(60)));
    let options = RegistryOptions {
        allow_http: vec![host.clone()],
        request_timeout: Duration::from_millis(50),
        ..RegistryOptions::default()
    };
    let client = Registry::new(options, Keychain::anonymous()).unwrap();
    let mut last = None;
    for number in 0..=UNANSWERED {
        let repository = if number % 2 == 0 { "a/app" } else { "b/app" };
        last = client.resolve(&image_at(&host, repository), soon()).await.err();
    }
    assert!(last.as_ref().is_some_and(is_left_alone), "{last:?}");
    assert_eq!(registry.log().len(), UNANSWERED as usize);
}

/// Where a hostile registry sends us is asked all the same when its own images need it.
#[tokio::test]
async fn a_registry_that_leads_astray_stops_nobody_but_itself() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let hostile = registry_with(&["evil/app"]).await;
    hostile.fault("/manifests/", Fault::Redirect(format!("http://{address}/v2/")));
    let (hostile_host, victim_host) = (hostile.host(), address.to_string());
    let settings = HostOptions { allow_private: true, ..HostOptions::default() };
    let options = RegistryOptions {
        allow_http: vec![hostile_host.clone(), victim_host.clone()],
        hosts: [(hostile_host.clone(), settings)].into(),
        ..RegistryOptions::default()
    };
    let client = Registry::new(options, Keychain::anonymous()).unwrap();
    let mut last = None;
    for _ in 0..UNREACHED {
        last = client.resolve(&image_at(&hostile_host, "evil/app"), soon()).await.err();
    }
    assert!(last.as_ref().is_some_and(is_left_alone), "{last:?}");
    let victim = FakeRegistry::start_at(address).await.unwrap();
    let digest = victim.put_manifest(REPOSITORY, &image("app"));
    victim.tag(REPOSITORY, "v1", &digest);
    assert_eq!(client.resolve(&image_at(&victim_host, REPOSITORY), soon()).await, Ok(digest));
}

/// A registry whose manifests lead to another, at `path`, and a client that takes both for their own.
async fn astray(victim: &FakeRegistry, path: &str) -> (FakeRegistry, Registry) {
    let hostile = registry_with(&["evil/app"]).await;
    let target = format!("http://{}{path}", victim.host());
    hostile.fault("/manifests/", Fault::Redirect(target));
    let settings = HostOptions { allow_private: true, ..HostOptions::default() };
    let options = RegistryOptions {
        allow_http: vec![hostile.host(), victim.host()],
        hosts: [(hostile.host(), settings)].into(),
        ..RegistryOptions::default()
    };
    (hostile, Registry::new(options, Keychain::anonymous()).unwrap())
}

/// However many wait there, the registry's own images do not wait behind them.
#[tokio::test]
async fn whoever_is_led_to_a_registry_takes_no_place_of_it() {
    let victim = registry_with(&[REPOSITORY]).await;
    victim.fault("/stall", Fault::Late(Duration::from_secs(60)));
    let (hostile, client) = astray(&victim, "/stall").await;
    let many = 4 * MAX_CONCURRENT_REQUESTS;
    let image = image_at(&hostile.host(), "evil/app");
    let led = (0..many).map(|_| client.resolve(&image, soon()));
    let led = futures::future::join_all(led);
    let own = async {
        while hostile.log().len() < many || victim.count("/stall") < MAX_FOREIGN_REQUESTS {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        // Time for those that should not come.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(victim.count("/stall"), MAX_FOREIGN_REQUESTS);
        let short = std::time::Instant::now() + Duration::from_secs(2);
        client.resolve(&image_at(&victim.host(), REPOSITORY), short).await
    };
    tokio::select! {
        answer = own => assert!(answer.is_ok(), "{answer:?}"),
        ends = led => panic!("{ends:?}"),
    }
}

/// A pause that was asked for on the way holds on that way.
#[tokio::test]
async fn a_limit_met_where_another_registry_leads_pauses_that_way_alone() {
    let victim = registry_with(&[REPOSITORY]).await;
    let fault = Fault::Status { status: 429, times: usize::MAX, retry_after: Some(20) };
    victim.fault("/limited", fault);
    let (hostile, client) = astray(&victim, "/limited").await;
    for _ in 0..2 {
        let led = client.resolve(&image_at(&hostile.host(), "evil/app"), soon()).await;
        assert_eq!(led.unwrap_err().reason, Reason::RegistryRateLimited);
    }
    assert_eq!(victim.count("/limited"), 1, "the second time it is not asked");
    let own = client.resolve(&image_at(&victim.host(), REPOSITORY), soon()).await;
    assert!(own.is_ok(), "{own:?}");
}

#[tokio::test]
async fn a_mirror_that_is_left_alone_is_passed_by() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead = listener.local_addr().unwrap().to_string();
    drop(listener);
    let origin = Fixture::new().await;
    let host = HostOptions { mirrors: vec![dead.clone()], ..HostOptions::default() };
    let mut options = origin.options(host);
    options.allow_http.push(dead.clone());
    let client = Registry::new(options, Keychain::anonymous()).unwrap();
    for _ in 0..UNREACHED {
        assert_eq!(client.resolve(&origin.image(), soon()).await, Ok(origin.digest.clone()));
    }
    let mirror = client.resolve(&image_at(&dead, REPOSITORY), soon()).await.unwrap_err();
    assert!(mirror.reason == Reason::RegistryUnreachable);
    assert_eq!(client.resolve(&origin.image(), soon()).await, Ok(origin.digest.clone()));
}

/// A limit is on an account: whoever shares it waits, and nobody else.
#[tokio::test]
async fn a_pause_that_is_asked_for_holds_for_everyone_with_the_account() {
    let fixture = Fixture::new().await;
    let (registry, client) = (&fixture.registry, fixture.client());
    let other = registry.put_manifest("team/other", &image("other"));
    registry.tag("team/other", "v1", &other);
    let fault = Fault::Status { status: 429, times: 1, retry_after: Some(20) };
    registry.fault("/v2/team/app/manifests/v1", fault);
    let first = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(first.reason, Reason::RegistryRateLimited);
    let asked = registry.log().len();
    // Another repository, within the pause: not asked, and told for how long.
    let other = image_at(&registry.host(), "team/other");
    let second = client.resolve(&other, soon()).await.unwrap_err();
    assert_eq!(second.reason, Reason::RegistryRateLimited);
    assert!(second.found.contains("retry after 19 s"), "{second:?}");
    assert_eq!(registry.log().len(), asked);
    let user = ("user".to_owned(), "secret".to_owned());
    registry.set_auth(Auth::Basic { username: user.0.clone(), password: user.1.clone() });
    let tenant = client.with_keychain(fixture.keychain(&user.0, &user.1));
    assert!(tenant.resolve(&other, soon()).await.is_ok());
}

/// A short pause is waited for by those who did not meet it themselves.
#[tokio::test]
async fn a_pause_is_waited_for_within_the_deadline() {
    let fixture = Fixture::new().await;
    let (registry, client) = (&fixture.registry, fixture.client());
    let fault = Fault::Status { status: 429, times: 1, retry_after: Some(1) };
    registry.fault("/v2/absent/", fault);
    let absent = image_at(&registry.host(), "absent/app");
    let short = std::time::Instant::now() + Duration::from_millis(500);
    let limited = client.resolve(&absent, short).await.unwrap_err();
    assert_eq!(limited.reason, Reason::RegistryRateLimited);
    let start = std::time::Instant::now();
    assert_eq!(client.resolve(&fixture.image(), soon()).await, Ok(fixture.digest.clone()));
    assert!(start.elapsed() >= Duration::from_millis(500), "{:?}", start.elapsed());
}
