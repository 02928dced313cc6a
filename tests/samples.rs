//! Images that real cosign signed: every one, under the right signer and under wrong ones, as a
//! layout, from a registry with the referrers API, and from registries without it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support"
)]
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use tegata::admission::Admission;
use tegata::admission::Settings;
use tegata::admission::check::Asked;
use tegata::admission::check::Tags;
use tegata::admission::known::Limits;
use tegata::evidence::FetchEvidence;
use tegata::evidence::Tenant;
use tegata::files;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::policy::PolicySnapshot;
use tegata::policy::Workload;
use tegata::registry::Keychain;
use tegata::registry::Layout;
use tegata::registry::Registry;
use tegata::registry::RegistryOptions;
use tegata::trust_root::TrustRoot;
use tegata::verdict::ImageReport;
use tegata::verdict::Step;
use tegata::verdict::StepOutcome;
use tegata::verdict::StepReport;
use tegata::verdict::Verdict;

use self::fake_registry::FakeRegistry;
use self::wanted::CUSTOM;
use self::wanted::SLSA_0_2;
use self::wanted::SLSA_1;
use self::wanted::VERIFIED;
use self::wanted::VULN;
use self::wanted::WANTED;

#[path = "support/collection.rs"]
mod collection;
#[path = "support/fake_registry.rs"]
mod fake_registry;
#[path = "samples/wanted.rs"]
mod wanted;

struct Samples {
    folder: PathBuf,
    policies: BTreeMap<&'static str, PolicySnapshot>,
}

impl Samples {
    fn open() -> Option<Self> {
        let folder = collection::folder("TEGATA_SAMPLES", "the signed samples are not verified")?;
        let policies = policies(&folder);
        Some(Self { folder, policies })
    }

    fn layout(&self, name: &str) -> PathBuf {
        self.folder.join("oci").join(name)
    }

    fn names(&self) -> BTreeSet<String> {
        let entries = std::fs::read_dir(self.folder.join("oci")).unwrap();
        entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }
}

/// One policy a signer, each in a file of its own, as users write them.
fn policies(samples: &Path) -> BTreeMap<&'static str, PolicySnapshot> {
    let key = |name: &str| std::fs::read_to_string(samples.join("keys").join(name)).unwrap();
    let keyed = |name: &str| json!({ "key": { "data": key(name) } });
    let issuer = |name: &str| format!("http://127.0.0.1:5556/{name}");
    let root = json!("samples");
    let identity = |subject: &str, name: &str| {
        let identities = json!([{ "issuer": issuer(name), "subject": subject }]);
        json!({ "keyless": { "identities": identities, "trustRootRef": root } })
    };
    let with = |mut authority: Value, field: &str, value: Value| {
        authority[field] = value;
        authority
    };
    let gha = "https://github.com/acme/app/.github/workflows/release.yml@refs/heads/main";
    let workflow = |repository: &str| {
        let mut authority = identity(gha, "gha");
        authority["keyless"]["identities"][0]["claims"] =
            json!({ "sourceRepositoryURI": repository });
        authority
    };
    let alice = identity("alice@infra.test", "email");
    let bob = identity("bob@infra.test", "email");
    let log = json!({ "trustRootRef": root });
    let tsa = json!({ "trustRootRef": root });
    let proof = json!({ "trustRootRef": root, "inclusionProof": "required" });
    let mut public = alice.clone();
    public["keyless"].as_object_mut().unwrap().remove("trustRootRef");
    let mut tct = alice.clone();
    tct["keyless"]["trustRootRef"] = json!("tct");
    let mut legacy = alice.clone();
    legacy["signatureFormat"] = json!("legacy");
    let one = |authority: Value| (1, vec![authority]);
    let attesting = |authority: Value, types: &[&str]| {
        let attestation = |kind: &&str| json!({ "name": kind, "predicateType": kind });
        with(authority, "attestations", types.iter().map(attestation).collect())
    };
    let slsa1 = |authority: Value| attesting(authority, &[SLSA_1]);
    let slsa02 = |authority: Value| attesting(authority, &[SLSA_0_2]);
    let gha_here = workflow("https://github.com/acme/app");
    let all: Vec<(&str, (usize, Vec<Value>))> = vec![
        ("key", one(with(keyed("cosign.pub"), "ctlog", Value::Null))),
        ("key+log", one(with(keyed("cosign.pub"), "ctlog", log.clone()))),
        ("key+proof", one(with(keyed("cosign.pub"), "ctlog", proof.clone()))),
        ("rsa", one(keyed("rsa.pub"))),
        ("p384", one(keyed("p384.pub"))),
        ("ed25519", one(keyed("ed25519.pub"))),
        ("alice", one(alice.clone())),
        ("alice+tsa", one(with(alice.clone(), "rfc3161timestamp", tsa.clone()))),
        ("alice+public", one(public)),
        ("alice+tct", one(tct)),
        ("legacy-only", one(legacy)),
        ("bob", one(bob.clone())),
        ("bob+tsa", one(with(bob.clone(), "rfc3161timestamp", tsa))),
        ("other-issuer", one(identity("alice@infra.test", "gha"))),
        ("gha", one(workflow("https://github.com/acme/app"))),
        ("gha+fork", one(workflow("https://github.com/mallory/app"))),
        ("key+custom", one(attesting(keyed("cosign.pub"), &[CUSTOM]))),
        ("key+slsa0.2", one(slsa02(keyed("cosign.pub")))),
        ("key+slsa0.2+log", one(slsa02(with(keyed("cosign.pub"), "ctlog", log.clone())))),
        ("key+slsa1", one(slsa1(keyed("cosign.pub")))),
        ("rsa+slsa0.2", one(slsa02(keyed("rsa.pub")))),
        ("alice+slsa1", one(slsa1(alice.clone()))),
        ("gha+slsa1", one(slsa1(gha_here.clone()))),
        ("gha+slsa1+proof", one(slsa1(with(gha_here.clone(), "ctlog", proof.clone())))),
        ("gha+slsa1-and-vuln", one(attesting(gha_here.clone(), &[SLSA_1, VULN]))),
        ("gha+fork+slsa1", one(slsa1(workflow("https://github.com/mallory/app")))),
        ("gha-and-alice+slsa1", (2, vec![slsa1(gha_here), slsa1(alice.clone())])),
        ("uri", one(identity("http://127.0.0.1:5556/users/1", "uri"))),
        ("alice-and-bob", (2, vec![alice.clone(), bob])),
        ("alice-twice", (2, vec![alice.clone(), alice])),
    ];
    let default = TrustRoot::from_json(
        &std::fs::read_to_string(samples.join("trust/trusted_root.json")).unwrap(),
    )
    .unwrap();
    let public = Arc::new(TrustRoot::public_good());
    let default = Arc::new(default);
    all.into_iter()
        .map(|(name, (threshold, mut authorities))| {
            for authority in &mut authorities {
                authority.as_object_mut().unwrap().retain(|_, value| !value.is_null());
            }
            let default = if name == "alice+public" { &public } else { &default };
            (name, load(samples, threshold, &authorities, default))
        })
        .collect()
}

fn load(
    samples: &Path,
    threshold: usize,
    authorities: &[Value],
    default: &Arc<TrustRoot>,
) -> PolicySnapshot {
    let folder = tempfile::tempdir().unwrap();
    let trust = samples.join("trust");
    let mut documents = Vec::new();
    for (name, file) in [("samples", "trusted_root.json"), ("tct", "trusted_root_tct.json")] {
        std::fs::copy(trust.join(file), folder.path().join(format!("{name}.root"))).unwrap();
        documents.push(json!({
            "apiVersion": "tegata.dev/v1alpha1", "kind": "TrustRoot",
            "metadata": { "name": name },
            "spec": { "trustedRoot": { "file": format!("{name}.root") } },
        }));
    }
    documents.push(json!({
        "apiVersion": "tegata.dev/v1alpha1", "kind": "ClusterImagePolicy",
        "metadata": { "name": "samples" },
        "spec": {
            "images": [{ "glob": "**" }], "threshold": threshold, "authorities": authorities,
        },
    }));
    let text: Vec<String> = documents.iter().map(Value::to_string).collect();
    let file = folder.path().join("policies.yaml");
    std::fs::write(&file, text.join("\n---\n")).unwrap();
    files::load_strict(&[file], default).unwrap().snapshot
}

async fn check<F: FetchEvidence>(
    fetch: F,
    image: &ImageRef,
    snapshot: &PolicySnapshot,
) -> ImageReport {
    check_by(&Admission::new(fetch, Settings::default()), image, snapshot).await
}

async fn check_by<F: FetchEvidence>(
    admission: &Admission<F>,
    image: &ImageRef,
    snapshot: &PolicySnapshot,
) -> ImageReport {
    let now = "2026-11-23T00:00:00Z".parse().unwrap();
    let deadline = Instant::now() + Duration::from_secs(30);
    let (workload, tenant) = (&Workload::default(), &Tenant::default());
    let asked = Asked { workload, tenant, snapshot, now, deadline, tags: Tags::Fresh };
    admission.check_image(image, asked).await
}

fn answer(report: &ImageReport) -> String {
    let failure = report.failure.as_ref().or(report.policies[0].failure.as_ref());
    match (report.verdict, failure) {
        (Verdict::Verified, None) => VERIFIED.to_owned(),
        (_, Some(failure)) => format!("{}: {}", failure.step(), failure.reason),
        (verdict, None) => format!("{verdict} without a reason"),
    }
}

fn judge(wrong: &mut Vec<String>, row: &(&str, &str, &str), report: &ImageReport) {
    let (name, signer, wanted) = row;
    let found = answer(report);
    if found != *wanted {
        let text = serde_json::to_string(report).unwrap();
        wrong.push(format!("{name} by {signer}: {found}, wanted {wanted}: {text}"));
    }
}

fn plain_http(host: &str) -> Registry {
    let options =
        RegistryOptions { allow_http: vec![host.to_owned()], ..RegistryOptions::default() };
    Registry::new(options, Keychain::anonymous()).unwrap()
}

#[test]
fn every_sample_has_a_right_and_a_wrong_signer() {
    let Some(samples) = Samples::open() else { return };
    let names = samples.names();
    assert_eq!(names.len(), 35);
    for name in names {
        let rows: Vec<_> = WANTED.iter().filter(|row| row.0 == name).collect();
        let rejected = rows.iter().filter(|row| row.2 != VERIFIED).count();
        assert!(rejected > 0, "{name} is never rejected");
        assert_eq!(rows.len() == rejected, name == "unsigned", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn layouts_get_the_right_answer() {
    let Some(samples) = Samples::open() else { return };
    let mut wrong = Vec::new();
    for row in WANTED {
        let reference = format!("oci:{}:v1", samples.layout(row.0).display());
        let layout = Layout::open(&reference.parse().unwrap()).unwrap();
        let image = layout.image().clone();
        judge(&mut wrong, row, &check(layout, &image, &samples.policies[row.1]).await);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// One memory for all policies and signers of an image, each asked twice: whatever is known from
/// before, the answer is the same to the last word, and what was good is not verified again.
#[tokio::test(flavor = "multi_thread")]
async fn what_is_known_changes_no_answer() {
    let Some(samples) = Samples::open() else { return };
    let mut wrong = Vec::new();
    let mut reused = 0;
    for name in samples.names() {
        let reference = format!("oci:{}:v1", samples.layout(&name).display());
        let layout = Layout::open(&reference.parse().unwrap()).unwrap();
        let image = layout.image().clone();
        // Facts alone: answers are known, too, and say so.
        let none = Limits { bytes: 0, ..Limits::default() };
        let admission = Admission::new(layout, Settings::default()).keeping(none);
        let rows: Vec<_> = WANTED.iter().filter(|row| row.0 == name).collect();
        let mut reports = Vec::new();
        for row in &rows {
            let report = check_by(&admission, &image, &samples.policies[row.1]).await;
            judge(&mut wrong, row, &report);
            reports.push(serde_json::to_value(report).unwrap());
        }
        for (row, first) in rows.iter().zip(reports) {
            let before = admission.facts().counts();
            let report = check_by(&admission, &image, &samples.policies[row.1]).await;
            let after = admission.facts().counts();
            reused += after.reused - before.reused;
            let verified = usize::try_from(after.verified - before.verified).unwrap();
            assert_eq!(verified, unverified(&report), "{row:?}: {report:?}");
            assert_eq!(serde_json::to_value(report).unwrap(), first, "{row:?}");
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let good = WANTED.iter().filter(|row| row.2 == VERIFIED).count();
    assert!(reused >= good as u64, "{reused} of {good}");
}

/// How many signatures of a report failed before anybody asked who made them.
fn unverified(report: &ImageReport) -> usize {
    let authorities = report.policies.iter().flat_map(|policy| &policy.authorities);
    let signatures = authorities.flat_map(|authority| &authority.signatures);
    let early =
        |step: &StepReport| step.outcome == StepOutcome::Failed && step.step < Step::Identity;
    let failed = signatures.filter(|signature| signature.steps.iter().any(early));
    failed.count()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_the_referrers_api_gets_the_right_answer() {
    let Some(samples) = Samples::open() else { return };
    let registry = FakeRegistry::start().await.unwrap();
    for name in samples.names() {
        registry.push_layout(&samples.layout(&name), &format!("s/{name}")).unwrap();
    }
    verify_all(&samples, &registry.host()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_registry_with_the_fallback_tag_gets_the_right_answer() {
    let Some(samples) = Samples::open() else { return };
    let registry = FakeRegistry::start().await.unwrap();
    registry.set_referrers_api(false);
    for name in samples.names() {
        let repository = format!("s/{name}");
        registry.push_layout(&samples.layout(&name), &repository).unwrap();
        push_fallback_tags(&registry, &samples.layout(&name), &repository);
    }
    verify_all(&samples, &registry.host()).await;
}

/// Does what a client does for a registry without the API: an index of the referrers under the
/// tag `sha256-<hex>` of their subject, with descriptors as poor as cosign writes them.
fn push_fallback_tags(registry: &FakeRegistry, layout: &Path, repository: &str) {
    let blobs = layout.join("blobs/sha256");
    let read = |digest: &str| -> Value {
        serde_json::from_slice(&std::fs::read(blobs.join(&digest["sha256:".len()..])).unwrap())
            .unwrap()
    };
    let index: Value =
        serde_json::from_slice(&std::fs::read(layout.join("index.json")).unwrap()).unwrap();
    let mut referrers: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for descriptor in index["manifests"].as_array().unwrap() {
        let manifest = read(descriptor["digest"].as_str().unwrap());
        if let Some(subject) = manifest["subject"]["digest"].as_str() {
            let poor = json!({
                "mediaType": descriptor["mediaType"], "digest": descriptor["digest"],
                "size": descriptor["size"],
                "artifactType": "application/vnd.oci.empty.v1+json",
            });
            referrers.entry(subject.to_owned()).or_default().push(poor);
        }
    }
    for (subject, manifests) in referrers {
        let index = json!({
            "schemaVersion": 2, "mediaType": fake_registry::INDEX_TYPE, "manifests": manifests,
        });
        let digest = registry.put_manifest(repository, &index);
        let tag = subject.parse::<Digest>().unwrap().tag_form();
        registry.tag(repository, &tag, &digest);
    }
}

async fn verify_all(samples: &Samples, host: &str) {
    let client = plain_http(host);
    let mut wrong = Vec::new();
    for row in WANTED {
        let image = format!("{host}/s/{}:v1", row.0).parse().unwrap();
        let report = check(client.clone(), &image, &samples.policies[row.1]).await;
        judge(&mut wrong, row, &report);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// A real registry that has no referrers API, over what real cosign pushed to it.
#[tokio::test(flavor = "multi_thread")]
async fn docker_registry_gets_the_right_answer() {
    let Some(samples) = Samples::open() else { return };
    let Some(server) = DockerRegistry::start(&samples.folder) else {
        collection::say("docker-registry is not installed: its images are not verified");
        return;
    };
    let client = plain_http(&server.host);
    let mut wrong = Vec::new();
    let mut seen = 0;
    for row in WANTED {
        let image = format!("{}/s/{}:v1", server.host, row.0).parse().unwrap();
        let report = check(client.clone(), &image, &samples.policies[row.1]).await;
        if answer(&report) == "subject: image-not-found" {
            continue;
        }
        seen += 1;
        judge(&mut wrong, row, &report);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(seen >= 60, "only {seen} rows are on the registry");
}

struct DockerRegistry {
    child: Child,
    host: String,
    _configuration: tempfile::TempDir,
}

impl DockerRegistry {
    fn start(samples: &Path) -> Option<Self> {
        Command::new("docker-registry").arg("--version").output().ok()?;
        let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let host = format!("127.0.0.1:{port}");
        let configuration = tempfile::tempdir().unwrap();
        let file = configuration.path().join("registry.yml");
        let data = samples.join("docker-registry-data");
        let text = json!({
            "version": "0.1", "log": { "level": "error" },
            "storage": {
                "filesystem": { "rootdirectory": data },
                "maintenance": { "readonly": { "enabled": true } },
            },
            "http": { "addr": host },
        });
        std::fs::write(&file, text.to_string()).unwrap();
        let child = Command::new("docker-registry")
            .arg("serve")
            .arg(&file)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let server = Self { child, host, _configuration: configuration };
        for _ in 0..100 {
            if std::net::TcpStream::connect(&server.host).is_ok() {
                return Some(server);
            }
            std::thread::sleep(Duration::from_millis(50));
        }
        panic!("docker-registry does not listen on {}", server.host);
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
