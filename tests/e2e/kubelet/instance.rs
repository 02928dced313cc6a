//! One pod whose container is run.
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Client;
use kube::ResourceExt as _;
use kube::api::Patch;
use kube::api::PatchParams;
use serde_json::Value;
use serde_json::json;

use super::NODE_ADDRESS;
use super::Shared;
use super::container;
use super::forget;
use super::probe::Probe;
use super::volumes;
use crate::isolation::add_address;
use crate::process::Process;

/// How often files are compared with their Secret or ConfigMap.
const FILES_EVERY: Duration = Duration::from_secs(1);

/// How long after its end a container is started again.
const AGAIN_AFTER: Duration = Duration::from_secs(1);

/// A container that runs, or is to be started again.
pub struct Instance {
    client: Client,
    folder: std::path::PathBuf,
    address: String,
    process: Process,
    probe: Probe,
    ended: Option<Instant>,
    restarts: u32,
    said: Option<Said>,
    stopping: Option<Stopping>,
    files_at: Instant,
}

struct Stopping {
    /// When the container is told to stop: later than the deletion by what `preStop` sleeps.
    tell_at: Instant,
    told: bool,
    kill_at: Instant,
}

/// What a pod's status says of its container.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Said {
    phase: &'static str,
    ready: bool,
    restarts: u32,
    /// The exit code, when it has ended.
    code: Option<i32>,
}

impl Said {
    /// It runs.
    pub fn running(ready: bool) -> Self {
        Self { phase: "Running", ready, restarts: 0, code: None }
    }
}

impl Instance {
    /// Starts the pod's container.
    pub async fn start(shared: &Shared, pod: &Pod, address: &str) -> Result<Self> {
        add_address(address)?;
        let folder = shared.folder.join(pod.uid().unwrap_or_default());
        std::fs::create_dir_all(&folder)?;
        volumes::write(&shared.client, pod, &folder).await?;
        let program = container::program(&shared.client, pod, address, &folder).await?;
        let process = program.start(&shared.logs)?;
        Ok(Self {
            client: shared.client.clone(),
            folder,
            address: address.to_owned(),
            process,
            probe: Probe::start(pod, address),
            ended: None,
            restarts: 0,
            said: None,
            stopping: None,
            files_at: Instant::now() + FILES_EVERY,
        })
    }

    /// Does what is due, and says in the pod's status how it is.
    pub async fn look_at(&mut self, pods: &Api<Pod>, pod: &Pod) -> Result<()> {
        let status = self.process.ended();
        if pod.metadata.deletion_timestamp.is_some() {
            return self.stop(pods, pod, status.is_some()).await;
        }
        if Instant::now() > self.files_at {
            volumes::write(&self.client, pod, &self.folder).await?;
            self.files_at = Instant::now() + FILES_EVERY;
        }
        let mut said = Said { restarts: self.restarts, ..Said::running(self.probe.is_ready()) };
        if let Some(status) = status {
            said.ready = false;
            said.code = Some(status.code().unwrap_or(137));
            let policy = pod.spec.as_ref().and_then(|spec| spec.restart_policy.as_deref());
            match policy {
                Some("Never") if status.success() => said.phase = "Succeeded",
                Some("Never") => said.phase = "Failed",
                _ => self.start_again()?,
            }
        }
        if self.said.as_ref() != Some(&said) {
            say(pods, pod, &self.address, &said).await?;
            self.said = Some(said);
        }
        Ok(())
    }

    /// Kills the container.
    pub fn kill(&mut self) {
        self.process.kill();
    }

    fn start_again(&mut self) -> Result<()> {
        let ended = *self.ended.get_or_insert_with(Instant::now);
        if ended.elapsed() > AGAIN_AFTER {
            self.process.start_again()?;
            self.restarts += 1;
            self.ended = None;
        }
        Ok(())
    }

    async fn stop(&mut self, pods: &Api<Pod>, pod: &Pod, ended: bool) -> Result<()> {
        if ended {
            return forget(pods, pod).await;
        }
        let now = Instant::now();
        let stopping = self.stopping.get_or_insert_with(|| {
            let grace = pod.metadata.deletion_grace_period_seconds.unwrap_or(30);
            let grace = Duration::from_secs(grace.try_into().unwrap_or_default());
            Stopping { tell_at: now + pause_before(pod), told: false, kill_at: now + grace }
        });
        if now >= stopping.kill_at {
            self.process.kill();
        } else if now >= stopping.tell_at && !stopping.told {
            stopping.told = true;
            self.process.signal("TERM")?;
        }
        Ok(())
    }
}

/// How long the container's `preStop` sleeps.
fn pause_before(pod: &Pod) -> Duration {
    let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
    let hook = container.and_then(|container| container.lifecycle.as_ref()?.pre_stop.as_ref());
    let seconds = hook.and_then(|hook| hook.sleep.as_ref()).map_or(0, |sleep| sleep.seconds);
    Duration::from_secs(seconds.try_into().unwrap_or_default())
}

/// Writes the status of a pod.
pub async fn say(pods: &Api<Pod>, pod: &Pod, address: &str, said: &Said) -> Result<()> {
    let Said { phase, ready, restarts, code } = said;
    let spec = pod.spec.as_ref().context("a pod has a spec")?;
    #[expect(clippy::disallowed_methods, reason = "a status says since when")]
    let now = jiff::Timestamp::now().to_string();
    let state = match code {
        Some(code) => json!({ "terminated": { "exitCode": code, "finishedAt": now } }),
        None => json!({ "running": { "startedAt": now } }),
    };
    let containers: Vec<Value> = spec
        .containers
        .iter()
        .map(|container| {
            json!({
                "name": container.name,
                "image": container.image,
                "imageID": "",
                "ready": ready,
                "started": code.is_none(),
                "restartCount": restarts,
                "state": state,
            })
        })
        .collect();
    let condition = |kind: &str, is: bool| {
        let is = if is { "True" } else { "False" };
        json!({ "type": kind, "status": is, "lastTransitionTime": now })
    };
    let status = json!({ "status": {
        "phase": phase,
        "hostIP": NODE_ADDRESS,
        "hostIPs": [{ "ip": NODE_ADDRESS }],
        "podIP": address,
        "podIPs": [{ "ip": address }],
        "startTime": now,
        "conditions": [
            condition("PodScheduled", true),
            condition("Initialized", true),
            condition("ContainersReady", *ready),
            condition("Ready", *ready),
        ],
        "containerStatuses": containers,
    } });
    pods.patch_status(&pod.name_any(), &PatchParams::default(), &Patch::Merge(status)).await?;
    Ok(())
}
