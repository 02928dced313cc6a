//! Every bound on a registry's answers, from both sides: what is at it is read, one more is refused
//! by name, and neither is an outage.
use bytes::Bytes;
use serde_json::Value;
use serde_json::json;
use tegata::evidence::Evidence;
use tegata::evidence::FetchEvidence as _;
use tegata::evidence::MAX_CANDIDATES;
use tegata::evidence::Place;
use tegata::evidence::SIMPLE_SIGNING_MEDIA_TYPE;
use tegata::registry::HostOptions;
use tegata::registry::Keychain;
use tegata::registry::limits::MAX_ANNOTATIONS;
use tegata::registry::limits::MAX_BLOB_BYTES;
use tegata::registry::limits::MAX_DESCRIPTORS;
use tegata::registry::limits::MAX_EVIDENCE_BYTES;
use tegata::registry::limits::MAX_HEADER_BYTES;
use tegata::registry::limits::MAX_MANIFEST_BYTES;
use tegata::registry::limits::MAX_REDIRECTS;
use tegata::registry::limits::MAX_REFERRERS_PAGES;
use tegata::registry::limits::MAX_TOKEN_BYTES;
use tegata::registry::limits::MAX_TYPE_BYTES;
use tegata::verdict::Reason;

use crate::fake_registry::Auth;
use crate::fake_registry::Fault;
use crate::support::Fixture;
use crate::support::REPOSITORY;
use crate::support::failure;
use crate::support::layer;
use crate::support::problem;
use crate::support::soon;

/// Spaces after a document, up to this length.
fn padded(document: &Value, length: usize) -> Bytes {
    let mut bytes = document.to_string().into_bytes();
    assert!(bytes.len() <= length);
    bytes.resize(length, b' ');
    bytes.into()
}

/// A layer of so many bytes, of which the manifest says nothing.
fn large(fixture: &Fixture, byte: u8, length: usize) -> Value {
    let digest = fixture.registry.put_blob(vec![byte; length]).to_string();
    json!({ "mediaType": SIMPLE_SIGNING_MEDIA_TYPE, "digest": digest })
}

fn all_read(evidence: &Evidence, count: usize) {
    assert_eq!(evidence.problems, []);
    assert_eq!(evidence.candidates.len(), count);
    assert!(evidence.candidates.iter().all(|one| one.content.is_ok()), "{evidence:?}");
}

#[tokio::test]
async fn bytes_of_a_manifest() {
    for (length, read) in [(MAX_MANIFEST_BYTES, true), (MAX_MANIFEST_BYTES + 1, false)] {
        let fixture = Fixture::new().await;
        let image = padded(&crate::support::image("large"), length);
        let image = fixture.registry.put_manifest_bytes(REPOSITORY, image);
        fixture.registry.tag(REPOSITORY, "v1", &image);
        let resolved = fixture.resolve().await.map_err(|failure| failure.reason);
        assert_eq!(resolved, if read { Ok(image) } else { Err(Reason::ImageUnreadable) });

        let fixture = Fixture::new().await;
        let layer = layer(&fixture.registry, "payload", json!({}));
        let manifest = padded(&json!({ "schemaVersion": 2, "layers": [layer] }), length);
        let manifest = fixture.registry.put_manifest_bytes(REPOSITORY, manifest);
        fixture.registry.tag(REPOSITORY, &fixture.signature_tag(), &manifest);
        let evidence = fixture.fetch().await;
        match read {
            true => all_read(&evidence, 1),
            false => {
                let found = problem(&evidence, Place::SignatureTag);
                assert_eq!(found, Some(Reason::EvidenceTooLarge));
            }
        }
    }
}

#[tokio::test]
async fn bytes_of_a_blob() {
    for announced in [false, true] {
        for (length, read) in [(MAX_BLOB_BYTES, true), (MAX_BLOB_BYTES + 1, false)] {
            let fixture = Fixture::new().await;
            let mut layer = large(&fixture, b'x', length);
            if announced {
                layer["size"] = json!(length);
            }
            fixture.sign_classic(&[layer]);
            let evidence = fixture.fetch().await;
            match read {
                true => all_read(&evidence, 1),
                false => assert_eq!(failure(&evidence, 0), Reason::EvidenceTooLarge),
            }
        }
    }
}

#[tokio::test]
async fn bytes_of_all_evidence() {
    for surplus in [0, 1] {
        let fixture = Fixture::new().await;
        let whole = MAX_EVIDENCE_BYTES / MAX_BLOB_BYTES - 1;
        let mut layers: Vec<Value> =
            (0..whole).map(|n| large(&fixture, n as u8, MAX_BLOB_BYTES)).collect();
        layers.push(large(&fixture, b'x', 1));
        // The manifest counts too, and is as long whatever the digest of its last layer is.
        let manifest = json!({ "schemaVersion": 2, "layers": layers }).to_string().len();
        let rest = MAX_EVIDENCE_BYTES - whole * MAX_BLOB_BYTES - manifest;
        layers[whole] = large(&fixture, b'x', rest + surplus);
        fixture.sign_classic(&layers);
        let evidence = fixture.fetch().await;
        if surplus == 0 {
            all_read(&evidence, whole + 1);
            continue;
        }
        let failures = evidence.candidates.iter().filter_map(|one| one.content.as_ref().err());
        let failures: Vec<Reason> = failures.map(|failure| failure.reason).collect();
        assert_eq!(failures, [Reason::EvidenceTooLarge]);
    }
}

#[tokio::test]
async fn layers_of_a_signature() {
    for (count, cut) in
        [(MAX_CANDIDATES, None), (MAX_CANDIDATES + 1, Some(Reason::EvidenceTooLarge))]
    {
        let fixture = Fixture::new().await;
        let layers: Vec<_> = (0..count)
            .map(|n| layer(&fixture.registry, "payload", json!({ "n": n.to_string() })))
            .collect();
        fixture.sign_classic(&layers);
        let evidence = fixture.fetch().await;
        assert_eq!(evidence.candidates.len(), MAX_CANDIDATES);
        assert_eq!(problem(&evidence, Place::SignatureTag), cut, "{count}");
    }
}

/// Puts so many artifacts that are no signatures beside the image.
fn attach(fixture: &Fixture, count: usize) {
    for number in 0..count {
        let artifact = json!({ "schemaVersion": 2, "artifactType": "application/spdx+json",
            "layers": [], "annotations": { "n": number.to_string() },
            "subject": { "digest": fixture.digest.to_string() } });
        fixture.registry.put_manifest(REPOSITORY, &artifact);
    }
}

#[tokio::test]
async fn entries_and_pages_of_a_list_of_referrers() {
    let too_large = Some(Reason::EvidenceTooLarge);
    for (count, page, wanted) in [
        (MAX_DESCRIPTORS, 2 * MAX_DESCRIPTORS, None),
        (MAX_DESCRIPTORS + 1, 2 * MAX_DESCRIPTORS, too_large),
        // In pages as well: one more on the second.
        (MAX_DESCRIPTORS, MAX_DESCRIPTORS / 2, None),
        (MAX_DESCRIPTORS + 1, MAX_DESCRIPTORS, too_large),
        (MAX_REFERRERS_PAGES, 1, None),
        (MAX_REFERRERS_PAGES + 1, 1, too_large),
    ] {
        let fixture = Fixture::new().await;
        attach(&fixture, count);
        fixture.registry.set_page_size(page);
        let evidence = fixture.fetch().await;
        assert_eq!(problem(&evidence, Place::Referrers), wanted, "{count} by {page}");
        assert!(fixture.registry.count("/referrers/") <= MAX_REFERRERS_PAGES);
    }
}

#[tokio::test]
async fn annotations_and_media_types_of_a_layer() {
    for (count, wanted) in [(MAX_ANNOTATIONS, None), (MAX_ANNOTATIONS + 1, Some(()))] {
        let fixture = Fixture::new().await;
        let annotations: serde_json::Map<String, Value> =
            (0..count).map(|n| (n.to_string(), json!("x"))).collect();
        fixture.sign_classic(&[layer(&fixture.registry, "payload", json!(annotations))]);
        let evidence = fixture.fetch().await;
        match wanted {
            None => all_read(&evidence, 1),
            Some(()) => assert_eq!(failure(&evidence, 0), Reason::EvidenceMalformed, "{count}"),
        }
    }
    // A type of the greatest length is read, and is none of ours.
    for (length, wanted) in [
        (MAX_TYPE_BYTES, Reason::EvidenceUnsupported),
        (MAX_TYPE_BYTES + 1, Reason::EvidenceMalformed),
    ] {
        let fixture = Fixture::new().await;
        let mut layer = layer(&fixture.registry, "payload", json!({}));
        layer["mediaType"] = json!("x".repeat(length));
        fixture.sign_classic(&[layer]);
        assert_eq!(failure(&fixture.fetch().await, 0), wanted, "{length}");
    }
}

#[tokio::test]
async fn redirects_in_a_row() {
    for (hops, followed) in [(MAX_REDIRECTS, true), (MAX_REDIRECTS + 1, false)] {
        let fixture = Fixture::new().await;
        let hop = |number: usize| match number == hops {
            true => format!("/v2/{REPOSITORY}/manifests/{}", fixture.digest),
            false => format!("/v2/{REPOSITORY}/hop-{number}."),
        };
        fixture.registry.fault("/manifests/v1", Fault::Redirect(hop(1)));
        for number in 1..hops {
            fixture.registry.fault(&format!("/hop-{number}."), Fault::Redirect(hop(number + 1)));
        }
        let resolved = fixture.resolve().await.map_err(|failure| failure.reason);
        let wanted =
            if followed { Ok(fixture.digest.clone()) } else { Err(Reason::ImageUnreadable) };
        assert_eq!(resolved, wanted, "{hops}");
    }
}

#[tokio::test]
async fn bytes_of_a_header() {
    for (length, wanted) in
        [(MAX_HEADER_BYTES, None), (MAX_HEADER_BYTES + 1, Some(Reason::EvidenceMalformed))]
    {
        let fixture = Fixture::signed().await;
        // A link to nowhere in particular: no next page.
        let link = format!("<{}>; rel=\"self\"", "x".repeat(length - "<>; rel=\"self\"".len()));
        assert_eq!(link.len(), length);
        fixture.registry.fault("/referrers/", Fault::Header("link", link));
        let evidence = fixture.fetch().await;
        assert_eq!(problem(&evidence, Place::Referrers), wanted, "{length}");
    }
}

#[tokio::test]
async fn bytes_of_a_tokens_answer() {
    for (length, accepted) in [(MAX_TOKEN_BYTES, true), (MAX_TOKEN_BYTES + 1, false)] {
        let fixture = Fixture::new().await;
        let user = Some(("user".to_owned(), "secret".to_owned()));
        fixture.registry.set_auth(Auth::Bearer { user, realm: None, expires_in: 60 });
        let answer = padded(&json!({ "token": "token-1" }), length);
        fixture.registry.fault("/token", Fault::AnswerFrom(1, answer));
        let client = fixture.client_with(HostOptions::default(), keychain(&fixture));
        let resolved = client.resolve(&fixture.image(), soon()).await;
        let wanted =
            if accepted { Ok(fixture.digest.clone()) } else { Err(Reason::ImageUnreadable) };
        assert_eq!(resolved.map_err(|failure| failure.reason), wanted, "{length}");
    }
}

fn keychain(fixture: &Fixture) -> Keychain {
    fixture.keychain("user", "secret")
}
