//! The machine and the build: what figures are worth nothing without.
use std::fmt;
use std::path::Path;
use std::process::Command;
use std::process::Stdio;

use anyhow::Context as _;
use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;

/// Where figures were measured, and on which build.
#[derive(Clone, Debug)]
pub struct Machine {
    cores: usize,
    model: String,
    memory: u64,
    rustc: String,
    profile: String,
    date: Timestamp,
    commit: String,
    load: String,
}

impl Machine {
    /// Looks at this one.
    ///
    /// # Errors
    /// When it is not Linux.
    pub fn look() -> anyhow::Result<Self> {
        let read = |path| std::fs::read_to_string(path).with_context(|| format!("no {path}"));
        let (processors, memory) = (read("/proc/cpuinfo")?, read("/proc/meminfo")?);
        let kib = field(&memory, "MemTotal").and_then(|text| text.split(' ').next()?.parse().ok());
        let rustc = std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
        let but_figures = ["status", "--porcelain", "-uno", "--", ".", ":!bench"];
        let dirty = !said(Command::new("git").args(but_figures)).is_empty();
        let commit = said(Command::new("git").args(["rev-parse", "HEAD"]));
        Ok(Self {
            cores: std::thread::available_parallelism()?.get(),
            model: field(&processors, "model name").unwrap_or("unknown").to_owned(),
            memory: kib.unwrap_or(0_u64) << 10,
            rustc: said(Command::new(rustc).arg("-V")),
            profile: profile()?,
            date: Timestamp::now(),
            commit: if dirty { format!("{commit}, with changes") } else { commit },
            load: read("/proc/loadavg")?.split(' ').take(3).collect::<Vec<_>>().join(" "),
        })
    }

    /// The same for programs.
    pub fn json(&self) -> Value {
        let Self { cores, model, memory, rustc, profile, date, commit, load } = self;
        json!({
            "cores": cores,
            "processor": model,
            "memoryBytes": memory,
            "rustc": rustc,
            "profile": profile,
            "date": date,
            "commit": commit,
            "loadAtStart": load,
        })
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cores, model, memory, rustc, profile, date, commit, load } = self;
        let memory = *memory as f64 / f64::from(1 << 30);
        writeln!(f, "\n{cores} cores of {model}, {memory:.1} GiB, load before {load}")?;
        write!(f, "{rustc}, {profile}, {date:.0}, commit {commit}")
    }
}

/// The build: cargo puts this program into the folder of its profile. The container image holds
/// another one, that of the profile `release`, which `TEGATA_BIN` can name.
fn profile() -> anyhow::Result<String> {
    let own = std::env::current_exe()?;
    let folder = own.ancestors().nth(2).and_then(Path::file_name).unwrap_or_default();
    let profile = format!("profile {}", folder.to_string_lossy());
    Ok(match std::env::var_os("TEGATA_BIN") {
        Some(binary) => format!("{profile}, but of the program {}", binary.to_string_lossy()),
        None => format!("{profile} (shipped: release)"),
    })
}

fn field<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let line = text.lines().find(|line| line.starts_with(name))?;
    line.split_once(':').map(|(_, value)| value.trim())
}

/// What a program prints; nothing where it cannot be run.
fn said(command: &mut Command) -> String {
    let output = command.current_dir(env!("CARGO_MANIFEST_DIR")).stderr(Stdio::null()).output();
    let output = output.map(|output| output.stdout).unwrap_or_default();
    String::from_utf8_lossy(&output).trim().to_owned()
}
