//! Log entries looked up in Rekor: signatures whose entry only the log has, through the whole
//! pipeline and the real client, against a log that is honest, forged or misbehaving.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Admission;
use tegata::admission::Decision;
use tegata::admission::Settings;
use tegata::admission::review;
use tegata::evidence::Candidate;
use tegata::evidence::Evidence;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence;
use tegata::evidence::Part;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::image::Repository;
use tegata::policy::PolicySnapshot;
use tegata::policy::PolicyState;
use tegata::policy::compile;
use tegata::policy::compile::Keys;
use tegata::policy::compile::References;
use tegata::registry::RegistryOptions;
use tegata::rekor::Rekor;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Failure;
use tegata::verdict::Reason;
use tegata::verdict::StepOutcome;

use self::fake_rekor::FakeRekor;
use self::virtual_sigstore::Algorithm;
use self::virtual_sigstore::ClassicSignature;
use self::virtual_sigstore::Key;
use self::virtual_sigstore::Log;
use self::virtual_sigstore::SignedBundle;
use self::virtual_sigstore::Signing;
use self::virtual_sigstore::Version;
use self::virtual_sigstore::VirtualSigstore;

#[path = "support/collection.rs"]
mod collection;
#[path = "rekor/command.rs"]
mod command;
#[path = "support/fake_rekor.rs"]
mod fake_rekor;
#[path = "rekor/forged.rs"]
mod forged;
#[path = "rekor/misbehaving.rs"]
mod misbehaving;
#[path = "rekor/samples.rs"]
mod samples;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

const ALICE: &str = "alice@example.com";
const ISSUER: &str = "https://issuer.example";

/// Long enough for a machine that is busy with other things.
const LONG: Duration = Duration::from_secs(20);

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn manifest() -> &'static [u8] {
    b"an image manifest"
}

fn digest() -> Digest {
    Digest::sha256_of(manifest())
}

/// A registry of one image with these signatures.
struct Fake(Vec<Candidate>);

impl FetchEvidence for Fake {
    async fn resolve(&self, _: &ImageRef, _: Instant) -> Result<Digest, Failure> {
        Ok(digest())
    }

    async fn fetch(&self, query: &EvidenceQuery, _: Instant) -> Evidence {
        let candidates = self.0.clone();
        Evidence { query: query.clone(), candidates, problems: Vec::new(), kept: None }
    }

    async fn read(&self, _: &Repository, _: &Part, _: Instant) -> Result<Bytes, Failure> {
        Err(Failure::new(Reason::ImageNotFound, "there are signatures alone"))
    }
}

/// A cluster, its log, and the signatures of its one image.
struct Cluster {
    sigstore: VirtualSigstore,
    log: FakeRekor,
    client: Rekor,
    candidates: Vec<Candidate>,
    /// Whether the policy is a tenant's.
    tenant: bool,
    /// Further fields of `ctlog`.
    ctlog: Value,
    spec: Value,
}

impl Cluster {
    async fn new() -> Self {
        let log = FakeRekor::start().await;
        let client = Rekor::new(&RegistryOptions::default(), [log.url()]).unwrap();
        Self {
            sigstore: VirtualSigstore::new(start()),
            log,
            client,
            candidates: Vec::new(),
            tenant: false,
            ctlog: json!({}),
            spec: json!({}),
        }
    }

    /// Alice's signature in the making, with an entry in Rekor v1.
    fn alice(&self) -> Signing<'_> {
        self.sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1)
    }

    /// Attaches a classic signature without its entry, which the log has.
    fn attach_classic(&mut self, signed: ClassicSignature) {
        for entry in &signed.entries {
            self.log.put(&Digest::sha256_of(&signed.payload), entry);
        }
        self.candidates.push(signed.unlogged().candidate());
    }

    /// Attaches a bundle without its entry, which the log has.
    fn attach_bundle(&mut self, signed: SignedBundle) {
        for entry in &signed.entries {
            self.log.put(&hash(&signed), entry);
        }
        self.candidates.push(signed.unlogged().candidate());
    }

    async fn admit_alice(&self) -> Answer {
        let identity = json!({ "issuer": ISSUER, "subject": ALICE });
        self.admit(json!({ "keyless": { "identities": [identity] } }), LONG).await
    }

    async fn admit_key(&self, key: &Key) -> Answer {
        self.admit(json!({ "key": { "data": key.public_pem() } }), LONG).await
    }

    /// Asks for a pod with the image under one policy with this authority and the log.
    async fn admit(&self, mut authority: Value, time: Duration) -> Answer {
        let mut ctlog = json!({ "url": self.log.url().to_string() });
        merge(&mut ctlog, &self.ctlog);
        merge(&mut authority, &json!({ "ctlog": ctlog }));
        let mut spec = json!({ "images": [{ "glob": "**" }], "authorities": [authority] });
        merge(&mut spec, &self.spec);
        let snapshot = PolicySnapshot::new(vec![PolicyState::Ready(Arc::new(self.compile(spec)))]);
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5",
                "operation": "CREATE",
                "namespace": "team",
                "kind": { "group": "", "version": "v1", "kind": "Pod" },
                "resource": { "group": "", "version": "v1", "resource": "pods" },
                "object": {
                    "apiVersion": "v1",
                    "kind": "Pod",
                    "metadata": { "name": "p" },
                    "spec": { "containers": [{ "name": "c", "image": "registry.example/app:v1" }] },
                },
            },
        });
        let request = review::parse(review.to_string().as_bytes()).unwrap();
        let admission = Admission::new(Fake(self.candidates.clone()), Settings::default());
        let admission = admission.with_log(self.client.clone());
        let now = start() + 24.hours();
        Answer(admission.admit(&request, &snapshot, now, Instant::now() + time).await)
    }

    fn compile(&self, spec: Value) -> tegata::policy::Policy {
        let root = TrustRoot::from_json(&self.sigstore.trusted_root_json()).unwrap();
        let default = Arc::new(root);
        let roots = References { default, named: BTreeMap::new(), keys: Keys::NoCluster };
        if self.tenant {
            let spec = serde_json::from_value(spec).unwrap();
            compile::compile_image_policy("team", "p", &spec, &roots).unwrap()
        } else {
            let spec = serde_json::from_value(spec).unwrap();
            compile::compile_cluster_image_policy("p", &spec, &roots).unwrap()
        }
    }
}

fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().unwrap() {
        into[name] = value.clone();
    }
}

/// SHA-256 of what the log lists a bundle's entry under.
fn hash(signed: &SignedBundle) -> Digest {
    use base64::Engine as _;
    use base64::engine::general_purpose::STANDARD;
    match signed.bundle.pointer("/dsseEnvelope/payload").and_then(Value::as_str) {
        Some(payload) => Digest::sha256_of(&STANDARD.decode(payload).unwrap()),
        None => signed.image.clone(),
    }
}

struct Answer(Decision);

impl Answer {
    /// Asserts an admission for an entry that was looked up.
    #[track_caller]
    fn assert_verified(&self) {
        assert!(self.0.allowed, "{}", self.0.message);
        let authority = &self.0.images[0].report.policies[0].authorities[0];
        let looked_up = |step: &tegata::verdict::StepReport| {
            step.outcome == StepOutcome::Passed && step.found == "found in the log"
        };
        let signatures = authority.signatures.iter();
        assert!(signatures.flat_map(|one| &one.steps).any(looked_up), "{authority:#?}");
    }

    /// Asserts a denial for this reason, at its step, and whether a retry is worth it.
    #[track_caller]
    fn assert_denied(&self, reason: Reason) -> &Failure {
        assert!(!self.0.allowed, "admitted, wanted {reason}");
        let policy = &self.0.images[0].report.policies[0];
        let failure = policy.failure.as_ref().unwrap();
        assert_eq!(failure.reason, reason, "{policy:#?}");
        assert_eq!(policy.verdict, reason.verdict());
        let step = format!(" at step {}: ", reason.step());
        assert!(self.0.message.contains(&step), "{}", self.0.message);
        assert_eq!(self.0.retry, reason.verdict() == tegata::verdict::Verdict::Indeterminate);
        failure
    }
}

#[tokio::test]
async fn admits_what_only_the_log_can_prove() {
    let key = Key::generate(Algorithm::P256);
    for keyed in [false, true] {
        for version in [None, Some(Version::V01), Some(Version::V02), Some(Version::V03)] {
            let mut cluster = Cluster::new().await;
            let signing = match keyed {
                true => cluster.sigstore.keyed(&key).log(Log::RekorV1),
                false => cluster.alice(),
            };
            match version {
                None => {
                    let signed = signing.classic().sign(&digest());
                    cluster.attach_classic(signed);
                }
                Some(version) => {
                    let signed = signing.bundle(version).sign(&digest());
                    cluster.attach_bundle(signed);
                }
            }
            let admit = async |cluster: &Cluster| match keyed {
                true => cluster.admit_key(&key).await,
                false => cluster.admit_alice().await,
            };
            admit(&cluster).await.assert_verified();
            assert_eq!(cluster.log.count("publicKey"), 0, "no key is asked for");
            // The same without the log's word: nothing counts but what is attached.
            let Cluster { log, client, .. } = Cluster::new().await;
            cluster = Cluster { log, client, ..cluster };
            admit(&cluster).await.assert_denied(Reason::LogEntryAbsent);
        }
    }
}

#[tokio::test]
async fn admits_other_kinds_of_signature_and_of_entry() {
    let mut cluster = Cluster::new().await;
    let signed = cluster.alice().bundle(Version::V03).sign_message(manifest());
    cluster.attach_bundle(signed);
    cluster.admit_alice().await.assert_verified();

    let mut cluster = Cluster::new().await;
    let alice = cluster.sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1Intoto);
    let signed = alice.bundle(Version::V03).sign(&digest());
    cluster.attach_bundle(signed);
    cluster.admit_alice().await.assert_verified();
}

#[tokio::test]
async fn takes_the_certificate_of_a_classic_signature_from_the_entry() {
    let mut cluster = Cluster::new().await;
    let mut signed = cluster.alice().classic().sign(&digest());
    signed.annotations.remove(tegata::evidence::annotation::CERTIFICATE);
    signed.annotations.remove(tegata::evidence::annotation::CHAIN);
    cluster.attach_classic(signed);
    cluster.admit_alice().await.assert_verified();
}

#[tokio::test]
async fn a_proof_that_the_log_gives_meets_the_demand_for_one() {
    let mut cluster = Cluster::new().await;
    cluster.ctlog = json!({ "inclusionProof": "required" });
    let signed = cluster.alice().classic().sign(&digest());
    cluster.attach_classic(signed);
    cluster.admit_alice().await.assert_verified();
}

#[tokio::test]
async fn finds_the_entry_among_those_of_others() {
    let mut cluster = Cluster::new().await;
    let signed: Vec<_> = (0..25).map(|_| cluster.alice().classic().sign(&digest())).collect();
    let payload = Digest::sha256_of(&signed[0].payload);
    for other in &signed {
        cluster.log.put(&payload, &other.entries[0]);
    }
    cluster.candidates = vec![signed[13].clone().unlogged().candidate()];
    cluster.admit_alice().await.assert_verified();
    assert_eq!(cluster.log.count("entries/retrieve"), 3, "ten at a time");
}

#[tokio::test]
async fn remembers_what_it_found_and_asks_nobody_where_nothing_is_lacking() {
    let mut cluster = Cluster::new().await;
    let signed = cluster.alice().classic().sign(&digest());
    cluster.attach_classic(signed);
    for _ in 0..3 {
        cluster.admit_alice().await.assert_verified();
    }
    assert_eq!(cluster.log.count(""), 2, "one search, one fetch");

    let attached = Cluster::new().await;
    let signed = attached.alice().classic().sign(&digest());
    let attached = Cluster { candidates: vec![signed.candidate()], ..attached };
    assert!(attached.admit_alice().await.0.allowed);
    assert_eq!(attached.log.count(""), 0);
}

#[tokio::test]
async fn asks_at_once_for_one_question_only_once() {
    let mut cluster = Cluster::new().await;
    let signed = cluster.alice().classic().sign(&digest());
    cluster.attach_classic(signed);
    let asked = futures::future::join_all((0..8).map(|_| cluster.admit_alice())).await;
    asked.iter().for_each(Answer::assert_verified);
    assert_eq!(cluster.log.count(""), 2);
}

#[tokio::test]
async fn a_tenants_log_must_be_public_or_allowed() {
    let mut cluster = Cluster::new().await;
    cluster.tenant = true;
    let signed = cluster.alice().classic().sign(&digest());
    cluster.attach_classic(signed);
    cluster.admit_alice().await.assert_verified();

    cluster.client = Rekor::new(&RegistryOptions::default(), []).unwrap();
    let asked = cluster.log.count("");
    cluster.admit_alice().await.assert_denied(Reason::LogAddressForbidden);
    // Nor is an administrator's asked without TLS, unless it is listed.
    cluster.tenant = false;
    cluster.admit_alice().await.assert_denied(Reason::LogAddressForbidden);
    assert_eq!(cluster.log.count(""), asked);
}
