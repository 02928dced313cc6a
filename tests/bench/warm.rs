//! (a) A review whose images are all known, against the same server that answers a constant: once
//! without looking at the body, and once with a pipeline that does nothing behind all the rest.
use std::time::Duration;

use anyhow::bail;

use super::Bench;
use super::client::Answer;
use super::client::Client;
use super::constant;
use super::constant::Constant;
use super::images::Image;
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

/// Containers of the pods, and how many times a constant answer their reviews may cost.
const SIZES: [(usize, Option<f64>); 3] = [(1, Some(1.3)), (10, None), (50, Some(2.0))];

/// Enough for medians that do not move; the bound in time is for machines that are slow.
const TURNS: Turns = Turns { rounds: 60, block: 25, time: Duration::from_secs(20) };

/// Reviews before it counts.
const BEFORE: usize = 20;

/// The namespace of pods.
pub const NAMESPACE: &str = "shop";

/// Where the image of [`assure`] is.
pub const FORGED: &str = "forged";

/// Measures.
pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let (registry, signers) = (Registry::start()?, Signers::new());
    let most = SIZES.iter().map(|(containers, _)| *containers).max().unwrap_or_default();
    let images = signers.family(&registry, "warm", most, Signed::Classic);
    let server = Server::start(&setup(&registry, &signers))?;
    let constant = Constant::start()?;
    let mut client = server.peer.connect()?;
    let mut others = [constant.peer.connect()?.of_constant(), constant.peer.connect()?];
    assure(&mut client, &registry, &signers, FORGED)?;
    let mut requests = 0;
    for (containers, most) in SIZES {
        bench.say(&format!("a pod of {containers}"));
        let images = &images[..containers];
        let mut ours = review(&registry, images);
        let mut bare = review_at(constant::BARE, &registry, images);
        let mut idle = review(&registry, images);
        admitted(&mut client, &mut ours, BEFORE)?;
        registry.asked();
        let [other, another] = &mut others;
        let mut sides = (
            || timed(&mut client, &mut ours),
            || timed(other, &mut bare),
            || timed(another, &mut idle),
        );
        let times = alternate(TURNS, &mut [&mut sides.0, &mut sides.1, &mut sides.2])?;
        requests += registry.asked().len();
        let name = format!("warm review, {containers} containers");
        let figure = Figure::new('a', name, Quantity::Time(median(&times[0])));
        let bare = figure.clone().against("a constant", Quantity::Time(median(&times[1])));
        bench.table.add(match most {
            Some(ratio) => bare.target(Target::Ratio(ratio)),
            None => bare,
        });
        let idle = Quantity::Time(median(&times[2]));
        bench.table.add(figure.against("read, nothing checked", idle));
    }
    let none = Target::AtMost(Quantity::Count(0.0));
    let requests = Quantity::Count(requests as f64);
    bench.table.add(Figure::new('a', "registry requests meanwhile", requests).target(none));
    Ok(())
}

/// One policy, for the identity, on every image; and the registry over plain HTTP.
pub fn setup(registry: &Registry, signers: &Signers) -> Setup {
    Setup {
        policies: vec![vec![policy::cluster("signed", &[Signers::keyless()])]],
        trusted_root: Some(signers.sigstore.trusted_root_json()),
        http: vec![registry.host()],
        flags: Vec::new(),
    }
}

/// The review of a pod with these images, by digest.
pub fn review(registry: &Registry, images: &[Image]) -> Review {
    review_at("/validate", registry, images)
}

fn review_at(endpoint: &str, registry: &Registry, images: &[Image]) -> Review {
    let references: Vec<String> = images.iter().map(|image| image.by_digest(registry)).collect();
    Review::new(endpoint, NAMESPACE, &references)
}

/// The next pod's review, and how long it took. Its answer is looked at when the clock has stopped.
pub fn timed(client: &mut Client, review: &mut Review) -> anyhow::Result<Duration> {
    review.renew();
    let took = client.ask(review)?;
    match client.answer()? {
        Answer::Admitted => Ok(took),
        other => bail!("found {other:?}, wanted an admission"),
    }
}

/// Has the review admitted so many times.
///
/// # Errors
/// When it is not.
pub fn admitted(client: &mut Client, review: &mut Review, times: usize) -> anyhow::Result<()> {
    for _ in 0..times {
        timed(client, review)?;
    }
    Ok(())
}

/// Makes sure that the server checks at all: an image that a stranger signed is rejected.
///
/// # Errors
/// When it is not.
pub fn assure(
    client: &mut Client,
    registry: &Registry,
    signers: &Signers,
    family: &str,
) -> anyhow::Result<()> {
    let forged = signers.family(registry, family, 1, Signed::Forged);
    client.ask(&review(registry, &forged))?;
    match client.answer()? {
        Answer::Rejected(_) => Ok(()),
        other => bail!("found {other:?} for a stranger's signature, wanted a rejection"),
    }
}
