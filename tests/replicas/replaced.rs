//! Whom policies trust is replaced while reviews come: nothing that was found under the old trust
//! admits once the new one is in force.
use std::sync::Mutex;
use std::sync::atomic::AtomicBool;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;

use super::alone;
use super::client::Answer;
use super::client::Client;
use super::images::Image;
use super::images::Signed;
use super::images::Signers;
use super::pods::Review;
use super::policy;
use super::registry::Registry;
use super::replica::Files;
use super::replica::Replica;
use super::say;

/// Images of each family.
const IMAGES: usize = 6;

/// Clients who ask without a pause.
const CLIENTS: usize = 6;

/// How long they ask before the change, and after it is in force.
const SPAN: Duration = Duration::from_millis(1_500);

/// The change takes effect within two seconds; a busy machine may take longer, but not for ever.
const IN_FORCE: Duration = Duration::from_secs(15);

/// How long clients ask at most, whatever becomes of the rest.
const TIME: Duration = Duration::from_secs(30);

/// Least answers of each kind of image, before the change and after it.
const LEAST: usize = 20;

/// Families of images: where they are, how they are signed, and by which of two signers.
const FAMILIES: [(&str, Signed, Who); 4] = [
    ("keyed/old", Signed::Keyed, Who::Old),
    ("keyed/new", Signed::Keyed, Who::New),
    ("keyless/old", Signed::Classic, Who::Old),
    ("keyless/new", Signed::Classic, Who::New),
];

/// Whose signature an image has.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Who {
    New,
    Old,
}

/// An answer.
#[derive(Debug)]
struct Told {
    family: usize,
    sent: Instant,
    end: Instant,
    admitted: bool,
}

#[test]
fn admits_nothing_by_a_key_or_trust_root_that_was_replaced() {
    let _alone = alone();
    let (registry, old, new) = (Registry::start().unwrap(), Signers::new(), Signers::new());
    let reviews = reviews(&registry, &old, &new);
    let files = Files::new(&policies(&old), &old.sigstore.trusted_root_json(), registry.host());
    let mut replica = Replica::new(&files, 0);
    replica.start();
    let told = Mutex::new(Vec::new());
    let over = AtomicBool::new(false);
    let (changed, in_force) = std::thread::scope(|scope| {
        for client in 0..CLIENTS {
            let connection = replica.peer().connect().unwrap();
            let (reviews, told, over) = (&reviews, &told, &over);
            scope.spawn(move || ask(connection, client, reviews, told, over));
        }
        std::thread::sleep(SPAN);
        let changed = Instant::now();
        files.replace(&policies(&new));
        // Each of the two policies is watched, by an image that has not been asked for before.
        let probes = ["keyed/probe", "keyless/probe"].map(|family| {
            let how = if family.starts_with("keyed") { Signed::Keyed } else { Signed::Classic };
            let image = new.family(&registry, family, 1, how).remove(0);
            Review::new("/validate", "probe", &[image.by_digest(&registry)])
        });
        let in_force = wait_until_in_force(&replica, probes, changed);
        if in_force.is_some() {
            std::thread::sleep(SPAN);
        }
        over.store(true, Ordering::SeqCst);
        (changed, in_force)
    });
    let in_force = in_force.expect("the new policies are not in force");
    let told = told.into_inner().unwrap();
    say(&format!("in force after {:?}; {} answers", in_force - changed, told.len()));
    is_right(&told, changed, in_force);
}

/// Images are admitted by whose signature they have: by the old until the change, by the new once it
/// is in force. In between either may be.
fn is_right(told: &[Told], changed: Instant, in_force: Instant) {
    for (number, (family, _, who)) in FAMILIES.into_iter().enumerate() {
        let of = |told: &&Told| told.family == number;
        let before: Vec<_> = told.iter().filter(of).filter(|told| told.end < changed).collect();
        let after: Vec<_> = told.iter().filter(of).filter(|told| told.sent > in_force).collect();
        assert!(before.len() >= LEAST && after.len() >= LEAST, "{family}: too few answers");
        let wrong = |told: &&&Told, wanted: Who| told.admitted != (who == wanted);
        assert_eq!(
            before.iter().filter(|told| wrong(told, Who::Old)).count(),
            0,
            "wrong answers for {family} of {} before the change",
            before.len()
        );
        assert_eq!(
            after.iter().filter(|told| wrong(told, Who::New)).count(),
            0,
            "wrong answers for {family} of {} after the change",
            after.len()
        );
    }
}

/// For each family the reviews of its images.
fn reviews(registry: &Registry, old: &Signers, new: &Signers) -> Vec<Vec<Review>> {
    let review = |image: &Image| Review::new("/validate", "shop", &[image.by_digest(registry)]);
    let family = |(family, how, who): (&str, Signed, Who)| {
        let signers = if who == Who::Old { old } else { new };
        signers.family(registry, family, IMAGES, how).iter().map(review).collect()
    };
    FAMILIES.map(family).into()
}

/// One policy for a key, one for an identity of an instance; the same names whosever they are.
fn policies(signers: &Signers) -> [Value; 3] {
    let trust = json!({
        "apiVersion": "tegata.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": "instance" },
        "spec": { "trustedRoot": signers.sigstore.trusted_root_json() },
    });
    let mut identity = Signers::keyless();
    identity["keyless"]["trustRootRef"] = json!("instance");
    let keyed = policy::cluster("keyed", &[signers.keyed()]);
    let keyless = policy::cluster("keyless", &[identity]);
    [
        trust,
        policy::glob(keyed, "127.0.0.1:*/keyed/**"),
        policy::glob(keyless, "127.0.0.1:*/keyless/**"),
    ]
}

/// Asks for all images in turn until it is over.
fn ask(
    mut client: Client,
    first: usize,
    reviews: &[Vec<Review>],
    told: &Mutex<Vec<Told>>,
    over: &AtomicBool,
) {
    let start = Instant::now();
    for turn in first.. {
        for (family, reviews) in reviews.iter().enumerate() {
            let mut review = reviews[turn % reviews.len()].clone();
            let number = (turn * CLIENTS + first) * FAMILIES.len() + family;
            review.set_number(number as u64);
            let (sent, admitted) = (Instant::now(), is_admitted(&mut client, &review));
            let told_now = Told { family, sent, end: Instant::now(), admitted };
            told.lock().unwrap().push(told_now);
        }
        if over.load(Ordering::SeqCst) || start.elapsed() > TIME {
            return;
        }
    }
}

/// The moment at which images that only the new policies admit are admitted, all of them.
fn wait_until_in_force(
    replica: &Replica,
    probes: [Review; 2],
    changed: Instant,
) -> Option<Instant> {
    let mut client = replica.peer().connect().unwrap();
    while changed.elapsed() < IN_FORCE {
        if probes.iter().all(|probe| is_admitted(&mut client, probe)) {
            return Some(Instant::now());
        }
        std::thread::sleep(Duration::from_millis(20));
    }
    None
}

/// Whether it is admitted; it is rejected otherwise, and nothing else.
fn is_admitted(client: &mut Client, review: &Review) -> bool {
    client.ask(review).unwrap();
    match client.answer().unwrap() {
        Answer::Admitted => true,
        Answer::Rejected(_) => false,
        other @ (Answer::LetIn(_) | Answer::Undecided(_)) => {
            panic!("found {other:?}, wanted a decision")
        }
    }
}
