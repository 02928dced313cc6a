//! What a review would cost if nothing were looked at: the same server, which says yes. It is made of
//! the project's own listener, TLS and routes, and runs as a process of its own, as `tegata serve`
//! does.
//!
//! [`BARE`] reads the body and answers; `/validate` parses, counts and logs besides, with a pipeline
//! that does nothing.
use std::io::Read as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use anyhow::bail;
use axum::body::Bytes;
use axum::extract::DefaultBodyLimit;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::post;
use axum_server::Handle;
use jiff::Timestamp;
use tegata::admission::Consequence;
use tegata::admission::Decision;
use tegata::admission::FieldReport;
use tegata::admission::Request;
use tegata::metrics;
use tegata::policy::PolicySnapshot;
use tegata::server;
use tegata::server::Admit;
use tegata::server::AppState;
use tegata::server::Limits;
use tegata::server::listen;
use tegata::server::listen::ConnectionLimits;
use tegata::server::tls::SelfSigned;
use tegata::server::tls::Source;
use tegata::telemetry;
use tegata::telemetry::LogFormat;
use tegata::verdict::ImageReport;
use tegata::verdict::Verdict;
use tempfile::TempDir;
use tokio::sync::watch;

use super::CONSTANT;
use super::client::Peer;
use super::server::free_address;

/// How long it may take to start.
const START: Duration = Duration::from_secs(20);

/// The path where nothing is done but reading the body.
pub const BARE: &str = "/constant";

/// What it answers there.
const ANSWER: &str = r#"{"apiVersion":"admission.k8s.io/v1","kind":"AdmissionReview","response":{"uid":"705ab4f5-6393-41e8-b7cc-000000000000","allowed":true,"auditAnnotations":{"decision":"allowed","verdict":"verified"}}}"#;

/// The running server. It is killed when dropped.
#[derive(Debug)]
pub struct Constant {
    child: Child,
    /// Where it answers, and whom to believe.
    pub peer: Peer,
    _folder: TempDir,
}

impl Constant {
    /// Starts it and waits until it listens.
    ///
    /// # Errors
    /// When it does not.
    pub fn start() -> anyhow::Result<Self> {
        let folder = tempfile::Builder::new().prefix("tegata-bench-").tempdir()?;
        let ca = folder.path().join("ca.pem");
        let address = free_address()?;
        let mut command = Command::new(std::env::current_exe()?);
        command.arg(CONSTANT).arg(&ca).arg(address.to_string());
        command.stderr(std::fs::File::create(folder.path().join("log"))?);
        // It ends when its standard input does, so that it never outlives this program.
        let mut child = command.stdin(Stdio::piped()).spawn()?;
        let start = Instant::now();
        let peer = loop {
            let authority = std::fs::read(&ca).unwrap_or_default();
            if let Ok(peer) = Peer::new(address, &authority)
                && peer.connect().is_ok()
            {
                break peer;
            }
            if start.elapsed() > START {
                let _ = child.kill();
                bail!("the server of a constant does not listen");
            }
            std::thread::sleep(Duration::from_millis(20));
        };
        Ok(Self { child, peer, _folder: folder })
    }
}

impl Drop for Constant {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Is that server, until standard input ends.
///
/// # Errors
/// When it cannot listen.
pub fn serve(ca: &Path, address: &str) -> anyhow::Result<()> {
    std::thread::spawn(|| {
        let _ = std::io::stdin().read_to_end(&mut Vec::new());
        std::process::exit(0);
    });
    let address: SocketAddr = address.parse()?;
    telemetry::init(LogFormat::Json, &"info".parse()?)?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(async {
        let authority = SelfSigned::new(&[], server::now())?;
        authority.export(ca)?;
        let served = Source::SelfSigned(Box::new(authority)).load(server::now()).await?;
        let listener = TcpListener::bind(address)?;
        listener.set_nonblocking(true)?;
        let (_registry, metrics) = metrics::registry();
        let (_policies, none) = watch::channel(Arc::new(PolicySnapshot::default()));
        let state = AppState::new(Nothing, none, metrics.clone(), Limits::default());
        let bare = post(constant).layer(DefaultBodyLimit::disable());
        let router = server::router(state).route(BARE, bare);
        let limits = ConnectionLimits::default();
        let config = served.acceptor_config();
        listen::tls(listener, config, router, Handle::new(), limits, metrics).await?;
        Ok(())
    })
}

async fn constant(_body: Bytes) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], ANSWER).into_response()
}

/// A pipeline that verifies nothing.
struct Nothing;

impl Admit for Nothing {
    async fn admit(
        &self,
        request: &Request,
        _snapshot: &PolicySnapshot,
        _now: Timestamp,
        _deadline: Instant,
    ) -> Decision {
        let images = request.images.iter().map(|image| FieldReport {
            path: image.path.clone(),
            pointer: image.pointer.clone(),
            text: image.text.clone(),
            pinned: None,
            unpinned: false,
            consequence: Consequence::Admit,
            report: ImageReport {
                image: image.text.clone(),
                digest: None,
                verdict: Verdict::Verified,
                failure: None,
                policies: Vec::new(),
            },
        });
        let images = images.collect();
        Decision {
            allowed: true,
            message: String::new(),
            warnings: Vec::new(),
            retry: false,
            images,
        }
    }
}
