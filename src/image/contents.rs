//! What an image's digest stands for: one manifest, or an index of manifests for platforms; and
//! what the configuration of one says.
//!
//! Container runtimes read these documents with Go's decoder, which takes a field's name in any
//! case and the last of several. What two readers could read differently is refused here, or an
//! image could show one list of manifests to us and another to the node.
use std::cell::Cell;

use bytes::Bytes;
use serde_json::Map;
use serde_json::Value;

use super::Algorithm;
use super::Digest;
use crate::json;
use crate::verdict::printable;

/// Most manifests that an index may list. Docker's official images list up to twenty, half of them
/// attestations of the builder.
pub const MAX_ENTRIES: usize = 128;

/// Most platforms whose manifests are judged one by one. Docker's official images have up to nine.
pub const MAX_PLATFORMS: usize = 32;

/// Largest index or manifest whose parts are looked at, in bytes. One with a hundred layers takes
/// some 30 KiB.
pub const MAX_DOCUMENT_BYTES: usize = 512 << 10;

/// Most bytes of an image's configurations, of all platforms together. One with a hundred layers
/// takes some 50 KiB.
pub const MAX_CONFIG_BYTES: usize = 2 << 20;

const INDEX_TYPES: [&str; 2] = [
    "application/vnd.oci.image.index.v1+json",
    "application/vnd.docker.distribution.manifest.list.v2+json",
];

const MANIFEST_TYPES: [&str; 2] = [
    "application/vnd.oci.image.manifest.v1+json",
    "application/vnd.docker.distribution.manifest.v2+json",
];

/// OCI image specification, `image-index.md` and `manifest.md`.
const DOCUMENT_FIELDS: [&str; 8] = [
    "schemaVersion",
    "mediaType",
    "artifactType",
    "manifests",
    "config",
    "layers",
    "subject",
    "annotations",
];

/// OCI image specification, `descriptor.md`.
const DESCRIPTOR_FIELDS: [&str; 8] =
    ["mediaType", "digest", "size", "urls", "annotations", "data", "artifactType", "platform"];

/// OCI image specification, `image-index.md`, "platform".
const PLATFORM_FIELDS: [&str; 6] =
    ["architecture", "os", "os.version", "os.features", "variant", "features"];

/// OCI image specification, `config.md`, as far as runtimes act on it.
const CONFIG_FIELDS: [&str; 10] = [
    "created",
    "author",
    "architecture",
    "os",
    "os.version",
    "os.features",
    "variant",
    "config",
    "rootfs",
    "history",
];

/// The same, "config".
const EXECUTION_FIELDS: [&str; 13] = [
    "User",
    "ExposedPorts",
    "Env",
    "Entrypoint",
    "Cmd",
    "Volumes",
    "WorkingDir",
    "Labels",
    "StopSignal",
    "ArgsEscaped",
    "Healthcheck",
    "OnBuild",
    "Shell",
];

/// What a digest stands for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Contents {
    /// Manifests for platforms, each digest once; never empty, at most [`MAX_PLATFORMS`].
    Index(Vec<PlatformManifest>),
    /// One manifest, with the digest of its configuration.
    Manifest {
        /// The configuration's digest.
        config: Digest,
    },
}

/// A manifest that an index lists for a platform.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PlatformManifest {
    /// Its digest.
    pub digest: Digest,
    /// The platform as the index states it, for example `linux/arm64/v8`; runtimes take a manifest
    /// without one for fitting everywhere.
    pub platform: Option<String>,
}

/// Why an image's manifest, index or configuration cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct ContentsError(String);

impl ContentsError {
    fn new(problem: impl AsRef<str>) -> Self {
        Self(printable(problem.as_ref()))
    }
}

/// Reads the bytes of an image's manifest or index.
///
/// Manifests for the platform `unknown/unknown` are left out: no node runs them, and builders store
/// their attestations so.
///
/// # Errors
/// When there are more than [`MAX_DOCUMENT_BYTES`], when they could be read as two different
/// things, list nothing that a node could run, more than [`MAX_ENTRIES`] or an index within the
/// index, or name a digest other than SHA-256.
pub fn parse(bytes: &[u8]) -> Result<Contents, ContentsError> {
    if bytes.len() > MAX_DOCUMENT_BYTES {
        let problem = format!("it has {} bytes, wanted at most {MAX_DOCUMENT_BYTES}", bytes.len());
        return Err(ContentsError::new(problem));
    }
    let document = json::parse(bytes).map_err(|error| ContentsError::new(error.to_string()))?;
    let document = object(&document, "the manifest", &DOCUMENT_FIELDS)?;
    if document.get("schemaVersion").and_then(Value::as_u64) != Some(2) {
        return Err(ContentsError::new("its schemaVersion is not 2"));
    }
    let media_type = document.get("mediaType").map(|found| found.as_str().unwrap_or_default());
    let fits = |types: &[&str]| media_type.is_none_or(|found| types.contains(&found));
    match (document.get("manifests"), document.get("config"), document.get("layers")) {
        (Some(Value::Array(entries)), None, None) if fits(&INDEX_TYPES) => {
            Ok(Contents::Index(platforms(entries)?))
        }
        (None, Some(config), Some(Value::Array(_))) if fits(&MANIFEST_TYPES) => {
            let config = object(config, "the descriptor of the configuration", &DESCRIPTOR_FIELDS)?;
            Ok(Contents::Manifest { config: digest(config)? })
        }
        _ => Err(ContentsError::new("it is neither an index nor a manifest, or could be both")),
    }
}

fn platforms(entries: &[Value]) -> Result<Vec<PlatformManifest>, ContentsError> {
    if entries.len() > MAX_ENTRIES {
        let problem = format!("it lists {} manifests, wanted at most {MAX_ENTRIES}", entries.len());
        return Err(ContentsError::new(problem));
    }
    let mut found: Vec<PlatformManifest> = Vec::new();
    for entry in entries {
        let entry = object(entry, "an entry of the index", &DESCRIPTOR_FIELDS)?;
        let media_type = text(entry, "mediaType");
        if !MANIFEST_TYPES.contains(&media_type) {
            let problem = format!("it lists something of media type `{media_type}`");
            return Err(ContentsError::new(problem));
        }
        let platform = match entry.get("platform").filter(|value| !value.is_null()) {
            None => None,
            Some(value) => {
                let fields = object(value, "a platform of the index", &PLATFORM_FIELDS)?;
                if ["os", "architecture"].map(|name| text(fields, name)) == ["unknown"; 2] {
                    continue;
                }
                Some(platform(fields))
            }
        };
        let digest = digest(entry)?;
        if !found.iter().any(|one| one.digest == digest) {
            found.push(PlatformManifest { digest, platform });
        }
    }
    match found.len() {
        0 => Err(ContentsError::new("it lists no manifest that a node could run")),
        1..=MAX_PLATFORMS => Ok(found),
        many => {
            let problem = format!("it lists {many} platforms, wanted at most {MAX_PLATFORMS}");
            Err(ContentsError::new(problem))
        }
    }
}

/// A platform as container tools write it, `os/architecture/variant:os.version`, and with `+`
/// before each feature.
fn platform(fields: &Map<String, Value>) -> String {
    let mut platform = format!("{}/{}", text(fields, "os"), text(fields, "architecture"));
    for (separator, name) in [('/', "variant"), (':', "os.version")] {
        if !text(fields, name).is_empty() {
            platform.push(separator);
            platform.push_str(text(fields, name));
        }
    }
    let features = fields.get("os.features").and_then(Value::as_array);
    for feature in features.into_iter().flatten().filter_map(Value::as_str) {
        platform.push('+');
        platform.push_str(feature);
    }
    printable(&platform)
}

fn text<'a>(fields: &'a Map<String, Value>, name: &str) -> &'a str {
    fields.get(name).and_then(Value::as_str).unwrap_or_default()
}

/// Reads the configurations of an image, each with the platform that an index states for it, as one
/// object by platform.
///
/// All of them together have at most [`json::MAX_VALUES`].
///
/// # Errors
/// When one of them is no JSON object or could be read differently, or when two are for one
/// platform: rules would see one of them only.
pub fn parse_configs(configs: &[(Option<String>, Bytes)]) -> Result<Value, ContentsError> {
    let left = Cell::new(json::MAX_VALUES);
    let mut found = Map::new();
    for (stated, bytes) in configs {
        let document = json::parse_within(bytes, &left)
            .map_err(|error| ContentsError::new(format!("its configuration: {error}")))?;
        let fields = object(&document, "the configuration", &CONFIG_FIELDS)?;
        if let Some(execution) = fields.get("config").filter(|value| !value.is_null()) {
            object(execution, "`config` of the configuration", &EXECUTION_FIELDS)?;
        }
        // A node picks by what the index says.
        let platform = stated.clone().unwrap_or_else(|| platform(fields));
        // Manifests that differ in how their layers are compressed share a configuration.
        if found.get(&platform).is_some_and(|other| *other != document) {
            let problem = format!("two manifests have a configuration for {platform}");
            return Err(ContentsError::new(problem));
        }
        found.insert(platform, document);
    }
    Ok(Value::Object(found))
}

/// An object in which every name means the same to every reader.
fn object<'a>(
    value: &'a Value,
    what: &str,
    fields: &[&str],
) -> Result<&'a Map<String, Value>, ContentsError> {
    let Value::Object(map) = value else {
        return Err(ContentsError::new(format!("{what} is no object")));
    };
    let meant = |name: &String| fields.iter().find(|field| folded(name) == folded(field));
    for name in map.keys() {
        if let Some(field) = meant(name).filter(|field| *field != name) {
            let problem = format!("{what} has a `{name}`, which some readers take for `{field}`");
            return Err(ContentsError::new(problem));
        }
    }
    Ok(map)
}

/// A name as Go's `encoding/json` compares it: by simple case folding, in which two letters beyond
/// ASCII stand for letters within it.
fn folded(name: &str) -> String {
    let fold = |letter| match letter {
        '\u{17f}' => 's',
        '\u{212a}' => 'k',
        other => other.to_ascii_lowercase(),
    };
    name.chars().map(fold).collect()
}

fn digest(descriptor: &Map<String, Value>) -> Result<Digest, ContentsError> {
    let text = text(descriptor, "digest");
    let digest: Option<Digest> = text.parse().ok();
    digest
        .filter(|digest| digest.algorithm() == Algorithm::Sha256)
        .ok_or_else(|| ContentsError::new(format!("`{text}` is no SHA-256 digest")))
}

#[cfg(test)]
mod tests;
