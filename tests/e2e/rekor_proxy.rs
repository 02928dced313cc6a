//! A proxy before Rekor v1 that hands out what the log says, except where it is told to lie.
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use anyhow::Result;
use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;
use axum::http::header::CONNECTION;
use axum::response::IntoResponse as _;
use axum::response::Response;
use serde_json::Value;
use serde_json::json;

use super::sigstore::REKOR_V1;

/// The proxy's address, which Tegata is allowed to ask.
pub const ADDRESS: &str = "127.0.0.1:3010";

/// How long the log may take to answer.
const ANSWER: Duration = Duration::from_secs(5);

/// The proxy. It stops when dropped: nobody is left to answer then.
pub struct RekorProxy {
    lies: Arc<Mutex<Lies>>,
    server: tokio::task::JoinHandle<()>,
}

#[derive(Default)]
struct Lies {
    /// What every request is answered with.
    status: Option<StatusCode>,
    /// What is said in place of an entry, by its identifier.
    entries: BTreeMap<String, Value>,
    /// What is listed in place of what the log lists, by hash.
    lists: BTreeMap<String, Value>,
    /// The lies that were told: identifiers and hashes.
    told: Vec<String>,
}

impl RekorProxy {
    /// Starts it. It tells no lie yet.
    pub async fn start() -> Result<Self> {
        let listener = tokio::net::TcpListener::bind(ADDRESS).await?;
        let lies = Arc::<Mutex<Lies>>::default();
        let router = Router::new().fallback(answer).with_state(Arc::clone(&lies));
        let server = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { lies, server })
    }

    /// From now on everything is answered with this status, or as it was before.
    pub fn fail(&self, status: Option<StatusCode>) {
        lock(&self.lies).status = status;
    }

    /// From now on this is said in place of the entry with this identifier.
    pub fn replace_entry(&self, identifier: &str, entry: Value) {
        lock(&self.lies).entries.insert(identifier.to_owned(), entry);
    }

    /// From now on this entry alone is listed under this hash.
    pub fn replace_list(&self, hash: &str, identifier: &str) {
        lock(&self.lies).lists.insert(hash.to_owned(), json!([identifier]));
    }

    /// Whether the lie about this entry or hash was told.
    pub fn has_told(&self, what: &str) -> bool {
        lock(&self.lies).told.iter().any(|told| told == what)
    }
}

impl Drop for RekorProxy {
    fn drop(&mut self) {
        self.server.abort();
    }
}

fn lock(lies: &Mutex<Lies>) -> MutexGuard<'_, Lies> {
    lies.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Every connection is closed after its answer, so that none is left when the proxy stops.
async fn answer(State(lies): State<Arc<Mutex<Lies>>>, uri: Uri, asked: Bytes) -> Response {
    let status = lock(&lies).status;
    let answer = match status {
        Some(status) => Err(status),
        None => forward(&uri, &asked).await.map_err(|_| StatusCode::BAD_GATEWAY),
    };
    let answer = answer.map(|mut answer| {
        lock(&lies).alter(&asked, &mut answer);
        axum::Json(answer)
    });
    ([(CONNECTION, "close")], answer).into_response()
}

async fn forward(uri: &Uri, asked: &Bytes) -> Result<Value> {
    let client = reqwest::Client::builder().timeout(ANSWER).build()?;
    let asked: Value = serde_json::from_slice(asked)?;
    let answer = client.post(format!("http://{REKOR_V1}{uri}")).json(&asked).send().await?;
    Ok(answer.error_for_status()?.json().await?)
}

impl Lies {
    /// Alters an answer: a list of identifiers, or a list of entries by theirs.
    fn alter(&mut self, asked: &[u8], answer: &mut Value) {
        let asked: Value = serde_json::from_slice(asked).unwrap_or_default();
        let hash = asked["hash"].as_str().unwrap_or_default();
        if let Some(list) = self.lists.get(hash) {
            *answer = list.clone();
            self.told.push(hash.to_owned());
        }
        let found = answer.as_array_mut().into_iter().flatten().filter_map(Value::as_object_mut);
        for (identifier, entry) in found.flatten() {
            if let Some(lie) = self.entries.get(identifier) {
                *entry = lie.clone();
                self.told.push(identifier.clone());
            }
        }
    }
}
