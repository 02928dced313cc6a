//! Finding signatures and bundles.
use serde_json::json;
use tegata::evidence::Content;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence as _;
use tegata::evidence::Format;
use tegata::evidence::MAX_CANDIDATES;
use tegata::evidence::Place;
use tegata::image::Digest;
use tegata::verdict::Reason;

use crate::fake_registry::Fault;
use crate::support::BUNDLE_TYPE;
use crate::support::Fixture;
use crate::support::REPOSITORY;
use crate::support::bundle;
use crate::support::failure;
use crate::support::layer;
use crate::support::problem;
use crate::support::soon;
use crate::support::within;

#[tokio::test]
async fn nothing_attached_is_no_problem() {
    let fixture = Fixture::new().await;
    for api in [true, false] {
        fixture.registry.set_referrers_api(api);
        let evidence = fixture.fetch().await;
        assert_eq!((evidence.candidates.len(), evidence.problems.len()), (0, 0));
    }
}

#[tokio::test]
async fn classic_comes_before_bundles() {
    let fixture = Fixture::signed().await;
    let evidence = fixture.fetch().await;
    assert_eq!(evidence.problems, []);
    let [classic, bundle] = &evidence.candidates[..] else { panic!("{evidence:?}") };
    assert_eq!((classic.place, classic.format), (Place::SignatureTag, Format::Legacy));
    assert_eq!((bundle.place, bundle.format), (Place::Referrers, Format::Bundle));
    assert!(matches!(&bundle.content, Ok(Content::Bundle(b)) if &b[..] == b"{\"bundle\":1}"));
    assert!(fixture.registry.log().iter().all(|request| request.method == "GET"));
}

#[tokio::test]
async fn two_layers_of_one_digest_are_two_candidates_and_one_request() {
    let fixture = Fixture::new().await;
    let layers = [json!({"a": "1", "b": null}), json!({"a": "2"}), json!(null)];
    let layers = layers.map(|annotations| layer(&fixture.registry, "payload", annotations));
    fixture.sign_classic(&layers);
    let evidence = fixture.fetch().await;
    let found: Vec<_> = evidence
        .candidates
        .iter()
        .map(|candidate| match candidate.content.as_ref().unwrap() {
            Content::SimpleSigning { annotations, .. } => annotations.get("a").cloned(),
            Content::Bundle(_) | Content::Envelope { .. } => panic!("{candidate:?}"),
        })
        .collect();
    assert_eq!(found, [Some("1".to_owned()), Some("2".to_owned()), None]);
    assert_eq!(fixture.registry.count("/blobs/"), 1);
}

#[tokio::test]
async fn the_fallback_tag_serves_registries_without_the_api() {
    let fixture = Fixture::new().await;
    fixture.registry.set_referrers_api(false);
    let digest = fixture.sign_bundle("{}");
    // As real programs write it: the descriptor says nothing about the type.
    let entry = json!({"digest": digest.to_string(), "size": 1,
        "artifactType": "application/vnd.oci.empty.v1+json"});
    let index = json!({"schemaVersion": 2, "manifests": [entry]});
    let index = fixture.registry.put_manifest(REPOSITORY, &index);
    fixture.registry.tag(REPOSITORY, &fixture.digest.tag_form(), &index);
    let evidence = fixture.fetch().await;
    assert_eq!(evidence.candidates[0].place, Place::FallbackTag);
    assert!(evidence.candidates[0].content.is_ok());
    // With the API on, the tag is not asked for.
    fixture.registry.set_referrers_api(true);
    let before = fixture.registry.count(&digest.to_string().replace(':', "%3A"))
        + fixture.registry.count(&digest.to_string());
    let evidence = fixture.fetch().await;
    assert_eq!(evidence.candidates.len(), 1);
    assert_eq!(evidence.candidates[0].place, Place::Referrers);
    let after = fixture.registry.count(&digest.to_string().replace(':', "%3A"))
        + fixture.registry.count(&digest.to_string());
    assert_eq!(after - before, 1);
}

#[tokio::test]
async fn a_failing_fallback_tag_matters_only_without_the_api() {
    let fixture = Fixture::new().await;
    let tag = format!("/manifests/{}", fixture.digest.tag_form());
    // The signature's tag begins like the fallback tag: only that place must fail here too.
    let fault = Fault::Status { status: 403, times: usize::MAX, retry_after: None };
    fixture.registry.fault(&tag, fault);
    let evidence = fixture.fetch().await;
    assert_eq!(problem(&evidence, Place::FallbackTag), None);
    fixture.registry.set_referrers_api(false);
    let evidence = fixture.fetch().await;
    assert_eq!(problem(&evidence, Place::FallbackTag), Some(Reason::RegistryUnauthorised));
}

#[tokio::test]
async fn classic_signatures_may_be_referrers() {
    let fixture = Fixture::new().await;
    let layer = layer(&fixture.registry, "payload", json!({"a": "1"}));
    let manifest = json!({"schemaVersion": 2, "layers": [layer],
        "config": {"mediaType": "application/vnd.dev.cosign.artifact.sig.v1+json"},
        "subject": {"digest": fixture.digest.to_string()}});
    fixture.registry.put_manifest(REPOSITORY, &manifest);
    let evidence = fixture.fetch().await;
    let [candidate] = &evidence.candidates[..] else { panic!("{evidence:?}") };
    assert_eq!((candidate.place, candidate.format), (Place::Referrers, Format::Legacy));
    assert!(candidate.content.is_ok());
}

#[tokio::test]
async fn other_artifacts_are_left_alone() {
    let fixture = Fixture::new().await;
    for artifact_type in ["application/spdx+json", "application/vnd.example.thing"] {
        let manifest = json!({"schemaVersion": 2, "artifactType": artifact_type, "layers": [],
            "subject": {"digest": fixture.digest.to_string()}});
        fixture.registry.put_manifest(REPOSITORY, &manifest);
    }
    let evidence = fixture.fetch().await;
    assert_eq!((evidence.candidates.len(), evidence.problems.len()), (0, 0));
    assert_eq!(fixture.registry.log().len(), 2, "two places, and no manifest");
}

#[tokio::test]
async fn every_version_of_the_bundle_type_is_a_bundle() {
    for media_type in [
        "application/vnd.dev.sigstore.bundle+json;version=0.1",
        "application/vnd.dev.sigstore.bundle+json;version=0.2",
        BUNDLE_TYPE,
    ] {
        let fixture = Fixture::new().await;
        let mut manifest = bundle(&fixture.registry, "{}", &fixture.digest);
        manifest["artifactType"] = json!("application/vnd.oci.empty.v1+json");
        manifest["layers"][0]["mediaType"] = json!(media_type);
        fixture.registry.put_manifest(REPOSITORY, &manifest);
        let evidence = fixture.fetch().await;
        assert_eq!(evidence.candidates[0].format, Format::Bundle, "{media_type}");
        assert!(evidence.candidates[0].content.is_ok());
    }
}

#[tokio::test]
async fn rejects_a_referrer_of_another_image() {
    let fixture = Fixture::new().await;
    fixture.registry.set_referrers_api(false);
    let manifest = bundle(&fixture.registry, "{}", &Digest::sha256_of(b"another"));
    let digest = fixture.registry.put_manifest(REPOSITORY, &manifest).to_string();
    let index = json!({"schemaVersion": 2, "manifests": [{"digest": digest, "size": 1}]});
    let index = fixture.registry.put_manifest(REPOSITORY, &index);
    fixture.registry.tag(REPOSITORY, &fixture.digest.tag_form(), &index);
    let evidence = fixture.fetch().await;
    assert_eq!(failure(&evidence, 0), Reason::EvidenceMalformed);
    assert_eq!(fixture.registry.count("/blobs/"), 0);
}

#[tokio::test]
async fn rejects_layers_of_other_types() {
    let fixture = Fixture::new().await;
    let mut layer = layer(&fixture.registry, "payload", json!({}));
    layer["mediaType"] = json!("application/vnd.dsse.envelope.v1+json");
    fixture.sign_classic(&[layer]);
    let evidence = fixture.fetch().await;
    assert_eq!(failure(&evidence, 0), Reason::EvidenceUnsupported);
}

#[tokio::test]
async fn rejects_malformed_manifests() {
    let fixture = Fixture::new().await;
    let digest = fixture.registry.put_manifest_bytes(REPOSITORY, "{\"layers\":1}".into());
    fixture.registry.tag(REPOSITORY, &fixture.signature_tag(), &digest);
    let evidence = fixture.fetch().await;
    assert_eq!(failure(&evidence, 0), Reason::EvidenceMalformed);
}

#[tokio::test]
async fn a_missing_blob_is_reported() {
    let fixture = Fixture::signed().await;
    let fault = Fault::Status { status: 404, times: usize::MAX, retry_after: None };
    fixture.registry.fault("/blobs/", fault);
    let evidence = fixture.fetch().await;
    assert_eq!(failure(&evidence, 0), Reason::EvidenceMissing);
    assert_eq!(failure(&evidence, 1), Reason::EvidenceMissing);
}

#[tokio::test]
async fn a_refused_place_is_a_problem_and_the_others_still_count() {
    for (status, expected) in [
        (401, Reason::RegistryUnauthorised),
        (403, Reason::RegistryUnauthorised),
        (429, Reason::RegistryRateLimited),
        (500, Reason::RegistryUnreachable),
    ] {
        let fixture = Fixture::signed().await;
        let fault = Fault::Status { status, times: usize::MAX, retry_after: None };
        fixture.registry.fault(".sig", fault.clone());
        let evidence = fixture.fetch().await;
        assert_eq!(problem(&evidence, Place::SignatureTag), Some(expected), "{status}");
        assert_eq!(evidence.candidates[0].place, Place::Referrers);
        fixture.registry.heal();
        fixture.registry.fault("/referrers/", fault);
        let evidence = fixture.fetch().await;
        assert_eq!(problem(&evidence, Place::Referrers), Some(expected), "{status}");
        assert_eq!(evidence.candidates[0].place, Place::SignatureTag);
    }
}

#[tokio::test]
async fn a_place_that_hangs_takes_down_itself_only() {
    let fixture = Fixture::signed().await;
    let slow = Fault::Slow(std::time::Duration::from_millis(50));
    fixture.registry.fault("/referrers/", slow);
    let evidence = fixture.client().fetch(&fixture.query(), within(1_000)).await;
    assert_eq!(problem(&evidence, Place::Referrers), Some(Reason::DeadlineExceeded));
    assert!(evidence.candidates[0].content.is_ok(), "{evidence:?}");
}

#[tokio::test]
async fn pages_are_followed() {
    let fixture = Fixture::new().await;
    for content in ["{\"a\":1}", "{\"a\":2}", "{\"a\":3}", "{\"a\":4}", "{\"a\":5}"] {
        fixture.sign_bundle(content);
    }
    fixture.registry.set_page_size(2);
    let evidence = fixture.fetch().await;
    assert_eq!((evidence.candidates.len(), evidence.problems.len()), (5, 0));
    assert_eq!(fixture.registry.count("/referrers/"), 3);
}

#[tokio::test]
async fn a_prefix_goes_before_the_signature_tag() {
    let fixture = Fixture::signed().await;
    let client = fixture.client();
    let query = EvidenceQuery { tag_prefix: "prod-".into(), ..fixture.query() };
    client.fetch(&query, soon()).await;
    assert_eq!(fixture.registry.count(&format!("/prod-{}", fixture.signature_tag())), 1);
    let query = EvidenceQuery { tag_prefix: "../../".into(), ..fixture.query() };
    let evidence = client.fetch(&query, soon()).await;
    assert_eq!(problem(&evidence, Place::SignatureTag), Some(Reason::EvidenceMalformed));
}

/// Whoever may push tags hides no bundle behind one: the tag is for one kind of payload, a referrer
/// may be of any.
#[tokio::test]
async fn a_tag_on_a_referrer_hides_it_from_nobody() {
    let fixture = Fixture::new().await;
    let digest = fixture.sign_bundle("{\"bundle\":1}");
    fixture.registry.tag(REPOSITORY, &fixture.signature_tag(), &digest);
    let evidence = fixture.fetch().await;
    let places: Vec<Place> = evidence.candidates.iter().map(|one| one.place).collect();
    assert_eq!(places, [Place::SignatureTag, Place::Referrers]);
    assert!(evidence.candidates.iter().all(|one| one.content.is_ok()), "{evidence:?}");

    // An envelope does not belong behind the signature's tag, and does among the referrers.
    let fixture = Fixture::new().await;
    let mut layer = layer(&fixture.registry, "{}", json!({}));
    layer["mediaType"] = json!(tegata::evidence::ENVELOPE_MEDIA_TYPE);
    let manifest = json!({"schemaVersion": 2, "layers": [layer],
        "config": {"mediaType": "application/vnd.dev.cosign.artifact.att.v1+json"},
        "subject": {"digest": fixture.digest.to_string()}});
    let digest = fixture.registry.put_manifest(REPOSITORY, &manifest);
    fixture.registry.tag(REPOSITORY, &fixture.signature_tag(), &digest);
    let query = EvidenceQuery { attestations: true, ..fixture.query() };
    let evidence = fixture.client().fetch(&query, soon()).await;
    let found: Vec<_> =
        evidence.candidates.iter().map(|one| (one.place, one.content.is_ok())).collect();
    assert_eq!(found, [(Place::SignatureTag, false), (Place::Referrers, true)]);
}

#[tokio::test]
async fn a_fallback_tag_with_too_much_loses_nothing_else() {
    let fixture = Fixture::new().await;
    fixture.registry.set_referrers_api(false);
    let entry = |digest: &Digest| json!({"digest": digest.to_string(), "size": 1, "artifactType": BUNDLE_TYPE});
    let mut manifests = vec![entry(&fixture.sign_bundle("{}"))];
    manifests.extend((0..MAX_CANDIDATES).map(|n| entry(&Digest::sha256_of(&n.to_be_bytes()))));
    let index = json!({"schemaVersion": 2, "manifests": manifests});
    let index = fixture.registry.put_manifest(REPOSITORY, &index);
    fixture.registry.tag(REPOSITORY, &fixture.digest.tag_form(), &index);
    let evidence = fixture.fetch().await;
    assert!(evidence.candidates[0].content.is_ok());
    assert_eq!(problem(&evidence, Place::FallbackTag), Some(Reason::EvidenceTooLarge));
    // Where the list fails, the tag that is too long is no problem, and what it names still counts.
    fixture.registry.set_referrers_api(true);
    fixture.registry.fault("/referrers/", Fault::AnswerFrom(1, "nonsense".into()));
    let evidence = fixture.fetch().await;
    assert_eq!(problem(&evidence, Place::FallbackTag), None);
    assert_eq!(problem(&evidence, Place::Referrers), Some(Reason::EvidenceMalformed));
    assert_eq!(evidence.candidates[0].place, Place::FallbackTag);
    assert!(evidence.candidates[0].content.is_ok());
}

#[tokio::test]
async fn surplus_signatures_are_cut_and_said_so() {
    let fixture = Fixture::new().await;
    let layers: Vec<_> = (0..MAX_CANDIDATES + 1)
        .map(|n| layer(&fixture.registry, "payload", json!({"n": n.to_string()})))
        .collect();
    fixture.sign_classic(&layers);
    let evidence = fixture.fetch().await;
    assert_eq!(evidence.candidates.len(), MAX_CANDIDATES);
    assert_eq!(problem(&evidence, Place::SignatureTag), Some(Reason::EvidenceTooLarge));
}
