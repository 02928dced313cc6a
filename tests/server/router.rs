//! The webhook without sockets: what it answers, whatever the pipeline does.
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use axum::body::Body;
use axum::http::Request as HttpRequest;
use axum::http::StatusCode;
use axum::response::Response;
use bytes::Bytes;
use prometheus_client::registry::Registry;
use serde_json::Value;
use serde_json::json;
use tegata::admission::review::MAX_BODY;
use tegata::metrics;
use tegata::policy::PolicySnapshot;
use tegata::server;
use tegata::server::AppState;
use tegata::server::Limits;
use tokio::sync::watch;
use tower::ServiceExt as _;

use crate::fake::Fake;
use crate::fake::assert_indeterminate;
use crate::fake::response_of;
use crate::fake::review;

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
    let limits = Limits { max_in_flight, ..Limits::default() };
    let state = AppState::new(fake.clone(), policies.subscribe(), metrics, limits);
    App { router: server::router(state), registry, fake, _policies: policies }
}

impl App {
    async fn send(&self, request: HttpRequest<Body>) -> (StatusCode, String) {
        let response = self.router.clone().oneshot(request).await.unwrap();
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
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
    HttpRequest::post(path).header("content-type", "application/json").body(body.into()).unwrap()
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
        HttpRequest::post("/validate").header(name, value).body(good()).unwrap()
    };
    let mut compressed = with("content-type", "application/json");
    compressed.headers_mut().insert("content-encoding", "gzip".parse().unwrap());
    let mut declared = with("content-type", "application/json");
    declared.headers_mut().insert("content-length", (MAX_BODY + 1).into());
    let cases = [
        ("get", HttpRequest::get("/validate").body(Body::empty()).unwrap(), 405, "takes POST"),
        ("path", post("/", good()), 404, "/mutate and /validate"),
        ("path below", post("/validate/x", good()), 404, "/mutate and /validate"),
        ("no type", HttpRequest::post("/validate").body(good()).unwrap(), 415, "application/json"),
        ("type", with("content-type", "application/yaml"), 415, "application/json"),
        ("type's prefix", with("content-type", "application/jsonx"), 415, "application/json"),
        ("compressed", compressed, 415, "content-encoding"),
        ("declared length", declared, 413, "larger than"),
        ("empty", post("/validate", ""), 400, ""),
        ("no json", post("/validate", "{"), 400, ""),
        ("other json", post("/validate", "[]"), 400, ""),
        (
            "no request",
            post("/mutate", r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview"}"#),
            400,
            "",
        ),
        ("large", post("/validate", vec![b' '; MAX_BODY + 1]), 413, "larger than"),
    ];
    for (what, request, status, text) in cases {
        let (found, body) = app.send(request).await;
        assert_eq!(found.as_u16(), status, "{what}: {body}");
        assert!(body.contains(text) && body.len() > 10, "{what}: {body}");
    }
    assert_eq!(app.fake.asked.load(Ordering::SeqCst), 0);
    let metrics = app.metrics();
    assert!(metrics.contains(r#"tegata_refused_requests_total{status="415"} 4"#), "{metrics}");
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
    assert!(start.elapsed() < Duration::from_millis(400), "{:?}", start.elapsed());
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
    assert_indeterminate(&app.review("/mutate?timeout=600ms", "hang").await, "deadline-exceeded");
    let elapsed = start.elapsed();
    assert!(elapsed > Duration::from_millis(400), "{elapsed:?}");
    assert!(elapsed < Duration::from_millis(600), "{elapsed:?}");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert_eq!(app.fake.abandoned.load(Ordering::SeqCst), 1, "the hanging work goes on");
    // Its place is free again.
    assert_eq!(app.review("/mutate", "good").await["allowed"], true);
}

#[tokio::test]
async fn lets_the_pipeline_answer_at_its_own_deadline() {
    let app = app(1);
    assert_eq!(app.review("/validate?timeout=1s", "late").await["allowed"], true);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn denies_in_time_when_the_pipeline_blocks_its_thread_and_keeps_its_place_taken() {
    let app = app(1);
    let start = Instant::now();
    assert_indeterminate(
        &app.review("/validate?timeout=600ms", "block").await,
        "deadline-exceeded",
    );
    assert!(start.elapsed() < Duration::from_millis(600), "{:?}", start.elapsed());
    assert_indeterminate(&app.review("/validate", "good").await, "overloaded");
}

#[tokio::test]
async fn denies_an_admission_that_leaves_images_out() {
    let app = app(1);
    assert_indeterminate(&app.review("/validate", "careless").await, "internal-error");
}

#[tokio::test]
async fn leaves_places_to_other_namespaces() {
    let app = app(4);
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
    let refused = app.review("/validate", "good").await;
    assert_indeterminate(&refused, "overloaded");
    let message = refused["status"]["message"].as_str().unwrap();
    assert!(message.contains("too many requests of this namespace"), "{message}");
    let mut other = review("good");
    other["request"]["namespace"] = json!("team-b");
    let (_, text) = app.send(post("/validate", other.to_string())).await;
    assert_eq!(response_of(&text, "good")["allowed"], true);
    app.fake.release.notify_waiters();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(app.review("/validate", "good").await["allowed"], true);
}

#[tokio::test]
async fn sheds_at_once_what_is_beyond_the_most_in_flight() {
    let app = app(2);
    let waiting: Vec<_> = ["team-a", "team-b"]
        .into_iter()
        .map(|namespace| {
            let router = app.router.clone();
            let mut review = review("wait");
            review["request"]["namespace"] = json!(namespace);
            let request = post("/validate", review.to_string());
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
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
    assert_eq!(app.fake.asked.load(Ordering::SeqCst), 2);
    let metrics = app.metrics();
    assert!(metrics.contains("tegata_in_flight 2\n"), "{metrics}");
    assert!(metrics.contains(r#"tegata_shed_total{what="request"} 3"#), "{metrics}");
    app.fake.release.notify_waiters();
    for waiting in waiting {
        assert_eq!(waiting.await.unwrap(), StatusCode::OK);
    }
    assert_eq!(app.review("/validate", "good").await["allowed"], true);
}

/// Two requests that hold a place each until the fake's `release`.
async fn hold_both_places(app: &App) -> Vec<tokio::task::JoinHandle<StatusCode>> {
    let held = ["team-a", "team-b"].map(|namespace| {
        let router = app.router.clone();
        let request = post("/validate", of_namespace("wait", namespace).to_string());
        tokio::spawn(async move { router.oneshot(request).await.unwrap().status() })
    });
    while app.fake.asked.load(Ordering::SeqCst) < 2 {
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    held.into()
}

fn of_namespace(name: &str, namespace: &str) -> Value {
    let mut review = review(name);
    review["request"]["namespace"] = json!(namespace);
    review
}

/// What a pod's tag may be judged by depends on it.
#[tokio::test]
async fn tells_the_pipeline_which_webhook_is_asked() {
    let app = app(4);
    for endpoint in ["mutate", "validate"] {
        let answer = app.review(&format!("/{endpoint}"), "endpoint").await;
        assert_eq!(answer["warnings"], json!([endpoint]));
    }
}

#[tokio::test]
async fn answers_with_what_is_known_without_asking_and_accounts_for_every_image() {
    let app = app(4);
    let answer = app.review("/validate", "known").await;
    assert_eq!((&answer["allowed"], &answer["warnings"]), (&json!(true), &json!(["known"])));
    for name in ["known-panic", "known-careless"] {
        assert_indeterminate(&app.review("/validate", name).await, "internal-error");
    }
    assert_eq!(app.fake.asked.load(Ordering::SeqCst), 0);
    let metrics = app.metrics();
    for line in [
        r#"tegata_decisions_total{endpoint="validate",allowed="true",verdict="verified",reason="none"} 1"#,
        r#"tegata_decisions_total{endpoint="validate",allowed="false",verdict="indeterminate",reason="internal-error"} 2"#,
        r#"tegata_stage_duration_seconds_count{stage="admit"} 3"#,
        r#"tegata_stage_duration_seconds_count{stage="parse"} 3"#,
    ] {
        assert!(metrics.contains(line), "{line}: {metrics}");
    }
}

#[tokio::test]
async fn answers_with_what_is_known_while_every_place_is_taken() {
    let app = app(2);
    let held = hold_both_places(&app).await;
    assert_eq!(app.review("/validate", "known").await["allowed"], true);
    // Of a namespace that has all it may have, too; but no more than can be parsed at once.
    let mut large = review("known");
    large["request"]["object"]["spec"]["x"] = json!("y".repeat(server::SMALL_BODY));
    let text =
        large.to_string().replacen("\"request\":{", "\"request\":{\"uid\":\"uid-known\",", 1);
    let (_, answer) = app.send(post("/validate", text)).await;
    assert_indeterminate(&response_of(&answer, "known"), "overloaded");
    app.fake.release.notify_waiters();
    for held in held {
        assert_eq!(held.await.unwrap(), StatusCode::OK);
    }
}

#[tokio::test]
async fn who_finds_no_place_waits_for_one_half_of_its_time() {
    let app = app(2);
    let held = hold_both_places(&app).await;
    let ask = |path: &'static str| {
        let router = app.router.clone();
        let request = post(path, of_namespace("good", "team-c").to_string());
        tokio::spawn(async move { router.oneshot(request).await.unwrap() })
    };
    let text = async |response: Response<Body>| {
        let body = axum::body::to_bytes(response.into_body(), 1 << 20).await.unwrap();
        response_of(std::str::from_utf8(&body).unwrap(), "good")
    };
    let start = Instant::now();
    let impatient = text(ask("/validate?timeout=400ms").await.unwrap()).await;
    assert_indeterminate(&impatient, "overloaded");
    let message = impatient["status"]["message"].as_str().unwrap();
    assert!(message.contains("too many requests are under way"), "{message}");
    assert!(start.elapsed() >= Duration::from_millis(150), "{:?}", start.elapsed());
    assert!(start.elapsed() < Duration::from_millis(300), "{:?}", start.elapsed());
    let patient = ask("/validate?timeout=10s");
    tokio::time::sleep(Duration::from_millis(50)).await;
    assert!(!patient.is_finished());
    app.fake.release.notify_waiters();
    assert_eq!(text(patient.await.unwrap()).await["allowed"], true);
    for held in held {
        assert_eq!(held.await.unwrap(), StatusCode::OK);
    }
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
