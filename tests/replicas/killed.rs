//! One of two replicas is killed under load, and comes back.
use std::collections::BTreeMap;
use std::collections::HashSet;
use std::time::Duration;

use tegata::store::NEGATIVE_LIFE;

use super::alone;
use super::images::Image;
use super::images::Signed;
use super::images::Signers;
use super::load::CLIENTS;
use super::load::Load;
use super::load::Pod;
use super::pods::Review;
use super::policy;
use super::registry::Asked;
use super::registry::Registry;
use super::replica::Files;
use super::replica::Replica;
use super::say;
use super::service::Service;
use super::tally::Tally;
use super::tally::first;

/// Reviews a second, where `TEGATA_RATE` names no other number.
const RATE: f64 = 500.0;

/// Images of each kind of signature that is to be admitted; there are two.
const SIGNED: usize = 25;

/// Images of each kind that is to be rejected; there are two.
const UNSIGNED: usize = 10;

/// Namespaces that the pods are spread over.
const NAMESPACES: usize = 10;

/// How long reviews are sent.
const TIME: Duration = Duration::from_secs(60);

/// When a replica is killed, when nobody is sent to it any more, and when it is started again.
const KILL: Duration = Duration::from_secs(20);
const NOTICED: Duration = Duration::from_secs(22);
const RESTART: Duration = Duration::from_secs(40);

/// From one of them to the next: so long do clients ask one, or all.
const SPAN: Duration = Duration::from_secs(20);

/// How often it is told how things are.
const PACE: Duration = Duration::from_secs(10);

/// The part of the reviews that must have been sent, or the machine was too slow to tell anything.
const SENT: f64 = 0.95;

/// How many replicas there are, and which is killed.
const REPLICAS: usize = 2;
const KILLED: usize = 1;

#[test]
fn answers_rightly_while_a_replica_dies_and_comes_back() {
    let _alone = alone();
    let (registry, signers) = (Registry::start().unwrap(), Signers::new());
    let (signed, others) = images(&registry, &signers);
    let pods = pods(&registry, &signed, &others);
    let policies = [policy::cluster("signed", &[Signers::keyless()])];
    let root = signers.sigstore.trusted_root_json();
    let files = Files::new(&policies, &root, registry.host());
    let mut replicas = [Replica::new(&files, 0), Replica::new(&files, 1)];
    for replica in &mut replicas {
        let took = replica.start();
        say(&format!("a replica is ready after {took:?}"));
    }
    let service = Service::new(replicas.iter().map(Replica::peer));
    let rate = std::env::var("TEGATA_RATE").map_or(RATE, |text| text.parse().unwrap());
    say(&format!("{rate} reviews a second from {CLIENTS} clients for {TIME:?}"));
    let load = Load::new(&service, &pods, rate, TIME);
    let mut phases: Vec<Phase> = Vec::new();
    let mut back = RESTART;
    std::thread::scope(|scope| {
        load.begin(scope);
        load.wait_until(KILL, PACE);
        phases.push((std::mem::take(&mut load.tally().seen), registry.asked()));
        replicas[KILLED].kill();
        say("a replica is killed");
        load.wait_until(NOTICED, PACE);
        service.set(KILLED, false);
        load.wait_until(RESTART, PACE);
        phases.push((std::mem::take(&mut load.tally().seen), registry.asked()));
        let took = replicas[KILLED].start();
        back = load.elapsed();
        say(&format!("it is back, ready after {took:?}"));
        service.set(KILLED, true);
        load.wait_until(TIME, PACE);
    });
    phases.push((std::mem::take(&mut load.tally().seen), registry.asked()));
    say(&format!("in all: {}", load.tally().line()));
    for replica in &mut replicas {
        assert!(replica.state().0, "a replica ended on its own: {}", replica.state().1);
    }
    is_right(&load.tally(), load.wanted, back);
    is_complete(&phases, &signed, &others);
}

/// What was decided, by which replica, in a phase, and what the registry was asked for meanwhile.
type Phase = (HashSet<(usize, usize)>, Vec<Asked>);

/// Each replica that ran decided every image in each phase, and asked for its evidence once.
fn is_complete(phases: &[Phase], signed: &[Image], others: &[Image]) {
    let all = signed.len() + others.len();
    for ((seen, asked), (when, starts)) in phases.iter().zip([
        ("before a replica was killed", REPLICAS),
        ("while it was dead", 0),
        ("after it was back", 1),
    ]) {
        let of = |replica: usize| seen.iter().filter(|(at, _)| *at == replica).count();
        assert_eq!(of(1 - KILLED), all, "images decided by the one that lived, {when}");
        if starts > 0 {
            assert_eq!(of(KILLED), all, "images decided by the one that was killed, {when}");
        }
        is_asked_for(asked, signed, starts, when);
        is_sparing(asked, others, when);
    }
}

/// Fifty images that are signed, and twenty that are not as they should be.
fn images(registry: &Registry, signers: &Signers) -> (Vec<Image>, Vec<Image>) {
    let mut signed = signers.family(registry, "bundle", SIGNED, Signed::Bundle);
    signed.extend(signers.family(registry, "classic", SIGNED, Signed::Classic));
    let mut others = signers.family(registry, "forged", UNSIGNED, Signed::Forged);
    for number in 0..UNSIGNED {
        let image = Image::new("unsigned", number);
        registry.put(&image);
        others.push(image);
    }
    (signed, others)
}

/// Pods of these images, half of them by digest and half by tag.
fn pods(registry: &Registry, signed: &[Image], others: &[Image]) -> Vec<Pod> {
    let pod = |(number, image): (usize, &Image)| {
        let (endpoint, reference) = if number % 2 == 0 {
            ("/validate", image.by_digest(registry))
        } else {
            ("/mutate", image.by_tag(registry))
        };
        let namespace = format!("team-{}", number % NAMESPACES);
        let review = Review::new(endpoint, &namespace, &[reference]);
        Pod { review, good: number < signed.len() }
    };
    signed.iter().chain(others).enumerate().map(pod).collect()
}

/// Every review was sent in time, and answered in time and rightly; only those under way when a
/// replica died were not answered.
fn is_right(tally: &Tally, wanted: usize, back: Duration) {
    let Tally { sent, decided, wrong, late, undecided, broken, refused, seen: _, times: _ } = tally;
    assert!(wrong.is_empty(), "wrong answers: {}", first(wrong));
    assert!(late.is_empty(), "answers that came too late: {}", first(late));
    assert!(undecided.is_empty(), "reviews left undecided: {}", first(undecided));
    assert!(
        *sent as f64 >= SENT * wanted as f64,
        "this machine is too slow: {sent} of {wanted} reviews were sent; set TEGATA_RATE"
    );
    assert_eq!(decided, sent, "reviews that were decided, of those that were sent");
    let dead = |at: &Duration| (KILL..back).contains(at);
    let rest: Vec<_> = broken.iter().filter(|(at, _)| !dead(at)).collect();
    assert!(rest.is_empty(), "connections that replicas broke that lived: {}", first(&rest));
    assert!(broken.len() <= CLIENTS, "requests not answered: {}", first(broken));
    let rest: Vec<_> = refused.iter().filter(|at| !dead(at)).collect();
    assert!(rest.is_empty(), "connections refused by replicas that lived: {}", first(&rest));
    assert!(!broken.is_empty() || !refused.is_empty(), "nobody noticed that a replica died");
}

/// Whatever belongs to a signed image was asked for once by each replica that started meanwhile.
fn is_asked_for(asked: &[Asked], images: &[Image], starts: usize, when: &str) {
    for image in images {
        let evidence = requests(asked, image);
        assert!(
            evidence.values().all(|count| *count == starts) && evidence.is_empty() == (starts == 0),
            "{when} the registry was asked for {evidence:#?}, wanted each {starts} times"
        );
    }
}

/// What belongs to any other image was asked for no more often than is forgotten that there is none.
fn is_sparing(asked: &[Asked], images: &[Image], when: &str) {
    let lives = (SPAN.as_secs_f64() / NEGATIVE_LIFE.as_secs_f64()).ceil() as usize;
    let most = REPLICAS * (lives + 1);
    for image in images {
        let evidence = requests(asked, image);
        assert!(
            evidence.values().all(|count| *count <= most),
            "{when} the registry was asked for {evidence:#?}, wanted each {most} times at most"
        );
    }
}

/// What was asked for of an image besides its manifest, and how often.
fn requests<'a>(asked: &'a [Asked], image: &Image) -> BTreeMap<&'a str, usize> {
    let manifests = format!("/v2/{}/manifests/", image.repository);
    let own = [format!("{manifests}{}", image.tag), format!("{manifests}{}", image.digest)];
    let repository = format!("/v2/{}/", image.repository);
    let mut counts = BTreeMap::new();
    for Asked { path, .. } in asked {
        if path.starts_with(&repository) && !own.contains(path) {
            *counts.entry(path.as_str()).or_default() += 1;
        }
    }
    counts
}
