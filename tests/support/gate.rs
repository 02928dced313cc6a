//! `Gate`: the whole of Tegata in process, from the review's JSON to the answer's JSON.
//!
//! The real router over the real pipeline and registry client, a `FakeRegistry` with one image,
//! a `VirtualSigstore` whose trust root is the default one, policies read from files. The crate
//! that includes it names `fake_registry`, `policy`, `review` and `virtual_sigstore` as modules.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test support: included by several programs, each of which uses a part"
)]
use std::sync::Arc;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request as HttpRequest;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Admission;
use tegata::admission::Decision;
use tegata::admission::Request;
use tegata::admission::Settings;
use tegata::evidence::LogUrl;
use tegata::files;
use tegata::image::Digest;
use tegata::metrics;
use tegata::policy::PolicySnapshot;
use tegata::registry::Keychain;
use tegata::registry::Registry;
use tegata::registry::RegistryOptions;
use tegata::rekor::Rekor;
use tegata::server;
use tegata::server::Admit;
use tegata::server::AppState;
use tegata::server::Limits;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::fake_registry::FakeRegistry;
use crate::policy;
use crate::review;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::OciArtifact;
use crate::virtual_sigstore::Signing;
use crate::virtual_sigstore::Version;
use crate::virtual_sigstore::VirtualSigstore;

pub const ALICE: &str = "alice@example.com";
pub const BOB: &str = "bob@example.com";
pub const ISSUER: &str = "https://issuer.example";
pub const REPOSITORY: &str = "team/app";

/// A cluster's gate, its registry and its signers.
pub struct Gate {
    pub registry: FakeRegistry,
    pub sigstore: VirtualSigstore,
    /// The digest of the image under [`REPOSITORY`], tag `v1`.
    pub digest: Digest,
    /// The policies, as documents; [`Gate::new`] puts in one that asks for [`ALICE`].
    pub policies: Vec<Value>,
    /// Further policies, as text.
    pub yaml: Option<String>,
    /// The default trust root.
    pub trusted_root: String,
    pub settings: Settings,
    pub limits: Limits,
    pub keychain: Keychain,
    /// Reads broken policies as a server does, instead of refusing them.
    pub lenient: bool,
    /// Has the pipeline panic.
    pub panics: bool,
    /// Logs at private addresses that it may ask for entries.
    pub logs: Vec<LogUrl>,
    /// Registries besides its own that it may ask over plain HTTP.
    pub further_hosts: Vec<String>,
    /// The time that the API server allows, as it writes it.
    pub timeout: &'static str,
}

impl Gate {
    pub async fn new() -> Self {
        let registry = FakeRegistry::start().await.unwrap();
        let digest = registry.put_manifest(REPOSITORY, &image("app"));
        registry.tag(REPOSITORY, "v1", &digest);
        let sigstore = VirtualSigstore::new(server::now() - 1.hour());
        Self {
            registry,
            trusted_root: sigstore.trusted_root_json(),
            sigstore,
            digest,
            policies: vec![policy::cluster("signed", &[policy::keyless(ALICE, ISSUER)])],
            yaml: None,
            settings: Settings::default(),
            limits: Limits::default(),
            keychain: Keychain::anonymous(),
            lenient: false,
            panics: false,
            logs: Vec::new(),
            further_hosts: Vec::new(),
            timeout: "10s",
        }
    }

    /// A gate for an image of a registry that is not its own, over plain HTTP.
    pub async fn for_image(image: &str) -> Self {
        let mut gate = Self::new().await;
        let (host, _) = image.split_once('/').unwrap();
        gate.further_hosts.push(host.to_owned());
        gate
    }

    /// The image by its tag, as a pod names it.
    pub fn image(&self) -> String {
        format!("{}/{REPOSITORY}:v1", self.registry.host())
    }

    /// The image by its digest.
    pub fn pinned(&self) -> String {
        format!("{}/{REPOSITORY}@{}", self.registry.host(), self.digest)
    }

    /// Another image in the same repository, under the tag.
    pub fn put_image(&self, word: &str, tag: &str) -> Digest {
        let digest = self.registry.put_manifest(REPOSITORY, &image(word));
        self.registry.tag(REPOSITORY, tag, &digest);
        digest
    }

    /// Alice's signature in the making, with an entry in Rekor v1.
    pub fn alice(&self) -> Signing<'_> {
        self.signer(ALICE)
    }

    pub fn signer(&self, subject: &str) -> Signing<'_> {
        self.sigstore.keyless(subject, ISSUER).log(Log::RekorV1)
    }

    /// Attaches a signature to the image, as a bundle.
    pub fn attach(&self, signing: Signing<'_>) {
        self.push(&signing.bundle(Version::V03).sign(&self.digest).oci());
    }

    /// Attaches a signature to the image, in the classic format.
    pub fn attach_classic(&self, signing: Signing<'_>) {
        self.push(&signing.classic().sign(&self.digest).oci());
    }

    /// Puts a signature into the repository.
    pub fn push(&self, artifact: &OciArtifact) {
        for blob in &artifact.blobs {
            self.registry.put_blob(blob.clone());
        }
        self.push_manifest(artifact);
    }

    /// Puts a signature's manifest into the repository, and leaves its blobs out.
    pub fn push_manifest(&self, artifact: &OciArtifact) {
        let digest = self.registry.put_manifest_bytes(REPOSITORY, artifact.manifest.clone().into());
        if let Some(tag) = &artifact.tag {
            self.registry.tag(REPOSITORY, tag, &digest);
        }
    }

    /// Replaces the one policy by one with these authorities.
    pub fn demand(&mut self, authorities: &[Value]) {
        self.policies = vec![policy::cluster("signed", authorities)];
    }

    /// Asks whether a pod with the image may be created.
    pub async fn admit(&self) -> Answer {
        self.create(&review::pod(&[&self.image()])).await
    }

    /// Asks whether the object may be created.
    pub async fn create(&self, object: &Value) -> Answer {
        self.ask("validate", &review::create(object)).await
    }

    /// Asks `/validate` or `/mutate`.
    pub async fn ask(&self, endpoint: &str, review: &Value) -> Answer {
        self.ask_with(&self.router(), endpoint, review).await
    }

    /// Asks a router that may have answered before.
    pub async fn ask_with(&self, router: &axum::Router, endpoint: &str, review: &Value) -> Answer {
        let uid = review["request"]["uid"].clone();
        let (status, text) = self.send_to(router, endpoint, review.to_string()).await;
        assert_eq!(status, 200, "{text}");
        let answer: Value = serde_json::from_str(&text).unwrap();
        assert_eq!(answer["apiVersion"], "admission.k8s.io/v1", "{text}");
        assert_eq!(answer["kind"], "AdmissionReview", "{text}");
        assert_eq!(answer["response"]["uid"], uid, "{text}");
        Answer(answer["response"].clone())
    }

    /// Sends a body, and gives the HTTP status and the text of the answer.
    pub async fn send(&self, endpoint: &str, body: String) -> (u16, String) {
        self.send_to(&self.router(), endpoint, body).await
    }

    async fn send_to(&self, router: &axum::Router, endpoint: &str, body: String) -> (u16, String) {
        let request = HttpRequest::post(format!("/{endpoint}?timeout={}", self.timeout))
            .header("content-type", "application/json")
            .body(Body::from(body))
            .unwrap();
        let response = router.clone().oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    /// The router; each has a registry client of its own, and so no memory of earlier requests.
    pub fn router(&self) -> axum::Router {
        let pipeline = Pipeline { admission: self.admission(), panics: self.panics };
        let policies = watch::Sender::new(Arc::new(self.snapshot()));
        let (_, metrics) = metrics::registry();
        server::router(AppState::new(pipeline, policies.subscribe(), metrics, self.limits))
    }

    /// The pipeline, without memory of earlier requests.
    pub fn admission(&self) -> Admission<Registry, Rekor> {
        let mut allow_http = self.further_hosts.clone();
        allow_http.push(self.registry.host());
        let options = RegistryOptions { allow_http, ..RegistryOptions::default() };
        let log = Rekor::new(&options, self.logs.iter().cloned()).unwrap();
        let client = Registry::new(options, self.keychain.clone()).unwrap();
        Admission::new(client, self.settings).with_log(log)
    }

    /// The policies, compiled under the default trust root.
    pub fn snapshot(&self) -> PolicySnapshot {
        if self.policies.is_empty() && self.yaml.is_none() {
            return PolicySnapshot::default();
        }
        let folder = tempfile::tempdir().unwrap();
        for (index, policy) in self.policies.iter().enumerate() {
            let file = folder.path().join(format!("{index:02}.yaml"));
            std::fs::write(file, policy.to_string()).unwrap();
        }
        if let Some(yaml) = &self.yaml {
            std::fs::write(folder.path().join("policies.yaml"), yaml).unwrap();
        }
        let root = Arc::new(TrustRoot::from_json(&self.trusted_root).unwrap());
        let paths = [folder.path().to_owned()];
        let loaded = if self.lenient {
            files::load(&paths, &root)
        } else {
            files::load_strict(&paths, &root)
        };
        loaded.unwrap_or_else(|problem| panic!("{problem}")).snapshot
    }
}

/// An image manifest that differs by a word.
pub fn image(word: &str) -> Value {
    let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json",
        "digest": Digest::sha256_of(word.as_bytes()).to_string(), "size": 2 });
    json!({ "schemaVersion": 2, "config": config, "layers": [], "annotations": { "word": word } })
}

struct Pipeline {
    admission: Admission<Registry, Rekor>,
    panics: bool,
}

impl Admit for Pipeline {
    async fn admit(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
        deadline: Instant,
    ) -> Decision {
        assert!(!self.panics, "a defect, as the test asks for one");
        self.admission.admit(request, snapshot, now, deadline).await
    }

    fn admit_known(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
    ) -> Option<Decision> {
        assert!(!self.panics, "a defect, as the test asks for one");
        self.admission.admit_known(request, snapshot, now)
    }
}

/// The `response` of an answer.
#[derive(Clone, Debug)]
pub struct Answer(pub Value);

impl Answer {
    pub fn allowed(&self) -> bool {
        self.0["allowed"].as_bool().unwrap()
    }

    pub fn message(&self) -> &str {
        self.0["status"]["message"].as_str().unwrap_or_default()
    }

    pub fn warnings(&self) -> Vec<&str> {
        let warnings = self.0["warnings"].as_array().into_iter().flatten();
        warnings.map(|warning| warning.as_str().unwrap()).collect()
    }

    /// The reason codes for the audit log.
    pub fn reasons(&self) -> Vec<&str> {
        let reasons = self.0["auditAnnotations"]["reasons"].as_str().unwrap_or_default();
        reasons.split(',').filter(|reason| !reason.is_empty()).collect()
    }

    /// The short reports for the audit log, one an image.
    pub fn images(&self) -> Vec<Value> {
        let images = self.0["auditAnnotations"]["images"].as_str().unwrap_or("[]");
        serde_json::from_str(images).unwrap()
    }

    /// The operations of the patch; empty where there is none.
    pub fn patch(&self) -> Vec<Value> {
        let Some(patch) = self.0["patch"].as_str() else { return Vec::new() };
        assert_eq!(self.0["patchType"], "JSONPatch");
        serde_json::from_slice(&STANDARD.decode(patch).unwrap()).unwrap()
    }

    /// Asserts an admission for which nothing had to be overlooked.
    #[track_caller]
    pub fn assert_verified(&self) {
        assert!(self.allowed(), "{self:#?}");
        assert_eq!(self.reasons(), [] as [&str; 0], "{self:#?}");
        assert!(!self.images().is_empty(), "{self:#?}");
        assert!(self.images().iter().all(|image| image["verdict"] == "verified"), "{self:#?}");
    }

    /// Asserts a denial of the pipeline for this reason, at its step, with the status that says
    /// whether to try again.
    #[track_caller]
    pub fn assert_denied(&self, reason: Reason) {
        self.assert_status(reason);
        let message = self.message();
        assert!(message.contains(&format!(" at step {}: ", reason.step())), "{message}");
        assert!(message.contains(&format!("[{reason}]")), "wanted {reason}: {message}");
        assert!(message.contains(reason.advice()), "{message}");
    }

    /// Asserts status and reason of a denial, also of one that the server makes itself.
    #[track_caller]
    pub fn assert_status(&self, reason: Reason) {
        let message = self.message();
        assert!(!self.allowed(), "admitted, wanted {reason}: {self:#?}");
        assert!(self.reasons().contains(&reason.code()), "wanted {reason}: {self:#?}");
        let code = match reason.verdict() {
            Verdict::Rejected => 403,
            Verdict::Indeterminate => 503,
            Verdict::Verified => panic!("no reason means that"),
        };
        assert_eq!(self.0["status"]["code"], code, "{message}");
        assert_eq!(self.patch(), [] as [Value; 0]);
        assert!(!message.contains('\n'), "{message}");
    }
}
