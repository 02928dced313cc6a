//! The webhook server: what it answers, and what it does when anything goes wrong.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    reason = "test support"
)]
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request as HttpRequest;
use axum::http::StatusCode;
use bytes::Bytes;
use clap::Parser as _;
use jiff::Timestamp;
use prometheus_client::registry::Registry;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Decision;
use tegata::admission::FieldReport;
use tegata::admission::Request;
use tegata::admission::review::MAX_BODY;
use tegata::args::serve::ServeArgs;
use tegata::commands::serve;
use tegata::commands::serve::Addresses;
use tegata::commands::serve::Options;
use tegata::commands::serve::ServeError;
use tegata::metrics;
use tegata::policy::PolicySnapshot;
use tegata::server;
use tegata::server::Admit;
use tegata::server::AppState;
use tegata::server::Limits;
use tegata::server::listen::ConnectionLimits;
use tegata::server::reload::LoadOutcome;
use tegata::verdict::ImageReport;
use tegata::verdict::Verdict;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tower::ServiceExt as _;

// --- a pipeline that does what the request's name says ------------------------------------------

/// Admits, unless the request's name asks for something else.
#[derive(Clone, Default)]
struct Fake {
    asked: Arc<AtomicUsize>,
    abandoned: Arc<AtomicUsize>,
    release: Arc<tokio::sync::Notify>,
}

struct Abandoned(Option<Arc<AtomicUsize>>);

impl Drop for Abandoned {
    fn drop(&mut self) {
        if let Some(counter) = &self.0 {
            counter.fetch_add(1, Ordering::SeqCst);
        }
    }
}

impl Admit for Fake {
    async fn admit(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        _now: Timestamp,
        deadline: Instant,
    ) -> Decision {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let mut abandoned = Abandoned(Some(Arc::clone(&self.abandoned)));
        match request.name.as_str() {
            "panic" => panic!("a defect"),
            "hang" => std::future::pending().await,
            "block" => std::thread::sleep(Duration::from_secs(3)),
            "wait" => self.release.notified().await,
            "late" => tokio::time::sleep_until(deadline.into()).await,
            _ => {}
        }
        abandoned.0 = None;
        let images = match request.name.as_str() {
            "careless" => vec![],
            _ => request
                .images
                .iter()
                .map(|image| report(&image.text))
                .collect(),
        };
        let allowed = request.name != "deny";
        Decision {
            allowed,
            message: if allowed {
                String::new()
            } else {
                "denied by the fake".to_owned()
            },
            warnings: vec![format!("{} policies", snapshot.policies().len())],
            retry: false,
            images,
        }
    }
}

fn report(image: &str) -> FieldReport {
    FieldReport {
        path: "spec.containers[0].image".to_owned(),
        pointer: "/spec/containers/0/image".to_owned(),
        text: image.to_owned(),
        pinned: None,
        unpinned: false,
        report: ImageReport {
            image: image.to_owned(),
            digest: None,
            verdict: Verdict::Verified,
            failure: None,
            policies: vec![],
        },
    }
}

fn review(name: &str) -> Value {
    json!({
        "kind": "AdmissionReview",
        "apiVersion": "admission.k8s.io/v1",
        "request": {
            "uid": format!("uid-{name}"),
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "requestKind": { "group": "", "version": "v1", "kind": "Pod" },
            "requestResource": { "group": "", "version": "v1", "resource": "pods" },
            "name": name,
            "namespace": "team-a",
            "operation": "CREATE",
            "userInfo": { "username": "alice" },
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": name, "namespace": "team-a" },
                "spec": { "containers": [{ "name": "app", "image": "registry.example/app:1" }] },
            },
            "oldObject": null,
            "dryRun": false,
            "options": { "kind": "CreateOptions", "apiVersion": "meta.k8s.io/v1" },
        },
    })
}

// --- the router without sockets -----------------------------------------------------------------

struct App {
    router: axum::Router,
    registry: Arc<Registry>,
    fake: Fake,
    _policies: watch::Sender<Arc<PolicySnapshot>>,
}

fn app(max_in_flight: usize) -> App {
    let fake = Fake::default();
    let (registry, metrics) = metrics::registry();
    let policies = watch::Sender::new(Arc::new(PolicySnapshot::default()));
    let limits = Limits {
        max_in_flight,
        ..Limits::default()
    };
    let state = AppState::new(fake.clone(), policies.subscribe(), metrics, limits);
    App {
        router: server::router(state),
        registry,
        fake,
        _policies: policies,
    }
}

impl App {
    async fn send(&self, request: HttpRequest<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20)
            .await
            .unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    async fn review(&self, path: &str, name: &str) -> Value {
        let (status, text) = self.send(post(path, review(name).to_string())).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        response_of(&text, name)
    }

    fn metrics(&self) -> String {
        metrics::encode(&self.registry).unwrap()
    }
}

fn post(path: &str, body: impl Into<Body>) -> HttpRequest<Body> {
    HttpRequest::post(path)
        .header("content-type", "application/json")
        .body(body.into())
        .unwrap()
}

/// The `response` of a review that answers the request `name`.
fn response_of(text: &str, name: &str) -> Value {
    let review: Value = serde_json::from_str(text).unwrap();
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1", "{text}");
    assert_eq!(review["kind"], "AdmissionReview", "{text}");
    assert_eq!(review["response"]["uid"], format!("uid-{name}"), "{text}");
    review["response"].clone()
}

/// Asserts that `response` is an indeterminate denial for `reason`.
fn assert_indeterminate(response: &Value, reason: &str) {
    assert_eq!(response["allowed"], false, "{response}");
    assert_eq!(response["status"]["code"], 503, "{response}");
    let message = response["status"]["message"].as_str().unwrap();
    assert!(
        message.contains(&format!("indeterminate ({reason})")),
        "{message}"
    );
    assert!(!message.contains('\n'), "{message}");
}

#[tokio::test]
async fn answers_on_both_paths_with_the_pipelines_decision() {
    let app = app(4);
    for path in ["/validate", "/mutate", "/validate?timeout=10s"] {
        assert_eq!(app.review(path, "good").await["allowed"], true, "{path}");
        let denied = app.review(path, "deny").await;
        assert_eq!(denied["allowed"], false, "{path}");
        assert_eq!(denied["status"]["code"], 403, "{path}");
        assert_eq!(denied["status"]["message"], "denied by the fake", "{path}");
    }
}

#[tokio::test]
async fn rejects_what_is_no_admission_review() {
    let app = app(4);
    let good = || Body::from(review("good").to_string());
    let with = |name: &str, value: &str| {
        HttpRequest::post("/validate")
            .header(name, value)
            .body(good())
            .unwrap()
    };
    let mut compressed = with("content-type", "application/json");
    compressed
        .headers_mut()
        .insert("content-encoding", "gzip".parse().unwrap());
    let mut declared = with("content-type", "application/json");
    declared
        .headers_mut()
        .insert("content-length", (MAX_BODY + 1).into());
    let cases = [
        (
            "get",
            HttpRequest::get("/validate").body(Body::empty()).unwrap(),
            405,
            "takes POST",
        ),
        ("path", post("/", good()), 404, "/mutate and /validate"),
        (
            "path below",
            post("/validate/x", good()),
            404,
            "/mutate and /validate",
        ),
        (
            "no type",
            HttpRequest::post("/validate").body(good()).unwrap(),
            415,
            "application/json",
        ),
        (
            "type",
            with("content-type", "application/yaml"),
            415,
            "application/json",
        ),
        (
            "type's prefix",
            with("content-type", "application/jsonx"),
            415,
            "application/json",
        ),
        ("compressed", compressed, 415, "content-encoding"),
        ("declared length", declared, 413, "larger than"),
        ("empty", post("/validate", ""), 400, ""),
        ("no json", post("/validate", "{"), 400, ""),
        ("other json", post("/validate", "[]"), 400, ""),
        (
            "no request",
            post(
                "/mutate",
                r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#,
            ),
            400,
            "",
        ),
        (
            "large",
            post("/validate", vec![b' '; MAX_BODY + 1]),
            413,
            "larger than",
        ),
    ];
    for (what, request, status, text) in cases {
        let (found, body) = app.send(request).await;
        assert_eq!(found.as_u16(), status, "{what}: {body}");
        assert!(body.contains(text) && body.len() > 10, "{what}: {body}");
    }
    assert_eq!(app.fake.asked.load(Ordering::SeqCst), 0);
    let metrics = app.metrics();
    assert!(
        metrics.contains(r#"tegata_refused_requests_total{status="415"} 4"#),
        "{metrics}"
    );
    assert!(metrics.contains("tegata_in_flight 0\n"), "{metrics}");
}

#[tokio::test]
async fn denies_with_the_uid_what_cannot_be_judged() {
    let app = app(4);
    let mut malformed = review("odd");
    malformed["request"]["object"]["spec"]["containers"] = json!("none");
    let mut many = review("many");
    let container = json!({ "name": "c", "image": "registry.example/app:1" });
    many["request"]["object"]["spec"]["containers"] = vec![container; 10_000].into();
    for (review, name, code) in [(malformed, "odd", 400), (many, "many", 403)] {
        let (status, text) = app.send(post("/validate", review.to_string())).await;
        assert_eq!(status, StatusCode::OK, "{text}");
        let response = response_of(&text, name);
        assert_eq!(response["allowed"], false, "{text}");
        assert_eq!(response["status"]["code"], code, "{text}");
    }
    assert_eq!(app.fake.asked.load(Ordering::SeqCst), 0);
    let metrics = app.metrics();
    let line = r#"tegata_decisions_total{endpoint="validate",allowed="false",verdict="rejected",reason="image-field-limit"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn accepts_a_content_type_with_parameters() {
    let app = app(4);
    let request = HttpRequest::post("/validate")
        .header("content-type", "Application/JSON; charset=utf-8")
        .body(Body::from(review("good").to_string()))
        .unwrap();
    assert_eq!(app.send(request).await.0, StatusCode::OK);
}

#[tokio::test]
async fn rejects_a_body_that_breaks_off_or_does_not_arrive() {
    let app = app(4);
    let first = Ok::<_, std::io::Error>(Bytes::from_static(b"{"));
    let broken = futures::stream::iter([first, Err(std::io::Error::other("reset"))]);
    let (status, text) = app.send(post("/validate", Body::from_stream(broken))).await;
    assert_eq!(status, StatusCode::BAD_REQUEST, "{text}");
    let silent = futures::stream::pending::<Result<Bytes, std::io::Error>>();
    let start = Instant::now();
    let request = post("/validate?timeout=400ms", Body::from_stream(silent));
    let (status, text) = app.send(request).await;
    assert_eq!(status, StatusCode::REQUEST_TIMEOUT, "{text}");
    assert!(
        start.elapsed() < Duration::from_millis(400),
        "{:?}",
        start.elapsed()
    );
}

#[tokio::test]
async fn denies_when_the_pipeline_panics() {
    let app = app(4);
    assert_indeterminate(&app.review("/validate", "panic").await, "internal-error");
    assert_eq!(app.review("/validate", "good").await["allowed"], true);
    let metrics = app.metrics();
    let line = r#"tegata_decisions_total{endpoint="validate",allowed="false",verdict="indeterminate",reason="internal-error"} 1"#;
    assert!(metrics.contains(line), "{metrics}");
}

#[tokio::test]
async fn denies_before_the_api_servers_time_out_when_the_pipeline_hangs() {
    let app = app(1);
    let start = Instant::now();
    assert_indeterminate(
        &app.review("/mutate?timeout=600ms", "hang").await,
        "deadline-exceeded",
    );
    let elapsed = start.elapsed();
    assert!(elapsed > Duration::from_millis(400), "{elapsed:?}");
    assert!(elapsed < Duration::from_millis(600), "{elapsed:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(
        app.fake.abandoned.load(Ordering::SeqCst),
        1,
        "the hanging work goes on"
    );
    // Its place is free again.
    assert_eq!(app.review("/mutate", "good").await["allowed"], true);
}

#[tokio::test]
async fn lets_the_pipeline_answer_at_its_own_deadline() {
    let app = app(1);
    assert_eq!(
        app.review("/validate?timeout=1s", "late").await["allowed"],
        true
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denies_in_time_when_the_pipeline_blocks_its_thread_and_keeps_its_place_taken() {
    let app = app(1);
    let start = Instant::now();
    assert_indeterminate(
        &app.review("/validate?timeout=600ms", "block").await,
        "deadline-exceeded",
    );
    assert!(
        start.elapsed() < Duration::from_millis(600),
        "{:?}",
        start.elapsed()
    );
    assert_indeterminate(&app.review("/validate", "good").await, "overloaded");
}

#[tokio::test]
async fn denies_an_admission_that_leaves_images_out() {
    let app = app(1);
    assert_indeterminate(&app.review("/validate", "careless").await, "internal-error");
}

#[tokio::test]
async fn sheds_at_once_what_is_beyond_the_most_in_flight() {
    let app = app(2);
    let waiting: Vec<_> = (0..2)
        .map(|_| {
            let router = app.router.clone();
            let request = post("/validate", review("wait").to_string());
            tokio::spawn(async move { router.oneshot(request).await.unwrap().status() })
        })
        .collect();
    while app.fake.asked.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    let start = Instant::now();
    assert_indeterminate(&app.review("/validate", "good").await, "overloaded");
    // Also one whose uid is all that is kept of it.
    let mut large = review("large");
    large["request"]["object"]["metadata"]["annotations"] = json!({ "x": "y".repeat(4 << 20) });
    let text = serde_json::to_string(&large).unwrap();
    // Members are sorted here; the API server writes the uid first.
    let text = text.replacen("\"request\":{", "\"request\":{\"uid\":\"uid-large\",", 1);
    let (status, answer) = app.send(post("/validate", text)).await;
    assert_eq!(status, StatusCode::OK, "{answer}");
    assert_indeterminate(&response_of(&answer, "large"), "overloaded");
    let (status, _) = app.send(post("/validate", "no review")).await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    assert_eq!(app.fake.asked.load(Ordering::SeqCst), 2);
    let metrics = app.metrics();
    assert!(metrics.contains("tegata_in_flight 2\n"), "{metrics}");
    assert!(
        metrics.contains(r#"tegata_shed_total{what="request"} 3"#),
        "{metrics}"
    );
    app.fake.release.notify_waiters();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(app.review("/validate", "good").await["allowed"], true);
}

#[tokio::test]
async fn abandons_the_work_of_a_client_that_went_away() {
    let app = app(1);
    let router = app.router.clone();
    let request = post("/validate", review("hang").to_string());
    let client = tokio::spawn(async move { router.oneshot(request).await.map(drop) });
    while app.fake.asked.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    client.abort();
    let _ = client.await;
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(app.fake.abandoned.load(Ordering::SeqCst), 1);
    assert_eq!(app.review("/validate", "good").await["allowed"], true);
}

// --- the whole server on sockets ----------------------------------------------------------------

#[derive(clap::Parser)]
struct Command {
    #[command(flatten)]
    args: ServeArgs,
}

fn args(arguments: &[&str]) -> ServeArgs {
    let fixed = [
        "serve",
        "--listen=127.0.0.1:0",
        "--health-listen=127.0.0.1:0",
        "--drain-delay=300ms",
    ];
    Command::try_parse_from(fixed.iter().chain(arguments))
        .unwrap()
        .args
}

struct Live {
    addresses: Addresses,
    fake: Fake,
    signals: mpsc::Sender<()>,
    server: JoinHandle<Result<(), ServeError>>,
    client: reqwest::Client,
    folder: tempfile::TempDir,
}

type Policies = Result<LoadOutcome, String>;

fn no_policies() -> Policies {
    Ok(LoadOutcome {
        snapshot: PolicySnapshot::default(),
        problems: vec![],
    })
}

impl Live {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let out = format!("--tls-ca-out={}", ca.display());
        Self::start_with(
            folder,
            &[&out],
            &ca,
            ConnectionLimits::default(),
            no_policies,
        )
        .await
    }

    async fn start_with(
        folder: tempfile::TempDir,
        arguments: &[&str],
        ca: &Path,
        connections: ConnectionLimits,
        load: impl FnMut() -> Policies + Send + 'static,
    ) -> Self {
        let policies = format!("--policies={}", policies_of(&folder).display());
        let arguments: Vec<&str> = arguments
            .iter()
            .copied()
            .chain([policies.as_str()])
            .collect();
        let fake = Fake::default();
        let (signals, received) = mpsc::channel(2);
        let (listening, listens) = oneshot::channel();
        let poll = Some(Duration::from_millis(50));
        let options = Options {
            connections,
            poll,
            listening: Some(listening),
        };
        let server = tokio::spawn(serve::serve(
            args(&arguments),
            options,
            fake.clone(),
            load,
            received,
        ));
        let Ok(addresses) = listens.await else {
            panic!("the server did not start: {:?}", server.await);
        };
        let client = client(ca);
        Self {
            addresses,
            fake,
            signals,
            server,
            client,
            folder,
        }
    }

    async fn review(&self, name: &str) -> Value {
        self.review_with(&self.client, name).await
    }

    async fn review_with(&self, client: &reqwest::Client, name: &str) -> Value {
        let url = format!(
            "https://localhost:{}/validate",
            self.addresses.webhook.port()
        );
        let response = client
            .post(url)
            .header("content-type", "application/json")
            .body(review(name).to_string())
            .send()
            .await
            .unwrap();
        response_of(&response.text().await.unwrap(), name)
    }

    async fn probe(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.addresses.health);
        let response = reqwest::get(url).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    async fn metric(&self, name: &str) -> String {
        let (_, text) = self.probe("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}"))
            .to_owned()
    }

    /// Waits until `metric` reads `line`.
    async fn until_metric(&self, line: &str) {
        let name = line.rsplit_once(' ').unwrap().0;
        for _ in 0..100 {
            if self.metric(name).await == line {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} instead of {line}", self.metric(name).await);
    }
}

fn policies_of(folder: &tempfile::TempDir) -> PathBuf {
    let policies = folder.path().join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    policies
}

/// A client that trusts the certificates in `ca`.
fn client(ca: &Path) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
    reqwest::Client::builder()
        .tls_certs_only([ca])
        .no_proxy()
        .build()
        .unwrap()
}

#[tokio::test]
async fn serves_over_tls_with_a_certificate_of_its_own() {
    let live = Live::start().await;
    assert_eq!(live.review("good").await["allowed"], true);
    assert_eq!(live.probe("/livez").await, (200, "ok\n".to_owned()));
    assert_eq!(live.probe("/readyz").await, (200, "ok\n".to_owned()));
    assert_eq!(live.probe("/nothing").await.0, 404);
    let expires = live
        .metric("tegata_certificate_expiry_timestamp_seconds ")
        .await;
    let expires: i64 = expires.rsplit_once(' ').unwrap().1.parse().unwrap();
    let days = (expires - server::now().as_second()) / 86_400;
    assert!((88..=90).contains(&days), "{days}");
    let written = std::fs::read_to_string(live.folder.path().join("ca.pem")).unwrap();
    assert!(
        !written.contains("PRIVATE"),
        "the key is in the file for clients"
    );
    // Without the authority's certificate nobody is believed.
    let stranger = reqwest::Client::builder().no_proxy().build().unwrap();
    let url = format!(
        "https://localhost:{}/validate",
        live.addresses.webhook.port()
    );
    assert!(stranger.post(url).send().await.is_err());
}

#[tokio::test]
async fn writes_metrics_as_open_metrics_text_with_closed_labels() {
    let live = Live::start().await;
    live.review("good").await;
    live.review("deny").await;
    let response = reqwest::get(format!("http://{}/metrics", live.addresses.health))
        .await
        .unwrap();
    let media_type = response.headers()["content-type"]
        .to_str()
        .unwrap()
        .to_owned();
    assert!(
        media_type.starts_with("application/openmetrics-text"),
        "{media_type}"
    );
    let text = response.text().await.unwrap();
    assert!(text.ends_with("# EOF\n"), "{text}");
    for line in [
        r#"tegata_decisions_total{endpoint="validate",allowed="true",verdict="verified",reason="none"} 1"#,
        r#"tegata_stage_duration_seconds_count{stage="admit"} 2"#,
        r#"tegata_policies{state="ready"} 0"#,
        r#"tegata_policies{state="invalid"} 0"#,
        r#"tegata_reload_failures_total{what="policies"} 0"#,
        r#"tegata_shed_total{what="connection"} 0"#,
    ] {
        assert!(text.contains(line), "no {line} in {text}");
    }
    for private in ["registry.example", "team-a", "alice", "uid-good"] {
        assert!(!text.contains(private), "{private} in {text}");
    }
}

#[tokio::test]
async fn drains_readiness_first_and_finishes_what_is_in_flight() {
    let live = Arc::new(Live::start().await);
    let waiting = tokio::spawn({
        let live = Arc::clone(&live);
        async move { live.review("wait").await }
    });
    while live.fake.asked.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    live.signals.send(()).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    let (status, text) = live.probe("/readyz").await;
    assert_eq!(
        (status, text.as_str()),
        (503, "not ready: the server is stopping\n")
    );
    assert_eq!(live.probe("/livez").await.0, 200);
    // Within the delay it still answers: not everybody has noticed yet.
    let ca = live.folder.path().join("ca.pem");
    assert_eq!(
        live.review_with(&client(&ca), "good").await["allowed"],
        true
    );
    tokio::time::sleep(Duration::from_millis(400)).await;
    let refused = tokio::net::TcpStream::connect(live.addresses.webhook).await;
    assert!(refused.is_err(), "still accepting after the delay");
    assert!(
        !live.server.is_finished(),
        "did not wait for the request in flight"
    );
    live.fake.release.notify_waiters();
    assert_eq!(waiting.await.unwrap()["allowed"], true);
    let live = Arc::into_inner(live).unwrap();
    drop(live.client);
    let ended = tokio::time::timeout(Duration::from_secs(4), live.server)
        .await
        .unwrap();
    assert!(ended.as_ref().unwrap().is_ok(), "{ended:?}");
}

#[tokio::test]
async fn stops_at_once_on_a_second_signal() {
    let live = Live::start().await;
    live.signals.send(()).await.unwrap();
    live.signals.send(()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_millis(250), live.server)
        .await
        .unwrap();
    assert!(
        matches!(ended, Ok(Err(ServeError::Interrupted))),
        "{ended:?}"
    );
}

#[tokio::test]
async fn ends_a_drain_that_takes_too_long() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let out = format!("--tls-ca-out={}", ca.display());
    let arguments = [out.as_str(), "--drain-timeout=200ms"];
    let live = Live::start_with(
        folder,
        &arguments,
        &ca,
        ConnectionLimits::default(),
        no_policies,
    )
    .await;
    let url = format!(
        "https://localhost:{}/validate?timeout=30s",
        live.addresses.webhook.port()
    );
    let request = live
        .client
        .post(url)
        .header("content-type", "application/json")
        .body(review("hang").to_string())
        .send();
    let request = tokio::spawn(request);
    while live.fake.asked.load(Ordering::SeqCst) == 0 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    live.signals.send(()).await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(2), live.server)
        .await
        .unwrap();
    assert!(ended.as_ref().unwrap().is_ok(), "{ended:?}");
    // Without an answer the API server goes by its failure policy.
    assert!(request.await.unwrap().is_err());
}

// --- certificates -------------------------------------------------------------------------------

/// Writes a new self-signed pair for localhost, and returns the certificate.
fn write_pair(folder: &Path, serial: u8) -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
    params.serial_number = Some(rcgen::SerialNumber::from_slice(&[serial]));
    let certificate = params.self_signed(&key).unwrap().pem();
    std::fs::write(folder.join("tls.key"), key.serialize_pem()).unwrap();
    std::fs::write(folder.join("tls.crt"), &certificate).unwrap();
    certificate
}

#[tokio::test]
async fn takes_a_new_certificate_without_dropping_connections_and_keeps_the_old_for_a_broken_one() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().to_owned();
    write_pair(&path, 1);
    std::fs::copy(path.join("tls.crt"), path.join("first.pem")).unwrap();
    let certificate = format!("--tls-cert={}", path.join("tls.crt").display());
    let key = format!("--tls-key={}", path.join("tls.key").display());
    let first = path.join("first.pem");
    let limits = ConnectionLimits::default();
    let live = Live::start_with(folder, &[&certificate, &key], &first, limits, no_policies).await;
    assert_eq!(live.review("good").await["allowed"], true);
    let in_flight = post_raw(&live, &live.client, "wait");
    while live.fake.asked.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }

    // A key that does not belong to the certificate: the old pair stays.
    let foreign = rcgen::KeyPair::generate().unwrap().serialize_pem();
    std::fs::write(path.join("tls.key"), foreign).unwrap();
    live.until_metric(r#"tegata_reload_failures_total{what="certificate"} 1"#)
        .await;
    assert_eq!(
        live.review_with(&client(&first), "good").await["allowed"],
        true
    );

    write_pair(&path, 2);
    let second = client(&path.join("tls.crt"));
    let mut served = false;
    for _ in 0..100 {
        let url = format!(
            "https://localhost:{}/validate",
            live.addresses.webhook.port()
        );
        if second.post(url).send().await.is_ok() {
            served = true;
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(served, "the new certificate is not served");
    // The first client does not believe the new one, but its connection lives on.
    assert!(
        client(&first)
            .post(format!(
                "https://localhost:{}/",
                live.addresses.webhook.port()
            ))
            .send()
            .await
            .is_err()
    );
    live.fake.release.notify_waiters();
    assert_eq!(in_flight.await.unwrap()["allowed"], true);
    assert_eq!(live.review("good").await["allowed"], true);
}

fn post_raw(live: &Live, client: &reqwest::Client, name: &'static str) -> JoinHandle<Value> {
    let url = format!(
        "https://localhost:{}/validate",
        live.addresses.webhook.port()
    );
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .body(review(name).to_string())
        .send();
    tokio::spawn(async move { response_of(&request.await.unwrap().text().await.unwrap(), name) })
}

// --- policies -----------------------------------------------------------------------------------

/// As many invalid policies as the file says; a problem or an error where it says so.
fn load_from(file: PathBuf) -> impl FnMut() -> Policies + Send + 'static {
    use tegata::policy::InvalidPolicy;
    use tegata::policy::PolicyId;
    use tegata::policy::PolicyState;
    use tegata::policy::Scope;
    let mut last = 0;
    move || {
        let text = std::fs::read_to_string(&file).map_err(|error| error.to_string())?;
        let mut problems = vec![];
        match text.trim() {
            "defect" => panic!("a defect"),
            "broken" => problems.push("policies.yaml:1: broken".to_owned()),
            count => {
                last = count
                    .parse()
                    .map_err(|_| "nothing can be loaded".to_owned())?
            }
        }
        let policy = |number| {
            PolicyState::Invalid(Arc::new(InvalidPolicy {
                id: PolicyId::Cluster {
                    name: format!("p{number}"),
                },
                scope: Scope {
                    images: vec![],
                    workloads: vec![],
                    namespaces: None,
                },
                problem: "test".to_owned(),
            }))
        };
        let snapshot = PolicySnapshot::new((0..last).map(policy).collect());
        Ok(LoadOutcome { snapshot, problems })
    }
}

#[tokio::test]
async fn reloads_policies_and_keeps_the_last_good_ones() {
    let folder = tempfile::tempdir().unwrap();
    let file = policies_of(&folder).join("policies.yaml");
    std::fs::write(&file, "1").unwrap();
    let ca = folder.path().join("ca.pem");
    let out = format!("--tls-ca-out={}", ca.display());
    let load = load_from(file.clone());
    let live = Live::start_with(folder, &[&out], &ca, ConnectionLimits::default(), load).await;
    let count = async || {
        live.review("good").await["warnings"][0]
            .as_str()
            .unwrap()
            .to_owned()
    };
    assert_eq!(count().await, "1 policies");
    let failures = r#"tegata_reload_failures_total{what="policies"}"#;
    for (text, policies, failed) in [
        ("2", 2, 0),
        ("broken", 2, 1),
        ("nonsense", 2, 2),
        ("defect", 2, 3),
        ("3", 3, 3),
    ] {
        std::fs::write(&file, text).unwrap();
        live.until_metric(&format!("{failures} {failed}")).await;
        live.until_metric(&format!(r#"tegata_policies{{state="invalid"}} {policies}"#))
            .await;
        assert_eq!(count().await, format!("{policies} policies"), "{text}");
    }
    std::fs::remove_file(&file).unwrap();
    live.until_metric(&format!("{failures} 4")).await;
    assert_eq!(count().await, "3 policies");
}

// --- slow and many clients ----------------------------------------------------------------------

#[tokio::test]
async fn closes_connections_of_slow_clients_and_beyond_the_most() {
    let folder = tempfile::tempdir().unwrap();
    let ca = folder.path().join("ca.pem");
    let out = format!("--tls-ca-out={}", ca.display());
    let limits = ConnectionLimits {
        connections: 3,
        first_request: Duration::from_millis(400),
        idle: Duration::from_millis(600),
    };
    let live = Live::start_with(folder, &[&out], &ca, limits, no_policies).await;
    let closed = async |address, text: &'static str| {
        let mut stream = tokio::net::TcpStream::connect(address).await.unwrap();
        let start = Instant::now();
        stream.write_all(text.as_bytes()).await.unwrap();
        let mut rest = Vec::new();
        let read = stream.read_to_end(&mut rest);
        // An end or a reset: either way the place is free.
        let _ = tokio::time::timeout(Duration::from_secs(5), read)
            .await
            .unwrap();
        start.elapsed()
    };
    // No handshake, headers that do not end, and no second request on a kept connection.
    let silent = closed(live.addresses.webhook, "").await;
    assert!(silent >= Duration::from_millis(350), "{silent:?}");
    let dribbling = closed(live.addresses.health, "GET /livez HTTP/1.1\r\nHost: x\r\n").await;
    assert!(dribbling >= Duration::from_millis(350), "{dribbling:?}");
    let kept = closed(
        live.addresses.health,
        "GET /livez HTTP/1.1\r\nHost: x\r\n\r\n",
    )
    .await;
    assert!(kept >= Duration::from_millis(550), "{kept:?}");

    let mut held = vec![];
    for _ in 0..3 {
        held.push(
            tokio::net::TcpStream::connect(live.addresses.webhook)
                .await
                .unwrap(),
        );
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let beyond = closed(live.addresses.webhook, "").await;
    assert!(beyond < Duration::from_millis(200), "{beyond:?}");
    live.until_metric(r#"tegata_shed_total{what="connection"} 1"#)
        .await;
    // The places come back once the slow clients are closed.
    tokio::time::sleep(Duration::from_millis(600)).await;
    assert_eq!(live.review("good").await["allowed"], true);
}

#[tokio::test]
async fn answers_others_while_a_client_dribbles_its_body() {
    let live = Live::start().await;
    let url = format!(
        "https://localhost:{}/validate?timeout=1s",
        live.addresses.webhook.port()
    );
    let silent = futures::stream::pending::<Result<Bytes, std::io::Error>>();
    let dribbling = live
        .client
        .post(url)
        .header("content-type", "application/json")
        .body(reqwest::Body::wrap_stream(silent))
        .send();
    let dribbling = tokio::spawn(dribbling);
    assert_eq!(live.review("good").await["allowed"], true);
    let start = Instant::now();
    let answer = tokio::time::timeout(Duration::from_secs(3), dribbling)
        .await
        .unwrap()
        .unwrap();
    assert!(
        start.elapsed() < Duration::from_secs(2),
        "{:?}",
        start.elapsed()
    );
    // HTTP/2 may tell the client to stop sending before it sees the status.
    assert!(
        answer
            .as_ref()
            .map_or(true, |answer| answer.status() == 408),
        "{answer:?}"
    );
}

// --- configuration ------------------------------------------------------------------------------

async fn fails_to_start(args: ServeArgs, load: fn() -> Policies) -> (u8, String) {
    let (_signals, received) = mpsc::channel(1);
    let serving = serve::serve(args, Options::default(), Fake::default(), load, received);
    let error = tokio::time::timeout(Duration::from_secs(5), serving)
        .await
        .unwrap()
        .unwrap_err();
    (error.exit_code(), error.to_string())
}

#[tokio::test]
async fn names_what_is_wrong_with_the_configuration() {
    let folder = tempfile::tempdir().unwrap();
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut busy = args(&["--policies=p"]);
    busy.listen = address.parse().unwrap();
    let (code, text) = fails_to_start(busy, no_policies).await;
    assert_eq!(code, 2);
    assert!(
        text.contains(&address) && text.contains("--listen"),
        "{text}"
    );

    let missing = folder.path().join("absent.pem").display().to_string();
    let arguments = [
        format!("--tls-cert={missing}"),
        "--tls-key=k".into(),
        "--policies=p".into(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, text) = fails_to_start(args(&arguments), no_policies).await;
    assert_eq!(code, 2);
    assert!(text.contains(&missing), "{text}");

    let garbage = folder.path().join("garbage.pem");
    std::fs::write(&garbage, "no pem").unwrap();
    let path = garbage.display();
    let arguments = [
        format!("--tls-cert={path}"),
        format!("--tls-key={path}"),
        "--policies=p".into(),
    ];
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let (code, text) = fails_to_start(args(&arguments), no_policies).await;
    assert_eq!(code, 2);
    assert!(text.contains("garbage.pem"), "{text}");

    let (code, text) = fails_to_start(args(&["--policies=p"]), || {
        Err("p: no such folder".to_owned())
    })
    .await;
    assert_eq!(
        (code, text.as_str()),
        (2, "cannot load the policies: p: no such folder")
    );

    let (code, text) = fails_to_start(
        args(&["--policies=p", "--tls-name=b\u{fc}cher"]),
        no_policies,
    )
    .await;
    assert_eq!(code, 2);
    assert!(text.contains("b\u{fc}cher"), "{text}");
}

#[test]
fn rejects_arguments_that_cannot_be_meant() {
    for arguments in [
        &["serve"][..],
        &["serve", "--policies=p", "--tls-cert=c"],
        &["serve", "--policies=p", "--tls-key=k"],
        &[
            "serve",
            "--policies=p",
            "--tls-cert=c",
            "--tls-key=k",
            "--tls-ca-out=o",
        ],
        &["serve", "--policies=p", "--no-match=perhaps"],
        &["serve", "--policies=p", "--mutate=some"],
        &["serve", "--policies=p", "--max-in-flight=0"],
        &["serve", "--policies=p", "--default-timeout=0s"],
        &["serve", "--policies=p", "--default-timeout=10"],
        &["serve", "--policies=p", "--listen=8443"],
        &["serve", "--policies=p", "--log-filter=tegata=loud"],
    ] {
        assert!(Command::try_parse_from(arguments).is_err(), "{arguments:?}");
    }
}
