//! Where `tegata verify` gets its inputs: registries, OCI layouts, policy files, matchers.
//!
//! One thin function for each, so that the command does not depend on how they are built.
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::super::inputs;
use super::VerifyError;
use crate::args::VerifyArgs;
use crate::args::verify::ImageArg;
use crate::error::one_line;
use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::FetchEvidence;
use crate::evidence::Part;
use crate::files;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::policy::IdentityMatcher;
use crate::policy::ImageGlob;
use crate::policy::PolicySnapshot;
use crate::policy::pattern::TextMatcher;
use crate::registry::Keychain;
use crate::registry::Layout;
use crate::registry::LayoutRef;
use crate::registry::Registry;
use crate::registry::RegistryOptions;
use crate::rekor::Rekor;
use crate::server;
use crate::trust_root::TrustRoot;
use crate::tuf;
use crate::verdict::Failure;

/// Where the evidence for an image is.
#[derive(Debug)]
pub(super) enum Source {
    Layout(Layout),
    Registry(Registry),
}

impl FetchEvidence for Source {
    async fn resolve(&self, image: &ImageRef, deadline: Instant) -> Result<Digest, Failure> {
        match self {
            Self::Layout(layout) => layout.resolve(image, deadline).await,
            Self::Registry(registry) => registry.resolve(image, deadline).await,
        }
    }

    async fn fetch(&self, query: &EvidenceQuery, deadline: Instant) -> Evidence {
        match self {
            Self::Layout(layout) => layout.fetch(query, deadline).await,
            Self::Registry(registry) => registry.fetch(query, deadline).await,
        }
    }

    async fn read(
        &self,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        match self {
            Self::Layout(layout) => layout.read(repository, part, deadline).await,
            Self::Registry(registry) => registry.read(repository, part, deadline).await,
        }
    }
}

/// The client for all registries that the flags name.
pub(super) fn registry(args: &VerifyArgs) -> Result<Source, VerifyError> {
    let client = Registry::new(options(args)?, keychain(args.registry_config.as_deref())?);
    let problem = |error| VerifyError::Registry(one_line(&error));
    Ok(Source::Registry(client.map_err(problem)?))
}

/// The settings of registries, and of what goes the same way.
fn options(args: &VerifyArgs) -> Result<RegistryOptions, VerifyError> {
    let mut options = inputs::registry_options(args.registries.as_deref())?;
    if args.allow_http_registry {
        options.allow_http.extend(args.images.iter().filter_map(host));
    }
    Ok(options)
}

/// The client of logs; none with `--offline`. The log of the flags may lie anywhere.
pub(super) fn log(args: &VerifyArgs) -> Result<Option<Rekor>, VerifyError> {
    if args.outside.offline {
        return Ok(None);
    }
    let options = inputs::registry_options(args.registries.as_deref())?;
    let client = Rekor::new(&options, args.signer.rekor_url.clone());
    client.map(Some).map_err(|error| VerifyError::Registry(one_line(&error)))
}

fn host(image: &ImageArg) -> Option<String> {
    match image {
        ImageArg::Layout(_) => None,
        ImageArg::Registry(image) => Some(image.repository().registry().to_owned()),
    }
}

/// The credentials of the file; without one those of Docker, where there are any.
fn keychain(path: Option<&Path>) -> Result<Keychain, VerifyError> {
    match path.map(Path::to_owned).or_else(|| docker_config().filter(|path| path.exists())) {
        Some(path) => Ok(inputs::keychain(&path)?),
        None => Ok(Keychain::anonymous()),
    }
}

/// Where Docker keeps its `config.json` (docker CLI reference, "Configuration files").
fn docker_config() -> Option<PathBuf> {
    let variable = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    let folder = variable("DOCKER_CONFIG").map(PathBuf::from);
    let home = || variable("HOME").map(|home| PathBuf::from(home).join(".docker"));
    folder.or_else(home).map(|folder| folder.join("config.json"))
}

/// The image in a layout folder, under the name that policies see, and the folder.
pub(super) fn layout(
    text: &str,
    known_as: Option<&ImageRef>,
) -> Result<(ImageRef, Source), VerifyError> {
    let problem = |problem| VerifyError::Layout { image: format!("oci:{text}"), problem };
    let reference = text.parse::<LayoutRef>();
    let reference = reference.map_err(|error| problem(one_line(&error)))?;
    let layout = Layout::open(&reference);
    let layout = layout.map_err(|error| problem(one_line(&error)))?;
    let image = layout.image().clone();
    let image = match (known_as, image.digest()) {
        (Some(name), Some(digest)) => {
            if let Some(other) = name.digest().filter(|other| *other != digest) {
                let found = format!("found {digest}, wanted {other} as --as says");
                return Err(problem(found));
            }
            name.with_digest(digest.clone())
        }
        (Some(name), None) => name.clone(),
        (None, _) => image,
    };
    Ok((image, Source::Layout(layout)))
}

/// The policies of the flags' files and folders, with the trust roots that they name fetched once;
/// the first problem is the error.
pub(super) async fn load_policies(
    args: &VerifyArgs,
    default: &Arc<TrustRoot>,
) -> Result<PolicySnapshot, VerifyError> {
    let paths = &args.policies.policies;
    let problem = |error| VerifyError::Policies(one_line(&error));
    let sources = files::load(paths, default).map_err(problem)?.sources();
    let settings = tuf::Settings {
        default: tuf::DefaultRoot::Unchanging,
        folder: args.outside.tuf_state.clone(),
        mirrors: inputs::mirrors(&args.outside, options(args)?),
        schedule: tuf::Schedule::default(),
        clock: server::now,
    };
    let fetched = Arc::new(tuf::fetch_once(&settings, sources).await);
    let loaded = files::load_strict_with(paths, default, &fetched);
    let loaded = loaded.map_err(problem)?;
    Ok(loaded.snapshot)
}

/// A value of an identity, with the flag that gives it.
#[derive(Clone, Copy, Debug)]
pub(super) enum Pattern<'a> {
    /// This value.
    Exact(&'static str, &'a str),
    /// A value that this regular expression matches in whole.
    Regex(&'static str, &'a str),
}

/// A matcher for issuer and subject, without claims.
pub(super) fn identity(
    issuer: Pattern<'_>,
    subject: Pattern<'_>,
) -> Result<IdentityMatcher, VerifyError> {
    let matcher = |pattern| {
        let (flag, compiled) = match pattern {
            Pattern::Exact(flag, text) => (flag, TextMatcher::exact(text)),
            Pattern::Regex(flag, text) => (flag, TextMatcher::regex(text)),
        };
        compiled.map_err(|error| VerifyError::Flag { flag, problem: one_line(&error) })
    };
    IdentityMatcher::new(matcher(issuer)?, matcher(subject)?, Vec::new())
        .map_err(|error| VerifyError::Policies(one_line(&error)))
}

/// The glob that covers every image.
pub(super) fn every_image() -> Result<ImageGlob, VerifyError> {
    ImageGlob::parse("**").map_err(|error| VerifyError::Policies(one_line(&error)))
}
