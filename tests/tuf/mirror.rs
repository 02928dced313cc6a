//! A mirror in process, which may misbehave.
#![allow(dead_code, reason = "test support: each test crate uses a part of it")]
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::Mutex;

use axum::Router;
use axum::body::Body;
use axum::extract::Request;
use axum::extract::State;
use axum::http::Response;
use axum::http::header;
use bytes::Bytes;
use futures::StreamExt as _;
use futures::stream;

use crate::tuf_repository::Roles;

/// How a file is answered.
#[derive(Clone)]
pub(crate) enum Answer {
    /// With these bytes.
    Bytes(Vec<u8>),
    /// Without an end.
    Endless,
    /// With the beginning, and then nothing more.
    Hang,
    /// As one GiB, which never comes.
    Huge,
    /// Elsewhere.
    Redirect(String),
    /// With this status.
    Status(u16),
}

#[derive(Default)]
struct Contents {
    answers: BTreeMap<String, Answer>,
    asked: Vec<String>,
}

/// A mirror on a port of its own.
#[derive(Clone)]
pub(crate) struct Mirror {
    address: SocketAddr,
    contents: Arc<Mutex<Contents>>,
}

impl Mirror {
    pub(crate) async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let contents = Arc::new(Mutex::new(Contents::default()));
        let router = Router::new().fallback(serve).with_state(Arc::clone(&contents));
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { address, contents }
    }

    pub(crate) fn host(&self) -> String {
        self.address.to_string()
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}/repo", self.address)
    }

    pub(crate) fn answer(&self, name: &str, answer: Answer) {
        self.contents.lock().unwrap().answers.insert(format!("/repo/{name}"), answer);
    }

    pub(crate) fn put(&self, name: &str, bytes: &[u8]) {
        self.answer(name, Answer::Bytes(bytes.to_vec()));
    }

    pub(crate) fn remove(&self, name: &str) {
        self.contents.lock().unwrap().answers.remove(&format!("/repo/{name}"));
    }

    /// Publishes a release with `bytes` as the trusted root; returns the target's name.
    pub(crate) fn publish(&self, roles: &Roles, version: u64, bytes: &[u8]) -> String {
        let release = roles.release(version, &[("trusted_root.json", bytes)]);
        let signed = roles.sign(&release);
        self.put("timestamp.json", &signed.timestamp);
        self.put(&format!("{version}.snapshot.json"), &signed.snapshot);
        self.put(&format!("{version}.targets.json"), &signed.targets);
        let file = &release.targets["targets"]["trusted_root.json"];
        let name =
            format!("targets/{}.trusted_root.json", file["hashes"]["sha256"].as_str().unwrap());
        self.put(&name, bytes);
        name
    }

    /// The files asked for since the last call.
    pub(crate) fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.contents.lock().unwrap().asked)
    }
}

async fn serve(State(contents): State<Arc<Mutex<Contents>>>, request: Request) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let answer = {
        let mut contents = contents.lock().unwrap();
        contents.asked.push(path.trim_start_matches("/repo/").to_owned());
        contents.answers.get(&path).cloned().unwrap_or(Answer::Status(404))
    };
    let response = Response::builder();
    let chunks = || stream::repeat_with(|| Ok::<_, std::io::Error>(Bytes::from(vec![b' '; 8192])));
    match answer {
        Answer::Bytes(bytes) => response.body(Body::from(bytes)),
        Answer::Endless => response.body(Body::from_stream(chunks())),
        Answer::Hang => response.body(Body::from_stream(chunks().take(1).chain(stream::pending()))),
        Answer::Huge => {
            let pending = stream::pending::<Result<Bytes, std::io::Error>>();
            response.header(header::CONTENT_LENGTH, 1_u64 << 30).body(Body::from_stream(pending))
        }
        Answer::Redirect(to) => {
            response.status(302).header(header::LOCATION, to).body(Body::empty())
        }
        Answer::Status(status) => response.status(status).body(Body::empty()),
    }
    .unwrap()
}
