//! What administrators and tenants change takes effect within a second.
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::support::EFFECT;
use super::support::RELEASE;
use super::support::STRANGER;
use super::support::admitted;
use super::support::apply_ready;
use super::support::ask;
use super::support::cluster_policy;
use super::support::keyless;
use super::support::refused;
use super::support::signed;
use crate::registries::REFERRERS;
use crate::sigstore::trust_root;
use crate::tegata::NAMESPACE as TEGATA;
use crate::world::World;

/// A policy's identity, its mode, and its end.
pub async fn of_a_policy(world: &mut World) -> Result<()> {
    world.namespace("edits", &[]).await?;
    let image = signed(world, "edits/app", &RELEASE).await?.tagged;
    let policy = |identity, mode: &str| {
        let mut policy = cluster_policy("edits", "edits", json!([keyless(world, identity)]));
        policy["spec"]["mode"] = json!(mode);
        policy
    };
    apply_ready(world, &policy(&RELEASE, "enforce")).await?;
    admitted(world, "edits", &image, EFFECT).await?;
    world.apply(&policy(&STRANGER, "enforce")).await?.success()?;
    refused(world, "edits", &image, EFFECT, &["[issuer-mismatch]"]).await?;
    world.apply(&policy(&STRANGER, "warn")).await?.success()?;
    admitted(world, "edits", &image, EFFECT).await?;
    let warning = ask(world, "edits", &image).await?.stderr;
    ensure!(warning.contains("Warning:") && warning.contains("[issuer-mismatch]"), "{warning}");
    world.apply(&policy(&STRANGER, "audit")).await?.success()?;
    world
        .eventually(EFFECT, async || {
            let answer = ask(world, "edits", &image).await?;
            ensure!(answer.ok && !answer.stderr.contains("Warning:"), "{}", answer.stderr);
            Ok(())
        })
        .await?;
    world.apply(&policy(&STRANGER, "enforce")).await?.success()?;
    refused(world, "edits", &image, EFFECT, &["[issuer-mismatch]"]).await?;
    world.kubectl(&["delete", "clusterimagepolicy", "edits"]).await?.success()?;
    admitted(world, "edits", &image, EFFECT).await
}

/// A key in a Secret: another one, none, and the first one again.
pub async fn of_a_key_in_a_secret(world: &mut World) -> Result<()> {
    world.namespace("rotation", &[]).await?;
    let image = world.registries.push(REFERRERS, "rotation/app").await?;
    let (old, new) = (world.sigstore.key("old").await?, world.sigstore.key("new").await?);
    world.sigstore.sign_with_key(&image.pinned, "old").await?;
    let secret = |key: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "Secret",
            "metadata": { "name": "team-key", "namespace": TEGATA },
            "stringData": { "cosign.pub": key },
        })
    };
    world.apply(&secret(&old)).await?.success()?;
    let authority = json!([{ "name": "team", "key": { "secretRef": { "name": "team-key" } } }]);
    apply_ready(world, &cluster_policy("rotation", "rotation", authority)).await?;
    admitted(world, "rotation", &image.tagged, EFFECT).await?;
    world.apply(&secret(&new)).await?.success()?;
    refused(world, "rotation", &image.tagged, EFFECT, &["[signature-invalid]"]).await?;
    world.kubectl(&["delete", "secret", "team-key", "-n", TEGATA]).await?.success()?;
    refused(world, "rotation", &image.tagged, EFFECT, &["[policy-invalid]", "team-key"]).await?;
    world.apply(&secret(&old)).await?.success()?;
    admitted(world, "rotation", &image.tagged, EFFECT).await
}

/// A trust root in a ConfigMap: another instance's, something else, none, and the first one again.
pub async fn of_a_trust_root_in_a_config_map(world: &mut World) -> Result<()> {
    world.namespace("renewal", &[]).await?;
    let image = signed(world, "renewal/app", &RELEASE).await?.tagged;
    let config_map = |root: &str| {
        json!({
            "apiVersion": "v1",
            "kind": "ConfigMap",
            "metadata": { "name": "renewed", "namespace": TEGATA },
            "data": { "trusted_root.json": root },
        })
    };
    let reference = json!({ "configMapRef": { "name": "renewed" } });
    let root = trust_root("renewed", &reference);
    let ours = std::fs::read_to_string(world.sigstore.trusted_root_file())?;
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/examples/trust/trusted_root.json");
    let other = std::fs::read_to_string(other)?;
    let mut authority = keyless(world, &RELEASE);
    authority["keyless"]["trustRootRef"] = json!("renewed");
    let missing = ["[policy-invalid]", "renewed"];

    world.apply(&config_map(&ours)).await?.success()?;
    apply_ready(world, &root).await?;
    apply_ready(world, &cluster_policy("renewal", "renewal", json!([authority]))).await?;
    admitted(world, "renewal", &image, EFFECT).await?;
    world.apply(&config_map(&other)).await?.success()?;
    refused(world, "renewal", &image, EFFECT, &["renewal", "step"]).await?;
    world.apply(&config_map(&ours)).await?.success()?;
    admitted(world, "renewal", &image, EFFECT).await?;

    // What is wrong keeps the last good one, and is told at the trust root.
    world.apply(&config_map("{}")).await?.success()?;
    let wait = "--for=jsonpath={.status.conditions[0].reason}=InvalidConfigMap";
    world.kubectl(&["wait", wait, "trustroot/renewed", "--timeout=10s"]).await?.success()?;
    admitted(world, "renewal", &image, EFFECT).await?;

    world.kubectl(&["delete", "configmap", "renewed", "-n", TEGATA]).await?.success()?;
    refused(world, "renewal", &image, EFFECT, &missing).await?;
    let wait = "--for=jsonpath={.status.conditions[0].reason}=ConfigMapMissing";
    world.kubectl(&["wait", wait, "trustroot/renewed", "--timeout=10s"]).await?.success()?;
    world.apply(&config_map("{}")).await?.success()?;
    refused(world, "renewal", &image, EFFECT, &missing).await?;
    world.apply(&config_map(&ours)).await?.success()?;
    admitted(world, "renewal", &image, EFFECT).await
}

/// The labels of a namespace.
pub async fn of_a_namespaces_labels(world: &mut World) -> Result<()> {
    world.namespace("labels", &[("e2e/checked", "no")]).await?;
    let image = world.registries.push(REFERRERS, "labels/app").await?.tagged;
    let mut policy = cluster_policy("labels", "labels", json!([keyless(world, &RELEASE)]));
    policy["spec"]["namespaceSelector"] = json!({ "matchLabels": { "e2e/checked": "yes" } });
    apply_ready(world, &policy).await?;
    admitted(world, "labels", &image, EFFECT).await?;
    for (label, is_refused) in [("e2e/checked=yes", true), ("e2e/checked=no", false)] {
        let command = ["label", "namespace", "labels", "--overwrite", label];
        world.kubectl(&command).await?.success()?;
        if is_refused {
            refused(world, "labels", &image, EFFECT, &["[signature-absent]"]).await?;
        } else {
            admitted(world, "labels", &image, EFFECT).await?;
        }
    }
    Ok(())
}

/// A tenant's policy binds the tenant's namespace and no other, and does not loosen the cluster's.
pub async fn of_a_tenants_policy(world: &mut World) -> Result<()> {
    for namespace in ["tenant-a", "tenant-b"] {
        world.namespace(namespace, &[]).await?;
    }
    let image = signed(world, "tenants/app", &RELEASE).await?.tagged;
    let unsigned = world.registries.push(REFERRERS, "tenants/unsigned").await?.tagged;
    let cluster = cluster_policy("tenants", "tenants", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &cluster).await?;
    apply_ready(world, &tenants("tenant-a", json!([keyless(world, &STRANGER)]))).await?;
    refused(world, "tenant-a", &image, EFFECT, &["ImagePolicy tenant-a/", "[issuer-mismatch]"])
        .await?;
    admitted(world, "tenant-b", &image, EFFECT).await?;
    let anything = json!([{ "name": "anything", "static": { "action": "pass" } }]);
    apply_ready(world, &tenants("tenant-a", anything)).await?;
    admitted(world, "tenant-a", &image, EFFECT).await?;
    let texts = ["ClusterImagePolicy tenants", "[signature-absent]"];
    refused(world, "tenant-a", &unsigned, EFFECT, &texts).await
}

fn tenants(namespace: &str, authorities: Value) -> Value {
    let mut policy = cluster_policy("own", "tenants", authorities);
    policy["kind"] = json!("ImagePolicy");
    policy["metadata"]["namespace"] = json!(namespace);
    policy
}
