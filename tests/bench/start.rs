//! (f) From the start of the process until `/readyz` says yes, without a cluster.
use std::time::Duration;

use super::Bench;
use super::images::Signers;
use super::registry::Registry;
use super::server::Server;
use super::stats::median;
use super::table::Figure;
use super::table::Quantity;
use super::table::Target;
use super::warm;

/// How often it is started.
const STARTS: usize = 20;

/// How long it may take.
const MOST: Duration = Duration::from_millis(300);

/// Measures.
pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let (registry, signers) = (Registry::start()?, Signers::new());
    let setup = warm::setup(&registry, &signers);
    let started = (0..STARTS).map(|_| Server::start(&setup).map(|server| server.ready_after));
    let times = started.collect::<anyhow::Result<Vec<Duration>>>()?;
    let slowest = times.iter().max().copied().unwrap_or_default();
    let ready = Figure::new('f', "start to ready", Quantity::Time(median(&times)));
    bench.table.add(ready.target(Target::AtMost(Quantity::Time(MOST))));
    bench.table.add(Figure::new('f', "start to ready, slowest", Quantity::Time(slowest)));
    Ok(())
}
