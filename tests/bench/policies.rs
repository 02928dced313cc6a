//! (g) The warm review of (a), under few and under very many policies.
use std::time::Duration;

use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::Bench;
use super::client::Client;
use super::images::Signed;
use super::images::Signers;
use super::pods::Review;
use super::policy;
use super::registry::Registry;
use super::server::Server;
use super::server::Setup;
use super::stats::Turns;
use super::stats::alternate;
use super::stats::median;
use super::table::Figure;
use super::table::Quantity;
use super::table::Target;
use super::warm;

/// How many policies there are.
const COUNTS: [usize; 3] = [10, 1_000, 10_000];

/// How many times what ten policies cost any number of them may.
const MOST: f64 = 3.0;

/// Namespaces that they are spread over.
const NAMESPACES: usize = 1_000;

/// Policies in a file: a file has room for so many documents.
const FILE: usize = 100;

/// Containers of the pods.
const SIZES: [usize; 2] = [1, 10];

const TURNS: Turns = Turns { rounds: 40, block: 25, time: Duration::from_secs(20) };

/// Reviews before it counts.
const BEFORE: usize = 20;

/// Measures.
pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let (registry, signers) = (Registry::start()?, Signers::new());
    let most = SIZES.into_iter().max().unwrap_or_default();
    let images = signers.family(&registry, "warm", most, Signed::Classic);
    let mut servers = Vec::new();
    for count in COUNTS {
        bench.say(&format!("a server with {count} policies"));
        let policies: Vec<Value> = (0..count).map(|number| one(number, &signers)).collect();
        let policies = policies.chunks(FILE).map(<[Value]>::to_vec).collect();
        let server = Server::start(&Setup { policies, ..warm::setup(&registry, &signers) })?;
        bench.table.add(Figure::new(
            'g',
            format!("start to ready, {count} policies"),
            Quantity::Time(server.ready_after),
        ));
        servers.push(server);
    }
    for containers in SIZES {
        bench.say(&format!("a pod of {containers}"));
        let review = warm::review(&registry, &images[..containers]);
        let mut asking = Vec::new();
        for server in &servers {
            let (mut client, mut review) = (server.peer.connect()?, review.clone());
            warm::assure(&mut client, &registry, &signers, warm::FORGED)?;
            warm::admitted(&mut client, &mut review, BEFORE)?;
            asking.push((client, review));
        }
        let medians = in_turns(&mut asking)?;
        for (count, time) in COUNTS.iter().zip(&medians).skip(1) {
            let name = format!("warm review, {containers} containers, {count} policies");
            let figure = Figure::new('g', name, Quantity::Time(*time));
            let figure = figure.against("10 policies", Quantity::Time(medians[0]));
            bench.table.add(figure.target(Target::Ratio(MOST)));
        }
    }
    Ok(())
}

fn in_turns(asking: &mut [(Client, Review)]) -> anyhow::Result<Vec<Duration>> {
    let mut sides: Vec<_> =
        asking.iter_mut().map(|(client, review)| move || warm::timed(client, review)).collect();
    let mut sides: Vec<&mut dyn FnMut() -> anyhow::Result<Duration>> =
        sides.iter_mut().map(|side| side as _).collect();
    let times = alternate(TURNS, &mut sides)?;
    ensure!(times.iter().all(|times| !times.is_empty()), "nothing was measured");
    Ok(times.iter().map(|times| median(times)).collect())
}

/// The `number`-th policy. The first is for the pods' images; all others are for other images or
/// other namespaces, of the cluster and of namespaces, with wildcards and without.
fn one(number: usize, signers: &Signers) -> Value {
    let namespace = format!("tenant-{:04}", number % NAMESPACES);
    let name = format!("policy-{number:05}");
    let key = [signers.keyed()];
    match number % 4 {
        _ if number == 0 => policy::cluster("signed", &[Signers::keyless()]),
        0 => {
            let images = format!("registry.example/{namespace}/**");
            policy::glob(policy::cluster(&name, &key), &images)
        }
        1 => policy::namespaced(&namespace, &name, &key),
        2 => {
            let image = format!("registry.example/{namespace}/app-{number}:v1");
            policy::glob(policy::cluster(&name, &key), &image)
        }
        _ => {
            let globs = json!([
                { "glob": format!("*.example/{namespace}/*") },
                { "glob": format!("mirror.example/library/app-{number}") },
            ]);
            policy::with(policy::namespaced(&namespace, &name, &key), "images", globs)
        }
    }
}
