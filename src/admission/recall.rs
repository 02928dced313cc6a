//! Asking what is known before asking a registry.
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;

use super::Admission;
use super::Decision;
use super::Request;
use super::check;
use super::gather::is_static;
use super::gather::own_credentials;
use super::judge;
use super::judge::Judged;
use super::known::Key;
use super::known::Recalled;
use super::subjects::asks_platforms;
use crate::evidence::Evidence;
use crate::evidence::FetchEvidence;
use crate::evidence::OwnCredentials;
use crate::evidence::Scope;
use crate::evidence::SearchLog;
use crate::evidence::Tenant;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::ImageUse;
use crate::image::Repository;
use crate::policy::Policy;
use crate::policy::PolicySnapshot;
use crate::policy::PolicyState;
use crate::policy::Version;
use crate::policy::Workload;
use crate::verdict::ImageReport;
use crate::verdict::PolicyReport;
use crate::verdict::Verdict;

/// How long what is known waits for what is asked anew: a registry that answers does so in this time,
/// and its later answer counts for the next who asks.
const PATIENCE: Duration = Duration::from_millis(250);

/// What there is to know of a judgement before its answer may be kept. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Oldest(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    /// When the oldest of the evidence was fetched.
    fetched: Option<Timestamp>,
    /// Whether the answer would change by itself.
    fleeting: bool,
}

impl Oldest {
    /// Takes evidence into account.
    pub(super) fn note(&self, evidence: &[Vec<Arc<Evidence>>]) {
        let kept = evidence.iter().flatten().filter_map(|one| one.kept.as_ref());
        let Some(oldest) = kept.map(|kept| kept.fetched).min() else { return };
        let before = &mut self.noted().fetched;
        *before = Some(before.map_or(oldest, |before| before.min(oldest)));
    }

    /// Takes a judgement into account.
    pub(super) fn learn(&self, judged: &Judged) {
        self.noted().fleeting |= !judged.lasting;
    }

    /// When it was fetched, just now where none of it was kept; `None` where the answer is not to be
    /// kept.
    fn unless_fleeting(&self, now: Timestamp) -> Option<Timestamp> {
        let noted = self.noted();
        (!noted.fleeting).then(|| noted.fetched.unwrap_or(now).min(now))
    }

    fn noted(&self) -> MutexGuard<'_, Noted> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A policy's question about an image.
#[derive(Clone, Copy, Debug)]
pub(super) struct About<'a> {
    /// The image.
    pub(super) image: &'a ImageRef,
    /// The digest that is judged.
    pub(super) digest: &'a Digest,
    /// Whose credentials are used.
    pub(super) tenant: &'a Tenant,
    /// The present.
    pub(super) now: Timestamp,
}

impl<'a> About<'a> {
    fn key(self, version: &Version, scopes: &[Scope]) -> Key {
        Key::new(version, self.digest, self.image.repository(), scopes)
    }

    /// Where the policy looks, and whose credentials open it; each once.
    fn places(self, policy: &'a Policy) -> Vec<(&'a Repository, OwnCredentials)> {
        let of_image = self.image.repository();
        let mut places = Vec::with_capacity(1);
        let mut add = |place| {
            if !places.contains(&place) {
                places.push(place);
            }
        };
        if asks_platforms(policy) {
            add((of_image, OwnCredentials::Used));
        }
        for authority in policy.authorities.iter().filter(|authority| !is_static(authority)) {
            let own = own_credentials(&policy.id, authority);
            if authority.sources.is_empty() {
                add((of_image, own));
            }
            for source in &authority.sources {
                add((source.repository.as_ref().unwrap_or(of_image), own));
            }
        }
        places
    }
}

impl<F: FetchEvidence, L: SearchLog> Admission<F, L> {
    /// The decision that [`Self::admit`] would come to, where it needs to ask nobody and to verify
    /// nothing: every image names its digest, and every policy that applies is known to be met.
    pub fn admit_known(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
    ) -> Option<Decision> {
        let Request { workload, tenant, images, .. } = request;
        let workload = &snapshot.know_namespace(workload);
        let report = |image: &ImageUse| self.recall_image(image, workload, tenant, snapshot, now);
        let reports: Vec<ImageReport> = images.iter().map(report).collect::<Option<_>>()?;
        Some(self.decide(request, reports))
    }

    fn recall_image(
        &self,
        image: &ImageUse,
        workload: &Workload,
        tenant: &Tenant,
        snapshot: &PolicySnapshot,
        now: Timestamp,
    ) -> Option<ImageReport> {
        let image = image.image.as_ref().ok()?;
        let digest = image.digest()?;
        let selected = snapshot.select(workload, image);
        if selected.is_empty() {
            return Some(check::uncovered(image));
        }
        let about = About { image, digest, tenant, now };
        let recall = |state: &PolicyState| match state {
            PolicyState::Ready(policy) => self.recall_now(policy, about),
            PolicyState::Invalid(_) => None,
        };
        let policies = selected.into_iter().map(recall).collect::<Option<_>>()?;
        Some(ImageReport::judged(image.to_string(), Some(digest.to_string()), policies))
    }

    /// What the policy says, where that is known and need not be asked anew.
    fn recall_now(&self, policy: &Policy, about: About<'_>) -> Option<PolicyReport> {
        let version = policy.version.as_ref()?;
        if policy.authorities.iter().all(is_static) {
            return Some(judge::judge_static(policy));
        }
        let key = about.key(version, &self.scopes_now(policy, about)?);
        let Recalled { report, due, fetched: _ } = self.known.get(&key, policy, about.now)?;
        (!due).then_some(report)
    }

    /// What the policy says, from what is known of it; `judging` is asked where nothing is, or where
    /// it is time to. What is known stands as long as that cannot be decided.
    pub(super) async fn recall_or(
        &self,
        policy: &Policy,
        about: About<'_>,
        (oldest, by): (Oldest, Instant),
        judging: impl Future<Output = PolicyReport>,
    ) -> PolicyReport {
        let Some(version) = policy.version.as_ref() else { return judging.await };
        if policy.authorities.iter().all(is_static) {
            return judging.await;
        }
        let scopes = self.scopes(policy, about, by).await;
        let key = about.key(version, &scopes);
        let known = match self.known.get(&key, policy, about.now) {
            Some(known) if !known.due || !self.known.claim(&key, about.now) => return known.report,
            known => known.map(|known| known.report),
        };
        let report = match &known {
            None => judging.await,
            Some(known) => match tokio::time::timeout(PATIENCE, judging).await {
                Ok(report) => report,
                Err(_) => {
                    self.known.mark_stale(&key);
                    return known.clone();
                }
            },
        };
        match (report.verdict, known) {
            (Verdict::Verified, _) => {
                // Were the credentials others meanwhile, it is not known whose opened what was judged.
                let same = self.scopes_now(policy, about).as_ref() == Some(&scopes);
                if let Some(fetched) = oldest.unless_fleeting(about.now).filter(|_| same) {
                    self.known.insert(&key, policy, &report, fetched);
                }
                report
            }
            (Verdict::Indeterminate, Some(known)) => {
                self.known.mark_stale(&key);
                known
            }
            (Verdict::Indeterminate, None) => report,
            (Verdict::Rejected, _) => {
                self.known.remove(&key);
                report
            }
        }
    }

    async fn scopes(&self, policy: &Policy, about: About<'_>, by: Instant) -> Vec<Scope> {
        let mut scopes = Vec::new();
        for (repository, own) in about.places(policy) {
            scopes.push(self.fetch.scope(about.tenant, own, repository, by).await);
        }
        scopes
    }

    fn scopes_now(&self, policy: &Policy, about: About<'_>) -> Option<Vec<Scope>> {
        let places = about.places(policy).into_iter();
        places
            .map(|(repository, own)| self.fetch.scope_now(about.tenant, own, repository))
            .collect()
    }
}
