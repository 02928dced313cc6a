//! The chart's settings `noMatch` and `mutate`, changed by `helm upgrade`.
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use serde_json::json;

use super::support::RELEASE;
use super::support::admitted;
use super::support::apply_ready;
use super::support::ask;
use super::support::cluster_policy;
use super::support::deployment;
use super::support::keyless;
use super::support::pod;
use super::support::refused;
use super::support::signed;
use crate::registries::Image;
use crate::registries::REFERRERS;
use crate::world::World;

const NAMESPACE: &str = "settings";

/// How soon after an upgrade no replica with the old settings is asked any more.
const SOON: Duration = Duration::from_secs(15);

/// Images that no policy covers, and tags of images that one does, as the settings say.
pub async fn no_match_and_mutate_do_what_they_say(world: &mut World) -> Result<()> {
    world.namespace(NAMESPACE, &[]).await?;
    let policy = cluster_policy("settings", "settings/covered", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await?;
    let covered = signed(world, "settings/covered/app", &RELEASE).await?;
    let uncovered = world.registries.push(REFERRERS, "settings/uncovered").await?.tagged;
    let shown = warn_and_off(world, &covered, &uncovered).await;
    let shown = match shown {
        Ok(()) => deny_and_all(world, &covered, &uncovered).await,
        Err(error) => Err(error),
    };
    // The scenarios that follow expect the defaults, however this one went.
    upgrade(world, "noMatch=allow,mutate=pods").await?;
    shown?;
    allow_and_pods(world, &covered, &uncovered).await
}

async fn warn_and_off(world: &World, covered: &Image, uncovered: &str) -> Result<()> {
    upgrade(world, "noMatch=warn,mutate=off").await?;
    let warning = format!(
        "Warning: spec.containers[0].image: image {uncovered} is not covered at step subject: \
         no policy applies to this image [policy-none]"
    );
    world
        .eventually(SOON, async || {
            let answer = ask(world, NAMESPACE, uncovered).await?;
            ensure!(answer.ok && answer.stderr.contains(&warning), "{}", answer.stderr);
            Ok(())
        })
        .await?;
    let answer = world.create(NAMESPACE, &pod("by-tag", &covered.tagged)).await?;
    let warning = format!("{} was verified by its tag, which can move", covered.tagged);
    ensure!(answer.ok && answer.stderr.contains(&warning), "{answer:?}");
    let stored = world.get(&["pod", "by-tag", "-n", NAMESPACE]).await?;
    let image = &stored["spec"]["containers"][0]["image"];
    ensure!(*image == json!(covered.tagged), "the pod's image is {image}");
    Ok(())
}

async fn deny_and_all(world: &World, covered: &Image, uncovered: &str) -> Result<()> {
    upgrade(world, "noMatch=deny,mutate=all").await?;
    let texts = [
        "spec.containers[0].image",
        &format!("image {uncovered} is not covered"),
        "step subject",
        "write a policy that covers the image",
        "[policy-none]",
    ];
    refused(world, NAMESPACE, uncovered, SOON, &texts).await?;
    let wanted = format!("{}@{}", covered.tagged, covered.digest);
    let app = deployment("app", &covered.tagged, 0);
    world.create(NAMESPACE, &app).await?.success()?;
    let stored = world.get(&["deployment", "app", "-n", NAMESPACE]).await?;
    let image = &stored["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(*image == json!(wanted), "wanted {wanted}, the template's image is {image}");
    Ok(())
}

async fn allow_and_pods(world: &World, covered: &Image, uncovered: &str) -> Result<()> {
    admitted(world, NAMESPACE, uncovered, SOON).await?;
    let answer = ask(world, NAMESPACE, uncovered).await?;
    ensure!(!answer.stderr.contains("Warning:"), "{}", answer.stderr);
    world.create(NAMESPACE, &pod("pinned", &covered.tagged)).await?.success()?;
    world.create(NAMESPACE, &deployment("by-tag", &covered.tagged, 0)).await?.success()?;
    let wanted = format!("{}@{}", covered.tagged, covered.digest);
    let pod = world.get(&["pod", "pinned", "-n", NAMESPACE]).await?;
    let image = &pod["spec"]["containers"][0]["image"];
    ensure!(*image == json!(wanted), "wanted {wanted}, the pod's image is {image}");
    let stored = world.get(&["deployment", "by-tag", "-n", NAMESPACE]).await?;
    let image = &stored["spec"]["template"]["spec"]["containers"][0]["image"];
    ensure!(*image == json!(covered.tagged), "the template's image is {image}");
    Ok(())
}

/// Changes values, and waits until the replicas with the old ones are gone: while they drain, the API
/// server still asks them over connections that it has.
async fn upgrade(world: &World, values: &str) -> Result<()> {
    world.install_tegata(&["--reuse-values", "--set", values]).await?;
    world.tegata_has_drained().await
}
