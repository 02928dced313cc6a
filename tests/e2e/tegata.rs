//! Tegata in the cluster, as an administrator installs it.
use std::path::Path;
use std::time::Duration;

use anyhow::Result;

use super::world::World;
use super::world::chart;

/// The namespace and the release.
pub const NAMESPACE: &str = "tegata-system";
pub const RELEASE: &str = "tegata";

/// How long pods may take to be ready: debug builds on a busy machine are slow.
pub const READY: Duration = Duration::from_secs(120);

impl World {
    /// `helm upgrade --install` with the values of the tests and further ones, and waits until all
    /// replicas are ready.
    pub async fn install_tegata(&self, further: &[&str]) -> Result<()> {
        self.kubelet.run_in(NAMESPACE);
        let values = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/values.yaml");
        let (values, chart) = (values.display().to_string(), chart());
        let arguments = [
            "upgrade",
            "--install",
            RELEASE,
            &chart,
            "--namespace",
            NAMESPACE,
            "--create-namespace",
            "--values",
            &values,
        ];
        self.helm(&[&arguments, further].concat()).await?.success()?;
        self.tegata_is_ready().await
    }

    /// Waits until all replicas are ready and the API server can call them.
    pub async fn tegata_is_ready(&self) -> Result<()> {
        let timeout = format!("--timeout={}s", READY.as_secs());
        let status = ["rollout", "status", "deployment", "-n", NAMESPACE, &timeout];
        self.kubectl(&status).await?.success()?;
        Ok(())
    }

    /// The names of Tegata's pods that are not being deleted.
    pub async fn tegata_pods(&self) -> Result<Vec<String>> {
        let list = self.get(&["pods", "-n", NAMESPACE]).await?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(alive.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
    }
}
