//! OCI image layouts: folders that hold an image with its signatures, for use without a network.
//!
//! Read as `oras`, `skopeo` and `crane` write them (tags in `org.opencontainers.image.ref.name`,
//! signatures by `subject` or by cosign's tags) and as `cosign save` does (annotation `kind`).
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::time::Instant;

use bytes::Bytes;

use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::FetchEvidence;
use crate::evidence::Part;
use crate::image::Algorithm;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::printable;

use super::discover::Api;
use super::discover::Listing;
use super::discover::Store;
use super::discover::discover;
use super::error::RegistryError;
use super::error::Subject;
use super::limits::MAX_BLOB_BYTES;
use super::limits::MAX_DESCRIPTORS;
use super::limits::MAX_MANIFEST_BYTES;
use super::manifest::Descriptor;
use super::manifest::Document;
use super::manifest::parse_document;
use super::manifest::parse_index;
use super::part_of;
use super::supported;

mod choose;
mod reference;
#[cfg(test)]
mod tests;

pub use reference::LayoutRef;
pub use reference::Pick;

use choose::Chooser;
use choose::has_tag;
use choose::is_kind;

/// What signatures are, as `cosign save` writes it in the annotation `kind`.
const KIND_SIGNATURES: &str = "dev.cosignproject.cosign/sigs";

/// What attestations are, as `cosign save` writes it in the annotation `kind`.
const KIND_ATTESTATIONS: &str = "dev.cosignproject.cosign/atts";

/// Largest `oci-layout` file, in bytes; it holds a version.
const MAX_MARKER_BYTES: usize = 4 << 10;

/// Why a folder cannot be used as an image layout.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LayoutError {
    /// Several entries fit.
    #[error("{folder} holds several images: {found}; name one as {folder}:TAG or {folder}@DIGEST")]
    Ambiguous {
        /// The folder.
        folder: String,
        /// Their tags or digests.
        found: String,
    },
    /// No entry fits.
    #[error("{folder} holds no {wanted}; its index lists {found}")]
    Missing {
        /// The folder.
        folder: String,
        /// What was asked for.
        wanted: String,
        /// The tags or digests that are there.
        found: String,
    },
    /// The name for the image is no reference.
    #[error("{folder}: {name} cannot be used as an image reference")]
    Name {
        /// The folder.
        folder: String,
        /// The name.
        name: String,
    },
    /// A file of the layout is missing, too large or malformed.
    #[error("{folder} is not an OCI image layout: {problem}")]
    Unreadable {
        /// The folder.
        folder: String,
        /// What is wrong.
        problem: String,
    },
}

/// A layout folder with one image chosen.
#[derive(Clone, Debug)]
pub struct Layout {
    root: PathBuf,
    entries: Vec<Descriptor>,
    image: ImageRef,
    digest: Digest,
}

impl Layout {
    /// Opens the folder and chooses the image. Reads the index, and manifests only where a choice
    /// needs them.
    ///
    /// # Errors
    /// When the folder is not a layout, or does not hold exactly one such image.
    pub fn open(reference: &LayoutRef) -> Result<Self, LayoutError> {
        let folder = printable(&reference.folder.display().to_string());
        let unreadable = |problem: &dyn std::fmt::Display| {
            let problem = printable(&problem.to_string());
            LayoutError::Unreadable { folder: folder.clone(), problem }
        };
        let root = reference.folder.canonicalize().map_err(|error| unreadable(&error))?;
        let marker = read_file(&root, "oci-layout", MAX_MARKER_BYTES);
        let marker = marker.map_err(|error| unreadable(&error))?;
        let marker: serde_json::Value = serde_json::from_slice(&marker)
            .map_err(|_| unreadable(&"its file oci-layout is not JSON"))?;
        if marker.get("imageLayoutVersion").and_then(|v| v.as_str()) != Some("1.0.0") {
            return Err(unreadable(&"its file oci-layout does not say version 1.0.0"));
        }
        let index = read_file(&root, "index.json", MAX_MANIFEST_BYTES);
        let index = index.map_err(|error| unreadable(&error))?;
        let index = parse_index(&index)
            .map_err(|error| unreadable(&format_args!("its file index.json: {error}")))?;
        if index.surplus > 0 {
            let problem = format_args!("its index has more than {MAX_DESCRIPTORS} entries");
            return Err(unreadable(&problem));
        }
        let chooser = Chooser { folder: &folder, root: &root, entries: &index.manifests };
        let (digest, entry) = chooser.choose(&reference.pick)?;
        let image = chooser.name(entry, &reference.pick, &digest)?;
        Ok(Self { root, entries: index.manifests, image, digest })
    }

    /// The chosen image with its digest, under the name that policies see: the entry's full
    /// reference where it has one, else `localhost/<folder>:<tag>`.
    pub const fn image(&self) -> &ImageRef {
        &self.image
    }

    fn read_blob(&self, digest: &Digest, cap: usize) -> Result<Bytes, RegistryError> {
        read_blob(&self.root, digest, cap)
    }
}

impl FetchEvidence for Layout {
    /// The digest of the reference, or of the entry with its tag; the chosen image's name stands
    /// for the chosen image.
    async fn resolve(&self, image: &ImageRef, _deadline: Instant) -> Result<Digest, Failure> {
        if let Some(digest) = image.digest() {
            return supported(digest);
        }
        if image.repository() == self.image.repository() && image.tag() == self.image.tag() {
            return supported(&self.digest);
        }
        let tag = image.tag().unwrap_or("latest");
        let entry = self.entries.iter().find(|entry| has_tag(entry, tag));
        match entry {
            Some(entry) => {
                self.read_blob(&entry.digest, MAX_MANIFEST_BYTES)
                    .map_err(|error| error.failure(Subject::Image))?;
                supported(&entry.digest)
            }
            None => {
                Err(Failure::new(Reason::ImageNotFound, format_args!("no tag {tag} in the layout")))
            }
        }
    }

    /// Whatever the folder holds for the digest. The query's repository does not matter: the
    /// folder is the only place there is.
    async fn fetch(&self, query: &EvidenceQuery, _deadline: Instant) -> Evidence {
        discover(self, query).await
    }

    async fn read(
        &self,
        _repository: &Repository,
        part: &Part,
        _deadline: Instant,
    ) -> Result<Bytes, Failure> {
        part_of(self, part).await.map_err(|error| error.failure(Subject::Image))
    }
}

impl Store for Layout {
    async fn tag(&self, tag: &str) -> Result<Option<(Digest, Bytes)>, RegistryError> {
        let kind = match tag.strip_prefix(&self.digest.tag_form()) {
            Some(".sig") => Some(KIND_SIGNATURES),
            Some(".att") => Some(KIND_ATTESTATIONS),
            Some(_) | None => None,
        };
        let saved = |entry: &&Descriptor| kind.is_some_and(|kind| is_kind(entry, &[kind]));
        let named = self.entries.iter().find(|entry| has_tag(entry, tag));
        let Some(entry) = named.or_else(|| self.entries.iter().find(saved)) else {
            return Ok(None);
        };
        let bytes = self.read_blob(&entry.digest, MAX_MANIFEST_BYTES)?;
        Ok(Some((entry.digest.clone(), bytes)))
    }

    async fn manifest(&self, digest: &Digest, cap: usize) -> Result<Bytes, RegistryError> {
        self.read_blob(digest, cap)
    }

    async fn blob(&self, digest: &Digest) -> Result<Bytes, RegistryError> {
        self.read_blob(digest, MAX_BLOB_BYTES)
    }

    /// Every entry whose manifest names `digest` as its subject. An entry that cannot be read may
    /// be one of them: that is a problem, not silence.
    async fn referrers(&self, digest: &Digest) -> Listing {
        let mut listing = Listing { api: Api::Present, ..Listing::default() };
        for entry in &self.entries {
            match self.subject_of(entry) {
                Ok(Some((subject, artifact_type))) if subject == *digest => {
                    listing.descriptors.push(Descriptor { artifact_type, ..entry.clone() });
                }
                Ok(_) => {}
                Err(error) => listing.problem = Some(error),
            }
        }
        listing
    }

    /// Always: looking costs nothing, and the tag may list what the folder's index does not.
    async fn expects_fallback(&self) -> bool {
        true
    }
}

impl Layout {
    /// The subject and the artifact type of an entry that has a subject.
    fn subject_of(
        &self,
        entry: &Descriptor,
    ) -> Result<Option<(Digest, Option<String>)>, RegistryError> {
        let bytes = self.read_blob(&entry.digest, MAX_MANIFEST_BYTES)?;
        let what = || format!("manifest {}", entry.digest);
        match parse_document(&bytes) {
            Ok(Document::Manifest(manifest)) => {
                let artifact_type = manifest.artifact_type.or(manifest.config_media_type);
                Ok(manifest.subject.map(|subject| (subject, artifact_type)))
            }
            Ok(Document::Index(index)) => Ok(index.subject.map(|subject| (subject, None))),
            Err(error) => Err(RegistryError::malformed(what(), error)),
        }
    }
}

fn read_blob(root: &Path, digest: &Digest, cap: usize) -> Result<Bytes, RegistryError> {
    let what = format!("blob {digest}");
    let algorithm = match digest.algorithm() {
        Algorithm::Sha256 => "sha256",
        Algorithm::Sha512 => "sha512",
    };
    // Safe as a path: a digest holds hexadecimal digits only.
    let path = format!("blobs/{algorithm}/{}", digest.hex());
    let bytes = match read_file(root, &path, cap) {
        Ok(bytes) => bytes,
        Err(ReadError::Io(error)) if error.kind() == io::ErrorKind::NotFound => {
            return Err(RegistryError::Absent { what });
        }
        Err(ReadError::TooLarge) => {
            return Err(RegistryError::too_large(what, format_args!("{cap} bytes")));
        }
        Err(error) => return Err(RegistryError::malformed(what, error)),
    };
    super::check(&what, digest, &bytes)?;
    Ok(bytes)
}

#[derive(Debug, thiserror::Error)]
enum ReadError {
    #[error("{0}")]
    Io(io::Error),
    #[error("a link leads out of the folder")]
    Outside,
    #[error("not a regular file")]
    NotAFile,
    #[error("a file is too large")]
    TooLarge,
}

/// Reads a file below `root`, at most `cap` bytes; links must stay within the folder.
fn read_file(root: &Path, path: &str, cap: usize) -> Result<Bytes, ReadError> {
    let path = root.join(path).canonicalize().map_err(ReadError::Io)?;
    if !path.starts_with(root) {
        return Err(ReadError::Outside);
    }
    if !path.metadata().map_err(ReadError::Io)?.is_file() {
        return Err(ReadError::NotAFile);
    }
    let file = File::open(path).map_err(ReadError::Io)?;
    let mut bytes = Vec::new();
    file.take(cap as u64 + 1).read_to_end(&mut bytes).map_err(ReadError::Io)?;
    if bytes.len() > cap {
        return Err(ReadError::TooLarge);
    }
    Ok(bytes.into())
}
