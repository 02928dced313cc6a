//! Redirects and addresses.
use tegata::evidence::FetchEvidence as _;
use tegata::image::ImageRef;
use tegata::registry::HostOptions;
use tegata::registry::Keychain;
use tegata::registry::limits::MAX_REDIRECTS;
use tegata::verdict::Reason;

use crate::fake_registry::Auth;
use crate::fake_registry::FakeRegistry;
use crate::fake_registry::Fault;
use crate::support::Fixture;
use crate::support::REPOSITORY;
use crate::support::image;
use crate::support::soon;

const MANIFEST: &str = "/manifests/v1";

#[tokio::test]
async fn rejects_redirects_to_special_addresses() {
    for target in [
        "http://169.254.169.254/latest/meta-data",
        "http://[::ffff:169.254.169.254]/",
        "http://0x7f000001/",
        "http://10.0.0.1/",
        "http://[::1]:9/",
        "http://localhost:9/",
    ] {
        let fixture = Fixture::new().await;
        fixture.registry.fault(MANIFEST, Fault::Redirect(target.into()));
        let failure = fixture.resolve().await.unwrap_err();
        assert_eq!(failure.reason, Reason::RegistryAddressForbidden, "{target}");
    }
}

#[tokio::test]
async fn allowing_private_addresses_leaves_metadata_services_out() {
    let fixture = Fixture::new().await;
    let target = "http://169.254.169.254/latest/meta-data".to_owned();
    fixture.registry.fault(MANIFEST, Fault::Redirect(target));
    let host = HostOptions { allow_private: true, ..HostOptions::default() };
    let client = fixture.client_with(host, Keychain::anonymous());
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryAddressForbidden);
}

#[tokio::test]
async fn rejects_an_image_on_a_metadata_service() {
    let fixture = Fixture::new().await;
    let image: ImageRef = "169.254.169.254/team/app:v1".parse().unwrap();
    let failure = fixture.client().resolve(&image, soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryAddressForbidden);
}

#[tokio::test]
async fn redirects_on_the_same_server_are_followed() {
    let fixture = Fixture::new().await;
    let target = format!("/v2/{REPOSITORY}/manifests/{}", fixture.digest);
    fixture.registry.fault(MANIFEST, Fault::Redirect(target));
    assert_eq!(fixture.resolve().await, Ok(fixture.digest.clone()));
}

#[tokio::test]
async fn rejects_circles() {
    let fixture = Fixture::new().await;
    fixture.registry.fault(MANIFEST, Fault::Redirect(format!("/v2/{REPOSITORY}{MANIFEST}")));
    assert_eq!(fixture.resolve().await.unwrap_err().reason, Reason::ImageUnreadable);
    assert_eq!(fixture.registry.count(MANIFEST), MAX_REDIRECTS + 1);
}

#[tokio::test]
async fn rejects_other_schemes_and_credentials_in_redirects() {
    for target in ["file:///etc/passwd", "ftp://127.0.0.1/", "http://user:pass@127.0.0.1:9/"] {
        let fixture = Fixture::new().await;
        fixture.registry.fault(MANIFEST, Fault::Redirect(target.into()));
        let failure = fixture.resolve().await.unwrap_err();
        assert_eq!(failure.reason, Reason::ImageUnreadable, "{target}");
    }
}

#[tokio::test]
async fn rejects_redirects_from_https_to_http() {
    let (registry, plain) = (FakeRegistry::start_tls().await.unwrap(), Fixture::new().await);
    let target = format!("http://{}/v2/{REPOSITORY}{MANIFEST}", plain.registry.host());
    registry.fault(MANIFEST, Fault::Redirect(target));
    let ca_pem = registry.certificate().map(str::to_owned);
    let host = HostOptions { allow_private: true, ca_pem, ..HostOptions::default() };
    let options = tegata::registry::RegistryOptions {
        hosts: [(registry.host(), host)].into(),
        ..Default::default()
    };
    let client = tegata::registry::Registry::new(options, Keychain::anonymous()).unwrap();
    let image: ImageRef = format!("{}/{REPOSITORY}:v1", registry.host()).parse().unwrap();
    let failure = client.resolve(&image, soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryAddressForbidden);
    assert_eq!(plain.registry.log().len(), 0);
}

#[tokio::test]
async fn redirects_elsewhere_carry_no_credentials() {
    let (registry, storage) = (Fixture::new().await, Fixture::new().await);
    let auth = Auth::Basic { username: "user".into(), password: "secret".into() };
    registry.registry.set_auth(auth);
    storage.registry.put_manifest(REPOSITORY, &image("app"));
    let target = format!("http://{}/v2/{REPOSITORY}{MANIFEST}?sig=x", storage.registry.host());
    registry.registry.fault(MANIFEST, Fault::Redirect(target));
    let host = HostOptions { allow_private: true, ..HostOptions::default() };
    let client = registry.client_with(host, registry.keychain("user", "secret"));
    assert_eq!(client.resolve(&registry.image(), soon()).await, Ok(storage.digest.clone()));
    let own = registry.registry.log();
    assert!(own.iter().any(|request| request.authorization.is_some()));
    let foreign = storage.registry.log();
    assert_eq!(foreign.len(), 1);
    assert_eq!(foreign[0].authorization, None);
}

#[tokio::test]
async fn errors_show_neither_queries_nor_credentials() {
    let fixture = Fixture::new().await;
    let target = "http://10.0.0.1/blob?X-Signature=hunter2".to_owned();
    fixture.registry.fault(MANIFEST, Fault::Redirect(target));
    let failure = fixture.resolve().await.unwrap_err();
    let text = format!("{failure:?}");
    assert!(text.contains("10.0.0.1") && !text.contains("hunter2"), "{text}");
}
