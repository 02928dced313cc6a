//! Requests at a steady rate, each of which has one right answer.
use std::sync::Arc;
use std::sync::Mutex;
use std::time::Duration;

use anyhow::Result;
use anyhow::ensure;
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use kube::Client;
use kube::api::PostParams;
use serde_json::json;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// The step and the reason code with which the second image must be refused.
const REFUSAL: [&str; 2] = ["step evidence", "[signature-absent]"];

/// A load that goes on.
pub struct Load {
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<()>,
    wrong: Arc<Mutex<Vec<String>>>,
    count: Arc<Mutex<u64>>,
}

impl Load {
    /// Asks for pods (dry run), in turn with an image that must be admitted and one that must be
    /// refused for having no signature.
    pub fn start(client: Client, namespace: &str, rate: u64, good: &str, bad: &str) -> Self {
        let (stop, stopped) = watch::channel(false);
        let (wrong, count): (Arc<Mutex<Vec<String>>>, Arc<Mutex<u64>>) = Default::default();
        let pods: Api<Pod> = Api::namespaced(client, namespace);
        let images = [good.to_owned(), bad.to_owned()];
        let task = tokio::spawn({
            let (wrong, count) = (Arc::clone(&wrong), Arc::clone(&count));
            async move {
                let mut every = tokio::time::interval(Duration::from_micros(1_000_000 / rate));
                let mut requests = JoinSet::new();
                while !*stopped.borrow() {
                    every.tick().await;
                    let number = {
                        let mut count = count.lock().unwrap();
                        *count += 1;
                        *count
                    };
                    let is_good = number % 2 == 0;
                    let image = images[usize::from(!is_good)].clone();
                    let (pods, wrong) = (pods.clone(), Arc::clone(&wrong));
                    requests.spawn(async move {
                        if let Some(answer) = ask(&pods, &image, is_good).await {
                            wrong.lock().unwrap().push(answer);
                        }
                    });
                }
                requests.join_all().await;
            }
        });
        Self { stop, task, wrong, count }
    }

    /// Ends it; fails when any answer was wrong.
    pub async fn end(self) -> Result<()> {
        self.stop.send_replace(true);
        self.task.await?;
        let (wrong, count) = (self.wrong.lock().unwrap(), *self.count.lock().unwrap());
        let first = wrong.first().cloned().unwrap_or_default();
        ensure!(wrong.is_empty(), "{} of {count} answers were wrong, first: {first}", wrong.len());
        ensure!(count > 0, "nothing was asked");
        Ok(())
    }
}

/// What was wrong with the answer, if anything.
#[expect(clippy::disallowed_methods, reason = "says when, for a look into the logs")]
async fn ask(pods: &Api<Pod>, image: &str, is_good: bool) -> Option<String> {
    let pod = json!({
        "metadata": { "generateName": "load-" },
        "spec": { "containers": [{ "name": "app", "image": image }] },
    });
    let pod: Pod = serde_json::from_value(pod).ok()?;
    let dry_run = PostParams { dry_run: true, ..PostParams::default() };
    match pods.create(&dry_run, &pod).await {
        Ok(_) if is_good => None,
        Ok(_) => Some(format!("{image} was admitted")),
        Err(error) if !is_good && REFUSAL.iter().all(|text| error.to_string().contains(text)) => {
            None
        }
        Err(error) => Some(format!("at {}: {image}: {error}", jiff::Timestamp::now())),
    }
}
