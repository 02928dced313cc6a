//! The control plane: etcd, the API server with RBAC and every default admission plugin, and the
//! controllers.
use std::path::Path;
use std::path::PathBuf;
use std::time::Duration;
use std::time::Instant;

use anyhow::Context as _;
use anyhow::Result;
use kube::Client;
use kube::config::KubeConfigOptions;
use kube::config::Kubeconfig;
use serde_json::json;

use super::isolation::add_address;
use super::pki::Pki;
use super::process::Process;
use super::process::Program;

/// The node, on which the API server answers.
pub const NODE_ADDRESS: &str = "10.244.0.1";

/// The port of the API server.
pub const API_PORT: &str = "6443";

/// How long the control plane may take.
const READY: Duration = Duration::from_secs(120);

/// Controllers that look after machines, of which there are none.
const WITHOUT: &str = "*,-node-lifecycle-controller,-node-ipam-controller,-node-route-controller,\
-cloud-node-lifecycle-controller,-service-lb-controller";

/// A control plane that was started.
pub struct Cluster {
    folder: PathBuf,
    etcd: Process,
    api_server: Process,
    controllers: Process,
    client: Client,
}

impl Cluster {
    /// Starts it, with its files in this folder.
    pub async fn start(folder: &Path, logs: &Path) -> Result<Self> {
        add_address(NODE_ADDRESS)?;
        let pki = Pki::new(folder.join("pki"))?;
        certificates(&pki)?;
        for (file, user) in
            [("admin.kubeconfig", "admin"), ("controllers.kubeconfig", "controllers")]
        {
            std::fs::write(folder.join(file), kubeconfig(&pki, user))?;
        }
        let mut etcd = etcd(folder)?.start(logs)?;
        etcd.listens("127.0.0.1:2379").await?;
        let api_server = api_server(folder, &pki)?.start(logs)?;
        let client = client(folder).await?;
        let controllers = controllers(folder, &pki)?.start(logs)?;
        let mut cluster = Self { folder: folder.to_owned(), etcd, api_server, controllers, client };
        cluster.ready().await?;
        Ok(cluster)
    }

    /// A client with all rights.
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The administrator's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.folder.join("admin.kubeconfig")
    }

    /// Stops the API server.
    pub async fn stop_api_server(&mut self) -> Result<()> {
        self.api_server.stop().await
    }

    /// Starts the API server again, and waits until it is ready.
    pub async fn start_api_server(&mut self) -> Result<()> {
        self.api_server.start_again()?;
        self.ready().await
    }

    /// Stops the whole control plane.
    pub async fn stop(&mut self) -> Result<()> {
        for process in [&mut self.controllers, &mut self.api_server, &mut self.etcd] {
            process.stop().await?;
        }
        Ok(())
    }

    /// Starts the whole control plane again.
    pub async fn start_again(&mut self) -> Result<()> {
        self.etcd.start_again()?;
        self.etcd.listens("127.0.0.1:2379").await?;
        self.start_api_server().await?;
        self.controllers.start_again()
    }

    /// Waits until the API server says that it is ready.
    async fn ready(&mut self) -> Result<()> {
        let end = Instant::now() + READY;
        loop {
            let request = axum::http::Request::get("/readyz").body(vec![])?;
            let answer = self.client.request_text(request);
            let answer = tokio::time::timeout(Duration::from_secs(5), answer).await;
            if matches!(answer, Ok(Ok(_))) {
                return Ok(());
            }
            self.api_server.check(end, "it is not ready")?;
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

fn etcd(folder: &Path) -> Result<Program> {
    Ok(Program::part("etcd")?.args([
        format!("--data-dir={}", folder.join("etcd").display()),
        "--listen-client-urls=http://127.0.0.1:2379".into(),
        "--advertise-client-urls=http://127.0.0.1:2379".into(),
        "--listen-peer-urls=http://127.0.0.1:2380".into(),
        "--unsafe-no-fsync".into(),
    ]))
}

fn api_server(folder: &Path, pki: &Pki) -> Result<Program> {
    let file = |name: &str| pki.path(name).display().to_string();
    Ok(Program::part("kube-apiserver")?.args([
        "--etcd-servers=http://127.0.0.1:2379".to_owned(),
        format!("--bind-address={NODE_ADDRESS}"),
        format!("--advertise-address={NODE_ADDRESS}"),
        format!("--secure-port={API_PORT}"),
        // Nothing but the Service `kubernetes` needs the server's own endpoints; pods are given
        // the address in their environment.
        "--endpoint-reconciler-type=none".into(),
        format!("--cert-dir={}", folder.join("apiserver").display()),
        format!("--tls-cert-file={}", file("apiserver.crt")),
        format!("--tls-private-key-file={}", file("apiserver.key")),
        format!("--client-ca-file={}", file("ca.crt")),
        format!("--service-account-key-file={}", file("tokens.pub")),
        format!("--service-account-signing-key-file={}", file("tokens.key")),
        "--service-account-issuer=https://kubernetes.default.svc".into(),
        "--service-cluster-ip-range=10.96.0.0/16".into(),
        "--authorization-mode=RBAC".into(),
        // Webhooks are called at the endpoints of their Service: there is no kube-proxy.
        "--enable-aggregator-routing=true".into(),
        "--profiling=false".into(),
    ]))
}

fn controllers(folder: &Path, pki: &Pki) -> Result<Program> {
    let file = |name: &str| pki.path(name).display().to_string();
    Ok(Program::part("kube-controller-manager")?.args([
        format!("--kubeconfig={}", folder.join("controllers.kubeconfig").display()),
        format!("--service-account-private-key-file={}", file("tokens.key")),
        format!("--root-ca-file={}", file("ca.crt")),
        "--use-service-account-credentials=true".into(),
        "--leader-elect=false".into(),
        "--bind-address=127.0.0.1".into(),
        format!("--cert-dir={}", folder.join("controllers").display()),
        format!("--controllers={WITHOUT}"),
        "--kube-api-qps=200".into(),
        "--kube-api-burst=400".into(),
    ]))
}

fn certificates(pki: &Pki) -> Result<()> {
    pki.authority("ca")?;
    pki.ec_key("tokens")?;
    let server = format!(
        "extendedKeyUsage=serverAuth\nsubjectAltName=IP:{NODE_ADDRESS},IP:127.0.0.1,IP:10.96.0.1,\
         DNS:kubernetes,DNS:kubernetes.default,DNS:kubernetes.default.svc\n"
    );
    pki.certificate("apiserver", "/CN=kube-apiserver", Some("ca"), &server)?;
    let client = "extendedKeyUsage=clientAuth\n";
    pki.certificate("admin", "/O=system:masters/CN=admin", Some("ca"), client)?;
    let subject = "/CN=system:kube-controller-manager";
    pki.certificate("controllers", subject, Some("ca"), client)
}

fn kubeconfig(pki: &Pki, user: &str) -> String {
    let file = |name: String| pki.path(&name).display().to_string();
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": "e2e", "cluster": {
            "server": format!("https://{NODE_ADDRESS}:{API_PORT}"),
            "certificate-authority": file("ca.crt".into()),
        } }],
        "users": [{ "name": user, "user": {
            "client-certificate": file(format!("{user}.crt")),
            "client-key": file(format!("{user}.key")),
        } }],
        "contexts": [{ "name": "e2e", "context": { "cluster": "e2e", "user": user } }],
        "current-context": "e2e",
    })
    .to_string()
}

async fn client(folder: &Path) -> Result<Client> {
    let file = Kubeconfig::read_from(folder.join("admin.kubeconfig"))?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Client::try_from(config).context("cannot make a client")
}
