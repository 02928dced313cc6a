//! Where a trust root is fetched from.
use sha2::Digest as _;
use url::Url;

use crate::verdict::printable;

use super::Trusted;
use super::TufError;
use super::check_name;

/// The target that holds a trusted root where nothing else is said (Sigstore client
/// specification).
pub const TRUSTED_ROOT_TARGET: &str = "trusted_root.json";

/// The public-good instance's repository.
pub const PUBLIC_GOOD_MIRROR: &str = "https://tuf-repo-cdn.sigstore.dev/";

/// The public-good instance's root metadata as of 2026 (sigstore/root-signing). Any version does:
/// the newer ones are signed by those before them.
const PUBLIC_GOOD_ROOT: &[u8] = include_bytes!("public_good_root.json");

/// Longest address of a mirror, in bytes.
const MAX_MIRROR_BYTES: usize = 2048;

/// A TUF repository, and the target in it that is a trusted root.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Source {
    mirror: Url,
    root: Vec<u8>,
    target: String,
}

impl Source {
    /// A repository at `mirror`, with the root metadata to begin with and the name of the target.
    ///
    /// # Errors
    /// When the mirror is no address of HTTP, the root is not signed by its own keys, or no target
    /// may have that name.
    pub fn new(mirror: &str, root: &[u8], target: &str) -> Result<Self, SourceError> {
        let mirror = mirror_url(mirror).map_err(|problem| SourceError::Mirror { problem })?;
        Trusted::from_root(root).map_err(SourceError::Root)?;
        check_name(target).map_err(SourceError::Target)?;
        Ok(Self { mirror, root: root.to_vec(), target: target.to_owned() })
    }

    /// The public-good instance's.
    ///
    /// # Panics
    /// Never: a test makes it.
    pub fn public_good() -> Self {
        #[expect(clippy::expect_used, reason = "constants, tried by a test")]
        Self::new(PUBLIC_GOOD_MIRROR, PUBLIC_GOOD_ROOT, TRUSTED_ROOT_TARGET)
            .expect("embedded source")
    }

    /// The public-good instance's, fetched from a mirror of it.
    ///
    /// # Errors
    /// When the mirror is no address of HTTP.
    pub fn public_good_at(mirror: &str) -> Result<Self, SourceError> {
        Self::new(mirror, PUBLIC_GOOD_ROOT, TRUSTED_ROOT_TARGET)
    }

    /// A name for this source that no other has, in 64 hexadecimal digits: for a folder.
    pub fn id(&self) -> String {
        let Self { mirror, root, target } = self;
        let mut hash = sha2::Sha256::new();
        for part in [mirror.as_str().as_bytes(), root, target.as_bytes()] {
            hash.update((part.len() as u64).to_be_bytes());
            hash.update(part);
        }
        hex::encode(hash.finalize())
    }

    /// The mirror's address; its path ends with `/`.
    pub const fn mirror(&self) -> &Url {
        &self.mirror
    }

    /// The root metadata to begin with.
    pub fn root(&self) -> &[u8] {
        &self.root
    }

    /// The name of the target.
    pub fn target(&self) -> &str {
        &self.target
    }
}

fn mirror_url(text: &str) -> Result<Url, String> {
    if text.len() > MAX_MIRROR_BYTES {
        return Err(format!("has {} bytes; the limit is {MAX_MIRROR_BYTES}", text.len()));
    }
    let mut url = Url::parse(text)
        .map_err(|error| format!("`{}` is no address: {error}", printable(text)))?;
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(format!("`{}` is no address of https", printable(text)));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("holds a user name or a password, which are not supported".to_owned());
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err("holds a query or a fragment, wanted https://host/path".to_owned());
    }
    if !url.path().ends_with('/') {
        url.set_path(&format!("{}/", url.path()));
    }
    Ok(url)
}

/// Why a source cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum SourceError {
    /// The mirror's address cannot be used.
    #[error("the mirror {problem}")]
    Mirror {
        /// What is wrong, in one clause.
        problem: String,
    },
    /// The root is none to begin with.
    #[error("the initial root cannot be used")]
    Root(#[source] TufError),
    /// No target may have the name.
    #[error("the target cannot be asked for")]
    Target(#[source] TufError),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_public_good_source_is_usable() {
        let source = Source::public_good();
        assert_eq!(source.mirror().as_str(), PUBLIC_GOOD_MIRROR);
        assert_eq!(source.target(), TRUSTED_ROOT_TARGET);
    }

    #[test]
    fn sources_that_differ_have_other_ids() {
        let id = |mirror, target| Source::new(mirror, PUBLIC_GOOD_ROOT, target).unwrap().id();
        let one = id("https://h/a", "t");
        assert_eq!(one, id("https://h/a/", "t"));
        assert_eq!(one.len(), 64);
        assert_ne!(one, id("https://h/", "a/t"));
        assert_ne!(one, id("https://h/a", "t2"));
    }

    #[test]
    fn completes_the_path_of_a_mirror() {
        let mirror = |text| Source::new(text, PUBLIC_GOOD_ROOT, "t").map(|it| it.mirror);
        assert_eq!(mirror("https://h").unwrap().as_str(), "https://h/");
        assert_eq!(mirror("https://h:1/a").unwrap().as_str(), "https://h:1/a/");
        let longest = format!("https://h/{}", "a".repeat(MAX_MIRROR_BYTES - 10));
        assert!(mirror(&longest).is_ok());
    }

    #[test]
    fn rejects_mirrors_that_are_none() {
        let long = format!("https://h/{}", "a".repeat(MAX_MIRROR_BYTES - 9));
        let cases = [
            ("", "`` is no address: relative URL without a base"),
            ("file:///etc", "`file:///etc` is no address of https"),
            ("https://u@h/", "holds a user name or a password, which are not supported"),
            ("https://h/?a", "holds a query or a fragment, wanted https://host/path"),
            ("https://h/#a", "holds a query or a fragment, wanted https://host/path"),
            (&long, "has 2049 bytes; the limit is 2048"),
        ];
        for (mirror, problem) in cases {
            let error = SourceError::Mirror { problem: problem.to_owned() };
            assert_eq!(Source::new(mirror, PUBLIC_GOOD_ROOT, "t"), Err(error));
        }
    }

    #[test]
    fn rejects_roots_and_targets_that_are_none() {
        let root = Source::new("https://h", b"{}", "t");
        assert!(matches!(root, Err(SourceError::Root(TufError::Malformed { .. }))), "{root:?}");
        let target = Source::new("https://h", PUBLIC_GOOD_ROOT, "../t");
        let error = SourceError::Target(check_name("../t").unwrap_err());
        assert_eq!(target, Err(error));
    }
}
