//! The namespaces that a run has for itself.
use std::env;
use std::fs;
use std::os::unix::process::ExitStatusExt as _;
use std::process::Command;
use std::process::ExitCode;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

/// Set in the program that runs inside.
const INSIDE: &str = "TEGATA_E2E_INSIDE";

/// Whether this is the program inside.
pub fn is_isolated() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Starts this program again, with the same arguments, in namespaces of its own, and waits for it.
///
/// It is the first process of its process namespace: all others end with it, and it ends with
/// `unshare`.
pub fn run_isolated() -> Result<ExitCode> {
    let mut command = Command::new("unshare");
    if !is_root()? {
        command.args(["--user", "--map-root-user"]);
    }
    command
        .args(["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1");
    let status = command.status().context("cannot start `unshare` (of util-linux)")?;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal));
    Ok(ExitCode::from(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)))
}

/// Whether processes can be given the user that a pod asks for: not as a user who only plays root.
pub fn has_users() -> bool {
    let map = fs::read_to_string("/proc/self/uid_map").unwrap_or_default();
    map.split_whitespace().nth(2).and_then(|count| count.parse().ok()).unwrap_or(0_u64) > 65_536
}

/// Sets the loopback device up and gives it an address: of a server, or of a pod.
pub fn add_address(address: &str) -> Result<()> {
    ip(&["link", "set", "lo", "up"])?;
    ip(&["address", "replace", &format!("{address}/32"), "dev", "lo"])
}

fn ip(arguments: &[&str]) -> Result<()> {
    let output = Command::new("ip").args(arguments).output().context("cannot start `ip`")?;
    let error = String::from_utf8_lossy(&output.stderr);
    ensure!(output.status.success(), "ip {}: {}", arguments.join(" "), error.trim());
    Ok(())
}

fn is_root() -> Result<bool> {
    let status = fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix("Uid:")).unwrap_or_default();
    Ok(line.split_whitespace().nth(1) == Some("0"))
}
