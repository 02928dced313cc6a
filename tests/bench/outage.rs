//! (h) Every registry, the log and the TUF repository go away: who is still admitted.
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::ensure;
use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;
use tegata::image::Digest;

use super::Bench;
use super::crowd;
use super::crowd::Manners;
use super::crowd::Outcome;
use super::crowd::Wish;
use super::fake_rekor::FakeRekor;
use super::images::Image;
use super::images::Signed;
use super::images::Signers;
use super::mirror::Mirror;
use super::policy;
use super::registry::Manner;
use super::registry::Registry;
use super::registry::runtime;
use super::server::Server;
use super::server::Setup;
use super::table::Figure;
use super::table::Quantity;
use super::table::Target;
use super::tuf_repository;
use super::tuf_repository::Roles;
use super::warm;

/// Images, half of them in a registry whose port will be closed, half in one that will be silent.
const IMAGES: usize = 500;

/// Of these, one in so many has its log entry in the log alone.
const SEARCHED: usize = 10;

/// Namespaces that the pods are spread over.
const NAMESPACES: usize = 50;

/// How long after the begin of the outage it is asked again.
const LATER: Duration = Duration::from_secs(30);

/// Clients that ask at once; fewer than the server answers at once.
const CLIENTS: usize = 100;

/// How long all may take to be verified, and to be asked for once.
const TIME: Duration = Duration::from_secs(110);

/// How long the trust root may take to be fetched.
const ROOT_TIME: Duration = Duration::from_secs(30);

/// The TrustRoot that the TUF repository keeps.
const ROOT: &str = "followed";

/// What goes away.
struct World {
    signers: Signers,
    closing: Registry,
    falling_silent: Registry,
    others: tokio::runtime::Runtime,
    /// It ends when it is dropped.
    rekor: Option<FakeRekor>,
    images: Vec<Image>,
    server: Server,
}

/// Measures.
pub fn run(bench: &mut Bench) -> anyhow::Result<()> {
    let mut world = World::start()?;
    world.wait_for_root()?;
    bench.say(&format!("having {IMAGES} images verified"));
    let known = world.ask(true);
    let World { signers, closing, server, .. } = &world;
    warm::assure(&mut server.peer.connect()?, closing, signers, "plain/forged")?;
    bench.wrong.extend(known.wrong.iter().take(10).cloned());
    ensure!(
        known.settled.len() == 2 * IMAGES,
        "{} of {} reviews were admitted before the outage: {:?}",
        known.settled.len(),
        2 * IMAGES,
        known.because
    );
    bench.say("everything goes away");
    let World { closing, falling_silent, others, rekor, .. } = &mut world;
    drop(rekor.take());
    closing.kill();
    falling_silent.set(Manner::Silent);
    let others = std::mem::replace(others, runtime()?);
    others.shutdown_timeout(Duration::from_secs(5));
    let outage = Instant::now();
    for when in ["at once", "after 30 s"] {
        if when != "at once" {
            std::thread::sleep(LATER.saturating_sub(outage.elapsed()));
        }
        bench.say(when);
        let outcome = world.ask(false);
        if let Some(because) = &outcome.because {
            bench.say(&because.chars().take(300).collect::<String>());
        }
        bench.wrong.extend(outcome.wrong.iter().take(10).cloned());
        let share = |tags: bool| {
            let kind = outcome.settled.iter().filter(|(place, _)| (*place >= IMAGES) == tags);
            Quantity::Share(kind.count() as f64 / IMAGES as f64)
        };
        let all = Target::AtLeast(Quantity::Share(1.0));
        let digests = Figure::new('h', format!("admitted by digest, {when}"), share(false));
        bench.table.add(digests.target(all));
        let tags = Figure::new('h', format!("admitted by tag, {when}"), share(true));
        bench.table.add(tags);
    }
    Ok(())
}

impl World {
    fn start() -> anyhow::Result<Self> {
        let signers = Signers::new();
        let (closing, falling_silent) = (Registry::start()?, Registry::start()?);
        let others = runtime()?;
        let (rekor, mirror) =
            others.block_on(async { (FakeRekor::start().await, Mirror::start().await) });
        let root = publish(&mirror, &signers.sigstore.trusted_root_json())?;
        let mut images = Vec::new();
        for number in 0..IMAGES {
            let registry = if number % 2 == 0 { &closing } else { &falling_silent };
            if number % SEARCHED < 2 && number / SEARCHED % 2 == 0 {
                let image = Image::new("searched", number);
                let (signed, entry) = signers.searched(&image)?;
                rekor.put(&Digest::sha256_of(&signed.payload), &entry);
                registry.put(&image);
                registry.attach(&image, &signed.oci());
                images.push(image);
            } else {
                let image = Image::new("plain", number);
                signers.publish(registry, &image, Signed::Classic);
                images.push(image);
            }
        }
        let log = rekor.url().to_string();
        let policies = policies(&signers, &log, &mirror.url(), &root);
        let http = vec![closing.host(), falling_silent.host(), mirror.host()];
        let flags = vec!["--rekor-allow".into(), log.into()];
        // Policies do not use it; without it the public one would be fetched.
        let trusted_root = Some(signers.sigstore.trusted_root_json());
        let server = Server::start(&Setup { policies, http, flags, trusted_root })?;
        Ok(Self { signers, closing, falling_silent, others, rekor: Some(rekor), images, server })
    }

    /// Waits until the trust root is there, without which every image is rejected.
    fn wait_for_root(&self) -> anyhow::Result<()> {
        let Self { falling_silent, images, server, .. } = self;
        let start = Instant::now();
        // Those of this registry have odd numbers.
        let mut odd = images.iter().skip(1).step_by(2);
        let one = odd.find(|image| image.repository.starts_with("plain"));
        let one = one.context("no image asks for the root")?;
        let mut client = server.peer.connect()?;
        let mut review = warm::review(falling_silent, std::slice::from_ref(one));
        while let Err(error) = warm::timed(&mut client, &mut review) {
            ensure!(start.elapsed() < ROOT_TIME, "the trust root does not come: {error:#}");
            std::thread::sleep(Duration::from_millis(100));
        }
        Ok(())
    }

    /// Asks for each image by its digest, and then for each by its tag, as pods are admitted.
    fn ask(&self, retry: bool) -> Outcome {
        let Self { closing, falling_silent, images, server, .. } = self;
        let wish = |number: usize, tag: bool| {
            let image = &images[number];
            let registry = if number % 2 == 0 { closing } else { falling_silent };
            let reference = if tag { image.by_tag(registry) } else { image.by_digest(registry) };
            Wish {
                image: number,
                endpoint: if tag { "/mutate" } else { "/validate" },
                namespace: format!("team-{}", number % NAMESPACES),
                images: vec![reference],
                good: true,
            }
        };
        let digests = (0..IMAGES).map(|number| wish(number, false));
        let wishes: Vec<Wish> =
            digests.chain((0..IMAGES).map(|number| wish(number, true))).collect();
        crowd::ask(&server.peer, &wishes, Manners { clients: CLIENTS, time: TIME, retry })
    }
}

/// One policy for an identity, one for a key whose signatures must be logged; both believe the
/// instance that the TUF repository tells of.
fn policies(signers: &Signers, log: &str, mirror: &str, root: &str) -> Vec<Vec<Value>> {
    let trust = json!({
        "apiVersion": "tegata.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": ROOT },
        "spec": { "tuf": { "mirror": mirror, "root": root } },
    });
    let mut identity = Signers::keyless();
    identity["keyless"]["trustRootRef"] = json!(ROOT);
    let mut key = signers.keyed();
    key["ctlog"] = json!({ "url": log, "trustRootRef": ROOT });
    let plain = policy::glob(policy::cluster("plain", &[identity]), "127.0.0.1:*/plain/**");
    let searched = policy::glob(policy::cluster("searched", &[key]), "127.0.0.1:*/searched/**");
    vec![vec![trust, plain, searched]]
}

/// A TUF repository with this trusted root; returns its root metadata.
fn publish(mirror: &Mirror, trusted_root: &str) -> anyhow::Result<String> {
    let roles = Roles::new("bench");
    let expires =
        json!((Timestamp::now() + (30 * 24).hours()).strftime("%Y-%m-%dT%H:%M:%SZ").to_string());
    let bytes = trusted_root.as_bytes();
    let mut release = roles.release(1, &[("trusted_root.json", bytes)]);
    for role in [&mut release.timestamp, &mut release.snapshot, &mut release.targets] {
        role["expires"] = expires.clone();
    }
    let mut root = roles.root(1);
    root["expires"] = expires;
    let signed = roles.sign(&release);
    mirror.put("timestamp.json", &signed.timestamp);
    mirror.put("1.snapshot.json", &signed.snapshot);
    mirror.put("1.targets.json", &signed.targets);
    let target = &release.targets["targets"]["trusted_root.json"]["hashes"]["sha256"];
    let name = format!("targets/{}.trusted_root.json", target.as_str().unwrap_or_default());
    mirror.put(&name, bytes);
    let keys: Vec<_> = roles.root.iter().collect();
    Ok(String::from_utf8(tuf_repository::sign(&root, &keys))?)
}
