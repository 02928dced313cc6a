//! Which object gets an Event and what it says, and when it is written and counted.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;

use axum::BoxError;
use axum::body::Body;
use axum::http;
use jiff::SignedDuration;
use jiff::Timestamp;
use kube::Client;
use serde_json::Value;
use serde_json::json;

use super::Reporter;
use super::ledger::COUNT_EVERY;
use super::ledger::FORGET_AFTER;
use super::ledger::Ledger;
use super::ledger::MAX_REMEMBERED;
use super::ledger::Noted;
use super::ledger::Write;
use super::note::MAX_MESSAGE;
use super::note::Note;
use super::note::Reason;
use super::write::Writer;
use crate::admission::Consequence;
use crate::admission::Decision;
use crate::admission::FieldReport;
use crate::admission::ObjectRef;
use crate::admission::Operation;
use crate::admission::Request;
use crate::admission::review::Endpoint;
use crate::evidence::Tenant;
use crate::metrics::EventOutcome;
use crate::policy::Mode;
use crate::policy::OnUnavailable;
use crate::policy::Workload;
use crate::verdict;
use crate::verdict::Failure;
use crate::verdict::ImageReport;
use crate::verdict::PolicyReport;
use crate::verdict::Verdict;

fn object(kind: &str, name: &str) -> ObjectRef {
    ObjectRef {
        api_version: "v1".to_owned(),
        kind: kind.to_owned(),
        name: name.to_owned(),
        uid: "u".to_owned(),
    }
}

fn request(object: ObjectRef, owner: Option<ObjectRef>) -> Request {
    let workload = Workload { namespace: "team-a".to_owned(), ..Workload::default() };
    Request {
        uid: "uid".to_owned(),
        endpoint: Endpoint::Validate,
        workload,
        kind: object.kind.clone(),
        name: object.name.clone(),
        user: "alice".to_owned(),
        dry_run: false,
        operation: Operation::Create,
        object,
        owner,
        tenant: Tenant::default(),
        images: Vec::new(),
    }
}

fn pod() -> Request {
    request(object("Pod", "web"), None)
}

fn denied(message: &str) -> Decision {
    let message = message.to_owned();
    Decision { allowed: false, message, warnings: vec![], retry: false, images: vec![] }
}

/// An admission of one image that an unmet policy of this mode does not hold up.
fn admitted(mode: Mode, consequence: Consequence) -> Decision {
    let failure = Failure::new(verdict::Reason::SignatureAbsent, "nothing is attached");
    let policy = PolicyReport {
        stale: false,
        policy: "ClusterImagePolicy signed".to_owned(),
        mode,
        verdict: Verdict::Rejected,
        on_unavailable: OnUnavailable::Deny,
        failure: Some(failure),
        authorities: Vec::new(),
    };
    let image = FieldReport {
        path: "spec.containers[0].image".to_owned(),
        pointer: String::new(),
        text: "app".to_owned(),
        pinned: None,
        unpinned: false,
        consequence,
        report: ImageReport::judged("r.io/app:1".to_owned(), None, vec![policy]),
    };
    Decision { allowed: true, images: vec![image], ..denied("") }
}

fn of(request: &Request, decision: &Decision) -> Option<Note> {
    Note::of(Endpoint::Validate, request, decision)
}

#[test]
fn tells_of_the_controller_else_of_the_object_and_of_nothing_without_a_name() {
    let owner = |kind, name| Some(object(kind, name));
    let long = "a".repeat(254);
    let table = [
        (object("Pod", "web-5d4-x"), owner("ReplicaSet", "web-5d4"), Some("ReplicaSet web-5d4")),
        (object("Pod", ""), owner("Job", "report"), Some("Job report")),
        (object("Pod", "db-0"), owner("StatefulSet", "db"), Some("StatefulSet db")),
        (object("Pod", "x"), owner("Rollout", "x.y"), Some("Rollout x.y")),
        (object("ReplicaSet", "web-5d4"), owner("Deployment", "web"), Some("Deployment web")),
        (object("Pod", "web"), None, Some("Pod web")),
        (object("Deployment", "web"), None, Some("Deployment web")),
        // It has only a generateName.
        (object("Pod", ""), None, None),
        // A mirror pod.
        (object("Pod", "etcd-node-1"), owner("Node", "node-1"), Some("Pod etcd-node-1")),
        // No names.
        (object("Pod", "web"), owner("Job", "../x"), Some("Pod web")),
        (object("Pod", "web"), owner("Job", ""), Some("Pod web")),
        (object("Pod", "Web"), None, None),
        (object("Pod", "a\nb"), None, None),
        (object("Pod", &long), None, None),
    ];
    for (object, owner, wanted) in table {
        let request = request(object, owner);
        let note = of(&request, &denied("no"));
        let found = note.map(|note| format!("{} {}", note.regarding.kind, note.regarding.name));
        assert_eq!(found.as_deref(), wanted, "{request:?}");
    }
}

#[test]
fn tells_of_denials_and_of_what_would_be_denied_once_a_request() {
    let audited = || admitted(Mode::Audit, Consequence::Admit);
    let warned = || admitted(Mode::Warn, Consequence::Warn);
    let fine = || Decision { allowed: true, ..denied("") };
    let (mutate, validate) = (Endpoint::Mutate, Endpoint::Validate);
    let (is_denied, would_be) = (Some("ImageDenied"), Some("ImageWouldBeDenied"));
    for (endpoint, decision, wanted) in [
        (mutate, denied("no"), is_denied),
        (validate, denied("no"), is_denied),
        (mutate, audited(), None),
        (validate, audited(), would_be),
        (mutate, warned(), None),
        (validate, warned(), would_be),
        (validate, fine(), None),
    ] {
        let told = Note::of(endpoint, &pod(), &decision).map(|note| note.reason.as_str());
        assert_eq!(told, wanted, "{endpoint:?} {decision:?}");
        let dry = Request { dry_run: true, ..pod() };
        assert_eq!(Note::of(endpoint, &dry, &decision), None, "a dry run");
    }
}

#[test]
fn says_what_would_be_denied_and_why() {
    let message = of(&pod(), &admitted(Mode::Audit, Consequence::Admit)).unwrap().message;
    let start = "spec.containers[0].image: image r.io/app:1 is rejected by ClusterImagePolicy signed \
                 at step evidence: found: nothing is attached";
    assert!(message.starts_with(start), "{message}");
    assert!(message.ends_with("[signature-absent]"), "{message}");
}

#[test]
fn says_one_line_within_the_limit() {
    let message = of(&pod(), &denied(&format!("a\nb\u{7}{}", "é".repeat(2000)))).unwrap().message;
    assert!(message.starts_with("a\u{fffd}b\u{fffd}é"), "{message}");
    assert!(message.len() <= MAX_MESSAGE && message.ends_with('…'), "{}", message.len());
    let mut many = admitted(Mode::Audit, Consequence::Admit);
    many.images = vec![many.images[0].clone(); 128];
    assert!(of(&pod(), &many).unwrap().message.len() <= MAX_MESSAGE);
}

/// It becomes a part of a path to the API server.
#[test]
fn tells_nothing_in_what_is_no_namespace() {
    for namespace in ["", "..", "a/b", "a?b", "A", "a.b", "-a", "a%2fb", &"a".repeat(64)] {
        let mut request = pod();
        request.workload.namespace = namespace.to_owned();
        assert_eq!(of(&request, &denied("no")), None, "{namespace}");
    }
}

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn note(namespace: &str, name: &str, message: &str) -> Note {
    Note {
        namespace: Some(namespace.to_owned()),
        regarding: object("Pod", name),
        reason: Reason::Denied,
        message: message.to_owned(),
    }
}

fn created(noted: Noted) -> String {
    let Noted::New(Write::Create { name, .. }) = noted else { panic!("{noted:?}") };
    name
}

#[test]
fn writes_once_and_counts_what_repeats() {
    let mut ledger = Ledger::new(at(0));
    let note = note("team-a", "web", "no");
    let name = created(ledger.note(note.clone(), at(0)));
    assert!(name.starts_with("web."), "{name}");
    for second in 1..=30 {
        assert_eq!(ledger.note(note.clone(), at(second)), Noted::Merged);
    }
    let every = COUNT_EVERY.as_secs();
    assert_eq!(ledger.due(at(every - 1)), [], "not yet");
    let wanted = Write::Count { note: note.clone(), name, count: 31, at: at(30) };
    assert_eq!(ledger.due(at(every)), [wanted]);
    assert_eq!(ledger.due(at(every * 3)), [], "nothing new");
    assert_eq!(ledger.note(note.clone(), at(every * 3)), Noted::Merged);
    assert_eq!(ledger.due(at(every * 3)).len(), 1);
}

#[test]
fn tells_apart_by_object_reason_and_message() {
    let mut ledger = Ledger::new(at(0));
    let first = note("team-a", "web", "no");
    let others = [
        Note { namespace: Some("team-b".to_owned()), ..first.clone() },
        Note { regarding: object("Pod", "db"), ..first.clone() },
        Note { regarding: object("Job", "web"), ..first.clone() },
        Note { reason: Reason::WouldBeDenied, ..first.clone() },
        Note { message: "other".to_owned(), ..first.clone() },
    ];
    let mut names: Vec<String> = vec![created(ledger.note(first, at(0)))];
    names.extend(others.map(|other| created(ledger.note(other, at(0)))));
    let distinct: BTreeMap<&String, ()> = names.iter().map(|name| (name, ())).collect();
    assert_eq!(distinct.len(), names.len(), "{names:?}");
}

#[test]
fn forgets_what_is_not_seen_for_long_or_could_not_be_written() {
    let mut ledger = Ledger::new(at(0));
    let note = note("team-a", "web", "no");
    let first = created(ledger.note(note.clone(), at(0)));
    let later = at(0) + FORGET_AFTER;
    assert_eq!(ledger.note(note.clone(), later), Noted::Merged);
    let gone = later + FORGET_AFTER + SignedDuration::from_secs(1);
    let second = created(ledger.note(note.clone(), gone));
    assert_ne!(first, second);
    ledger.forget(&note);
    assert_ne!(created(ledger.note(note, gone)), second);
}

#[test]
fn a_flood_in_one_namespace_is_limited_and_spares_the_others() {
    let mut ledger = Ledger::new(at(0));
    let mut limited = 0;
    for index in 0..1000 {
        let flood = note("team-a", &format!("p{index}"), "no");
        limited += usize::from(ledger.note(flood, at(0)) == Noted::Limited);
    }
    assert_eq!(limited, 980);
    created(ledger.note(note("team-b", "web", "no"), at(0)));
    // What was not written is no Event to count on.
    created(ledger.note(note("team-a", "p999", "no"), at(60)));
}

#[test]
fn a_count_waits_for_the_budget() {
    let mut ledger = Ledger::new(at(0));
    let notes: Vec<Note> = (0..20).map(|n| note("team-a", &format!("p{n}"), "no")).collect();
    for note in &notes {
        created(ledger.note(note.clone(), at(0)));
        assert_eq!(ledger.note(note.clone(), at(1)), Noted::Merged);
    }
    assert_eq!(ledger.due(at(60)).len(), 10, "a minute's budget");
    assert_eq!(ledger.due(at(120)).len(), 10, "the rest");
    assert_eq!(ledger.due(at(600)), []);
}

#[test]
fn remembers_a_bounded_number_and_forgets_the_longest_unseen() {
    let mut ledger = Ledger::new(at(0));
    let nth = |n: i64| note(&format!("n{}", n % 500), &format!("p{n}"), "no");
    let most = i64::try_from(MAX_REMEMBERED).unwrap();
    // Slowly enough for the budget, quickly enough not to be forgotten for their age.
    let when = |n: i64| at(0) + SignedDuration::from_millis(210 * n);
    for n in 0..most {
        created(ledger.note(nth(n), when(n)));
    }
    assert_eq!(ledger.note(nth(0), when(most)), Noted::Merged, "seen again");
    created(ledger.note(nth(most), when(most)));
    assert_eq!(ledger.note(nth(0), when(most)), Noted::Merged);
    assert_eq!(ledger.note(nth(2), when(most)), Noted::Merged);
    created(ledger.note(nth(1), when(most + 50)));
}

/// Method and path of each request, with its body.
type Asked = Arc<Mutex<Vec<(String, Value)>>>;

/// A client of an API server that answers so, and what it was asked.
fn api_server(status: u16) -> (Client, Asked) {
    let log = Arc::new(Mutex::new(Vec::new()));
    let asked = Arc::clone(&log);
    let service = tower::service_fn(move |request: http::Request<kube::client::Body>| {
        let asked = Arc::clone(&asked);
        async move {
            let line = format!("{} {}", request.method(), request.uri());
            let body = request.into_body().collect_bytes().await.unwrap();
            asked.lock().unwrap().push((line, serde_json::from_slice(&body).unwrap()));
            let answer = json!({ "metadata": {}, "involvedObject": {} });
            let response = http::Response::builder().status(status);
            Ok::<_, BoxError>(response.body(Body::from(answer.to_string())).unwrap())
        }
    });
    (Client::new(service, "default"), log)
}

async fn written(status: u16, write: &Write) -> (EventOutcome, String, Value) {
    let (client, log) = api_server(status);
    let reporter = Reporter { component: "tegata".to_owned(), instance: "tegata-0".to_owned() };
    let outcome = Writer::new(client, reporter).write(write).await;
    let (line, body) = log.lock().unwrap().remove(0);
    (outcome, line, body)
}

#[tokio::test]
async fn an_event_is_what_kubectl_looks_for() {
    let (note, name) = (note("team-a", "web", "no"), "web.1".to_owned());
    let create = Write::Create { note: note.clone(), name, at: at(0) };
    let (outcome, line, body) = written(201, &create).await;
    assert_eq!(outcome, EventOutcome::Created);
    assert_eq!(line.split('?').next(), Some("POST /api/v1/namespaces/team-a/events"));
    let time = "2027-01-15T08:00:00Z";
    let wanted = json!({
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": { "name": "web.1", "namespace": "team-a" },
        "involvedObject":
            { "apiVersion": "v1", "kind": "Pod", "name": "web", "namespace": "team-a", "uid": "u" },
        "type": "Warning",
        "reason": "ImageDenied",
        "message": "no",
        "action": "Admission",
        "source": { "component": "tegata" },
        "reportingComponent": "tegata",
        "reportingInstance": "tegata-0",
        "count": 1,
        "firstTimestamp": time,
        "lastTimestamp": time,
    });
    assert_eq!(body, wanted);
}

#[tokio::test]
async fn a_count_changes_nothing_else() {
    let (note, name) = (note("team-a", "web", "no"), "web.1".to_owned());
    let count = Write::Count { note, name, count: 7, at: at(60) };
    let (outcome, line, body) = written(200, &count).await;
    assert_eq!(outcome, EventOutcome::Updated);
    assert_eq!(line.split('?').next(), Some("PATCH /api/v1/namespaces/team-a/events/web.1"));
    assert_eq!(body, json!({ "count": 7, "lastTimestamp": "2027-01-15T08:01:00Z" }));
    for status in [403, 404, 409, 500] {
        assert_eq!(written(status, &count).await.0, EventOutcome::Failed, "{status}");
    }
}

#[tokio::test]
async fn an_event_on_an_object_of_the_cluster_is_in_the_namespace_for_those() {
    let regarding = ObjectRef {
        api_version: "tegata.dev/v1alpha1".to_owned(),
        kind: "TrustRoot".to_owned(),
        ..object("", "private")
    };
    for (reason, kind) in [
        (Reason::RefreshRecovered, "Normal"),
        (Reason::RefreshRefused, "Warning"),
        (Reason::RefreshUnavailable, "Warning"),
        (Reason::RootChanged, "Normal"),
    ] {
        let (regarding, message) = (regarding.clone(), "so".to_owned());
        let note = Note { namespace: None, regarding, reason, message };
        let create = Write::Create { note, name: "private.1".to_owned(), at: at(0) };
        let (outcome, line, body) = written(201, &create).await;
        assert_eq!(outcome, EventOutcome::Created);
        assert_eq!(line.split('?').next(), Some("POST /api/v1/namespaces/default/events"));
        assert_eq!(body["metadata"]["namespace"], "default");
        let about = json!({ "apiVersion": "tegata.dev/v1alpha1", "kind": "TrustRoot",
            "name": "private", "uid": "u" });
        assert_eq!(body["involvedObject"], about, "without a namespace");
        assert_eq!((&body["type"], &body["action"]), (&json!(kind), &json!("Refresh")));
        assert_eq!(body["reason"], reason.as_str());
    }
}

#[test]
fn workloads_do_not_use_up_what_trust_roots_are_told_with() {
    let mut ledger = Ledger::new(at(0));
    for index in 0..50 {
        ledger.note(note("default", &format!("p{index}"), "no"), at(0));
    }
    let of_root = Note { namespace: None, ..note("", "private", "so") };
    created(ledger.note(of_root, at(0)));
}
