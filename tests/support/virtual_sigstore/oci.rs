//! Signatures as OCI manifests and blobs, the way cosign pushes them.
use serde_json::Value;
use serde_json::json;
use tegata::evidence::ENVELOPE_MEDIA_TYPE;
use tegata::evidence::SIMPLE_SIGNING_MEDIA_TYPE;
use tegata::image::Digest;

use super::product::ClassicSignature;
use super::product::SignedBundle;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
const BUNDLE: &str = "application/vnd.dev.sigstore.bundle.v0.3+json";
const EMPTY: &str = "application/vnd.oci.empty.v1+json";

/// The size that a referrer's `subject` states; no registry checks it.
const SUBJECT_SIZE: usize = 401;

/// A manifest with the blobs that it names.
#[derive(Clone, Debug)]
pub struct OciArtifact {
    /// The manifest's bytes.
    pub manifest: Vec<u8>,
    /// The blobs: configuration and layers.
    pub blobs: Vec<Vec<u8>>,
    /// The tag to push it under; a referrer has none.
    pub tag: Option<String>,
}

impl OciArtifact {
    /// The digest of the manifest.
    pub fn digest(&self) -> Digest {
        Digest::sha256_of(&self.manifest)
    }

    /// The media type of the manifest.
    pub const fn media_type(&self) -> &'static str {
        MANIFEST
    }

    /// `sha256-<hex>.sig` or `.att` with a layer for each signature. The first one says which image
    /// and which tag.
    ///
    /// # Panics
    /// Without a signature.
    pub fn signature_tag(signatures: &[&ClassicSignature]) -> Self {
        let layers: Vec<_> = signatures
            .iter()
            .map(|signature| {
                let media_type = if signature.attestation {
                    ENVELOPE_MEDIA_TYPE
                } else {
                    SIMPLE_SIGNING_MEDIA_TYPE
                };
                let mut layer = descriptor(media_type, &signature.payload);
                layer["annotations"] = json!(signature.annotations);
                layer
            })
            .collect();
        let payloads = signatures.iter().map(|signature| signature.payload.clone());
        let ids: Vec<_> = payloads.clone().map(|payload| digest_of(&payload)).collect();
        let config = json!({
            "architecture": "",
            "config": {},
            "created": "0001-01-01T00:00:00Z",
            "history": [{ "created": "0001-01-01T00:00:00Z" }],
            "os": "",
            "rootfs": { "type": "layers", "diff_ids": ids },
        })
        .to_string()
        .into_bytes();
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "config": descriptor("application/vnd.oci.image.config.v1+json", &config),
            "layers": layers,
        });
        let blobs = std::iter::once(config).chain(payloads).collect();
        let suffix = if signatures[0].attestation { "att" } else { "sig" };
        let tag = format!("{}.{suffix}", signatures[0].image.tag_form());
        Self { manifest: manifest.to_string().into_bytes(), blobs, tag: Some(tag) }
    }

    /// A referrer of the bundle's image.
    pub fn referrer(signed: &SignedBundle) -> Self {
        let bundle = signed.bytes();
        let empty = b"{}".to_vec();
        let content =
            if signed.predicate_type.is_some() { "dsse-envelope" } else { "message-signature" };
        let mut annotations = json!({
            "dev.sigstore.bundle.content": content,
            "org.opencontainers.image.created": "2026-01-01T00:00:00Z",
        });
        if let Some(kind) = &signed.predicate_type {
            annotations["dev.sigstore.bundle.predicateType"] = json!(kind);
        }
        let mut config = descriptor(EMPTY, &empty);
        config["artifactType"] = json!(BUNDLE);
        let manifest = json!({
            "schemaVersion": 2,
            "mediaType": MANIFEST,
            "artifactType": BUNDLE,
            "config": config,
            "layers": [descriptor(BUNDLE, &bundle)],
            "annotations": annotations,
            "subject": {
                "mediaType": MANIFEST,
                "digest": signed.image.to_string(),
                "size": SUBJECT_SIZE,
            },
        });
        let blobs = vec![empty, bundle];
        Self { manifest: manifest.to_string().into_bytes(), blobs, tag: None }
    }

    /// The descriptor that an index or a referrers list holds for it. Like some registries, it
    /// gives the configuration's media type as `artifactType`.
    pub fn descriptor(&self) -> Value {
        let mut descriptor = descriptor(MANIFEST, &self.manifest);
        descriptor["artifactType"] = json!(EMPTY);
        descriptor
    }
}

fn descriptor(media_type: &str, bytes: &[u8]) -> Value {
    json!({ "mediaType": media_type, "digest": digest_of(bytes), "size": bytes.len() })
}

fn digest_of(bytes: &[u8]) -> String {
    Digest::sha256_of(bytes).to_string()
}
