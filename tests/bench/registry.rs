//! A registry that is quick with a hundred thousand images, that can take its time, limit its clients
//! or die, and that remembers who asked for what and when.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::RwLock;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Response;
use serde_json::Value;
use serde_json::json;
use tegata::image::Digest;
use tokio::runtime::Runtime;

use super::images::Image;
use super::virtual_sigstore::OciArtifact;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";

/// How the registry answers.
#[derive(Clone, Copy, Debug)]
pub enum Manner {
    /// After so long.
    Late(Duration),
    /// At most so many requests a second, as many at once; the rest gets status 429.
    Limited(f64),
    /// At once.
    Prompt,
    /// Never, although it accepts connections.
    Silent,
}

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// The path.
    pub path: String,
    /// When it came.
    pub start: Instant,
    /// When it was answered, if it was.
    pub end: Option<Instant>,
    /// The status of the answer.
    pub status: u16,
}

#[derive(Clone, Debug)]
struct Stored {
    media_type: String,
    digest: String,
    bytes: bytes::Bytes,
}

#[derive(Debug)]
struct Shared {
    contents: RwLock<HashMap<String, Stored>>,
    referrers: RwLock<HashMap<String, Vec<Value>>>,
    asked: Mutex<Vec<Asked>>,
    manner: Mutex<Manner>,
    allowance: Mutex<(f64, Instant)>,
}

/// The registry, on a runtime of its own: with that every connection ends.
#[derive(Debug)]
pub struct Registry {
    address: SocketAddr,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

impl Registry {
    /// Starts it over plain HTTP.
    ///
    /// # Errors
    /// When there is no port or no thread.
    pub fn start() -> anyhow::Result<Self> {
        let shared = Arc::new(Shared {
            contents: RwLock::default(),
            referrers: RwLock::default(),
            asked: Mutex::default(),
            manner: Mutex::new(Manner::Prompt),
            allowance: Mutex::new((0.0, Instant::now())),
        });
        let runtime = runtime()?;
        let listener = runtime.block_on(tokio::net::TcpListener::bind("127.0.0.1:0"))?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(serve).with_state(Arc::clone(&shared));
        runtime.spawn(async move { axum::serve(listener, router).await });
        Ok(Self { address, shared, runtime: Some(runtime) })
    }

    /// `127.0.0.1:port`.
    pub fn host(&self) -> String {
        self.address.to_string()
    }

    /// Answers in this manner from now on.
    pub fn set(&self, manner: Manner) {
        if let Manner::Limited(per_second) = manner {
            *self.shared.allowance.lock().unwrap() = (per_second, Instant::now());
        }
        *self.shared.manner.lock().unwrap() = manner;
    }

    /// Closes its port and every connection.
    pub fn kill(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }

    /// The requests since the last call.
    pub fn asked(&self) -> Vec<Asked> {
        std::mem::take(&mut self.shared.asked.lock().unwrap())
    }

    /// Stores an image, under a tag as well.
    pub fn put(&self, image: &Image) {
        let Image { repository, tag, manifest, .. } = image;
        let digest = self.manifest(repository, manifest);
        self.point(repository, tag, &digest);
    }

    /// Stores a signature or an attestation beside its image.
    pub fn attach(&self, image: &Image, artifact: &OciArtifact) {
        let repository = &image.repository;
        for blob in &artifact.blobs {
            let digest = Digest::sha256_of(blob).to_string();
            let path = format!("/v2/{repository}/blobs/{digest}");
            self.store(path, "application/octet-stream", digest, blob);
        }
        let digest = self.manifest(repository, &artifact.manifest);
        match &artifact.tag {
            Some(tag) => self.point(repository, tag, &digest),
            None => {
                let manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
                let mut descriptor = artifact.descriptor();
                descriptor["artifactType"] = manifest["artifactType"].clone();
                descriptor["annotations"] = manifest["annotations"].clone();
                let path = format!("/v2/{repository}/referrers/{}", image.digest);
                self.shared.referrers.write().unwrap().entry(path).or_default().push(descriptor);
            }
        }
    }

    fn manifest(&self, repository: &str, bytes: &[u8]) -> String {
        let digest = Digest::sha256_of(bytes).to_string();
        let path = format!("/v2/{repository}/manifests/{digest}");
        self.store(path, MANIFEST, digest.clone(), bytes);
        digest
    }

    fn point(&self, repository: &str, tag: &str, digest: &str) {
        let mut contents = self.shared.contents.write().unwrap();
        let stored = contents.get(&format!("/v2/{repository}/manifests/{digest}")).cloned();
        contents.extend(stored.map(|stored| (format!("/v2/{repository}/manifests/{tag}"), stored)));
    }

    fn store(&self, path: String, media_type: &str, digest: String, bytes: &[u8]) {
        let bytes = bytes::Bytes::copy_from_slice(bytes);
        let stored = Stored { media_type: media_type.to_owned(), digest, bytes };
        self.shared.contents.write().unwrap().insert(path, stored);
    }
}

impl Drop for Registry {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A runtime for servers of this program.
///
/// # Errors
/// When there is no thread.
pub fn runtime() -> anyhow::Result<Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()
        .context("cannot start a runtime")
}

async fn serve(State(shared): State<Arc<Shared>>, request: Request) -> Response<Body> {
    let path = request.uri().path().replace("%3A", ":");
    let start = Instant::now();
    let manner = *shared.manner.lock().unwrap();
    let place = {
        let mut asked = shared.asked.lock().unwrap();
        asked.push(Asked { path: path.clone(), start, end: None, status: 0 });
        asked.len() - 1
    };
    let answer = match manner {
        Manner::Silent => std::future::pending().await,
        Manner::Late(pause) => {
            tokio::time::sleep(pause).await;
            shared.answer(&path)
        }
        Manner::Limited(per_second) if !shared.allows(per_second) => {
            let response = Response::builder().status(429).header("retry-after", "1");
            response.body(Body::empty()).unwrap()
        }
        Manner::Limited(_) | Manner::Prompt => shared.answer(&path),
    };
    // The list may have been taken meanwhile.
    if let Some(asked) = shared.asked.lock().unwrap().get_mut(place)
        && asked.start == start
    {
        asked.end = Some(Instant::now());
        asked.status = answer.status().as_u16();
    }
    answer
}

impl Shared {
    /// Whether one more request is within the limit.
    fn allows(&self, per_second: f64) -> bool {
        let mut allowance = self.allowance.lock().unwrap();
        let (left, since) = *allowance;
        let now = Instant::now();
        let left = (left + per_second * (now - since).as_secs_f64()).min(per_second);
        let allowed = left >= 1.0;
        *allowance = (if allowed { left - 1.0 } else { left }, now);
        allowed
    }

    fn answer(&self, path: &str) -> Response<Body> {
        if let Some(stored) = self.contents.read().unwrap().get(path) {
            let response = Response::builder()
                .header("content-type", &stored.media_type)
                .header("docker-content-digest", &stored.digest);
            return response.body(Body::from(stored.bytes.clone())).unwrap();
        }
        if path.contains("/referrers/") {
            let listed = self.referrers.read().unwrap().get(path).cloned().unwrap_or_default();
            let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": listed });
            let response = Response::builder().header("content-type", INDEX);
            return response.body(Body::from(index.to_string())).unwrap();
        }
        let body = json!({ "errors": [{ "code": "NOT_FOUND", "message": "not here" }] });
        Response::builder().status(404).body(Body::from(body.to_string())).unwrap()
    }
}

/// The longest chain of requests each of which began when the one before it had been answered.
pub fn longest_chain(asked: &[Asked]) -> usize {
    let mut spans: Vec<(Instant, Instant)> =
        asked.iter().filter_map(|one| Some((one.start, one.end?))).collect();
    spans.sort_unstable();
    let mut chains = vec![1; spans.len()];
    for later in 0..spans.len() {
        for earlier in 0..later {
            if spans[earlier].1 <= spans[later].0 {
                chains[later] = chains[later].max(chains[earlier] + 1);
            }
        }
    }
    chains.into_iter().max().unwrap_or_default()
}
