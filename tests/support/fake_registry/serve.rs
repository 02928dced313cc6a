//! How the registry answers, well or badly.
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::http::Response;
use axum::http::StatusCode;
use axum::http::header;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use futures::stream;
use serde_json::Value;
use serde_json::json;
use tokio::sync::watch;

use super::Auth;
use super::Fault;
use super::INDEX_TYPE;
use super::Logged;

#[derive(Debug)]
pub(super) struct Contents {
    /// Changes whenever a request is held.
    pub(super) arrivals: watch::Sender<()>,
    pub(super) authority: String,
    pub(super) auth: Auth,
    pub(super) blobs: HashMap<String, Bytes>,
    pub(super) faults: Vec<(String, Fault, usize)>,
    /// Holds back answers: each until the number grows.
    pub(super) gate: Option<watch::Sender<usize>>,
    /// The paths of the requests that are held.
    pub(super) held: Vec<String>,
    pub(super) log: Vec<Logged>,
    pub(super) manifests: BTreeMap<(String, String), (String, Bytes)>,
    pub(super) page_size: usize,
    pub(super) referrers_api: bool,
    pub(super) tags: HashMap<(String, String), String>,
    pub(super) tls: bool,
    pub(super) tokens: usize,
}

pub(super) fn lock(state: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

pub(super) fn router(state: Arc<Mutex<Contents>>) -> Router {
    Router::new().fallback(serve).with_state(state)
}

async fn serve(State(state): State<Arc<Mutex<Contents>>>, request: Request) -> Response<Body> {
    let path = request.uri().path_and_query().map(ToString::to_string).unwrap_or_default();
    let method = request.method().to_string();
    let headers = request.headers().clone();
    let form = axum::body::to_bytes(request.into_body(), 64 << 10).await.unwrap_or_default();
    let gate = lock(&state).hold(&path);
    if let Some(mut gate) = gate {
        let _ = gate.changed().await;
    }
    let (faults, answer) = answer(&state, &path, method, &headers, &form);
    for (fault, _) in &faults {
        if let Fault::Late(pause) = fault {
            tokio::time::sleep(*pause).await;
        }
    }
    faults.into_iter().fold(answer, misbehave)
}

/// The answer to a request, and what goes wrong with it.
fn answer(
    state: &Mutex<Contents>,
    path: &str,
    method: String,
    headers: &HeaderMap,
    form: &[u8],
) -> (Vec<(Fault, usize)>, Response<Body>) {
    let mut contents = lock(state);
    let authorization = text(headers, header::AUTHORIZATION);
    contents.log.push(Logged { method, path: path.to_owned(), authorization });
    let faults = contents.faults_for(path);
    let answer = if path.starts_with("/token") {
        contents.token(headers, form)
    } else if let Some(challenge) = contents.challenge(headers) {
        challenge
    } else {
        contents.answer(path)
    };
    (faults, answer)
}

fn misbehave(mut answer: Response<Body>, (fault, count): (Fault, usize)) -> Response<Body> {
    let endless = || {
        let chunk = Bytes::from(vec![b' '; 64 << 10]);
        Body::from_stream(stream::repeat_with(move || Ok::<_, io::Error>(chunk.clone())))
    };
    match fault {
        Fault::AnnounceLength(length) => {
            *answer.body_mut() = endless();
            put(&mut answer, "content-length", &length.to_string());
            *answer.status_mut() = StatusCode::OK;
        }
        Fault::AnswerFrom(first, bytes) if count >= first => {
            answer = respond(200, bytes);
        }
        Fault::AnswerFrom(..) => {}
        Fault::Endless => {
            *answer.status_mut() = StatusCode::OK;
            answer.headers_mut().remove(header::CONTENT_LENGTH);
            *answer.body_mut() = endless();
        }
        Fault::Error(status, code) => {
            let body = json!({"errors": [{"code": code, "message": "no"}]});
            answer = respond(status, body.to_string().into());
        }
        Fault::Gzip => put(&mut answer, "content-encoding", "gzip"),
        Fault::Header(name, value) => put(&mut answer, name, &value),
        Fault::Late(_) => {}
        Fault::Slow(pause) => {
            *answer.status_mut() = StatusCode::OK;
            let drops = stream::unfold((), move |()| async move {
                tokio::time::sleep(pause).await;
                Some((Ok::<_, io::Error>(Bytes::from_static(b" ")), ()))
            });
            *answer.body_mut() = Body::from_stream(drops);
        }
        Fault::Status { status, times, retry_after } if count <= times => {
            answer = respond(status, Bytes::new());
            if let Some(seconds) = retry_after {
                put(&mut answer, "retry-after", &seconds.to_string());
            }
        }
        Fault::Status { .. } => {}
        Fault::Redirect(target) => {
            answer = respond(307, Bytes::new());
            put(&mut answer, "location", &target);
        }
    }
    answer
}

impl Contents {
    pub(super) fn new(address: SocketAddr, tls: bool) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            authority: address.to_string(),
            arrivals: watch::Sender::new(()),
            auth: Auth::Anonymous,
            blobs: HashMap::new(),
            faults: Vec::new(),
            gate: None,
            held: Vec::new(),
            log: Vec::new(),
            manifests: BTreeMap::new(),
            page_size: 1_000,
            referrers_api: true,
            tags: HashMap::new(),
            tls,
            tokens: 0,
        }))
    }

    /// What lets a request go on, where answers are held back.
    fn hold(&mut self, path: &str) -> Option<watch::Receiver<usize>> {
        let gate = self.gate.as_ref()?.subscribe();
        self.held.push(path.to_owned());
        self.arrivals.send_replace(());
        Some(gate)
    }

    fn faults_for(&mut self, path: &str) -> Vec<(Fault, usize)> {
        let faults = self.faults.iter_mut().filter(|(text, ..)| path.contains(text.as_str()));
        faults
            .map(|(_, fault, count)| {
                *count += 1;
                (fault.clone(), *count)
            })
            .collect()
    }

    /// The 401 answer, unless the request may pass.
    fn challenge(&self, headers: &HeaderMap) -> Option<Response<Body>> {
        let sent = text(headers, header::AUTHORIZATION);
        let challenge = match &self.auth {
            Auth::Anonymous => return None,
            Auth::Basic { username, password } => {
                if sent == Some(basic(username, password)) {
                    return None;
                }
                "Basic realm=\"fake\"".to_owned()
            }
            Auth::Bearer { realm, .. } => {
                if self.tokens > 0 && sent == Some(format!("Bearer token-{}", self.tokens)) {
                    return None;
                }
                let scheme = if self.tls { "https" } else { "http" };
                let own = format!("{scheme}://{}/token", self.authority);
                let realm = realm.as_deref().unwrap_or(&own);
                format!("Bearer realm=\"{realm}\",service=\"fake\",scope=\"registry:catalog:*\"")
            }
        };
        let body = json!({"errors": [{"code": "UNAUTHORIZED", "message": "no"}]});
        let mut answer = respond(401, body.to_string().into());
        put(&mut answer, "www-authenticate", &challenge);
        Some(answer)
    }

    /// The token service. Every token replaces the one before it.
    fn token(&mut self, headers: &HeaderMap, form: &[u8]) -> Response<Body> {
        let Auth::Bearer { user, expires_in, .. } = &self.auth else {
            return respond(404, Bytes::new());
        };
        let sent = text(headers, header::AUTHORIZATION);
        let refresh = String::from_utf8_lossy(form);
        let allowed = user.as_ref().is_none_or(|(username, password)| {
            sent == Some(basic(username, password))
                || refresh.contains(&format!("refresh_token={password}"))
        });
        if !allowed {
            return respond(401, Bytes::new());
        }
        self.tokens += 1;
        let token = format!("token-{}", self.tokens);
        let body = json!({"token": token, "expires_in": expires_in});
        respond(200, body.to_string().into())
    }

    fn answer(&self, path: &str) -> Response<Body> {
        let (path, query) = path.split_once('?').unwrap_or((path, ""));
        let Some(path) = path.strip_prefix("/v2/") else {
            return not_found();
        };
        if path.is_empty() {
            return respond(200, "{}".into());
        }
        let path = path.replace("%3A", ":");
        let mut parts = path.rsplitn(3, '/');
        let (Some(reference), Some(kind), Some(repository)) =
            (parts.next(), parts.next(), parts.next())
        else {
            return not_found();
        };
        match kind {
            "blobs" => match self.blobs.get(reference) {
                Some(bytes) => respond(200, bytes.clone()),
                None => not_found(),
            },
            "manifests" => self.manifest(repository, reference),
            "referrers" if self.referrers_api => self.referrers(repository, reference, query),
            _ => not_found(),
        }
    }

    fn manifest(&self, repository: &str, reference: &str) -> Response<Body> {
        let tag = self.tags.get(&(repository.to_owned(), reference.to_owned()));
        let digest = tag.map_or(reference, String::as_str).to_owned();
        match self.manifests.get(&(repository.to_owned(), digest.clone())) {
            Some((media_type, bytes)) => {
                let mut answer = respond(200, bytes.clone());
                put(&mut answer, "content-type", media_type);
                put(&mut answer, "docker-content-digest", &digest);
                answer
            }
            None => not_found(),
        }
    }

    fn referrers(&self, repository: &str, digest: &str, query: &str) -> Response<Body> {
        let page: usize = query.strip_prefix("page=").and_then(|n| n.parse().ok()).unwrap_or(0);
        let mut entries = Vec::new();
        for ((stored_in, stored), (media_type, bytes)) in &self.manifests {
            let manifest: Value = serde_json::from_slice(bytes).unwrap_or_default();
            if stored_in != repository || manifest["subject"]["digest"] != digest {
                continue;
            }
            let config = &manifest["config"]["mediaType"];
            let artifact_type = manifest.get("artifactType").unwrap_or(config);
            entries.push(json!({"mediaType": media_type, "digest": stored, "size": bytes.len(),
                "artifactType": artifact_type, "annotations": manifest["annotations"]}));
        }
        let more = self.page_size == 0 || entries.len() > (page + 1) * self.page_size;
        if self.page_size > 0 {
            entries = entries.split_off((page * self.page_size).min(entries.len()));
            entries.truncate(self.page_size);
        }
        let index = json!({"schemaVersion": 2, "mediaType": INDEX_TYPE, "manifests": entries});
        let mut answer = respond(200, index.to_string().into());
        put(&mut answer, "content-type", INDEX_TYPE);
        if more {
            let next = page + 1;
            let link = format!("</v2/{repository}/referrers/{digest}?page={next}>; rel=\"next\"");
            put(&mut answer, "link", &link);
        }
        answer
    }
}

fn respond(status: u16, body: Bytes) -> Response<Body> {
    let mut answer = Response::new(Body::from(body));
    *answer.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::OK);
    answer
}

fn not_found() -> Response<Body> {
    let body = json!({"errors": [{"code": "NOT_FOUND", "message": "not here"}]});
    respond(404, body.to_string().into())
}

fn put(answer: &mut Response<Body>, name: &'static str, value: &str) {
    if let Ok(value) = value.parse() {
        answer.headers_mut().insert(name, value);
    }
}

fn text(headers: &HeaderMap, name: header::HeaderName) -> Option<String> {
    headers.get(name)?.to_str().ok().map(str::to_owned)
}

fn basic(username: &str, password: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{username}:{password}")))
}
