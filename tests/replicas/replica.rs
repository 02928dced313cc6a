//! `tegata serve`, as often as wanted, with the same files and always at the same addresses.
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use tempfile::TempDir;
use tokio::net::TcpSocket;

use super::client::Peer;

/// How long a replica may take to be ready, on a busy machine.
const START: Duration = Duration::from_secs(15);

/// The pause between two looks whether it is.
const LOOK: Duration = Duration::from_millis(5);

/// What all replicas read: policies, the default trust root, and the certificate that they share as
/// the pods of a Deployment share a Secret.
#[derive(Debug)]
pub struct Files {
    folder: TempDir,
    certificate: String,
    http: String,
}

impl Files {
    /// These policies, and the registry that is spoken to over plain HTTP.
    pub fn new(policies: &[Value], trusted_root: &str, http: String) -> Self {
        let folder = tempfile::Builder::new().prefix("tegata-replicas-").tempdir().unwrap();
        let path = folder.path();
        let key = rcgen::KeyPair::generate().unwrap();
        let params = rcgen::CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let certificate = params.self_signed(&key).unwrap().pem();
        std::fs::write(path.join("tls.key"), key.serialize_pem()).unwrap();
        std::fs::write(path.join("tls.crt"), &certificate).unwrap();
        std::fs::write(path.join("trusted_root.json"), trusted_root).unwrap();
        std::fs::create_dir(path.join("policies")).unwrap();
        let new = Self { folder, certificate, http };
        new.replace(policies);
        new
    }

    /// Puts these policies in the place of those that are there, in one step.
    pub fn replace(&self, policies: &[Value]) {
        let texts: Vec<String> = policies.iter().map(Value::to_string).collect();
        let new = self.folder.path().join("policies.new");
        std::fs::write(&new, texts.join("\n---\n")).unwrap();
        std::fs::rename(new, self.folder.path().join("policies/policies.yaml")).unwrap();
    }

    fn arguments(&self) -> Vec<String> {
        let path = |name: &str| self.folder.path().join(name).display().to_string();
        let mut all: Vec<String> = vec!["serve".into(), "--log-filter".into(), "warn".into()];
        for (flag, value) in [
            ("--policies", path("policies")),
            ("--trusted-root", path("trusted_root.json")),
            ("--tls-cert", path("tls.crt")),
            ("--tls-key", path("tls.key")),
            ("--http-registry", self.http.clone()),
        ] {
            all.extend([flag.to_owned(), value]);
        }
        all
    }
}

/// A replica: it runs or it does not, at addresses that stay its own. Killed when dropped.
#[derive(Debug)]
pub struct Replica {
    arguments: Vec<String>,
    log: PathBuf,
    webhook: Address,
    health: Address,
    child: Option<Child>,
    certificate: String,
}

impl Replica {
    /// A replica that does not run yet. Its number tells its log from that of others.
    pub fn new(files: &Files, number: usize) -> Self {
        Self {
            arguments: files.arguments(),
            log: files.folder.path().join(format!("log-{number}")),
            webhook: Address::reserve(),
            health: Address::reserve(),
            child: None,
            certificate: files.certificate.clone(),
        }
    }

    /// Where it answers reviews, and whom to believe.
    pub fn peer(&self) -> Peer {
        Peer::new(self.webhook.address, self.certificate.as_bytes()).unwrap()
    }

    /// Starts it, waits until it is ready, and says how long that took.
    pub fn start(&mut self) -> Duration {
        let program = std::env::var_os("TEGATA_BIN");
        let program = program.unwrap_or_else(|| env!("CARGO_BIN_EXE_tegata").into());
        let mut command = Command::new(program);
        command.args(&self.arguments);
        command.args(["--listen", &self.webhook.address.to_string()]);
        command.args(["--health-listen", &self.health.address.to_string()]);
        // No other setting of whoever runs it has a say.
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(&self.log).unwrap());
        let start = Instant::now();
        let child = self.child.insert(command.spawn().unwrap());
        while !is_ready(self.health.address) {
            let ended = child.try_wait().unwrap();
            let waited = start.elapsed();
            assert!(
                ended.is_none() && waited < START,
                "`tegata serve` is not ready after {waited:?} ({ended:?}): {}",
                last_line(&self.log)
            );
            std::thread::sleep(LOOK);
        }
        start.elapsed()
    }

    /// Kills it with SIGKILL: nothing is drained, and its ports refuse connections.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// Whether it runs on its own, and the last line of its log.
    pub fn state(&mut self) -> (bool, String) {
        let runs = self.child.as_mut().is_some_and(|child| matches!(child.try_wait(), Ok(None)));
        (runs, last_line(&self.log))
    }
}

impl Drop for Replica {
    fn drop(&mut self) {
        self.kill();
    }
}

/// An address that is kept from others: a socket that has it and listens not. Whoever says that an
/// address may be used again, as servers do, can listen there all the same.
#[derive(Debug)]
struct Address {
    address: SocketAddr,
    _socket: TcpSocket,
}

impl Address {
    fn reserve() -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_reuseaddr(true).unwrap();
        socket.bind(SocketAddr::from(([127, 0, 0, 1], 0))).unwrap();
        Self { address: socket.local_addr().unwrap(), _socket: socket }
    }
}

fn is_ready(health: SocketAddr) -> bool {
    let asked = || -> std::io::Result<bool> {
        let mut socket = TcpStream::connect(health)?;
        socket.set_read_timeout(Some(START))?;
        socket
            .write_all(b"GET /readyz HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")?;
        let mut text = String::new();
        socket.read_to_string(&mut text)?;
        Ok(text.starts_with("HTTP/1.1 200"))
    };
    asked().unwrap_or(false)
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("its log is empty").to_owned()
}
