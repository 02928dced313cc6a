//! (d) Ten thousand pods at once, through a registry that lets few requests pass.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::time::Duration;

use super::Bench;
use super::crowd;
use super::crowd::Manners;
use super::crowd::Outcome;
use super::crowd::Wish;
use super::images::Image;
use super::images::Signed;
use super::images::Signers;
use super::memory::MOST;
use super::registry::Asked;
use super::registry::Manner;
use super::registry::Registry;
use super::server::Server;
use super::stats::median;
use super::table::Figure;
use super::table::Quantity;
use super::table::Target;
use super::warm;

/// Pods.
const REVIEWS: usize = 10_000;

/// Clients that ask at once.
const CLIENTS: usize = 200;

/// Namespaces that the pods are spread over.
const NAMESPACES: usize = 20;

/// Requests that the registry lets pass in a second.
const PER_SECOND: f64 = 5.0;

/// Of the images, one in so many was signed by a stranger, where there are so many.
const FORGED: usize = 50;

/// How many images, and how long it may go on. `BURST_SECONDS` says otherwise.
const BURSTS: [(usize, u64); 2] = [(1, 60), (1_000, 150)];

/// How often the probes are asked meanwhile.
const PROBES: Duration = Duration::from_millis(250);

/// How long a probe may take: the kubelet's default.
const PROBE: Duration = Duration::from_secs(1);

/// Measures.
pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    for (count, seconds) in BURSTS {
        let said = std::env::var("BURST_SECONDS").ok().and_then(|text| text.parse().ok());
        let time = Duration::from_secs(said.unwrap_or(seconds));
        bench.say(&format!("{REVIEWS} reviews of {count} images, within {} s", time.as_secs()));
        burst(bench, count, time)?;
    }
    Ok(())
}

fn burst(bench: &mut Bench, count: usize, time: Duration) -> anyhow::Result<()> {
    let (registry, signers) = (Registry::start()?, Signers::new());
    let images: Vec<Image> = (0..count).map(|number| Image::new("burst", number)).collect();
    for (number, image) in images.iter().enumerate() {
        signers.publish(
            &registry,
            image,
            if good(number) { Signed::Classic } else { Signed::Forged },
        );
    }
    let server = Server::start(&warm::setup(&registry, &signers))?;
    warm::assure(&mut server.peer.connect()?, &registry, &signers, warm::FORGED)?;
    let wishes: Vec<Wish> = (0..REVIEWS)
        .map(|number| Wish {
            image: number % count,
            endpoint: "/validate",
            namespace: format!("team-{}", number % NAMESPACES),
            images: vec![images[number % count].by_digest(&registry)],
            good: good(number % count),
        })
        .collect();
    registry.asked();
    registry.set(Manner::Limited(PER_SECOND));
    let manners = Manners { clients: CLIENTS, time, retry: true };
    let over = std::sync::atomic::AtomicBool::new(false);
    let (outcome, slowest) = std::thread::scope(|scope| {
        let probing = scope.spawn(|| slowest_probe(&server, &over));
        let outcome = crowd::ask(&server.peer, &wishes, manners);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        (outcome, probing.join().unwrap())
    });
    let (_, peak) = server.memory()?;
    tell(bench, &Burst { count, time, wishes, outcome, asked: registry.asked(), slowest, peak });
    Ok(())
}

/// Whether the image is signed as it should be.
const fn good(number: usize) -> bool {
    number % FORGED != FORGED - 1
}

/// The slowest answer of `/livez` until it is over; `None` where there was none.
fn slowest_probe(server: &Server, over: &std::sync::atomic::AtomicBool) -> Option<Duration> {
    let mut slowest = Duration::ZERO;
    while !over.load(std::sync::atomic::Ordering::Relaxed) {
        slowest = slowest.max(server.alive().ok()?);
        std::thread::sleep(PROBES);
    }
    Some(slowest)
}

struct Burst {
    count: usize,
    time: Duration,
    wishes: Vec<Wish>,
    outcome: Outcome,
    asked: Vec<Asked>,
    slowest: Option<Duration>,
    peak: u64,
}

fn tell(bench: &mut Bench, burst: &Burst) {
    let Burst { count, time, wishes, outcome, asked, slowest, peak } = burst;
    if let Some(because) = &outcome.because {
        bench.say(&format!(
            "undecided, for example: {}",
            because.chars().take(300).collect::<String>()
        ));
    }
    bench.wrong.extend(outcome.wrong.iter().take(10).cloned());
    let mut known: BTreeMap<usize, Duration> = BTreeMap::new();
    for (place, at) in &outcome.settled {
        let first = known.entry(wishes[*place].image).or_insert(*at);
        *first = (*first).min(*at);
    }
    let (most, mean) = fetches(asked);
    let sent = asked.iter().filter(|one| one.status != 429).count();
    let refused = asked.len() - sent;
    let last = known.values().max().copied().unwrap_or(*time);
    let settled = outcome.settled.len();
    let number = |number: usize| Quantity::Count(number as f64);
    let name = |what: &str| format!("{what}, burst of {count} images");
    let figure = |what: &str, quantity| Figure::new('d', name(what), quantity);
    let zero = Target::AtMost(number(0));
    let table = &mut bench.table;
    table.add(figure("wrong answers", number(outcome.wrong.len())).target(zero));
    table.add(figure("answers after 10 s or never", number(outcome.late)).target(zero));
    let all = Target::AtLeast(number(REVIEWS));
    table.add(figure("pods settled", number(settled)).target(all));
    let whole = figure("images known", number(known.len())).against("all", number(*count));
    table.add(whole.target(Target::AtLeast(number(*count))));
    table.add(figure("last image known after", Quantity::Time(last)));
    let fetched = figure("evidence fetches an image, most", number(most));
    table.add(if *count == 1 { fetched.target(Target::AtMost(number(1))) } else { fetched });
    table.add(figure("evidence fetches an image, mean", Quantity::Count(mean)));
    table.add(figure("requests let pass", number(sent)).against("allowed", allowed(*time)));
    table.add(figure("requests refused with 429", number(refused)));
    table.add(figure("reviews sent", number(outcome.asked)).against("pods", number(REVIEWS)));
    table.add(figure("undecided answers", number(outcome.undecided)));
    table.add(figure("median answer", Quantity::Time(median(&outcome.latencies))));
    let probe = slowest.unwrap_or(Duration::MAX);
    let probe = figure("slowest answer of /livez", Quantity::Time(probe));
    table.add(probe.target(Target::AtMost(Quantity::Time(PROBE))));
    let peak = Figure::new('e', name("peak of memory"), Quantity::Bytes(*peak));
    table.add(peak.target(Target::AtMost(Quantity::Bytes(MOST))));
}

fn allowed(time: Duration) -> Quantity {
    Quantity::Count((PER_SECOND * time.as_secs_f64()).round())
}

/// How often the signature tag of an image was answered for: the most for one image, and the mean
/// over those that were asked for.
fn fetches(asked: &[Asked]) -> (usize, f64) {
    let mut by_image: BTreeMap<&str, usize> = BTreeMap::new();
    for one in asked.iter().filter(|one| one.status == 200 && one.path.ends_with(".sig")) {
        *by_image.entry(&one.path).or_default() += 1;
    }
    let all: usize = by_image.values().sum();
    let images = by_image.keys().collect::<BTreeSet<_>>().len().max(1);
    (by_image.values().max().copied().unwrap_or_default(), all as f64 / images as f64)
}
