//! `helm upgrade` and `helm uninstall`.
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use serde_json::json;

use super::support::RELEASE;
use super::support::admitted;
use super::support::apply_ready;
use super::support::ask;
use super::support::cluster_policy;
use super::support::keyless;
use super::support::refused;
use super::support::signed;
use crate::registries::REFERRERS;
use crate::tegata::NAMESPACE as TEGATA;
use crate::tegata::RELEASE as HELM_RELEASE;
use crate::world::World;

const NAMESPACE: &str = "lifecycle";

/// How soon an uninstalled webhook is called no more.
const SOON: Duration = Duration::from_secs(10);

/// An upgrade that replaces every replica loses no request, and admits nothing unsigned.
pub async fn helm_upgrades_without_a_lost_request(world: &mut World) -> Result<()> {
    let (good, bad) = prepare(world).await?;
    let before = world.tegata_pods().await?;
    let load = super::load::Load::start(world.cluster.client(), NAMESPACE, 20, &good, &bad);
    world.install_tegata(&["--set", "podAnnotations.e2e=upgraded"]).await?;
    let after = world.tegata_pods().await?;
    ensure!(after.iter().all(|pod| !before.contains(pod)), "{before:?} became {after:?}");
    load.end().await
}

/// After `helm uninstall` the cluster works without Tegata, and the policies are still there.
pub async fn helm_uninstalls_and_keeps_the_policies(world: &mut World) -> Result<()> {
    let (_, bad) = prepare(world).await?;
    refused(world, NAMESPACE, &bad, SOON, &["[signature-absent]"]).await?;
    let uninstall = ["uninstall", HELM_RELEASE, "-n", TEGATA, "--wait", "--timeout=2m"];
    world.helm(&uninstall).await?.success()?;
    admitted(world, NAMESPACE, &bad, SOON).await?;
    world.get(&["clusterimagepolicy", "lifecycle"]).await?;
    let hooks = ["mutatingwebhookconfigurations", "validatingwebhookconfigurations"];
    for kind in hooks {
        let left = world.get(&[kind]).await?;
        let names: Vec<_> = left["items"]
            .as_array()
            .into_iter()
            .flatten()
            .map(|item| &item["metadata"]["name"])
            .collect();
        ensure!(names.is_empty(), "{kind} are left: {names:?}");
    }
    ask(world, TEGATA, &bad).await?.success()?;
    Ok(())
}

/// A signed and an unsigned image under a policy.
async fn prepare(world: &World) -> Result<(String, String)> {
    world.namespace(NAMESPACE, &[]).await?;
    let policy = cluster_policy("lifecycle", "lifecycle", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await?;
    let good = signed(world, "lifecycle/app", &RELEASE).await?.tagged;
    let bad = world.registries.push(REFERRERS, "lifecycle/unsigned").await?.tagged;
    Ok((good, bad))
}
