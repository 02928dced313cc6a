//! Globs over normalised image references.
use std::fmt;
use std::fmt::Write as _;

use regex::Regex;

use super::pattern;
use crate::image::ImageRef;

/// Longest glob, in bytes: a repository has at most 255, a digest 71, a tag 128; the rest is host.
pub const MAX_GLOB_BYTES: usize = 512;

/// The name that Docker Hub has in a normalised reference.
pub(super) const DOCKER_HUB: &str = "docker.io";

/// Other names of Docker Hub that people and tools write.
const DOCKER_HUB_ALIASES: [&str; 3] =
    ["index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// A compiled image glob: `*` stays within a path segment, `**` does not, `?` is one character
/// that is not a slash. Everything else is literal.
///
/// The glob is normalised as references are. Without a registry it is for Docker Hub, as in
/// `nginx*` and `bitnami/*`; a glob that begins with `**` may begin anywhere, and `*` alone
/// covers every image.
#[derive(Clone, Debug)]
pub struct ImageGlob {
    text: String,
    /// What every match begins with.
    prefix: String,
    shape: Shape,
    /// What stands before the `@` of a digest, where the glob has one.
    named: Option<Shape>,
}

/// A glob, by what it takes to compare a text with it.
#[derive(Clone, Debug)]
enum Shape {
    /// It has no wildcard.
    Literal(String),
    /// It ends in `**` and has no other wildcard.
    Prefix(String),
    /// Any other.
    Pattern(Regex),
}

impl Shape {
    fn of(normal: &str) -> Result<Self, GlobError> {
        let wild = |text: &str| text.contains(['*', '?']);
        if !wild(normal) {
            return Ok(Self::Literal(normal.to_owned()));
        }
        let start = normal.trim_end_matches('*');
        if normal.ends_with("**") && !wild(start) {
            return Ok(Self::Prefix(start.to_owned()));
        }
        let regex = pattern::glob_regex(normal);
        regex.map(Self::Pattern).map_err(|error| GlobError { problem: error.problem })
    }

    fn matches(&self, text: &str) -> bool {
        match self {
            Self::Literal(literal) => literal == text,
            Self::Prefix(prefix) => text.starts_with(prefix.as_str()),
            Self::Pattern(regex) => regex.is_match(text),
        }
    }
}

/// As long as references are that name a digest, in bytes: few are longer.
const USUAL_LENGTH: usize = 160;

/// What of a reference is compared with globs; made once for all of them.
#[derive(Clone, Debug)]
pub struct Spellings {
    /// The whole reference.
    whole: String,
    /// Where its repository ends.
    repository: usize,
    /// Where its tag ends; its repository, where it has none.
    name: usize,
    /// The repository with the digest, where there is a tag between them.
    untagged: Option<String>,
}

impl Spellings {
    /// Those of `image`.
    pub fn of(image: &ImageRef) -> Self {
        let mut whole = String::with_capacity(USUAL_LENGTH);
        for part in [image.repository().registry(), "/", image.repository().path()] {
            whole.push_str(part);
        }
        let repository = whole.len();
        if let Some(tag) = image.tag() {
            whole.push(':');
            whole.push_str(tag);
        }
        let name = whole.len();
        if let Some(digest) = image.digest() {
            // Writing to a string cannot fail.
            let _ = write!(whole, "@{digest}");
        }
        let untagged = image.digest().filter(|_| repository < name);
        let untagged = untagged.map(|digest| format!("{}@{digest}", image.repository()));
        Self { whole, repository, name, untagged }
    }

    /// The repository with the tag, and without.
    fn names(&self) -> impl Iterator<Item = &str> {
        let repository = (self.repository < self.name).then_some(self.repository);
        [Some(self.name), repository].into_iter().flatten().filter_map(|end| self.whole.get(..end))
    }

    /// The repository with the digest, with the tag and without; nothing where there is no digest.
    fn pinned(&self) -> impl Iterator<Item = &str> {
        let whole = (self.name < self.whole.len()).then_some(&self.whole);
        whole.into_iter().chain(&self.untagged).map(String::as_str)
    }

    /// The reference without its digest, with its tag where it has one: what
    /// [`ImageGlob::literal_prefix`] is compared with.
    pub(super) fn undigested(&self) -> &str {
        self.names().next().unwrap_or_default()
    }
}

/// Why a text is not an image glob.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct GlobError {
    /// What was found, in one clause.
    pub problem: String,
}

impl ImageGlob {
    /// The glob that covers every image.
    ///
    /// # Errors
    /// Never; the constructor of patterns has an error.
    pub fn everything() -> Result<Self, GlobError> {
        Self::parse("**")
    }

    /// Parses and normalises a glob.
    ///
    /// # Errors
    /// When it is empty, too long, or could match no reference: a policy that applies to nothing
    /// would go unnoticed.
    pub fn parse(text: &str) -> Result<Self, GlobError> {
        if text.is_empty() {
            return Err(GlobError { problem: "it is empty, so it could never match".to_owned() });
        }
        if text.len() > MAX_GLOB_BYTES {
            let problem = format!("it has {} bytes, more than {MAX_GLOB_BYTES}", text.len());
            return Err(GlobError { problem });
        }
        if let Some(c) = unusable(text) {
            let problem = format!("`{}` has no meaning in an image glob", c.escape_default());
            return Err(GlobError { problem });
        }
        let normal = normalise(text);
        if let Some(problem) = unmatchable(&normal) {
            return Err(GlobError { problem: format!("{problem}, so it could never match") });
        }
        let named = normal.split_once('@').map(|(name, _)| Shape::of(name)).transpose()?;
        let prefix = normal.split(['*', '?', '@']).next().unwrap_or_default().to_owned();
        Ok(Self { text: text.to_owned(), prefix, shape: Shape::of(&normal)?, named })
    }

    /// Whether it matches the reference, with its tag, with its digest, or without either.
    pub fn matches(&self, image: &ImageRef) -> bool {
        self.matches_any(&Spellings::of(image))
    }

    /// The same, where the spellings of the reference are at hand.
    pub fn matches_any(&self, image: &Spellings) -> bool {
        image.names().chain(image.pinned()).any(|text| self.shape.matches(text))
    }

    /// Whether it names a digest, and may match the reference once that is known to have it.
    pub fn may_match_digest_of(&self, image: &ImageRef) -> bool {
        self.may_match_digest(&Spellings::of(image))
    }

    /// The same, where the spellings of the reference are at hand.
    pub fn may_match_digest(&self, image: &Spellings) -> bool {
        let named = self.named.as_ref();
        named.is_some_and(|named| image.names().any(|text| named.matches(text)))
    }

    /// What stands before the first wildcard, and before a digest: every reference that it matches
    /// begins with it, with its tag where it has one.
    pub(super) fn literal_prefix(&self) -> &str {
        &self.prefix
    }
}

impl fmt::Display for ImageGlob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// The first character that can be in no reference and is no wildcard. Brackets are allowed where
/// an IPv6 host has them.
fn unusable(text: &str) -> Option<char> {
    let rest = match text.strip_prefix('[').and_then(|text| text.split_once(']')) {
        Some((address, rest)) if is_ipv6(address) => rest,
        Some(_) | None => text,
    };
    let usable = |c: char| c.is_ascii_alphanumeric() || "._-:/@*?".contains(c);
    rest.chars().find(|c| !usable(*c))
}

/// Why a normalised glob matches no reference, where that is plain. Repositories are in lower case
/// and have no empty segments; only a tag, or what a wildcard takes for one, may have capitals.
fn unmatchable(normal: &str) -> Option<String> {
    if normal.contains("//") || normal.starts_with('/') || normal.ends_with('/') {
        return Some("it has an empty path segment (a scheme is not part of an image)".to_owned());
    }
    let (path, last) = normal.rsplit_once('/').unwrap_or(("", normal));
    let name = last.split(['*', '?', ':']).next().unwrap_or_default();
    let capital = path.chars().chain(name.chars()).find(char::is_ascii_uppercase)?;
    Some(format!("the repository has the upper-case `{capital}`"))
}

fn is_ipv6(text: &str) -> bool {
    text.parse::<std::net::Ipv6Addr>().is_ok()
}

/// The glob as it compares with normalised references.
pub(super) fn normalise(glob: &str) -> String {
    if glob == "*" || glob.starts_with("**") {
        return if glob == "*" { "**".to_owned() } else { glob.to_owned() };
    }
    match glob.split_once('/') {
        Some((host, path)) if is_host(host) => {
            let host = normal_host(host);
            if host == DOCKER_HUB { on_docker_hub(path) } else { format!("{host}/{path}") }
        }
        Some(_) => on_docker_hub(glob),
        None if is_registry_wide(glob) => normal_host(glob),
        None => on_docker_hub(glob),
    }
}

/// A path of one segment is below `library/`, also when it is `*`; `**` covers that, too.
fn on_docker_hub(path: &str) -> String {
    if path.contains('/') || path.starts_with("**") {
        return format!("{DOCKER_HUB}/{path}");
    }
    format!("{DOCKER_HUB}/library/{path}")
}

/// Whether a glob without a slash is about whole registries, as in `ghcr.io**`: a name on Docker
/// Hub may have dots, but none of them crosses a slash.
fn is_registry_wide(glob: &str) -> bool {
    glob.split_once("**").is_some_and(|(host, _)| is_host(host))
}

/// Docker's rule: the first segment is a host when it has a dot or a colon, is `localhost`, or
/// has upper-case letters. `**` in it may stand for a host and more.
fn is_host(segment: &str) -> bool {
    segment.contains(['.', ':'])
        || segment.contains("**")
        || segment.eq_ignore_ascii_case("localhost")
        || segment.bytes().any(|b| b.is_ascii_uppercase())
}

fn normal_host(host: &str) -> String {
    let host = host.to_ascii_lowercase();
    let bare = host.strip_suffix(":443").unwrap_or(&host);
    if DOCKER_HUB_ALIASES.contains(&bare) {
        return DOCKER_HUB.to_owned();
    }
    // As in references: without a dot it keeps the port, or it would read as a path.
    if is_host(bare) { bare.to_owned() } else { format!("{bare}:443") }
}

#[cfg(test)]
mod tests;
