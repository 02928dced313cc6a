//! `FakeRegistry`: an OCI registry in process, on `127.0.0.1:0`, that can be told to misbehave.
//!
//! Fixtures are put into it directly ([`FakeRegistry::put_manifest`], [`FakeRegistry::put_blob`],
//! [`FakeRegistry::tag`], [`FakeRegistry::push_layout`]); clients only read. [`FakeRegistry::fault`]
//! sets a [`Fault`] for every path that contains a text. Every request is logged. It needs a tokio
//! runtime and stops when dropped.
#![allow(
    dead_code,
    unreachable_pub,
    reason = "included by several programs, each of which uses a part"
)]
use std::io;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use bytes::Bytes;
use serde_json::Value;
use tegata::image::Digest;
use tokio::sync::watch;

#[path = "fake_registry/serve.rs"]
mod serve;

use serve::Contents;
use serve::lock;
use serve::router;

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
    /// Answers with this status and an error of this code.
    Error(u16, &'static str),
    /// Sends chunks without end and announces no length.
    Endless,
    /// Claims that the body is compressed.
    Gzip,
    /// Adds a header.
    Header(&'static str, String),
    /// Answers after so long.
    Late(Duration),
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

impl FakeRegistry {
    /// Starts over plain HTTP.
    pub async fn start() -> io::Result<Self> {
        Self::start_at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    /// Starts over plain HTTP, at a loopback address.
    pub async fn start_at(address: SocketAddr) -> io::Result<Self> {
        let listener = tokio::net::TcpListener::bind(address).await?;
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
        Self { address, certificate, state, _stop: Arc::new(Stop(task.abort_handle())) }
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

    /// Holds back the answers from now on, until they are let go with [`Self::release`].
    pub fn hold(&self) {
        self.contents().gate = Some(watch::Sender::new(0));
    }

    /// The paths of the requests that are held, in order of the paths, as soon as there are `count`.
    pub async fn held(&self, count: usize) -> Vec<String> {
        loop {
            let arrives = self.contents().arrivals.clone();
            let mut arrives = arrives.subscribe();
            let mut held = self.contents().held.clone();
            if held.len() >= count {
                held.sort();
                return held;
            }
            let _ = arrives.changed().await;
        }
    }

    /// Answers the requests that are held; those that come later are held again.
    pub fn release(&self) {
        let mut contents = self.contents();
        contents.held.clear();
        if let Some(gate) = &contents.gate {
            gate.send_modify(|wave| *wave += 1);
        }
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
        self.contents().log.iter().filter(|request| request.path.contains(text)).count()
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
        let default = if parsed["manifests"].is_array() { INDEX_TYPE } else { MANIFEST_TYPE };
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
