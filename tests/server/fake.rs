//! A pipeline that does what the request's name says, and the requests for it.
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use tegata::admission::Consequence;
use tegata::admission::Decision;
use tegata::admission::FieldReport;
use tegata::admission::Request;
use tegata::policy::PolicySnapshot;
use tegata::server::Admit;
use tegata::verdict::ImageReport;
use tegata::verdict::Verdict;

/// Admits, unless the request's name asks for something else.
#[derive(Clone, Default)]
pub(crate) struct Fake {
    pub(crate) asked: Arc<AtomicUsize>,
    pub(crate) abandoned: Arc<AtomicUsize>,
    pub(crate) release: Arc<tokio::sync::Notify>,
}

pub(crate) struct Abandoned(Option<Arc<AtomicUsize>>);

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
            _ => request.images.iter().map(|image| report(&image.text)).collect(),
        };
        let allowed = request.name != "deny";
        let warning = match request.name.as_str() {
            "endpoint" => request.endpoint.as_str().to_owned(),
            _ => format!("{} policies", snapshot.policies().len()),
        };
        Decision {
            allowed,
            message: if allowed { String::new() } else { "denied by the fake".to_owned() },
            warnings: vec![warning],
            retry: false,
            images,
        }
    }

    fn admit_known(&self, request: &Request, _: &PolicySnapshot, _: Timestamp) -> Option<Decision> {
        let images = match request.name.as_str() {
            "known" => request.images.iter().map(|image| report(&image.text)).collect(),
            "known-careless" => vec![],
            "known-panic" => panic!("a defect"),
            _ => return None,
        };
        let (message, warnings) = (String::new(), vec!["known".to_owned()]);
        Some(Decision { allowed: true, message, warnings, retry: false, images })
    }
}

pub(crate) fn report(image: &str) -> FieldReport {
    FieldReport {
        path: "spec.containers[0].image".to_owned(),
        pointer: "/spec/containers/0/image".to_owned(),
        text: image.to_owned(),
        pinned: None,
        unpinned: false,
        consequence: Consequence::Admit,
        report: ImageReport {
            image: image.to_owned(),
            digest: None,
            verdict: Verdict::Verified,
            failure: None,
            policies: vec![],
        },
    }
}

pub(crate) fn review(name: &str) -> Value {
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

/// The `response` of a review that answers the request `name`.
pub(crate) fn response_of(text: &str, name: &str) -> Value {
    let review: Value = serde_json::from_str(text).unwrap();
    assert_eq!(review["apiVersion"], "admission.k8s.io/v1", "{text}");
    assert_eq!(review["kind"], "AdmissionReview", "{text}");
    assert_eq!(review["response"]["uid"], format!("uid-{name}"), "{text}");
    review["response"].clone()
}

/// Asserts that `response` is an indeterminate denial for `reason`.
pub(crate) fn assert_indeterminate(response: &Value, reason: &str) {
    assert_eq!(response["allowed"], false, "{response}");
    assert_eq!(response["status"]["code"], 503, "{response}");
    let message = response["status"]["message"].as_str().unwrap();
    assert!(message.contains(&format!("indeterminate ({reason})")), "{message}");
    assert!(!message.contains('\n'), "{message}");
}
