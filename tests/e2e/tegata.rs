//! Tegata in the cluster, as an administrator installs it.
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::bail;
use anyhow::ensure;

use super::world::World;
use super::world::chart;

/// The namespace and the release.
pub const NAMESPACE: &str = "tegata-system";
pub const RELEASE: &str = "tegata";

/// How long pods may take to be ready: debug builds on a busy machine are slow.
pub const READY: Duration = Duration::from_secs(120);

/// How long the health port may take to answer: it looks at nothing but memory.
const HEALTH: Duration = Duration::from_secs(10);

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

    /// Waits until no replica is being deleted, so that only the others can be asked.
    pub async fn tegata_has_drained(&self) -> Result<()> {
        self.eventually(READY, async || {
            let list = self.get(&["pods", "-n", NAMESPACE]).await?;
            let mut pods = list["items"].as_array().into_iter().flatten();
            let leaving = pods.find(|pod| !pod["metadata"]["deletionTimestamp"].is_null());
            match leaving {
                Some(pod) => bail!("{} is still leaving", pod["metadata"]["name"]),
                None => Ok(()),
            }
        })
        .await
    }

    /// The names of Tegata's pods that are not being deleted.
    pub async fn tegata_pods(&self) -> Result<Vec<String>> {
        let list = self.get(&["pods", "-n", NAMESPACE]).await?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(alive.filter_map(|pod| pod["metadata"]["name"].as_str().map(str::to_owned)).collect())
    }

    /// Sets the number of replicas, and waits until there are so many pods.
    pub async fn scale_tegata(&self, replicas: usize) -> Result<()> {
        let count = format!("--replicas={replicas}");
        self.kubectl(&["scale", "deployment", "-n", NAMESPACE, "--all", &count])
            .await?
            .success()?;
        self.eventually(READY, async || {
            let pods = self.tegata_pods().await?;
            ensure!(pods.len() == replicas, "there are {pods:?}");
            Ok(())
        })
        .await
    }

    /// The addresses of Tegata's pods.
    pub async fn tegata_addresses(&self) -> Result<Vec<String>> {
        let list = self.get(&["pods", "-n", NAMESPACE]).await?;
        let pods = list["items"].as_array().cloned().unwrap_or_default();
        let alive = pods.iter().filter(|pod| pod["metadata"]["deletionTimestamp"].is_null());
        Ok(alive.filter_map(|pod| pod["status"]["podIP"].as_str().map(str::to_owned)).collect())
    }

    /// A counter, added up over the replicas and over the label sets that hold all these labels,
    /// each written as in `mode="warn"`.
    pub async fn tegata_count(&self, metric: &str, labels: &[&str]) -> Result<f64> {
        Ok(self.tegata_values(metric, labels).await?.iter().sum())
    }

    /// The same of each replica. There is at least one.
    pub async fn tegata_values(&self, metric: &str, labels: &[&str]) -> Result<Vec<f64>> {
        let mut values = vec![];
        for address in self.tegata_addresses().await? {
            let text = read_health(&address, "metrics").await?;
            let start = format!("{metric}{{");
            let lines = text.lines().filter(|line| line.starts_with(&start));
            let mut sum = 0.0;
            for line in lines.filter(|line| labels.iter().all(|label| line.contains(label))) {
                let (_, value) = line.rsplit_once(' ').context("a metric has a value")?;
                sum += value.parse::<f64>()?;
            }
            values.push(sum);
        }
        ensure!(!values.is_empty(), "there is no replica");
        Ok(values)
    }
}

/// What a replica answers on its health port, where it says that all is well.
pub async fn read_health(address: &str, path: &str) -> Result<String> {
    let client = reqwest::Client::builder().timeout(HEALTH).build()?;
    let answer = client.get(format!("http://{address}:8080/{path}")).send().await?;
    Ok(answer.error_for_status()?.text().await?)
}
