//! An API server in memory: lists, watches, patches of statuses, and a Lease; able to be away.
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::io;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use axum::body::Body;
use axum::http::Method;
use axum::http::Request;
use axum::http::Response;
use axum::http::StatusCode;
use futures::StreamExt as _;
use futures::stream;
use kube::Client;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;
use tower::service_fn;

/// Clones share their state.
#[derive(Clone, Default)]
pub(crate) struct FakeApi {
    state: Arc<Mutex<State>>,
    /// Changes with the log, and when the server goes away.
    news: watch::Sender<()>,
}

#[derive(Default)]
struct State {
    version: u64,
    /// By list and name.
    objects: BTreeMap<(String, String), Value>,
    /// Each event with its version, list and name.
    log: Vec<(u64, String, String, String)>,
    away: bool,
    forbidden: Vec<String>,
    patches: Vec<(String, Value)>,
    posts: Vec<(String, Value)>,
}

impl FakeApi {
    pub(crate) fn client(&self) -> Client {
        let api = self.clone();
        let answer = move |request: Request<kube::client::Body>| {
            let api = api.clone();
            async move { api.answer(request).await }
        };
        Client::new(service_fn(answer), "default")
    }

    /// Puts an object into `list`, for example `/api/v1/namespaces`.
    pub(crate) fn put(&self, list: &str, namespace: Option<&str>, name: &str, fields: Value) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let mut object = json!({"apiVersion": "v", "kind": "k", "metadata": {
            "name": name, "namespace": namespace, "uid": format!("{list}/{name}"),
            "generation": version, "resourceVersion": version.to_string(),
        }});
        merge(&mut object, &fields);
        let name = format!("{}/{name}", namespace.unwrap_or_default());
        let line = format!(r#"{{"type":"MODIFIED","object":{object}}}"#);
        state.log.push((version, list.to_owned(), name.clone(), line));
        state.objects.insert((list.to_owned(), name), object);
        drop(state);
        self.news.send_replace(());
    }

    pub(crate) fn delete(&self, list: &str, namespace: Option<&str>, name: &str) {
        let mut state = self.state();
        state.version += 1;
        let version = state.version;
        let name = format!("{}/{name}", namespace.unwrap_or_default());
        let mut object = state.objects.remove(&(list.to_owned(), name.clone())).unwrap();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let line = format!(r#"{{"type":"DELETED","object":{object}}}"#);
        state.log.push((version, list.to_owned(), name, line));
        drop(state);
        self.news.send_replace(());
    }

    /// Whether the server is away: connections break and are refused.
    pub(crate) fn away(&self, away: bool) {
        self.state().away = away;
        self.news.send_replace(());
    }

    /// Answers requests to paths that end in this with 403, or again as usual.
    pub(crate) fn forbid(&self, ending: &str, forbidden: bool) {
        let mut state = self.state();
        state.forbidden.retain(|other| other != ending);
        if forbidden {
            state.forbidden.push(ending.to_owned());
        }
    }

    /// The statuses that were written, with their paths.
    pub(crate) fn patches(&self) -> Vec<(String, Value)> {
        self.state().patches.clone()
    }

    /// What was created other than a Lease, with its path.
    pub(crate) fn posts(&self) -> Vec<(String, Value)> {
        self.state().posts.clone()
    }

    pub(crate) fn object(&self, list: &str, name: &str) -> Value {
        self.state().objects.get(&(list.to_owned(), name.to_owned())).cloned().unwrap_or_default()
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap()
    }

    async fn answer(&self, request: Request<kube::client::Body>) -> io::Result<Response<Body>> {
        let (parts, body) = request.into_parts();
        let path = parts.uri.path().to_owned();
        let body = body.collect_bytes().await.unwrap();
        let body: Value = serde_json::from_slice(&body).unwrap_or_default();
        let query: BTreeMap<String, String> =
            url::form_urlencoded::parse(parts.uri.query().unwrap_or_default().as_bytes())
                .into_owned()
                .collect();
        let mut state = self.state();
        if state.away {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        }
        if state.forbidden.iter().any(|ending| path.ends_with(ending)) {
            return Ok(failure(StatusCode::FORBIDDEN));
        }
        if path.contains("/leases") {
            return Ok(state.lease(&parts.method, &path, body));
        }
        if parts.method == Method::PATCH {
            state.patches.push((path, body));
            return Ok(Response::new(Body::from("{}")));
        }
        if parts.method == Method::POST {
            let created = Response::new(Body::from(body.to_string()));
            state.posts.push((path, body));
            return Ok(created);
        }
        let name = query.get("fieldSelector").and_then(|s| s.strip_prefix("metadata.name="));
        let name = name.map(str::to_owned);
        if query.contains_key("watch") {
            drop(state);
            let from = query["resourceVersion"].parse().unwrap();
            return Ok(Response::new(self.watch(path, name, from)));
        }
        let items = state.objects.iter().filter(|((list, of), _)| {
            *list == path && name.as_ref().is_none_or(|name| of.ends_with(&format!("/{name}")))
        });
        let items: Vec<&Value> = items.map(|(_, object)| object).collect();
        let version = state.version.to_string();
        let list = json!({"metadata": {"resourceVersion": version}, "items": items});
        Ok(Response::new(Body::from(list.to_string())))
    }

    fn watch(&self, list: String, name: Option<String>, from: u64) -> Body {
        let (api, news) = (self.clone(), self.news.subscribe());
        let lines = stream::unfold((from, news), move |(from, mut news)| {
            let (api, list, name) = (api.clone(), list.clone(), name.clone());
            async move {
                loop {
                    let next = {
                        let state = api.state();
                        if state.away {
                            return None;
                        }
                        let mut log = state.log.iter();
                        log.find(|(version, of, object, _)| {
                            let named = |name| object.ends_with(&format!("/{name}"));
                            *version > from && *of == list && name.as_ref().is_none_or(named)
                        })
                        .cloned()
                    };
                    if let Some((version, _, _, line)) = next {
                        return Some((Ok::<_, Infallible>(format!("{line}\n")), (version, news)));
                    }
                    news.changed().await.ok()?;
                }
            }
        });
        Body::from_stream(lines.boxed())
    }
}

impl State {
    fn lease(&mut self, method: &Method, path: &str, mut body: Value) -> Response<Body> {
        let list = path.split("/leases").next().unwrap().to_owned() + "/leases";
        let key = (list, "lease".to_owned());
        let held = self.objects.get(&key).cloned();
        let version = |lease: &Value| lease["metadata"]["resourceVersion"].clone();
        if *method == Method::GET {
            return held.map_or_else(
                || failure(StatusCode::NOT_FOUND),
                |l| Response::new(l.to_string().into()),
            );
        }
        if held.as_ref().map(version).unwrap_or_default() != version(&body) {
            return failure(StatusCode::CONFLICT);
        }
        self.version += 1;
        body["metadata"]["resourceVersion"] = json!(self.version.to_string());
        self.objects.insert(key, body.clone());
        Response::new(body.to_string().into())
    }
}

fn failure(code: StatusCode) -> Response<Body> {
    let reason = code.canonical_reason().unwrap().replace(' ', "");
    let message = code.to_string();
    let status =
        json!({"status": "Failure", "code": code.as_u16(), "reason": reason, "message": message});
    Response::builder().status(code).body(status.to_string().into()).unwrap()
}

fn merge(into: &mut Value, from: &Value) {
    for (name, value) in from.as_object().unwrap() {
        if value.is_object() && into[name].is_object() {
            merge(&mut into[name], value);
        } else {
            into[name] = value.clone();
        }
    }
}
