//! A registry that asks for a password: signatures are read with what the node would pull with.
use std::time::Duration;

use anyhow::Result;
use serde_json::Value;
use serde_json::json;

use super::support::RELEASE;
use super::support::apply_ready;
use super::support::assert_refused;
use super::support::cluster_policy;
use super::support::deployment;
use super::support::keyless;
use super::support::pod;
use crate::process::Done;
use crate::registries::PASSWORD;
use crate::registries::PRIVATE;
use crate::registries::USER;
use crate::world::World;

const OURS: &str = "credentials";

/// A namespace without the password.
const THEIRS: &str = "credentials-others";

/// How soon a Secret that was changed, and an account that was given one, count.
const SOON: Duration = Duration::from_secs(10);

/// With the pod's pull secrets, with its ServiceAccount's, and not without: nor for a neighbour who
/// asks right after.
pub async fn of_a_private_registry_stay_with_their_owners(world: &mut World) -> Result<()> {
    for namespace in [OURS, THEIRS] {
        world.namespace(namespace, &[]).await?;
    }
    let image = world.registries.push(PRIVATE, "credentials/app").await?;
    world.sigstore.sign_keyless(&image.pinned, &RELEASE).await?;
    let policy = cluster_policy("credentials", "credentials", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await?;
    let image = image.tagged.as_str();
    assert_unauthorised(ask(world, OURS, &with(image, &[])).await?, image)?;

    pull_secret(world, "right", PASSWORD).await?;
    ask(world, OURS, &with(image, &["right"])).await?.success()?;
    assert_unauthorised(ask(world, THEIRS, &with(image, &["right"])).await?, image)?;
    assert_unauthorised(ask(world, THEIRS, &with(image, &[])).await?, image)?;

    pull_secret(world, "wrong", "another-password").await?;
    assert_unauthorised(ask(world, OURS, &with(image, &["wrong"])).await?, image)?;
    ask(world, OURS, &with(image, &["wrong", "right"])).await?.success()?;
    pull_secret(world, "wrong", PASSWORD).await?;
    let corrected = with(image, &["wrong"]);
    world.eventually(SOON, async || ask(world, OURS, &corrected).await?.success()).await?;
    of_accounts(world, image).await
}

/// The admission of pods copies an account's pull secrets into them; into templates nobody does.
async fn of_accounts(world: &World, image: &str) -> Result<()> {
    let account = json!({
        "apiVersion": "v1",
        "kind": "ServiceAccount",
        "metadata": { "name": "robot", "namespace": OURS },
        "imagePullSecrets": [{ "name": "right" }],
    });
    world.apply(&account).await?.success()?;
    let mut by_robot = [pod("asked", image), deployment("asked", image, 1)];
    by_robot[0]["spec"]["serviceAccountName"] = json!("robot");
    by_robot[1]["spec"]["template"]["spec"]["serviceAccountName"] = json!("robot");
    for object in by_robot {
        world.eventually(SOON, async || ask(world, OURS, &object).await?.success()).await?;
    }
    let by_default = deployment("asked", image, 1);
    assert_unauthorised(ask(world, OURS, &by_default).await?, image)?;
    let given = json!({ "imagePullSecrets": [{ "name": "right" }] }).to_string();
    let give = ["patch", "serviceaccount", "default", "-n", OURS, "-p", &given];
    world.kubectl(&give).await?.success()?;
    world.eventually(SOON, async || ask(world, OURS, &by_default).await?.success()).await?;
    assert_unauthorised(ask(world, THEIRS, &by_default).await?, image)
}

fn with(image: &str, secrets: &[&str]) -> Value {
    let mut pod = pod("asked", image);
    let secrets: Vec<Value> = secrets.iter().map(|name| json!({ "name": name })).collect();
    pod["spec"]["imagePullSecrets"] = json!(secrets);
    pod
}

async fn ask(world: &World, namespace: &str, object: &Value) -> Result<Done> {
    let create = ["create", "--dry-run=server", "-n", namespace, "-f", "-"];
    world.kubectl_with(&create, &object.to_string()).await
}

fn assert_unauthorised(done: Done, image: &str) -> Result<()> {
    let texts = [
        "containers[0].image",
        image,
        "could not be decided by ClusterImagePolicy credentials",
        "refused access",
        "give credentials that may read the image and its signatures",
        "[registry-unauthorised]",
    ];
    assert_refused(done, &texts)
}

async fn pull_secret(world: &World, name: &str, password: &str) -> Result<()> {
    let config = json!({ "auths": { PRIVATE: { "username": USER, "password": password } } });
    let secret = json!({
        "apiVersion": "v1",
        "kind": "Secret",
        "type": "kubernetes.io/dockerconfigjson",
        "metadata": { "name": name, "namespace": OURS },
        "stringData": { ".dockerconfigjson": config.to_string() },
    });
    world.apply(&secret).await?.success()?;
    Ok(())
}
