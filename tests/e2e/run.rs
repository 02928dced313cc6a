//! Runs the scenarios, one after the other, and tells how they went.
use std::env;
use std::panic::AssertUnwindSafe;
use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::anyhow;
use futures::FutureExt as _;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;

use super::process;
use super::scenarios;
use super::world::World;

/// The most that one scenario may take.
const SCENARIO: Duration = Duration::from_secs(600);

/// What the command line asks for.
pub struct Asked {
    /// Only to list the scenarios.
    pub list: bool,
    /// Texts of which a scenario's name must contain one; none means all.
    only: Vec<String>,
}

impl Asked {
    /// Reads it, as far as Rust's own test runner would: texts, `--list`.
    pub fn from_arguments() -> Self {
        let (options, only): (Vec<String>, Vec<String>) =
            env::args().skip(1).partition(|argument| argument.starts_with("--"));
        Self { list: options.iter().any(|option| option == "--list"), only }
    }

    fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|text| name.contains(text.as_str()))
    }
}

/// Lists the scenarios.
pub fn list() -> ExitCode {
    for scenario in scenarios::ALL {
        println!("{}: test", scenario.name);
    }
    ExitCode::SUCCESS
}

/// Runs what is asked for.
pub fn run(asked: &Asked) -> Result<ExitCode> {
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(async {
        // As the first process of its namespace it is told to stop only if it listens.
        let (mut interrupt, mut terminate) =
            (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
        tokio::select! {
            _ = interrupt.recv() => Ok(ExitCode::from(130)),
            _ = terminate.recv() => Ok(ExitCode::from(143)),
            code = all(asked) => code,
        }
    })
}

async fn all(asked: &Asked) -> Result<ExitCode> {
    let began = Instant::now();
    let wanted: Vec<_> = scenarios::ALL
        .iter()
        .filter(|scenario| asked.wants(scenario.name) || scenario.always)
        .collect();
    println!("\nrunning {} tests", wanted.len());
    let mut world = World::start().await?;
    println!(
        "(cluster, registries and Sigstore are up after {:.1} s)",
        began.elapsed().as_secs_f32()
    );
    let mut failed = vec![];
    for (index, scenario) in wanted.iter().enumerate() {
        let at = Instant::now();
        print!("test {} ... ", scenario.name);
        drop(std::io::Write::flush(&mut std::io::stdout()));
        let run = AssertUnwindSafe((scenario.run)(&mut world)).catch_unwind();
        let result = match tokio::time::timeout(SCENARIO, run).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) => Err(anyhow!("it panicked")),
            Err(_) => Err(anyhow!("it took longer than {SCENARIO:?}")),
        };
        let took = at.elapsed().as_secs_f32();
        match result {
            Ok(()) => println!("ok ({took:.1} s)"),
            Err(error) => {
                println!("FAILED ({took:.1} s)\n  {error:#}");
                failed.push(scenario.name);
            }
        }
        if scenario.always && !failed.is_empty() {
            println!("the others need what failed: they are not run");
            failed.extend(wanted.iter().skip(index + 1).map(|scenario| scenario.name));
            break;
        }
    }
    let code = summary(&wanted.len(), &failed, began);
    if !failed.is_empty() {
        show_logs(&world.logs());
    }
    if !failed.is_empty() || env::var_os("KEEP").is_some() {
        println!("the files of this run are in {}", world.keep().display());
    }
    Ok(code)
}

fn summary(of: &usize, failed: &[&str], began: Instant) -> ExitCode {
    if !failed.is_empty() {
        println!("\nfailures:\n    {}", failed.join("\n    "));
    }
    let (word, count) = (if failed.is_empty() { "ok" } else { "FAILED" }, failed.len());
    println!(
        "\ntest result: {word}. {} passed; {count} failed; 0 ignored; finished in {:.1}s",
        of - count,
        began.elapsed().as_secs_f32()
    );
    if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// What the logs of Tegata and of the node complain of.
fn show_logs(folder: &Path) {
    for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        if name.starts_with("tegata") || name.starts_with("kubelet") {
            println!("\n{name}:\n{}", process::complaints(&entry.path()));
        }
    }
}
