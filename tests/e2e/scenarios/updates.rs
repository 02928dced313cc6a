//! What runs already is never stuck on a policy that came later, and no change slips in an image.
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use serde_json::json;

use super::support::EFFECT;
use super::support::RELEASE;
use super::support::admitted;
use super::support::apply_ready;
use super::support::assert_refused;
use super::support::cluster_policy;
use super::support::deployment;
use super::support::keyless;
use super::support::pod;
use super::support::refused;
use super::support::signed;
use crate::registries::Image;
use crate::registries::REFERRERS;
use crate::world::World;

const NAMESPACE: &str = "updates";

/// What keeps an object from being deleted.
const FINALIZER: &str = "e2e.test/hold";

/// How soon replicas that come back are asked again.
const SOON: Duration = Duration::from_secs(15);

/// Where a Deployment names its image.
const TEMPLATE: &str = "spec.template.spec.containers[0].image";

/// Pods and Deployments of an image that a later policy refuses.
pub async fn what_runs_can_change_in_all_but_its_image(world: &mut World) -> Result<()> {
    world.namespace(NAMESPACE, &[]).await?;
    let old = world.registries.push(REFERRERS, "updates/old").await?.tagged;
    let new = world.registries.push(REFERRERS, "updates/new").await?.tagged;
    let good = signed(world, "updates/good", &RELEASE).await?;
    let mut held = [pod("held", &old), deployment("held", &old, 1)];
    for object in &mut held {
        object["metadata"]["finalizers"] = json!([FINALIZER]);
        world.create(NAMESPACE, object).await?.success()?;
    }
    world.create(NAMESPACE, &deployment("app", &old, 2)).await?.success()?;
    let policy = cluster_policy("updates", "updates", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await?;
    refused(world, NAMESPACE, &new, EFFECT, &["[signature-absent]"]).await?;
    images_are_judged(world, &new, &good).await?;
    deleted_ones_too(world, &new).await?;
    world.scale_tegata(0).await?;
    let alone = without_tegata(world, &good.tagged).await;
    world.scale_tegata(2).await?;
    world.tegata_is_ready().await?;
    alone?;
    admitted(world, NAMESPACE, &good.tagged, SOON).await
}

async fn images_are_judged(world: &World, new: &str, good: &Image) -> Result<()> {
    let absent = [new, "ClusterImagePolicy updates", "[signature-absent]"];
    let change = |image: &str| format!("app={image}");
    let set = ["set", "image", "-n", NAMESPACE];
    let refuse = world.kubectl(&[&set[..], &["pod/held", &change(new)]].concat()).await?;
    assert_refused(refuse, &[&absent[..], &["spec.containers[0].image"]].concat())?;
    let fewer = json!({ "spec": { "replicas": 1 } });
    patch(world, "deployment/app", &fewer).await?.success()?;
    let sneaky = json!({ "spec": { "replicas": 0, "template": { "spec": {
        "containers": [{ "name": "app", "image": new }],
    } } } });
    let refuse = patch(world, "deployment/app", &sneaky).await?;
    assert_refused(refuse, &[&absent[..], &[TEMPLATE]].concat())?;
    let stored = world.get(&["deployment", "app", "-n", NAMESPACE]).await?;
    ensure!(stored["spec"]["replicas"] == 1, "{}", stored["spec"]["replicas"]);
    world.kubectl(&[&set[..], &["pod/held", &change(&good.pinned)]].concat()).await?.success()?;
    Ok(())
}

async fn deleted_ones_too(world: &World, new: &str) -> Result<()> {
    let delete = ["delete", "deployment/held", "-n", NAMESPACE, "--wait=false"];
    world.kubectl(&delete).await?.success()?;
    let stored = world.get(&["deployment", "held", "-n", NAMESPACE]).await?;
    ensure!(stored["metadata"]["deletionTimestamp"].is_string(), "{stored}");
    let image = format!("app={new}");
    let set = ["set", "image", "deployment/held", "-n", NAMESPACE, &image];
    assert_refused(world.kubectl(&set).await?, &[TEMPLATE, new, "[signature-absent]"])
}

/// Changes of metadata and of status ask nobody: they go well while nobody could answer, which a
/// change of the spec does not.
async fn without_tegata(world: &World, good: &str) -> Result<()> {
    refused(world, NAMESPACE, good, SOON, &["failed calling webhook"]).await?;
    let fewer = json!({ "spec": { "replicas": 0 } });
    let refuse = patch(world, "deployment/app", &fewer).await?;
    assert_refused(refuse, &["failed calling webhook", "validate.tegata.dev"])?;
    for object in ["pod/held", "deployment/app"] {
        for command in ["label", "annotate"] {
            world.kubectl(&[command, object, "-n", NAMESPACE, "e2e.test/a=b"]).await?.success()?;
        }
    }
    let status = json!({ "status": { "message": "seen" } }).to_string();
    let write = ["patch", "pod/held", "-n", NAMESPACE, "--subresource=status", "-p", &status];
    world.kubectl(&write).await?.success()?;
    let pod = world.get(&["pod", "held", "-n", NAMESPACE]).await?;
    ensure!(pod["status"]["message"] == "seen", "{}", pod["status"]);
    let released = json!({ "metadata": { "finalizers": null } });
    for object in ["pod/held", "deployment/held"] {
        patch(world, object, &released).await?.success()?;
    }
    world
        .eventually(SOON, async || {
            let left =
                world.kubectl(&["get", "deployment/held", "-n", NAMESPACE]).await?.failure()?;
            ensure!(left.contains("not found"), "{left}");
            Ok(())
        })
        .await
}

async fn patch(
    world: &World,
    object: &str,
    patch: &serde_json::Value,
) -> Result<crate::process::Done> {
    world.kubectl(&["patch", object, "-n", NAMESPACE, "-p", &patch.to_string()]).await
}
