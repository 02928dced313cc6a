//! Image globs that cover nothing, or other images than they name.
use super::Hint;
use super::repeated;
use crate::api;
use crate::policy::glob::DOCKER_HUB;
use crate::policy::glob::normalise;

/// Registries on which a repository has two segments at least: the owner's and its own.
const OWNED: [&str; 5] = ["gcr.io", "ghcr.io", "public.ecr.aws", "quay.io", "registry.gitlab.com"];

/// Where the images of Docker Hub are that have no owner.
const OFFICIAL: &str = "docker.io/library/";

/// What the hexadecimal part of a SHA-256 digest has.
const DIGEST: (&str, usize) = ("sha256:", 64);

pub(super) fn check(images: &[api::ImagePattern], hints: &mut Vec<Hint>) {
    repeated(images, "spec.images", hints);
    for (index, api::ImagePattern { glob }) in images.iter().enumerate() {
        if let Some(text) = suspect(glob) {
            hints.push(Hint::new(format!("spec.images[{index}].glob"), text));
        }
    }
}

fn suspect(glob: &str) -> Option<String> {
    let normal = normalise(glob);
    let (name, digest) = normal
        .split_once('@')
        .map_or((normal.as_str(), None), |(name, digest)| (name, Some(digest)));
    if name.ends_with(':') {
        return Some("it covers nothing, as nothing follows the colon: write `:*`".to_owned());
    }
    if let Some(digest) = digest.filter(|digest| !may_be_digest(digest)) {
        return Some(format!(
            "it covers nothing, as `{digest}` is no digest: write `@sha256:` and 64 digits, or `@*`"
        ));
    }
    let (host, path) = name.split_once('/').unwrap_or((name, ""));
    if OWNED.contains(&host) && !path.is_empty() && !path.contains('/') && !path.contains("**") {
        return Some(format!(
            "it covers nothing, as images on {host} have an owner: write `{host}/**`, or `{host}/OWNER/**`"
        ));
    }
    let official = name.strip_prefix(OFFICIAL).is_some_and(|rest| rest.starts_with('*'));
    if official && !glob.contains("library/") {
        return Some(format!(
            "it covers Docker's official images alone: write `{DOCKER_HUB}/**` for every image there"
        ));
    }
    // Other names of Docker Hub are no mistake, but nobody finds them in explanations.
    let written = glob.split_once('/').map_or("", |(host, _)| host);
    let renamed = host == DOCKER_HUB && written.contains('.') && written != DOCKER_HUB;
    renamed.then(|| format!("it is compared as `{normal}`: write that, as explanations do"))
}

/// Whether a digest can look like this, as far as the first wildcard tells.
fn may_be_digest(text: &str) -> bool {
    let (prefix, length) = DIGEST;
    let fixed = text.split(['*', '?']).next().unwrap_or_default();
    let hex = |c: char| c.is_ascii_digit() || ('a'..='f').contains(&c);
    let fits = match fixed.strip_prefix(prefix) {
        Some(digits) => digits.len() <= length && digits.chars().all(hex),
        None => prefix.starts_with(fixed),
    };
    fits && (fixed.len() < text.len() || fixed.len() == prefix.len() + length)
}
