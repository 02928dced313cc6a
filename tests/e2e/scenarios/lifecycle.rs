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

/// How soon a status is written, also by a replica that must be elected first.
const STATUS: Duration = Duration::from_secs(30);

/// How soon an uninstalled webhook is called no more.
const SOON: Duration = Duration::from_secs(10);

/// `helm test` finds the Service and a ready replica behind it.
pub async fn helm_test_passes(world: &mut World) -> Result<()> {
    let test = ["test", HELM_RELEASE, "-n", TEGATA, "--timeout=60s"];
    let said = world.helm(&test).await?.success()?;
    let phase = said.lines().find(|line| line.starts_with("Phase:")).unwrap_or_default();
    ensure!(said.contains("tegata-test") && phase.ends_with("Succeeded"), "{said}");
    Ok(())
}

/// `kubectl get tcip,tip,ttr` says of each what it does and whether it can be used.
pub async fn kubectl_shows_the_columns(world: &mut World) -> Result<()> {
    world.namespace("columns", &[]).await?;
    let nobody = json!([
        { "name": "nobody", "static": { "action": "fail" } },
        { "name": "team", "key": { "secretRef": { "name": "none-such" } } },
    ]);
    let mut policy = cluster_policy("columns", "columns", nobody);
    policy["kind"] = json!("ImagePolicy");
    policy["metadata"]["namespace"] = json!("columns");
    policy["spec"]["mode"] = json!("audit");
    world.apply(&policy).await?.success()?;
    let of_policies = "NAME MODE AUTHORITIES READY AGE REASON";
    let rows: [(&str, &str, &[&str]); 3] = [
        ("tcip", of_policies, &["basics", "enforce", "1", "True"]),
        ("tip", of_policies, &["columns", "audit", "2", "False"]),
        ("ttr", "NAME READY AGE REASON", &["e2e", "True"]),
    ];
    for (kind, header, row) in rows {
        world
            .eventually(STATUS, async || {
                let get = ["get", kind, "-n", "columns", "-o", "wide"];
                let table = world.kubectl(&get).await?.success()?;
                let mut lines =
                    table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>());
                let found = lines.next().unwrap_or_default().join(" ");
                ensure!(found == header, "{kind}: {found}");
                ensure!(lines.any(|found| found.starts_with(row)), "wanted {row:?} in\n{table}");
                Ok(())
            })
            .await?;
    }
    world.kubectl(&["delete", "imagepolicy", "columns", "-n", "columns"]).await?.success()?;
    Ok(())
}

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
