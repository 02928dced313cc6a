//! (d) Ten thousand pods at once, through a registry that lets few requests pass.
use std::collections::BTreeMap;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
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
use super::table::Table;
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

/// Requests that an image needs, at the most (see [`super::cold`]): what the registry lets pass in the
/// time makes so many images known, and no more can be asked for.
const REQUESTS: f64 = 4.0;

/// Of those images, the part that is to be known in the end. The rest may be under way.
const PART: f64 = 0.9;

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
    let over = AtomicBool::new(false);
    let (outcome, slowest) = std::thread::scope(|scope| {
        let probing = scope.spawn(|| slowest_probe(&server, &over));
        let outcome = crowd::ask(&server.peer, &wishes, manners);
        over.store(true, Ordering::Relaxed);
        (outcome, probing.join().unwrap())
    });
    let (_, peak) = server.memory()?;
    let asked = registry.asked();
    Burst { count, time, wishes, outcome, asked, slowest, peak }.tell(bench);
    Ok(())
}

/// Whether the image is signed as it should be.
const fn good(number: usize) -> bool {
    number % FORGED != FORGED - 1
}

/// The slowest answer of `/livez` until it is over; `None` where there was none.
fn slowest_probe(server: &Server, over: &AtomicBool) -> Option<Duration> {
    let mut slowest = Duration::ZERO;
    while !over.load(Ordering::Relaxed) {
        slowest = slowest.max(server.alive().ok()?);
        std::thread::sleep(PROBES);
    }
    Some(slowest)
}

/// A burst that is over.
struct Burst {
    count: usize,
    time: Duration,
    wishes: Vec<Wish>,
    outcome: Outcome,
    asked: Vec<Asked>,
    slowest: Option<Duration>,
    peak: u64,
}

impl Burst {
    fn figure(&self, part: char, what: &str, quantity: Quantity) -> Figure {
        Figure::new(part, format!("{what}, burst of {} images", self.count), quantity)
    }

    fn tell(&self, bench: &mut Bench) {
        if let Some(because) = &self.outcome.because {
            let because: String = because.chars().take(300).collect();
            bench.say(&format!("undecided, for example: {because}"));
        }
        bench.wrong.extend(self.outcome.wrong.iter().take(10).cloned());
        self.answers(&mut bench.table);
        self.requests(&mut bench.table);
        self.server(&mut bench.table);
    }

    /// What the pods were told, and how many images are known for it.
    fn answers(&self, table: &mut Table) {
        let Self { count, time, wishes, outcome, .. } = self;
        let figure = |what: &str, quantity| self.figure('d', what, quantity);
        let zero = Target::AtMost(number(0));
        table.add(figure("wrong answers", number(outcome.wrong.len())).target(zero));
        table.add(figure("answers after 10 s or never", number(outcome.late)).target(zero));
        let mut known: BTreeMap<usize, Duration> = BTreeMap::new();
        for (place, at) in &outcome.settled {
            let first = known.entry(wishes[*place].image).or_insert(*at);
            *first = (*first).min(*at);
        }
        let possible = (PER_SECOND * time.as_secs_f64() / REQUESTS).floor().min(*count as f64);
        let whole = figure("images known", number(known.len()));
        let whole = whole.against("possible in the time", Quantity::Count(possible));
        table.add(whole.target(Target::AtLeast(Quantity::Count((possible * PART).ceil()))));
        let settled = figure("pods settled", number(outcome.settled.len()));
        if known.len() == *count {
            let last = known.values().max().copied().unwrap_or_default();
            table.add(figure("all images known after", Quantity::Time(last)));
            table.add(settled.target(Target::AtLeast(number(REVIEWS))));
        } else {
            let pace = time.mul_f64(*count as f64 / (known.len() as f64).max(1.0));
            table.add(figure("all images known after, at this pace", Quantity::Time(pace)));
            table.add(settled.against("all", number(REVIEWS)));
        }
        let asked = figure("reviews sent", number(outcome.asked));
        table.add(asked.against("pods", number(REVIEWS)));
        table.add(figure("undecided answers", number(outcome.undecided)));
        table.add(figure("median answer", Quantity::Time(median(&outcome.latencies))));
    }

    /// What the registry was asked.
    fn requests(&self, table: &mut Table) {
        let Self { count, time, asked, .. } = self;
        let figure = |what: &str, quantity| self.figure('d', what, quantity);
        let (most, mean) = fetches(asked);
        let fetched = figure("evidence fetches an image, most", number(most));
        table.add(match count {
            1 => fetched.target(Target::AtMost(number(1))),
            _ => fetched,
        });
        table.add(figure("evidence fetches an image, mean", Quantity::Count(mean)));
        let passed = asked.iter().filter(|one| one.status != 429).count();
        let allowed = Quantity::Count((PER_SECOND * time.as_secs_f64()).round());
        table.add(figure("requests let pass", number(passed)).against("allowed", allowed));
        table.add(figure("requests refused with 429", number(asked.len() - passed)));
    }

    /// How the server itself fared.
    fn server(&self, table: &mut Table) {
        let probe = Quantity::Time(self.slowest.unwrap_or(self.time));
        let probe = self.figure('d', "slowest answer of /livez", probe);
        table.add(probe.target(Target::AtMost(Quantity::Time(PROBE))));
        let peak = self.figure('e', "peak of memory", Quantity::Bytes(self.peak));
        table.add(peak.target(Target::AtMost(Quantity::Bytes(MOST))));
    }
}

const fn number(number: usize) -> Quantity {
    Quantity::Count(number as f64)
}

/// How often the signature tag of an image was answered for: the most for one image, and the mean
/// over those that were asked for.
fn fetches(asked: &[Asked]) -> (usize, f64) {
    let mut by_image: BTreeMap<&str, usize> = BTreeMap::new();
    for one in asked.iter().filter(|one| one.status == 200 && one.path.ends_with(".sig")) {
        *by_image.entry(&one.path).or_default() += 1;
    }
    let all: usize = by_image.values().sum();
    let images = by_image.len().max(1);
    (by_image.values().max().copied().unwrap_or_default(), all as f64 / images as f64)
}
