//! The real `tegata serve`, as a child process, and what the kernel says about it.
use std::ffi::OsString;
use std::io::Read as _;
use std::io::Write as _;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::bail;
use serde_json::Value;
use tempfile::TempDir;

use super::client::Peer;

/// Flags of every server. `TEGATA_BENCH_FLAGS` adds some.
const FLAGS: [&str; 5] = ["serve", "--log-format", "json", "--drain-delay", "0s"];

/// How long a server may take to start, with ten thousand policies, on a busy machine.
const START: Duration = Duration::from_secs(60);

/// The pause between two looks whether it is ready.
const LOOK: Duration = Duration::from_millis(1);

/// The program: cargo's, or the one that `TEGATA_BIN` names.
///
/// # Errors
/// When it is not there.
pub fn binary() -> anyhow::Result<PathBuf> {
    let named = std::env::var_os("TEGATA_BIN");
    let path = named.map_or_else(|| PathBuf::from(env!("CARGO_BIN_EXE_tegata")), PathBuf::from);
    if !path.is_file() {
        bail!("found no program {}", path.display());
    }
    Ok(path)
}

/// What a server is started with.
#[derive(Clone, Debug, Default)]
pub struct Setup {
    /// Policies and trust roots: the content of a file each.
    pub policies: Vec<Vec<Value>>,
    /// The default trust root.
    pub trusted_root: Option<String>,
    /// Hosts that are spoken to over plain HTTP.
    pub http: Vec<String>,
    /// Further flags.
    pub flags: Vec<OsString>,
}

/// A running server. It is killed when dropped.
#[derive(Debug)]
pub struct Server {
    child: Child,
    health: SocketAddr,
    /// Where it answers reviews, and whom to believe.
    pub peer: Peer,
    /// From its start until it was ready.
    pub ready_after: Duration,
    folder: TempDir,
}

impl Server {
    /// Starts it and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start; with the last line of its log.
    pub fn start(setup: &Setup) -> anyhow::Result<Self> {
        let Setup { policies, trusted_root, http, flags } = setup;
        let folder = tempfile::Builder::new().prefix("tegata-bench-").tempdir()?;
        let (listen, health) = (free_address()?, free_address()?);
        let ca = folder.path().join("ca.pem");
        let documents = folder.path().join("policies");
        std::fs::create_dir(&documents)?;
        for (number, file) in policies.iter().enumerate() {
            let text: Vec<String> = file.iter().map(Value::to_string).collect();
            let path = documents.join(format!("{number:05}.yaml"));
            std::fs::write(path, text.join("\n---\n"))?;
        }
        let mut command = Command::new(binary()?);
        command.args(FLAGS).arg("--tls-ca-out").arg(&ca).arg("--policies").arg(&documents);
        command.args(["--listen", &listen.to_string()]);
        command.args(["--health-listen", &health.to_string()]);
        for host in http {
            command.args(["--http-registry", host]);
        }
        if let Some(json) = trusted_root {
            let path = folder.path().join("trusted_root.json");
            std::fs::write(&path, json)?;
            command.arg("--trusted-root").arg(path);
        }
        let more = std::env::var("TEGATA_BENCH_FLAGS").unwrap_or_default();
        command.args(more.split_whitespace()).args(flags);
        // No other setting of whoever runs it has a say.
        command.env_clear().stdin(Stdio::null()).stdout(Stdio::null());
        command.stderr(std::fs::File::create(folder.path().join("log"))?);
        let start = Instant::now();
        let mut child = Killed(Some(command.spawn().context("cannot start `tegata serve`")?));
        while !is_ready(health) {
            let ended = child.0.as_mut().and_then(|child| child.try_wait().transpose());
            if ended.is_some() || start.elapsed() > START {
                bail!("`tegata serve` is not ready ({ended:?}): {}", last_line(folder.path()));
            }
            std::thread::sleep(LOOK);
        }
        let ready_after = start.elapsed();
        let peer = Peer::new(listen, &std::fs::read(&ca)?)?;
        let child = child.0.take().context("the child is gone")?;
        Ok(Self { child, health, peer, ready_after, folder })
    }

    /// Memory that is resident now, and the most that ever was.
    ///
    /// # Errors
    /// When the server has ended.
    pub fn memory(&self) -> anyhow::Result<(u64, u64)> {
        let status = self.proc("status").with_context(|| last_line(self.folder.path()))?;
        let field = |name: &str| {
            let line = status.lines().find(|line| line.starts_with(name))?;
            line.split_whitespace().nth(1)?.parse::<u64>().ok().map(|kib| kib << 10)
        };
        field("VmRSS:").zip(field("VmHWM:")).context("the kernel tells no memory of the server")
    }

    /// Whether its probes answer, and how fast.
    ///
    /// # Errors
    /// When `/livez` does not.
    pub fn alive(&self) -> anyhow::Result<Duration> {
        let start = Instant::now();
        match get(self.health, "/livez") {
            Ok(head) if head.starts_with("HTTP/1.1 200") => Ok(start.elapsed()),
            Ok(head) => bail!("found {head}, wanted status 200 from /livez"),
            Err(error) => Err(error).context("no answer from /livez"),
        }
    }

    fn proc(&self, file: &str) -> std::io::Result<String> {
        std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id()))
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A child on its way to be a server.
struct Killed(Option<Child>);

impl Drop for Killed {
    fn drop(&mut self) {
        if let Some(mut child) = self.0.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// An address at which nobody listens, and nobody will soon: the system hands ports out in turn.
///
/// # Errors
/// When there is none.
pub fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?)
}

fn is_ready(health: SocketAddr) -> bool {
    get(health, "/readyz").is_ok_and(|head| head.starts_with("HTTP/1.1 200"))
}

/// The first line of the answer.
fn get(address: SocketAddr, path: &str) -> anyhow::Result<String> {
    let mut socket = TcpStream::connect_timeout(&address, Duration::from_secs(5))?;
    socket.set_read_timeout(Some(Duration::from_secs(5)))?;
    socket.write_all(
        format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").as_bytes(),
    )?;
    let mut text = String::new();
    socket.read_to_string(&mut text)?;
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

fn last_line(folder: &Path) -> String {
    let text = std::fs::read_to_string(folder.join("log")).unwrap_or_default();
    text.lines().last().unwrap_or("its log is empty").to_owned()
}
