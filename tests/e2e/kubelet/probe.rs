//! The readiness probe of a container.
use std::time::Duration;

use k8s_openapi::api::core::v1::Container;
use k8s_openapi::api::core::v1::HTTPGetAction;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;
use reqwest::Client;
use tokio::sync::watch;
use tokio::task::JoinHandle;

/// How often a container is asked that is not ready yet; once it is, its own period holds.
const UNTIL_READY: Duration = Duration::from_millis(100);

/// A probe that goes on until it is dropped.
pub struct Probe {
    ready: watch::Receiver<bool>,
    task: Option<JoinHandle<()>>,
}

impl Probe {
    /// Asks by the readiness probe of the pod's first container; without one, it is ready.
    pub fn start(pod: &Pod, address: &str) -> Self {
        let container = pod.spec.as_ref().and_then(|spec| spec.containers.first());
        let probe = container.and_then(|container| container.readiness_probe.clone());
        let (Some(container), Some(probe)) = (container, probe) else {
            return Self { ready: watch::channel(true).1, task: None };
        };
        let url =
            probe.http_get.as_ref().map(|get| url(container, get, address)).unwrap_or_default();
        let period = Duration::from_secs(seconds(probe.period_seconds, 10));
        let timeout = Duration::from_secs(seconds(probe.timeout_seconds, 1));
        let failures = seconds(probe.failure_threshold, 3);
        let (sender, ready) = watch::channel(false);
        let task = tokio::spawn(async move {
            let (client, mut failed) = (Client::new(), 0);
            loop {
                let answer = client.get(&url).timeout(timeout).send().await;
                let is = answer.is_ok_and(|answer| answer.status().is_success());
                failed = if is { 0 } else { failed + 1 };
                if is || failed >= failures {
                    sender.send_replace(is);
                }
                let ready = *sender.borrow();
                tokio::time::sleep(if ready { period } else { UNTIL_READY }).await;
            }
        });
        Self { ready, task: Some(task) }
    }

    /// What the last answers say.
    pub fn is_ready(&self) -> bool {
        *self.ready.borrow()
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

fn seconds(value: Option<i32>, default: u64) -> u64 {
    value.and_then(|value| u64::try_from(value).ok()).filter(|value| *value > 0).unwrap_or(default)
}

fn url(container: &Container, get: &HTTPGetAction, address: &str) -> String {
    let port = match &get.port {
        IntOrString::Int(port) => *port,
        IntOrString::String(name) => container
            .ports
            .iter()
            .flatten()
            .find(|port| port.name.as_ref() == Some(name))
            .map_or(0, |port| port.container_port),
    };
    format!("http://{address}:{port}{}", get.path.as_deref().unwrap_or("/"))
}
