//! What happens when parts stop: nothing unsigned is admitted, and all comes back by itself.
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use serde_json::json;

use super::support::RELEASE;
use super::support::admitted;
use super::support::apply_ready;
use super::support::ask;
use super::support::assert_refused;
use super::support::cluster_policy;
use super::support::keyless;
use super::support::refused;
use super::support::signed;
use crate::registries::PLAIN;
use crate::registries::REFERRERS;
use crate::tegata::NAMESPACE as TEGATA;
use crate::tegata::READY;
use crate::tegata::RELEASE as HELM_RELEASE;
use crate::tegata::read_health;
use crate::world::World;

const NAMESPACE: &str = "faults";

/// Requests a second, while replicas and certificates come and go.
const RATE: u64 = 50;

/// How soon a fault is noticed, or forgotten.
const SOON: Duration = Duration::from_secs(15);

/// How `/readyz` begins where Tegata works with what it last heard.
const LOST: &str =
    "ok, but: the watch on clusterimagepolicies has had no contact with the API server";

/// A registry that is down: what was not seen before is not admitted, and the answer says that it
/// may be tried again.
pub async fn a_registry_that_is_down_admits_nothing_new(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let image = world.registries.push(PLAIN, "faults/new").await?;
    world.sigstore.sign_keyless(&image.pinned, &RELEASE).await?;
    world.registries.stop(PLAIN).await?;
    let texts = [
        "spec.containers[0].image",
        "could not be decided by ClusterImagePolicy faults",
        "check that the registry is up and reachable, then retry",
        "[registry-unreachable]",
    ];
    refused(world, NAMESPACE, &image.tagged, SOON, &texts).await?;
    world.registries.start_again(PLAIN).await?;
    admitted(world, NAMESPACE, &image.tagged, SOON).await
}

/// The same registry, and an image that was verified before it went: it is admitted by digest and by
/// tag, by every replica that has seen it, and what is refused stays out.
pub async fn a_registry_that_is_down_stops_nothing_that_was_verified(
    world: &mut World,
) -> Result<()> {
    prepare(world).await?;
    let image = world.registries.push(PLAIN, "faults/known").await?;
    world.sigstore.sign_keyless(&image.pinned, &RELEASE).await?;
    let unsigned = world.registries.push(PLAIN, "faults/known-unsigned").await?;
    // API servers keep their connections: each replica is asked for some of these.
    for _ in 0..20 {
        admitted(world, NAMESPACE, &image.tagged, SOON).await?;
        admitted(world, NAMESPACE, &image.pinned, SOON).await?;
    }
    world.registries.stop(PLAIN).await?;
    // Longer than anything is believed without asking.
    tokio::time::sleep(Duration::from_secs(6)).await;
    for _ in 0..3 {
        admitted(world, NAMESPACE, &image.tagged, SOON).await?;
        admitted(world, NAMESPACE, &image.pinned, SOON).await?;
    }
    refused(world, NAMESPACE, &unsigned.tagged, SOON, &["[registry-unreachable]"]).await?;
    world.registries.start_again(PLAIN).await?;
    refused(world, NAMESPACE, &unsigned.tagged, SOON, &["[signature-absent]"]).await
}

/// Without a replica nothing is admitted that Tegata would check, what it does not check is, and
/// its own pods come back.
pub async fn without_tegata_nothing_is_admitted(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let image = signed(world, "faults/stopped", &RELEASE).await?.tagged;
    admitted(world, NAMESPACE, &image, SOON).await?;
    world.scale_tegata(0).await?;
    let texts = ["failed calling webhook"];
    refused(world, NAMESPACE, &image, SOON, &texts).await?;
    ask(world, "kube-system", &image).await?.success()?;
    let test = world.helm(&["test", HELM_RELEASE, "-n", TEGATA, "--timeout=60s"]).await?;
    assert_refused(test, &["tegata-test failed"])?;
    world.kubectl(&["delete", "pod", "tegata-test", "-n", TEGATA]).await?.success()?;
    world.scale_tegata(2).await?;
    world.tegata_is_ready().await?;
    admitted(world, NAMESPACE, &image, SOON).await
}

/// Under load, a certificate authority that is rotated and a replica that is deleted lose no
/// request, and let nothing in.
pub async fn rotation_and_a_lost_replica_lose_no_request(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let good = signed(world, "faults/load", &RELEASE).await?.tagged;
    let bad = world.registries.push(REFERRERS, "faults/unsigned").await?.tagged;
    admitted(world, NAMESPACE, &good, SOON).await?;
    let load = super::load::Load::start(world.cluster.client(), NAMESPACE, RATE, &good, &bad);
    tokio::time::sleep(Duration::from_secs(2)).await;
    let before = ca_bundle(world).await?;
    let rotate = ["annotate", "secret", "-n", TEGATA, "-l", "app.kubernetes.io/managed-by=tegata"];
    world
        .kubectl(&[&rotate[..], &["tegata.dev/rotate=now", "--overwrite"]].concat())
        .await?
        .success()?;
    let pod = world.tegata_pods().await?.into_iter().next().unwrap_or_default();
    world.kubectl(&["delete", "pod", "-n", TEGATA, &pod, "--wait=false"]).await?.success()?;
    world
        .eventually(READY, async || {
            ensure!(ca_bundle(world).await? != before, "the caBundle is as before");
            Ok(())
        })
        .await?;
    world.tegata_is_ready().await?;
    tokio::time::sleep(Duration::from_secs(2)).await;
    load.end().await
}

/// The API server stops and starts: Tegata goes on with what it knows, and hears of changes again.
pub async fn the_api_server_restarts(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let image = signed(world, "faults/restart", &RELEASE).await?.tagged;
    let replicas = world.tegata_addresses().await?;
    all_say(world, &replicas, "ok\n").await?;
    world.cluster.stop_api_server().await?;
    all_say(world, &replicas, LOST).await?;
    world.cluster.start_api_server().await?;
    admitted(world, NAMESPACE, &image, SOON).await?;
    all_say(world, &replicas, "ok\n").await?;
    let refuse = json!([{ "name": "nobody", "static": { "action": "fail" } }]);
    world.apply(&cluster_policy("faults", "faults", refuse)).await?.success()?;
    refused(world, NAMESPACE, &image, SOON, &["[static-fail]"]).await
}

/// Everything stops, also Tegata, and starts: its pods are not held up by its own webhooks.
pub async fn the_control_plane_starts_cold(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let image = signed(world, "faults/cold", &RELEASE).await?.tagged;
    let replicas = world.tegata_addresses().await?;
    world.cluster.stop().await?;
    all_say(world, &replicas, LOST).await?;
    world.kubelet.stop_all();
    world.cluster.start_again().await?;
    world.tegata_is_ready().await?;
    admitted(world, NAMESPACE, &image, READY).await?;
    all_say(world, &world.tegata_addresses().await?, "ok\n").await
}

/// Waits until `/readyz` of each replica, which stays ready, begins with a text.
async fn all_say(world: &World, replicas: &[String], text: &str) -> Result<()> {
    ensure!(!replicas.is_empty(), "there is no replica");
    world
        .eventually(SOON, async || {
            for replica in replicas {
                let said = read_health(replica, "readyz").await?;
                ensure!(said.starts_with(text), "{replica} says {said:?}, not {text:?}");
            }
            Ok(())
        })
        .await
}

async fn prepare(world: &World) -> Result<()> {
    world.namespace(NAMESPACE, &[]).await?;
    let policy = cluster_policy("faults", "faults", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await
}

async fn ca_bundle(world: &World) -> Result<String> {
    let list = world.get(&["mutatingwebhookconfigurations"]).await?;
    Ok(list["items"][0]["webhooks"][0]["clientConfig"]["caBundle"].to_string())
}
