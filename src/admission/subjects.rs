//! Which digests a policy judges: the one that the pod names, or those that an index lists; and the
//! configuration that its rules may ask for.
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::stream;

use super::gather::is_static;
use crate::evidence::FetchEvidence;
use crate::evidence::Part;
use crate::evidence::Tenant;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::contents;
use crate::image::contents::Contents;
use crate::image::contents::ContentsError;
use crate::image::contents::MAX_CONFIG_BYTES;
use crate::image::contents::PlatformManifest;
use crate::policy::Platforms;
use crate::policy::Policy;
use crate::verdict::Failure;
use crate::verdict::PolicyReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;

/// Manifests of one index that are read at once. They are held whole until they are parsed, and two
/// of the largest take two thirds of what all answers together may.
const CONCURRENT_PARTS: usize = 2;

/// Configurations, each with the platform that an index states for it.
pub(super) type Configs = Vec<(Option<String>, Bytes)>;

/// What a policy judges.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The digest.
    pub(super) digest: Digest,
    /// Its platform, where it is one of an index's manifests.
    pub(super) platform: Option<String>,
    /// The image's configurations with the platforms that the index states for them, where the rules
    /// ask: not parsed before the signatures are verified.
    pub(super) configs: Option<Configs>,
}

impl Subject {
    /// The digest that the pod names.
    pub(super) const fn named(digest: Digest) -> Self {
        Self { digest, platform: None, configs: None }
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
    /// The configurations where a policy asks for them, or why they cannot be had.
    configs: Result<Vec<Config>, Failure>,
}

/// One configuration.
#[derive(Clone, Debug)]
struct Config {
    /// The digest of the manifest that it belongs to.
    manifest: Digest,
    /// The platform that the index states.
    platform: Option<String>,
    bytes: Bytes,
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

    async fn configs(&self, named: &Digest, contents: &Contents) -> Result<Vec<Config>, Failure> {
        let listed = match contents {
            Contents::Manifest { config } => {
                return Ok(vec![self.config(named.clone(), None, config.clone()).await?]);
            }
            Contents::Index(listed) => listed.clone(),
        };
        let read = |one: PlatformManifest| async move {
            match self.contents(&one.digest).await? {
                Contents::Manifest { config } => {
                    self.config(one.digest, one.platform, config).await
                }
                Contents::Index(_) => {
                    let found = format!("{} is an index within the index", one.digest);
                    Err(Failure::new(Reason::ImageUnreadable, found))
                }
            }
        };
        let mut read = pin!(stream::iter(listed).map(read).buffered(CONCURRENT_PARTS));
        let (mut configs, mut bytes) = (Vec::new(), 0);
        while let Some(config) = read.try_next().await? {
            bytes += config.bytes.len();
            if bytes > MAX_CONFIG_BYTES {
                let found = format!("{named}: configurations of {bytes} bytes and more");
                let wanted = format!("at most {MAX_CONFIG_BYTES} for all platforms");
                return Err(Failure::new(Reason::ImageUnreadable, found).wanted(wanted));
            }
            configs.push(config);
        }
        Ok(configs)
    }

    async fn config(
        &self,
        manifest: Digest,
        platform: Option<String>,
        config: Digest,
    ) -> Result<Config, Failure> {
        let Self { fetch, tenant, image, by } = *self;
        let part = Part::Config(config);
        let bytes = fetch.read_for(tenant, image.repository(), &part, by).await?;
        Ok(Config { manifest, platform, bytes })
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
        configs: None,
    });
    let mut subjects: Vec<Subject> = match policy.platforms {
        Platforms::All if listed.len() > 0 => listed.collect(),
        Platforms::Any => std::iter::once(Subject::named(named.clone())).chain(listed).collect(),
        Platforms::All | Platforms::Index => vec![Subject::named(named.clone())],
    };
    if asks_config(policy) {
        let configs = parts.configs.as_ref().map_err(Clone::clone)?;
        for subject in &mut subjects {
            // The image itself stands for all of them.
            let of = |one: &&Config| [&one.manifest, named].contains(&&subject.digest);
            let found = configs.iter().filter(of);
            let found = found.map(|one| (one.platform.clone(), one.bytes.clone()));
            subject.configs = Some(found.collect());
        }
    }
    Ok(subjects)
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
