//! The grammar of image references, as Docker's and containerd's reference libraries have it, and
//! their normal form.
//!
//! Where those libraries are lenient about spellings that reach the same registry, this parser
//! either unifies (case, default port, aliases) or refuses (odd IPv4 forms, leading zeros): what
//! is compared with a policy must be what the container runtime pulls.
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;
use std::str::FromStr;

use super::Digest;
use super::ImageRef;
use super::ImageRefError;
use super::Repository;
use crate::verdict::printable;

/// Longest text that is looked at, in bytes: the longest parts (host 253, port 6, path 255, tag
/// 129, SHA-512 digest 136, slash) come to 780; this is the next power of two.
pub const MAX_REFERENCE_LENGTH: usize = 1024;

/// Longest path, in bytes: `RepositoryNameTotalLengthMax` of the reference grammar, which
/// registries enforce.
pub(super) const MAX_COMPONENT_SUM: usize = 255;

/// Longest host name, in bytes (RFC 1035, section 2.3.4, without the root's dot).
const MAX_HOST_LENGTH: usize = 253;

/// Longest label of a host name, in bytes (RFC 1035, section 2.3.4).
const MAX_LABEL_LENGTH: usize = 63;

/// Longest tag, in bytes (OCI distribution specification, "pulling manifests").
const MAX_TAG_LENGTH: usize = 128;

/// The port that https implies.
const DEFAULT_PORT: u16 = 443;

/// Docker Hub in normal form.
const DOCKER_HUB: &str = "docker.io";

/// Names under which Docker Hub's registry answers.
const DOCKER_HUB_ALIASES: [&str; 4] =
    [DOCKER_HUB, "index.docker.io", "registry-1.docker.io", "registry.hub.docker.com"];

/// Where Docker Hub keeps images whose path has a single component.
const OFFICIAL_PREFIX: &str = "library";

/// The tag that a reference without tag and digest stands for.
const IMPLIED_TAG: &str = "latest";

/// Names that make `name:hex` an image ID to containerd, also when the digits are cut short.
const DIGEST_ALGORITHMS: [&str; 3] = ["sha256", "sha384", "sha512"];

/// Length of an image ID in hexadecimal digits.
const IMAGE_ID_LENGTH: usize = 64;

impl FromStr for ImageRef {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_text(text)?;
        let Parts { name, tag, digest } = split(text);
        refuse_image_id(text, name, tag)?;
        let repository = parse_repository(name)?;
        let tag = tag.map(parse_tag).transpose()?;
        let digest = digest.map(str::parse::<Digest>).transpose()?;
        let tag = match (&tag, &digest) {
            (None, None) => Some(IMPLIED_TAG.to_owned()),
            _ => tag,
        };
        Ok(Self { repository, tag, digest })
    }
}

impl FromStr for Repository {
    type Err = ImageRefError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        check_text(text)?;
        let Parts { name, tag, digest } = split(text);
        if tag.is_some() || digest.is_some() {
            return Err(ImageRefError::RepositoryOnly { found: printable(text) });
        }
        refuse_image_id(text, name, tag)?;
        parse_repository(name)
    }
}

/// The text cut at its separators; nothing is checked yet.
struct Parts<'a> {
    name: &'a str,
    tag: Option<&'a str>,
    digest: Option<&'a str>,
}

/// Length and character set, before anything that costs.
fn check_text(text: &str) -> Result<(), ImageRefError> {
    if text.is_empty() {
        return Err(ImageRefError::Empty);
    }
    if text.len() > MAX_REFERENCE_LENGTH {
        return Err(ImageRefError::TooLong { found: text.len() });
    }
    let permitted = |c: char| {
        c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_' | '/' | ':' | '@' | '[' | ']')
    };
    match text.char_indices().find(|(_, c)| !permitted(*c)) {
        Some((index, found)) => Err(ImageRefError::Character { found, index }),
        None => Ok(()),
    }
}

/// A colon before the last slash belongs to a port, after it to a tag.
fn split(text: &str) -> Parts<'_> {
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => Parts { name, tag: Some(tag), digest },
        _ => Parts { name: rest, tag: None, digest },
    }
}

/// A container runtime reads these as the ID of an image on the node, not as Docker Hub's
/// `library/…`; there is no registry to ask about such an image.
fn refuse_image_id(text: &str, name: &str, tag: Option<&str>) -> Result<(), ImageRefError> {
    let hex = |text: &str| text.bytes().all(|b| b.is_ascii_hexdigit());
    let bare = name.len() == IMAGE_ID_LENGTH && hex(name);
    let digest = DIGEST_ALGORITHMS.contains(&name) && tag.is_some_and(hex);
    if bare || digest {
        return Err(ImageRefError::ImageId { found: printable(text) });
    }
    Ok(())
}

fn parse_repository(name: &str) -> Result<Repository, ImageRefError> {
    let (registry, path) = match name.split_once('/') {
        Some((first, rest)) if is_host(first) => (parse_registry(first)?, rest),
        _ => (DOCKER_HUB.to_owned(), name),
    };
    let path = if registry == DOCKER_HUB && !path.contains('/') {
        format!("{OFFICIAL_PREFIX}/{path}")
    } else {
        path.to_owned()
    };
    if path.len() > MAX_COMPONENT_SUM {
        return Err(ImageRefError::PathLength { found: path.len() });
    }
    match path.split('/').find(|component| !is_path_component(component)) {
        Some(component) => Err(ImageRefError::PathComponent { found: printable(component) }),
        None => Ok(Repository { registry, path }),
    }
}

/// Whether the text before the first slash is a host rather than a path component on Docker Hub.
fn is_host(first: &str) -> bool {
    first == "localhost"
        || first.contains(['.', ':', '[', ']'])
        || first.bytes().any(|b| b.is_ascii_uppercase())
}

/// Host and port in normal form.
fn parse_registry(text: &str) -> Result<String, ImageRefError> {
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => (host, Some(parse_port(port)?)),
        _ => (text, None),
    };
    let host = parse_host(host)?;
    let port = port.unwrap_or(DEFAULT_PORT);
    // `Intranet/x` names a host by its capital letter alone. In lower case it would read as a path
    // on Docker Hub, so such a host keeps the port.
    if port != DEFAULT_PORT || !is_host(&host) {
        return Ok(format!("{host}:{port}"));
    }
    if DOCKER_HUB_ALIASES.contains(&host.as_str()) {
        return Ok(DOCKER_HUB.to_owned());
    }
    Ok(host)
}

fn parse_port(text: &str) -> Result<u16, ImageRefError> {
    let error = || ImageRefError::Port { found: printable(text) };
    let plain = text.bytes().all(|b| b.is_ascii_digit()) && !text.starts_with('0');
    if !plain {
        return Err(error());
    }
    text.parse().map_err(|_| error())
}

fn parse_host(text: &str) -> Result<String, ImageRefError> {
    let error = |wanted| ImageRefError::Host { found: printable(text), wanted };
    if let Some(inner) = text.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        return parse_ipv6(inner).ok_or_else(|| {
            error("an IPv6 address in brackets, without a zone or an IPv4 address inside")
        });
    }
    if text.len() > MAX_HOST_LENGTH {
        return Err(error("at most 253 characters"));
    }
    if !text.split('.').all(is_label) {
        return Err(error(
            "labels of 1 to 63 letters, digits and inner dashes, with single dots between them",
        ));
    }
    let host = text.to_ascii_lowercase();
    if ends_in_number(&host) && host.parse::<Ipv4Addr>().is_err() {
        return Err(error("an IPv4 address as four decimal numbers without leading zeros"));
    }
    Ok(host)
}

/// In brackets and in the form of RFC 5952, or `None`.
///
/// Addresses that embed IPv4 are refused: they reach a host that has a plainer name.
fn parse_ipv6(inner: &str) -> Option<String> {
    if inner.contains('.') {
        return None;
    }
    let address = inner.parse::<Ipv6Addr>().ok()?;
    if address.to_ipv4_mapped().is_some() {
        return None;
    }
    Some(format!("[{address}]"))
}

fn is_label(label: &str) -> bool {
    (1..=MAX_LABEL_LENGTH).contains(&label.len())
        && label.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && !label.starts_with('-')
        && !label.ends_with('-')
}

/// Whether URL parsers take the host for an IPv4 address in one of its odd forms, such as
/// `0x7f.1` (WHATWG URL, "ends in a number checker").
fn ends_in_number(host: &str) -> bool {
    let last = host.rsplit('.').next().unwrap_or(host);
    match last.strip_prefix("0x") {
        Some(hex) => hex.bytes().all(|b| b.is_ascii_hexdigit()),
        None => last.bytes().all(|b| b.is_ascii_digit()),
    }
}

/// `[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*` (OCI distribution specification, "pulling manifests").
fn is_path_component(component: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    let bytes = component.as_bytes();
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else {
        return false;
    };
    if !word(*first) || !word(*last) {
        return false;
    }
    bytes
        .split(|b| word(*b))
        .all(|gap| matches!(gap, b"" | b"." | b"_" | b"__") || gap.iter().all(|b| *b == b'-'))
}

/// `[a-zA-Z0-9_][a-zA-Z0-9._-]{0,127}` (OCI distribution specification, "pulling manifests").
fn parse_tag(text: &str) -> Result<String, ImageRefError> {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let good = (1..=MAX_TAG_LENGTH).contains(&text.len())
        && text.bytes().all(|b| word(b) || b == b'.' || b == b'-')
        && text.bytes().next().is_some_and(word);
    if good { Ok(text.to_owned()) } else { Err(ImageRefError::Tag { found: printable(text) }) }
}

#[cfg(test)]
mod tests;
