//! What `warn`, `audit` and dry runs leave behind: warnings, Events, metrics.
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::support::EFFECT;
use super::support::RELEASE;
use super::support::apply_ready;
use super::support::cluster_policy;
use super::support::deployment;
use super::support::keyless;
use super::support::pod;
use super::support::refused;
use crate::registries::REFERRERS;
use crate::world::World;

/// How soon an Event is there.
const SOON: Duration = Duration::from_secs(10);

/// Under `warn` the person is told what a denial would say; under `audit` only the Event and the
/// metrics tell.
pub async fn warn_warns_and_audit_only_records(world: &mut World) -> Result<()> {
    world.namespace("modes", &[]).await?;
    let image = world.registries.push(REFERRERS, "modes/unsigned").await?.tagged;
    for mode in ["warn", "audit"] {
        let name = format!("modes-{mode}");
        let mut policy = cluster_policy(&name, "modes", json!([keyless(world, &RELEASE)]));
        policy["spec"]["mode"] = json!(mode);
        apply_ready(world, &policy).await?;
        let labels = [
            &format!("policy=\"ClusterImagePolicy/{name}\""),
            &format!("mode=\"{mode}\""),
            "verdict=\"rejected\"",
            "reason=\"signature-absent\"",
        ];
        let answer = world.create("modes", &pod(mode, &image)).await?;
        ensure!(answer.ok, "{}", answer.stderr);
        let warning = format!(
            "Warning: spec.containers[0].image: image {image} is rejected by \
             ClusterImagePolicy {name} at step evidence: "
        );
        let warns =
            answer.stderr.contains(&warning) && answer.stderr.contains("[signature-absent]");
        ensure!(warns == (mode == "warn"), "{}", answer.stderr);
        ensure!(mode == "warn" || answer.stderr.is_empty(), "{}", answer.stderr);
        world.get(&["pod", mode, "-n", "modes"]).await?;
        let event = event(world, "modes", "ImageWouldBeDenied", "Pod", mode).await?;
        let message = event["message"].as_str().unwrap_or_default();
        let wanted = format!("is rejected by ClusterImagePolicy {name} at step evidence");
        ensure!(message.contains(&wanted) && message.contains("[signature-absent]"), "{event}");
        // Once, although both webhooks were asked.
        let counted = world.tegata_count("tegata_policy_decisions_total", &labels).await?;
        ensure!((counted - 1.0).abs() < 0.5, "{labels:?} was counted {counted} times");
        world.kubectl(&["delete", "clusterimagepolicy", &name]).await?.success()?;
    }
    Ok(())
}

/// `--dry-run=server` is refused in the same words as the real thing, and leaves no Event.
pub async fn a_dry_run_is_refused_alike_and_leaves_no_event(world: &mut World) -> Result<()> {
    world.namespace("dry", &[]).await?;
    let image = world.registries.push(REFERRERS, "dry/unsigned").await?.tagged;
    let policy = cluster_policy("dry", "dry", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await?;
    refused(world, "dry", &image, EFFECT, &["[signature-absent]"]).await?;
    let mut answers = vec![];
    for (name, more) in [("tried", Some("--dry-run=server")), ("meant", None)] {
        let apply = ["apply", "-n", "dry", "-f", "-"].into_iter().chain(more);
        let apply: Vec<&str> = apply.collect();
        answers.push(world.kubectl_with(&apply, &pod(name, &image).to_string()).await?.failure()?);
    }
    ensure!(answers[0] == answers[1], "{answers:#?}");
    ensure!(answers[0].contains("[signature-absent]"), "{answers:#?}");
    event(world, "dry", "ImageDenied", "Pod", "meant").await?;
    let events = world.get(&["events", "-n", "dry"]).await?;
    let of_dry_run = |event: &&Value| event["involvedObject"]["name"] != "meant";
    let others: Vec<_> =
        events["items"].as_array().into_iter().flatten().filter(of_dry_run).collect();
    ensure!(others.is_empty(), "{others:#?}");
    Ok(())
}

/// Pods that a controller cannot make any more: who looks at its ReplicaSet sees why.
pub async fn denied_pods_are_told_at_their_replica_set(world: &mut World) -> Result<()> {
    world.namespace("told", &[]).await?;
    let image = world.registries.push(REFERRERS, "told/unsigned").await?.tagged;
    world.create("told", &deployment("app", &image, 1)).await?.success()?;
    let rollout = ["rollout", "status", "deployment/app", "-n", "told", "--timeout=60s"];
    world.kubectl(&rollout).await?.success()?;
    let policy = cluster_policy("told", "told", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await?;
    refused(world, "told", &image, EFFECT, &["[signature-absent]"]).await?;
    world.kubectl(&["scale", "deployment/app", "-n", "told", "--replicas=2"]).await?.success()?;
    world
        .eventually(SOON, async || {
            let told = world.kubectl(&["describe", "replicaset", "-n", "told"]).await?.success()?;
            for text in ["ImageDenied", "ClusterImagePolicy told", "[signature-absent]"] {
                ensure!(told.contains(text), "wanted {text:?} in {told}");
            }
            Ok(())
        })
        .await
}

/// Waits for an Event on an object.
async fn event(world: &World, ns: &str, reason: &str, kind: &str, name: &str) -> Result<Value> {
    let selector = format!(
        "--field-selector=reason={reason},involvedObject.kind={kind},involvedObject.name={name}"
    );
    world
        .eventually(SOON, async || {
            let events = world.get(&["events", "-n", ns, &selector]).await?;
            let found = events["items"].as_array().cloned().unwrap_or_default();
            ensure!(found.len() == 1, "{selector}: {found:#?}");
            Ok(found[0].clone())
        })
        .await
}
