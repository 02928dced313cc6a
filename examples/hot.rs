//! Where the time of a warm review goes, in microseconds: `.github/PERFORMANCE.md` shows it.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    reason = "bench"
)]
use std::collections::BTreeMap;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request as HttpRequest;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Admission;
use tegata::admission::Decision;
use tegata::admission::Request;
use tegata::admission::review as reviews;
use tegata::admission::review::Endpoint;
use tegata::metrics;
use tegata::policy::PolicySnapshot;
use tegata::policy::PolicyState;
use tegata::policy::compile;
use tegata::policy::compile::References;
use tegata::registry::Registry;
use tegata::rekor::Rekor;
use tegata::server;
use tegata::server::Admit;
use tegata::server::AppState;
use tegata::server::Limits;
use tegata::trust_root::TrustRoot;
use tokio::sync::watch;
use tower::ServiceExt as _;

#[path = "../tests/support/fake_registry.rs"]
mod fake_registry;
#[path = "../tests/support/gate.rs"]
mod gate;
#[path = "../tests/support/policy.rs"]
mod policy;
#[path = "../tests/support/review.rs"]
mod review;
#[path = "../tests/support/virtual_sigstore.rs"]
mod virtual_sigstore;

use gate::Gate;
use gate::REPOSITORY;
use virtual_sigstore::Version;

/// A review as an API server sends it: probes, mounts, environment, managed fields.
fn realistic(images: &[String]) -> Value {
    let containers: Vec<Value> = images
        .iter()
        .enumerate()
        .map(|(index, image)| {
            json!({
                "name": format!("container-{index}"), "image": image,
                "imagePullPolicy": "IfNotPresent",
                "env": [
                    { "name": "POD_NAME", "valueFrom": { "fieldRef": { "apiVersion": "v1", "fieldPath": "metadata.name" } } },
                    { "name": "DATABASE_URL", "value": "postgres://db.shop.svc:5432/orders" },
                    { "name": "LOG_LEVEL", "value": "info" },
                ],
                "ports": [{ "containerPort": 8080 + index, "name": "http", "protocol": "TCP" }],
                "resources": { "limits": { "cpu": "500m", "memory": "256Mi" }, "requests": { "cpu": "100m", "memory": "128Mi" } },
                "livenessProbe": { "httpGet": { "path": "/livez", "port": "http", "scheme": "HTTP" }, "periodSeconds": 10, "timeoutSeconds": 1, "failureThreshold": 3, "successThreshold": 1 },
                "terminationMessagePath": "/dev/termination-log", "terminationMessagePolicy": "File",
                "volumeMounts": [{ "mountPath": "/var/run/secrets/kubernetes.io/serviceaccount", "name": "kube-api-access-x7x2p", "readOnly": true }],
            })
        })
        .collect();
    let managed: Value = (0..images.len())
        .map(|index| {
            (
                format!("k:{{\"name\":\"container-{index}\"}}"),
                json!({ ".": {}, "f:image": {}, "f:imagePullPolicy": {}, "f:name": {}, "f:env": { ".": {}, "k:{\"name\":\"LOG_LEVEL\"}": { ".": {}, "f:name": {}, "f:value": {} } }, "f:resources": { ".": {}, "f:limits": {} } }),
            )
        })
        .collect::<serde_json::Map<_, _>>()
        .into();
    let mut pod = review::pod(&[]);
    pod["metadata"] = json!({
        "name": "web-5d4f8c7b9-x2x4z", "generateName": "web-5d4f8c7b9-", "namespace": "team-a", "uid": "6d8f0f0e-0c53-4d2c-9d2f-3c2a6e6a4b11",
        "creationTimestamp": "2026-03-01T12:00:00Z",
        "labels": { "app.kubernetes.io/name": "web", "app.kubernetes.io/part-of": "shop", "pod-template-hash": "5d4f8c7b9" },
        "annotations": { "prometheus.io/scrape": "true", "checksum/config": "0123456789abcdef0123456789abcdef" },
        "ownerReferences": [{ "apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-5d4f8c7b9", "uid": "u", "controller": true, "blockOwnerDeletion": true }],
        "managedFields": [{ "manager": "kube-controller-manager", "operation": "Update", "apiVersion": "v1", "time": "2026-03-01T12:00:00Z", "fieldsType": "FieldsV1", "fieldsV1": { "f:metadata": { "f:labels": { ".": {}, "f:app.kubernetes.io/name": {} } }, "f:spec": { "f:containers": managed } } }],
    });
    pod["spec"]["containers"] = json!(containers);
    pod["spec"]["volumes"] = json!([{ "name": "kube-api-access-x7x2p", "projected": { "defaultMode": 420, "sources": [{ "serviceAccountToken": { "expirationSeconds": 3607, "path": "token" } }] } }]);
    pod["spec"]["serviceAccountName"] = json!("web");
    pod["spec"]["tolerations"] = json!([{ "effect": "NoExecute", "key": "node.kubernetes.io/not-ready", "operator": "Exists", "tolerationSeconds": 300 }]);
    review::create(&pod)
}

/// Microseconds a turn: the median of a hundred batches.
fn time(mut work: impl FnMut()) -> f64 {
    for _ in 0..50 {
        work();
    }
    let mut batches: Vec<Duration> = (0..100)
        .map(|_| {
            let start = Instant::now();
            for _ in 0..20 {
                work();
            }
            start.elapsed() / 20
        })
        .collect();
    batches.sort();
    batches[50].as_secs_f64() * 1e6
}

struct Real(Arc<Admission<Registry, Rekor>>);

impl Admit for Real {
    async fn admit(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
        deadline: Instant,
    ) -> Decision {
        self.0.admit(request, snapshot, now, deadline).await
    }

    fn admit_known(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
    ) -> Option<Decision> {
        let known = self.0.admit_known(request, snapshot, now);
        assert!(known.is_some(), "not warm");
        known
    }
}

/// Says the same to whatever it is asked.
struct Constant;

impl Admit for Constant {
    async fn admit(&self, _: &Request, _: &PolicySnapshot, _: Timestamp, _: Instant) -> Decision {
        unreachable!("it answers at once")
    }

    fn admit_known(&self, _: &Request, _: &PolicySnapshot, _: Timestamp) -> Option<Decision> {
        // A denial, because an admission must account for every image.
        let (message, warnings, images) = ("no".to_owned(), Vec::new(), Vec::new());
        Some(Decision { allowed: false, message, warnings, retry: false, images })
    }
}

fn main() {
    // Lines of the log are formatted, and go nowhere.
    tracing_subscriber::fmt().with_writer(std::io::sink).init();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let gate = runtime.block_on(Gate::new());
    let images: Vec<String> = (0..50)
        .map(|index| {
            let digest = gate.put_image(&format!("app-{index}"), &format!("t{index}"));
            gate.push(&gate.alice().bundle(Version::V03).sign(&digest).oci());
            format!("{}/{REPOSITORY}@{digest}", gate.registry.host())
        })
        .collect();
    let bench = Bench {
        runtime,
        admission: Arc::new(gate.admission().telling(server::detail())),
        snapshot: gate.snapshot(),
    };
    println!(
        "| containers | bytes | whole tree | parse | select | decide | answer | constant | warm |"
    );
    for count in [1, 10, 50] {
        bench.row(&images[..count]);
    }
    let known = bench.admission.known();
    println!("{} known, {} bytes each", known.len(), known.bytes() / known.len().max(1));
    for count in [10, 10_000] {
        println!("{count} policies: {:.2} µs to select", select_among(count, &images[0]));
    }
}

struct Bench {
    runtime: tokio::runtime::Runtime,
    admission: Arc<Admission<Registry, Rekor>>,
    snapshot: PolicySnapshot,
}

impl Bench {
    fn row(&self, images: &[String]) {
        let Self { runtime, admission, snapshot } = self;
        let body = realistic(images).to_string();
        let request = reviews::parse(body.as_bytes()).unwrap();
        let deadline = Instant::now() + Duration::from_secs(30);
        let cold = runtime.block_on(admission.admit(&request, snapshot, server::now(), deadline));
        assert!(cold.allowed, "{}", cold.message);
        let now = server::now();
        let known = admission.admit_known(&request, snapshot, now).unwrap();
        let tree = time(|| drop(black_box(tegata::json::parse(body.as_bytes()))));
        let parse = time(|| drop(black_box(reviews::parse(body.as_bytes()))));
        let select = time(|| select(snapshot, &request));
        let decide = time(|| drop(black_box(admission.admit_known(&request, snapshot, now))));
        let answer = || reviews::answer(&request.uid, &known, Endpoint::Validate, None);
        let answer = time(|| drop(black_box(answer())));
        let constant = self.routed(Constant, &body);
        let warm = self.routed(Real(Arc::clone(admission)), &body);
        println!(
            "| {} | {} | {tree:.1} | {parse:.1} | {select:.1} | {decide:.1} | {answer:.1} | {constant:.1} | {warm:.1} |",
            images.len(),
            body.len()
        );
    }

    /// The whole way through the server, without sockets.
    fn routed(&self, admit: impl Admit, body: &str) -> f64 {
        let policies = watch::Sender::new(Arc::new(self.snapshot.clone()));
        let (_, metrics) = metrics::registry();
        let state = AppState::new(admit, policies.subscribe(), metrics, Limits::default());
        let router = server::router(state);
        let body = bytes::Bytes::from(body.to_owned());
        time(|| {
            let request = HttpRequest::post("/validate?timeout=10s")
                .header("content-type", "application/json")
                .body(Body::from(body.clone()))
                .unwrap();
            let response = self.runtime.block_on(router.clone().oneshot(request)).unwrap();
            assert_eq!(response.status(), 200);
            black_box(response);
        })
    }
}

fn select(snapshot: &PolicySnapshot, request: &Request) {
    let workload = snapshot.know_namespace(&request.workload);
    for image in &request.images {
        black_box(snapshot.select(&workload, image.image.as_ref().unwrap()));
    }
}

/// So many policies over a thousand namespaces, as far as there are so many.
fn select_among(count: usize, image: &str) -> f64 {
    let root = Arc::new(TrustRoot::public_good());
    let references =
        References { default: root, named: BTreeMap::new(), keys: compile::Keys::NoCluster };
    let document = policy::cluster("p", &[policy::keyless(gate::ALICE, gate::ISSUER)]);
    let spec = serde_json::from_value(document["spec"].clone()).unwrap();
    let state = |index: usize| {
        let (namespace, name) = (format!("team-{}", index % 1000), format!("p{index}"));
        let policy = compile::compile_image_policy(&namespace, &name, &spec, &references).unwrap();
        PolicyState::Ready(Arc::new(policy))
    };
    let snapshot = PolicySnapshot::new((0..count).map(state).collect());
    let body = realistic(&[image.to_owned()]).to_string();
    let mut request = reviews::parse(body.as_bytes()).unwrap();
    request.workload.namespace = "team-3".to_owned();
    time(|| select(&snapshot, &request))
}
