//! Credentials and tokens.
use std::time::Duration;

use futures::future::join_all;
use tegata::evidence::FetchEvidence as _;
use tegata::registry::HostOptions;
use tegata::registry::Keychain;
use tegata::verdict::Reason;

use crate::fake_registry::Auth;
use crate::fake_registry::Fault;
use crate::support::Fixture;
use crate::support::keychain;
use crate::support::soon;
use crate::support::within;

fn basic() -> Auth {
    Auth::Basic { username: "user".into(), password: "secret".into() }
}

fn bearer(user: Option<(&str, &str)>, realm: Option<String>, expires_in: u64) -> Auth {
    let user = user.map(|(name, password)| (name.to_owned(), password.to_owned()));
    Auth::Bearer { user, realm, expires_in }
}

#[tokio::test]
async fn basic_credentials_are_sent_to_their_host() {
    let fixture = Fixture::signed().await;
    fixture.registry.set_auth(basic());
    let client = fixture.client_with(HostOptions::default(), fixture.keychain("user", "secret"));
    assert_eq!(client.resolve(&fixture.image(), soon()).await, Ok(fixture.digest.clone()));
    let evidence = client.fetch(&fixture.query(), soon()).await;
    assert_eq!((evidence.candidates.len(), evidence.problems.len()), (2, 0));
}

#[tokio::test]
async fn rejects_wrong_and_missing_credentials() {
    for auth in [basic(), bearer(Some(("user", "secret")), None, 300)] {
        let fixture = Fixture::new().await;
        fixture.registry.set_auth(auth);
        for keychain in [Keychain::anonymous(), fixture.keychain("user", "wrong")] {
            let client = fixture.client_with(HostOptions::default(), keychain);
            let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
            assert_eq!(failure.reason, Reason::RegistryUnauthorised);
            assert!(!format!("{failure:?}").contains("wrong"));
        }
    }
}

#[tokio::test]
async fn credentials_of_other_hosts_stay_at_home() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(basic());
    let client = fixture.client_with(HostOptions::default(), keychain("gcr.io", "user", "secret"));
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnauthorised);
    assert!(fixture.registry.log().iter().all(|request| request.authorization.is_none()));
}

#[tokio::test]
async fn one_tenant_never_uses_another_tenants_authorization() {
    for auth in [basic(), bearer(Some(("user", "secret")), None, 300)] {
        let fixture = Fixture::new().await;
        fixture.registry.set_auth(auth);
        let owner = fixture.client_with(HostOptions::default(), fixture.keychain("user", "secret"));
        assert!(owner.resolve(&fixture.image(), soon()).await.is_ok());
        for keychain in [Keychain::anonymous(), fixture.keychain("user", "wrong")] {
            let other = owner.with_keychain(keychain);
            let failure = other.resolve(&fixture.image(), soon()).await.unwrap_err();
            assert_eq!(failure.reason, Reason::RegistryUnauthorised);
        }
        assert!(owner.resolve(&fixture.image(), soon()).await.is_ok());
    }
}

#[tokio::test]
async fn anonymous_tokens_ask_for_pull_only() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(bearer(None, None, 300));
    assert_eq!(fixture.resolve().await, Ok(fixture.digest.clone()));
    let log = fixture.registry.log();
    let token = log.iter().find(|request| request.path.starts_with("/token")).unwrap();
    // The fake's challenge asks for the scope `registry:catalog:*`.
    assert_eq!(token.path, "/token?service=fake&scope=repository%3Ateam%2Fapp%3Apull");
    assert_eq!(token.authorization, None);
}

#[tokio::test]
async fn identity_tokens_are_exchanged() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(bearer(Some(("", "refresh")), None, 300));
    let host = fixture.registry.host();
    let file = serde_json::json!({"auths": {host: {"identitytoken": "refresh"}}}).to_string();
    let keychain = Keychain::from_pull_secret(file.as_bytes()).unwrap();
    let client = fixture.client_with(HostOptions::default(), keychain);
    assert_eq!(client.resolve(&fixture.image(), soon()).await, Ok(fixture.digest.clone()));
}

#[tokio::test]
async fn fifty_callers_need_one_token() {
    let keychains: [fn(&Fixture) -> Keychain; 2] =
        [|_| Keychain::anonymous(), |fixture| fixture.keychain("user", "secret")];
    for keychain in keychains {
        let fixture = Fixture::new().await;
        fixture.registry.set_auth(bearer(None, None, 300));
        let client = fixture.client_with(HostOptions::default(), keychain(&fixture));
        let image = fixture.image();
        let answers = join_all((0..50).map(|_| client.resolve(&image, soon()))).await;
        assert!(answers.iter().all(Result::is_ok), "{answers:?}");
        assert_eq!(fixture.registry.count("/token"), 1);
    }
}

#[tokio::test]
async fn the_first_of_many_callers_may_give_up() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(bearer(None, None, 300));
    let fault = Fault::Status { status: 429, times: 1, retry_after: Some(1) };
    fixture.registry.fault("/token", fault);
    let client = fixture.client();
    let image = fixture.image();
    let hasty = client.resolve(&image, within(300));
    let patient = join_all((0..10).map(|_| client.resolve(&image, soon())));
    let (hasty, patient) = tokio::join!(hasty, patient);
    assert_eq!(hasty.unwrap_err().reason, Reason::DeadlineExceeded);
    assert!(patient.iter().all(Result::is_ok), "{patient:?}");
}

#[tokio::test]
async fn expired_and_revoked_tokens_are_renewed() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(bearer(None, None, 1));
    let client = fixture.client();
    assert!(client.resolve(&fixture.image(), soon()).await.is_ok());
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    let refused = |log: Vec<crate::fake_registry::Logged>| {
        log.iter().filter(|r| r.authorization.as_deref() == Some("Bearer token-1")).count()
    };
    let before = refused(fixture.registry.log());
    assert!(client.resolve(&fixture.image(), soon()).await.is_ok());
    assert_eq!(fixture.registry.count("/token"), 2);
    assert_eq!(refused(fixture.registry.log()), before, "an expired token is not sent");
    // Another client's token replaces ours in the fake: ours is refused, and renewed.
    fixture.registry.set_auth(bearer(None, None, 300));
    tokio::time::sleep(Duration::from_millis(1_000)).await;
    assert!(client.resolve(&fixture.image(), soon()).await.is_ok());
    assert!(fixture.client().resolve(&fixture.image(), soon()).await.is_ok());
    assert!(client.resolve(&fixture.image(), soon()).await.is_ok());
    assert_eq!(fixture.registry.count("/token"), 5);
}

#[tokio::test]
async fn rejects_a_foreign_realm_when_there_are_credentials() {
    let (fixture, thief) = (Fixture::new().await, Fixture::new().await);
    thief.registry.set_auth(bearer(None, None, 300));
    for realm in [
        format!("http://{}/token", thief.registry.host()),
        format!("https://{}/token", thief.registry.host()),
        "https://auth.docker.io/token".to_owned(),
        format!("http://user@{}/token", fixture.registry.host()),
    ] {
        fixture.registry.set_auth(bearer(None, Some(realm.clone()), 300));
        let host = HostOptions { allow_private: true, ..HostOptions::default() };
        let client = fixture.client_with(host, fixture.keychain("user", "secret"));
        let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
        assert_eq!(failure.reason, Reason::RegistryAddressForbidden, "{realm}");
    }
    assert_eq!(thief.registry.log().len(), 0);
}

#[tokio::test]
async fn a_foreign_realm_named_in_the_settings_gets_credentials() {
    let (fixture, service) = (Fixture::new().await, Fixture::new().await);
    let user = Some(("user", "secret"));
    service.registry.set_auth(bearer(user, None, 300));
    let realm = format!("http://{}/token", service.registry.host());
    fixture.registry.set_auth(bearer(user, Some(realm), 300));
    let host = HostOptions {
        allow_private: true,
        auth_realms: vec![service.registry.host()],
        ..HostOptions::default()
    };
    let client = fixture.client_with(host, fixture.keychain("user", "secret"));
    // The fake registry does not know the other's tokens; that the service was asked is enough.
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnauthorised);
    assert!(service.registry.log()[0].authorization.is_some());
}

#[tokio::test]
async fn rejects_private_and_plain_foreign_realms_for_anonymous_tokens_too() {
    for realm in [
        "http://tokens.example/token",
        "https://169.254.169.254/token",
        "https://10.0.0.1/token",
        "https://localhost:9/token",
    ] {
        let fixture = Fixture::new().await;
        fixture.registry.set_auth(bearer(None, Some(realm.into()), 300));
        let failure = fixture.resolve().await.unwrap_err();
        assert_eq!(failure.reason, Reason::RegistryAddressForbidden, "{realm}");
    }
}

#[tokio::test]
async fn rejects_oversized_and_malformed_tokens() {
    for fault in [
        Fault::Endless,
        Fault::AnnounceLength(10 << 30),
        Fault::AnswerFrom(1, "{}".into()),
        Fault::AnswerFrom(1, "{\"token\": \"a\\nb\"}".into()),
    ] {
        let fixture = Fixture::new().await;
        fixture.registry.set_auth(bearer(None, None, 300));
        fixture.registry.fault("/token", fault.clone());
        let failure = fixture.resolve().await.unwrap_err();
        assert_eq!(failure.reason, Reason::ImageUnreadable, "{fault:?}");
    }
}

#[tokio::test]
async fn token_services_do_not_redirect() {
    let (fixture, thief) = (Fixture::new().await, Fixture::new().await);
    fixture.registry.set_auth(bearer(None, None, 300));
    let target = format!("http://{}/token", thief.registry.host());
    fixture.registry.fault("/token", Fault::Redirect(target));
    let host = HostOptions { allow_private: true, ..HostOptions::default() };
    let client = fixture.client_with(host, fixture.keychain("user", "secret"));
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnauthorised);
    assert_eq!(thief.registry.log().len(), 0);
}

#[tokio::test]
async fn a_missing_helper_is_not_an_anonymous_pull() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(bearer(None, None, 300));
    let file = br#"{"credsStore": "tegata-test-does-not-exist"}"#;
    let keychain = Keychain::from_docker_config(file).unwrap();
    let client = fixture.client_with(HostOptions::default(), keychain);
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnauthorised);
}
