//! Signatures and bundles that others made and published, served by a registry.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support"
)]
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Admission;
use tegata::admission::Settings;
use tegata::admission::check::Asked;
use tegata::admission::check::Tags;
use tegata::api::AttestationSpec;
use tegata::conditions;
use tegata::evidence::ENVELOPE_MEDIA_TYPE;
use tegata::evidence::FetchEvidence;
use tegata::evidence::Format;
use tegata::evidence::SIMPLE_SIGNING_MEDIA_TYPE;
use tegata::evidence::Tenant;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::policy::Attestation;
use tegata::policy::Authority;
use tegata::policy::Demands;
use tegata::policy::IdentityMatcher;
use tegata::policy::ImageGlob;
use tegata::policy::LogDemand;
use tegata::policy::Mode;
use tegata::policy::OnUnavailable;
use tegata::policy::Platforms;
use tegata::policy::Policy;
use tegata::policy::PolicyId;
use tegata::policy::PolicySnapshot;
use tegata::policy::PolicyState;
use tegata::policy::Scope;
use tegata::policy::Signer;
use tegata::policy::TextMatcher;
use tegata::policy::Workload;
use tegata::registry::Keychain;
use tegata::registry::Layout;
use tegata::registry::Registry;
use tegata::registry::RegistryOptions;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Verdict;
use tegata::verify::PublicKey;

use self::fake_registry::FakeRegistry;

#[path = "support/collection.rs"]
mod collection;
#[path = "support/exceptions.rs"]
mod exceptions;
#[path = "support/fake_registry.rs"]
mod fake_registry;
#[path = "vectors/trust_roots.rs"]
mod trust_roots;

const VERIFIED: &str = "verified";

/// In place of a predicate type: no attestation, a signature.
const SIGNATURE: &str = "signature";

/// Classic signatures and attestations that are refused, with step and reason; the others are
/// verified.
const REFUSED: [(&str, &str); 12] = [
    ("cimage-dir-img-cosign-key-rekor-valid-1", "signature: signature-invalid"),
    ("cimage-dir-img-cosign-mixed-1", "signature: signature-invalid"),
    ("cimage-dir-img-cosign-mixed-1-pub2", "signature: signature-invalid"),
    ("cimage-dir-img-cosign-modified-manifest-1", "signature: payload-digest-mismatch"),
    ("cimage-dir-img-cosign-other-attachment-1", "evidence: evidence-unsupported"),
    ("conforma-testimage-att", "log-entry: log-unknown"),
    ("conforma-testimage-sig", "log-entry: log-unknown"),
    ("connaisseur-071bf7a9-bob", "signature: signature-invalid"),
    ("dangerzone-invalid-19e8eacd7587", "evidence: evidence-malformed"),
    ("dangerzone-invalid-220b52200e3e", "signature: payload-malformed"),
    ("dangerzone-tampered-19e8eacd7587", "signature: signature-invalid"),
    ("stackrox-3", "signature: signature-invalid"),
];

fn folder(name: &str) -> Option<PathBuf> {
    let missing = format!("{name} of others are not verified");
    collection::folder("TEGATA_VECTORS", &missing).map(|folder| folder.join(name))
}

fn keyed(pem: &str) -> Signer {
    Signer::Keys(PublicKey::from_pem(pem, None).unwrap())
}

fn identity(issuer: &str, subject: &str) -> Signer {
    let text = |text| TextMatcher::exact(text).unwrap();
    let matcher = IdentityMatcher::new(text(issuer), text(subject), Vec::new()).unwrap();
    Signer::Identities(vec![matcher])
}

/// A policy that asks for an attestation of this predicate type, or for a signature.
fn policy(signer: Signer, log: LogDemand, predicate_type: Option<&str>) -> PolicySnapshot {
    let attestation = |predicate_type: &str| {
        let (name, predicate_type) = ("vector".to_owned(), Some(predicate_type.to_owned()));
        let spec = AttestationSpec { name, predicate_type, ..AttestationSpec::default() };
        let rules = conditions::compile(&spec, "").unwrap();
        Attestation { name: spec.name, rules }
    };
    let authority = Authority {
        name: "vector".to_owned(),
        signer,
        sources: Vec::new(),
        formats: vec![Format::Legacy, Format::Bundle],
        demands: Demands::new(log, false),
        rekor: None,
        trust_root: Arc::new(TrustRoot::public_good()),
        attestations: predicate_type.map(attestation).into_iter().collect(),
    };
    let policy = Policy {
        id: PolicyId::Cluster { name: "vectors".to_owned() },
        scope: Scope {
            images: vec![ImageGlob::everything().unwrap()],
            workloads: Vec::new(),
            namespaces: None,
        },
        mode: Mode::Enforce,
        on_unavailable: OnUnavailable::Deny,
        platforms: Platforms::Index,
        threshold: NonZeroUsize::MIN,
        authorities: vec![authority],
        rules: None,
        version: None,
    };
    PolicySnapshot::new(vec![PolicyState::Ready(Arc::new(policy))])
}

async fn answer(registry: &FakeRegistry, digest: &Digest, snapshot: &PolicySnapshot) -> String {
    let host = registry.host();
    let options = RegistryOptions { allow_http: vec![host.clone()], ..RegistryOptions::default() };
    let client = Registry::new(options, Keychain::anonymous()).unwrap();
    let image = format!("{host}/v/image@{digest}").parse().unwrap();
    judge(client, &image, snapshot).await.0
}

/// The answer, and its whole explanation.
async fn judge<F: FetchEvidence>(
    fetch: F,
    image: &ImageRef,
    snapshot: &PolicySnapshot,
) -> (String, String) {
    let admission = Admission::new(fetch, Settings::default());
    let now = "2026-11-22T00:00:00Z".parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let (workload, tenant) = (&Workload::default(), &Tenant::default());
    let asked = Asked { workload, tenant, snapshot, now, deadline, tags: Tags::Fresh };
    let report = admission.check_image(image, asked).await;
    let answer = match (report.verdict, &report.policies[0].failure) {
        (Verdict::Verified, None) => VERIFIED.to_owned(),
        (_, Some(failure)) => format!("{}: {}", failure.step(), failure.reason),
        (verdict, None) => format!("{verdict} without a reason"),
    };
    (answer, serde_json::to_string(&report).unwrap())
}

/// Pushes the signatures or attestations of a case as cosign does: one manifest, a layer each.
fn push_signatures(registry: &FakeRegistry, case: &Value) -> Digest {
    let digest: Digest = case["image_digest"].as_str().unwrap().parse().unwrap();
    let plain = case["note"].as_str().is_some_and(|note| note.contains("mimeType=text/plain"));
    let attested = case["kind"] == "image/dsse-attestation";
    let (media_type, suffix) = match (plain, attested) {
        (true, _) => ("text/plain", "sig"),
        (false, true) => (ENVELOPE_MEDIA_TYPE, "att"),
        (false, false) => (SIMPLE_SIGNING_MEDIA_TYPE, "sig"),
    };
    let layers: Vec<Value> = case["signatures"]
        .as_array()
        .unwrap()
        .iter()
        .map(|signature| {
            let payload = STANDARD.decode(signature["payload_b64"].as_str().unwrap()).unwrap();
            let size = payload.len();
            json!({
                "mediaType": media_type, "size": size,
                "digest": registry.put_blob(payload).to_string(),
                "annotations": signature["annotations"],
            })
        })
        .collect();
    let config = registry.put_blob("{}");
    let manifest = json!({
        "schemaVersion": 2, "mediaType": fake_registry::MANIFEST_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.image.config.v1+json", "size": 2,
            "digest": config.to_string(),
        },
        "layers": layers,
    });
    let pushed = registry.put_manifest("v/image", &manifest);
    registry.tag("v/image", &format!("{}.{suffix}", digest.tag_form()), &pushed);
    digest
}

#[tokio::test(flavor = "multi_thread")]
async fn classic_signatures_of_others_get_the_verdict_of_their_index() {
    let Some(folder) = folder("image-sigs") else { return };
    let mut wrong = Vec::new();
    let mut seen = 0;
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.sort();
    for file in files.iter().filter(|file| file.extension().is_some_and(|it| it == "json")) {
        let case: Value = serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap();
        let id = case["id"].as_str().unwrap();
        seen += 1;
        let signer = match case["public_key_pem"].as_str() {
            Some(pem) => keyed(pem),
            None => {
                let found = &case["independent_check"][0];
                identity(found["issuer"].as_str().unwrap(), found["san"][0].as_str().unwrap())
            }
        };
        let log = match &signer {
            Signer::Identities(_) => LogDemand::Entry,
            Signer::Keys(_)
            | Signer::Certificates { .. }
            | Signer::StaticPass
            | Signer::StaticFail { .. } => LogDemand::Optional,
        };
        let predicate_type = case["independent_check"][0]["predicateType"].as_str();
        let snapshot = policy(signer, log, predicate_type);
        let registry = FakeRegistry::start().await.unwrap();
        let digest = push_signatures(&registry, &case);
        let found = answer(&registry, &digest, &snapshot).await;
        let refused = REFUSED.iter().find(|(name, _)| *name == id);
        let wanted = refused.map_or(VERIFIED, |(_, reason)| reason);
        let verdict = case["expected"]["verdict"].as_str().unwrap();
        assert_eq!(verdict.starts_with("reject"), refused.is_some(), "{id}: {verdict}");
        if found != wanted {
            wrong.push(format!("{id}: {found}, wanted {wanted}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert_eq!(seen, 32, "cases of classic signatures and attestations");
}

/// Pushes a bundle as a referrer of the image.
fn push_bundle(registry: &FakeRegistry, bundle: &[u8], digest: &Digest) {
    const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
    let config = registry.put_blob("{}");
    let layer = registry.put_blob(bundle.to_vec());
    let manifest = json!({
        "schemaVersion": 2, "mediaType": fake_registry::MANIFEST_TYPE,
        "artifactType": BUNDLE_TYPE,
        "config": {
            "mediaType": "application/vnd.oci.empty.v1+json", "size": 2,
            "digest": config.to_string(),
        },
        "layers": [{
            "mediaType": BUNDLE_TYPE, "size": bundle.len(), "digest": layer.to_string(),
        }],
        "subject": {
            "mediaType": fake_registry::MANIFEST_TYPE, "size": 1, "digest": digest.to_string(),
        },
    });
    registry.put_manifest("v/image", &manifest);
}

#[tokio::test(flavor = "multi_thread")]
async fn image_bundles_of_others_get_the_verdict_of_their_index() {
    let Some(folder) = folder("image-bundles") else { return };
    let github = "https://github.com/login/oauth";
    let key = std::fs::read_to_string(folder.join("cosign-v3-keyed-sign-v1.pub")).unwrap();
    let ringo = "thomas.grininger@ringodev.com";
    let cases = [
        (
            "cosign-oci-attestation",
            identity(github, "cody@soyland.com"),
            LogDemand::Proof,
            None,
            VERIFIED,
        ),
        (
            "cosign-oci-attestation",
            identity(github, "cody@soyland.com"),
            LogDemand::Proof,
            Some(SIGNATURE),
            "evidence: predicate-type-unexpected",
        ),
        (
            "cosign-oci-attestation",
            identity(github, ringo),
            LogDemand::Proof,
            None,
            "identity: subject-mismatch",
        ),
        ("trivy-sbom", identity(github, ringo), LogDemand::Proof, None, VERIFIED),
        (
            "trivy-sbom",
            identity(github, ringo),
            LogDemand::Proof,
            Some("https://slsa.dev/provenance/v1"),
            "evidence: predicate-type-unexpected",
        ),
        ("cosign-v3-keyed-sign-v1", keyed(&key), LogDemand::Optional, Some(SIGNATURE), VERIFIED),
        (
            "cosign-v3-keyed-sign-v1",
            keyed(&key),
            LogDemand::Entry,
            Some(SIGNATURE),
            "log-lookup: log-entry-absent",
        ),
    ];
    for (name, signer, log, payload, wanted) in cases {
        let bundle = std::fs::read(folder.join(format!("{name}.sigstore.json"))).unwrap();
        let document: Value = serde_json::from_slice(&bundle).unwrap();
        let payload_text = document["dsseEnvelope"]["payload"].as_str().unwrap();
        let signed: Value =
            serde_json::from_slice(&STANDARD.decode(payload_text).unwrap()).unwrap();
        let hex = signed["subject"][0]["digest"]["sha256"].as_str().unwrap();
        let digest: Digest = format!("sha256:{hex}").parse().unwrap();
        let predicate_type = match payload {
            Some(SIGNATURE) => None,
            Some(other) => Some(other),
            None => signed["predicateType"].as_str(),
        };
        let registry = FakeRegistry::start().await.unwrap();
        push_bundle(&registry, &bundle, &digest);
        let found = answer(&registry, &digest, &policy(signer, log, predicate_type)).await;
        assert_eq!(found, wanted, "{name}");
    }
}

const GITHUB: &str = "https://token.actions.githubusercontent.com";

/// Who attests the images of the SLSA generator's own tests, by its version.
fn generator(version: &str) -> Signer {
    let workflow = "https://github.com/slsa-framework/slsa-github-generator/.github/workflows/";
    identity(GITHUB, &format!("{workflow}generator_container_slsa3.yml@refs/tags/v{version}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_of_others_get_the_verdict_of_their_index() {
    let Some(folder) = folder("oci-layouts") else { return };
    const SLSA: Option<&str> = Some("https://slsa.dev/provenance/v0.2");
    let mut cases = Vec::new();
    for version in ["1.5.0", "1.6.0", "1.8.0", "1.10.0", "2.0.0"] {
        let name = format!("slsa-v{version}");
        let other = if version == "2.0.0" { "1.5.0" } else { "2.0.0" };
        cases.extend([
            (name.clone(), generator(version), SLSA, VERIFIED),
            (name.clone(), generator(other), SLSA, "identity: subject-mismatch"),
            (name, generator(version), None, "evidence: signature-absent"),
        ]);
    }
    let account = "https://kubernetes.io/namespaces/default/serviceaccounts/default";
    let conforma = || identity("https://kubernetes.default.svc.cluster.local", account);
    cases.extend([
        ("conforma-testimage".to_owned(), conforma(), None, "log-entry: log-unknown"),
        ("conforma-testimage".to_owned(), conforma(), SLSA, "log-entry: log-unknown"),
    ]);
    for name in ["docker-attest-containerd-subject-layout", "docker-attest-missing-subject-layout"]
    {
        cases.push((name.to_owned(), conforma(), None, "evidence: signature-absent"));
        cases.push((name.to_owned(), conforma(), SLSA, "evidence: attestation-absent"));
    }
    let mut wrong = Vec::new();
    for (name, signer, predicate_type, wanted) in cases {
        let reference = format!("oci:{}", folder.join(&name).display());
        let layout = Layout::open(&reference.parse().unwrap()).unwrap();
        let image = layout.image().clone();
        let snapshot = policy(signer, LogDemand::Entry, predicate_type);
        let (found, text) = judge(layout, &image, &snapshot).await;
        if found != wanted {
            wrong.push(format!("{name} {predicate_type:?}: {found}, wanted {wanted}: {text}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
