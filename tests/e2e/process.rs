//! Servers that are started, watched, stopped and started again, and commands that are run.
use std::fmt;
use std::fs::OpenOptions;
use std::net::SocketAddr;
use std::path::Path;
use std::path::PathBuf;
use std::process::Child;
use std::process::Command;
use std::process::ExitStatus;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;

use super::parts;

/// How long a server may take to answer: debug builds on a busy machine are slow.
const START: Duration = Duration::from_secs(90);

/// How long a server may take to stop before it is killed.
const STOP: Duration = Duration::from_secs(20);

/// Lines of a server's log that a failure shows.
const TAIL: usize = 25;

/// Characters of a line of it.
const WIDTH: usize = 400;

/// How a server is started.
#[derive(Clone, Debug)]
pub struct Program {
    name: String,
    path: PathBuf,
    arguments: Vec<String>,
    variables: Vec<(String, String)>,
    folder: Option<PathBuf>,
}

impl Program {
    /// A part, under its own name.
    pub fn part(name: &str) -> Result<Self> {
        Ok(Self::new(name, parts::path(name)?))
    }

    /// Any program.
    pub fn new(name: &str, path: impl Into<PathBuf>) -> Self {
        let (name, path) = (name.into(), path.into());
        Self { name, path, arguments: vec![], variables: vec![], folder: None }
    }

    /// With further arguments.
    #[must_use]
    pub fn args<T: fmt::Display>(mut self, arguments: impl IntoIterator<Item = T>) -> Self {
        self.arguments.extend(arguments.into_iter().map(|argument| argument.to_string()));
        self
    }

    /// With a variable of the environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: impl fmt::Display) -> Self {
        self.variables.push((name.to_owned(), value.to_string()));
        self
    }

    /// Run in a folder.
    #[must_use]
    pub fn folder(self, folder: &Path) -> Self {
        Self { folder: Some(folder.to_owned()), ..self }
    }

    /// Starts it; it writes to `NAME.log` in the folder, after what an earlier one wrote.
    pub fn start(self, logs: &Path) -> Result<Process> {
        let log = logs.join(format!("{}.log", self.name));
        let file = OpenOptions::new().create(true).append(true).open(&log)?;
        let child = Command::new(&self.path)
            .args(&self.arguments)
            .envs(self.variables.iter().map(|(name, value)| (name, value)))
            .stdin(Stdio::null())
            .stdout(file.try_clone()?)
            .stderr(file)
            .spawn()
            .with_context(|| format!("cannot start {}", self.path.display()))?;
        Ok(Process { program: self, child, log })
    }
}

/// A server that was started. Killed when dropped.
#[derive(Debug)]
pub struct Process {
    program: Program,
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Waits until something listens there.
    pub async fn listens(&mut self, address: &str) -> Result<()> {
        let address: SocketAddr = address.parse()?;
        let end = Instant::now() + START;
        while tokio::net::TcpStream::connect(address).await.is_err() {
            self.check(end, &format!("nothing listens on {address}"))?;
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Fails when it has ended or `end` has passed; `what` says what was waited for.
    pub fn check(&mut self, end: Instant, what: &str) -> Result<()> {
        let Program { name, .. } = &self.program;
        if let Some(status) = self.child.try_wait()? {
            bail!("{name} ended by itself ({status}):\n{}", self.tail());
        }
        if Instant::now() > end {
            bail!("{name}: {what}:\n{}", self.tail());
        }
        Ok(())
    }

    /// How it ended, if it has.
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().ok().flatten()
    }

    /// Sends a signal by its name.
    pub fn signal(&self, signal: &str) -> Result<()> {
        let id = self.child.id().to_string();
        Command::new("kill").args(["-s", signal, &id]).status().context("cannot start `kill`")?;
        Ok(())
    }

    /// Asks it to stop, and kills it when it does not.
    pub async fn stop(&mut self) -> Result<()> {
        self.signal("TERM")?;
        let end = Instant::now() + STOP;
        while self.ended().is_none() {
            if Instant::now() > end {
                self.kill();
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    /// Kills it.
    pub fn kill(&mut self) {
        drop(self.child.kill());
        drop(self.child.wait());
    }

    /// Starts it again, in the same way. It must have ended.
    pub fn start_again(&mut self) -> Result<()> {
        let logs = self.log.parent().context("a log is in a folder")?.to_owned();
        *self = self.program.clone().start(&logs)?;
        Ok(())
    }

    /// The end of its log.
    pub fn tail(&self) -> String {
        tail(&self.log)
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        self.kill();
    }
}

/// The last lines of a log.
pub fn tail(log: &Path) -> String {
    last(log, |_| true)
}

/// The last lines of a log that tell of no decision: of a start, an end, or of something wrong.
pub fn complaints(log: &Path) -> String {
    last(log, |line| !line.contains("Admitted endpoint=") && !line.contains("Denied endpoint="))
}

fn last(log: &Path, shown: impl Fn(&str) -> bool) -> String {
    let text = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<String> = text
        .lines()
        .filter(|line| shown(line))
        .map(|line| line.chars().take(WIDTH).collect())
        .collect();
    let start = lines.len().saturating_sub(TAIL);
    format!("  {}\n  (all of it was in {})", lines[start..].join("\n  "), log.display())
}

/// What a command wrote, and whether it went well.
#[derive(Clone, Debug)]
pub struct Done {
    /// The command, as one would type it.
    pub command: String,
    /// Whether it ended with 0.
    pub ok: bool,
    /// What it wrote to standard output.
    pub stdout: String,
    /// What it wrote to standard error: refusals and warnings.
    pub stderr: String,
}

impl Done {
    /// Its output, when it went well.
    pub fn success(self) -> Result<String> {
        if self.ok {
            return Ok(self.stdout);
        }
        bail!("{}: {}{}", self.command, self.stderr, self.stdout)
    }

    /// What it said when it failed, as it should have.
    pub fn failure(self) -> Result<String> {
        if self.ok {
            bail!(
                "{}: went well, which it should not:\n{}{}",
                self.command,
                self.stdout,
                self.stderr
            );
        }
        Ok(self.stderr)
    }
}

/// Runs a command to its end, with a text on its standard input.
pub async fn run(program: Program, input: &str) -> Result<Done> {
    use tokio::io::AsyncWriteExt as _;
    let Program { name, path, arguments, variables, folder } = program;
    let mut child = tokio::process::Command::new(&path)
        .current_dir(folder.unwrap_or_else(|| "/".into()))
        .args(&arguments)
        .envs(variables)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("cannot start {}", path.display()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A command that does not read its input may have closed it.
        drop(stdin.write_all(input.as_bytes()).await);
    }
    let output = child.wait_with_output().await?;
    Ok(Done {
        command: format!("{name} {}", arguments.join(" ")),
        ok: output.status.success(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    })
}
