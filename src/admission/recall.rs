//! Asking what is known before asking a registry.
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use jiff::Timestamp;

use super::Admission;
use super::Decision;
use super::Detail;
use super::Request;
use super::check;
use super::gather::is_static;
use super::gather::own_credentials;
use super::judge;
use super::judge::Judged;
use super::known::Key;
use super::known::Known;
use super::known::Origin;
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

mod spent;

use spent::Spent;

/// How long what is known waits for what is asked anew: a registry that answers does so in this time,
/// and its later answer counts for the next who asks.
const PATIENCE: Duration = Duration::from_millis(250);

/// One in so many times, whoever asks anew waits for as long as it may itself: what a registry takes
/// longer to say, and nobody can keep, would never count otherwise. While a registry is down, that
/// leaves the others with short waits.
const LONG_EVERY: u8 = 4;

/// What there is to know of a judgement before its answer may be kept. Clones share it.
#[derive(Clone, Debug, Default)]
pub(super) struct Oldest(Arc<Mutex<Noted>>);

#[derive(Debug, Default)]
struct Noted {
    /// When the oldest of the evidence was fetched.
    fetched: Option<Timestamp>,
    /// Whether something else than a registry gave some of it.
    second_hand: bool,
    /// Whether the answer would change by itself.
    fleeting: bool,
}

impl Oldest {
    /// Takes evidence into account.
    pub(super) fn note(&self, evidence: &[Vec<Arc<Evidence>>]) {
        let mut noted = self.noted();
        for kept in evidence.iter().flatten().filter_map(|one| one.kept.as_ref()) {
            let oldest = noted.fetched.map_or(kept.fetched, |before| before.min(kept.fetched));
            noted.fetched = Some(oldest);
            noted.second_hand |= kept.second_hand;
        }
    }

    /// Takes a judgement into account.
    pub(super) fn learn(&self, judged: &Judged) {
        self.noted().fleeting |= !judged.lasting;
    }

    /// Where it came from, a registry just now where none of it was kept; `None` where the answer is
    /// not to be kept.
    fn unless_fleeting(&self, now: Timestamp) -> Option<Origin> {
        let Noted { fetched, second_hand, fleeting } = *self.noted();
        let fetched = fetched.unwrap_or(now).min(now);
        (!fleeting).then_some(Origin { fetched, second_hand })
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

/// As many as [`About::places`] are at most, without looking at them.
fn most_places(policy: &Policy) -> usize {
    let of_authorities = policy.authorities.iter().map(|authority| authority.sources.len().max(1));
    of_authorities.sum::<usize>() + 1
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

/// Asking anew for what is known. Whoever is gone before that has come to its end leaves it to the next.
struct Claim<'a> {
    known: &'a Known,
    key: Key,
    count: u8,
    ended: bool,
}

impl<'a> Claim<'a> {
    /// `None` where it is not time, or somebody else asks.
    fn take(known: &'a Known, key: Key, now: Timestamp) -> Option<Self> {
        let count = known.claim(&key, now)?;
        Some(Self { known, key, count, ended: false })
    }

    /// Waits for what `judging` says, at most until `by`; `None` where it says nothing in time.
    async fn wait(
        mut self,
        judging: impl Future<Output = PolicyReport>,
        by: Instant,
    ) -> Option<PolicyReport> {
        let by = tokio::time::Instant::from(by);
        let until = match self.count.is_multiple_of(LONG_EVERY) {
            true => by,
            false => by.min(tokio::time::Instant::now() + PATIENCE),
        };
        let judged = tokio::time::timeout_at(until, judging).await.ok();
        self.ended = true;
        judged
    }
}

impl Drop for Claim<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.known.release(&self.key);
        }
    }
}

impl<F: FetchEvidence, L: SearchLog> Admission<F, L> {
    /// The decision that [`Self::admit`] would come to, where it needs to ask nobody and to verify
    /// nothing: every image names its digest, and every policy that applies is known to be met. `None`,
    /// too, where telling that would take long.
    pub fn admit_known(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
    ) -> Option<Decision> {
        let Request { workload, tenant, images, .. } = request;
        let workload = &snapshot.know_namespace(workload);
        let mut spent = Spent::default();
        let mut seen: HashMap<&str, (usize, Spent)> = HashMap::with_capacity(images.len());
        let mut reports: Vec<ImageReport> = Vec::with_capacity(images.len());
        for image in images {
            let report = match seen.get(image.text.as_str()) {
                Some((index, again)) => {
                    spent.spend(*again)?;
                    reports.get(*index)?.clone()
                }
                None => {
                    let before = spent;
                    let ask = (workload, tenant, now);
                    let report = self.recall_image(image, ask, snapshot, &mut spent)?;
                    seen.insert(&image.text, (reports.len(), spent.again(before)));
                    report
                }
            };
            reports.push(report);
        }
        let decision = self.decide(request, reports);
        // Of what is denied, everything is told: the pipeline does.
        (decision.allowed || self.detail == Detail::Steps).then_some(decision)
    }

    fn recall_image(
        &self,
        image: &ImageUse,
        (workload, tenant, now): (&Workload, &Tenant, Timestamp),
        snapshot: &PolicySnapshot,
        spent: &mut Spent,
    ) -> Option<ImageReport> {
        let image = image.image.as_ref().ok()?;
        let digest = image.digest()?;
        spent.spend(Spent { compared: snapshot.own_policies(workload), ..Spent::default() })?;
        let selected = snapshot.select(workload, image);
        spent.spend(Spent { reports: selected.len().max(1), ..Spent::default() })?;
        if selected.is_empty() {
            return Some(check::uncovered(image));
        }
        let about = About { image, digest, tenant, now };
        let recall = |state: &PolicyState| match state {
            PolicyState::Ready(policy) => self.recall_now(policy, about, spent),
            PolicyState::Invalid(_) => None,
        };
        let policies = selected.into_iter().map(recall).collect::<Option<_>>()?;
        Some(ImageReport::judged(image.to_string(), Some(digest.to_string()), policies))
    }

    /// What the policy says, where that is known and need not be asked anew.
    fn recall_now(
        &self,
        policy: &Policy,
        about: About<'_>,
        spent: &mut Spent,
    ) -> Option<PolicyReport> {
        let version = policy.version.as_ref()?;
        spent.spend(Spent { places: most_places(policy), ..Spent::default() })?;
        if policy.authorities.iter().all(is_static) {
            return Some(judge::judge_static(policy));
        }
        let key = about.key(version, &self.scopes_now(policy, about)?);
        let found = self.known.find(&key, about.now).filter(|found| !found.is_due())?;
        if self.detail == Detail::Verdicts {
            return Some(found.brief(policy));
        }
        spent.spend(Spent { bytes: found.bytes(), ..Spent::default() })?;
        Some(found.unpack(policy)?.report)
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
        let (report, known) = match self.known.get(&key, policy, about.now) {
            None => (judging.await, None),
            Some(Recalled { report, due: false, .. }) => return report,
            Some(Recalled { report: known, .. }) => {
                let Some(claim) = Claim::take(&self.known, key, about.now) else { return known };
                let Some(report) = claim.wait(judging, by).await else {
                    self.known.mark_stale(&key);
                    return known;
                };
                (report, Some(known))
            }
        };
        match (report.verdict, known) {
            (Verdict::Verified, _) => {
                // Were the credentials others meanwhile, it is not known whose opened what was judged.
                let same = self.scopes_now(policy, about).as_ref() == Some(&scopes);
                if let Some(origin) = oldest.unless_fleeting(about.now).filter(|_| same) {
                    self.known.insert(&key, policy, &report, origin);
                }
                report
            }
            // An outage takes nothing away. A defect is none: whoever can provoke one by what they push
            // must not keep a signature alive that was taken back.
            (Verdict::Indeterminate, Some(known)) if report.unavailable() => {
                self.known.mark_stale(&key);
                known
            }
            (Verdict::Indeterminate, _) => report,
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
