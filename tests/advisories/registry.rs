//! Hostile and failing registries, through the whole pipeline.
use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use tegata::evidence::SIMPLE_SIGNING_MEDIA_TYPE;
use tegata::registry::Keychain;
use tegata::verdict::Reason;

use crate::fake_registry::Auth;
use crate::fake_registry::FakeRegistry;
use crate::fake_registry::Fault;
use crate::gate::ALICE;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::gate::REPOSITORY;
use crate::gate::image;
use crate::policy;
use crate::policy::keyless;
use crate::review;
use crate::virtual_sigstore::Part;

const TEN_GIB: u64 = 10 << 30;

/// What every refusal of a flood stays below, on a slow machine and unoptimised.
const CHEAP: Duration = Duration::from_secs(8);

/// CVE-2024-29902, CVE-2024-29903, CVE-2023-42813 to 42816.
#[tokio::test]
async fn rejects_a_signature_blob_of_ten_gib_announced_or_streamed() {
    for fault in [Fault::AnnounceLength(TEN_GIB), Fault::Endless] {
        let gate = Gate::new().await;
        gate.attach(gate.alice());
        gate.attach_classic(gate.alice());
        gate.registry.fault("/blobs/", fault);
        let start = Instant::now();
        gate.admit().await.assert_denied(Reason::EvidenceTooLarge);
        assert!(start.elapsed() < CHEAP, "{:?}", start.elapsed());
    }
}

/// CVE-2023-46737, CVE-2023-33958.
#[tokio::test]
async fn rejects_a_signature_manifest_of_a_hundred_thousand_layers() {
    for count in [100_000, 20_000] {
        let gate = Gate::new().await;
        let digest = gate.registry.put_blob("payload").to_string();
        let layer = json!({ "mediaType": SIMPLE_SIGNING_MEDIA_TYPE, "digest": digest, "size": 7 });
        let manifest = json!({ "schemaVersion": 2, "layers": vec![layer; count] });
        let manifest = gate.registry.put_manifest(REPOSITORY, &manifest);
        let tag = format!("{}.sig", gate.digest.tag_form());
        gate.registry.tag(REPOSITORY, &tag, &manifest);
        let start = Instant::now();
        gate.admit().await.assert_denied(Reason::EvidenceTooLarge);
        assert!(start.elapsed() < CHEAP, "{count}: {:?}", start.elapsed());
        assert!(gate.registry.count("/blobs/") <= 1);
    }
}

/// CVE-2023-46737, CVE-2023-33958.
#[tokio::test]
async fn rejects_referrers_without_end() {
    let gate = Gate::new().await;
    gate.registry.set_page_size(0);
    let start = Instant::now();
    gate.admit().await.assert_denied(Reason::EvidenceTooLarge);
    assert!(start.elapsed() < CHEAP, "{:?}", start.elapsed());
}

/// A flood does not bury a good signature that was found before the limit.
#[tokio::test]
async fn accepts_a_good_signature_beside_referrers_without_end() {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    gate.registry.set_page_size(0);
    gate.admit().await.assert_verified();
}

/// CVE-2024-29903 and others.
#[tokio::test]
async fn gives_up_on_a_body_that_drips_in_time_to_say_so() {
    for path in ["/manifests/v1", "/blobs/", "/referrers/", ".sig"] {
        let mut gate = Gate::new().await;
        gate.attach(gate.alice().tamper(Part::SignatureBytes));
        gate.registry.fault(path, Fault::Slow(Duration::from_millis(50)));
        gate.timeout = "2s";
        let start = Instant::now();
        gate.admit().await.assert_denied(Reason::DeadlineExceeded);
        assert!(start.elapsed() < Duration::from_secs(2), "{path}: {:?}", start.elapsed());
    }
}

/// CVE-2026-24117 and others: neither the image nor its signatures lead into our own network.
#[tokio::test]
async fn rejects_redirects_to_link_local_addresses() {
    for target in ["http://169.254.169.254/latest/meta-data/", "http://[fe80::1]/"] {
        for path in ["/manifests/v1", "/blobs/"] {
            let gate = Gate::new().await;
            gate.attach(gate.alice());
            gate.registry.fault(path, Fault::Redirect(target.to_owned()));
            println!("{target} for {path}");
            gate.admit().await.assert_denied(Reason::RegistryAddressForbidden);
        }
    }
}

/// CVE-2025-27403.
#[tokio::test]
async fn rejects_a_token_service_on_another_host_and_tells_it_nothing() {
    let thief = FakeRegistry::start().await.unwrap();
    let mut gate = Gate::new().await;
    gate.attach(gate.alice());
    gate.registry.set_auth(Auth::Bearer {
        user: None,
        realm: Some(format!("http://{}/token", thief.host())),
        expires_in: 60,
    });
    for keychain in [Keychain::anonymous(), keychain(&gate.registry.host())] {
        gate.keychain = keychain;
        gate.admit().await.assert_denied(Reason::RegistryAddressForbidden);
    }
    assert_eq!(thief.log().len(), 0);
}

/// CVE-2025-27403, GO-2026-6225: a password goes to its host, and not to one that is named alike.
#[tokio::test]
async fn sends_no_credential_to_a_host_that_is_named_alike() {
    for stored in ["127.0.0.1", "127.0.0.1:1", "127.0.0", "evil.127.0.0.1"] {
        let mut gate = Gate::new().await;
        gate.registry
            .set_auth(Auth::Basic { username: "robot".to_owned(), password: "secret".to_owned() });
        gate.keychain = keychain(stored);
        gate.admit().await.assert_denied(Reason::RegistryUnauthorised);
        let sent = gate.registry.log().into_iter().filter_map(|request| request.authorization);
        assert_eq!(sent.count(), 0, "{stored}");
    }
    let mut gate = Gate::new().await;
    gate.attach(gate.alice());
    gate.registry
        .set_auth(Auth::Basic { username: "robot".to_owned(), password: "secret".to_owned() });
    gate.keychain = keychain(&gate.registry.host());
    gate.admit().await.assert_verified();
}

/// CVE-2022-47633, CVE-2023-47630.
#[tokio::test]
async fn pins_the_digest_that_it_verified_whatever_later_answers_say() {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    let evil = image("evil").to_string();
    gate.registry.fault("/manifests/v1", Fault::AnswerFrom(2, evil.into()));
    let review = review::create(&review::pod(&[&gate.image()]));
    let answer = gate.ask("mutate", &review).await;
    assert!(answer.allowed(), "{answer:?}");
    let pinned = format!("{}@{}", gate.image(), gate.digest);
    assert_eq!(answer.patch()[1]["value"], pinned, "{answer:?}");
    assert!(gate.registry.log().iter().all(|request| request.method == "GET"));
    // From now on the tag is another image, which nobody signed.
    let answer = gate.ask("mutate", &review).await;
    answer.assert_denied(Reason::SignatureAbsent);
}

/// CVE-2022-47633: the bytes decide, not what is said of them.
#[tokio::test]
async fn rejects_a_digest_header_of_a_signed_image_on_other_bytes() {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    let signed = gate.digest.to_string();
    gate.put_image("evil", "v1");
    gate.registry.fault("/manifests/v1", Fault::Header("docker-content-digest", signed));
    gate.admit().await.assert_denied(Reason::ImageDigestMismatch);
}

/// GHSA-2r43-6962-xcw5.
#[tokio::test]
async fn a_tag_that_moves_between_mutation_and_validation_gains_nothing() {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    let router = gate.router();
    let tagged = review::create(&review::pod(&[&gate.image()]));
    let answer = gate.ask_with(&router, "mutate", &tagged).await;
    let pinned = answer.patch()[1]["value"].as_str().unwrap().to_owned();
    gate.put_image("evil", "v1");
    // What was pinned is what was verified; the same server does not take the new one for it.
    let patched = review::create(&review::pod(&[&pinned]));
    gate.ask_with(&router, "validate", &patched).await.assert_verified();
    assert!(pinned.ends_with(&gate.digest.to_string()));
    for endpoint in ["validate", "mutate"] {
        let answer = gate.ask_with(&router, endpoint, &tagged).await;
        answer.assert_denied(Reason::SignatureAbsent);
    }
}

/// Reported elsewhere: an error is not "no signatures there".
#[tokio::test]
async fn a_place_that_fails_spoils_no_good_signature_elsewhere() {
    for (path, classic) in [("/referrers/", true), (".sig", false)] {
        for good in [true, false] {
            let gate = Gate::new().await;
            let signing = gate.alice();
            let signing = if good { signing } else { signing.tamper(Part::SignatureBytes) };
            if classic {
                gate.attach_classic(signing)
            } else {
                gate.attach(signing)
            }
            gate.registry.fault(path, always(503));
            let answer = gate.admit().await;
            println!("{path} {good}: {}", answer.message());
            if good {
                answer.assert_verified();
            } else {
                answer.assert_denied(Reason::RegistryUnreachable);
            }
        }
    }
}

/// Reported elsewhere: a weaker format is never tried because a stronger one cannot be read.
#[tokio::test]
async fn a_format_that_is_not_accepted_never_stands_in_for_one_that_cannot_be_read() {
    let mut gate = Gate::new().await;
    let mut authority = keyless(ALICE, ISSUER);
    authority["signatureFormat"] = json!("bundle");
    gate.demand(&[authority]);
    gate.attach_classic(gate.alice());
    gate.registry.fault("/referrers/", always(500));
    gate.admit().await.assert_denied(Reason::RegistryUnreachable);
    gate.registry.heal();
    gate.admit().await.assert_denied(Reason::SignatureFormatRefused);
}

/// Nor is a signature of another format what cannot be read and may be of any.
#[tokio::test]
async fn what_cannot_be_read_is_of_no_format_that_is_refused() {
    for format in ["legacy", "bundle", "both"] {
        let mut gate = Gate::new().await;
        let mut authority = keyless(ALICE, ISSUER);
        authority["signatureFormat"] = json!(format);
        gate.demand(&[authority]);
        let unclear = json!({ "schemaVersion": 2, "layers": [],
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json" },
            "subject": { "digest": gate.digest.to_string() } });
        let unclear = gate.registry.put_manifest(REPOSITORY, &unclear);
        gate.admit().await.assert_denied(Reason::SignatureAbsent);
        gate.registry.fault(unclear.hex(), always(503));
        gate.admit().await.assert_denied(Reason::RegistryUnreachable);
    }
}

/// `onUnavailable: allow` is for outages. An answer of the wrong size, shape or content is none.
#[tokio::test]
async fn what_a_hostile_registry_answers_is_never_an_outage() {
    for (path, fault, reason) in [
        ("/blobs/", Fault::AnnounceLength(TEN_GIB), Reason::EvidenceTooLarge),
        ("/blobs/", Fault::Endless, Reason::EvidenceTooLarge),
        ("/blobs/", Fault::Gzip, Reason::EvidenceMalformed),
        ("/blobs/", Fault::AnswerFrom(1, "other".into()), Reason::EvidenceDigestMismatch),
        (
            "/blobs/",
            Fault::Redirect("http://169.254.1.1/".into()),
            Reason::RegistryAddressForbidden,
        ),
        ("/blobs/", Fault::Redirect("/v2/circle/blobs/x".into()), Reason::EvidenceMalformed),
        ("/blobs/", always(404), Reason::EvidenceMissing),
        ("/referrers/", Fault::Endless, Reason::EvidenceTooLarge),
        ("/referrers/", Fault::AnswerFrom(1, "[]".into()), Reason::EvidenceMalformed),
        ("/manifests/v1", Fault::Endless, Reason::ImageUnreadable),
        ("/manifests/v1", Fault::AnswerFrom(1, "<html>".into()), Reason::ImageUnreadable),
        ("/manifests/v1", always(404), Reason::ImageNotFound),
        ("/manifests/v1", Fault::Redirect("ftp://h/".into()), Reason::ImageUnreadable),
    ] {
        let mut gate = Gate::new().await;
        gate.attach(gate.alice());
        gate.policies[0] = policy::with(gate.policies[0].clone(), "onUnavailable", "allow");
        gate.registry.fault(path, fault.clone());
        println!("{path} {fault:?}");
        gate.admit().await.assert_denied(reason);
    }
}

fn keychain(host: &str) -> Keychain {
    let file = json!({ "auths": { host: { "username": "robot", "password": "secret" } } });
    Keychain::from_docker_config(file.to_string().as_bytes()).unwrap()
}

fn always(status: u16) -> Fault {
    Fault::Status { status, times: usize::MAX, retry_after: None }
}
