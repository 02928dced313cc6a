//! Docker credential helpers: programs that hand out credentials.
use std::process::Stdio;
use std::sync::Arc;

use serde::Deserialize;
use tokio::io::AsyncReadExt as _;
use tokio::io::AsyncWriteExt as _;
use tokio::process::Command;

use super::credentials::Credential;
use super::error::RegistryError;
use super::limits::HELPER_TIMEOUT;
use super::limits::MAX_HELPER_BYTES;

/// What every helper prints when it has nothing for a server.
const NOT_FOUND: &str = "credentials not found in native keychain";

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    username: String,
    secret: String,
}

/// Asks `docker-credential-<name> get` for `server`; `None` when it has nothing.
pub(super) async fn run(name: &str, server: &str) -> Result<Option<Arc<Credential>>, RegistryError> {
    let failed = |problem: String| RegistryError::Credentials { helper: name.to_owned(), problem };
    match tokio::time::timeout(HELPER_TIMEOUT, converse(name, server)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(problem)) => Err(failed(problem)),
        Err(_) => Err(failed(format!("no answer within {} s", HELPER_TIMEOUT.as_secs()))),
    }
}

async fn converse(name: &str, server: &str) -> Result<Option<Arc<Credential>>, String> {
    let mut child = Command::new(format!("docker-credential-{name}"))
        .arg("get")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .kill_on_drop(true)
        .spawn()
        .map_err(|error| format!("it cannot be started: {}", error.kind()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // A helper that does not read its input closes the pipe; its answer decides.
        let _ = stdin.write_all(server.as_bytes()).await;
    }
    let mut output = Vec::new();
    if let Some(stdout) = child.stdout.take() {
        let limit = MAX_HELPER_BYTES as u64 + 1;
        let read = stdout.take(limit).read_to_end(&mut output).await;
        read.map_err(|error| format!("its answer cannot be read: {}", error.kind()))?;
    }
    if output.len() > MAX_HELPER_BYTES {
        return Err(format!("its answer exceeds {MAX_HELPER_BYTES} bytes"));
    }
    let status = child.wait().await.map_err(|error| error.kind().to_string())?;
    if !status.success() {
        if String::from_utf8_lossy(&output).trim() == NOT_FOUND {
            return Ok(None);
        }
        return Err(format!("{status}"));
    }
    let Ok(Answer { username, secret }) = serde_json::from_slice(&output) else {
        return Err("its answer is not JSON with `Username` and `Secret`".to_owned());
    };
    Ok(Some(Arc::new(Credential::from_parts(username, secret))))
}
