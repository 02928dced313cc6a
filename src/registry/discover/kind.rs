//! What manifests and layers hold, by their types.
use bytes::Bytes;

use crate::evidence::Content;
use crate::evidence::ENVELOPE_MEDIA_TYPE;
use crate::evidence::Format;
use crate::evidence::Place;
use crate::evidence::SIMPLE_SIGNING_MEDIA_TYPE;
use crate::registry::manifest::Descriptor;
use crate::registry::manifest::Manifest;

/// Artifact and configuration type of classic signatures that are attached as referrers.
pub(super) const COSIGN_SIGNATURE_TYPE: &str = "application/vnd.dev.cosign.artifact.sig.v1+json";

/// Artifact and configuration type of classic attestations that are attached as referrers.
pub(super) const COSIGN_ATTESTATION_TYPE: &str = "application/vnd.dev.cosign.artifact.att.v1+json";

/// What every Sigstore bundle's media type starts with, whatever its version.
pub(super) const BUNDLE_PREFIX: &str = "application/vnd.dev.sigstore.bundle";

/// Artifact types that say nothing: a registry may fill them in for lack of a better one.
pub(super) const UNCLEAR_TYPES: &[&str] = &[
    "application/vnd.oci.empty.v1+json",
    "application/vnd.oci.image.config.v1+json",
    "application/vnd.docker.container.image.v1+json",
];

/// What a layer holds, by its media type.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum LayerKind {
    Bundle,
    Envelope,
    SimpleSigning,
}

impl LayerKind {
    pub(super) const fn format(self) -> Format {
        match self {
            Self::Bundle => Format::Bundle,
            Self::Envelope | Self::SimpleSigning => Format::Legacy,
        }
    }

    /// Whether it belongs there: of the tags, each is for one kind of payload.
    pub(super) const fn fits(self, place: Place) -> bool {
        match self {
            Self::Bundle => true,
            Self::Envelope => !matches!(place, Place::SignatureTag),
            Self::SimpleSigning => !matches!(place, Place::AttestationTag),
        }
    }

    pub(super) fn content(self, bytes: Bytes, layer: &Descriptor) -> Content {
        let annotations = || layer.annotations.clone();
        match self {
            Self::Bundle => Content::Bundle(bytes),
            Self::Envelope => Content::Envelope { envelope: bytes, annotations: annotations() },
            Self::SimpleSigning => {
                Content::SimpleSigning { payload: bytes, annotations: annotations() }
            }
        }
    }
}

/// Whether a place is one of cosign's tags.
pub(super) const fn is_classic(place: Place) -> bool {
    matches!(place, Place::AttestationTag | Place::SignatureTag)
}

/// What a manifest holds; `None` when it is no signature.
pub(super) fn manifest_format(manifest: &Manifest, classic: bool) -> Option<Format> {
    let Manifest { artifact_type, config_media_type, layers, .. } = manifest;
    let types = [artifact_type.as_deref(), config_media_type.as_deref()];
    if types.iter().flatten().any(|text| text.starts_with(BUNDLE_PREFIX)) {
        return Some(Format::Bundle);
    }
    let cosign = [Some(COSIGN_SIGNATURE_TYPE), Some(COSIGN_ATTESTATION_TYPE)];
    if classic || types.iter().any(|text| cosign.contains(text)) {
        return Some(Format::Legacy);
    }
    layers.iter().find_map(|layer| layer_format(&layer.media_type))
}

fn layer_format(media_type: &str) -> Option<Format> {
    layer_kind(media_type).map(LayerKind::format)
}

/// What a layer of this type holds; `None` when it is none of ours.
pub(super) fn layer_kind(media_type: &str) -> Option<LayerKind> {
    match media_type {
        ENVELOPE_MEDIA_TYPE => Some(LayerKind::Envelope),
        SIMPLE_SIGNING_MEDIA_TYPE => Some(LayerKind::SimpleSigning),
        _ => media_type.starts_with(BUNDLE_PREFIX).then_some(LayerKind::Bundle),
    }
}
