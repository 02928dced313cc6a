//! Fixtures: an image, signatures, clients.
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use tegata::evidence::Evidence;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence as _;
use tegata::evidence::Place;
use tegata::evidence::SIMPLE_SIGNING_MEDIA_TYPE;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::registry::HostOptions;
use tegata::registry::Keychain;
use tegata::registry::Registry;
use tegata::registry::RegistryOptions;
use tegata::verdict::Failure;
use tegata::verdict::Reason;

use crate::fake_registry::FakeRegistry;

pub const BUNDLE_TYPE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

pub const REPOSITORY: &str = "team/app";

/// A registry with one tagged image.
pub struct Fixture {
    pub registry: FakeRegistry,
    pub digest: Digest,
}

impl Fixture {
    pub async fn new() -> Self {
        let registry = FakeRegistry::start().await.unwrap();
        let digest = registry.put_manifest(REPOSITORY, &image("app"));
        registry.tag(REPOSITORY, "v1", &digest);
        Self { registry, digest }
    }

    /// With a classic signature and a bundle.
    pub async fn signed() -> Self {
        let fixture = Self::new().await;
        fixture.sign_classic(&[layer(&fixture.registry, "payload", json!({"a": "1"}))]);
        fixture.sign_bundle("{\"bundle\":1}");
        fixture
    }

    pub fn signature_tag(&self) -> String {
        format!("{}.sig", self.digest.tag_form())
    }

    pub fn sign_classic(&self, layers: &[Value]) -> Digest {
        let manifest = json!({"schemaVersion": 2, "layers": layers});
        let digest = self.registry.put_manifest(REPOSITORY, &manifest);
        self.registry.tag(REPOSITORY, &self.signature_tag(), &digest);
        digest
    }

    pub fn sign_bundle(&self, content: &'static str) -> Digest {
        let manifest = bundle(&self.registry, content, &self.digest);
        self.registry.put_manifest(REPOSITORY, &manifest)
    }

    pub fn image(&self) -> ImageRef {
        format!("{}/{REPOSITORY}:v1", self.registry.host()).parse().unwrap()
    }

    pub fn query(&self) -> EvidenceQuery {
        let repository = self.image().repository().clone();
        EvidenceQuery {
            repository,
            digest: self.digest.clone(),
            tag_prefix: String::new(),
            attestations: false,
        }
    }

    pub fn client(&self) -> Registry {
        self.client_with(HostOptions::default(), Keychain::anonymous())
    }

    /// A client that speaks plain HTTP to this registry, with further settings for it.
    pub fn client_with(&self, host: HostOptions, keychain: Keychain) -> Registry {
        Registry::new(self.options(host), keychain).unwrap()
    }

    pub fn options(&self, host: HostOptions) -> RegistryOptions {
        RegistryOptions {
            allow_http: vec![self.registry.host()],
            hosts: [(self.registry.host(), host)].into(),
            ..RegistryOptions::default()
        }
    }

    pub fn keychain(&self, username: &str, password: &str) -> Keychain {
        keychain(&self.registry.host(), username, password)
    }

    pub async fn fetch(&self) -> Evidence {
        self.client().fetch(&self.query(), soon()).await
    }

    pub async fn resolve(&self) -> Result<Digest, Failure> {
        self.client().resolve(&self.image(), soon()).await
    }
}

pub fn keychain(host: &str, username: &str, password: &str) -> Keychain {
    let file = json!({"auths": {host: {"username": username, "password": password}}});
    Keychain::from_docker_config(file.to_string().as_bytes()).unwrap()
}

pub fn image(word: &str) -> Value {
    let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": Digest::sha256_of(word.as_bytes()).to_string(), "size": 2});
    json!({"schemaVersion": 2, "config": config, "layers": [], "annotations": {"word": word}})
}

pub fn layer(registry: &FakeRegistry, payload: &'static str, annotations: Value) -> Value {
    let digest = registry.put_blob(payload).to_string();
    json!({"mediaType": SIMPLE_SIGNING_MEDIA_TYPE, "digest": digest, "size": payload.len(),
        "annotations": annotations})
}

pub fn bundle(registry: &FakeRegistry, content: &'static str, subject: &Digest) -> Value {
    let blob = registry.put_blob(content).to_string();
    json!({"schemaVersion": 2, "artifactType": BUNDLE_TYPE,
        "config": {"mediaType": "application/vnd.oci.empty.v1+json"},
        "layers": [{"mediaType": BUNDLE_TYPE, "digest": blob, "size": content.len()}],
        "subject": {"digest": subject.to_string()}})
}

pub fn soon() -> Instant {
    within(10_000)
}

pub fn within(milliseconds: u64) -> Instant {
    Instant::now() + Duration::from_millis(milliseconds)
}

/// Why a place could not be listed.
pub fn problem(evidence: &Evidence, place: Place) -> Option<Reason> {
    let problem = evidence.problems.iter().find(|problem| problem.place == place)?;
    Some(problem.failure.reason)
}

/// Why the n-th candidate's content could not be had.
pub fn failure(evidence: &Evidence, index: usize) -> Reason {
    evidence.candidates[index].content.as_ref().unwrap_err().reason
}
