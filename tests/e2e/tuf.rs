//! A TUF repository of the run's own, and the mirror that serves it.
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;

use anyhow::Result;
use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::Uri;

use super::isolation::add_address;
use super::process::Program;
use super::process::run;

/// The mirrors' address. Each has a port of its own.
const MIRROR: &str = "10.244.0.5";

/// The port of the mirror that Tegata is told to speak to over plain HTTP.
pub const FOLLOWED: u16 = 8080;

/// Any port.
pub const ANY: u16 = 0;

/// The file that leads to all others but the roots.
const TIMESTAMP: &str = "repository/timestamp.json";

/// A repository with keys, served. The mirror ends with it.
pub struct TufRepository {
    folder: PathBuf,
    address: SocketAddr,
    mirror: tokio::task::JoinHandle<()>,
}

impl TufRepository {
    /// Makes a repository with these targets, by name and file, and serves it on a port.
    pub async fn start(folder: &Path, port: u16, targets: &[(&str, &Path)]) -> Result<Self> {
        add_address(MIRROR)?;
        let listener = tokio::net::TcpListener::bind((MIRROR, port)).await?;
        let address = listener.local_addr()?;
        let router = Router::new().fallback(file).with_state(folder.join("repository"));
        let mirror = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        let repository = Self { folder: folder.to_owned(), address, mirror };
        repository.change("init", targets).await?;
        Ok(repository)
    }

    /// The mirror's host and port.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The mirror's address, as clients are given it.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The file of a root.
    pub fn root(&self, version: u32) -> PathBuf {
        self.folder.join(format!("repository/{version}.root.json"))
    }

    /// Publishes these targets instead of those before.
    pub async fn publish(&self, targets: &[(&str, &Path)]) -> Result<()> {
        self.change("publish", targets).await
    }

    /// Publishes the next root: with a new key, signed by the old one too.
    pub async fn rotate(&self) -> Result<()> {
        self.change("rotate", &[]).await
    }

    /// Publishes metadata of which the part of one role has expired.
    pub async fn expire(&self, role: &str) -> Result<()> {
        let program = self.program()?.args(["expire", role]);
        run(program, "").await?.success().map(drop)
    }

    /// What is served as the newest of what is signed again and again.
    pub fn timestamp(&self) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.folder.join(TIMESTAMP))?)
    }

    /// Serves that, as a mirror does that keeps news back.
    pub fn serve_timestamp(&self, timestamp: &[u8]) -> Result<()> {
        let part = self.folder.join("timestamp.json.new");
        std::fs::write(&part, timestamp)?;
        Ok(std::fs::rename(part, self.folder.join(TIMESTAMP))?)
    }

    async fn change(&self, command: &str, targets: &[(&str, &Path)]) -> Result<()> {
        let targets = targets.iter().map(|(name, file)| format!("{name}={}", file.display()));
        let program = self.program()?.args([command]).args(targets);
        run(program, "").await?.success().map(drop)
    }

    fn program(&self) -> Result<Program> {
        Ok(Program::part("tuf-repository")?.args([format!("-folder={}", self.folder.display())]))
    }
}

impl Drop for TufRepository {
    fn drop(&mut self) {
        self.mirror.abort();
    }
}

async fn file(State(folder): State<PathBuf>, uri: Uri) -> Result<Vec<u8>, StatusCode> {
    let path = uri.path().trim_start_matches('/');
    std::fs::read(folder.join(path)).map_err(|_| StatusCode::NOT_FOUND)
}
