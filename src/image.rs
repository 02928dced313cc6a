//! Image references and digests, parsed once at the edge.
use std::fmt;
use std::str::FromStr;

pub mod contents;
mod error;
mod parse;

pub use error::ImageRefError;
pub use parse::MAX_REFERENCE_LENGTH;

/// A content digest, for example `sha256:…` with 64 lower-case hexadecimal digits.
///
/// OCI image specification, `descriptor.md#digests`. Only the registered algorithms `sha256` and
/// `sha512` parse.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Digest {
    algorithm: Algorithm,
    hex: String,
}

/// A digest algorithm registered by OCI.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum Algorithm {
    /// SHA-256; the only one that signatures cover today.
    Sha256,
    /// SHA-512.
    Sha512,
}

impl Digest {
    /// The digest of `bytes`, computed.
    pub fn sha256_of(bytes: &[u8]) -> Self {
        use sha2::Digest as _;
        Self { algorithm: Algorithm::Sha256, hex: hex::encode(sha2::Sha256::digest(bytes)) }
    }

    /// Whether `bytes` are the content that this digest names.
    pub fn matches(&self, bytes: &[u8]) -> bool {
        use sha2::Digest as _;
        match self.algorithm {
            Algorithm::Sha256 => hex::encode(sha2::Sha256::digest(bytes)) == self.hex,
            Algorithm::Sha512 => hex::encode(sha2::Sha512::digest(bytes)) == self.hex,
        }
    }

    /// The algorithm.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The hexadecimal part, in lower case.
    pub fn hex(&self) -> &str {
        &self.hex
    }

    /// The form used in tags, `sha256-<hex>` (OCI distribution, "referrers tag schema").
    pub fn tag_form(&self) -> String {
        self.to_string().replace(':', "-")
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let algorithm = match self.algorithm {
            Algorithm::Sha256 => "sha256",
            Algorithm::Sha512 => "sha512",
        };
        write!(f, "{algorithm}:{}", self.hex)
    }
}

impl FromStr for Digest {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = || ImageRefError::Digest { found: crate::verdict::printable(text) };
        let (algorithm, hex) = text.split_once(':').ok_or_else(error)?;
        let (algorithm, length) = match algorithm {
            "sha256" => (Algorithm::Sha256, 64),
            "sha512" => (Algorithm::Sha512, 128),
            _ => return Err(error()),
        };
        let lower_hex = |b: u8| b.is_ascii_digit() || (b'a'..=b'f').contains(&b);
        if hex.len() != length || !hex.bytes().all(lower_hex) {
            return Err(error());
        }
        Ok(Self { algorithm, hex: hex.to_owned() })
    }
}

/// A repository on a registry, normalised: host in lower case, default port dropped, Docker Hub's
/// aliases unified as `docker.io`, `library/` filled in.
///
/// Two spellings of one repository are equal, so that a policy cannot be evaded by spelling.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Repository {
    registry: String,
    path: String,
}

impl Repository {
    /// The registry's host, with a port where it is not 443 or where the host has no dot and would
    /// read as a path component without one (`intranet:443`).
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// The path below the host, without a leading slash.
    pub fn path(&self) -> &str {
        &self.path
    }
}

impl fmt::Display for Repository {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.registry, self.path)
    }
}

/// A normalised image reference: a repository with a tag, a digest, or both.
///
/// A reference without either stands for the tag `latest`, as everywhere.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct ImageRef {
    repository: Repository,
    tag: Option<String>,
    digest: Option<Digest>,
}

impl ImageRef {
    /// The repository.
    pub const fn repository(&self) -> &Repository {
        &self.repository
    }

    /// The tag, where one is given or implied.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, where one is given.
    pub const fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// The same reference with `digest` added or replaced; the tag stays for people to read.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { digest: Some(digest), ..self.clone() }
    }
}

impl fmt::Display for ImageRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.repository)?;
        if let Some(tag) = &self.tag {
            write!(f, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(f, "@{digest}")?;
        }
        Ok(())
    }
}

/// One image that an object names, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ImageUse {
    /// The JSON path of the field, for example `spec.template.spec.containers[0].image`.
    pub path: String,
    /// The same as a JSON pointer, for patches, for example `/spec/containers/0/image`.
    pub pointer: String,
    /// The field's text, exactly.
    pub text: String,
    /// The parsed reference, or why the text is none. An unparsable image is judged, not skipped.
    pub image: Result<ImageRef, ImageRefError>,
}
