//! (e) Memory: idle, and after as many images as a large cluster has. The peak under a burst is told
//! with the burst.
use std::time::Duration;

use super::Bench;
use super::crowd;
use super::crowd::Manners;
use super::crowd::Wish;
use super::images::Signed;
use super::images::Signers;
use super::policy;
use super::registry::Registry;
use super::server::Server;
use super::server::Setup;
use super::table::Figure;
use super::table::Quantity;
use super::table::Target;
use super::warm;

/// What the whole server is to stay below.
pub const MOST: u64 = 128 << 20;

/// Most memory while nothing is asked, and after so many images.
const IDLE: u64 = 25 << 20;
const AFTER: u64 = 64 << 20;

/// Images.
const IMAGES: usize = 50_000;

/// Images of a pod: as few reviews as may be.
const CONTAINERS: usize = 50;

/// How long it may go on.
const TIME: Duration = Duration::from_secs(150);

/// Time for what is left of a request, and of its connections, to be let go.
const SETTLE: Duration = Duration::from_secs(3);

const CLIENTS: usize = 4;

/// Measures.
pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let (registry, signers) = (Registry::start()?, Signers::new());
    bench.say(&format!("signing {IMAGES} images"));
    let images = signers.family(&registry, "memory", IMAGES, Signed::Keyed);
    let policies = vec![vec![policy::cluster("signed", &[signers.keyed()])]];
    let server = Server::start(&Setup { policies, ..warm::setup(&registry, &signers) })?;
    std::thread::sleep(SETTLE);
    let (idle, _) = server.memory()?;
    warm::assure(&mut server.peer.connect()?, &registry, &signers, warm::FORGED)?;
    let wishes: Vec<Wish> = images
        .chunks(CONTAINERS)
        .enumerate()
        .map(|(number, images)| Wish {
            image: number,
            endpoint: "/validate",
            namespace: format!("team-{number}"),
            images: images.iter().map(|image| image.by_digest(&registry)).collect(),
            good: true,
        })
        .collect();
    bench.say("having them verified");
    let manners = Manners { clients: CLIENTS, time: TIME, retry: true };
    let outcome = crowd::ask(&server.peer, &wishes, manners);
    bench.wrong.extend(outcome.wrong.iter().take(10).cloned());
    let verified = outcome.settled.len() * CONTAINERS;
    std::thread::sleep(SETTLE);
    let (after, peak) = server.memory()?;
    let table = &mut bench.table;
    let bytes = |bytes| Target::AtMost(Quantity::Bytes(bytes));
    table.add(Figure::new('e', "memory, idle", Quantity::Bytes(idle)).target(bytes(IDLE)));
    let number = |number: usize| Quantity::Count(number as f64);
    let images = Figure::new('e', "images verified", number(verified));
    let images = images.against("all", number(IMAGES));
    table.add(images.target(Target::AtLeast(number(IMAGES))));
    table.add(Figure::new('e', "memory after them", Quantity::Bytes(after)).target(bytes(AFTER)));
    table
        .add(Figure::new('e', "memory, peak meanwhile", Quantity::Bytes(peak)).target(bytes(MOST)));
    let each = after.saturating_sub(idle) / (verified as u64).max(1);
    table.add(Figure::new('e', "memory for each image", Quantity::Bytes(each)));
    Ok(())
}
