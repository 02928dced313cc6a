//! A registry that is told what it holds, and a cluster that wants a key's signature on every image,
//! with the store between them.
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Admission;
use tegata::admission::Decision;
use tegata::admission::Request;
use tegata::admission::Settings;
use tegata::admission::review;
use tegata::evidence::Candidate;
use tegata::evidence::Evidence;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence;
use tegata::evidence::OwnCredentials;
use tegata::evidence::Part;
use tegata::evidence::Place;
use tegata::evidence::Problem;
use tegata::evidence::Scope;
use tegata::evidence::Tenant;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::image::Repository;
use tegata::policy::PolicySnapshot;
use tegata::policy::PolicyState;
use tegata::policy::compile;
use tegata::policy::compile::Keys;
use tegata::policy::compile::References;
use tegata::store;
use tegata::store::Clock;
use tegata::store::Stored;
use tegata::store::Tiers;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Failure;
use tegata::verdict::Reason;

use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::VirtualSigstore;

pub(crate) const IMAGE: &str = "registry.example/team/app:v1";

pub(crate) fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

/// A registry that is told what it holds.
#[derive(Clone, Default)]
pub(crate) struct Fake(pub(crate) Arc<Mutex<Held>>);

#[derive(Default)]
pub(crate) struct Held {
    /// What is attached, by the name of the image.
    pub(crate) attached: Vec<(Digest, Candidate)>,
    pub(crate) tag: Option<Digest>,
    pub(crate) down: bool,
    /// How long it takes to say what is attached.
    pub(crate) takes: Duration,
    /// What comes in place of an answer where `down`; an outage otherwise.
    pub(crate) defect: Option<Failure>,
    /// How often it was asked for a scope.
    pub(crate) scopes: usize,
    pub(crate) fetches: usize,
}

impl FetchEvidence for Fake {
    async fn resolve(&self, image: &ImageRef, _: Instant) -> Result<Digest, Failure> {
        let held = self.0.lock().unwrap();
        match (image.digest(), held.down) {
            (Some(digest), _) => Ok(digest.clone()),
            (None, true) => Err(down()),
            (None, false) => Ok(held.tag.clone().unwrap()),
        }
    }

    async fn fetch(&self, query: &EvidenceQuery, _: Instant) -> Evidence {
        let takes = self.0.lock().unwrap().takes;
        tokio::time::sleep(takes).await;
        let mut held = self.0.lock().unwrap();
        held.fetches += 1;
        let attached = held.attached.iter().filter(|(digest, _)| *digest == query.digest);
        let candidates: Vec<_> = attached.map(|(_, candidate)| candidate.clone()).collect();
        let failure = held.defect.clone().unwrap_or_else(down);
        let problem = Problem { place: Place::Referrers, failure };
        let (candidates, problems) = match held.down {
            true => (Vec::new(), vec![problem]),
            false => (candidates, Vec::new()),
        };
        Evidence { query: query.clone(), candidates, problems, kept: None }
    }

    async fn read(&self, _: &Repository, _: &Part, _: Instant) -> Result<Bytes, Failure> {
        Err(down())
    }

    fn scope_now(&self, _: &Tenant, own: OwnCredentials, _: &Repository) -> Option<Scope> {
        self.0.lock().unwrap().scopes += 1;
        Some(Scope::Own(own))
    }
}

pub(crate) fn down() -> Failure {
    Failure::new(Reason::RegistryUnreachable, "the registry is down")
}

fn admission(fake: &Fake, tiers: Tiers) -> Admission<Stored<Fake>> {
    let settings = store::Settings { stale_tags: true, ..store::Settings::default() };
    let stored = Stored::new(fake.clone(), settings, tiers, Clock::starting_at(start()));
    Admission::new(stored, Settings::default())
}

/// A cluster that wants its key's signature on every image.
pub(crate) struct Cluster {
    sigstore: VirtualSigstore,
    pub(crate) key: Key,
    pub(crate) fake: Fake,
    pub(crate) admission: Admission<Stored<Fake>>,
    pub(crate) snapshot: PolicySnapshot,
}

impl Cluster {
    pub(crate) fn new() -> Self {
        Self::matching(json!([]))
    }

    /// With a policy for some kinds of workload.
    pub(crate) fn matching(workloads: Value) -> Self {
        let sigstore = VirtualSigstore::new(start());
        let key = Key::generate(Algorithm::P256);
        let root = Arc::new(TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap());
        let roots = References { default: root, named: [].into(), keys: Keys::NoCluster };
        let spec = json!({"images": [{"glob": "**"}], "match": workloads,
            "authorities": [{"key": {"data": key.public_pem()}}]});
        let spec = serde_json::from_value(spec).unwrap();
        let policy = compile::compile_cluster_image_policy("signed", &spec, &roots).unwrap();
        let snapshot = PolicySnapshot::new(vec![PolicyState::Ready(Arc::new(policy))]);
        let fake = Fake::default();
        let admission = admission(&fake, Tiers::default());
        Self { sigstore, key, fake, admission, snapshot }
    }

    /// The same cluster in a new process, with nothing in memory.
    pub(crate) fn restart(&mut self, tiers: Tiers) {
        self.admission = admission(&self.fake, tiers);
    }

    pub(crate) fn attach(&self, image: &Digest, key: &Key) {
        let candidate = self.sigstore.keyed(key).classic().sign(image).candidate();
        self.fake.0.lock().unwrap().attached.push((image.clone(), candidate));
    }

    pub(crate) fn set(&self, change: impl FnOnce(&mut Held)) {
        change(&mut self.fake.0.lock().unwrap());
    }

    pub(crate) fn fetches(&self) -> usize {
        self.fake.0.lock().unwrap().fetches
    }

    pub(crate) fn request(kind: &str, image: &str) -> Request {
        let (group, resource) = match kind {
            "Pod" => ("", "pods"),
            _ => ("apps", "deployments"),
        };
        let pod = json!({"containers": [{"name": "c", "image": image}]});
        let spec = match kind {
            "Pod" => pod,
            _ => json!({"template": {"spec": pod}}),
        };
        let version = if group.is_empty() { "v1".to_owned() } else { format!("{group}/v1") };
        let review = json!({
            "apiVersion": "admission.k8s.io/v1",
            "kind": "AdmissionReview",
            "request": {
                "uid": "705ab4f5",
                "operation": "CREATE",
                "namespace": "team",
                "kind": {"group": group, "version": "v1", "kind": kind},
                "resource": {"group": group, "version": "v1", "resource": resource},
                "object": {
                    "apiVersion": version,
                    "kind": kind,
                    "metadata": {"name": "p"},
                    "spec": spec,
                },
            },
        });
        review::parse(review.to_string().as_bytes()).unwrap()
    }

    pub(crate) async fn admit(&self, image: &str) -> Decision {
        self.admit_as("Pod", image).await
    }

    pub(crate) async fn admit_as(&self, kind: &str, image: &str) -> Decision {
        let request = Self::request(kind, image);
        self.admission.admit(&request, &self.snapshot, now(), soon()).await
    }
}

pub(crate) fn digest(name: &str) -> Digest {
    Digest::sha256_of(name.as_bytes())
}

pub(crate) fn by_digest(name: &str) -> String {
    format!("registry.example/team/app@{}", digest(name))
}

pub(crate) fn reason(decision: &Decision) -> Option<Reason> {
    decision.images[0].report.policies[0].failure.as_ref().map(|failure| failure.reason)
}

pub(crate) fn now() -> Timestamp {
    start() + 24.hours()
}

pub(crate) fn soon() -> Instant {
    (tokio::time::Instant::now() + Duration::from_secs(20)).into_std()
}
