//! Which digests a policy judges: the one that the pod names, or those that an index lists; and the
//! configuration that its rules may ask for.
use std::sync::Arc;
use std::time::Instant;

use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream;
use serde_json::Map;
use serde_json::Value;

use super::gather::is_static;
use crate::evidence::FetchEvidence;
use crate::evidence::Part;
use crate::evidence::Tenant;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::contents;
use crate::image::contents::Contents;
use crate::image::contents::ContentsError;
use crate::image::contents::PlatformManifest;
use crate::policy::Platforms;
use crate::policy::Policy;
use crate::verdict::Failure;
use crate::verdict::PolicyReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;

/// Parts of one image that are read at once: an index has some ten manifests, and a registry should
/// not be asked for all of them in one breath.
const CONCURRENT_PARTS: usize = 4;

/// What a policy judges.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The digest.
    pub(super) digest: Digest,
    /// Its platform, where it is one of an index's manifests.
    pub(super) platform: Option<String>,
    /// The image's configuration by platform, where the rules ask for it.
    pub(super) config: Option<Value>,
}

impl Subject {
    /// The digest that the pod names.
    pub(super) const fn named(digest: Digest) -> Self {
        Self { digest, platform: None, config: None }
    }
}

/// Whether the policy asks for more of the image than its digest.
pub(super) fn asks_parts(policy: &Policy) -> bool {
    let judges = !policy.authorities.iter().all(is_static);
    (judges && policy.platforms != Platforms::Index) || asks_config(policy)
}

fn asks_config(policy: &Policy) -> bool {
    policy.rules.as_ref().is_some_and(|rules| rules.fetches_config())
}

/// What an image consists of, read once for all policies that ask.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    contents: Contents,
    /// The configurations by the digest of their manifest, each with its platform, where a policy
    /// asks for them: or why they cannot be had.
    configs: Result<Vec<(Digest, String, Value)>, Failure>,
}

/// Where an image is read from.
pub(super) struct Reader<'a, F> {
    /// The registry.
    pub(super) fetch: &'a F,
    /// Whose credentials are used.
    pub(super) tenant: &'a Tenant,
    /// The image.
    pub(super) image: &'a ImageRef,
    /// When it must be read.
    pub(super) by: Instant,
}

impl<F: FetchEvidence> Reader<'_, F> {
    /// Reads the manifest or index of a digest and, where one of the policies asks, the
    /// configuration of every platform.
    pub(super) async fn parts(
        &self,
        digest: Digest,
        policies: Vec<Arc<Policy>>,
    ) -> Result<Parts, Failure> {
        let contents = self.contents(&digest).await?;
        let configs = if policies.iter().any(|policy| asks_config(policy)) {
            self.configs(&digest, &contents).await
        } else {
            Ok(Vec::new())
        };
        Ok(Parts { contents, configs })
    }

    async fn contents(&self, digest: &Digest) -> Result<Contents, Failure> {
        let Self { fetch, tenant, image, by } = *self;
        let part = Part::Manifest(digest.clone());
        let bytes = fetch.read_for(tenant, image.repository(), &part, by).await?;
        contents::parse(&bytes).map_err(|error| unreadable(digest, &error))
    }

    async fn configs(
        &self,
        digest: &Digest,
        contents: &Contents,
    ) -> Result<Vec<(Digest, String, Value)>, Failure> {
        let listed = match contents {
            Contents::Manifest { config } => {
                return Ok(vec![self.config(digest.clone(), config.clone()).await?]);
            }
            Contents::Index(listed) => listed.clone(),
        };
        let read = |one: PlatformManifest| async move {
            let (digest, of_config, config) = self.config_of(one.digest).await?;
            // A node picks by what the index says.
            Ok((digest, one.platform.unwrap_or(of_config), config))
        };
        let reads: Vec<_> = listed.into_iter().map(read).collect();
        stream::iter(reads).buffered(CONCURRENT_PARTS).try_collect().await
    }

    async fn config_of(&self, manifest: Digest) -> Result<(Digest, String, Value), Failure> {
        match self.contents(&manifest).await? {
            Contents::Manifest { config } => self.config(manifest, config).await,
            Contents::Index(_) => {
                let found = format!("{manifest} is an index within the index");
                Err(Failure::new(Reason::ImageUnreadable, found))
            }
        }
    }

    async fn config(
        &self,
        manifest: Digest,
        config: Digest,
    ) -> Result<(Digest, String, Value), Failure> {
        let Self { fetch, tenant, image, by } = *self;
        let part = Part::Config(config);
        let bytes = fetch.read_for(tenant, image.repository(), &part, by).await?;
        let parsed = contents::parse_config(&bytes);
        let (platform, config) = parsed.map_err(|error| unreadable(&manifest, &error))?;
        Ok((manifest, platform, config))
    }
}

fn unreadable(digest: &Digest, error: &ContentsError) -> Failure {
    Failure::new(Reason::ImageUnreadable, format!("{digest}: {error}"))
}

/// What a policy judges of an image: never nothing.
pub(super) fn subjects(
    policy: &Policy,
    named: &Digest,
    parts: &Parts,
) -> Result<Vec<Subject>, Failure> {
    let listed = match &parts.contents {
        Contents::Index(listed) => listed.as_slice(),
        Contents::Manifest { .. } => &[],
    };
    let listed = listed.iter().map(|one| Subject {
        digest: one.digest.clone(),
        platform: Some(one.platform.clone().unwrap_or_else(|| "every platform".to_owned())),
        config: None,
    });
    let mut subjects: Vec<Subject> = match policy.platforms {
        Platforms::All if listed.len() > 0 => listed.collect(),
        Platforms::Any => std::iter::once(Subject::named(named.clone())).chain(listed).collect(),
        Platforms::All | Platforms::Index => vec![Subject::named(named.clone())],
    };
    if asks_config(policy) {
        let configs = parts.configs.as_ref().map_err(Clone::clone)?;
        for subject in &mut subjects {
            subject.config = Some(config_of(subject, named, configs)?);
        }
    }
    Ok(subjects)
}

/// The configurations that a subject stands for, by platform: all of them for the image itself.
///
/// Two manifests for one platform would hide one of their configurations behind the other.
fn config_of(
    subject: &Subject,
    named: &Digest,
    configs: &[(Digest, String, Value)],
) -> Result<Value, Failure> {
    let mut found = Map::new();
    for (digest, platform, config) in configs {
        if subject.digest != *named && subject.digest != *digest {
            continue;
        }
        if found.insert(platform.clone(), config.clone()).is_some() {
            let found = format!("two manifests have a configuration for {platform}");
            return Err(Failure::new(Reason::ImageUnreadable, found));
        }
    }
    if found.is_empty() {
        return Err(Failure::new(Reason::InternalError, "no configuration was read"));
    }
    Ok(Value::Object(found))
}

/// Several answers of one policy as one: the worst of all platforms', or the best of any.
///
/// `reports` are those of [`subjects`], in their order; of [`Platforms::Any`] those that were
/// judged before one was met.
pub(super) fn combine(
    policy: &Policy,
    reports: Vec<(Subject, PolicyReport)>,
) -> Option<PolicyReport> {
    let verdicts = reports.iter().map(|(_, report)| report.verdict);
    let verdict = match policy.platforms {
        Platforms::Any if verdicts.clone().any(|verdict| verdict == Verdict::Verified) => {
            Verdict::Verified
        }
        // What could still be decided may be the one that is enough.
        Platforms::Any => verdicts.min()?,
        Platforms::All | Platforms::Index => verdicts.max()?,
    };
    let mut combined: Option<PolicyReport> = None;
    let mut told = None;
    for (subject, report) in reports {
        let PolicyReport { verdict: one, failure, mut authorities, .. } = report.clone();
        if told.is_none() && one == verdict {
            told = failure.map(|failure| of_platform(failure, &subject));
        }
        for authority in &mut authorities {
            authority.platform = subject.platform.clone();
        }
        match &mut combined {
            Some(combined) => combined.authorities.extend(authorities),
            None => combined = Some(PolicyReport { authorities, ..report }),
        }
    }
    let combined = combined?;
    Some(PolicyReport { verdict, failure: told, ..combined })
}

/// The failure, naming the platform that it is about.
fn of_platform(failure: Failure, subject: &Subject) -> Failure {
    let Some(platform) = &subject.platform else { return failure };
    let Failure { reason, found, wanted } = failure;
    let found = if found.is_empty() { reason.meaning().to_owned() } else { found };
    let digest: String = subject.digest.to_string().chars().take("sha256:".len() + 12).collect();
    Failure::new(reason, format!("{platform} ({digest}): {found}")).wanted(wanted)
}
