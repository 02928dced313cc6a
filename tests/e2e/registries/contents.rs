//! What lies in a registry, read, changed and written as only an attacker would.
use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;
use reqwest::header::ACCEPT;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;
use serde_json::json;

use super::Image;
use super::PASSWORD;
use super::Registries;
use super::USER;
use super::digest;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const INDEX: &str = "application/vnd.oci.image.index.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";

impl Registries {
    /// Pushes an index of two images that no others are like, with the tag `v1`.
    pub async fn push_index(&self, registry: &str, repository: &str) -> Result<Image> {
        let mut manifests = vec![];
        for architecture in ["amd64", "arm64"] {
            let from = format!("{repository}-{architecture}");
            let image = self.push(registry, &from).await?;
            self.copy(registry, &from, &image, repository).await?;
            let manifest = self.manifest(registry, repository, &image.digest).await?;
            manifests.push(json!({
                "mediaType": MANIFEST,
                "digest": image.digest,
                "size": manifest.to_string().len(),
                "platform": { "architecture": architecture, "os": "linux" },
            }));
        }
        let index = json!({ "schemaVersion": 2, "mediaType": INDEX, "manifests": manifests });
        self.put_manifest(registry, repository, "v1", &index).await?;
        let (name, digest) =
            (format!("{registry}/{repository}"), digest(index.to_string().as_bytes()));
        Ok(Image { tagged: format!("{name}:v1"), pinned: format!("{name}@{digest}"), digest })
    }

    /// The digests of the images in an index.
    pub async fn digests(&self, registry: &str, from: &str, index: &Image) -> Result<Vec<String>> {
        let index = self.manifest(registry, from, &index.digest).await?;
        let manifests = index["manifests"].as_array().into_iter().flatten();
        let digests = manifests.map(|manifest| manifest["digest"].as_str().map(str::to_owned));
        digests.collect::<Option<_>>().context("a manifest has no digest")
    }

    /// Copies an image to another repository of the registry, without its signatures.
    pub async fn copy(&self, registry: &str, from: &str, image: &Image, to: &str) -> Result<Image> {
        let manifest = self.manifest(registry, from, &image.digest).await?;
        self.copy_manifest(registry, (from, to), "v1", &manifest).await?;
        let name = format!("{registry}/{to}");
        let digest = image.digest.clone();
        Ok(Image { tagged: format!("{name}:v1"), pinned: format!("{name}@{digest}"), digest })
    }

    /// The annotations of an image's one classic signature.
    pub async fn annotations(&self, registry: &str, from: &str, image: &Image) -> Result<Value> {
        let manifest = self.manifest(registry, from, &signature_tag(image)).await?;
        Ok(manifest["layers"][0]["annotations"].clone())
    }

    /// The digest of the payload of an image's one classic signature.
    pub async fn payload_digest(
        &self,
        registry: &str,
        from: &str,
        image: &Image,
    ) -> Result<String> {
        let manifest = self.manifest(registry, from, &signature_tag(image)).await?;
        let digest = manifest["layers"][0]["digest"].as_str();
        digest.map(str::to_owned).context("a signature has a payload")
    }

    /// Copies an image's one classic signature with other annotations.
    pub async fn copy_classic(
        &self,
        registry: &str,
        (from, to): (&str, &str),
        image: &Image,
        annotations: Value,
    ) -> Result<()> {
        let tag = signature_tag(image);
        let mut manifest = self.manifest(registry, from, &tag).await?;
        manifest["layers"][0]["annotations"] = annotations;
        self.copy_manifest(registry, (from, to), &tag, &manifest).await
    }

    /// An image's one bundle, from a registry with the referrers API.
    pub async fn bundle(&self, registry: &str, from: &str, image: &Image) -> Result<Value> {
        let manifest = self.bundle_manifest(registry, from, image).await?;
        let bundle = manifest["layers"][0]["digest"].as_str().context("a bundle has a layer")?;
        Ok(serde_json::from_slice(&self.blob(registry, from, bundle).await?)?)
    }

    /// Attaches another bundle to the copy of an image, in the manner of the original's one bundle.
    pub async fn copy_bundle(
        &self,
        registry: &str,
        (from, to): (&str, &str),
        image: &Image,
        bundle: &Value,
    ) -> Result<()> {
        let mut manifest = self.bundle_manifest(registry, from, image).await?;
        let bundle = bundle.to_string().into_bytes();
        manifest["layers"] = json!([{
            "mediaType": BUNDLE, "digest": digest(&bundle), "size": bundle.len(),
        }]);
        self.put_blob(registry, to, bundle).await?;
        let config = manifest["config"]["digest"].as_str().context("a manifest has a config")?;
        self.put_blob(registry, to, self.blob(registry, from, config).await?).await?;
        let reference = digest(manifest.to_string().as_bytes());
        self.put_manifest(registry, to, &reference, &manifest).await
    }

    async fn bundle_manifest(&self, registry: &str, from: &str, image: &Image) -> Result<Value> {
        let url = format!("http://{registry}/v2/{from}/referrers/{}", image.digest);
        let index: Value = serde_json::from_slice(&self.read(&url).await?)?;
        let manifests = index["manifests"].as_array().context("an index has manifests")?;
        ensure!(manifests.len() == 1, "wanted one bundle, found {index}");
        let reference = index["manifests"][0]["digest"].as_str().context("no digest")?;
        self.manifest(registry, from, reference).await
    }

    async fn copy_manifest(
        &self,
        registry: &str,
        (from, to): (&str, &str),
        reference: &str,
        manifest: &Value,
    ) -> Result<()> {
        let layers = manifest["layers"].as_array().into_iter().flatten();
        for descriptor in layers.chain([&manifest["config"]]) {
            let digest = descriptor["digest"].as_str().context("a descriptor has a digest")?;
            self.put_blob(registry, to, self.blob(registry, from, digest).await?).await?;
        }
        self.put_manifest(registry, to, reference, manifest).await
    }

    async fn manifest(&self, registry: &str, repository: &str, reference: &str) -> Result<Value> {
        let url = format!("http://{registry}/v2/{repository}/manifests/{reference}");
        Ok(serde_json::from_slice(&self.read(&url).await?)?)
    }

    async fn blob(&self, registry: &str, repository: &str, digest: &str) -> Result<Vec<u8>> {
        self.read(&format!("http://{registry}/v2/{repository}/blobs/{digest}")).await
    }

    async fn read(&self, url: &str) -> Result<Vec<u8>> {
        let request = self.client.get(url).basic_auth(USER, Some(PASSWORD));
        let answer = request
            .header(ACCEPT, MANIFEST)
            .header(ACCEPT, INDEX)
            .send()
            .await?
            .error_for_status()?;
        Ok(answer.bytes().await?.to_vec())
    }

    async fn put_manifest(
        &self,
        registry: &str,
        repository: &str,
        reference: &str,
        manifest: &Value,
    ) -> Result<()> {
        let url = format!("http://{registry}/v2/{repository}/manifests/{reference}");
        let request = self.client.put(&url).basic_auth(USER, Some(PASSWORD));
        let kind = manifest["mediaType"].as_str().unwrap_or(MANIFEST);
        let request = request.header(CONTENT_TYPE, kind).body(manifest.to_string());
        let answer = request.send().await?;
        ensure!(answer.status().is_success(), "PUT {url}: {}", answer.status());
        Ok(())
    }
}

fn signature_tag(image: &Image) -> String {
    format!("{}.sig", image.digest.replace(':', "-"))
}
