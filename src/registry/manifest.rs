//! Manifests and indexes: pure parsing of untrusted JSON, within limits.
use std::collections::BTreeMap;
use std::fmt;
use std::marker::PhantomData;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::IgnoredAny;
use serde::de::MapAccess;
use serde::de::SeqAccess;
use serde::de::Visitor;

use crate::image::Digest;

use super::limits::MAX_ANNOTATIONS;
use super::limits::MAX_DESCRIPTORS;
use super::limits::MAX_MANIFEST_BYTES;
use super::limits::MAX_TYPE_BYTES;

/// Media types asked for in place of a manifest, as container runtimes ask.
pub(super) const ACCEPT_MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json, \
     application/vnd.oci.image.index.v1+json, \
     application/vnd.docker.distribution.manifest.v2+json, \
     application/vnd.docker.distribution.manifest.list.v2+json";

/// Media type of an index, also of a page of referrers.
pub(super) const INDEX_MEDIA_TYPE: &str = "application/vnd.oci.image.index.v1+json";

/// A reference to content, as manifests and indexes hold it (OCI image specification,
/// `descriptor.md`).
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Descriptor {
    /// Media type of the content; empty where absent.
    pub media_type: String,
    /// Digest of the content.
    pub digest: Digest,
    /// Size of the content in bytes, as announced; absent where it makes no sense.
    pub size: Option<u64>,
    /// Type of artifact, as announced; may be absent or `application/vnd.oci.empty.v1+json` for
    /// anything.
    pub artifact_type: Option<String>,
    /// Annotations that hold text, at most [`MAX_ANNOTATIONS`].
    pub annotations: BTreeMap<String, String>,
}

impl Descriptor {
    /// The same without its annotations, which of a list of referrers nobody reads: a thousand of
    /// them would hold tens of MiB.
    pub(super) fn listed(self) -> Self {
        Self { annotations: BTreeMap::new(), ..self }
    }
}

/// An image manifest, or an artifact in the form of one.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Manifest {
    /// Type of artifact.
    pub artifact_type: Option<String>,
    /// Media type of the configuration.
    pub config_media_type: Option<String>,
    /// The manifest that this one belongs to.
    pub subject: Option<Digest>,
    /// The first [`MAX_DESCRIPTORS`] layers.
    pub layers: Vec<Descriptor>,
    /// How many more there are.
    pub surplus: usize,
}

/// An image index, or a page of referrers.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Index {
    /// The first [`MAX_DESCRIPTORS`] entries.
    pub manifests: Vec<Descriptor>,
    /// How many more there are.
    pub surplus: usize,
    /// The manifest that this one belongs to.
    pub subject: Option<Digest>,
}

/// What a manifest's bytes turn out to be.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Document {
    /// A list of manifests.
    Index(Index),
    /// A single manifest.
    Manifest(Manifest),
}

/// Why bytes are no manifest.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ManifestError {
    /// It has both `layers` and `manifests`, or neither: readers would disagree about it.
    #[error("it must hold either layers or manifests")]
    Ambiguous,
    /// Not JSON of the expected shape.
    #[error("{problem}")]
    Json {
        /// What the parser says.
        problem: String,
    },
    /// The schema version is not 2. Schema 1 signs itself, and its digest covers only a part.
    #[error("schema version {found}, wanted 2")]
    SchemaVersion {
        /// The version.
        found: u64,
    },
    /// More bytes than a manifest may have.
    #[error("{found} bytes, wanted at most {MAX_MANIFEST_BYTES}")]
    TooLarge {
        /// The number of bytes.
        found: usize,
    },
    /// `mediaType` says one thing, the content another.
    #[error("media type {found} does not fit the content")]
    MediaType {
        /// The media type.
        found: String,
    },
}

/// Reads what a registry hands out as a manifest.
///
/// # Errors
/// When it is too large, malformed, or could be read as two different things.
pub fn parse_document(bytes: &[u8]) -> Result<Document, ManifestError> {
    if bytes.len() > MAX_MANIFEST_BYTES {
        return Err(ManifestError::TooLarge { found: bytes.len() });
    }
    let raw: RawDocument = serde_json::from_slice(bytes)
        .map_err(|error| ManifestError::Json { problem: error.to_string() })?;
    let RawDocument {
        schema_version,
        media_type,
        artifact_type,
        config,
        layers,
        manifests,
        subject,
    } = raw;
    if schema_version != 2 {
        return Err(ManifestError::SchemaVersion { found: schema_version });
    }
    let says = |words: [&str; 2]| words.iter().any(|word| media_type.contains(word));
    let subject = subject.map(|subject| subject.digest);
    match (layers, manifests) {
        (Some(layers), None) => {
            if says(["image.index", "manifest.list"]) {
                return Err(ManifestError::MediaType { found: media_type });
            }
            let artifact_type = artifact_type.filter(|text| !text.is_empty());
            let config_media_type = config.map(|config| config.media_type);
            let Limited { items: layers, surplus } = layers;
            Ok(Document::Manifest(Manifest {
                artifact_type,
                config_media_type,
                subject,
                layers,
                surplus,
            }))
        }
        (None, Some(Limited { items: manifests, surplus })) => {
            if says(["image.manifest", "manifest.v2"]) {
                return Err(ManifestError::MediaType { found: media_type });
            }
            Ok(Document::Index(Index { manifests, surplus, subject }))
        }
        (Some(_), Some(_)) | (None, None) => Err(ManifestError::Ambiguous),
    }
}

/// Reads an index or a page of referrers.
///
/// # Errors
/// As [`parse_document`], and when it is a single manifest.
pub fn parse_index(bytes: &[u8]) -> Result<Index, ManifestError> {
    match parse_document(bytes)? {
        Document::Index(index) => Ok(index),
        Document::Manifest(_) => Err(ManifestError::Ambiguous),
    }
}

/// Reads a single manifest.
///
/// # Errors
/// As [`parse_document`], and when it is an index.
pub fn parse_manifest(bytes: &[u8]) -> Result<Manifest, ManifestError> {
    match parse_document(bytes)? {
        Document::Manifest(manifest) => Ok(manifest),
        Document::Index(_) => Err(ManifestError::Ambiguous),
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDocument {
    schema_version: u64,
    #[serde(default, deserialize_with = "text")]
    media_type: String,
    #[serde(default, deserialize_with = "artifact_type")]
    artifact_type: Option<String>,
    config: Option<RawConfig>,
    layers: Option<Limited>,
    manifests: Option<Limited>,
    subject: Option<Descriptor>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawConfig {
    #[serde(default, deserialize_with = "text")]
    media_type: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct RawDescriptor {
    #[serde(default, deserialize_with = "text")]
    media_type: String,
    digest: String,
    size: Option<i64>,
    #[serde(default, deserialize_with = "artifact_type")]
    artifact_type: Option<String>,
    annotations: Option<Annotations>,
}

impl<'de> Deserialize<'de> for Descriptor {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let RawDescriptor { media_type, digest, size, artifact_type, annotations } =
            RawDescriptor::deserialize(deserializer)?;
        Ok(Self {
            media_type,
            digest: digest.parse().map_err(serde::de::Error::custom)?,
            size: size.and_then(|size| u64::try_from(size).ok()),
            artifact_type: artifact_type.filter(|text| !text.is_empty()),
            annotations: annotations.map(|Annotations(map)| map).unwrap_or_default(),
        })
    }
}

/// A media type, empty where absent or null.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(artifact_type(deserializer)?.unwrap_or_default())
}

/// A media type that may be absent or null, of at most [`MAX_TYPE_BYTES`].
fn artifact_type<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<String>, D::Error> {
    let found: Option<String> = Option::deserialize(deserializer)?;
    if found.as_ref().is_some_and(|text| text.len() > MAX_TYPE_BYTES) {
        let problem = format!("a media type of more than {MAX_TYPE_BYTES} bytes");
        return Err(serde::de::Error::custom(problem));
    }
    Ok(found)
}

/// Descriptors up to the limit; the rest is counted, not kept.
struct Limited {
    items: Vec<Descriptor>,
    surplus: usize,
}

impl<'de> Deserialize<'de> for Limited {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Items(PhantomData<Descriptor>);
        impl<'de> Visitor<'de> for Items {
            type Value = Limited;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a list of descriptors")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Limited, A::Error> {
                let (mut items, mut surplus) = (Vec::new(), 0);
                while items.len() < MAX_DESCRIPTORS {
                    match seq.next_element()? {
                        Some(item) => items.push(item),
                        None => return Ok(Limited { items, surplus }),
                    }
                }
                while seq.next_element::<IgnoredAny>()?.is_some() {
                    surplus += 1;
                }
                Ok(Limited { items, surplus })
            }
        }
        deserializer.deserialize_seq(Items(PhantomData))
    }
}

/// Annotations up to the limit; null ones are left out, a key that comes twice is an error.
struct Annotations(BTreeMap<String, String>);

impl<'de> Deserialize<'de> for Annotations {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Entries;
        impl<'de> Visitor<'de> for Entries {
            type Value = Annotations;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("annotations, text by text")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Annotations, A::Error> {
                let mut found: BTreeMap<String, Option<String>> = BTreeMap::new();
                while let Some((key, value)) = map.next_entry()? {
                    if found.insert(key, value).is_some() {
                        return Err(serde::de::Error::custom("an annotation is there twice"));
                    }
                    if found.len() > MAX_ANNOTATIONS {
                        let problem = format!("more than {MAX_ANNOTATIONS} annotations");
                        return Err(serde::de::Error::custom(problem));
                    }
                }
                let texts = found.into_iter().filter_map(|(key, value)| Some((key, value?)));
                Ok(Annotations(texts.collect()))
            }
        }
        deserializer.deserialize_map(Entries)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIGEST: &str = "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";

    fn layer(extra: &str) -> String {
        format!(r#"{{"mediaType":"x/y","digest":"{DIGEST}","size":1{extra}}}"#)
    }

    fn manifest(layers: &str) -> Vec<u8> {
        format!(r#"{{"schemaVersion":2,"layers":[{layers}]}}"#).into_bytes()
    }

    #[test]
    fn tolerates_null_annotations() {
        let both = [r#","annotations":null"#, r#","annotations":{"a":null,"b":"c"}"#];
        let bytes = manifest(&both.map(layer).join(","));
        let layers = parse_manifest(&bytes).unwrap().layers;
        assert!(layers[0].annotations.is_empty());
        assert_eq!(layers[1].annotations, BTreeMap::from([("b".to_owned(), "c".to_owned())]));
    }

    #[test]
    fn rejects_documents_with_two_meanings() {
        for (text, expected) in [
            (r#"{"schemaVersion":2,"layers":[],"manifests":[]}"#, ManifestError::Ambiguous),
            (r#"{"schemaVersion":2}"#, ManifestError::Ambiguous),
            (r#"{"schemaVersion":1,"layers":[]}"#, ManifestError::SchemaVersion { found: 1 }),
            (
                r#"{"schemaVersion":2,"mediaType":"application/vnd.oci.image.index.v1+json","layers":[]}"#,
                ManifestError::MediaType { found: INDEX_MEDIA_TYPE.to_owned() },
            ),
        ] {
            assert_eq!(parse_document(text.as_bytes()), Err(expected), "{text}");
        }
    }

    #[test]
    fn rejects_doubled_keys_and_bad_digests() {
        for text in [
            manifest(&layer(r#","annotations":{"a":"1","a":"2"}"#)),
            manifest(&layer(&format!(r#","digest":"{DIGEST}""#))),
            manifest(r#"{"mediaType":"x/y","digest":"sha256:../../etc","size":1}"#),
            br#"{"schemaVersion":2,"layers":[],"layers":[]}"#.to_vec(),
        ] {
            assert!(matches!(parse_document(&text), Err(ManifestError::Json { .. })));
        }
    }

    #[test]
    fn rejects_media_types_that_are_none() {
        let long = "a".repeat(MAX_TYPE_BYTES + 1);
        for extra in [format!(r#","artifactType":"{long}""#), format!(r#","mediaType":"{long}""#)] {
            let text = manifest("").len();
            let mut bytes = manifest("");
            bytes.splice(text - 1..text - 1, extra.bytes());
            assert!(matches!(parse_document(&bytes), Err(ManifestError::Json { .. })), "{extra}");
        }
        let bytes = manifest(&layer(&format!(r#","artifactType":"{long}""#)));
        assert!(matches!(parse_document(&bytes), Err(ManifestError::Json { .. })));
    }

    #[test]
    fn keeps_a_bounded_number_of_layers() {
        let bytes = manifest(&vec![layer(""); 20_000].join(","));
        let manifest = parse_manifest(&bytes).unwrap();
        assert_eq!((manifest.layers.len(), manifest.surplus), (MAX_DESCRIPTORS, 18_976));
    }

    #[test]
    fn rejects_oversized_documents_before_parsing() {
        let bytes = vec![b' '; MAX_MANIFEST_BYTES + 1];
        assert!(matches!(parse_document(&bytes), Err(ManifestError::TooLarge { .. })));
    }
}
