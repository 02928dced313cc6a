//! Pods, policies and images of the scenarios.
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use futures::StreamExt as _;
use futures::stream;
use serde_json::Value;
use serde_json::json;

use crate::process::Done;
use crate::registries::Image;
use crate::registries::REFERRERS;
use crate::sigstore::Identity;
use crate::world::World;

/// Who signs what may run.
pub const RELEASE: Identity = Identity::Workflow("acme/app");

/// The same workflow, copied into another repository.
pub const COPY: Identity = Identity::Workflow("mallory/app");

/// Somebody whose signature no policy asks for.
pub const STRANGER: Identity = Identity::Email("mallory@e2e.test");

/// Within this, a change of a policy, a key or a label has taken effect.
pub const EFFECT: Duration = Duration::from_secs(1);

/// How soon a signature counts that comes after a denial: that nothing is attached is believed for three
/// seconds by each replica.
pub const NOTICED: Duration = Duration::from_secs(10);

/// How many images are signed and asked about at a time.
const AT_A_TIME: usize = 3;

/// The `TrustRoot` of the private Sigstore.
pub const TRUST_ROOT: &str = "e2e";

/// A policy of the cluster for images below a folder of both registries.
pub fn cluster_policy(name: &str, folder: &str, authorities: Value) -> Value {
    json!({
        "apiVersion": "tegata.dev/v1alpha1",
        "kind": "ClusterImagePolicy",
        "metadata": { "name": name },
        "spec": {
            "images": [{ "glob": format!("10.244.0.*:5000/{folder}/**") }],
            "authorities": authorities,
        },
    })
}

/// An authority: somebody, by the private Sigstore.
pub fn keyless(world: &World, identity: &Identity) -> Value {
    json!({ "name": "release", "keyless": {
        "trustRootRef": TRUST_ROOT,
        "identities": [{ "issuer": world.sigstore.issuer(identity), "subject": identity.subject() }],
    } })
}

/// A pod with one container.
pub fn pod(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": name },
        "spec": { "containers": [{ "name": "app", "image": image }] },
    })
}

/// A Deployment of such pods.
pub fn deployment(name: &str, image: &str, replicas: u32) -> Value {
    let labels = json!({ "app": name });
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": { "name": name },
        "spec": {
            "replicas": replicas,
            "selector": { "matchLabels": labels },
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "app", "image": image }] },
            },
        },
    })
}

/// Pushes an image to the registry with the referrers API and has it signed.
pub async fn signed(world: &World, repository: &str, identity: &Identity) -> Result<Image> {
    let image = world.registries.push(REFERRERS, repository).await?;
    world.sigstore.sign_keyless(&image.pinned, identity).await?;
    Ok(image)
}

/// Holds a refusal to every text that it must contain: field, image, policy, step, reason.
pub fn assert_refused(done: Done, texts: &[&str]) -> Result<()> {
    let command = done.command.clone();
    let error = done.failure()?;
    for text in texts {
        ensure!(error.contains(text), "{command}: wanted {text:?} in: {error}");
    }
    Ok(())
}

/// Applies an object and waits until its `Ready` condition is true.
pub async fn apply_ready(world: &World, object: &Value) -> Result<()> {
    world.apply(object).await?.success()?;
    let kind = object["kind"].as_str().unwrap_or_default().to_lowercase();
    let name = format!("{kind}/{}", object["metadata"]["name"].as_str().unwrap_or_default());
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    let wait = ["wait", "--for=condition=Ready", &name, "-n", namespace, "--timeout=30s"];
    world.kubectl(&wait).await?.success()?;
    Ok(())
}

/// Runs all, some at a time, and tells every failure.
pub async fn all(rows: impl Iterator<Item = impl Future<Output = Result<()>>>) -> Result<()> {
    let results: Vec<Result<()>> = stream::iter(rows).buffer_unordered(AT_A_TIME).collect().await;
    let errors: Vec<String> =
        results.into_iter().filter_map(|row| row.err().map(|error| error.to_string())).collect();
    ensure!(errors.is_empty(), "{}", errors.join("\n  "));
    Ok(())
}

/// What stands there.
pub fn at<'a>(value: &'a mut Value, pointer: &str) -> Result<&'a mut Value> {
    value.pointer_mut(pointer).with_context(|| format!("there is no {pointer}"))
}

/// Changes the last bit of what stands there in base64.
pub fn flip(value: &mut Value, pointer: &str) -> Result<()> {
    let text = at(value, pointer)?;
    let mut bytes = BASE64_STANDARD.decode(text.as_str().context("no text")?)?;
    *bytes.last_mut().context("it is empty")? ^= 1;
    *text = json!(BASE64_STANDARD.encode(bytes));
    Ok(())
}

/// Whether a pod with this image would be admitted now, in a namespace; `kubectl`'s answer.
pub async fn ask(world: &World, namespace: &str, image: &str) -> Result<Done> {
    let run = ["run", "asked", "-n", namespace, "--image", image, "--dry-run=server"];
    world.kubectl(&run).await
}

/// Waits until an image is admitted.
pub async fn admitted(world: &World, namespace: &str, image: &str, within: Duration) -> Result<()> {
    world.eventually(within, async || ask(world, namespace, image).await?.success()).await?;
    Ok(())
}

/// Waits until an image is refused, with these texts in the answer.
pub async fn refused(
    world: &World,
    namespace: &str,
    image: &str,
    within: Duration,
    texts: &[&str],
) -> Result<()> {
    world
        .eventually(within, async || assert_refused(ask(world, namespace, image).await?, texts))
        .await
}
