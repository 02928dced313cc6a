//! Budgets, certificate authorities, proxies, reloading, metrics.
use std::time::Duration;

use futures::future::join_all;
use tegata::evidence::FetchEvidence as _;
use tegata::image::ImageRef;
use tegata::metrics;
use tegata::registry::HostOptions;
use tegata::registry::Keychain;
use tegata::registry::ProxyOptions;
use tegata::registry::Registry;
use tegata::registry::RegistryOptions;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;

use crate::fake_registry::Auth;
use crate::fake_registry::FakeRegistry;
use crate::fake_registry::Fault;
use crate::support::Fixture;
use crate::support::REPOSITORY;
use crate::support::image;
use crate::support::soon;
use crate::support::within;

#[tokio::test]
async fn a_spent_budget_is_named_and_indeterminate() {
    let slow = Fault::Slow(Duration::from_millis(50));
    for (host, fault, named) in [
        (r#"{"maxConcurrent": 1}"#, Some(slow), "maxConcurrent 1"),
        (r#"{"requestsPerSecond": 1}"#, None, "requestsPerSecond 1"),
    ] {
        let fixture = Fixture::new().await;
        if let Some(fault) = fault {
            fixture.registry.fault("/manifests/", fault);
        }
        let host: HostOptions = serde_json::from_str(host).unwrap();
        let client = fixture.client_with(host, Keychain::anonymous());
        let image = fixture.image();
        let answers = join_all((0..3).map(|_| client.resolve(&image, within(500)))).await;
        let spent = answers.into_iter().filter_map(Result::err).find(|failure| {
            assert_ne!(failure.verdict(), Verdict::Verified);
            failure.reason == Reason::Overloaded
        });
        let spent = spent.unwrap_or_else(|| panic!("no budget was spent: {named}"));
        assert!(spent.found.contains(named), "{spent:?}");
        assert_eq!(spent.verdict(), Verdict::Indeterminate);
    }
}

#[test]
fn budgets_of_nothing_are_refused() {
    for bad in [r#"{"maxConcurrent": 0}"#, r#"{"requestsPerSecond": 0}"#] {
        assert!(serde_json::from_str::<HostOptions>(bad).is_err(), "{bad}");
    }
}

#[tokio::test]
async fn a_general_authority_is_trusted_for_every_host() {
    let registry = FakeRegistry::start_tls().await.unwrap();
    let digest = registry.put_manifest(REPOSITORY, &image("app"));
    registry.tag(REPOSITORY, "v1", &digest);
    let image: ImageRef = format!("{}/{REPOSITORY}:v1", registry.host()).parse().unwrap();
    let ca_pem = registry.certificate().map(str::to_owned);
    for named in [true, false] {
        let hosts = named.then(|| (registry.host(), HostOptions::default()));
        let options = RegistryOptions {
            ca_pem: ca_pem.clone(),
            hosts: hosts.into_iter().collect(),
            ..RegistryOptions::default()
        };
        let client = Registry::new(options, Keychain::anonymous()).unwrap();
        assert_eq!(client.resolve(&image, soon()).await, Ok(digest.clone()));
    }
    for bad in ["nonsense", "-----BEGIN CERTIFICATE-----\n!\n-----END CERTIFICATE-----\n"] {
        let options = RegistryOptions { ca_pem: Some(bad.into()), ..RegistryOptions::default() };
        let error = Registry::new(options, Keychain::anonymous()).unwrap_err();
        assert_eq!(error.field, "caPem", "{bad}");
    }
}

#[tokio::test]
async fn new_settings_hold_for_every_clone_and_keep_tokens() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(Auth::Bearer { user: None, realm: None, expires_in: 300 });
    let client = Registry::new(RegistryOptions::default(), Keychain::anonymous()).unwrap();
    let tenant = client.with_keychain(Keychain::anonymous());
    let failure = tenant.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnreachable, "it speaks no TLS");
    client.reload(fixture.options(HostOptions::default())).unwrap();
    assert_eq!(tenant.resolve(&fixture.image(), soon()).await, Ok(fixture.digest.clone()));
    assert_eq!(fixture.registry.count("/token"), 1);
    let host = HostOptions { ca_pem: Some("nonsense".into()), ..HostOptions::default() };
    assert!(client.reload(fixture.options(host)).is_err());
    client.reload(fixture.options(HostOptions::default())).unwrap();
    assert_eq!(tenant.resolve(&fixture.image(), soon()).await, Ok(fixture.digest.clone()));
    assert_eq!(fixture.registry.count("/token"), 1, "the token is kept");
    client.reload(RegistryOptions::default()).unwrap();
    assert!(tenant.resolve(&fixture.image(), soon()).await.is_err());
}

#[tokio::test]
async fn new_credentials_hold_for_clones_but_not_for_tenants() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(Auth::Basic { username: "user".into(), password: "secret".into() });
    let client = fixture.client();
    let (clone, tenant) = (client.clone(), client.with_keychain(Keychain::anonymous()));
    client.reload_keychain(fixture.keychain("user", "secret"));
    assert!(clone.resolve(&fixture.image(), soon()).await.is_ok());
    let failure = tenant.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnauthorised);
}

/// The options of a client whose plain HTTP goes through `proxy`.
fn proxied(proxy: &FakeRegistry, hosts: &[&str], no_proxy: &[&str]) -> RegistryOptions {
    RegistryOptions {
        allow_http: hosts.iter().map(|host| (*host).to_owned()).collect(),
        proxy: ProxyOptions {
            https: None,
            http: Some(format!("http://{}", proxy.host())),
            no_proxy: no_proxy.iter().map(|host| (*host).to_owned()).collect(),
        },
        ..RegistryOptions::default()
    }
}

#[tokio::test]
async fn a_proxy_is_asked_instead_and_only_where_it_is_meant() {
    let fixture = Fixture::new().await;
    let host = "registry.invalid";
    let image: ImageRef = format!("{host}/{REPOSITORY}:v1").parse().unwrap();
    let client = |no_proxy: &[&str]| {
        let options = proxied(&fixture.registry, &[host], no_proxy);
        Registry::new(options, Keychain::anonymous()).unwrap()
    };
    // The name cannot be looked up here; the proxy does it.
    let digest = client(&[]).resolve(&image, soon()).await;
    assert_eq!(digest, Ok(fixture.digest.clone()));
    let asked = fixture.registry.log().len();
    let failure = client(&["invalid"]).resolve(&image, soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnreachable);
    assert_eq!(fixture.registry.log().len(), asked);
}

#[tokio::test]
async fn rejects_special_addresses_behind_a_proxy_and_the_proxy_itself() {
    for target in ["http://169.254.169.254/x", "http://10.0.0.1/x", "proxy"] {
        let fixture = Fixture::new().await;
        let host = "registry.invalid";
        let image: ImageRef = format!("{host}/{REPOSITORY}:v1").parse().unwrap();
        let own = format!("http://{}/x", fixture.registry.host().replace("127.0.0.1", "localhost"));
        let location = if target == "proxy" { own } else { target.to_owned() };
        fixture.registry.fault("/manifests/v1", Fault::Redirect(location));
        let mut options = proxied(&fixture.registry, &[host], &[]);
        options.proxy.http = options.proxy.http.map(|url| url.replace("127.0.0.1", "localhost"));
        let client = Registry::new(options, Keychain::anonymous()).unwrap();
        let failure = client.resolve(&image, soon()).await.unwrap_err();
        assert_eq!(failure.reason, Reason::RegistryAddressForbidden, "{target}");
        assert_eq!(fixture.registry.log().len(), 1, "{target}");
    }
}

#[test]
fn rejects_proxies_that_are_no_address_or_hold_a_password() {
    for address in ["", "proxy:3128", "socks5://proxy", "http://user:hunter2@proxy", "//proxy"] {
        let proxy = ProxyOptions { https: Some(address.into()), ..ProxyOptions::default() };
        let options = RegistryOptions { proxy, ..RegistryOptions::default() };
        let error = Registry::new(options, Keychain::anonymous()).unwrap_err();
        assert_eq!(error.field, "proxy.https", "{address}");
        assert!(!error.to_string().contains("hunter2"));
    }
}

#[tokio::test]
async fn requests_are_counted_by_names_of_a_bounded_set() {
    let (named, other) = (Fixture::new().await, Fixture::new().await);
    named.registry.set_auth(Auth::Bearer { user: None, realm: None, expires_in: 300 });
    let mut options = named.options(HostOptions::default());
    options.hosts.insert(
        "docker.io".into(),
        HostOptions { mirrors: vec![other.registry.host()], ..HostOptions::default() },
    );
    let (registry, metrics) = metrics::registry();
    let client = Registry::new(options, Keychain::anonymous()).unwrap();
    let client = client.with_metrics(metrics.registry.clone());
    assert!(client.resolve(&named.image(), soon()).await.is_ok());
    assert!(client.resolve(&named.image(), soon()).await.is_ok());
    let missing: ImageRef = format!("{}/none:v1", named.registry.host()).parse().unwrap();
    assert!(client.resolve(&missing, soon()).await.is_err());
    let fault = Fault::Status { status: 429, times: 1, retry_after: Some(60) };
    named.registry.fault("/manifests/v2", fault);
    let limited: ImageRef = format!("{}/{REPOSITORY}:v2", named.registry.host()).parse().unwrap();
    assert!(client.resolve(&limited, soon()).await.is_err());
    let paused: ImageRef = format!("{}/{REPOSITORY}:v3", named.registry.host()).parse().unwrap();
    assert!(client.resolve(&paused, soon()).await.is_err());
    // Nobody listens there, and a tenant chose the name.
    let foreign: ImageRef = "127.0.0.1:1/team/app:v1".parse().unwrap();
    assert!(client.resolve(&foreign, within(1_500)).await.is_err());
    let text = metrics::encode(&registry).unwrap();
    let host = named.registry.host();
    for line in [
        format!("tegata_registry_requests_total{{registry=\"{host}\",outcome=\"absent\"}} 1"),
        format!("tegata_registry_requests_total{{registry=\"{host}\",outcome=\"rate-limited\"}} 1"),
        format!("tegata_registry_requests_total{{registry=\"{host}\",outcome=\"not-asked\"}} 1"),
        format!("tegata_registry_requests_total{{registry=\"{host}\",outcome=\"challenged\"}}"),
        format!("tegata_registry_requests_total{{registry=\"{host}\",outcome=\"ok\"}}"),
        "tegata_registry_requests_total{registry=\"other\",outcome=\"error\"}".to_owned(),
        "tegata_registry_tokens_total{result=\"hit\"}".to_owned(),
        "tegata_registry_tokens_total{result=\"miss\"} 2".to_owned(),
        "tegata_pull_secret_cache_total{result=\"hit\"} 0".to_owned(),
    ] {
        assert!(text.contains(&line), "{line}\n{text}");
    }
    assert!(!text.contains("127.0.0.1:1/") && !text.contains("127.0.0.1:1\""), "{text}");
}
