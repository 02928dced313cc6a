//! A day of a large cluster, on a clock that jumps: how much registries are asked, and how long pods
//! wait, with one and with several replicas, with much memory and with little.
//!
//! ```text
//! simulation [--quick] [--seed NUMBER] [--only TEXT]
//! ```
//!
//! The store is the real one; registries, pods and the time are not. `.github/SIZING.md` says what
//! follows from it, and what is left out. Exits with 1 where an answer is wrong.
use std::process::ExitCode;
use std::sync::Arc;

use anyhow::Context as _;
use anyhow::bail;
use anyhow::ensure;

use self::world::Size;
use self::world::World;

#[path = "simulation/client.rs"]
mod client;
#[path = "simulation/day.rs"]
mod day;
#[path = "simulation/figures.rs"]
mod figures;
#[path = "simulation/random.rs"]
mod random;
#[path = "simulation/replica.rs"]
mod replica;
#[path = "simulation/run.rs"]
mod run;
#[path = "simulation/servers.rs"]
mod servers;
#[path = "simulation/setups.rs"]
mod setups;
#[path = "simulation/world.rs"]
mod world;

/// Any number will do; another one gives another day.
const SEED: u64 = 20_000;

struct Options {
    quick: bool,
    seed: u64,
    /// What the names of the configurations hold that are run.
    only: String,
}

fn main() -> ExitCode {
    let arguments: Vec<_> = std::env::args().skip(1).collect();
    match options(&arguments).and_then(|options| simulate(&options)) {
        Ok(0) => ExitCode::SUCCESS,
        Ok(wrong) => {
            eprintln!("{wrong} answers are wrong");
            ExitCode::from(1)
        }
        Err(error) => {
            eprintln!("simulation: {error:#}");
            ExitCode::from(2)
        }
    }
}

fn options(arguments: &[String]) -> anyhow::Result<Options> {
    let mut options = Options { quick: false, seed: SEED, only: String::new() };
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--seed" => {
                let seed = arguments.next().context("--seed needs a number")?;
                options.seed = seed.parse().with_context(|| format!("--seed {seed}"))?;
            }
            "--only" => options.only = arguments.next().context("--only needs a text")?.clone(),
            other => bail!("found `{other}`, wanted --quick, --seed NUMBER or --only TEXT"),
        }
    }
    Ok(options)
}

/// Prints the tables; gives back how many answers are wrong.
fn simulate(options: &Options) -> anyhow::Result<u64> {
    let Options { quick, seed, ref only } = *options;
    let size = if quick { Size::TENTH } else { Size::WHOLE };
    let world = Arc::new(World::new(size, seed, &day::rollouts)?);
    let pods = day::pods(&world, size, seed);
    println!(
        "{} pods are created in a day, of {} workloads with {} images; seed {seed}.\n\
         Each asked for by itself, once and answered at once, would be {} requests.\n",
        pods.len(),
        world.workloads.len(),
        world.images.len(),
        pods.iter().map(client::requests).sum::<u64>(),
    );
    let mut all = Vec::new();
    let setups = setups::all(size, quick).into_iter().filter(|setup| setup.label.contains(only));
    for setup in setups {
        eprintln!("{} …", setup.label);
        all.push(run::run(&world, &pods, &setup, seed)?);
    }
    ensure!(!all.is_empty(), "no configuration's name holds `{only}`");
    println!("{}", figures::tables(&all));
    Ok(all.iter().map(|figures| figures.wrong).sum())
}
