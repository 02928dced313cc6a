//! Images, and who signs them.
use anyhow::Context as _;
use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;
use tegata::image::Digest;

use super::policy;
use super::registry::Registry;
use super::virtual_sigstore::Algorithm;
use super::virtual_sigstore::ClassicSignature;
use super::virtual_sigstore::Key;
use super::virtual_sigstore::Log;
use super::virtual_sigstore::Version;
use super::virtual_sigstore::VirtualSigstore;

const SUBJECT: &str = "release@shop.example";
const ISSUER: &str = "https://accounts.shop.example";

/// An image of one platform.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its repository, without the registry.
    pub repository: String,
    /// Its tag.
    pub tag: String,
    /// The digest of its manifest.
    pub digest: Digest,
    /// Its manifest.
    pub manifest: Vec<u8>,
}

impl Image {
    /// The `number`-th image of a family.
    pub fn new(family: &str, number: usize) -> Self {
        let digest = |what: &str| Digest::sha256_of(format!("{family} {number} {what}").as_bytes());
        let layer = |name: &str, size: usize| {
            json!({ "mediaType": "application/vnd.oci.image.layer.v1.tar+gzip",
                "digest": digest(name).to_string(), "size": size })
        };
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": { "mediaType": "application/vnd.oci.image.config.v1+json",
                "digest": digest("configuration").to_string(), "size": 1469 },
            "layers": [layer("system", 29_126_484), layer("program", 11_402_113)],
        });
        let manifest = manifest.to_string().into_bytes();
        Self {
            repository: format!("{family}/app-{number}"),
            tag: format!("4.17.{number}"),
            digest: Digest::sha256_of(&manifest),
            manifest,
        }
    }

    /// Its reference by digest.
    pub fn by_digest(&self, registry: &Registry) -> String {
        format!("{}/{}@{}", registry.host(), self.repository, self.digest)
    }

    /// Its reference by tag.
    pub fn by_tag(&self, registry: &Registry) -> String {
        format!("{}/{}:{}", registry.host(), self.repository, self.tag)
    }
}

/// How an image is signed.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Signed {
    /// With a bundle, by an identity, logged in Rekor v1.
    Bundle,
    /// With cosign's classic signature, by an identity, logged in Rekor v1.
    Classic,
    /// With a classic signature by a stranger's key: it is to be rejected.
    Forged,
    /// With a classic signature by the policies' key, without a log.
    Keyed,
}

/// Those who sign, and the policies that ask for them.
#[derive(Debug)]
pub struct Signers {
    /// Certificate authority and logs.
    pub sigstore: VirtualSigstore,
    /// The key that policies name.
    pub key: Key,
    stranger: Key,
}

impl Signers {
    /// New ones, who sign an hour ago.
    pub fn new() -> Self {
        Self {
            sigstore: VirtualSigstore::new(Timestamp::now() - 1.hour()),
            key: Key::generate(Algorithm::P256),
            stranger: Key::generate(Algorithm::P256),
        }
    }

    /// Signs an image and puts both into the registry.
    pub fn publish(&self, registry: &Registry, image: &Image, how: Signed) {
        registry.put(image);
        let keyed = |key| self.sigstore.keyed(key).classic().sign(&image.digest).oci();
        let keyless = self.sigstore.keyless(SUBJECT, ISSUER).log(Log::RekorV1);
        let artifact = match how {
            Signed::Bundle => keyless.bundle(Version::V03).sign(&image.digest).oci(),
            Signed::Classic => keyless.classic().sign(&image.digest).oci(),
            Signed::Forged => keyed(&self.stranger),
            Signed::Keyed => keyed(&self.key),
        };
        registry.attach(image, &artifact);
    }

    /// `count` images of a family, signed and in the registry.
    pub fn family(
        &self,
        registry: &Registry,
        family: &str,
        count: usize,
        how: Signed,
    ) -> Vec<Image> {
        let images: Vec<Image> = (0..count).map(|number| Image::new(family, number)).collect();
        for image in &images {
            self.publish(registry, image, how);
        }
        images
    }

    /// A signature of the policies' key whose log entry is in the log alone, and that entry.
    ///
    /// # Errors
    /// Never: a logged signature has an entry.
    pub fn searched(&self, image: &Image) -> anyhow::Result<(ClassicSignature, Value)> {
        let signing = self.sigstore.keyed(&self.key).log(Log::RekorV1);
        let signed = signing.classic().sign(&image.digest);
        let entry = signed.entries.first().cloned().context("no entry was logged")?;
        Ok((signed.unlogged(), entry))
    }

    /// The authority that asks for the identity.
    pub fn keyless() -> Value {
        policy::keyless(SUBJECT, ISSUER)
    }

    /// The authority that asks for the key.
    pub fn keyed(&self) -> Value {
        policy::keyed(&self.key.public_pem())
    }
}
