//! An API server in memory: Secrets and webhook configurations, with resource versions, conflicts
//! and watches.
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::sync::Mutex;

use axum::body::Body;
use axum::http::Method;
use axum::http::Request;
use axum::http::Response;
use bytes::Bytes;
use futures::StreamExt as _;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use serde_json::Value;
use serde_json::json;
use tokio::sync::broadcast;

pub(super) const SECRET: &str = "/api/v1/namespaces/ns/secrets/tls";
pub(super) const MUTATING: &str =
    "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/m";
pub(super) const VALIDATING: &str =
    "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations/v";

#[derive(Clone)]
pub(super) struct FakeApi {
    state: Arc<Mutex<State>>,
    events: broadcast::Sender<(String, Value)>,
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    version: u64,
    /// Method and path of each request that wrote.
    writes: Vec<String>,
    /// Writes that came too late.
    conflicts: usize,
    /// Requests of this method and path are refused with this code.
    refused: BTreeMap<String, u16>,
    /// The next that many reads of this path are each followed at once by another's write.
    hasty: BTreeMap<String, usize>,
}

impl FakeApi {
    pub(super) fn new() -> Self {
        Self { state: Arc::default(), events: broadcast::channel(1024).0 }
    }

    pub(super) fn client(&self) -> Client {
        let api = self.clone();
        let service = tower::service_fn(move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { Ok::<_, Infallible>(api.answer(request).await) }
        });
        Client::new(service, "ns")
    }

    pub(super) fn object(&self, path: &str) -> Option<Value> {
        self.state.lock().unwrap().objects.get(path).cloned()
    }

    pub(super) fn secret(&self) -> Secret {
        serde_json::from_value(self.object(SECRET).unwrap()).unwrap()
    }

    pub(super) fn writes(&self) -> Vec<String> {
        std::mem::take(&mut self.state.lock().unwrap().writes)
    }

    pub(super) fn conflicts(&self) -> usize {
        std::mem::take(&mut self.state.lock().unwrap().conflicts)
    }

    pub(super) fn refuse(&self, request: &str, code: Option<u16>) {
        let refused = &mut self.state.lock().unwrap().refused;
        match code {
            Some(code) => refused.insert(request.to_owned(), code),
            None => refused.remove(request),
        };
    }

    /// Lets someone else write right after each of the next reads.
    pub(super) fn write_after_reads(&self, path: &str, reads: usize) {
        self.state.lock().unwrap().hasty.insert(path.to_owned(), reads);
    }

    /// Writes, as another client.
    pub(super) fn put(&self, path: &str, object: Value) {
        let mut state = self.state.lock().unwrap();
        self.store(&mut state, path, object);
    }

    pub(super) fn change(&self, path: &str, change: impl FnOnce(&mut Value)) {
        let mut state = self.state.lock().unwrap();
        let mut object = state.objects[path].clone();
        change(&mut object);
        self.store(&mut state, path, object);
    }

    pub(super) fn delete(&self, path: &str) {
        let object = self.state.lock().unwrap().objects.remove(path).unwrap();
        let _ = self.events.send((path.to_owned(), event("DELETED", &object)));
    }

    fn store(&self, state: &mut State, path: &str, mut object: Value) -> Value {
        state.version += 1;
        object["metadata"]["resourceVersion"] = state.version.to_string().into();
        object["metadata"]["name"] = path.rsplit('/').next().unwrap().into();
        let known = state.objects.insert(path.to_owned(), object.clone()).is_some();
        let kind = if known { "MODIFIED" } else { "ADDED" };
        let _ = self.events.send((path.to_owned(), event(kind, &object)));
        object
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> Response<Body> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.unwrap();
        // Replicas run at the same time: let the others go on between two requests.
        tokio::task::yield_now().await;
        let path = parts.uri.path().to_owned();
        let query = parts.uri.query().unwrap_or_default();
        let name =
            query.split('&').find_map(|pair| pair.strip_prefix("fieldSelector=metadata.name"));
        let named = |path: &str, name: &str| {
            format!("{path}/{}", name.trim_start_matches("%3D").trim_start_matches('='))
        };
        match (&parts.method, name) {
            (&Method::GET, Some(name)) if query.contains("watch=true") => {
                self.watch(&named(&path, name))
            }
            (&Method::GET, Some(name)) => self.list(&named(&path, name)),
            (&Method::GET, None) => self.get(&path),
            (method, _) => self.write(method, &path, &body),
        }
    }

    fn get(&self, path: &str) -> Response<Body> {
        let mut state = self.state.lock().unwrap();
        if let Some(code) = state.refused.get(&format!("GET {path}")) {
            return refusal(*code);
        }
        let Some(object) = state.objects.get(path).cloned() else { return refusal(404) };
        if state.hasty.get(path).is_some_and(|left| *left > 0) {
            *state.hasty.get_mut(path).unwrap() -= 1;
            self.store(&mut state, path, object.clone());
        }
        Response::new(Body::from(object.to_string()))
    }

    fn list(&self, path: &str) -> Response<Body> {
        let state = self.state.lock().unwrap();
        let items: Vec<_> = state.objects.get(path).map(partial).into_iter().collect();
        let metadata = json!({ "resourceVersion": state.version.to_string() });
        let list = json!({ "kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1",
            "metadata": metadata, "items": items });
        Response::new(Body::from(list.to_string()))
    }

    fn watch(&self, path: &str) -> Response<Body> {
        let path = path.to_owned();
        let events = self.events.subscribe();
        let lines = futures::stream::unfold(events, |mut events| async {
            Some((events.recv().await.ok()?, events))
        });
        let lines = lines.filter_map(move |(of, event)| {
            let line = (of == path).then(|| Bytes::from(format!("{event}\n")));
            async move { line.map(Ok::<_, Infallible>) }
        });
        Response::new(Body::from_stream(lines))
    }

    fn write(&self, method: &Method, path: &str, body: &[u8]) -> Response<Body> {
        let body: Value = serde_json::from_slice(body).unwrap();
        let mut state = self.state.lock().unwrap();
        if let Some(code) = state.refused.get(&format!("{method} {path}")) {
            return refusal(*code);
        }
        let path = match *method {
            Method::POST => format!("{path}/{}", body["metadata"]["name"].as_str().unwrap()),
            _ => path.to_owned(),
        };
        let held = state.objects.get(&path).cloned();
        let version = &body["metadata"]["resourceVersion"];
        let object = match (method.as_str(), held) {
            ("POST", None) => body,
            ("POST", Some(_)) => {
                state.conflicts += 1;
                return refusal(409);
            }
            (_, None) => return refusal(404),
            (_, Some(held)) if *version != held["metadata"]["resourceVersion"] => {
                state.conflicts += 1;
                return refusal(409);
            }
            ("PUT", Some(_)) => body,
            (_, Some(held)) => merged(held, &body),
        };
        state.writes.push(format!("{method} {path}"));
        Response::new(Body::from(self.store(&mut state, &path, object).to_string()))
    }
}

/// A strategic merge patch, as far as webhooks go.
fn merged(mut held: Value, patch: &Value) -> Value {
    for webhook in patch["webhooks"].as_array().unwrap() {
        let mut all = held["webhooks"].as_array_mut().unwrap().iter_mut();
        let found = all.find(|held| held["name"] == webhook["name"]).unwrap();
        found["clientConfig"]["caBundle"] = webhook["clientConfig"]["caBundle"].clone();
    }
    held
}

fn partial(object: &Value) -> Value {
    json!({ "kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1",
        "metadata": object["metadata"] })
}

fn event(kind: &str, object: &Value) -> Value {
    json!({ "type": kind, "object": partial(object) })
}

fn refusal(code: u16) -> Response<Body> {
    let reason = match code {
        404 => "NotFound",
        409 => "Conflict",
        _ => "Forbidden",
    };
    let status = json!({ "kind": "Status", "apiVersion": "v1", "status": "Failure",
        "message": "refused by the test", "reason": reason, "code": code });
    let mut response = Response::new(Body::from(status.to_string()));
    *response.status_mut() = axum::http::StatusCode::from_u16(code).unwrap();
    response
}
