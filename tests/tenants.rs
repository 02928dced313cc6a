//! The pipeline against people who may write policies of a namespace, move tags, or slow a
//! registry down: none of it changes what the other policies say.
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
use tegata::admission::Mutate;
use tegata::admission::Settings;
use tegata::admission::review;
use tegata::evidence::Candidate;
use tegata::evidence::Evidence;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence;
use tegata::evidence::OwnCredentials;
use tegata::evidence::Part;
use tegata::evidence::Tenant;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::image::Repository;
use tegata::policy::PolicySnapshot;
use tegata::policy::PolicyState;
use tegata::policy::compile;
use tegata::policy::compile::Keys;
use tegata::policy::compile::References;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Failure;
use tegata::verdict::Reason;

use self::virtual_sigstore::Algorithm;
use self::virtual_sigstore::Key;
use self::virtual_sigstore::VirtualSigstore;

#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

const IMAGE: &str = "registry.example/team/app:v1";

/// How far the slow repository overruns its deadline.
const OVERRUN: Duration = Duration::from_millis(300);

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

const CONFIG: &[u8] = br#"{"os":"linux","architecture":"amd64","config":{"Env":["TOKEN=secret"]}}"#;

fn manifest() -> Bytes {
    let config = Digest::sha256_of(CONFIG).to_string();
    let config = json!({"mediaType": "x/y", "digest": config, "size": CONFIG.len()});
    json!({"schemaVersion": 2, "config": config, "layers": []}).to_string().into()
}

fn digest() -> Digest {
    Digest::sha256_of(&manifest())
}

/// A registry of one image, whose signatures are what `candidates` says. The repository `slow`
/// answers only after the time is up.
struct Fake {
    candidates: Vec<Candidate>,
    resolved: Result<Digest, Failure>,
}

impl FetchEvidence for Fake {
    async fn resolve(&self, _: &ImageRef, _: Instant) -> Result<Digest, Failure> {
        self.resolved.clone()
    }

    async fn fetch(&self, query: &EvidenceQuery, deadline: Instant) -> Evidence {
        if query.repository.path() == "slow" {
            tokio::time::sleep_until((deadline + OVERRUN).into()).await;
        }
        let candidates = self.candidates.clone();
        Evidence { query: query.clone(), candidates, problems: Vec::new(), kept: None }
    }

    async fn read(&self, _: &Repository, part: &Part, _: Instant) -> Result<Bytes, Failure> {
        Ok(match part {
            Part::Config(_) => Bytes::from_static(CONFIG),
            Part::Manifest(_) => manifest(),
        })
    }

    /// The configuration is opened by Tegata's own credentials alone.
    async fn read_for(
        &self,
        _: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        if own == OwnCredentials::Withheld {
            return Err(Failure::new(Reason::RegistryUnauthorised, "not for tenants"));
        }
        self.read(repository, part, deadline).await
    }
}

/// A cluster with policies, a registry and a signer.
struct Cluster {
    key: Key,
    roots: References,
    policies: Vec<PolicyState>,
    fake: Fake,
}

impl Cluster {
    /// With an image that the cluster's key signed.
    fn signed() -> Self {
        let sigstore = VirtualSigstore::new(start());
        let key = Key::generate(Algorithm::P256);
        let signature = sigstore.keyed(&key).classic().sign(&digest()).candidate();
        let root = Arc::new(TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap());
        let fake = Fake { candidates: vec![signature], resolved: Ok(digest()) };
        let roots = References { default: root, named: BTreeMap::new(), keys: Keys::NoCluster };
        Self { key, roots, policies: Vec::new(), fake }
    }

    /// The same image without any signature.
    fn unsigned() -> Self {
        let mut cluster = Self::signed();
        cluster.fake.candidates.clear();
        cluster
    }

    fn signer(&self) -> Value {
        json!({"key": {"data": self.key.public_pem()}})
    }

    fn cluster_policy(mut self, name: &str, spec: Value) -> Self {
        let spec = serde_json::from_value(spec).unwrap();
        let policy = compile::compile_cluster_image_policy(name, &spec, &self.roots).unwrap();
        self.policies.push(PolicyState::Ready(Arc::new(policy)));
        self
    }

    fn tenant_policy(mut self, spec: Value) -> Self {
        let spec = serde_json::from_value(spec).unwrap();
        let policy = compile::compile_image_policy("team", "tenant", &spec, &self.roots).unwrap();
        self.policies.push(PolicyState::Ready(Arc::new(policy)));
        self
    }

    fn admit(self, time: Duration) -> Decision {
        self.admit_under(Settings::default(), time)
    }

    fn admit_under(self, settings: Settings, time: Duration) -> Decision {
        let review = pod("team", &[IMAGE.to_owned()]);
        let request = review::parse(review.to_string().as_bytes()).unwrap();
        let snapshot = PolicySnapshot::new(self.policies);
        let admission = Admission::new(self.fake, settings);
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        let now = start() + 24.hours();
        runtime.block_on(admission.admit(&request, &snapshot, now, Instant::now() + time))
    }
}

/// A review of a new pod with these images.
fn pod(namespace: &str, images: &[String]) -> Value {
    let container = |image: &String| json!({"name": "c", "image": image});
    let containers: Vec<Value> = images.iter().map(container).collect();
    json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "705ab4f5",
            "operation": "CREATE",
            "namespace": namespace,
            "kind": {"group": "", "version": "v1", "kind": "Pod"},
            "resource": {"group": "", "version": "v1", "resource": "pods"},
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "p"},
                "spec": {"containers": containers},
            },
        },
    })
}

fn policy(authority: Value, more: Value) -> Value {
    let mut spec = json!({"images": [{"glob": "**"}], "authorities": [authority]});
    let (Value::Object(spec_fields), Value::Object(more)) = (&mut spec, more) else {
        panic!("objects")
    };
    spec_fields.extend(more);
    spec
}

fn another_key() -> Value {
    json!({"key": {"data": Key::generate(Algorithm::P256).public_pem()}})
}

const LONG: Duration = Duration::from_secs(20);

#[test]
fn a_tag_that_a_policy_verified_is_pinned_whatever_a_lenient_policy_says() {
    for (mode, warnings) in [("audit", 0), ("warn", 1)] {
        let cluster = Cluster::signed();
        let signer = cluster.signer();
        let decision = cluster
            .cluster_policy("signed", policy(signer, json!({})))
            .tenant_policy(policy(another_key(), json!({"mode": mode})))
            .admit(LONG);
        assert!(decision.allowed, "{}", decision.message);
        assert_eq!(decision.warnings.len(), warnings);
        let pinned = decision.images[0].pinned.as_deref();
        assert_eq!(pinned, Some(format!("{IMAGE}@{}", digest()).as_str()), "{mode}");
    }
}

#[test]
fn a_tenants_rules_see_no_configuration_that_the_tenant_could_not_read() {
    let probe = json!({"policy": {"fetchConfigFile": true, "conditions": [
        {"cel": r#"input.config["linux/amd64"].config.Env[0].startsWith("TOKEN=s")"#},
    ]}});
    let of_cluster = Cluster::signed();
    let signer = of_cluster.signer();
    let decision = of_cluster.cluster_policy("asked", policy(signer, probe.clone())).admit(LONG);
    assert!(decision.allowed, "{}", decision.message);
    for signed in [true, false] {
        let of_tenant = Cluster::signed();
        let anyone = json!({"static": {"action": "pass"}});
        let signer = if signed { of_tenant.signer() } else { anyone };
        let decision = of_tenant.tenant_policy(policy(signer, probe.clone())).admit(LONG);
        let failure = decision.images[0].report.policies[0].failure.clone().unwrap();
        assert_eq!(failure.reason, Reason::RegistryUnauthorised, "{}", decision.message);
        assert!(!decision.allowed);
    }
}

#[test]
fn a_tag_that_no_policy_verified_is_left_alone() {
    let decision = Cluster::unsigned()
        .cluster_policy("audited", policy(another_key(), json!({"mode": "audit"})))
        .admit(LONG);
    assert!(decision.allowed, "{}", decision.message);
    assert_eq!(decision.images[0].pinned, None);
}

#[test]
fn a_slow_source_of_one_policy_leaves_the_others_their_time() {
    let slow = json!({"source": [{"oci": "registry.example/slow"}]});
    let mut tenant = another_key();
    tenant.as_object_mut().unwrap().extend(slow.as_object().unwrap().clone());
    let cluster = Cluster::signed();
    let decision = cluster
        .cluster_policy("signed", policy(another_key(), json!({"onUnavailable": "allow"})))
        .tenant_policy(policy(tenant, json!({"mode": "audit"})))
        .admit(Duration::from_millis(1500));
    let report = &decision.images[0].report;
    let failure = report.policies[0].failure.as_ref().unwrap();
    assert_eq!(failure.reason, Reason::SignatureInvalid, "{failure}");
    assert!(!decision.allowed);
}

#[test]
fn a_policy_for_a_digest_is_not_forgotten_when_a_tag_cannot_be_resolved() {
    let mut cluster = Cluster::unsigned();
    cluster.fake.resolved = Err(Failure::new(Reason::RegistryUnreachable, "no answer"));
    let signer = cluster.signer();
    let mut blocked = policy(json!({"static": {"action": "fail"}}), json!({}));
    blocked["images"] = json!([{"glob": format!("**@{}", digest())}]);
    let decision = cluster
        .cluster_policy("blocked", blocked)
        .cluster_policy("signed", policy(signer, json!({"onUnavailable": "allow"})))
        .admit(LONG);
    assert!(!decision.allowed, "a policy that may apply was not asked");
    let report = &decision.images[0].report;
    assert_eq!(report.policies.len(), 2);
    let failure = report.policies[0].failure.as_ref().unwrap();
    assert_eq!(failure.reason, Reason::RegistryUnreachable);
    assert!(decision.retry);
}

#[test]
fn signers_that_cannot_be_enough_are_a_final_answer() {
    // One signer stands under two authorities, and a third one's place fails: even if that held
    // another signer, there would be two of three.
    let mut cluster = Cluster::signed();
    let mut broken = cluster.fake.candidates[0].clone();
    broken.content = Err(Failure::new(Reason::RegistryUnreachable, "no answer"));
    cluster.fake.candidates.push(broken);
    let (one, two) = (cluster.signer(), cluster.signer());
    let mut spec = policy(one, json!({"onUnavailable": "allow", "threshold": 3}));
    spec["authorities"].as_array_mut().unwrap().extend([two, another_key()]);
    let decision = cluster.cluster_policy("signed", spec).admit(LONG);
    let failure = decision.images[0].report.policies[0].failure.as_ref().unwrap();
    assert_eq!(failure.reason, Reason::ThresholdUnmet, "{failure}");
    assert!(!decision.allowed);
}

#[test]
fn a_static_refusal_needs_no_registry() {
    let mut cluster = Cluster::unsigned();
    cluster.fake.resolved = Err(Failure::new(Reason::RegistryUnreachable, "no answer"));
    let allow = json!({"onUnavailable": "allow"});
    let refusal = policy(json!({"static": {"action": "fail"}}), allow.clone());
    let decision = cluster
        .cluster_policy("closed", refusal)
        .tenant_policy(policy(another_key(), allow))
        .admit(LONG);
    let failure = decision.images[0].report.policies[0].failure.as_ref().unwrap();
    assert_eq!(failure.reason, Reason::StaticFail, "{failure}");
    assert!(!decision.allowed && !decision.retry);
}

#[test]
fn a_defect_is_not_what_on_unavailable_is_for() {
    for (reason, allowed) in [(Reason::InternalError, false), (Reason::RegistryUnreachable, true)] {
        let mut cluster = Cluster::unsigned();
        cluster.fake.resolved = Err(Failure::new(reason, "no answer"));
        let allow = json!({"onUnavailable": "allow"});
        let decision = cluster.cluster_policy("signed", policy(another_key(), allow)).admit(LONG);
        assert_eq!(decision.allowed, allowed, "{reason}");
    }
}

#[test]
fn nothing_is_called_verified_by_its_tag_that_is_only_audited() {
    let settings = Settings { mutate: Mutate::Off, ..Settings::default() };
    let cluster = Cluster::signed();
    let signer = cluster.signer();
    let verified = cluster.cluster_policy("signed", policy(signer, json!({})));
    let warnings = verified.admit_under(settings, LONG).warnings;
    assert!(warnings[0].contains("was verified by its tag"), "{warnings:?}");
    let audited = Cluster::unsigned()
        .cluster_policy("audited", policy(another_key(), json!({"mode": "audit"})));
    let decision = audited.admit_under(settings, LONG);
    assert!(decision.allowed, "{}", decision.message);
    assert_eq!(decision.warnings, [] as [&str; 0]);
}

/// Requests that take all the checks there are, eight images each.
const FLOOD: usize = 16;

#[tokio::test(flavor = "multi_thread")]
async fn a_namespace_with_slow_registries_leaves_the_others_their_checks() {
    let cluster = Cluster::signed();
    let signer = cluster.signer();
    let Cluster { policies, fake, .. } =
        cluster.cluster_policy("signed", policy(signer, json!({})));
    let snapshot = Arc::new(PolicySnapshot::new(policies));
    let admission = Arc::new(Admission::new(fake, Settings::default()));
    let admit = |namespace: &str, images: Vec<String>, time: Duration| {
        let request = review::parse(pod(namespace, &images).to_string().as_bytes()).unwrap();
        let (admission, snapshot) = (Arc::clone(&admission), Arc::clone(&snapshot));
        let (now, deadline) = (start() + 24.hours(), Instant::now() + time);
        tokio::spawn(async move { admission.admit(&request, &snapshot, now, deadline).await })
    };
    let slow = |pod: usize| (0..8).map(move |c| format!("registry.example/slow:{pod}-{c}"));
    let flood: Vec<_> = (0..FLOOD).map(|pod| admit("team", slow(pod).collect(), LONG)).collect();
    tokio::time::sleep(Duration::from_millis(200)).await;
    let other = admit("other", vec![IMAGE.to_owned()], Duration::from_secs(10));
    let decision = tokio::time::timeout(Duration::from_secs(10), other).await;
    let decision = decision.expect("another namespace's check never began").unwrap();
    assert!(decision.allowed, "{}", decision.message);
    flood.iter().for_each(tokio::task::JoinHandle::abort);
}
