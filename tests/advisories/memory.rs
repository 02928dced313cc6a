//! What a hostile registry costs in memory: the pipeline alone in a process of its own, and the
//! registry in this one.
use std::process::Command;

use serde_json::json;
use tegata::evidence::SIMPLE_SIGNING_MEDIA_TYPE;
use tegata::image::Digest;

use crate::fake_registry::Fault;
use crate::gate::Gate;
use crate::gate::REPOSITORY;
use crate::virtual_sigstore::Part;

/// The most that a process may hold at its peak, in KiB: half of the memory limit of 256 MiB
/// under which small controllers run, so that an attack never ends in a kill.
const MOST_KIB: u64 = 128 << 10;

const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

/// Names the image to the process that is started.
const IMAGE: &str = "TEGATA_TEST_HOSTILE_IMAGE";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[expect(clippy::disallowed_methods, reason = "a parent tells its child which image to ask for")]
async fn a_hostile_registry_costs_little_memory() {
    if let Ok(image) = std::env::var(IMAGE) {
        return ask(&image).await;
    }
    for (name, reason, images, arrange) in CASES {
        let gate = Gate::new().await;
        arrange(&gate);
        let tags = (1..=*images).map(|n| gate.image().replace(":v1", &format!(":v{n}")));
        let image = tags.collect::<Vec<_>>().join(",");
        let child = tokio::task::spawn_blocking(move || {
            let test = "memory::a_hostile_registry_costs_little_memory";
            Command::new(std::env::current_exe().unwrap())
                .args(["--exact", test, "--nocapture", "--test-threads=1"])
                .env(IMAGE, image)
                .output()
                .unwrap()
        });
        let output = child.await.unwrap();
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{name}: {text}");
        let field = |key: &str| {
            let line = text.lines().find_map(|line| line.split_once(key));
            line.unwrap_or_else(|| panic!("{name}: no {key} in {text}")).1.to_owned()
        };
        let peak: u64 = field("peak=").parse().unwrap();
        let found = field("reasons=");
        println!("{name}: {} MiB ({found})", peak >> 10);
        let many = *images > 1;
        // Of many images some may run out of time before they run out of memory.
        let as_wanted = if many { found.contains(reason) } else { found == *reason };
        assert!(as_wanted, "{name}: {found}, wanted {reason}");
        assert!(peak < MOST_KIB, "{name}: {peak} KiB at the peak, wanted less than {MOST_KIB}");
        // A figure that small would be of a process that did nothing.
        assert!(peak > 4 << 10, "{name}: {peak} KiB");
    }
}

/// The process that is measured: asks for the image, and says what it took.
async fn ask(image: &str) {
    let gate = Gate::for_image(image).await;
    let images: Vec<&str> = image.split(',').collect();
    let answer = gate.create(&crate::review::pod(&images)).await;
    assert!(!answer.allowed(), "{answer:?}");
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let peak = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    println!("\nreasons={}\npeak={}", answer.reasons().join(","), peak.trim().replace(" kB", ""));
}

/// What is done, the reason in the end, how many images (`v1` and so on) the pod names, and how it
/// is done.
type Case = (&'static str, &'static str, usize, fn(&Gate));

const CASES: &[Case] = &[
    ("nothing attached", "signature-absent", 1, |_| {}),
    ("an image manifest without end", "image-unreadable", 1, |gate| {
        gate.registry.fault("/manifests/v1", Fault::Endless);
    }),
    ("an image manifest announced with 10 GiB", "image-unreadable", 1, |gate| {
        gate.registry.fault("/manifests/v1", Fault::AnnounceLength(10 << 30));
    }),
    ("a signature blob without end", "evidence-too-large", 1, |gate| {
        sign(gate);
        gate.registry.fault("/blobs/", Fault::Endless);
    }),
    ("a signature blob announced with 10 GiB", "evidence-too-large", 1, |gate| {
        sign(gate);
        gate.registry.fault("/blobs/", Fault::AnnounceLength(10 << 30));
    }),
    ("everything without end", "evidence-too-large", 1, |gate| {
        gate.registry.fault("sha256", Fault::Endless);
    }),
    ("20,000 layers in one manifest", "evidence-too-large", 1, |gate| layers(gate, 20_000)),
    ("100,000 layers in one manifest", "evidence-too-large", 1, |gate| layers(gate, 100_000)),
    ("128 blobs of 1 MiB", "evidence-too-large", 1, |gate| {
        tag(gate, &large_layers(gate));
    }),
    ("64 images with 128 blobs of 1 MiB each", "overloaded", 64, |gate| {
        let manifest = gate.registry.put_manifest(REPOSITORY, &large_layers(gate));
        for n in 1..=64 {
            let image = gate.put_image(&n.to_string(), &format!("v{n}"));
            gate.registry.tag(REPOSITORY, &format!("{}.sig", image.tag_form()), &manifest);
        }
    }),
    ("referrers without end", "evidence-too-large", 1, |gate| {
        for n in 0..1_000 {
            refer(gate, n, 0);
        }
        gate.registry.set_page_size(0);
    }),
    ("1,000 referrers of 256 KiB", "evidence-too-large", 1, |gate| {
        for n in 0..1_000 {
            refer(gate, n, 256 << 10);
        }
    }),
    ("a manifest of 4 MiB of nested lists", "evidence-malformed", 1, |gate| {
        let bytes = "[".repeat((4 << 20) - 1);
        let digest = gate.registry.put_manifest_bytes(REPOSITORY, bytes.into());
        gate.registry.tag(REPOSITORY, &format!("{}.sig", gate.digest.tag_form()), &digest);
    }),
    ("a bundle of 1 MiB of nulls", "evidence-malformed", 1, |gate| {
        let nulls = "null,".repeat(200_000);
        bundle(gate, format!("{{\"mediaType\":\"{BUNDLE}\",\"x\":[{nulls}null]}}").as_bytes());
    }),
    ("a bundle of 1,000 timestamps", "evidence-too-large", 1, |gate| {
        gate.attach(gate.alice().timestamp(1).tamper(Part::TimestampCopies(1000)));
    }),
];

fn sign(gate: &Gate) {
    gate.attach(gate.alice());
    gate.attach_classic(gate.alice());
}

fn tag(gate: &Gate, manifest: &serde_json::Value) {
    let digest = gate.registry.put_manifest(REPOSITORY, manifest);
    gate.registry.tag(REPOSITORY, &format!("{}.sig", gate.digest.tag_form()), &digest);
}

fn layers(gate: &Gate, count: usize) {
    let digest = gate.registry.put_blob("payload").to_string();
    let layer = json!({ "mediaType": SIMPLE_SIGNING_MEDIA_TYPE, "digest": digest, "size": 7 });
    tag(gate, &json!({ "schemaVersion": 2, "layers": vec![layer; count] }));
}

/// A signature manifest whose layers are just as large as they may be.
fn large_layers(gate: &Gate) -> serde_json::Value {
    let blobs = (0..128_u8).map(|n| gate.registry.put_blob(vec![n; 1 << 20]).to_string());
    let layers: Vec<_> = blobs
        .map(|blob| json!({ "mediaType": SIMPLE_SIGNING_MEDIA_TYPE, "digest": blob }))
        .collect();
    json!({ "schemaVersion": 2, "layers": layers })
}

/// A referrer that says it is a bundle, with so many bytes of padding in its manifest.
fn refer(gate: &Gate, number: usize, padding: usize) {
    let missing = Digest::sha256_of(&number.to_le_bytes()).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "artifactType": BUNDLE,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json" },
        "layers": [{ "mediaType": BUNDLE, "digest": missing, "size": 2 }],
        "subject": { "digest": gate.digest.to_string() },
        "padding": "x".repeat(padding),
    });
    gate.registry.put_manifest(REPOSITORY, &manifest);
}

/// A referrer with these bytes in the place of a bundle.
fn bundle(gate: &Gate, bytes: &[u8]) {
    let blob = gate.registry.put_blob(bytes.to_vec()).to_string();
    let manifest = json!({
        "schemaVersion": 2,
        "artifactType": BUNDLE,
        "config": { "mediaType": "application/vnd.oci.empty.v1+json" },
        "layers": [{ "mediaType": BUNDLE, "digest": blob, "size": bytes.len() }],
        "subject": { "digest": gate.digest.to_string() },
    });
    gate.registry.put_manifest(REPOSITORY, &manifest);
}
