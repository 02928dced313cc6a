//! Every kind that holds a pod spec, and every field of one that names an image.
use anyhow::Result;
use anyhow::ensure;
use serde_json::Value;
use serde_json::json;

use super::support::RELEASE;
use super::support::apply_ready;
use super::support::assert_refused;
use super::support::cluster_policy;
use super::support::keyless;
use super::support::pod;
use super::support::signed;
use crate::registries::REFERRERS;
use crate::world::World;

const NAMESPACE: &str = "kinds";

/// Each kind, each field: refused when the image there is unsigned, by the path of the field.
pub async fn refuses_every_kind_at_its_own_path(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let unsigned = world.registries.push(REFERRERS, "kinds/unsigned").await?;
    let good = signed(world, "kinds/good", &RELEASE).await?;
    for (path, object) in objects(&unsigned.tagged, &good.tagged) {
        let texts = [path, unsigned.tagged.as_str(), "[signature-absent]"];
        assert_refused(world.create(NAMESPACE, &object).await?, &texts)?;
    }
    world.create(NAMESPACE, &pod("debugged", &good.tagged)).await?.success()?;
    let debug =
        ["debug", "debugged", "-n", NAMESPACE, "--image", &unsigned.tagged, "--attach=false"];
    let texts = ["spec.ephemeralContainers[0].image", "[signature-absent]"];
    assert_refused(world.kubectl(&debug).await?, &texts)?;
    let debug = ["debug", "debugged", "-n", NAMESPACE, "--image", &good.tagged, "--attach=false"];
    world.kubectl(&debug).await?.success()?;
    let pod = world.get(&["pod", "debugged", "-n", NAMESPACE]).await?;
    let image = &pod["spec"]["ephemeralContainers"][0]["image"];
    let pinned = format!("{}@{}", good.tagged, good.digest);
    ensure!(*image == json!(pinned), "wanted {pinned}, the debug container's image is {image}");
    Ok(())
}

/// A Deployment of a signed image gets its pods.
pub async fn rolls_out_a_signed_deployment(world: &mut World) -> Result<()> {
    prepare(world).await?;
    let image = signed(world, "kinds/deployed", &RELEASE).await?;
    world.create(NAMESPACE, &workload("apps/v1", "Deployment", &image.tagged)).await?.success()?;
    let status = ["rollout", "status", "deployment/app", "-n", NAMESPACE, "--timeout=60s"];
    world.kubectl(&status).await?.success()?;
    Ok(())
}

async fn prepare(world: &World) -> Result<()> {
    world.namespace(NAMESPACE, &[]).await?;
    let policy = cluster_policy("kinds", "kinds", json!([keyless(world, &RELEASE)]));
    apply_ready(world, &policy).await
}

/// What must be refused, with the path of the field that names the bad image.
fn objects(bad: &str, good: &str) -> Vec<(&'static str, Value)> {
    const TEMPLATE: &str = "spec.template.spec.containers[0].image";
    let mut init = pod("init", good);
    init["spec"]["initContainers"] = json!([{ "name": "init", "image": bad }]);
    let mut volume = pod("volume", good);
    volume["spec"]["volumes"] = json!([{ "name": "files", "image": { "reference": bad } }]);
    let second = json!({ "name": "second", "image": bad });
    let mut two = pod("two", good);
    if let Some(containers) = two["spec"]["containers"].as_array_mut() {
        containers.push(second);
    }
    let mut cron = workload("batch/v1", "CronJob", bad);
    cron["spec"] = json!({
        "schedule": "0 0 1 1 *",
        "jobTemplate": { "spec": workload("batch/v1", "Job", bad)["spec"].clone() },
    });
    vec![
        ("spec.containers[0].image", pod("plain", bad)),
        ("spec.containers[1].image", two),
        ("spec.initContainers[0].image", init),
        ("spec.volumes[0].image.reference", volume),
        (TEMPLATE, workload("apps/v1", "Deployment", bad)),
        (TEMPLATE, workload("apps/v1", "ReplicaSet", bad)),
        (TEMPLATE, workload("apps/v1", "StatefulSet", bad)),
        (TEMPLATE, workload("apps/v1", "DaemonSet", bad)),
        (TEMPLATE, workload("v1", "ReplicationController", bad)),
        (TEMPLATE, workload("batch/v1", "Job", bad)),
        ("template.spec.containers[0].image", pod_template(bad)),
        ("spec.jobTemplate.spec.template.spec.containers[0].image", cron),
    ]
}

fn workload(version: &str, kind: &str, image: &str) -> Value {
    let labels = json!({ "app": "app" });
    let selector = match kind {
        "ReplicationController" => labels.clone(),
        _ => json!({ "matchLabels": labels }),
    };
    let mut workload = json!({
        "apiVersion": version,
        "kind": kind,
        "metadata": { "name": "app" },
        "spec": {
            "selector": selector,
            "template": {
                "metadata": { "labels": labels },
                "spec": { "containers": [{ "name": "app", "image": image }] },
            },
        },
    });
    match kind {
        "Job" => {
            workload["spec"]["template"]["spec"]["restartPolicy"] = json!("Never");
            if let Some(spec) = workload["spec"].as_object_mut() {
                spec.remove("selector");
            }
        }
        "StatefulSet" => workload["spec"]["serviceName"] = json!("app"),
        _ => {}
    }
    workload
}

fn pod_template(image: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "PodTemplate",
        "metadata": { "name": "app" },
        "template": pod("ignored", image)["spec"].as_object().map(|spec| json!({ "spec": spec })),
    })
}
