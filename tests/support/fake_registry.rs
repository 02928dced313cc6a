//! `FakeRegistry`: an OCI registry in process, on `127.0.0.1:0`, that can be told to misbehave.
//!
//! Fixtures are put into it directly ([`FakeRegistry::put_manifest`], [`FakeRegistry::put_blob`],
//! [`FakeRegistry::tag`], [`FakeRegistry::push_layout`]); clients only read. [`FakeRegistry::fault`]
//! sets a [`Fault`] for every path that contains a text. Every request is logged. It needs a tokio
//! runtime and stops when dropped.
use std::collections::BTreeMap;
use std::collections::HashMap;
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

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
use tegata::image::Digest;

/// Media type of an image manifest.
pub const MANIFEST_TYPE: &str = "application/vnd.oci.image.manifest.v1+json";

/// Media type of an image index.
pub const INDEX_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// What the registry asks of its clients.
#[derive(Clone, Debug, Default)]
pub enum Auth {
    /// Nothing.
    #[default]
    Anonymous,
    /// User name and password with every request.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: String,
    },
    /// A token of the token service at `/token`.
    Bearer {
        /// Who gets tokens: user name and password; `None` gives them to everyone.
        user: Option<(String, String)>,
        /// Another realm to name in the challenge, for example a foreign one.
        realm: Option<String>,
        /// `expires_in`, in seconds.
        expires_in: u64,
    },
}

/// How to misbehave.
#[derive(Clone, Debug)]
pub enum Fault {
    /// Announces this length, then sends without end.
    AnnounceLength(u64),
    /// Answers with these bytes from the n-th request on, counted from 1.
    AnswerFrom(usize, Bytes),
    /// Sends chunks without end and announces no length.
    Endless,
    /// Claims that the body is compressed.
    Gzip,
    /// Adds a header.
    Header(&'static str, String),
    /// Sends a byte every so often.
    Slow(Duration),
    /// Answers with this status to the first so many requests; with `Retry-After` where given.
    Status {
        /// The status.
        status: u16,
        /// How many requests; `usize::MAX` for all.
        times: usize,
        /// `Retry-After`, in seconds.
        retry_after: Option<u64>,
    },
    /// Redirects there, with status 307.
    Redirect(String),
}

/// One request that came in.
#[derive(Clone, Debug)]
pub struct Logged {
    /// The method.
    pub method: String,
    /// Path and query.
    pub path: String,
    /// The `Authorization` header.
    pub authorization: Option<String>,
}

/// The registry. Clones are the same registry.
#[derive(Clone, Debug)]
pub struct FakeRegistry {
    address: SocketAddr,
    certificate: Option<String>,
    state: Arc<Mutex<Contents>>,
    _stop: Arc<Stop>,
}

#[derive(Debug)]
struct Stop(tokio::task::AbortHandle);

impl Drop for Stop {
    fn drop(&mut self) {
        self.0.abort();
    }
}

#[derive(Debug)]
struct Contents {
    authority: String,
    auth: Auth,
    blobs: HashMap<String, Bytes>,
    faults: Vec<(String, Fault, usize)>,
    log: Vec<Logged>,
    manifests: BTreeMap<(String, String), (String, Bytes)>,
    page_size: usize,
    referrers_api: bool,
    tags: HashMap<(String, String), String>,
    tls: bool,
    tokens: usize,
}

impl FakeRegistry {
    /// Starts over plain HTTP.
    pub async fn start() -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let state = Contents::new(address, false);
        let router = router(state.clone());
        let task = tokio::spawn(async move {
            let _ = axum::serve(listener, router).await;
        });
        Ok(Self::running(address, None, state, &task))
    }

    /// Starts over TLS, with a certificate of its own for `127.0.0.1` and `localhost`.
    pub async fn start_tls() -> io::Result<Self> {
        // Another provider may be installed already, which serves as well.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let names = ["127.0.0.1".to_owned(), "localhost".to_owned()];
        let pair = rcgen::generate_simple_self_signed(names).map_err(io::Error::other)?;
        let pem = pair.cert.pem();
        let key = pair.signing_key.serialize_pem().into_bytes();
        let config =
            axum_server::tls_rustls::RustlsConfig::from_pem(pem.clone().into_bytes(), key).await?;
        let listener = std::net::TcpListener::bind("127.0.0.1:0")?;
        listener.set_nonblocking(true)?;
        let address = listener.local_addr()?;
        let state = Contents::new(address, true);
        let service = router(state.clone()).into_make_service();
        let server = axum_server::from_tcp_rustls(listener, config)?;
        let task = tokio::spawn(async move {
            let _ = server.serve(service).await;
        });
        Ok(Self::running(address, Some(pem), state, &task))
    }

    fn running(
        address: SocketAddr,
        certificate: Option<String>,
        state: Arc<Mutex<Contents>>,
        task: &tokio::task::JoinHandle<()>,
    ) -> Self {
        Self {
            address,
            certificate,
            state,
            _stop: Arc::new(Stop(task.abort_handle())),
        }
    }

    /// `127.0.0.1:port`, for image references.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// The certificate in PEM, when it runs over TLS.
    pub fn certificate(&self) -> Option<&str> {
        self.certificate.as_deref()
    }

    /// Sets what clients must present.
    pub fn set_auth(&self, auth: Auth) {
        self.contents().auth = auth;
    }

    /// Switches the referrers API, which is on at first.
    pub fn set_referrers_api(&self, on: bool) {
        self.contents().referrers_api = on;
    }

    /// Puts at most so many referrers on a page; 0 makes the pages go on for ever.
    pub fn set_page_size(&self, size: usize) {
        self.contents().page_size = size;
    }

    /// Misbehaves for every path with query that contains `path`.
    pub fn fault(&self, path: &str, fault: Fault) {
        self.contents().faults.push((path.to_owned(), fault, 0));
    }

    /// Forgets all faults.
    pub fn heal(&self) {
        self.contents().faults.clear();
    }

    /// The requests so far.
    pub fn log(&self) -> Vec<Logged> {
        self.contents().log.clone()
    }

    /// How many requests had `text` in path or query.
    pub fn count(&self, text: &str) -> usize {
        self.contents()
            .log
            .iter()
            .filter(|request| request.path.contains(text))
            .count()
    }

    /// Stores a blob, for all repositories.
    pub fn put_blob(&self, bytes: impl Into<Bytes>) -> Digest {
        let bytes = bytes.into();
        let digest = Digest::sha256_of(&bytes);
        self.contents().blobs.insert(digest.to_string(), bytes);
        digest
    }

    /// Stores a manifest or index in a repository.
    pub fn put_manifest(&self, repository: &str, manifest: &Value) -> Digest {
        self.put_manifest_bytes(repository, manifest.to_string().into())
    }

    /// Stores the bytes of a manifest or index, whatever they are.
    pub fn put_manifest_bytes(&self, repository: &str, bytes: Bytes) -> Digest {
        let digest = Digest::sha256_of(&bytes);
        let parsed: Value = serde_json::from_slice(&bytes).unwrap_or_default();
        let default = if parsed["manifests"].is_array() {
            INDEX_TYPE
        } else {
            MANIFEST_TYPE
        };
        let media_type = parsed["mediaType"].as_str().unwrap_or(default).to_owned();
        let key = (repository.to_owned(), digest.to_string());
        self.contents().manifests.insert(key, (media_type, bytes));
        digest
    }

    /// Points a tag at a manifest.
    pub fn tag(&self, repository: &str, tag: &str, digest: &Digest) {
        let key = (repository.to_owned(), tag.to_owned());
        self.contents().tags.insert(key, digest.to_string());
    }

    /// Stores everything in an OCI layout folder under a repository, with its tags.
    pub fn push_layout(&self, folder: &Path, repository: &str) -> io::Result<()> {
        for file in std::fs::read_dir(folder.join("blobs/sha256"))? {
            self.put_blob(std::fs::read(file?.path())?);
        }
        let index: Value = serde_json::from_slice(&std::fs::read(folder.join("index.json"))?)?;
        let mut open = vec![index];
        while let Some(index) = open.pop() {
            for entry in index["manifests"].as_array().into_iter().flatten() {
                let digest = entry["digest"].as_str().unwrap_or_default();
                let Some(bytes) = self.contents().blobs.get(digest).cloned() else {
                    continue;
                };
                open.push(serde_json::from_slice(&bytes)?);
                let digest = self.put_manifest_bytes(repository, bytes);
                if let Some(tag) =
                    entry["annotations"]["org.opencontainers.image.ref.name"].as_str()
                {
                    self.tag(repository, tag, &digest);
                }
            }
        }
        Ok(())
    }

    fn contents(&self) -> MutexGuard<'_, Contents> {
        lock(&self.state)
    }
}

fn lock(state: &Mutex<Contents>) -> MutexGuard<'_, Contents> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn router(state: Arc<Mutex<Contents>>) -> Router {
    Router::new().fallback(serve).with_state(state)
}

async fn serve(State(state): State<Arc<Mutex<Contents>>>, request: Request) -> Response<Body> {
    let path = request
        .uri()
        .path_and_query()
        .map(ToString::to_string)
        .unwrap_or_default();
    let method = request.method().to_string();
    let headers = request.headers().clone();
    let form = axum::body::to_bytes(request.into_body(), 64 << 10)
        .await
        .unwrap_or_default();
    let mut contents = lock(&state);
    let authorization = text(&headers, header::AUTHORIZATION);
    contents.log.push(Logged {
        method,
        path: path.clone(),
        authorization,
    });
    let faults = contents.faults_for(&path);
    let answer = if path.starts_with("/token") {
        contents.token(&headers, &form)
    } else if let Some(challenge) = contents.challenge(&headers) {
        challenge
    } else {
        contents.answer(&path)
    };
    drop(contents);
    faults.into_iter().fold(answer, misbehave)
}

fn misbehave(mut answer: Response<Body>, (fault, count): (Fault, usize)) -> Response<Body> {
    let endless = || {
        let chunk = Bytes::from(vec![b' '; 64 << 10]);
        Body::from_stream(stream::repeat_with(move || {
            Ok::<_, io::Error>(chunk.clone())
        }))
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
        Fault::Gzip => put(&mut answer, "content-encoding", "gzip"),
        Fault::Header(name, value) => put(&mut answer, name, &value),
        Fault::Slow(pause) => {
            *answer.status_mut() = StatusCode::OK;
            let drops = stream::unfold((), move |()| async move {
                tokio::time::sleep(pause).await;
                Some((Ok::<_, io::Error>(Bytes::from_static(b" ")), ()))
            });
            *answer.body_mut() = Body::from_stream(drops);
        }
        Fault::Status {
            status,
            times,
            retry_after,
        } if count <= times => {
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
    fn new(address: SocketAddr, tls: bool) -> Arc<Mutex<Self>> {
        Arc::new(Mutex::new(Self {
            authority: address.to_string(),
            auth: Auth::Anonymous,
            blobs: HashMap::new(),
            faults: Vec::new(),
            log: Vec::new(),
            manifests: BTreeMap::new(),
            page_size: 1_000,
            referrers_api: true,
            tags: HashMap::new(),
            tls,
            tokens: 0,
        }))
    }

    fn faults_for(&mut self, path: &str) -> Vec<(Fault, usize)> {
        let faults = self
            .faults
            .iter_mut()
            .filter(|(text, ..)| path.contains(text.as_str()));
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
        let Auth::Bearer {
            user, expires_in, ..
        } = &self.auth
        else {
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
        let tag = self
            .tags
            .get(&(repository.to_owned(), reference.to_owned()));
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
        let page: usize = query
            .strip_prefix("page=")
            .and_then(|n| n.parse().ok())
            .unwrap_or(0);
        let mut entries = Vec::new();
        for ((stored_in, stored), (media_type, bytes)) in &self.manifests {
            let manifest: Value = serde_json::from_slice(bytes).unwrap_or_default();
            if stored_in != repository || manifest["subject"]["digest"] != digest {
                continue;
            }
            let config = &manifest["config"]["mediaType"];
            let artifact_type = manifest.get("artifactType").unwrap_or(config);
            entries.push(
                json!({"mediaType": media_type, "digest": stored, "size": bytes.len(),
                "artifactType": artifact_type, "annotations": manifest["annotations"]}),
            );
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
    format!(
        "Basic {}",
        STANDARD.encode(format!("{username}:{password}"))
    )
}
