//! What a run has: a cluster with a node, three registries, a private Sigstore, and the commands of
//! an administrator.
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Result;
use anyhow::bail;
use serde_json::Value;
use serde_json::json;
use tempfile::TempDir;

use super::cluster::Cluster;
use super::kubelet::Kubelet;
use super::parts;
use super::process::Done;
use super::process::Program;
use super::process::run;
use super::registries::Registries;
use super::sigstore::Sigstore;

/// How often something is looked at that is waited for.
const AGAIN: Duration = Duration::from_millis(50);

/// All of it, running.
pub struct World {
    /// The control plane.
    pub cluster: Cluster,
    /// The node.
    pub kubelet: Kubelet,
    /// The registries.
    pub registries: Registries,
    /// The private Sigstore.
    pub sigstore: Sigstore,
    folder: TempDir,
}

impl World {
    /// Starts everything but Tegata.
    pub async fn start() -> Result<Self> {
        let folder = TempDir::with_prefix("tegata-e2e-")?;
        let path = |name: &str| -> Result<PathBuf> {
            let path = folder.path().join(name);
            std::fs::create_dir_all(&path)?;
            Ok(path)
        };
        let (logs, control_plane, pods) = (path("logs")?, path("cluster")?, path("pods")?);
        // The loopback device must be up before anything listens on it.
        super::isolation::add_address(super::cluster::NODE_ADDRESS)?;
        let (registry_files, sigstore_files) = (path("registries")?, path("sigstore")?);
        let (cluster, registries, sigstore) = tokio::try_join!(
            Cluster::start(&control_plane, &logs),
            Registries::start(&registry_files, &logs),
            Sigstore::start(&sigstore_files, &logs),
        )?;
        let kubelet = Kubelet::start(cluster.client(), &pods, &logs).await?;
        Ok(Self { cluster, kubelet, registries, sigstore, folder })
    }

    /// Where every part writes its log: `NAME.log`, of pods by their name.
    pub fn logs(&self) -> PathBuf {
        self.folder.path().join("logs")
    }

    /// A folder below that of the run, which is made.
    pub fn folder(&self, name: &str) -> Result<PathBuf> {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }

    /// Keeps the folder of the run, and says where it is.
    pub fn keep(self) -> PathBuf {
        self.folder.keep()
    }

    /// Runs `kubectl` as the administrator.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<Done> {
        self.kubectl_with(arguments, "").await
    }

    /// The same, with a text on its standard input.
    pub async fn kubectl_with(&self, arguments: &[&str], input: &str) -> Result<Done> {
        let config = self.cluster.kubeconfig();
        let program = Program::part("kubectl")?.args(arguments);
        run(program.env("KUBECONFIG", config.display()).env("HOME", self.home()), input).await
    }

    /// `kubectl apply`.
    pub async fn apply(&self, object: &Value) -> Result<Done> {
        self.kubectl_with(&["apply", "-f", "-"], &object.to_string()).await
    }

    /// `kubectl create`, with the namespace that the object is for.
    pub async fn create(&self, namespace: &str, object: &Value) -> Result<Done> {
        self.kubectl_with(&["create", "-n", namespace, "-f", "-"], &object.to_string()).await
    }

    /// Reads an object as JSON.
    pub async fn get(&self, arguments: &[&str]) -> Result<Value> {
        let arguments = [&["get", "-o", "json"], arguments].concat();
        Ok(serde_json::from_str(&self.kubectl(&arguments).await?.success()?)?)
    }

    /// Makes a namespace with labels, and waits until pods can be made in it.
    pub async fn namespace(&self, name: &str, labels: &[(&str, &str)]) -> Result<()> {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let namespace = json!({
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": { "name": name, "labels": labels },
        });
        self.apply(&namespace).await?.success()?;
        let account = ["get", "serviceaccount", "default", "-n", name];
        self.eventually(Duration::from_secs(30), async || self.kubectl(&account).await?.success())
            .await?;
        Ok(())
    }

    /// Runs `helm` as the administrator.
    pub async fn helm(&self, arguments: &[&str]) -> Result<Done> {
        let config = self.cluster.kubeconfig();
        let program = Program::part("helm")?.args(arguments);
        run(program.env("KUBECONFIG", config.display()).env("HOME", self.home()), "").await
    }

    /// Does something again until it goes well, or fails with the last error when the time is up.
    pub async fn eventually<T>(
        &self,
        within: Duration,
        attempt: impl AsyncFn() -> Result<T>,
    ) -> Result<T> {
        let end = Instant::now() + within;
        loop {
            match attempt().await {
                Ok(value) => return Ok(value),
                Err(error) if Instant::now() > end => {
                    bail!("not within {within:?}: {error:#}")
                }
                Err(_) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    fn home(&self) -> String {
        self.folder.path().display().to_string()
    }
}

/// The chart's folder, as an argument.
pub fn chart() -> String {
    parts::chart().display().to_string()
}
