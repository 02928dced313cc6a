//! A day of a small cluster on a clock that jumps: the simulation's own rules, and those that the store
//! keeps to in it.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::collections::BTreeSet;
use std::slice;
use std::sync::Arc;

use self::day::Pod;
use self::figures::Figures;
use self::figures::tables;
use self::run::Setup;
use self::world::Size;
use self::world::World;

#[path = "../examples/simulation/client.rs"]
mod client;
#[path = "../examples/simulation/day.rs"]
mod day;
#[path = "../examples/simulation/figures.rs"]
mod figures;
#[path = "../examples/simulation/random.rs"]
mod random;
#[path = "../examples/simulation/replica.rs"]
mod replica;
#[path = "../examples/simulation/run.rs"]
mod run;
#[path = "../examples/simulation/servers.rs"]
mod servers;
#[path = "../examples/simulation/setups.rs"]
mod setups;
#[path = "../examples/simulation/world.rs"]
#[expect(dead_code, reason = "the simulation has other sizes")]
mod world;

const SEED: u64 = 7;

/// A hundredth of a cluster.
const SMALL: Size = Size { pods: 1_000, images: 200, part: 100 };

fn cluster(size: Size) -> (Arc<World>, Vec<Pod>) {
    let world = World::new(size, SEED, &day::rollouts).unwrap();
    let pods = day::pods(&world, size, SEED);
    (Arc::new(world), pods)
}

fn simulate(setup: &Setup) -> Figures {
    let (world, pods) = cluster(SMALL);
    run::run(&world, &pods, setup, SEED).unwrap()
}

fn setup(size: Size, label: &str) -> Setup {
    let mut all = setups::all(size, false);
    let place = all.iter().position(|setup| setup.label == label).unwrap();
    all.swap_remove(place)
}

/// What pods name over the day.
fn named() -> BTreeSet<tegata::image::Digest> {
    let (_, pods) = cluster(SMALL);
    let of_pod = |pod: Pod| [Some(pod.image), pod.sidecar];
    pods.into_iter().flat_map(of_pod).flatten().map(|image| image.digest.clone()).collect()
}

#[test]
fn every_answer_is_right_with_any_configuration() {
    let mut setups = setups::all(SMALL, false);
    setups.extend(setups::all(SMALL, true).pop());
    assert!(setups.len() > 10);
    for setup in setups {
        let figures = [simulate(&setup)];
        let [Figures { wrong, admitted, rejected, indeterminate, .. }] = &figures;
        assert_eq!(*wrong, 0, "{}", tables(&figures));
        assert!(*admitted > 2_000, "{}", tables(&figures));
        assert!(*rejected > 0 && *indeterminate > 0, "{}", tables(&figures));
    }
}

/// Large enough for tags that move under pods, and for signatures that come late.
#[test]
fn every_answer_is_right_in_a_larger_cluster() {
    let (world, pods) = cluster(Size::TENTH);
    let setup = setup(Size::TENTH, "3 replicas, 0.8 MiB, volumes");
    let figures = [run::run(&world, &pods, &setup, SEED).unwrap()];
    let [Figures { wrong, admitted, .. }] = &figures;
    assert_eq!(*wrong, 0, "{}", tables(&figures));
    assert!(*admitted > 20_000, "{}", tables(&figures));
}

#[test]
fn each_image_is_fetched_by_the_first_that_needs_it() {
    let figures = simulate(&setup(SMALL, "1 replica, 2.6 MiB"));
    for digest in &figures.images {
        assert!(figures.asked.images.contains_key(digest), "{digest} was admitted unseen");
    }
    let named = named();
    let asked: BTreeSet<_> = figures.asked.images.keys().cloned().collect();
    // Pods that name a tag run what it stands for, which may not be what they were made for.
    assert!(named.difference(&asked).count() * 20 < named.len());
    assert!(asked.is_subset(&named));
}

#[test]
fn keeping_evidence_spares_registries() {
    let both =
        [simulate(&setup(SMALL, "nothing kept")), simulate(&setup(SMALL, "3 replicas, 2.6 MiB"))];
    let [bare, kept] = &both;
    assert!(bare.asked.requests > 3 * kept.asked.requests, "{}", tables(&both));
    let (_, pods) = cluster(SMALL);
    let plain: u64 = pods.iter().map(client::requests).sum();
    assert!(2 * plain > 3 * kept.asked.requests, "{plain}: {}", tables(&both));
}

/// A volume spares a replica that has just started, and one for all spares each what another has.
#[test]
fn volumes_spare_registries_too() {
    let [kept, each, one] =
        ["3 replicas, 0.1 MiB", "3 replicas, 0.1 MiB, volumes", "3 replicas, 0.1 MiB, shared"]
            .map(|label| simulate(&setup(SMALL, label)));
    let asked = [&kept, &each, &one].map(|figures| figures.asked.evidence);
    assert!(
        asked.is_sorted_by(|more, less| *more > less + less / 10),
        "{}",
        tables(&[kept, each, one])
    );
}

#[test]
fn the_same_seed_gives_the_same_day() {
    let setup = setup(SMALL, "3 replicas, 2.6 MiB");
    let (one, two) = (simulate(&setup), simulate(&setup));
    assert_eq!(tables(slice::from_ref(&one)), tables(slice::from_ref(&two)));
    assert_eq!(one, two);
}
