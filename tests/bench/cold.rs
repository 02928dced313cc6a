//! (c) The first review of an image, through a registry that takes its time: how many requests, how
//! many of them one after the other, how long.
use std::time::Duration;

use super::Bench;
use super::images::Signed;
use super::images::Signers;
use super::registry::Manner;
use super::registry::Registry;
use super::registry::longest_chain;
use super::server::Server;
use super::stats::median;
use super::table::Figure;
use super::table::Quantity;
use super::table::Target;
use super::warm;

/// How late the registry answers, and with how many images that is tried.
const LATENCIES: [(u64, usize); 3] = [(0, 40), (20, 25), (100, 12)];

/// Images before it counts: the first connections are made with them.
const BEFORE: usize = 4;

/// How signatures come.
const KINDS: [(Signed, &str); 2] = [(Signed::Classic, "classic"), (Signed::Bundle, "bundle")];

/// Most requests one after the other.
const MOST_IN_A_ROW: f64 = 2.0;

/// Most requests for an image.
const MOST_REQUESTS: f64 = 4.0;

/// Of the registry's latency, and beside it, what a first review may take.
const LATENCY_FACTOR: f64 = 2.3;
const BESIDE: Duration = Duration::from_millis(15);

/// Measures.
pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let (registry, signers) = (Registry::start()?, Signers::new());
    let server = Server::start(&warm::setup(&registry, &signers))?;
    let mut client = server.peer.connect()?;
    warm::assure(&mut client, &registry, &signers, warm::FORGED)?;
    for (how, kind) in KINDS {
        for (milliseconds, count) in LATENCIES {
            bench.say(&format!("{kind}, {milliseconds} ms"));
            let latency = Duration::from_millis(milliseconds);
            let family = format!("cold-{kind}-{milliseconds}");
            let images = signers.family(&registry, &family, BEFORE + count, how);
            registry.set(Manner::Late(latency));
            let (mut times, mut all, mut chain) = (Vec::new(), 0, 0);
            for (number, image) in images.iter().enumerate() {
                registry.asked();
                let mut review = warm::review(&registry, std::slice::from_ref(image));
                let took = warm::timed(&mut client, &mut review)?;
                if number >= BEFORE {
                    let asked = registry.asked();
                    times.push(took);
                    all = all.max(asked.len());
                    chain = chain.max(longest_chain(&asked));
                }
            }
            registry.set(Manner::Prompt);
            let name = |what: &str| format!("{what}, {kind}, registry at {milliseconds} ms");
            let may = latency.mul_f64(LATENCY_FACTOR) + BESIDE;
            let time = Figure::new('c', name("first review"), Quantity::Time(median(&times)));
            let time = time.against("2.3 x latency + 15 ms", Quantity::Time(may));
            bench.table.add(time.target(Target::Ratio(1.0)));
            // Without latency requests hardly overlap: there is nothing to be counted.
            if milliseconds == 0 {
                continue;
            }
            let all = Figure::new('c', name("requests"), Quantity::Count(all as f64));
            bench.table.add(all.target(Target::AtMost(Quantity::Count(MOST_REQUESTS))));
            let row = Figure::new('c', name("requests in a row"), Quantity::Count(chain as f64));
            bench.table.add(row.target(Target::AtMost(Quantity::Count(MOST_IN_A_ROW))));
        }
    }
    Ok(())
}
