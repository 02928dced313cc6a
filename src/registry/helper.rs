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
pub(super) async fn run(
    name: &str,
    server: &str,
) -> Result<Option<Arc<Credential>>, RegistryError> {
    let failed = |problem: String| RegistryError::Credentials { helper: name.to_owned(), problem };
    let program = Command::new(format!("docker-credential-{name}"));
    match tokio::time::timeout(HELPER_TIMEOUT, converse(program, server)).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(problem)) => Err(failed(problem)),
        Err(_) => Err(failed(format!("no answer within {} s", HELPER_TIMEOUT.as_secs()))),
    }
}

async fn converse(mut program: Command, server: &str) -> Result<Option<Arc<Credential>>, String> {
    let mut child = program
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

#[cfg(all(test, unix))]
mod tests {
    use super::*;

    /// A shell in place of a helper.
    async fn answer(script: &str) -> Result<Option<Arc<Credential>>, String> {
        let mut program = Command::new("sh");
        program.arg("-c").arg(script);
        converse(program, "registry.example").await
    }

    #[tokio::test]
    async fn reads_the_answer_for_the_server() {
        let script =
            r#"read s; echo "{\"ServerURL\":\"$s\",\"Username\":\"u\",\"Secret\":\"$s\"}""#;
        let expected = Credential::from_parts("u".into(), "registry.example".into());
        assert_eq!(answer(script).await, Ok(Some(Arc::new(expected))));
        let script = r#"echo '{"Username":"<token>","Secret":"t"}'"#;
        let expected = Credential::IdentityToken("t".into());
        assert_eq!(answer(script).await, Ok(Some(Arc::new(expected))));
    }

    #[tokio::test]
    async fn knows_the_message_for_nothing_found() {
        let script = format!("echo '{NOT_FOUND}'; exit 1");
        assert_eq!(answer(&script).await, Ok(None));
    }

    #[tokio::test]
    async fn rejects_failures_nonsense_and_floods() {
        for (script, expected) in [
            ("echo '{\"Username\":\"u\",\"Secret\":\"s\"}'; exit 1", "exit status: 1"),
            ("echo hello", "not JSON"),
            ("yes", "exceeds"),
        ] {
            let problem = answer(script).await.unwrap_err();
            assert!(problem.contains(expected), "{script}: {problem}");
        }
    }

    #[tokio::test]
    async fn a_helper_that_is_not_there_is_an_error() {
        let error = run("tegata-test-does-not-exist", "x").await.unwrap_err();
        assert!(matches!(error, RegistryError::Credentials { .. }), "{error}");
    }
}
