//! `tegata probe`: what `curl --fail` does, where there is no other program in the image.
use super::Exit;
use super::print;
use crate::args::ProbeArgs;
use crate::error::one_line;

/// Most of an answer that is printed, in bytes: what `/readyz` says is far shorter.
const MAX_TEXT: usize = 4096;

/// Asks once. The answer goes to standard output, a failure to standard error.
pub(super) async fn run(args: &ProbeArgs) -> Result<Exit, super::CommandError> {
    let ProbeArgs { url, timeout } = args;
    let client = reqwest::Client::builder()
        .timeout(*timeout)
        .redirect(reqwest::redirect::Policy::none())
        .build()?;
    let mut answer = match client.get(url.clone()).send().await {
        Ok(answer) => answer,
        Err(error) => {
            eprintln!("tegata: {}", one_line(&error));
            return Ok(Exit::Indeterminate);
        }
    };
    let status = answer.status();
    let mut text = Vec::new();
    while let Ok(Some(chunk)) = answer.chunk().await {
        text.extend_from_slice(&chunk);
        if text.len() >= MAX_TEXT {
            text.truncate(MAX_TEXT);
            break;
        }
    }
    print(&crate::verdict::printable(String::from_utf8_lossy(&text).trim_end()))?;
    print("\n")?;
    if status == reqwest::StatusCode::OK {
        return Ok(Exit::Success);
    }
    eprintln!("tegata: {url} answered {status}, wanted 200");
    Ok(Exit::Rejected)
}
