//! The whole server on sockets.
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;

use clap::Parser as _;
use serde_json::Value;
use tegata::args::serve::ServeArgs;
use tegata::commands::serve;
use tegata::commands::serve::Addresses;
use tegata::commands::serve::Options;
use tegata::commands::serve::Origin;
use tegata::commands::serve::ServeError;
use tegata::policy::PolicySnapshot;
use tegata::server::listen::ConnectionLimits;
use tegata::server::reload::LoadOutcome;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinHandle;

use crate::fake::Fake;
use crate::fake::response_of;
use crate::fake::review;

#[derive(clap::Parser)]
pub(crate) struct Command {
    #[command(flatten)]
    pub(crate) args: ServeArgs,
}

pub(crate) fn args(arguments: &[&str]) -> ServeArgs {
    let fixed =
        ["serve", "--listen=127.0.0.1:0", "--health-listen=127.0.0.1:0", "--drain-delay=300ms"];
    Command::try_parse_from(fixed.iter().chain(arguments)).unwrap().args
}

pub(crate) struct Live {
    pub(crate) addresses: Addresses,
    pub(crate) fake: Fake,
    pub(crate) signals: mpsc::Sender<()>,
    pub(crate) server: JoinHandle<Result<(), ServeError>>,
    pub(crate) client: reqwest::Client,
    pub(crate) folder: tempfile::TempDir,
}

pub(crate) type Policies = Result<LoadOutcome, String>;

pub(crate) fn no_policies() -> Policies {
    Ok(LoadOutcome { snapshot: PolicySnapshot::default(), problems: vec![] })
}

impl Live {
    pub(crate) async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let ca = folder.path().join("ca.pem");
        let out = format!("--tls-ca-out={}", ca.display());
        Self::start_with(folder, &[&out], &ca, ConnectionLimits::default(), no_policies).await
    }

    pub(crate) async fn start_with(
        folder: tempfile::TempDir,
        arguments: &[&str],
        ca: &Path,
        connections: ConnectionLimits,
        load: impl FnMut() -> Policies + Send + 'static,
    ) -> Self {
        let policies = format!("--policies={}", policies_of(&folder).display());
        let arguments: Vec<&str> = arguments.iter().copied().chain([policies.as_str()]).collect();
        let fake = Fake::default();
        let (signals, received) = mpsc::channel(2);
        let (listening, listens) = oneshot::channel();
        let poll = Some(Duration::from_millis(50));
        let listening = Some(listening);
        let options = Options { connections, poll, listening, ..Options::default() };
        let server = tokio::spawn(serve::serve(
            args(&arguments),
            options,
            fake.clone(),
            Origin::Files(load),
            received,
        ));
        let Ok(addresses) = listens.await else {
            panic!("the server did not start: {:?}", server.await);
        };
        let client = client(ca);
        Self { addresses, fake, signals, server, client, folder }
    }

    pub(crate) async fn review(&self, name: &str) -> Value {
        self.review_with(&self.client, name).await
    }

    pub(crate) async fn review_with(&self, client: &reqwest::Client, name: &str) -> Value {
        let url = format!("https://localhost:{}/validate", self.addresses.webhook.port());
        let response = client
            .post(url)
            .header("content-type", "application/json")
            .body(review(name).to_string())
            .send()
            .await
            .unwrap();
        response_of(&response.text().await.unwrap(), name)
    }

    pub(crate) async fn probe(&self, path: &str) -> (u16, String) {
        let url = format!("http://{}{path}", self.addresses.health);
        let response = reqwest::get(url).await.unwrap();
        (response.status().as_u16(), response.text().await.unwrap())
    }

    pub(crate) async fn metric(&self, name: &str) -> String {
        let (_, text) = self.probe("/metrics").await;
        let line = text.lines().find(|line| line.starts_with(name));
        line.unwrap_or_else(|| panic!("no {name} in {text}")).to_owned()
    }

    /// Waits until `metric` reads `line`.
    pub(crate) async fn until_metric(&self, line: &str) {
        let name = line.rsplit_once(' ').unwrap().0;
        for _ in 0..100 {
            if self.metric(name).await == line {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{} instead of {line}", self.metric(name).await);
    }
}

pub(crate) fn policies_of(folder: &tempfile::TempDir) -> PathBuf {
    let policies = folder.path().join("policies");
    std::fs::create_dir_all(&policies).unwrap();
    policies
}

/// A client that trusts the certificates in `ca`.
pub(crate) fn client(ca: &Path) -> reqwest::Client {
    let ca = reqwest::Certificate::from_pem(&std::fs::read(ca).unwrap()).unwrap();
    reqwest::Client::builder().tls_certs_only([ca]).no_proxy().build().unwrap()
}

pub(crate) fn post_raw(
    live: &Live,
    client: &reqwest::Client,
    name: &'static str,
) -> JoinHandle<Value> {
    let url = format!("https://localhost:{}/validate", live.addresses.webhook.port());
    let request = client
        .post(url)
        .header("content-type", "application/json")
        .body(review(name).to_string())
        .send();
    tokio::spawn(async move { response_of(&request.await.unwrap().text().await.unwrap(), name) })
}
