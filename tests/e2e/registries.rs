//! Three registries: one that answers the referrers API, one that does not, so that clients use the
//! fallback tag, and one of the latter kind that asks for a password.
use std::path::Path;
use std::time::Duration;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use reqwest::Client;
use reqwest::header::CONTENT_TYPE;
use reqwest::header::LOCATION;
use serde_json::json;
use sha2::Digest as _;

use super::isolation::add_address;
use super::parts;
use super::process::Process;
use super::process::Program;

#[path = "registries/contents.rs"]
mod contents;

/// The registry with the referrers API.
pub const REFERRERS: &str = "10.244.0.2:5000";

/// The registry without.
pub const PLAIN: &str = "10.244.0.3:5000";

/// The registry that asks for a password.
pub const PRIVATE: &str = "10.244.0.4:5000";

/// Who may read and write the private registry, and the password.
pub const USER: &str = "robot";
pub const PASSWORD: &str = "e2e-password";

/// The same user in the form of an `htpasswd` file: bcrypt, at the lowest cost that is customary.
const HTPASSWD: &str = "robot:$2b$05$K3x0nUq8bVvE1dYwRtZsOe8SsLJTKkYql7dAaFULKX/WMHl8/XSFe\n";

/// All registries.
pub struct Registries {
    referrers: Process,
    plain: Process,
    private: Process,
    client: Client,
}

impl Registries {
    /// Starts them.
    pub async fn start(folder: &Path, logs: &Path) -> Result<Self> {
        for address in [REFERRERS, PLAIN, PRIVATE] {
            add_address(address.trim_end_matches(":5000"))?;
        }
        let config = folder.join("registry.yaml");
        std::fs::write(&config, settings(&folder.join("registry"), PLAIN).to_string())?;
        let private_config = folder.join("private.yaml");
        let mut private = settings(&folder.join("private"), PRIVATE);
        let passwords = folder.join("htpasswd");
        std::fs::write(&passwords, HTPASSWD)?;
        private["auth"] = json!({ "htpasswd": { "realm": "e2e", "path": passwords } });
        std::fs::write(&private_config, private.to_string())?;
        let mut referrers = Program::part("referrers")?.args(["-listen", REFERRERS]).start(logs)?;
        let mut plain = Program::part("docker-registry")?
            .args(["serve".into(), config.display().to_string()])
            .start(logs)?;
        let mut private = Program::new("private-registry", parts::path("docker-registry")?)
            .args(["serve".into(), private_config.display().to_string()])
            .start(logs)?;
        private.listens(PRIVATE).await?;
        referrers.listens(REFERRERS).await?;
        plain.listens(PLAIN).await?;
        let client = Client::builder().timeout(Duration::from_secs(10)).build()?;
        Ok(Self { referrers, plain, private, client })
    }

    /// Stops a registry without losing what the plain one holds. The other forgets all.
    pub async fn stop(&mut self, registry: &str) -> Result<()> {
        self.process(registry).stop().await
    }

    /// Starts a registry again.
    pub async fn start_again(&mut self, registry: &str) -> Result<()> {
        let process = self.process(registry);
        process.start_again()?;
        process.listens(registry).await
    }

    /// Pushes an image that no other is like, with the tag `v1`.
    pub async fn push(&self, registry: &str, repository: &str) -> Result<Image> {
        let image = format!("{registry}/{repository}");
        let layer = format!("the one file of {image}").into_bytes();
        let config = json!({
            "architecture": "amd64",
            "os": "linux",
            "config": { "Entrypoint": ["/app"] },
            "rootfs": { "type": "layers", "diff_ids": [digest(&layer)] },
        });
        let config = config.to_string().into_bytes();
        let described = |kind: &str, bytes: &[u8]| {
            json!({
                "mediaType": format!("application/vnd.oci.image.{kind}"),
                "digest": digest(bytes),
                "size": bytes.len(),
            })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": described("config.v1+json", &config),
            "layers": [described("layer.v1.tar", &layer)],
        });
        let manifest = manifest.to_string().into_bytes();
        let digest = digest(&manifest);
        self.put_blob(registry, repository, layer).await?;
        self.put_blob(registry, repository, config).await?;
        let url = format!("http://{registry}/v2/{repository}/manifests/v1");
        let request = self.client.put(&url).basic_auth(USER, Some(PASSWORD)).body(manifest);
        let request = request.header(CONTENT_TYPE, "application/vnd.oci.image.manifest.v1+json");
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "PUT {url}: {}", answer.status());
        Ok(Image { tagged: format!("{image}:v1"), pinned: format!("{image}@{digest}"), digest })
    }

    async fn put_blob(&self, registry: &str, repository: &str, bytes: Vec<u8>) -> Result<()> {
        let url = format!("http://{registry}/v2/{repository}/blobs/uploads/");
        let request = self.client.post(&url).basic_auth(USER, Some(PASSWORD));
        let answer = request.send().await?.error_for_status()?;
        let location = answer.headers().get(LOCATION).context("an upload has no location")?;
        let mut url = answer.url().join(location.to_str()?)?;
        url.query_pairs_mut().append_pair("digest", &digest(&bytes));
        let request = self.client.put(url).header(CONTENT_TYPE, "application/octet-stream");
        request.basic_auth(USER, Some(PASSWORD)).body(bytes).send().await?.error_for_status()?;
        Ok(())
    }

    fn process(&mut self, registry: &str) -> &mut Process {
        match registry {
            PLAIN => &mut self.plain,
            PRIVATE => &mut self.private,
            _ => &mut self.referrers,
        }
    }
}

/// An image that was pushed.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its reference by tag.
    pub tagged: String,
    /// Its reference by digest.
    pub pinned: String,
    /// Its digest.
    pub digest: String,
}

fn digest(bytes: &[u8]) -> String {
    format!("sha256:{}", hex::encode(sha2::Sha256::digest(bytes)))
}

/// A Docker `config.json` with the private registry's password.
pub fn docker_config() -> serde_json::Value {
    json!({ "auths": { PRIVATE: { "username": USER, "password": PASSWORD } } })
}

fn settings(folder: &Path, address: &str) -> serde_json::Value {
    json!({
        "version": 0.1,
        "log": { "accesslog": { "disabled": true }, "level": "warn" },
        "storage": { "filesystem": { "rootdirectory": folder } },
        "http": { "addr": address },
    })
}
