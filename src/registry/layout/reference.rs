//! How a layout folder and an image in it are named.
use std::path::Path;
use std::path::PathBuf;
use std::str::FromStr;

use crate::image::Digest;

use super::LayoutError;

/// A folder and which of its images is meant: `[oci:]DIR[:TAG|@DIGEST]`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LayoutRef {
    /// The folder.
    pub folder: PathBuf,
    /// The image in it.
    pub pick: Pick,
}

/// Which image of a layout.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Pick {
    /// The only one there is.
    Any,
    /// The one with this digest.
    Digest(Digest),
    /// The one with this tag.
    Tag(String),
}

impl FromStr for LayoutRef {
    type Err = LayoutError;

    /// A text that is itself the name of an existing folder is that folder, colons and all.
    fn from_str(text: &str) -> Result<Self, LayoutError> {
        let text = text.strip_prefix("oci:").unwrap_or(text);
        let unreadable = |problem: String| LayoutError::Unreadable {
            folder: crate::verdict::printable(text),
            problem,
        };
        if text.is_empty() {
            return Err(unreadable("no folder is named".to_owned()));
        }
        if Path::new(text).is_dir() {
            return Ok(Self { folder: text.into(), pick: Pick::Any });
        }
        if let Some((folder, digest)) = text.rsplit_once('@') {
            let digest = digest.parse::<Digest>().map_err(|error| unreadable(error.to_string()))?;
            return Ok(Self { folder: folder.into(), pick: Pick::Digest(digest) });
        }
        match text.rsplit_once(':') {
            Some((folder, tag)) if !tag.is_empty() && !tag.contains('/') && !folder.is_empty() => {
                Ok(Self { folder: folder.into(), pick: Pick::Tag(tag.to_owned()) })
            }
            _ => Ok(Self { folder: text.into(), pick: Pick::Any }),
        }
    }
}
