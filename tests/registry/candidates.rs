//! Several credentials for one repository: their order, and what refusals do.
use serde_json::json;
use tegata::evidence::FetchEvidence as _;
use tegata::registry::HostOptions;
use tegata::registry::Keychain;
use tegata::registry::limits::MAX_CREDENTIALS;
use tegata::verdict::Reason;

use crate::fake_registry::Auth;
use crate::fake_registry::FakeRegistry;
use crate::fake_registry::Fault;
use crate::support::Fixture;
use crate::support::soon;

fn basic() -> Auth {
    Auth::Basic { username: "user".into(), password: "secret".into() }
}

fn bearer() -> Auth {
    let user = Some(("user".to_owned(), "secret".to_owned()));
    Auth::Bearer { user, realm: None, expires_in: 300 }
}

/// A keychain of secrets that each have one user, in this order.
fn keychain(fixture: &Fixture, users: &[(&str, &str)]) -> Keychain {
    let mut keychain = Keychain::anonymous();
    for (username, password) in users {
        let host = fixture.registry.host();
        let file = json!({"auths": {host: {"username": username, "password": password}}});
        keychain.extend(Keychain::from_pull_secret(file.to_string().as_bytes()).unwrap());
    }
    keychain
}

/// Who was shown to the registry, in order.
fn shown(registry: &FakeRegistry) -> Vec<String> {
    use base64::Engine as _;
    let log = registry.log().into_iter();
    let users = log.filter_map(|request| {
        let encoded = request.authorization?.strip_prefix("Basic ")?.to_owned();
        let decoded = base64::engine::general_purpose::STANDARD.decode(encoded).unwrap();
        Some(String::from_utf8(decoded).unwrap().split(':').next().unwrap().to_owned())
    });
    users.collect()
}

#[tokio::test]
async fn the_next_credential_is_tried_when_one_is_refused() {
    for auth in [basic(), bearer()] {
        let fixture = Fixture::signed().await;
        fixture.registry.set_auth(auth);
        let users = [("first", "x"), ("second", "x"), ("user", "secret"), ("last", "x")];
        let client = fixture.client_with(HostOptions::default(), keychain(&fixture, &users));
        assert_eq!(client.resolve(&fixture.image(), soon()).await, Ok(fixture.digest.clone()));
        let tried = shown(&fixture.registry);
        assert_eq!(tried[..2], ["first", "second"]);
        assert!(tried[2..].iter().all(|user| user == "user"), "{tried:?}");
        let evidence = client.fetch(&fixture.query(), soon()).await;
        assert_eq!((evidence.candidates.len(), evidence.problems.len()), (2, 0));
        let tried = shown(&fixture.registry);
        assert!(tried[2..].iter().all(|user| user == "user"), "{tried:?}");
    }
}

#[tokio::test]
async fn a_refused_credential_is_shown_once_whoever_asks() {
    for auth in [basic(), bearer()] {
        let fixture = Fixture::signed().await;
        fixture.registry.set_auth(auth);
        let client =
            fixture.client_with(HostOptions::default(), keychain(&fixture, &[("user", "wrong")]));
        for _ in 0..3 {
            let (image, query) = (fixture.image(), fixture.query());
            let (resolved, evidence) =
                futures::join!(client.resolve(&image, soon()), client.fetch(&query, soon()));
            assert_eq!(resolved.unwrap_err().reason, Reason::RegistryUnauthorised);
            assert!(evidence.candidates.is_empty());
            assert!(!evidence.problems.is_empty());
            for problem in evidence.problems {
                assert_eq!(problem.failure.reason, Reason::RegistryUnauthorised);
            }
        }
        assert_eq!(shown(&fixture.registry), ["user"]);
        // Another password is another credential.
        let client = client.with_keychain(keychain(&fixture, &[("user", "secret")]));
        assert_eq!(client.resolve(&fixture.image(), soon()).await, Ok(fixture.digest.clone()));
    }
}

#[tokio::test]
async fn no_more_than_a_few_credentials_are_shown() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(basic());
    let names: Vec<String> = (0..MAX_CREDENTIALS + 3).map(|n| format!("user{n}")).collect();
    let users: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "x")).collect();
    let client = fixture.client_with(HostOptions::default(), keychain(&fixture, &users));
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnauthorised);
    assert_eq!(shown(&fixture.registry), names[..MAX_CREDENTIALS]);
}

#[tokio::test]
async fn nothing_found_is_believed_of_who_could_read_before() {
    let fixture = Fixture::new().await;
    let fault = Fault::Status { status: 404, times: 1, retry_after: None };
    fixture.registry.set_auth(basic());
    let users = [("user", "secret"), ("other", "x")];
    let client = fixture.client_with(HostOptions::default(), keychain(&fixture, &users));
    // Not seen before: the next one is asked, and its refusal hides nothing.
    fixture.registry.fault("/manifests/v1", fault.clone());
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ImageNotFound);
    assert_eq!(shown(&fixture.registry).iter().filter(|user| *user == "other").count(), 1);
    fixture.registry.heal();
    // Once it could read the repository, its word is final.
    let users = [("user", "secret"), ("another", "x")];
    let client = fixture.client_with(HostOptions::default(), keychain(&fixture, &users));
    assert!(client.resolve(&fixture.image(), soon()).await.is_ok());
    fixture.registry.fault("/manifests/v1", fault);
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ImageNotFound);
    assert!(!shown(&fixture.registry).contains(&"another".to_owned()));
}

#[tokio::test]
async fn an_outage_tries_no_further_credential() {
    let fixture = Fixture::new().await;
    fixture.registry.set_auth(basic());
    let fault = Fault::Status { status: 501, times: usize::MAX, retry_after: None };
    fixture.registry.fault("/manifests/v1", fault);
    let users = [("user", "secret"), ("other", "x")];
    let client = fixture.client_with(HostOptions::default(), keychain(&fixture, &users));
    let failure = client.resolve(&fixture.image(), soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnreachable);
    assert!(!shown(&fixture.registry).contains(&"other".to_owned()));
}
