//! Images for several platforms: which of their digests must be signed, and what their
//! configuration says.
use std::time::Duration;

use serde_json::Value;
use serde_json::json;
use tegata::image::Digest;
use tegata::image::contents::MAX_CONFIG_BYTES;
use tegata::image::contents::MAX_PLATFORMS;
use tegata::verdict::Reason;

use crate::fake_registry::Fault;
use crate::gate::ALICE;
use crate::gate::BOB;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::gate::REPOSITORY;
use crate::policy;
use crate::policy::keyless;
use crate::review;
use crate::virtual_sigstore::Version;

const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image for several architectures under the gate's tag.
struct Platforms {
    gate: Gate,
    index: Digest,
    manifests: Vec<Digest>,
}

impl Platforms {
    async fn new(architectures: &[&str], platforms: &str) -> Self {
        let mut gate = Gate::new().await;
        let policy = policy::cluster("signed", &[keyless(ALICE, ISSUER)]);
        gate.policies = vec![policy::with(policy, "platforms", platforms)];
        let user = |architecture: &str| json!({ "User": format!("{architecture}-user") });
        let manifests: Vec<Digest> =
            architectures.iter().map(|one| put_manifest(&gate, one, &user(one))).collect();
        let entries: Vec<Value> = manifests
            .iter()
            .zip(architectures)
            .map(|(digest, architecture)| entry(digest, "linux", architecture))
            .collect();
        let mut platforms = Self { gate, index: Digest::sha256_of(b""), manifests };
        platforms.put_index(&index(&entries));
        platforms
    }

    /// Puts an index under the tag.
    fn put_index(&mut self, index: &Value) {
        self.index = self.gate.registry.put_manifest(REPOSITORY, index);
        self.gate.registry.tag(REPOSITORY, "v1", &self.index);
    }

    /// Has somebody sign a digest.
    fn sign(&self, subject: &str, digest: &Digest) {
        let signing = self.gate.signer(subject).bundle(Version::V03);
        self.gate.push(&signing.sign(digest).oci());
    }

    fn sign_all(&self) {
        self.manifests.iter().for_each(|manifest| self.sign(ALICE, manifest));
    }

    /// Adds rules over the image's configuration.
    fn demand_of_config(&mut self, cel: &str) {
        let rules = json!({ "fetchConfigFile": true, "conditions": [{ "cel": cel }] });
        let policy = self.gate.policies.remove(0);
        self.gate.policies = vec![policy::with(policy, "policy", rules)];
    }
}

fn index(entries: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": entries })
}

fn entry(digest: &Digest, os: &str, architecture: &str) -> Value {
    json!({
        "mediaType": MANIFEST,
        "digest": digest.to_string(),
        "size": 2,
        "platform": { "os": os, "architecture": architecture },
    })
}

fn put_manifest(gate: &Gate, architecture: &str, execution: &Value) -> Digest {
    let config = json!({ "os": "linux", "architecture": architecture, "config": execution });
    let config = gate.registry.put_blob(config.to_string());
    let manifest = json!({
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "config": { "mediaType": "x/y", "digest": config.to_string(), "size": 2 },
        "layers": [],
    });
    gate.registry.put_manifest(REPOSITORY, &manifest)
}

#[tokio::test]
async fn an_index_speaks_for_its_manifests_unless_the_policy_says_otherwise() {
    let image = Platforms::new(&["amd64", "arm64"], "index").await;
    image.sign_all();
    image.gate.admit().await.assert_denied(Reason::SignatureAbsent);
    image.sign(ALICE, &image.index);
    image.gate.admit().await.assert_verified();
}

#[tokio::test]
async fn all_platforms_must_be_signed_where_the_policy_says_all() {
    let image = Platforms::new(&["amd64", "arm64"], "all").await;
    image.sign(ALICE, &image.index);
    image.gate.admit().await.assert_denied(Reason::SignatureAbsent);
    image.sign(ALICE, &image.manifests[0]);
    let answer = image.gate.admit().await;
    answer.assert_denied(Reason::SignatureAbsent);
    let wanted = format!("linux/arm64 ({}", &image.manifests[1].to_string()[..19]);
    assert!(answer.message().contains(&wanted), "{}", answer.message());
    image.sign(BOB, &image.manifests[1]);
    image.gate.admit().await.assert_denied(Reason::SubjectMismatch);
    image.sign(ALICE, &image.manifests[1]);
    image.gate.admit().await.assert_verified();
}

#[tokio::test]
async fn what_is_pinned_is_the_index() {
    let image = Platforms::new(&["amd64", "arm64"], "all").await;
    image.sign_all();
    let review = review::create(&review::pod(&[&image.gate.image()]));
    let answer = image.gate.ask("mutate", &review).await;
    let pinned = format!("{}@{}", image.gate.image(), image.index);
    assert_eq!(answer.patch().last().unwrap()["value"], json!(pinned));
}

#[tokio::test]
async fn one_platform_is_enough_where_the_policy_says_any() {
    let none = Platforms::new(&["amd64", "arm64"], "any").await;
    none.sign(BOB, &none.manifests[1]);
    none.gate.admit().await.assert_denied(Reason::SignatureAbsent);
    none.sign(ALICE, &none.manifests[1]);
    none.gate.admit().await.assert_verified();
    let whole = Platforms::new(&["amd64", "arm64"], "any").await;
    whole.sign(ALICE, &whole.index);
    whole.gate.admit().await.assert_verified();
}

#[tokio::test]
async fn a_single_manifest_is_judged_alike_whatever_the_policy_says() {
    for platforms in ["index", "all", "any"] {
        let mut gate = Gate::new().await;
        let policy = policy::cluster("signed", &[keyless(ALICE, ISSUER)]);
        gate.policies = vec![policy::with(policy, "platforms", platforms)];
        gate.admit().await.assert_denied(Reason::SignatureAbsent);
        gate.attach(gate.alice());
        gate.admit().await.assert_verified();
    }
}

#[tokio::test]
async fn attestations_of_a_builder_need_no_signature() {
    let mut image = Platforms::new(&["amd64"], "all").await;
    let attestation = put_manifest(&image.gate, "unknown", &json!({}));
    let entries =
        [entry(&image.manifests[0], "linux", "amd64"), entry(&attestation, "unknown", "unknown")];
    image.put_index(&index(&entries));
    image.sign_all();
    image.gate.admit().await.assert_verified();
    // What only looks like one is a manifest that nodes would run.
    let entries =
        [entry(&image.manifests[0], "linux", "amd64"), entry(&attestation, "linux", "unknown")];
    image.put_index(&index(&entries));
    image.gate.admit().await.assert_denied(Reason::SignatureAbsent);
}

#[tokio::test]
async fn rejects_an_index_that_nodes_would_read_differently() {
    for hide in [
        |entry: &mut Value, evil: &str| entry["Digest"] = json!(evil),
        |entry: &mut Value, evil: &str| entry["dige\u{17f}t"] = json!(evil),
    ] {
        let mut image = Platforms::new(&["amd64"], "all").await;
        image.sign_all();
        image.gate.admit().await.assert_verified();
        let evil = put_manifest(&image.gate, "amd64", &json!({ "User": "root" })).to_string();
        let mut entry = entry(&image.manifests[0], "linux", "amd64");
        hide(&mut entry, &evil);
        image.put_index(&index(&[entry]));
        image.gate.admit().await.assert_denied(Reason::ImageUnreadable);
    }
}

#[tokio::test]
async fn rejects_an_unsigned_manifest_that_passes_itself_off_as_an_attestation() {
    let mut image = Platforms::new(&["amd64"], "all").await;
    let evil = put_manifest(&image.gate, "amd64", &json!({ "User": "root" }));
    let mut hidden = entry(&evil, "unknown", "unknown");
    hidden["platform"]["OS"] = json!("linux");
    hidden["platform"]["Architecture"] = json!("amd64");
    let entries = [entry(&image.manifests[0], "linux", "amd64"), hidden];
    image.put_index(&index(&entries));
    image.sign_all();
    image.gate.admit().await.assert_denied(Reason::ImageUnreadable);
}

#[tokio::test]
async fn rejects_an_index_of_nothing_of_indexes_and_of_too_much() {
    let mut image = Platforms::new(&["amd64"], "all").await;
    let mut nested = entry(&image.index, "linux", "amd64");
    nested["mediaType"] = json!(INDEX);
    let many = |count: usize| -> Vec<Value> {
        let digest = |word: usize| Digest::sha256_of(word.to_string().as_bytes());
        (0..count).map(|number| entry(&digest(number), "linux", "amd64")).collect()
    };
    for entries in [vec![], vec![nested], many(MAX_PLATFORMS + 1)] {
        image.put_index(&index(&entries));
        image.gate.admit().await.assert_denied(Reason::ImageUnreadable);
    }
    image.put_index(&index(&many(MAX_PLATFORMS)));
    image.gate.admit().await.assert_denied(Reason::SignatureAbsent);
}

#[tokio::test]
async fn an_index_that_cannot_be_read_again_leaves_it_undecided() {
    let image = Platforms::new(&["amd64"], "all").await;
    image.sign_all();
    let broken = Fault::Status { status: 500, times: usize::MAX, retry_after: None };
    let path = format!("manifests/{}", image.index);
    image.gate.registry.fault(&path, broken);
    image.gate.admit().await.assert_denied(Reason::RegistryUnreachable);
}

#[tokio::test]
async fn judges_what_the_configuration_of_every_platform_says() {
    let mut image = Platforms::new(&["amd64", "arm64"], "index").await;
    image.sign(ALICE, &image.index);
    image.demand_of_config(r#"input.config.all(p, input.config[p].config.User.endsWith("-user"))"#);
    image.gate.admit().await.assert_verified();
    image.demand_of_config(r#"input.config["linux/arm64"].config.User == "arm64-user""#);
    image.gate.admit().await.assert_verified();
    image.demand_of_config(r#"input.config.all(p, input.config[p].config.User == "amd64-user")"#);
    image.gate.admit().await.assert_denied(Reason::ConditionUnmet);
    // A platform, or a field, that is not there makes the rule fail.
    image.demand_of_config(r#"input.config["linux/s390x"].config.User == "x""#);
    image.gate.admit().await.assert_denied(Reason::ConditionError);
    image.demand_of_config(r#"input.config["linux/arm64"].config.Labels["a"] == "b""#);
    image.gate.admit().await.assert_denied(Reason::ConditionError);
}

#[tokio::test]
async fn each_platform_is_asked_for_its_own_configuration() {
    let mut image = Platforms::new(&["amd64", "arm64"], "all").await;
    image.sign_all();
    image.demand_of_config("size(input.config) == 1");
    image.gate.admit().await.assert_verified();
    image.demand_of_config(r#""linux/amd64" in input.config"#);
    let answer = image.gate.admit().await;
    answer.assert_denied(Reason::ConditionUnmet);
    assert!(answer.message().contains("linux/arm64"), "{}", answer.message());
}

#[tokio::test]
async fn rejects_a_configuration_that_is_not_that_of_its_digest_or_could_be_read_differently() {
    let mut image = Platforms::new(&["amd64"], "index").await;
    image.demand_of_config("true");
    let lower = put_manifest(&image.gate, "amd64", &json!({ "User": "1000", "user": "0" }));
    image.put_index(&index(&[entry(&lower, "linux", "amd64")]));
    image.sign(ALICE, &image.index);
    image.gate.admit().await.assert_denied(Reason::ImageUnreadable);
    // Two configurations for one platform: a rule would see one of them only.
    let other = put_manifest(&image.gate, "amd64", &json!({ "User": "0" }));
    let entries = [entry(&image.manifests[0], "linux", "amd64"), entry(&other, "linux", "amd64")];
    image.put_index(&index(&entries));
    image.sign(ALICE, &image.index);
    image.gate.admit().await.assert_denied(Reason::ImageUnreadable);
}

#[tokio::test]
async fn the_configuration_of_a_single_manifest_is_read_once_for_several_policies() {
    let mut gate = Gate::new().await;
    let digest = put_manifest(&gate, "amd64", &json!({ "User": "65532" }));
    gate.registry.tag(REPOSITORY, "v1", &digest);
    let rules = json!({
        "fetchConfigFile": true,
        "type": "rego",
        "data": "package sigstore\nisCompliant { input.config[\"linux/amd64\"].config.User == \"65532\" }",
    });
    let policy = |name: &str| {
        let policy = policy::cluster(name, &[keyless(ALICE, ISSUER)]);
        policy::with(policy, "policy", rules.clone())
    };
    gate.policies = vec![policy("one"), policy("two")];
    let signing = gate.alice().bundle(Version::V03);
    gate.push(&signing.sign(&digest).oci());
    gate.admit().await.assert_verified();
    assert_eq!(gate.registry.count("/blobs/"), 2, "the configuration and the bundle");
}

#[tokio::test]
async fn bounds_the_configurations_of_an_image_from_both_sides() {
    let architectures = ["a", "b", "c", "d", "e"];
    let mut image = Platforms::new(&architectures, "index").await;
    image.demand_of_config("size(input.config) == 5");
    let empty = json!({ "os": "linux", "architecture": "a", "config": { "User": "" } });
    let most = MAX_CONFIG_BYTES / architectures.len();
    let user = "x".repeat(most - empty.to_string().len());
    for (surplus, denied) in [("", None), ("xxxxx", Some(Reason::ImageUnreadable))] {
        let entries = architectures.map(|architecture| {
            let user = json!({ "User": format!("{user}{surplus}") });
            entry(&put_manifest(&image.gate, architecture, &user), "linux", architecture)
        });
        image.put_index(&index(&entries));
        image.sign(ALICE, &image.index);
        let answer = image.gate.admit().await;
        match denied {
            None => answer.assert_verified(),
            Some(reason) => answer.assert_denied(reason),
        }
    }
}

#[tokio::test]
async fn a_static_authority_needs_neither_signatures_nor_platforms() {
    let mut image = Platforms::new(&["amd64"], "all").await;
    let policy = policy::cluster("fixed", &[json!({ "static": { "action": "pass" } })]);
    image.gate.policies = vec![policy::with(policy.clone(), "platforms", "all")];
    image.gate.admit().await.assert_verified();
    assert_eq!(image.gate.registry.log().len(), 0);
    // A rule over the configuration is asked all the same.
    image.gate.policies = vec![policy];
    image.demand_of_config(r#"input.config["linux/amd64"].config.User == "amd64-user""#);
    image.gate.admit().await.assert_verified();
    image.demand_of_config(r#"input.config["linux/amd64"].config.User == "other""#);
    image.gate.admit().await.assert_denied(Reason::ConditionUnmet);
}

/// Whoever may push an image must not turn "unsigned" into "undecided", which some policies admit.
impl Platforms {
    fn admitting_the_undecided(mut self) -> Self {
        let policy = self.gate.policies.remove(0);
        self.gate.policies = vec![policy::with(policy, "onUnavailable", "allow")];
        self
    }

    /// Attaches what looks like a signature.
    fn attach_junk(&self, number: usize, size: usize) {
        const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
        let registry = &self.gate.registry;
        let blob = registry.put_blob(format!("{number} {}", "x".repeat(size)));
        let config = registry.put_blob("{}");
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": BUNDLE,
            "config": { "mediaType": "x/y", "digest": config.to_string(), "size": 2 },
            "layers": [{ "mediaType": BUNDLE, "digest": blob.to_string(), "size": size }],
            "subject": { "mediaType": INDEX, "digest": self.index.to_string(), "size": 2 },
        });
        registry.put_manifest(REPOSITORY, &manifest);
    }
}

#[tokio::test]
async fn large_configurations_beside_large_evidence_leave_nothing_undecided() {
    let mut image = Platforms::new(&["a"], "index").await.admitting_the_undecided();
    image.demand_of_config("true");
    let user = "x".repeat((1 << 20) - 100);
    let entries = ["a", "b", "c", "d"].map(|architecture| {
        let user = json!({ "User": user });
        entry(&put_manifest(&image.gate, architecture, &user), "linux", architecture)
    });
    image.put_index(&index(&entries));
    (0..7).for_each(|number| image.attach_junk(number, (1 << 20) - 16));
    (7..127).for_each(|number| image.attach_junk(number, 7_300));
    image.gate.admit().await.assert_denied(Reason::EvidenceMalformed);
}

#[tokio::test]
async fn configurations_are_read_once_signatures_are_verified() {
    let names: Vec<String> = (0..MAX_PLATFORMS).map(|number| format!("a{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let mut image = Platforms::new(&names, "index").await.admitting_the_undecided();
    image.demand_of_config("true");
    let broken = Fault::Status { status: 500, times: usize::MAX, retry_after: None };
    for manifest in &image.manifests {
        image.gate.registry.fault(&format!("manifests/{manifest}"), broken.clone());
    }
    image.gate.admit().await.assert_denied(Reason::SignatureAbsent);
    image.sign(ALICE, &image.index);
    let answer = image.gate.admit().await;
    assert_eq!(answer.reasons(), [Reason::RegistryUnreachable.code()], "{answer:#?}");
}

#[tokio::test]
async fn an_unsigned_platform_behind_many_signed_ones_is_not_left_undecided() {
    let names: Vec<String> = (0..MAX_PLATFORMS).map(|number| format!("a{number}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for lenient in [true, false] {
        let mut image = Platforms::new(&names, "all").await;
        if lenient {
            image = image.admitting_the_undecided();
        }
        image.gate.timeout = "3s";
        let (_, signed) = image.manifests.split_last().unwrap();
        signed.iter().for_each(|manifest| image.sign(ALICE, manifest));
        let pause = Duration::from_millis(200);
        image.gate.registry.fault("/referrers/", Fault::Late(pause));
        let answer = image.gate.admit().await;
        // Where nothing undecided is admitted, it is worth a retry.
        let reason = if lenient { Reason::EvidenceTooLarge } else { Reason::DeadlineExceeded };
        answer.assert_denied(reason);
    }
}

#[tokio::test]
async fn large_manifests_of_platforms_leave_nothing_undecided() {
    let mut image = Platforms::new(&["a"], "index").await;
    let fixed = policy::cluster("fixed", &[json!({ "static": { "action": "pass" } })]);
    image.gate.policies = vec![policy::with(fixed, "onUnavailable", "allow")];
    image.demand_of_config("false");
    let entries: Vec<Value> = (0..8)
        .map(|number: u8| {
            let config = image.gate.registry.put_blob(format!("{{\"os\":\"{number}\"}}"));
            let manifest = json!({
                "schemaVersion": 2,
                "config": { "mediaType": "x/y", "digest": config.to_string(), "size": 2 },
                "layers": [],
                "annotations": { "much": "x".repeat(4_000_000) },
            });
            let digest = image.gate.registry.put_manifest(REPOSITORY, &manifest);
            entry(&digest, "linux", &number.to_string())
        })
        .collect();
    image.put_index(&index(&entries));
    let answer = image.gate.admit().await;
    answer.assert_denied(Reason::ImageUnreadable);
    // They are not read to their end.
    assert!(answer.message().contains("exceeds 524288 bytes"), "{}", answer.message());
}
