//! The figures: what Tegata costs and what it stands, measured on the real program.
//!
//! ```text
//! make bench                all of it, within a quarter of an hour
//! make bench ONLY="a c"     parts of it
//! ```
//!
//! Everything runs on loopback. What is compared is measured in the same run, in small blocks that
//! take turns, and told as medians. A target that is missed is told as missed and fails nothing, for
//! machines differ; a *wrong answer* fails the run: a signed image that is rejected, or another one
//! that is admitted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "test support"
)]
use std::path::Path;
use std::process::ExitCode;
use std::time::Instant;

#[path = "burst.rs"]
mod burst;
#[path = "client.rs"]
mod client;
#[path = "cold.rs"]
mod cold;
#[path = "constant.rs"]
mod constant;
#[path = "crowd.rs"]
mod crowd;
#[path = "../support/fake_rekor.rs"]
mod fake_rekor;
#[path = "images.rs"]
mod images;
#[path = "machine.rs"]
mod machine;
#[path = "memory.rs"]
mod memory;
#[path = "../tuf/mirror.rs"]
mod mirror;
#[path = "outage.rs"]
mod outage;
#[path = "pods.rs"]
mod pods;
#[path = "policies.rs"]
mod policies;
#[path = "../support/policy.rs"]
mod policy;
#[path = "registry.rs"]
mod registry;
#[path = "../support/review.rs"]
mod review;
#[path = "server.rs"]
mod server;
#[path = "start.rs"]
mod start;
#[path = "stats.rs"]
mod stats;
#[path = "table.rs"]
mod table;
#[path = "../support/tuf_repository.rs"]
mod tuf_repository;
#[path = "verification.rs"]
mod verification;
#[path = "../support/virtual_sigstore.rs"]
mod virtual_sigstore;
#[path = "warm.rs"]
mod warm;

use table::Table;

/// The first argument that makes this program the server of [`constant`], for itself alone.
pub const CONSTANT: &str = "serve-a-constant";

/// Where a whole run leaves its figures.
const LATEST: &str = "bench/latest.json";

/// What the parts fill in.
#[derive(Debug, Default)]
pub struct Bench {
    /// The figures.
    pub table: Table,
    /// Answers that must never be given.
    pub wrong: Vec<String>,
}

impl Bench {
    /// Tells what is being done.
    pub fn say(&self, text: &str) {
        eprintln!("  {text}");
    }
}

/// A part: its letter, what it is about, what does it.
type Part = (char, &'static str, fn(&mut Bench) -> anyhow::Result<()>);

const PARTS: [Part; 8] = [
    ('a', "warm reviews against a constant answer", warm::run),
    ('b', "verification against its bare signature checks", verification::run),
    ('c', "cold reviews through a registry that takes its time", cold::run),
    ('d', "bursts against a registry that limits its clients", burst::run),
    ('e', "memory", memory::run),
    ('f', "from start to ready", start::run),
    ('g', "warm reviews under many policies", policies::run),
    ('h', "admission while registries are dead", outage::run),
];

fn main() -> ExitCode {
    // Another provider may be installed already, which serves as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let done = match arguments.split_first() {
        Some((first, [ca, address])) if first == CONSTANT => {
            constant::serve(Path::new(ca), address).map(|()| true)
        }
        _ => wanted(&arguments).and_then(|parts| measure(&parts)),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("bench: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// The parts that the command line names, by their letters; all where it names none.
fn wanted(arguments: &[String]) -> anyhow::Result<Vec<Part>> {
    let letters: Vec<char> = arguments
        .iter()
        .filter(|argument| !argument.starts_with("--"))
        .flat_map(|argument| argument.chars().filter(|c| !c.is_whitespace() && *c != ','))
        .collect();
    if let Some(unknown) = letters.iter().find(|letter| PARTS.iter().all(|part| part.0 != **letter))
    {
        anyhow::bail!("found the part `{unknown}`, wanted one of a to h");
    }
    let asked = |part: &Part| letters.is_empty() || letters.contains(&part.0);
    Ok(PARTS.into_iter().filter(asked).collect())
}

/// Measures, prints the table, and says whether every answer was right and every part done.
fn measure(parts: &[Part]) -> anyhow::Result<bool> {
    let machine = machine::Machine::look()?;
    let program = server::binary()?;
    let start = Instant::now();
    let mut bench = Bench::default();
    let mut undone = Vec::new();
    for (letter, about, run) in parts {
        eprintln!("({letter}) {about}");
        let began = Instant::now();
        if let Err(error) = run(&mut bench) {
            eprintln!("  not done: {error:#}");
            undone.push(format!("({letter}) is not done: {error:#}"));
        }
        eprintln!("  {:.1} s", began.elapsed().as_secs_f64());
    }
    println!("{machine}\n{}\n", program.display());
    println!("{}", bench.table);
    println!("{:.0} s in all", start.elapsed().as_secs_f64());
    if parts.len() == PARTS.len() && undone.is_empty() {
        let latest = Path::new(env!("CARGO_MANIFEST_DIR")).join(LATEST);
        std::fs::create_dir_all(latest.parent().unwrap_or(&latest))?;
        let json = bench.table.json(&machine, start.elapsed());
        std::fs::write(&latest, format!("{json:#}\n"))?;
        println!("written to {LATEST}");
    } else {
        println!("{LATEST} is left as it was: not every part was measured");
    }
    for line in bench.wrong.iter().chain(&undone) {
        eprintln!("bench: {line}");
    }
    Ok(bench.wrong.is_empty() && undone.is_empty())
}
