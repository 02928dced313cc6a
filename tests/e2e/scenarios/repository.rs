//! The run's own TUF repository, as a client of others finds it, and as Tegata follows it.
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::load::Load;
use super::support::EFFECT;
use super::support::RELEASE;
use super::support::STRANGER;
use super::support::admitted;
use super::support::apply_ready;
use super::support::ask;
use super::support::assert_refused;
use super::support::cluster_policy;
use super::support::keyless;
use super::support::refused;
use super::support::signed;
use crate::process::Done;
use crate::registries::REFERRERS;
use crate::tegata::NAMESPACE as TEGATA;
use crate::tuf::ANY;
use crate::tuf::FOLLOWED;
use crate::tuf::TufRepository;
use crate::world::World;

/// The target that clients follow.
const TARGET: &str = "trusted_root.json";

/// The name of the policy, of the trust root that it names, and of the namespace.
const NAME: &str = "followed";

/// The trust root in metrics.
const LABEL: &str = "trust_root=\"TrustRoot/followed\"";

/// Requests a second, while the repository changes.
const RATE: u64 = 10;

/// How soon every replica has fetched what the mirror serves: the interval of the tests' values, and
/// what a busy machine adds.
const FETCHED: Duration = Duration::from_secs(15);

/// `cosign` that knows the first root alone follows two rotations, gets the trusted root, and
/// refuses what has expired.
pub async fn of_tuf_is_followed_by_cosign(world: &mut World) -> Result<()> {
    let target = world.sigstore.trusted_root_file();
    let targets = [(TARGET, target.as_path())];
    let repository = TufRepository::start(&world.folder("tuf")?, ANY, &targets).await?;
    repository.rotate().await?;
    repository.rotate().await?;
    for (version, home) in [(1, "first"), (3, "third")] {
        let home = world.folder(&format!("tuf-client-{home}"))?;
        initialize(world, &repository, version, &home).await?.success()?;
        let kept =
            home.join(".sigstore/root").join(repository.address().to_string().replace(':', "-"));
        let read = |file: &str| std::fs::read(kept.join(file)).with_context(|| file.to_owned());
        let root: Value = serde_json::from_slice(&read("root.json")?)?;
        ensure!(root["signed"]["version"] == 3, "wanted root 3, found {root}");
        let got = read("targets/trusted_root.json")?;
        ensure!(got == std::fs::read(&target)?, "another trusted root came");
    }
    let home = world.folder("tuf-client-first")?;
    for role in ["timestamp", "snapshot", "targets", "root"] {
        repository.expire(role).await?;
        let error = initialize(world, &repository, 1, &home).await?.failure()?;
        let wanted = format!("failed to decode {role}.json: expired at");
        ensure!(error.contains(&wanted), "wanted {wanted:?} in: {error}");
        repository.publish(&targets).await?;
    }
    repository.rotate().await?;
    initialize(world, &repository, 1, &home).await?.success().map(drop)
}

async fn initialize(
    world: &World,
    repository: &TufRepository,
    root: u32,
    home: &Path,
) -> Result<Done> {
    let root = repository.root(root).display().to_string();
    let arguments = ["initialize", "--mirror", &repository.url(), "--root", &root];
    world.sigstore.cosign_at(home, &arguments).await
}

/// Tegata that is given the first root follows two rotations without a wrong answer, then goes by
/// whichever trusted root is published, and keeps the last good one when the mirror lies. Nothing of
/// it takes a restart.
pub async fn of_tuf_is_followed_by_tegata(world: &mut World) -> Result<()> {
    let world: &World = world;
    // Made first, so that it could have issued the certificates of what is signed below.
    let theirs = world.sigstore.trusted_root_of_another_authority().await?;
    let ours = world.sigstore.trusted_root_file();
    let targets = [(TARGET, ours.as_path())];
    let folder = world.folder("tuf-followed")?;
    let repository = TufRepository::start(&folder, FOLLOWED, &targets).await?;
    let images = prepare(world, &repository).await?;
    let before = processes(world).await?;
    while_asked(world, &images, async || {
        for version in [2, 3] {
            repository.rotate().await?;
            stands_at(world, version).await?;
        }
        says(world, "Fetched", &["; root version 3, last refreshed "]).await
    })
    .await?;
    judge(world, &images).await?;
    another_authority(world, &repository, &images, [&ours, &theirs]).await?;
    while_asked(world, &images, async || lies(world, &repository, &targets).await).await?;
    judge(world, &images).await?;
    let now = processes(world).await?;
    ensure!(now == before, "the replicas were {before:?}, now they are {now:?}");
    let resources = [&format!("clusterimagepolicy/{NAME}"), &format!("trustroot/{NAME}")];
    world.kubectl(&["delete", resources[0], resources[1]]).await?.success().map(drop)
}

/// What is asked about, by tag.
struct Images {
    good: String,
    stranger: String,
    unsigned: String,
}

/// Names the repository in a trust root, that in a policy, and has images for it.
async fn prepare(world: &World, repository: &TufRepository) -> Result<Images> {
    world.namespace(NAME, &[]).await?;
    let root = json!({
        "apiVersion": "tegata.dev/v1alpha1",
        "kind": "TrustRoot",
        "metadata": { "name": NAME },
        "spec": { "tuf": {
            "mirror": repository.url(),
            "root": std::fs::read_to_string(repository.root(1))?,
            "target": TARGET,
        } },
    });
    apply_ready(world, &root).await?;
    stands_at(world, 1).await?;
    let mut authority = keyless(world, &RELEASE);
    authority["keyless"]["trustRootRef"] = json!(NAME);
    apply_ready(world, &cluster_policy(NAME, NAME, json!([authority]))).await?;
    let images = Images {
        good: signed(world, "followed/app", &RELEASE).await?.tagged,
        stranger: signed(world, "followed/stranger", &STRANGER).await?.tagged,
        unsigned: world.registries.push(REFERRERS, "followed/unsigned").await?.tagged,
    };
    admitted(world, NAME, &images.good, EFFECT).await?;
    judge(world, &images).await?;
    Ok(images)
}

/// Each image gets the answer that it deserves under the good trust root.
async fn judge(world: &World, images: &Images) -> Result<()> {
    let Images { good, stranger, unsigned } = images;
    ask(world, NAME, good).await?.success()?;
    let policy = format!("ClusterImagePolicy {NAME}");
    let texts = [stranger.as_str(), &policy, "step identity", "[issuer-mismatch]"];
    assert_refused(ask(world, NAME, stranger).await?, &texts)?;
    let texts = [unsigned.as_str(), &policy, "step evidence", "[signature-absent]"];
    assert_refused(ask(world, NAME, unsigned).await?, &texts)
}

/// Does something while pods are asked for, none of which may be answered wrongly.
async fn while_asked(
    world: &World,
    images: &Images,
    what: impl AsyncFn() -> Result<()>,
) -> Result<()> {
    let load = Load::start(world.cluster.client(), NAME, RATE, &images.good, &images.unsigned);
    let (done, ended) = (what().await, load.end().await);
    done.and(ended)
}

/// A trusted root with another authority of certificates refuses what was admitted, and the first one
/// admits it again: once it is fetched.
async fn another_authority(
    world: &World,
    repository: &TufRepository,
    images: &Images,
    [ours, theirs]: [&Path; 2],
) -> Result<()> {
    let policy = format!("ClusterImagePolicy {NAME}");
    let texts = [images.good.as_str(), &policy, "step certificate", "[certificate-untrusted]"];
    repository.publish(&[(TARGET, theirs)]).await?;
    fetched(world).await?;
    refused(world, NAME, &images.good, EFFECT, &texts).await?;
    repository.publish(&[(TARGET, ours)]).await?;
    fetched(world).await?;
    admitted(world, NAME, &images.good, EFFECT).await
}

/// Metadata that has expired, then metadata that was replaced: neither is believed, what was believed
/// before is still used, for images too that nobody asked about yet, and the condition says so.
async fn lies(world: &World, repository: &TufRepository, targets: &[(&str, &Path)]) -> Result<()> {
    repository.expire("timestamp").await?;
    still_used(world, "expired", "the timestamp metadata expired at ").await?;
    repository.publish(targets).await?;
    fetched(world).await?;
    says(world, "Fetched", &["root version 3, "]).await?;
    let old = repository.timestamp()?;
    repository.publish(targets).await?;
    fetched(world).await?;
    let new = repository.timestamp()?;
    repository.serve_timestamp(&old)?;
    still_used(world, "rolled-back", " goes back from version ").await?;
    repository.serve_timestamp(&new)?;
    fetched(world).await?;
    says(world, "Fetched", &["root version 3, "]).await
}

/// The trust root is used although every replica fails to refresh it, for this reason.
async fn still_used(world: &World, name: &str, why: &str) -> Result<()> {
    const REFRESHES: &str = "tegata_trust_root_refresh_total";
    let failures = async || world.tegata_values(REFRESHES, &[LABEL, "outcome=\"error\""]).await;
    let before = failures().await?;
    world
        .eventually(FETCHED, async || {
            let now = failures().await?;
            let failed = now.len() == before.len() && now.iter().zip(&before).all(|(a, b)| a > b);
            ensure!(failed, "failures were {before:?}, now they are {now:?}");
            Ok(())
        })
        .await?;
    let texts = ["root version 3, ", "it stays in use although refreshing it fails: ", why];
    says(world, "RefreshFailing", &texts).await?;
    let image = signed(world, &format!("followed/{name}"), &RELEASE).await?.tagged;
    ask(world, NAME, &image).await?.success().map(drop)
}

/// Waits until every replica stands at a version of the root.
async fn stands_at(world: &World, version: u32) -> Result<()> {
    world
        .eventually(FETCHED, async || {
            let found = world.tegata_values("tegata_trust_root_metadata_version", &[LABEL]).await?;
            let all = found.iter().all(|found| *found == f64::from(version));
            ensure!(all, "wanted version {version}, found {found:?}");
            Ok(())
        })
        .await
}

/// Waits until every replica has fetched what the mirror serves now.
#[expect(clippy::disallowed_methods, reason = "compared with what replicas say of the present")]
async fn fetched(world: &World) -> Result<()> {
    const REFRESHED: &str = "tegata_trust_root_refreshed_timestamp_seconds";
    // Whole seconds; and what was under way has ended a second later.
    let now = jiff::Timestamp::now().as_second() as f64 + 1.0;
    world
        .eventually(FETCHED, async || {
            let found = world.tegata_values(REFRESHED, &[LABEL]).await?;
            ensure!(found.iter().all(|at| *at > now), "wanted later than {now}, found {found:?}");
            Ok(())
        })
        .await
}

/// Waits until the trust root's condition, which is true, has this reason, and its message these texts.
async fn says(world: &World, reason: &str, texts: &[&str]) -> Result<()> {
    world
        .eventually(FETCHED, async || {
            let root = world.get(&["trustroot", NAME]).await?;
            let ready = &root["status"]["conditions"][0];
            let is_so = ready["type"] == "Ready" && ready["status"] == "True";
            let message = ready["message"].as_str().unwrap_or_default();
            let said = is_so && texts.iter().all(|text| message.contains(text));
            ensure!(said && ready["reason"] == reason, "wanted {reason}, {texts:?}: {ready}");
            Ok(())
        })
        .await
}

/// Tegata's pods, and how often each was started again.
async fn processes(world: &World) -> Result<Vec<(String, i64)>> {
    let list = world.get(&["pods", "-n", TEGATA]).await?;
    let pods = list["items"].as_array().into_iter().flatten();
    let pods = pods.map(|pod| {
        let name = pod["metadata"]["name"].as_str()?.to_owned();
        Some((name, pod["status"]["containerStatuses"][0]["restartCount"].as_i64()?))
    });
    pods.collect::<Option<_>>().context("a pod says how often it was started again")
}
