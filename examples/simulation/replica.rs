//! A replica of Tegata: the store, and what the pipeline asks of it for a pod.
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use jiff::Timestamp;
use tegata::evidence::Evidence;
use tegata::evidence::EvidenceQuery;
use tegata::evidence::FetchEvidence;
use tegata::evidence::OwnCredentials;
use tegata::evidence::Tenant;
use tegata::image::Digest;
use tegata::image::ImageRef;
use tegata::store::Clock;
use tegata::store::Stored;
use tegata::store::Tiers;
use tegata::store::Usage;
use tegata::verdict::Failure;
use tegata::verdict::Verdict;
use tokio::time::Instant;

use crate::client::Awaited;
use crate::client::Client;
use crate::client::is_signature;
use crate::day::Pod;
use crate::run::Setup;
use crate::servers::Servers;

/// What is left of the ten seconds that an API server waits after the server's margin and what is
/// kept back for verifying.
const TIME: Duration = Duration::from_millis(9_250);

const OWN: OwnCredentials = OwnCredentials::Used;

/// Where evidence comes from.
#[derive(Debug)]
enum Source {
    /// Each time from the registry.
    Bare(Box<Client>),
    Kept(Stored<Client>),
}

/// One process.
#[derive(Debug)]
pub(crate) struct Replica {
    source: Source,
    awaited: Awaited,
    clock: Clock,
}

/// What came of one container's image.
#[derive(Clone, Debug)]
pub(crate) struct Checked {
    /// What its tag stood for, or the digest that the pod names; `None` where a tag could not be read.
    pub(crate) digest: Option<Digest>,
    pub(crate) verdict: Verdict,
    /// How old the evidence was that decided.
    pub(crate) age: Duration,
}

impl Replica {
    /// One that has just started; without settings it keeps nothing.
    pub(crate) fn start(servers: &Arc<Servers>, setup: &Setup, tiers: Tiers) -> Self {
        let awaited = Awaited::default();
        let client = Client::new(servers, &awaited, setup.per_second);
        let clock = Clock::starting_at(Timestamp::UNIX_EPOCH + servers.now());
        let source = match setup.settings {
            Some(settings) => Source::Kept(Stored::new(client, settings, tiers, clock)),
            None => Source::Bare(Box::new(client)),
        };
        Self { source, awaited, clock }
    }

    pub(crate) async fn held(&self) -> Usage {
        match &self.source {
            Source::Bare(_) => Usage::default(),
            Source::Kept(store) => store.usage().await,
        }
    }

    /// Checks a pod's images beside each other.
    pub(crate) async fn admit(&self, pod: &Pod) -> Vec<Checked> {
        let Pod { workload, image, sidecar, .. } = pod;
        let named = workload.tag.as_ref().unwrap_or(&image.name);
        let named = [Some(named), sidecar.as_ref().map(|image| &image.name)];
        let checks = named.into_iter().flatten().map(|name| self.check(&workload.tenant, name));
        join_all(checks).await
    }

    async fn check(&self, tenant: &Tenant, name: &ImageRef) -> Checked {
        match &self.source {
            Source::Bare(client) => self.check_by(&**client, tenant, name).await,
            Source::Kept(store) => self.check_by(store, tenant, name).await,
        }
    }

    /// The pipeline's way from a name to a verdict, with one signature in place of policies.
    async fn check_by<F: FetchEvidence>(
        &self,
        fetch: &F,
        tenant: &Tenant,
        name: &ImageRef,
    ) -> Checked {
        let by = (Instant::now() + TIME).into_std();
        let digest = match name.digest() {
            Some(digest) => digest.clone(),
            None => match fetch.resolve_for(tenant, name, by).await {
                Ok(digest) => digest,
                Err(failure) => return unresolved(&failure),
            },
        };
        let query = EvidenceQuery {
            repository: name.repository().clone(),
            digest: digest.clone(),
            tag_prefix: String::new(),
            attestations: false,
        };
        let _wait = self.awaited.wait(&digest);
        let mut evidence = fetch.fetch_for(tenant, OWN, &query, by).await;
        let mut verdict = judge(&evidence, &digest);
        if verdict != Verdict::Verified
            && let Some(fresh) = fetch.fetch_again(tenant, OWN, &evidence, by).await
        {
            (verdict, evidence) = (judge(&fresh, &digest), fresh);
        }
        Checked { digest: Some(digest), verdict, age: self.age(&evidence) }
    }

    /// How long ago the registry gave it.
    fn age(&self, evidence: &Evidence) -> Duration {
        let fetched = evidence.kept.as_ref().map(|kept| kept.fetched);
        let age = fetched.map(|fetched| self.clock.now().duration_since(fetched));
        age.and_then(|age| Duration::try_from(age).ok()).unwrap_or_default()
    }
}

fn unresolved(failure: &Failure) -> Checked {
    Checked { digest: None, verdict: failure.verdict(), age: Duration::ZERO }
}

/// A signature is enough; a place that could not be read leaves open whether there is one.
fn judge(evidence: &Evidence, digest: &Digest) -> Verdict {
    let Evidence { candidates, problems, .. } = evidence;
    let failures = candidates.iter().filter_map(|candidate| candidate.content.as_ref().err());
    let failures = failures.chain(problems.iter().map(|problem| &problem.failure));
    let mut verdicts = failures.map(Failure::verdict);
    if candidates.iter().any(|candidate| is_signature(candidate, digest)) {
        return Verdict::Verified;
    }
    match verdicts.any(|verdict| verdict == Verdict::Indeterminate) {
        true => Verdict::Indeterminate,
        false => Verdict::Rejected,
    }
}
