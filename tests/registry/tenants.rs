//! Registries asked on behalf of tenants, with pull secrets of a fake API server.
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use axum::http::Request;
use axum::http::Response;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::join_all;
use kube::client::Body;
use serde_json::Value;
use serde_json::json;
use tegata::cluster::credentials::PullSecretScope;
use tegata::cluster::credentials::TenantRegistry;
use tegata::evidence::FetchEvidence as _;
use tegata::evidence::OwnCredentials;
use tegata::evidence::Part;
use tegata::evidence::Place;
use tegata::evidence::Tenant;
use tegata::registry::HostOptions;
use tegata::registry::Keychain;
use tegata::store::Clock;
use tegata::store::Settings;
use tegata::store::Stored;
use tegata::store::Tiers;
use tegata::verdict::Failure;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;

use crate::fake_registry::Auth;
use crate::support::Fixture;
use crate::support::problem;
use crate::support::soon;

const TYPE: &str = "kubernetes.io/dockerconfigjson";

/// An API server that knows some objects by their path, and logs who is asked for.
#[derive(Clone, Default)]
struct FakeApi {
    objects: Arc<Mutex<BTreeMap<String, (u16, Value)>>>,
    log: Arc<Mutex<Vec<String>>>,
}

impl FakeApi {
    fn client(&self) -> kube::Client {
        let fake = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let path = request.uri().path().to_owned();
            fake.log.lock().unwrap().push(format!("{} {path}", request.method()));
            let missing = (404, json!({"kind": "Status", "status": "Failure", "code": 404}));
            let found = fake.objects.lock().unwrap().get(&path).cloned().unwrap_or(missing);
            async move {
                let (status, body) = found;
                let body = Body::from(body.to_string().into_bytes());
                Ok::<_, Infallible>(Response::builder().status(status).body(body).unwrap())
            }
        });
        kube::Client::new(service, "default")
    }

    fn put(&self, path: &str, status: u16, object: Value) {
        self.objects.lock().unwrap().insert(path.to_owned(), (status, object));
    }

    fn put_secret(&self, namespace: &str, name: &str, of_type: &str, value: &[u8]) {
        static VERSIONS: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(1);
        let version = VERSIONS.fetch_add(1, std::sync::atomic::Ordering::Relaxed).to_string();
        let key = if of_type == TYPE { ".dockerconfigjson" } else { ".dockercfg" };
        let secret = json!({"apiVersion": "v1", "kind": "Secret", "type": of_type,
            "metadata": {"name": name, "namespace": namespace, "resourceVersion": version},
            "data": {key: STANDARD.encode(value)}});
        self.put(&secret_path(namespace, name), 200, secret);
    }

    /// A secret for one registry, of the usual type.
    fn put_login(&self, namespace: &str, name: &str, host: &str, user: &str, password: &str) {
        let file = json!({"auths": {host: {"username": user, "password": password}}});
        self.put_secret(namespace, name, TYPE, file.to_string().as_bytes());
    }

    fn put_account(&self, namespace: &str, name: &str, secrets: &[&str]) {
        let secrets: Vec<Value> = secrets.iter().map(|name| json!({"name": name})).collect();
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": {"name": name, "namespace": namespace}, "imagePullSecrets": secrets});
        self.put(&account_path(namespace, name), 200, account);
    }

    fn fail(&self, path: &str, status: u16) {
        let failure = json!({"kind": "Status", "status": "Failure", "code": status,
            "message": "hunter2"});
        self.put(path, status, failure);
    }

    fn asked(&self, text: &str) -> usize {
        self.log.lock().unwrap().iter().filter(|line| line.contains(text)).count()
    }
}

fn secret_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/secrets/{name}")
}

fn account_path(namespace: &str, name: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/serviceaccounts/{name}")
}

fn tenant(namespace: &str, secrets: &[&str]) -> Tenant {
    Tenant {
        namespace: namespace.into(),
        service_account: "default".into(),
        pull_secrets: secrets.iter().map(|name| (*name).to_owned()).collect(),
    }
}

/// A signed image behind a password, and a cluster.
struct World {
    fixture: Fixture,
    api: FakeApi,
}

impl World {
    async fn new() -> Self {
        let fixture = Fixture::signed().await;
        let (username, password) = ("user".to_owned(), "secret".to_owned());
        fixture.registry.set_auth(Auth::Basic { username, password });
        let api = FakeApi::default();
        for namespace in ["team-a", "team-b"] {
            api.put_account(namespace, "default", &[]);
        }
        Self { fixture, api }
    }

    fn registry(&self) -> TenantRegistry {
        self.registry_with(Keychain::anonymous(), PullSecretScope::Everywhere)
    }

    fn registry_with(&self, own: Keychain, scope: PullSecretScope) -> TenantRegistry {
        let registry = self.fixture.client_with(HostOptions::default(), own);
        TenantRegistry::new(registry, Some(self.api.client()), scope)
    }

    fn put_login(&self, namespace: &str, name: &str, password: &str) {
        let host = self.fixture.registry.host();
        self.api.put_login(namespace, name, &host, "user", password);
    }

    async fn resolve(&self, registry: &TenantRegistry, tenant: &Tenant) -> Result<(), Failure> {
        let image = self.fixture.image();
        let digest = registry.resolve_for(tenant, &image, soon()).await?;
        assert_eq!(digest, self.fixture.digest);
        Ok(())
    }

    /// The failure, which must be a refusal whose text holds `text` and no secret.
    async fn refused(&self, registry: &TenantRegistry, tenant: &Tenant, text: &str) {
        let failure = self.resolve(registry, tenant).await.unwrap_err();
        assert_eq!(failure.reason, Reason::RegistryUnauthorised);
        assert_eq!(failure.verdict(), Verdict::Indeterminate);
        assert!(failure.found.contains(text), "{failure:?}");
        assert!(!format!("{failure:?}").contains("hunter2"), "{failure:?}");
    }
}

#[tokio::test]
async fn a_pods_secret_opens_its_image_and_evidence() {
    let world = World::new().await;
    world.put_login("team-a", "regcred", "secret");
    let registry = world.registry();
    let tenant = tenant("team-a", &["regcred"]);
    assert_eq!(world.resolve(&registry, &tenant).await, Ok(()));
    for own in [OwnCredentials::Used, OwnCredentials::Withheld] {
        let query = world.fixture.query();
        let evidence = registry.fetch_for(&tenant, own, &query, soon()).await;
        assert_eq!((evidence.candidates.len(), evidence.problems.len()), (2, 0));
    }
    // Read once by name, whoever asks again.
    assert_eq!(world.api.asked(&secret_path("team-a", "regcred")), 1);
    assert_eq!(world.api.asked("GET /api/v1/namespaces/team-a/"), 2);
    assert_eq!(world.api.asked(""), 2);
}

#[tokio::test]
async fn secrets_of_the_older_kind_and_of_the_account_count() {
    for of_account in [false, true] {
        let world = World::new().await;
        let host = world.fixture.registry.host();
        let file = json!({host: {"auth": STANDARD.encode("user:secret")}}).to_string();
        world.api.put_secret("team-a", "old", "kubernetes.io/dockercfg", file.as_bytes());
        let tenant = if of_account {
            world.api.put_account("team-a", "default", &["old"]);
            tenant("team-a", &[])
        } else {
            tenant("team-a", &["old"])
        };
        assert_eq!(world.resolve(&world.registry(), &tenant).await, Ok(()));
    }
}

#[tokio::test]
async fn a_tenant_gains_nothing_from_anothers_success() {
    let world = World::new().await;
    world.put_login("team-a", "regcred", "secret");
    let registry = world.registry();
    let query = world.fixture.query();
    for _ in 0..2 {
        let owner = tenant("team-a", &["regcred"]);
        assert_eq!(world.resolve(&registry, &owner).await, Ok(()));
        let evidence = registry.fetch_for(&owner, OwnCredentials::Used, &query, soon()).await;
        assert_eq!(evidence.candidates.len(), 2);
        // The same name is another secret in another namespace.
        for other in [tenant("team-b", &["regcred"]), tenant("team-a", &[]), tenant("", &[])] {
            world.refused(&registry, &other, "refused access").await;
            let evidence = registry.fetch_for(&other, OwnCredentials::Used, &query, soon()).await;
            assert!(evidence.candidates.is_empty());
            let reason = problem(&evidence, Place::SignatureTag);
            assert_eq!(reason, Some(Reason::RegistryUnauthorised));
        }
    }
}

/// What one tenant's secret opened is not handed to another, and what is open to both is asked once.
#[tokio::test]
async fn kept_evidence_is_for_those_who_could_have_asked() {
    let world = World::new().await;
    world.api.put_account("team-c", "default", &[]);
    world.put_login("team-a", "regcred", "secret");
    world.put_login("team-b", "copy", "secret");
    world.put_login("team-c", "regcred", "wrong");
    let clock = Clock::starting_at("2026-03-01T12:00:00Z".parse().unwrap());
    let stored = Stored::new(world.registry(), Settings::default(), Tiers::default(), clock);
    let query = world.fixture.query();
    let fetch = async |namespace: &str, secrets: &[&str], own| {
        stored.fetch_for(&tenant(namespace, secrets), own, &query, soon()).await
    };
    let used = OwnCredentials::Used;
    assert_eq!(fetch("team-a", &["regcred"], used).await.candidates.len(), 2);
    let asked = world.fixture.registry.log().len();
    for (namespace, secret) in [("team-a", "regcred"), ("team-b", "copy")] {
        for own in [used, OwnCredentials::Withheld] {
            let evidence = fetch(namespace, &[secret], own).await;
            assert_eq!((evidence.candidates.len(), evidence.problems.len()), (2, 0));
        }
    }
    assert_eq!(world.fixture.registry.log().len(), asked);
    let strangers: [(&str, &[&str]); 4] =
        [("team-c", &["regcred"]), ("team-b", &["regcred"]), ("team-a", &[]), ("", &[])];
    for (namespace, secrets) in strangers {
        let evidence = fetch(namespace, secrets, used).await;
        assert!(evidence.candidates.is_empty(), "{namespace}");
        let reason = problem(&evidence, Place::SignatureTag);
        assert_eq!(reason, Some(Reason::RegistryUnauthorised), "{namespace}");
    }
}

#[tokio::test]
async fn own_credentials_come_last_and_only_where_they_may() {
    let world = World::new().await;
    world.put_login("team-a", "regcred", "wrong");
    let own = world.fixture.keychain("user", "secret");
    let registry = world.registry_with(own, PullSecretScope::Everywhere);
    let tenant = tenant("team-a", &["regcred"]);
    assert_eq!(world.resolve(&registry, &tenant).await, Ok(()));
    let query = world.fixture.query();
    let evidence = registry.fetch_for(&tenant, OwnCredentials::Used, &query, soon()).await;
    assert_eq!((evidence.candidates.len(), evidence.problems.len()), (2, 0));
    let evidence = registry.fetch_for(&tenant, OwnCredentials::Withheld, &query, soon()).await;
    assert!(evidence.candidates.is_empty());
    assert_eq!(problem(&evidence, Place::SignatureTag), Some(Reason::RegistryUnauthorised));
    let part = Part::Manifest(query.digest.clone());
    let read = async |own| registry.read_for(&tenant, own, &query.repository, &part, soon()).await;
    assert!(read(OwnCredentials::Used).await.is_ok());
    let refused = read(OwnCredentials::Withheld).await.unwrap_err();
    assert_eq!(refused.reason, Reason::RegistryUnauthorised);
    let wrong = STANDARD.encode("user:wrong");
    let shown: Vec<String> =
        world.fixture.registry.log().into_iter().filter_map(|r| r.authorization).collect();
    assert_eq!(shown[0], format!("Basic {wrong}"), "the tenant's comes first");
}

#[tokio::test]
async fn outside_the_scope_nothing_is_read() {
    let named = |name: &str| PullSecretScope::Namespaces([name.to_owned()].into());
    for (scope, reads) in [
        (PullSecretScope::Everywhere, true),
        (named("team-a"), true),
        (named("team-b"), false),
        (PullSecretScope::Nowhere, false),
    ] {
        let world = World::new().await;
        world.put_login("team-a", "regcred", "secret");
        let registry = world.registry_with(Keychain::anonymous(), scope.clone());
        let outcome = world.resolve(&registry, &tenant("team-a", &["regcred"])).await;
        assert_eq!(outcome.is_ok(), reads, "{scope:?}");
        assert_eq!(world.api.asked("") > 0, reads, "{scope:?}");
        if let Err(failure) = outcome {
            assert!(!failure.found.contains("pull secret"), "{failure:?}");
        }
    }
    let world = World::new().await;
    let registry = world.fixture.client();
    let registry = TenantRegistry::new(registry, None, PullSecretScope::Everywhere);
    world.refused(&registry, &tenant("team-a", &["regcred"]), "refused access").await;
}

#[tokio::test]
async fn a_refusal_names_each_secret_that_could_not_be_read() {
    let world = World::new().await;
    let path = |name| secret_path("team-a", name);
    world.api.fail(&path("forbidden"), 403);
    world.api.fail(&path("broken"), 500);
    world.api.put_secret("team-a", "malformed", TYPE, br#"{"auths": {"r": {"auth": "hunter2"}}}"#);
    world.api.put_secret("team-a", "opaque", "Opaque", b"hunter2");
    world.api.put_secret("team-a", "huge", TYPE, &vec![b' '; (64 << 10) + 1]);
    let registry = world.registry();
    for (name, text) in [
        ("missing", "pull secret team-a/missing: not found"),
        ("forbidden", "pull secret team-a/forbidden: Tegata may not read it, grant `get`"),
        ("broken", "pull secret team-a/broken: the API server answered with status 500"),
        ("malformed", "pull secret team-a/malformed: not a Docker configuration"),
        ("huge", "pull secret team-a/huge: not a Docker configuration"),
        ("opaque", "pull secret team-a/opaque: not of type kubernetes.io/dockerconfigjson"),
        ("../x", "pull secret team-a/../x: not a valid name"),
    ] {
        world.refused(&registry, &tenant("team-a", &[name]), text).await;
        let query = world.fixture.query();
        let tenant = tenant("team-a", &[name]);
        let evidence = registry.fetch_for(&tenant, OwnCredentials::Used, &query, soon()).await;
        assert!(evidence.problems.iter().any(|problem| problem.failure.found.contains(text)));
    }
    assert_eq!(world.api.asked(".."), 0, "what is no name is not asked for");
    // The others are tried all the same.
    world.put_login("team-a", "regcred", "secret");
    let tenant = tenant("team-a", &["missing", "forbidden", "broken", "malformed", "regcred"]);
    assert_eq!(world.resolve(&registry, &tenant).await, Ok(()));
}

#[tokio::test]
async fn an_unreadable_account_is_named_too() {
    let world = World::new().await;
    let tenant = Tenant { service_account: "builder".into(), ..tenant("team-a", &[]) };
    let text = "service account team-a/builder: not found";
    world.refused(&world.registry(), &tenant, text).await;
}

#[tokio::test]
async fn what_an_outage_hides_is_indeterminate() {
    let world = World::new().await;
    world.api.fail(&secret_path("team-a", "regcred"), 503);
    world.fixture.registry.set_auth(Auth::Anonymous);
    let registry = world.registry();
    let tenant = tenant("team-a", &["regcred"]);
    // A public image needs no secret.
    assert_eq!(world.resolve(&registry, &tenant).await, Ok(()));
    // Strangers see nothing of this one.
    let hidden = format!("{}/team/hidden:v1", world.fixture.registry.host()).parse().unwrap();
    let failure = registry.resolve_for(&tenant, &hidden, soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::RegistryUnauthorised);
    assert!(failure.found.contains("pull secret team-a/regcred: the API server"), "{failure:?}");
    let query = tegata::evidence::EvidenceQuery {
        repository: hidden.repository().clone(),
        ..world.fixture.query()
    };
    let evidence = registry.fetch_for(&tenant, OwnCredentials::Used, &query, soon()).await;
    assert_eq!(problem(&evidence, Place::Referrers), Some(Reason::RegistryUnauthorised));
    // A secret that is not there is no outage: nothing is nothing.
    let other = Tenant { pull_secrets: vec!["missing".into()], ..tenant };
    let evidence = registry.fetch_for(&other, OwnCredentials::Used, &query, soon()).await;
    assert_eq!((evidence.candidates.len(), evidence.problems.len()), (0, 0));
    let failure = registry.resolve_for(&other, &hidden, soon()).await.unwrap_err();
    assert_eq!(failure.reason, Reason::ImageNotFound);
}

#[tokio::test]
async fn a_changed_secret_is_read_again_when_the_registry_refuses() {
    let world = World::new().await;
    world.put_login("team-a", "regcred", "wrong");
    let registry = world.registry();
    let tenant = tenant("team-a", &["regcred", "later"]);
    world.refused(&registry, &tenant, "pull secret team-a/later: not found").await;
    world.put_login("team-a", "regcred", "secret");
    // Too soon: the API server is not asked for every refusal.
    world.refused(&registry, &tenant, "refused").await;
    assert_eq!(world.api.asked("secrets/regcred"), 1);
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    assert_eq!(world.resolve(&registry, &tenant).await, Ok(()));
    assert_eq!(world.api.asked("secrets/regcred"), 2);
    // As soon for evidence.
    let fresh = world.registry();
    world.put_login("team-a", "regcred", "wrong");
    world.refused(&fresh, &tenant, "refused").await;
    world.put_login("team-a", "regcred", "secret");
    tokio::time::sleep(Duration::from_millis(1_100)).await;
    let query = world.fixture.query();
    let evidence = fresh.fetch_for(&tenant, OwnCredentials::Used, &query, soon()).await;
    assert_eq!((evidence.candidates.len(), evidence.problems.len()), (2, 0));
}

#[tokio::test]
async fn many_at_once_read_a_secret_once() {
    let world = World::new().await;
    world.put_login("team-a", "regcred", "secret");
    let registry = world.registry();
    let tenant = tenant("team-a", &["regcred"]);
    let outcomes = join_all((0..30).map(|_| world.resolve(&registry, &tenant))).await;
    assert!(outcomes.iter().all(Result::is_ok), "{outcomes:?}");
    assert_eq!(world.api.asked("secrets/regcred"), 1);
    assert_eq!(world.api.asked("serviceaccounts/default"), 1);
}

#[tokio::test]
async fn the_number_of_secrets_is_bounded() {
    let world = World::new().await;
    let names: Vec<String> = (0..100).map(|n| format!("pod-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let of_account: Vec<String> = (0..100).map(|n| format!("account-{n}")).collect();
    let of_account: Vec<&str> = of_account.iter().map(String::as_str).collect();
    world.api.put_account("team-a", "default", &of_account);
    world.refused(&world.registry(), &tenant("team-a", &names), "pod-0: not found").await;
    assert_eq!((world.api.asked("secrets/pod-"), world.api.asked("secrets/account-")), (16, 16));
}
