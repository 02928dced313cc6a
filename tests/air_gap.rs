//! With `--offline` nothing leaves but requests to registries: the program itself, with policies
//! that name a log and repositories, each at an address where every connection is counted.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support"
)]
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use serde_json::Value;
use serde_json::json;
use tokio::net::TcpListener;
use tokio::process::Child;
use tokio::process::Command;

use self::fake_registry::FakeRegistry;
use self::virtual_sigstore::Algorithm;
use self::virtual_sigstore::Key;
use self::virtual_sigstore::Log;
use self::virtual_sigstore::VirtualSigstore;

#[path = "support/fake_registry.rs"]
mod fake_registry;
#[path = "support/review.rs"]
mod review;
#[path = "support/tuf_repository.rs"]
mod tuf_repository;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

/// Long enough for a machine that is busy with other things.
const PATIENCE: Duration = Duration::from_secs(30);

/// Time in which a server that is ready would have asked for what it asks for at its start.
const SILENCE: Duration = Duration::from_secs(2);

/// An address where connections are counted, and closed.
struct Trap {
    address: SocketAddr,
    connections: Arc<AtomicUsize>,
}

impl Trap {
    async fn start() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let connections = Arc::new(AtomicUsize::new(0));
        let counted = Arc::clone(&connections);
        tokio::spawn(async move {
            while let Ok((_connection, _)) = listener.accept().await {
                counted.fetch_add(1, Ordering::SeqCst);
            }
        });
        Self { address, connections }
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn count(&self) -> usize {
        self.connections.load(Ordering::SeqCst)
    }
}

/// A site with its registry, and everything else that could be asked.
struct Site {
    folder: tempfile::TempDir,
    registry: FakeRegistry,
    image: String,
    /// The default trust root's repository, a TrustRoot's, a log, and a proxy of the environment.
    traps: [Trap; 4],
}

impl Site {
    async fn new() -> Self {
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let registry = FakeRegistry::start().await.unwrap();
        let traps =
            [Trap::start().await, Trap::start().await, Trap::start().await, Trap::start().await];
        let (folder, key) = (tempfile::tempdir().unwrap(), Key::generate(Algorithm::P256));
        let config = registry.put_blob("{}");
        let kind = "application/vnd.oci.image.manifest.v1+json";
        let manifest = json!({ "schemaVersion": 2, "mediaType": kind, "layers": [],
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": config.to_string(), "size": 2 } });
        let digest = registry.put_manifest("app", &manifest);
        registry.tag("app", "v1", &digest);
        let sigstore = VirtualSigstore::new("2026-03-01T12:00:00Z".parse().unwrap());
        let signed = sigstore.keyed(&key).log(Log::RekorV1).classic().sign(&digest);
        let artifact = signed.unlogged().oci();
        artifact.blobs.iter().for_each(|bytes| drop(registry.put_blob(bytes.clone())));
        let signature = registry.put_manifest_bytes("app", artifact.manifest.clone().into());
        registry.tag("app", artifact.tag.as_deref().unwrap(), &signature);

        let site = Self { image: format!("{}/app:v1", registry.host()), folder, registry, traps };
        site.write(&key);
        site
    }

    fn write(&self, key: &Key) {
        let [_, repository, log, _] = &self.traps;
        std::fs::create_dir(self.path("policies")).unwrap();
        let resource = |kind: &str, name: &str, spec: Value| {
            let resource = json!({ "apiVersion": "tegata.dev/v1alpha1", "kind": kind,
                "metadata": { "name": name }, "spec": spec });
            let file = self.path("policies").join(format!("{name}.yaml"));
            std::fs::write(file, resource.to_string()).unwrap();
        };
        let logged = json!({ "key": { "data": key.public_pem() }, "ctlog": { "url": log.url() } });
        resource(
            "ClusterImagePolicy",
            "logged",
            json!({ "images": [{ "glob": "**" }], "authorities": [logged] }),
        );
        let root = tuf_repository::Roles::new("a").signed_root(1, &[]);
        let tuf = json!({ "mirror": repository.url(), "root": String::from_utf8(root).unwrap() });
        resource("TrustRoot", "private", json!({ "tuf": tuf }));
        let hosts: Vec<String> = self
            .traps
            .iter()
            .map(|trap| trap.address.to_string())
            .chain([self.registry.host()])
            .collect();
        let registries = json!({ "allowHttp": hosts });
        std::fs::write(self.path("registries.yaml"), registries.to_string()).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn command(&self, command: &str, flags: &[&str]) -> Command {
        let proxy = self.traps[3].url();
        let mut tegata = Command::new(env!("CARGO_BIN_EXE_tegata"));
        tegata.env_clear().kill_on_drop(true).arg(command);
        for variable in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy"] {
            tegata.env(variable, &proxy);
        }
        tegata.arg("--registries").arg(self.path("registries.yaml")).args(flags);
        tegata.stdout(Stdio::piped()).stderr(Stdio::piped());
        tegata
    }

    async fn verify(&self, flags: &[&str]) -> (Option<i32>, String) {
        let mut command = self.command("verify", &[&[self.image.as_str()], flags].concat());
        let output = command.arg("--policy").arg(self.path("policies")).output().await.unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8(text).unwrap())
    }

    /// A server that is ready, and where it listens.
    async fn serve(&self, flags: &[&str]) -> (Child, SocketAddr) {
        let free = || std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        let (webhook, health) = (free(), free());
        let mut command = self.command("serve", flags);
        command.arg("--policies").arg(self.path("policies"));
        command.arg("--tls-ca-out").arg(self.path("ca.pem"));
        command.arg(format!("--tuf-mirror={}", self.traps[0].url()));
        command.arg(format!("--rekor-allow={}", self.traps[2].url()));
        command.arg(format!("--listen={webhook}")).arg(format!("--health-listen={health}"));
        let child = command.stderr(Stdio::inherit()).spawn().unwrap();
        let (start, client) =
            (Instant::now(), reqwest::Client::builder().no_proxy().build().unwrap());
        loop {
            let ready = client.get(format!("http://{health}/readyz")).send().await;
            if ready.is_ok_and(|answer| answer.status().is_success()) {
                return (child, webhook);
            }
            assert!(start.elapsed() < PATIENCE, "it does not get ready");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// What a server says of a pod with the image.
    async fn ask(&self, webhook: SocketAddr) -> Value {
        let ca = std::fs::read(self.path("ca.pem")).unwrap();
        let ca = reqwest::Certificate::from_pem(&ca).unwrap();
        let client = reqwest::Client::builder().no_proxy().tls_certs_only([ca]).build().unwrap();
        let body = review::create(&review::pod(&[&self.image])).to_string();
        let request = client.post(format!("https://localhost:{}/validate", webhook.port()));
        let answer = request.header("content-type", "application/json").body(body).send().await;
        let text = answer.unwrap().text().await.unwrap();
        serde_json::from_str::<Value>(&text).unwrap()["response"].clone()
    }

    fn counts(&self) -> [usize; 4] {
        self.traps.each_ref().map(Trap::count)
    }
}

#[tokio::test]
async fn a_server_that_is_offline_asks_registries_alone() {
    let site = Site::new().await;
    let (_server, webhook) = site.serve(&["--offline"]).await;
    let answer = site.ask(webhook).await;
    assert_eq!(answer["allowed"], false, "{answer}");
    let message = answer["status"]["message"].as_str().unwrap();
    assert!(message.contains("no log may be asked"), "{message}");
    assert!(site.registry.count("/v2/app/manifests/") >= 2, "{:?}", site.registry.log());
    tokio::time::sleep(SILENCE).await;
    assert_eq!(site.counts(), [0; 4]);
}

/// The traps work: the same server asks each of them when it may.
#[tokio::test]
async fn a_server_that_is_not_offline_asks_each_of_them() {
    let site = Site::new().await;
    let (_server, webhook) = site.serve(&[]).await;
    let answer = site.ask(webhook).await;
    assert_eq!(answer["allowed"], false, "{answer}");
    let start = Instant::now();
    while site.counts()[..3].contains(&0) {
        assert!(start.elapsed() < PATIENCE, "{:?}", site.counts());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(site.counts()[3], 0, "the environment's proxy has no say");
}

#[tokio::test]
async fn verify_offline_asks_registries_alone_and_says_what_is_missing() {
    let site = Site::new().await;
    let (code, text) = site.verify(&["--offline"]).await;
    assert_eq!(code, Some(2), "{text}");
    let missing = "spec.tuf: nothing was fetched from it yet: with --offline nothing is fetched, and no \
                   folder is named with --tuf-state";
    assert!(text.contains(missing), "{text}");

    std::fs::remove_file(site.path("policies/private.yaml")).unwrap();
    let (code, text) = site.verify(&["--offline"]).await;
    assert_eq!(code, Some(3), "{text}");
    assert!(text.contains("log-unreachable"), "{text}");
    assert!(site.registry.count("/v2/app/manifests/") >= 2, "{:?}", site.registry.log());
    assert_eq!(site.counts(), [0; 4]);
}

#[tokio::test]
async fn verify_fetches_a_trust_root_at_its_start_when_it_may() {
    let site = Site::new().await;
    let (code, text) = site.verify(&[]).await;
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("spec.tuf: nothing was fetched from it yet: cannot read"), "{text}");
    let [default, repository, log, proxy] = site.counts();
    assert!(repository >= 1);
    assert_eq!([default, log, proxy], [0; 3]);
}
