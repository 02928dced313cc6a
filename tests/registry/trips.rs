//! How many requests a digest takes that nobody has asked for yet, and how many of them wait for each
//! other. Requests for tokens are not counted: one token serves all.
use std::time::Duration;

use serde_json::json;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence as _;
use tegata::evidence::Place;
use tegata::image::Digest;
use tegata::registry::Registry;

use crate::fake_registry::FakeRegistry;
use crate::fake_registry::Fault;
use crate::support::Fixture;
use crate::support::REPOSITORY;
use crate::support::bundle;
use crate::support::image;
use crate::support::layer;
use crate::support::soon;

/// Another repository on the same registry.
const OTHER: &str = "team/other";

/// Guards against a test that waits for a request for ever; none comes near.
const GUARD: Duration = Duration::from_secs(30);

/// Where the signature of an image is.
#[derive(Clone, Copy, Debug)]
enum Signed {
    BundleByFallback,
    BundleByList,
    Classic,
    Not,
}

/// A new image in a repository, with its signature, and what to ask for it.
fn put(registry: &FakeRegistry, repository: &str, word: &str, signed: Signed) -> EvidenceQuery {
    let digest = registry.put_manifest(repository, &image(word));
    let tag = |suffix: &str, manifest: &Digest| {
        registry.tag(repository, &format!("{}{suffix}", digest.tag_form()), manifest);
    };
    match signed {
        Signed::Classic => {
            let layer = layer(registry, "payload", json!({ "of": word }));
            let manifest = json!({ "schemaVersion": 2, "layers": [layer] });
            tag(".sig", &registry.put_manifest(repository, &manifest));
        }
        Signed::BundleByList | Signed::BundleByFallback => {
            let bundle = registry.put_manifest(repository, &bundle(registry, "{}", &digest));
            let entry = json!({ "digest": bundle.to_string(), "size": 1 });
            let index = json!({ "schemaVersion": 2, "manifests": [entry] });
            if matches!(signed, Signed::BundleByFallback) {
                tag("", &registry.put_manifest(repository, &index));
            }
        }
        Signed::Not => {}
    }
    let image: tegata::image::ImageRef =
        format!("{}/{repository}", registry.host()).parse().unwrap();
    let repository = image.repository().clone();
    EvidenceQuery { repository, digest, tag_prefix: String::new(), attestations: false }
}

/// What a request is for.
fn kind(query: &EvidenceQuery, path: &str) -> &'static str {
    let tag = query.digest.tag_form();
    if path.contains("/referrers/") {
        "list"
    } else if path.contains("/blobs/") {
        "blob"
    } else if path.ends_with(".sig") {
        "sig"
    } else if path.ends_with(".att") {
        "att"
    } else if path.ends_with(&tag) {
        "fallback"
    } else {
        "manifest"
    }
}

/// Fetches, answering wave after wave: the requests of one wave are all that are under way, and none
/// of the next is sent before they are answered.
async fn check(client: &Registry, registry: &FakeRegistry, query: &EvidenceQuery, waves: &str) {
    let before = registry.log().len();
    registry.hold();
    let answers = async {
        for (number, wave) in waves.split(" > ").enumerate() {
            let mut wanted: Vec<&str> = wave.split(' ').collect();
            wanted.sort_unstable();
            let held = registry.held(wanted.len()).await;
            let mut found: Vec<&str> = held.iter().map(|path| kind(query, path)).collect();
            found.sort_unstable();
            assert_eq!(found, wanted, "wave {number} of `{waves}`");
            registry.release();
        }
    };
    let fetch = client.fetch(query, soon());
    let both = async { futures::join!(fetch, answers) };
    let (evidence, ()) = tokio::time::timeout(GUARD, both).await.unwrap();
    assert_eq!(evidence.problems, [], "{waves}");
    assert!(evidence.candidates.iter().all(|one| one.content.is_ok()), "{waves}");
    let signed = waves.contains("blob");
    assert_eq!(evidence.candidates.len(), usize::from(signed), "{waves}");
    let requests = waves.split(' ').filter(|word| *word != ">").count();
    assert_eq!(registry.log().len() - before, requests, "{waves}");
}

#[tokio::test]
async fn with_the_api() {
    for (signed, attestations, waves) in [
        (Signed::Classic, false, "sig list > blob"),
        (Signed::Classic, true, "sig att list > blob"),
        (Signed::BundleByList, false, "sig list > manifest > blob"),
        (Signed::BundleByList, true, "sig att list > manifest > blob"),
        (Signed::Not, false, "sig list"),
    ] {
        let fixture = Fixture::new().await;
        let query = put(&fixture.registry, REPOSITORY, "one", signed);
        let query = EvidenceQuery { attestations, ..query };
        check(&fixture.client(), &fixture.registry, &query, waves).await;
    }
}

#[tokio::test]
async fn without_the_api() {
    for (signed, attestations, first, next) in [
        (Signed::Classic, false, "sig list > blob fallback", "sig list fallback > blob"),
        (Signed::Classic, true, "sig att list > blob fallback", "sig att list fallback > blob"),
        (
            Signed::BundleByFallback,
            false,
            "sig list > fallback > manifest > blob",
            "sig list fallback > manifest > blob",
        ),
        (
            Signed::BundleByFallback,
            true,
            "sig att list > fallback > manifest > blob",
            "sig att list fallback > manifest > blob",
        ),
        (Signed::Not, false, "sig list > fallback", "sig list fallback"),
    ] {
        let fixture = Fixture::new().await;
        let Fixture { registry, .. } = &fixture;
        registry.set_referrers_api(false);
        let client = fixture.client();
        for (repository, word, waves) in
            [(REPOSITORY, "one", first), (REPOSITORY, "two", next), (OTHER, "one", next)]
        {
            let query = put(registry, repository, word, signed);
            let query = EvidenceQuery { attestations, ..query };
            check(&client, registry, &query, waves).await;
        }
    }
}

/// Some registries that have the API answer 404 for a digest that they do not hold. Whoever may push
/// signs such a digest and has it asked for: that hides nothing, and a list ends what it taught.
#[tokio::test]
async fn an_unknown_digest_that_is_signed_hides_no_list() {
    let fixture = Fixture::new().await;
    let Fixture { registry, .. } = &fixture;
    let client = fixture.client();
    registry.set_referrers_api(false);
    let query = put(registry, REPOSITORY, "planted", Signed::Classic);
    check(&client, registry, &query, "sig list > blob fallback").await;
    registry.set_referrers_api(true);
    for (repository, word, waves) in [
        (REPOSITORY, "two", "sig list fallback > manifest > blob"),
        (REPOSITORY, "three", "sig list > manifest > blob"),
        (OTHER, "two", "sig list > manifest > blob"),
    ] {
        let query = put(registry, repository, word, Signed::BundleByList);
        check(&client, registry, &query, waves).await;
    }
}

/// An answer that speaks of the image says nothing of the API, which may well be there.
#[tokio::test]
async fn nothing_is_learned_from_an_error_about_the_image() {
    for code in ["MANIFEST_UNKNOWN", "NAME_UNKNOWN"] {
        let fixture = Fixture::new().await;
        let Fixture { registry, .. } = &fixture;
        let client = fixture.client();
        let query = put(registry, REPOSITORY, "one", Signed::Classic);
        registry.fault("/referrers/", Fault::Error(404, code));
        check(&client, registry, &query, "sig list > blob fallback").await;
        registry.heal();
        let query = put(registry, REPOSITORY, "two", Signed::BundleByList);
        check(&client, registry, &query, "sig list > manifest > blob").await;
    }
}

/// A failure says nothing about the API: it is a problem each time, and never remembered.
#[tokio::test]
async fn no_failure_is_remembered_as_a_lack() {
    for status in [401, 403, 429, 500, 503] {
        let fixture = Fixture::signed().await;
        let client = fixture.client();
        let fault = Fault::Status { status, times: usize::MAX, retry_after: None };
        fixture.registry.fault("/referrers/", fault);
        let evidence = client.fetch(&fixture.query(), soon()).await;
        assert!(evidence.candidates[0].content.is_ok(), "the repository is there");
        assert!(evidence.problems.iter().any(|one| one.place == Place::Referrers), "{status}");
        fixture.registry.heal();
        let evidence = client.fetch(&fixture.query(), soon()).await;
        assert_eq!(evidence.problems, [], "{status}");
        let places: Vec<Place> = evidence.candidates.iter().map(|one| one.place).collect();
        assert_eq!(places, [Place::SignatureTag, Place::Referrers], "{status}");
    }
}

/// Credentials that are not shown the list hide nothing from those that are.
#[tokio::test]
async fn a_lack_hides_nothing_from_anyone() {
    let fixture = Fixture::signed().await;
    let (registry, client) = (&fixture.registry, fixture.client());
    registry.set_referrers_api(false);
    let evidence = client.fetch(&fixture.query(), soon()).await;
    assert_eq!(evidence.candidates.len(), 1);
    registry.set_referrers_api(true);
    let tenant = client.with_keychain(fixture.keychain("user", "secret"));
    for client in [tenant, client] {
        assert_eq!(client.fetch(&fixture.query(), soon()).await.candidates.len(), 2);
    }
}
