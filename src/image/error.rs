//! Why a text is not an image reference.
use super::parse::MAX_COMPONENT_SUM;
use super::parse::MAX_REFERENCE_LENGTH;

/// Why a text is not an image reference: what was found and what was wanted.
///
/// Every `found` is shortened and cleared of control characters.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum ImageRefError {
    /// A character that no part of a reference may hold: white space, control characters, `%`,
    /// anything outside ASCII.
    #[error(
        "the image reference holds {found:?} at byte {index}: wanted ASCII letters, digits and `.-_/:@[]` only"
    )]
    Character {
        /// The first such character.
        found: char,
        /// Its place, in bytes from the start.
        index: usize,
    },
    /// The digest is not `sha256:` with 64 or `sha512:` with 128 lower-case hexadecimal digits.
    #[error("`{found}` is not a digest: wanted sha256: and 64 lower-case hexadecimal digits")]
    Digest {
        /// The text.
        found: String,
    },
    /// There is nothing there.
    #[error("the image reference is empty: wanted a repository with a tag or a digest")]
    Empty,
    /// The registry's host is neither a DNS name nor an IP address.
    #[error("`{found}` is not a registry host: wanted {wanted}")]
    Host {
        /// The text before the first slash, without a port.
        found: String,
        /// The rule that it breaks.
        wanted: &'static str,
    },
    /// The text is an image ID (`sha256:…` or bare hexadecimal digits), by which a container
    /// runtime finds an image that is already on the node, whoever put it there.
    #[error("`{found}` is an image ID: wanted a repository with a tag or a digest")]
    ImageId {
        /// The text.
        found: String,
    },
    /// The path is longer than registries accept.
    #[error("the repository path has {found} characters: wanted at most {}", MAX_COMPONENT_SUM)]
    PathLength {
        /// Its length, in bytes, with `library/` where that is implied.
        found: usize,
    },
    /// A part of the path between slashes breaks the grammar.
    #[error(
        "`{found}` is not a repository path component: wanted lower-case letters and digits, with single `.`, `_`, `__` or dashes between them"
    )]
    PathComponent {
        /// The component.
        found: String,
    },
    /// The port is not a number from 1 to 65535 without leading zeros.
    #[error("`{found}` is not a port: wanted a number from 1 to 65535")]
    Port {
        /// The text after the host's colon.
        found: String,
    },
    /// A tag or a digest where only a repository may stand.
    #[error("`{found}` names a tag or a digest: wanted a repository alone")]
    RepositoryOnly {
        /// The text.
        found: String,
    },
    /// The tag breaks the grammar.
    #[error(
        "`{found}` is not a tag: wanted a letter, digit or `_`, then up to 127 more of these or `.` or `-`"
    )]
    Tag {
        /// The tag.
        found: String,
    },
    /// The text is longer than any reference.
    #[error("the image reference has {found} bytes: wanted at most {}", MAX_REFERENCE_LENGTH)]
    TooLong {
        /// Its length, in bytes.
        found: usize,
    },
}
