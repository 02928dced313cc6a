//! A real Redis server on a loopback port of its own.
use std::io::Read as _;
use std::net::TcpListener;
use std::net::TcpStream;
use std::path::Path;
use std::process::Child;
use std::process::Command;
use std::process::Stdio;
use std::thread;
use std::time::Duration;

use redis::Connection;
use redis::ConnectionLike as _;
use tempfile::TempDir;

/// Where Debian puts it.
const PROGRAM: &str = "/usr/bin/redis-server";

/// A server; it ends when this is dropped.
pub(crate) struct RedisServer {
    child: Child,
    folder: TempDir,
    port: u16,
    arguments: Vec<String>,
}

impl RedisServer {
    pub(crate) fn start(arguments: &[&str]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let port = free_port();
        let arguments = arguments.iter().map(|text| (*text).to_owned()).collect();
        let child = spawn(port, folder.path(), &arguments);
        let mut server = Self { child, folder, port, arguments };
        server.wait();
        server
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    /// A connection of the test's own.
    pub(crate) fn connect(&self) -> Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// How many bytes it has sent to anybody.
    pub(crate) fn sent(&self) -> u64 {
        let info: String = redis::cmd("INFO").arg("stats").query(&mut self.connect()).unwrap();
        let line = info.lines().find_map(|line| line.strip_prefix("total_net_output_bytes:"));
        line.unwrap().parse().unwrap()
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Starts it again on the same port, empty.
    pub(crate) fn restart(&mut self) {
        self.kill();
        self.child = spawn(self.port, self.folder.path(), &self.arguments);
        self.wait();
    }

    /// `STOP` or `CONT`.
    pub(crate) fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        assert!(Command::new("kill").args([&format!("-{name}"), &pid]).status().unwrap().success());
    }

    fn wait(&mut self) {
        for _ in 0..600 {
            if let Some(status) = self.child.try_wait().unwrap() {
                let mut problem = String::new();
                self.child.stdout.take().unwrap().read_to_string(&mut problem).unwrap();
                panic!("redis-server ended with {status}: {problem}");
            }
            if TcpStream::connect(("127.0.0.1", self.port)).is_ok() {
                return;
            }
            thread::sleep(Duration::from_millis(50));
        }
        panic!("redis-server does not listen");
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether it answers.
pub(crate) fn answers(connection: &mut Connection) -> bool {
    connection.check_connection()
}

pub(crate) fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

fn spawn(port: u16, folder: &Path, arguments: &Vec<String>) -> Child {
    assert!(
        Path::new(PROGRAM).exists(),
        "there is no {PROGRAM}: install it, with `apt-get install redis-server` on Debian"
    );
    Command::new(PROGRAM)
        .args(["--bind", "127.0.0.1", "--port", &port.to_string(), "--save", ""])
        .args(["--appendonly", "no", "--logfile", "", "--dir"])
        .arg(folder)
        .args(arguments)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}
