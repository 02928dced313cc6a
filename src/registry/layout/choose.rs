//! Which entry of a layout's index is the image, and what it is called.
use std::path::Path;

use crate::image::Digest;
use crate::image::ImageRef;
use crate::registry::limits::MAX_MANIFEST_BYTES;
use crate::registry::manifest::Descriptor;
use crate::registry::manifest::Document;
use crate::registry::manifest::parse_document;
use crate::verdict::printable;

use super::LayoutError;
use super::Pick;
use super::read_blob;

/// The tag, or the full reference, of an entry (OCI image specification, `annotations.md`).
const REF_NAME: &str = "org.opencontainers.image.ref.name";

/// The full reference of an entry, as containerd and its tools write it.
const IMAGE_NAME: &str = "io.containerd.image.name";

/// What an entry is, as `cosign save` writes it.
const KIND: &str = "kind";

const KIND_IMAGES: [&str; 2] =
    ["dev.cosignproject.cosign/image", "dev.cosignproject.cosign/imageIndex"];

/// Chooses the image among the entries of an index.
pub(super) struct Chooser<'a> {
    pub(super) folder: &'a str,
    pub(super) root: &'a Path,
    pub(super) entries: &'a [Descriptor],
}

impl<'a> Chooser<'a> {
    pub(super) fn choose(
        &self,
        pick: &Pick,
    ) -> Result<(Digest, Option<&'a Descriptor>), LayoutError> {
        match pick {
            Pick::Any => self.only(self.images(), "image"),
            Pick::Digest(digest) => {
                let entry = self.entries.iter().find(|entry| entry.digest == *digest);
                match read_blob(self.root, digest, MAX_MANIFEST_BYTES) {
                    Ok(_) => Ok((digest.clone(), entry)),
                    Err(_) => Err(self.missing(&format!("readable manifest {digest}"))),
                }
            }
            Pick::Tag(tag) => {
                let fits = self.entries.iter().filter(|entry| has_tag(entry, tag)).collect();
                self.only(fits, &format!("tag {tag}"))
            }
        }
    }

    /// What is an image, by the best evidence there is: cosign's word, then a tag that is not a
    /// signature's, then the lack of a subject.
    fn images(&self) -> Vec<&'a Descriptor> {
        let pick = |rule: &dyn Fn(&Descriptor) -> bool| -> Vec<&'a Descriptor> {
            self.entries.iter().filter(|entry| rule(entry)).collect()
        };
        let saved = pick(&|entry| is_kind(entry, &KIND_IMAGES));
        if !saved.is_empty() {
            return saved;
        }
        let tagged = pick(&|entry| {
            entry.annotations.get(REF_NAME).is_some_and(|name| !is_attachment(tag_of(name)))
        });
        if !tagged.is_empty() {
            return tagged;
        }
        pick(&|entry| !entry.annotations.contains_key(REF_NAME) && !self.has_subject(entry))
    }

    fn has_subject(&self, entry: &Descriptor) -> bool {
        let Ok(bytes) = read_blob(self.root, &entry.digest, MAX_MANIFEST_BYTES) else {
            return false;
        };
        match parse_document(&bytes) {
            Ok(Document::Manifest(manifest)) => manifest.subject.is_some(),
            Ok(Document::Index(index)) => index.subject.is_some(),
            Err(_) => false,
        }
    }

    fn only(
        &self,
        found: Vec<&'a Descriptor>,
        wanted: &str,
    ) -> Result<(Digest, Option<&'a Descriptor>), LayoutError> {
        let Some((first, rest)) = found.split_first() else {
            return Err(self.missing(wanted));
        };
        if rest.iter().any(|entry| entry.digest != first.digest) {
            let folder = self.folder.to_owned();
            return Err(LayoutError::Ambiguous { folder, found: names(found.into_iter()) });
        }
        Ok((first.digest.clone(), Some(first)))
    }

    fn missing(&self, wanted: &str) -> LayoutError {
        let wanted = printable(wanted);
        let found = names(self.entries.iter());
        LayoutError::Missing { folder: self.folder.to_owned(), wanted, found }
    }

    pub(super) fn name(
        &self,
        entry: Option<&Descriptor>,
        pick: &Pick,
        digest: &Digest,
    ) -> Result<ImageRef, LayoutError> {
        let given = |key: &str| entry.and_then(|entry| entry.annotations.get(key));
        let full = [IMAGE_NAME, REF_NAME].into_iter().filter_map(given);
        // A bare tag would parse as a Docker Hub image: only a name with a path is a reference.
        let mut full = full.filter(|name| name.contains('/')).filter_map(|name| name.parse().ok());
        if let Some(image) = full.next() {
            return Ok(ImageRef::with_digest(&image, digest.clone()));
        }
        let tag = match (pick, given(REF_NAME)) {
            (Pick::Tag(tag), _) => Some(tag.clone()),
            (_, Some(name)) => Some(tag_of(name).to_owned()),
            _ => None,
        };
        let base = self.root.file_name().unwrap_or_default().to_string_lossy().to_lowercase();
        let tagged = tag.map(|tag| format!(":{tag}")).unwrap_or_default();
        let named = |base: &str, tag: &str| format!("localhost/{base}{tag}").parse::<ImageRef>();
        let image = named(&base, &tagged)
            .or_else(|_| named("layout", &tagged))
            .or_else(|_| named("layout", ""))
            .map_err(|_| LayoutError::Name { folder: self.folder.to_owned(), name: base })?;
        Ok(image.with_digest(digest.clone()))
    }
}

/// At most this many names in an error: enough to choose from on one screen line.
const NAMES_SHOWN: usize = 8;

fn names<'a>(entries: impl Iterator<Item = &'a Descriptor>) -> String {
    let names: Vec<String> = entries
        .map(|entry| match entry.annotations.get(REF_NAME) {
            Some(name) => name.clone(),
            None => entry.digest.to_string(),
        })
        .take(NAMES_SHOWN)
        .collect();
    if names.is_empty() { "nothing".to_owned() } else { printable(&names.join(", ")) }
}

pub(super) fn is_kind(entry: &Descriptor, kinds: &[&str]) -> bool {
    entry.annotations.get(KIND).is_some_and(|kind| kinds.contains(&kind.as_str()))
}

pub(super) fn has_tag(entry: &Descriptor, tag: &str) -> bool {
    [REF_NAME, IMAGE_NAME]
        .iter()
        .any(|key| entry.annotations.get(*key).is_some_and(|name| tag_of(name) == tag))
}

/// The tag in `tag`, `name:tag` or `host:port/name:tag`.
fn tag_of(name: &str) -> &str {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    let last = name.rsplit_once('/').map_or(name, |(_, last)| last);
    match last.rsplit_once(':') {
        Some((_, tag)) => tag,
        None if name.contains('/') => "latest",
        None => last,
    }
}

/// Tags that cosign and the referrers fallback use for what is attached to images.
fn is_attachment(tag: &str) -> bool {
    let Some(rest) = tag.strip_prefix("sha256-") else {
        return false;
    };
    let hex = rest.split_once('.').map_or(rest, |(hex, _)| hex);
    hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit())
}
