//! Which digests a policy judges: the one that the pod names, or those that an index lists; and the
//! configuration that its rules may ask for.
use std::pin::pin;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::TryStreamExt as _;
use futures::future::BoxFuture;
use futures::future::Shared;
use futures::stream;

use super::gather::is_static;
use crate::evidence::FetchEvidence;
use crate::evidence::OwnCredentials;
use crate::evidence::Part;
use crate::evidence::Tenant;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::contents;
use crate::image::contents::Contents;
use crate::image::contents::ContentsError;
use crate::image::contents::MAX_CONFIG_BYTES;
use crate::image::contents::PlatformManifest;
use crate::policy::OnUnavailable;
use crate::policy::Platforms;
use crate::policy::Policy;
use crate::policy::PolicyId;
use crate::verdict::Failure;
use crate::verdict::PolicyReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;

/// Manifests of one index that are read at once: an index has some ten, and a registry should not be
/// asked for all of them in one breath.
const CONCURRENT_PARTS: usize = 4;

/// Configurations, each with the platform that an index states for it.
pub(super) type Configs = Vec<(Option<String>, Bytes)>;

/// What a policy judges.
#[derive(Clone, Debug)]
pub(super) struct Subject {
    /// The digest.
    pub(super) digest: Digest,
    /// Its platform, where it is one of an index's manifests.
    pub(super) platform: Option<String>,
}

impl Subject {
    /// The digest that the pod names.
    pub(super) const fn named(digest: Digest) -> Self {
        Self { digest, platform: None }
    }
}

/// Whether the policy judges other digests than the one that the pod names.
pub(super) fn asks_platforms(policy: &Policy) -> bool {
    policy.platforms != Platforms::Index && !policy.authorities.iter().all(is_static)
}

/// Where an image is read from.
pub(super) struct Reader<'a, F> {
    /// The registry.
    pub(super) fetch: &'a F,
    /// Whose credentials are used.
    pub(super) tenant: &'a Tenant,
    /// The image.
    pub(super) image: &'a ImageRef,
    /// The digest that the pod names.
    pub(super) named: &'a Digest,
    /// When it must be read.
    pub(super) by: Instant,
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

type Reading<'a, T> = Shared<BoxFuture<'a, Result<T, Failure>>>;

/// What an image consists of: read when the first policy asks, and once for all of them.
#[derive(Clone)]
pub(super) struct Parts<'a> {
    named: &'a Digest,
    contents: Reading<'a, Contents>,
    /// The configurations as Tegata's own credentials open them, too.
    configs: Reading<'a, Arc<Vec<Config>>>,
    /// The configurations as the tenant's credentials alone open them.
    tenants_configs: Reading<'a, Arc<Vec<Config>>>,
}

impl<'a> Parts<'a> {
    /// Reads nothing yet.
    pub(super) fn new<F: FetchEvidence>(reader: &'a Reader<'a, F>) -> Self {
        let contents = reader.contents(reader.named, OwnCredentials::Used).boxed().shared();
        let configs = |own| {
            let contents = contents.clone();
            async move { reader.configs(&contents.await?, own).await.map(Arc::new) }
                .boxed()
                .shared()
        };
        let (with_own, tenants) =
            (configs(OwnCredentials::Used), configs(OwnCredentials::Withheld));
        Self { named: reader.named, contents, configs: with_own, tenants_configs: tenants }
    }

    /// What a policy judges of the image: never nothing.
    pub(super) async fn subjects(&self, policy: &Policy) -> Result<Vec<Subject>, Failure> {
        let named = Subject::named(self.named.clone());
        let listed = match self.contents.clone().await? {
            Contents::Index(listed) => listed,
            Contents::Manifest { .. } => return Ok(vec![named]),
        };
        let listed = listed.into_iter().map(|PlatformManifest { digest, platform }| Subject {
            digest,
            platform: Some(platform.unwrap_or_else(|| "every platform".to_owned())),
        });
        Ok(match policy.platforms {
            Platforms::All => listed.collect(),
            Platforms::Any => std::iter::once(named).chain(listed).collect(),
            Platforms::Index => vec![named],
        })
    }

    /// The configurations that a subject stands for: of the image itself, all of them.
    ///
    /// What a namespace's owners ask about them they could read off the answers bit by bit, so they
    /// see what their own credentials open.
    pub(super) async fn configs(
        &self,
        policy: &Policy,
        subject: &Subject,
    ) -> Result<Configs, Failure> {
        let configs = match policy.id {
            PolicyId::Cluster { .. } => self.configs.clone().await?,
            PolicyId::Namespaced { .. } => self.tenants_configs.clone().await?,
        };
        let of = |one: &&Config| [&one.manifest, self.named].contains(&&subject.digest);
        let found = configs.iter().filter(of);
        Ok(found.map(|one| (one.platform.clone(), one.bytes.clone())).collect())
    }
}

impl<F: FetchEvidence> Reader<'_, F> {
    async fn read(&self, part: Part, own: OwnCredentials) -> Result<Bytes, Failure> {
        let Self { fetch, tenant, image, by, named: _ } = *self;
        fetch.read_for(tenant, own, image.repository(), &part, by).await
    }

    async fn contents(&self, digest: &Digest, own: OwnCredentials) -> Result<Contents, Failure> {
        let bytes = self.read(Part::Manifest(digest.clone()), own).await?;
        contents::parse(&bytes).map_err(|error| unreadable(digest, &error))
    }

    async fn configs(
        &self,
        contents: &Contents,
        own: OwnCredentials,
    ) -> Result<Vec<Config>, Failure> {
        let named = self.named;
        let listed = match contents {
            Contents::Manifest { config } => {
                return Ok(vec![self.config(named.clone(), None, config.clone(), own).await?]);
            }
            Contents::Index(listed) => listed.clone(),
        };
        let read = |one: PlatformManifest| async move {
            match self.contents(&one.digest, own).await? {
                Contents::Manifest { config } => {
                    self.config(one.digest, one.platform, config, own).await
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
        own: OwnCredentials,
    ) -> Result<Config, Failure> {
        let bytes = self.read(Part::Config(config), own).await?;
        Ok(Config { manifest, platform, bytes })
    }
}

fn unreadable(digest: &Digest, error: &ContentsError) -> Failure {
    Failure::new(Reason::ImageUnreadable, format!("{digest}: {error}"))
}

/// Several answers of one policy as one: the worst of all platforms', or the best of any.
///
/// `reports` are those of [`Parts::subjects`], in their order, as far as they were judged before the
/// answer was clear.
pub(super) fn combine(
    policy: &Policy,
    reports: Vec<(Subject, PolicyReport)>,
) -> Option<PolicyReport> {
    let verdicts = reports.iter().map(|(_, report)| report.verdict);
    let verdict = match policy.platforms {
        // What could still be decided may be the one that is enough.
        Platforms::Any => verdicts.clone().min()?,
        Platforms::All | Platforms::Index => verdicts.clone().max()?,
    };
    let some_met = verdicts.clone().any(|verdict| verdict == Verdict::Verified);
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
    let told =
        told.map(|failure| if some_met { final_if_lenient(policy, failure) } else { failure });
    let verdict = told.as_ref().map_or(verdict, Failure::verdict);
    Some(PolicyReport { verdict, failure: told, ..combined })
}

/// Where a policy admits what cannot be decided, an index must not become undecidable by what is
/// attached to some of its platforms, when others could be judged: whoever may push could otherwise
/// use the time up and get the last one in.
fn final_if_lenient(policy: &Policy, failure: Failure) -> Failure {
    let spent = matches!(failure.reason, Reason::DeadlineExceeded | Reason::Overloaded);
    match policy.on_unavailable {
        OnUnavailable::Allow | OnUnavailable::Warn if spent => {
            Failure::new(Reason::EvidenceTooLarge, failure.found)
                .wanted("no more on all platforms together than can be read in the time")
        }
        OnUnavailable::Allow | OnUnavailable::Deny | OnUnavailable::Warn => failure,
    }
}

/// The failure, naming the platform that it is about.
fn of_platform(failure: Failure, subject: &Subject) -> Failure {
    let Some(platform) = &subject.platform else { return failure };
    let Failure { reason, found, wanted } = failure;
    let found = if found.is_empty() { reason.meaning().to_owned() } else { found };
    let digest: String = subject.digest.to_string().chars().take("sha256:".len() + 12).collect();
    Failure::new(reason, format!("{platform} ({digest}): {found}")).wanted(wanted)
}
