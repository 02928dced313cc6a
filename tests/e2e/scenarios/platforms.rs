//! Images for several platforms: which of their digests must be signed, and what each of them is
//! configured to do.
use anyhow::Result;
use serde_json::Value;
use serde_json::json;

use super::support::EFFECT;
use super::support::NOTICED;
use super::support::RELEASE;
use super::support::admitted;
use super::support::apply_ready;
use super::support::ask;
use super::support::assert_refused;
use super::support::cluster_policy;
use super::support::keyless;
use crate::registries::Image;
use crate::registries::REFERRERS;
use crate::world::World;

const NAMESPACE: &str = "platforms";

/// An index vouches for what it lists, and the manifests for themselves: as the policy says.
pub async fn are_signed_as_the_policy_says(world: &mut World) -> Result<()> {
    world.namespace(NAMESPACE, &[]).await?;
    for platforms in ["index", "all", "any"] {
        let folder = format!("platforms/{platforms}");
        apply_ready(world, &policy(world, platforms, &folder, None)).await?;
        let whole = world.registries.push_index(REFERRERS, &format!("{folder}/whole")).await?;
        world.sigstore.sign_keyless(&whole.pinned, &RELEASE).await?;
        let name = format!("{folder}/parts");
        let parts = world.registries.push_index(REFERRERS, &name).await?;
        let mut digests = world.registries.digests(REFERRERS, &name, &parts).await?.into_iter();
        let first = digests.next().unwrap_or_default();
        sign_part(world, &name, &first).await?;
        let none = "no signature is attached";
        answers(world, &whole, platforms != "all", none).await?;
        let naming = if platforms == "all" { "linux/arm64" } else { none };
        answers(world, &parts, platforms == "any", naming).await?;
        for digest in digests {
            sign_part(world, &name, &digest).await?;
        }
        answers(world, &parts, platforms != "index", none).await?;
    }
    Ok(())
}

/// Rules see the configuration of every platform.
pub async fn are_configured_as_the_policy_says(world: &mut World) -> Result<()> {
    world.namespace(NAMESPACE, &[]).await?;
    for (name, entrypoint) in [("right", "/app"), ("wrong", "/other")] {
        let folder = format!("platforms/{name}");
        let rule =
            format!("input.config.all(p, input.config[p].config.Entrypoint == ['{entrypoint}'])");
        let rules = json!({
            "fetchConfigFile": true,
            "conditions": [{ "cel": rule, "message": "it must start what was agreed" }],
        });
        let mut policy = policy(world, "all", &folder, Some(rules));
        policy["metadata"]["name"] = json!(format!("configured-{name}"));
        apply_ready(world, &policy).await?;
        let image = format!("{folder}/app");
        let index = world.registries.push_index(REFERRERS, &image).await?;
        for digest in world.registries.digests(REFERRERS, &image, &index).await? {
            sign_part(world, &image, &digest).await?;
        }
        if name == "right" {
            admitted(world, NAMESPACE, &index.tagged, EFFECT).await?;
        } else {
            let texts = ["step conditions", "it must start what was agreed", "[condition-unmet]"];
            assert_refused(ask(world, NAMESPACE, &index.tagged).await?, &texts)?;
        }
    }
    Ok(())
}

fn policy(world: &World, platforms: &str, folder: &str, rules: Option<Value>) -> Value {
    let name = format!("platforms-{platforms}");
    let mut policy = cluster_policy(&name, folder, json!([keyless(world, &RELEASE)]));
    policy["spec"]["platforms"] = json!(platforms);
    if let Some(rules) = rules {
        policy["spec"]["policy"] = rules;
    }
    policy
}

async fn sign_part(world: &World, repository: &str, digest: &str) -> Result<()> {
    world.sigstore.sign_keyless(&format!("{REFERRERS}/{repository}@{digest}"), &RELEASE).await
}

/// Admitted, or refused for want of a signature of what is named.
async fn answers(world: &World, image: &Image, admits: bool, naming: &str) -> Result<()> {
    if admits {
        return admitted(world, NAMESPACE, &image.tagged, NOTICED).await;
    }
    let texts = [image.tagged.as_str(), "step evidence", naming, "[signature-absent]"];
    assert_refused(ask(world, NAMESPACE, &image.tagged).await?, &texts)
}
