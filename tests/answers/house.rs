//! The server, a pipeline that answers as it is told, and an API server that keeps what it gets.
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::AtomicU16;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use axum::BoxError;
use axum::body::Body;
use axum::http::Request as HttpRequest;
use axum::http::Response;
use jiff::Timestamp;
use kube::Client;
use prometheus_client::registry::Registry;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Consequence;
use tegata::admission::Decision;
use tegata::admission::FieldReport;
use tegata::admission::Request;
use tegata::cluster::events::Events;
use tegata::cluster::events::Reporter;
use tegata::metrics;
use tegata::policy::Mode;
use tegata::policy::OnUnavailable;
use tegata::policy::PolicySnapshot;
use tegata::server;
use tegata::server::Admit;
use tegata::server::AppState;
use tegata::server::Limits;
use tegata::server::Observe;
use tegata::verdict::Failure;
use tegata::verdict::ImageReport;
use tegata::verdict::PolicyReport;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tower::ServiceExt as _;

/// The status with which the API server does not answer at all.
pub(crate) const SILENT: u16 = 0;

pub(crate) struct House {
    router: axum::Router,
    registry: Arc<Registry>,
    /// What the API server was asked: method, path and body.
    pub(crate) written: Arc<Mutex<Vec<(String, Value)>>>,
    /// The status with which it answers.
    pub(crate) status: Arc<AtomicU16>,
    _policies: watch::Sender<Arc<PolicySnapshot>>,
    task: Option<AbortHandle>,
}

impl Drop for House {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

impl House {
    /// One that tells by Events.
    pub(crate) fn new(mode: Mode) -> Self {
        let written = Arc::new(Mutex::new(Vec::new()));
        let status = Arc::new(AtomicU16::new(201));
        let client = client(Arc::clone(&written), Arc::clone(&status));
        let (registry, metrics) = metrics::registry();
        let reporter = Reporter { component: "tegata".to_owned(), instance: "pod".to_owned() };
        let (observer, task) = Events::start(client, reporter, metrics.clone());
        let mut house = Self::observed_by(mode, observer, (registry, metrics));
        house.task = Some(tokio::spawn(task).abort_handle());
        (house.written, house.status) = (written, status);
        house
    }

    /// One with another observer.
    pub(crate) fn observed_by(
        mode: Mode,
        observer: Arc<dyn Observe>,
        (registry, metrics): (Arc<Registry>, metrics::Metrics),
    ) -> Self {
        let policies = watch::Sender::new(Arc::new(PolicySnapshot::default()));
        let state = AppState::new(Unsigned(mode), policies.subscribe(), metrics, Limits::default());
        let router = server::router(state.observed_by(Some(observer)));
        let (written, status) = (Arc::default(), Arc::default());
        Self { router, registry, written, status, _policies: policies, task: None }
    }

    pub(crate) async fn ask(&self, endpoint: &str, review: &Value) -> Value {
        let request = HttpRequest::post(format!("/{endpoint}?timeout=10s"))
            .header("content-type", "application/json")
            .body(Body::from(review.to_string()))
            .unwrap();
        let response = self.router.clone().oneshot(request).await.unwrap();
        assert_eq!(response.status(), 200);
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        serde_json::from_slice::<Value>(&body).unwrap()["response"].clone()
    }

    pub(crate) fn metrics(&self) -> String {
        metrics::encode(&self.registry).unwrap()
    }

    /// The names of the objects that Events are about, in their order.
    pub(crate) fn told(&self) -> Vec<String> {
        let written = self.written.lock().unwrap();
        let name = |event: &Value| event["involvedObject"]["name"].as_str().unwrap().to_owned();
        written.iter().map(|(_, event)| name(event)).collect()
    }

    /// Waits until a line of the metrics is there.
    pub(crate) async fn until(&self, line: &str) {
        let start = Instant::now();
        while !self.metrics().contains(&format!("{line}\n")) {
            assert!(start.elapsed() < Duration::from_secs(10), "{line}: {}", self.metrics());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    }
}

/// A pipeline that finds no signature, under one policy of this mode.
struct Unsigned(Mode);

impl Admit for Unsigned {
    async fn admit(
        &self,
        request: &Request,
        _snapshot: &PolicySnapshot,
        _now: Timestamp,
        _deadline: Instant,
    ) -> Decision {
        let allowed = self.0 != Mode::Enforce;
        let images = request.images.iter().map(|image| FieldReport {
            path: image.path.clone(),
            pointer: image.pointer.clone(),
            text: image.text.clone(),
            pinned: None,
            unpinned: false,
            consequence: match self.0 {
                Mode::Audit => Consequence::Admit,
                Mode::Enforce => Consequence::Deny(Verdict::Rejected),
                Mode::Warn => Consequence::Warn,
            },
            report: ImageReport::judged(image.text.clone(), None, vec![unmet(self.0)]),
        });
        Decision {
            allowed,
            message: if allowed { String::new() } else { "nobody signed it".to_owned() },
            warnings: Vec::new(),
            retry: false,
            images: images.collect(),
        }
    }
}

fn unmet(mode: Mode) -> PolicyReport {
    PolicyReport {
        stale: false,
        policy: "ImagePolicy team-a/signed".to_owned(),
        mode,
        verdict: Verdict::Rejected,
        on_unavailable: OnUnavailable::Deny,
        failure: Some(Failure::new(Reason::SignatureAbsent, "nothing is attached")),
        authorities: Vec::new(),
    }
}

fn client(written: Arc<Mutex<Vec<(String, Value)>>>, status: Arc<AtomicU16>) -> Client {
    let service = tower::service_fn(move |request: HttpRequest<kube::client::Body>| {
        let (written, status) = (Arc::clone(&written), status.load(Ordering::SeqCst));
        async move {
            let line = format!("{} {}", request.method(), request.uri().path());
            let body = request.into_body().collect_bytes().await.unwrap();
            written.lock().unwrap().push((line, serde_json::from_slice(&body).unwrap()));
            if status == SILENT {
                std::future::pending::<()>().await;
            }
            let answer = json!({ "metadata": {}, "involvedObject": {} }).to_string();
            Ok::<_, BoxError>(Response::builder().status(status).body(Body::from(answer)).unwrap())
        }
    });
    Client::new(service, "default")
}
