//! The real `tegata serve`, as a child process.
use std::path::Path;
use std::path::PathBuf;
use std::process::Stdio;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::bail;
use serde_json::Value;
use tokio::process::Child;
use tokio::process::Command;

/// How long the server may take to start. It takes a fraction of a second; a machine that is busy
/// with other builds takes longer.
const START: Duration = Duration::from_secs(20);

/// A running server. It is killed when dropped.
#[derive(Debug)]
pub(crate) struct Server {
    child: Child,
    client: reqwest::Client,
    /// `https://address` of the webhook.
    pub(crate) webhook: String,
    /// `http://address` of probes and metrics.
    pub(crate) health: String,
    /// The certificate of its authority.
    pub(crate) ca: PathBuf,
    /// Its log, one JSON document a line.
    pub(crate) log: PathBuf,
}

/// Where the build puts `tegata`: beside the folder of this example.
///
/// # Errors
/// When it is not there.
pub(crate) fn binary() -> anyhow::Result<PathBuf> {
    let own = std::env::current_exe().context("cannot tell where this program is")?;
    let path = own.ancestors().nth(2).unwrap_or(&own).join("tegata");
    if !path.is_file() {
        bail!(
            "found no {}: build it with `cargo build --bins`, or use `make demo`",
            path.display()
        );
    }
    Ok(path)
}

impl Server {
    /// Starts it with these policies, and waits until it is ready.
    ///
    /// # Errors
    /// When it does not start; with the last line that it wrote.
    pub(crate) async fn start(
        policies: &[PathBuf],
        http_registries: &[&str],
        folder: &Path,
    ) -> anyhow::Result<Self> {
        let (ca, log) = (folder.join("ca.pem"), folder.join("serve.log"));
        let stderr = std::fs::File::create(&log).context("cannot write the server's log")?;
        let mut command = Command::new(binary()?);
        command.arg("serve").arg("--tls-ca-out").arg(&ca);
        for path in policies {
            command.arg("--policies").arg(path);
        }
        for registry in http_registries {
            command.args(["--http-registry", registry]);
        }
        // Port 0 lets the system choose; the server's log says which it was.
        command
            .args(["--listen", "127.0.0.1:0", "--health-listen", "127.0.0.1:0"])
            .args(["--log-format", "json", "--drain-delay", "0s"])
            // No setting of whoever runs the demo has a say.
            .env_clear()
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(stderr)
            .kill_on_drop(true);
        let child = command.spawn().context("cannot start `tegata serve`")?;
        let mut starting = Starting { child, log: &log, end: Instant::now() + START };
        let (webhook, health) = starting.addresses().await?;
        starting.ready(&health).await?;
        let Starting { child, .. } = starting;
        let client = trusting(&ca)?;
        Ok(Self { child, client, webhook, health, ca, log })
    }

    /// Posts a review as an API server does, and returns the answer.
    ///
    /// # Errors
    /// When there is none.
    pub(crate) async fn ask(&self, endpoint: &str, review: &Value) -> anyhow::Result<Value> {
        let request = self
            .client
            .post(format!("{}{endpoint}?timeout=10s", self.webhook))
            .header("content-type", "application/json")
            .body(review.to_string());
        let answer = request.send().await.context("cannot ask the server")?;
        let (status, text) = (answer.status(), answer.text().await?);
        if status != reqwest::StatusCode::OK {
            bail!("the server answered with {status}: {text}");
        }
        serde_json::from_str(&text).with_context(|| format!("the answer is no JSON: {text}"))
    }

    /// Waits until the server ends, which it should not do by itself.
    pub(crate) async fn ended(&mut self) -> anyhow::Error {
        match self.child.wait().await {
            Ok(status) => {
                anyhow::anyhow!("`tegata serve` ended with {status}: {}", last_line(&self.log))
            }
            Err(error) => error.into(),
        }
    }

    /// Ends it.
    ///
    /// # Errors
    /// When it cannot be ended.
    pub(crate) async fn stop(mut self) -> anyhow::Result<()> {
        self.child.kill().await.context("cannot end `tegata serve`")
    }
}

/// A server on its way.
struct Starting<'a> {
    child: Child,
    log: &'a Path,
    end: Instant,
}

impl Starting<'_> {
    /// Waits until the log says where it listens: webhook and health.
    async fn addresses(&mut self) -> anyhow::Result<(String, String)> {
        loop {
            let log = std::fs::read_to_string(self.log).unwrap_or_default();
            let lines = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let serving =
                lines.into_iter().find(|line| line.get("message") == Some(&"Serving".into()));
            if let Some(line) = serving {
                let address = |key: &str| line.get(key).and_then(Value::as_str).map(str::to_owned);
                let both = address("webhook").zip(address("health"));
                let (webhook, health) = both.context("the server's log names no address")?;
                return Ok((format!("https://{webhook}"), format!("http://{health}")));
            }
            self.pause("to listen").await?;
        }
    }

    async fn ready(&mut self, health: &str) -> anyhow::Result<()> {
        let client = reqwest::Client::builder().no_proxy().build()?;
        loop {
            let answer = client.get(format!("{health}/readyz")).send().await;
            if answer.is_ok_and(|answer| answer.status() == reqwest::StatusCode::OK) {
                return Ok(());
            }
            self.pause("for /readyz").await?;
        }
    }

    async fn pause(&mut self, what: &str) -> anyhow::Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("`tegata serve` ended with {status}: {}", last_line(self.log));
        }
        if Instant::now() > self.end {
            bail!("waited {START:?} {what} in vain: {}", last_line(self.log));
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(())
    }
}

/// A client that believes this authority alone.
fn trusting(ca: &Path) -> anyhow::Result<reqwest::Client> {
    let pem = std::fs::read(ca).with_context(|| format!("cannot read {}", ca.display()))?;
    let certificate = reqwest::Certificate::from_pem(&pem)?;
    let client = reqwest::Client::builder().tls_certs_only([certificate]).no_proxy();
    Ok(client.timeout(Duration::from_secs(15)).build()?)
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("its log is empty").to_owned()
}
