//! From references to digests.
use bytes::Bytes;
use tegata::evidence::FetchEvidence as _;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::registry::HostOptions;
use tegata::registry::Keychain;
use tegata::registry::Registry;
use tegata::registry::RegistryOptions;
use tegata::verdict::Reason;
use tegata::verdict::Step;

use crate::fake_registry::FakeRegistry;
use crate::fake_registry::Fault;
use crate::support::Fixture;
use crate::support::REPOSITORY;
use crate::support::image;
use crate::support::soon;
use crate::support::within;

const MANIFEST: &str = "/manifests/v1";

#[tokio::test]
async fn a_tag_becomes_the_digest_of_its_bytes() {
    let fixture = Fixture::new().await;
    assert_eq!(fixture.resolve().await, Ok(fixture.digest.clone()));
    assert!(fixture.registry.log().iter().all(|request| request.method == "GET"));
}

#[tokio::test]
async fn a_digest_costs_no_request() {
    let fixture = Fixture::new().await;
    let image = fixture.image().with_digest(Digest::sha256_of(b"elsewhere"));
    let digest = fixture.client().resolve(&image, soon()).await;
    assert_eq!(digest, Ok(Digest::sha256_of(b"elsewhere")));
    assert_eq!(fixture.registry.log().len(), 0);
}

#[tokio::test]
async fn rejects_sha512_digests() {
    let fixture = Fixture::new().await;
    let digest: Digest = format!("sha512:{}", "0".repeat(128)).parse().unwrap();
    let image = fixture.image().with_digest(digest);
    let failure = fixture.client().resolve(&image, soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ImageDigestUnsupported);
}

#[tokio::test]
async fn rejects_an_image_that_is_not_there() {
    let fixture = Fixture::new().await;
    let image: ImageRef = format!("{}/x:v2", fixture.registry.host()).parse().unwrap();
    let failure = fixture.client().resolve(&image, soon()).await.unwrap_err();
    assert_eq!((failure.reason, failure.step()), (Reason::ImageNotFound, Step::Subject));
}

#[tokio::test]
async fn rejects_a_header_that_contradicts_the_bytes() {
    let fixture = Fixture::new().await;
    let other = Digest::sha256_of(b"other").to_string();
    fixture.registry.fault(MANIFEST, Fault::Header("docker-content-digest", other));
    let failure = fixture.resolve().await.unwrap_err();
    assert_eq!(failure.reason, Reason::ImageDigestMismatch);
    fixture.registry.heal();
    fixture.registry.fault(MANIFEST, Fault::Header("docker-content-digest", "latest".into()));
    assert_eq!(fixture.resolve().await.unwrap_err().reason, Reason::ImageUnreadable);
}

#[tokio::test]
async fn a_second_answer_of_the_registry_is_not_asked_for() {
    let fixture = Fixture::new().await;
    let evil = Bytes::from(image("evil").to_string());
    fixture.registry.fault(MANIFEST, Fault::AnswerFrom(2, evil.clone()));
    assert_eq!(fixture.resolve().await, Ok(fixture.digest.clone()));
    assert_eq!(fixture.registry.count(MANIFEST), 1);
    // The tag has moved by now; what is asked for by digest stays what it is.
    assert_eq!(fixture.resolve().await, Ok(Digest::sha256_of(&evil)));
}

#[tokio::test]
async fn rejects_what_is_no_manifest() {
    for body in ["", "[]", "{}", "<html>", r#"{"schemaVersion":1,"fsLayers":[]}"#] {
        let fixture = Fixture::new().await;
        fixture.registry.fault(MANIFEST, Fault::AnswerFrom(1, body.into()));
        let failure = fixture.resolve().await.unwrap_err();
        assert_eq!(failure.reason, Reason::ImageUnreadable, "{body}");
    }
}

#[tokio::test]
async fn statuses_become_reasons() {
    for (status, expected) in [
        (400, Reason::RegistryUnreachable),
        (401, Reason::RegistryUnauthorised),
        (403, Reason::RegistryUnauthorised),
        (404, Reason::ImageNotFound),
        (429, Reason::RegistryRateLimited),
        (500, Reason::RegistryUnreachable),
        (503, Reason::RegistryUnreachable),
    ] {
        let fixture = Fixture::new().await;
        let fault = Fault::Status { status, times: usize::MAX, retry_after: None };
        fixture.registry.fault(MANIFEST, fault);
        assert_eq!(fixture.resolve().await.unwrap_err().reason, expected, "{status}");
        assert!(fixture.registry.count(MANIFEST) <= 3, "{status}");
    }
}

#[tokio::test]
async fn a_short_outage_is_ridden_out() {
    for status in [429, 500, 503] {
        let fixture = Fixture::new().await;
        let fault = Fault::Status { status, times: 2, retry_after: None };
        fixture.registry.fault(MANIFEST, fault);
        assert_eq!(fixture.resolve().await, Ok(fixture.digest.clone()), "{status}");
        assert_eq!(fixture.registry.count(MANIFEST), 3);
    }
}

#[tokio::test]
async fn retry_after_is_obeyed_within_the_deadline() {
    let fixture = Fixture::new().await;
    let fault = Fault::Status { status: 429, times: 1, retry_after: Some(1) };
    fixture.registry.fault(MANIFEST, fault);
    let start = std::time::Instant::now();
    assert_eq!(fixture.resolve().await, Ok(fixture.digest.clone()));
    assert!(start.elapsed().as_millis() >= 1_000);
}

#[tokio::test]
async fn retry_after_beyond_the_deadline_ends_at_once() {
    let fixture = Fixture::new().await;
    let fault = Fault::Status { status: 429, times: 1, retry_after: Some(20) };
    fixture.registry.fault(MANIFEST, fault);
    let start = std::time::Instant::now();
    let failure = fixture.resolve().await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryRateLimited);
    assert!(start.elapsed().as_millis() < 5_000);
    assert_eq!(fixture.registry.count(MANIFEST), 1);
}

#[tokio::test]
async fn a_registry_that_is_down_is_unreachable() {
    let fixture = Fixture::new().await;
    let client = fixture.client();
    let image = fixture.image();
    let Fixture { registry, .. } = fixture;
    drop(registry);
    tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    let failure = client.resolve(&image, within(3_000)).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnreachable);
}

#[tokio::test]
async fn plain_http_needs_a_setting() {
    let fixture = Fixture::new().await;
    let client = Registry::new(RegistryOptions::default(), Keychain::anonymous()).unwrap();
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnreachable);
    assert_eq!(fixture.registry.log().len(), 0);
}

#[tokio::test]
async fn tls_needs_a_trusted_authority() {
    let registry = FakeRegistry::start_tls().await.unwrap();
    let digest = registry.put_manifest(REPOSITORY, &image("app"));
    registry.tag(REPOSITORY, "v1", &digest);
    let image: ImageRef = format!("{}/{REPOSITORY}:v1", registry.host()).parse().unwrap();
    let ca_pem = registry.certificate().map(str::to_owned);
    let host = HostOptions { ca_pem, ..HostOptions::default() };
    let hosts = [(registry.host(), host)].into();
    let options = RegistryOptions { hosts, ..RegistryOptions::default() };
    let trusting = Registry::new(options, Keychain::anonymous()).unwrap();
    assert_eq!(trusting.resolve(&image, soon()).await, Ok(digest));
    let client = Registry::new(RegistryOptions::default(), Keychain::anonymous()).unwrap();
    let failure = client.resolve(&image, soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnreachable);
    let host = HostOptions { ca_pem: Some("nonsense".into()), ..HostOptions::default() };
    let hosts = [(registry.host(), host)].into();
    let options = RegistryOptions { hosts, ..RegistryOptions::default() };
    assert!(Registry::new(options, Keychain::anonymous()).is_err());
}

#[tokio::test]
async fn mirrors_come_first_and_the_registry_last() {
    let (origin, mirror) = (Fixture::new().await, Fixture::new().await);
    let mirrors = vec![format!("{}/cache", mirror.registry.host())];
    let host = HostOptions { mirrors, ..HostOptions::default() };
    let mut options = origin.options(host);
    options.allow_http.push(mirror.registry.host());
    let client = Registry::new(options, Keychain::anonymous()).unwrap();
    // The mirror does not have it yet.
    let answer = client.resolve(&origin.image(), soon()).await;
    assert_eq!(answer, Ok(origin.digest.clone()));
    assert_eq!(mirror.registry.count("/v2/cache/team/app/manifests/v1"), 1);
    assert_eq!(origin.registry.log().len(), 1);
    let cached = mirror.registry.put_manifest("cache/team/app", &image("app"));
    mirror.registry.tag("cache/team/app", "v1", &cached);
    assert_eq!(client.resolve(&origin.image(), soon()).await, Ok(cached));
    assert_eq!(origin.registry.log().len(), 1, "the mirror had it");
    // A mirror that hangs or fails takes a share of the time only.
    let slow = Fault::Slow(std::time::Duration::from_millis(100));
    mirror.registry.fault("/manifests/", slow);
    let answer = client.resolve(&origin.image(), within(4_000)).await;
    assert_eq!(answer, Ok(origin.digest.clone()));
}

#[test]
fn settings_reject_unknown_keys() {
    let good = r#"{"allowHttp": ["a:1"], "requestTimeout": "3s",
        "hosts": {"docker.io": {"mirrors": ["m"], "allowPrivate": true, "plainHttp": false}}}"#;
    let options: RegistryOptions = serde_json::from_str(good).unwrap();
    assert_eq!(options.request_timeout.as_secs(), 3);
    assert!(options.hosts["docker.io"].allow_private);
    for bad in [
        r#"{"alowHttp": []}"#,
        r#"{"hosts": {"a": {"insecure": true}}}"#,
        r#"{"requestTimeout": "0s"}"#,
        r#"{"requestTimeout": "-1s"}"#,
    ] {
        assert!(serde_json::from_str::<RegistryOptions>(bad).is_err(), "{bad}");
    }
}
