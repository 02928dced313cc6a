//! `FakeRekor`: the search of a Rekor log in process, on `127.0.0.1:0`, that can misbehave.
//!
//! Entries are put into it as [`crate::virtual_sigstore`] made them. It hands out whatever it was
//! given under whatever hash, counts every request, and also offers a public key, which nobody may
//! ask for. It needs a tokio runtime and stops when dropped.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "test support: included by several programs, each of which uses a part"
)]
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;

use axum::Router;
use axum::body::Body;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::Response;
use axum::http::Uri;
use serde_json::Value;
use serde_json::json;
use tegata::evidence::LogUrl;
use tegata::image::Digest;

/// How to misbehave.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Sends white space without end.
    Endless,
    /// Never answers.
    Hang,
    /// Redirects there, with status 307.
    Redirect(String),
    /// Answers with this status.
    Status(u16),
    /// Answers with this text.
    Text(String),
}

#[derive(Debug, Default)]
struct Contents {
    entries: BTreeMap<String, Value>,
    index: BTreeMap<String, Vec<String>>,
    faults: Vec<(&'static str, Fault)>,
    requests: Vec<String>,
}

/// The log. Clones are the same log.
#[derive(Clone, Debug)]
pub struct FakeRekor {
    url: String,
    contents: Arc<Mutex<Contents>>,
    _stop: Arc<Stop>,
}

#[derive(Debug)]
struct Stop(tokio::task::AbortHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

impl FakeRekor {
    /// Starts over plain HTTP.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let contents = Arc::new(Mutex::new(Contents::default()));
        let router = Router::new().fallback(answer).with_state(contents.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Self { url, contents, _stop: Arc::new(Stop(task.abort_handle())) }
    }

    /// Its address.
    pub fn url(&self) -> LogUrl {
        self.url.parse().unwrap()
    }

    /// Lists an entry, as Rekor's API gives it, under a hash.
    pub fn put(&self, hash: &Digest, entry: &Value) {
        let identifier = Digest::sha256_of(entry.to_string().as_bytes()).hex().to_owned();
        let mut contents = self.contents();
        contents.entries.insert(identifier.clone(), entry.clone());
        contents.index.entry(hash.to_string()).or_default().push(identifier);
    }

    /// Lists so many entries of others under a hash.
    pub fn flood(&self, hash: &Digest, count: usize) {
        let mut contents = self.contents();
        let listed = contents.index.entry(hash.to_string()).or_default();
        let from = listed.len();
        listed.extend((from..from + count).map(|number| format!("{number:064x}")));
    }

    /// Misbehaves for every path that ends in `path`.
    pub fn fault(&self, path: &'static str, fault: Fault) {
        self.contents().faults.push((path, fault));
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.contents().faults.clear();
    }

    /// How many requests had a path that contains `text`.
    pub fn count(&self, text: &str) -> usize {
        self.contents().requests.iter().filter(|path| path.contains(text)).count()
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        self.contents.lock().unwrap()
    }
}

async fn answer(
    State(contents): State<Arc<Mutex<Contents>>>,
    uri: Uri,
    body: Bytes,
) -> Response<Body> {
    let path = uri.path().to_owned();
    let fault = {
        let mut contents = contents.lock().unwrap();
        contents.requests.push(path.clone());
        contents.faults.iter().find(|(end, _)| path.ends_with(end)).map(|(_, fault)| fault.clone())
    };
    let with = |status: u16, body: Body| Response::builder().status(status).body(body).unwrap();
    match fault {
        Some(Fault::Hang) => std::future::pending().await,
        Some(Fault::Status(status)) => with(status, Body::empty()),
        Some(Fault::Text(text)) => with(200, Body::from(text)),
        Some(Fault::Redirect(to)) => {
            let mut response = with(307, Body::empty());
            response.headers_mut().insert("location", to.parse().unwrap());
            response
        }
        Some(Fault::Endless) => {
            let chunk = || Ok::<_, std::io::Error>(Bytes::from_static(&[b' '; 4096]));
            let chunks = futures::stream::repeat_with(chunk);
            with(200, Body::from_stream(chunks))
        }
        None => {
            let asked: Value = serde_json::from_slice(&body).unwrap_or_default();
            let contents = contents.lock().unwrap();
            match found(&contents, &path, &asked) {
                Ok(found) => with(200, Body::from(found.to_string())),
                Err(status) => with(status, Body::empty()),
            }
        }
    }
}

fn found(contents: &Contents, path: &str, asked: &Value) -> Result<Value, u16> {
    match path {
        "/api/v1/index/retrieve" => {
            let hash = asked.pointer("/hash").and_then(Value::as_str).ok_or(400u16)?;
            Ok(json!(contents.index.get(hash).cloned().unwrap_or_default()))
        }
        "/api/v1/log/entries/retrieve" => {
            let wanted = asked.pointer("/entryUUIDs").and_then(Value::as_array).ok_or(400u16)?;
            // As Rekor does, which takes ten at most.
            if wanted.len() > 10 {
                return Err(422);
            }
            let wanted = wanted.iter().filter_map(Value::as_str);
            let known = wanted.filter_map(|id| Some((id, contents.entries.get(id)?)));
            Ok(known.map(|(id, entry)| json!({ id: entry })).collect())
        }
        "/api/v1/log/publicKey" => Ok(json!("a key of its own")),
        _ => Err(404),
    }
}
