//! One node, with what a scheduler and a kubelet do as far as it matters here.
//!
//! Every pod is bound to the node and gets an address. In the namespaces that are named to
//! [`Kubelet::run_in`] a pod's container is run: the `tegata` under test, with the arguments,
//! environment, volumes and user of the pod, below a root folder of its own, and with its readiness
//! probed over HTTP. Pods of other namespaces are only said to run. Restarts, deletion with grace,
//! and files that follow their Secret or ConfigMap are as on a real node.
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::collections::HashSet;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::time::Duration;

use anyhow::Result;
use k8s_openapi::api::core::v1::Binding;
use k8s_openapi::api::core::v1::Node;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Client;
use kube::ResourceExt;
use kube::api::DeleteParams;
use kube::api::ListParams;
use kube::api::Patch;
use kube::api::PatchParams;
use kube::api::PostParams;
use serde_json::json;

use super::cluster::NODE_ADDRESS;

#[path = "kubelet/container.rs"]
mod container;
#[path = "kubelet/instance.rs"]
mod instance;
#[path = "kubelet/probe.rs"]
mod probe;
#[path = "kubelet/volumes.rs"]
mod volumes;

use instance::Instance;

/// The node's name.
pub const NODE: &str = "node-1";

/// How often the node looks at its pods.
const EVERY: Duration = Duration::from_millis(100);

/// The node.
pub struct Kubelet {
    shared: Arc<Shared>,
}

struct Shared {
    client: Client,
    folder: PathBuf,
    logs: PathBuf,
    namespaces: Mutex<BTreeSet<String>>,
    power_lost: Mutex<bool>,
}

impl Kubelet {
    /// Registers the node and starts to look after pods.
    pub async fn start(client: Client, folder: &Path, logs: &Path) -> Result<Self> {
        let node =
            json!({ "metadata": { "name": NODE, "labels": { "kubernetes.io/hostname": NODE } } });
        let node: Node = serde_json::from_value(node)?;
        Api::<Node>::all(client.clone()).create(&PostParams::default(), &node).await?;
        let status = json!({ "status": {
            "conditions": [{ "type": "Ready", "status": "True", "reason": "E2E" }],
            "addresses": [{ "type": "InternalIP", "address": NODE_ADDRESS }],
            "capacity": { "cpu": "64", "memory": "256Gi", "pods": "1000" },
            "allocatable": { "cpu": "64", "memory": "256Gi", "pods": "1000" },
        } });
        let nodes: Api<Node> = Api::all(client.clone());
        nodes.patch_status(NODE, &PatchParams::default(), &Patch::Merge(status)).await?;
        let shared = Arc::new(Shared {
            client,
            folder: folder.to_owned(),
            logs: logs.to_owned(),
            namespaces: Mutex::default(),
            power_lost: Mutex::default(),
        });
        tokio::spawn(look_after(Arc::clone(&shared)));
        Ok(Self { shared })
    }

    /// From now on, pods of this namespace are run.
    pub fn run_in(&self, namespace: &str) {
        lock(&self.shared.namespaces).insert(namespace.to_owned());
    }

    /// Kills what runs, as a node that loses its power does. It is started again once the API
    /// server says that the pods are to run.
    pub fn stop_all(&self) {
        *lock(&self.shared.power_lost) = true;
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// What runs, by the pod's uid.
#[derive(Default)]
struct Running {
    instances: HashMap<String, Instance>,
    /// Pods that are only said to run.
    said: HashSet<String>,
    addresses: u8,
}

async fn look_after(shared: Arc<Shared>) {
    let mut running = Running::default();
    let pods: Api<Pod> = Api::all(shared.client.clone());
    loop {
        tokio::time::sleep(EVERY).await;
        if std::mem::take(&mut *lock(&shared.power_lost)) {
            running.instances.values_mut().for_each(Instance::kill);
        }
        // Without the API server, what runs goes on.
        let Ok(list) = pods.list(&ListParams::default().match_any()).await else { continue };
        let present: HashSet<String> = list.iter().filter_map(ResourceExt::uid).collect();
        running.instances.retain(|uid, _| present.contains(uid));
        running.said.retain(|uid| present.contains(uid));
        for pod in list {
            if let Err(error) = look_at(&shared, &mut running, &pod).await {
                shared.note(&pod, &format!("{error:#}"));
            }
        }
    }
}

async fn look_at(shared: &Shared, running: &mut Running, pod: &Pod) -> Result<()> {
    let (Some(uid), Some(namespace)) = (pod.uid(), pod.namespace()) else { return Ok(()) };
    let pods: Api<Pod> = Api::namespaced(shared.client.clone(), &namespace);
    let spec = pod.spec.clone().unwrap_or_default();
    if let Some(instance) = running.instances.get_mut(&uid) {
        return instance.look_at(&pods, pod).await;
    }
    if pod.metadata.deletion_timestamp.is_some() {
        return forget(&pods, pod).await;
    }
    if spec.node_name.is_none() {
        return bind(&shared.client, pod, &namespace).await;
    }
    let phase = pod.status.as_ref().and_then(|status| status.phase.as_deref());
    if phase != Some("Pending") {
        return Ok(());
    }
    if lock(&shared.namespaces).contains(&namespace) {
        running.addresses += 1;
        let address = format!("10.244.1.{}", running.addresses);
        let instance = Instance::start(shared, pod, &address).await?;
        running.instances.insert(uid, instance);
        return Ok(());
    }
    if running.said.insert(uid) {
        instance::say(&pods, pod, "10.244.200.1", &instance::Said::running(true)).await?;
    }
    Ok(())
}

async fn bind(client: &Client, pod: &Pod, namespace: &str) -> Result<()> {
    let binding = json!({
        "metadata": { "name": pod.name_any(), "namespace": namespace },
        "target": { "apiVersion": "v1", "kind": "Node", "name": NODE },
    });
    let binding: Binding = serde_json::from_value(binding)?;
    let path = format!("/api/v1/namespaces/{namespace}/pods/{}/binding", pod.name_any());
    let request = axum::http::Request::post(path).header("content-type", "application/json");
    client.request_text(request.body(serde_json::to_vec(&binding)?)?).await?;
    Ok(())
}

/// Removes a pod that was deleted and runs no more.
async fn forget(pods: &Api<Pod>, pod: &Pod) -> Result<()> {
    let mut parameters = DeleteParams::default().grace_period(0);
    parameters.preconditions =
        Some(kube::api::Preconditions { uid: pod.uid(), resource_version: None });
    match pods.delete(&pod.name_any(), &parameters).await {
        Ok(_) | Err(kube::Error::Api(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Shared {
    /// Writes down what went wrong with a pod; it is tried again.
    fn note(&self, pod: &Pod, text: &str) {
        use std::io::Write as _;
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.logs.join("kubelet.log"));
        if let Ok(mut log) = log {
            let name = format!("{}/{}", pod.namespace().unwrap_or_default(), pod.name_any());
            drop(writeln!(log, "{name}: {text}"));
        }
    }
}
