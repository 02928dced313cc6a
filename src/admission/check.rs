//! One image: which policies apply, what is attached to it, and what each policy says of that.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::join_all;
use jiff::Timestamp;

use super::Admission;
use super::facts::Facts;
use super::gather::Gathering;
use super::gather::is_static;
use super::judge;
use super::judge::Case;
use super::judge::Judged;
use super::lookup;
use super::lookup::Answers;
use super::recall::About;
use super::recall::Oldest;
use super::subjects;
use super::subjects::Parts;
use super::subjects::Reader;
use super::subjects::Subject;
use super::subjects::asks_platforms;
use crate::conditions::Budget;
use crate::evidence::Evidence;
use crate::evidence::FetchEvidence;
use crate::evidence::LogQuery;
use crate::evidence::SearchLog;
use crate::evidence::Tenant;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::policy::InvalidPolicy;
use crate::policy::Mode;
use crate::policy::OnUnavailable;
use crate::policy::Platforms;
use crate::policy::Policy;
use crate::policy::PolicyId;
use crate::policy::PolicySnapshot;
use crate::policy::PolicyState;
use crate::policy::Workload;
use crate::verdict::Failure;
use crate::verdict::ImageReport;
use crate::verdict::PolicyReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;

/// Kept of the time for verifying what was fetched, so that evidence which arrives late still gets
/// a verdict and its explanation.
const VERIFY_MARGIN: Duration = Duration::from_millis(250);

/// What a check needs besides the image.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// The object that names the image.
    pub workload: &'a Workload,
    /// Whose credentials are used.
    pub tenant: &'a Tenant,
    /// The policies.
    pub snapshot: &'a PolicySnapshot,
    /// The present.
    pub now: Timestamp,
    /// When the answer must be there.
    pub deadline: Instant,
    /// What a tag may be judged by.
    pub tags: Tags,
}

/// What a tag may be judged by.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tags {
    /// What it names now, and nothing else: whoever runs the image asks for the tag once more.
    Fresh,
    /// What it named before, too, while its registry does not answer: what was judged is what will
    /// run.
    MayBeOld,
}

/// A [`Case`] that can go to another thread.
#[derive(Clone)]
struct OwnedCase {
    subject: Subject,
    now: Timestamp,
    deadline: Instant,
    budget: Budget,
    /// The work that rules may do once more, over evidence that was asked for anew.
    budget_again: Budget,
    facts: Arc<Facts>,
    oldest: Oldest,
}

impl OwnedCase {
    fn borrow(&self) -> Case<'_> {
        let Self { subject, now, deadline, budget, budget_again: _, facts, oldest: _ } = self;
        let Subject { digest, platform: _ } = subject;
        Case { digest, now: *now, deadline: *deadline, budget, facts }
    }
}

impl<F: FetchEvidence, L: SearchLog> Admission<F, L> {
    /// Checks one image.
    pub async fn check_image(&self, image: &ImageRef, asked: Asked<'_>) -> ImageReport {
        let Asked { workload, tenant, snapshot, deadline, tags, .. } = asked;
        let mut selected = match image.digest() {
            Some(_) => snapshot.select(workload, image),
            None => snapshot.select_unresolved(workload, image),
        };
        if selected.is_empty() {
            return uncovered(image);
        }
        // Its own share first: whoever waits for that takes nothing from others.
        let _share = self.shares.wait(&workload.namespace).await;
        let _permit = self.checking.acquire().await;
        let fetch_by = deadline.checked_sub(VERIFY_MARGIN).unwrap_or(deadline);
        let digest = if selected.iter().any(|state| needs_digest(state, image)) {
            let resolved = match tags {
                Tags::Fresh => self.fetch.resolve_fresh_for(tenant, image, fetch_by).await,
                Tags::MayBeOld => self.fetch.resolve_for(tenant, image, fetch_by).await,
            };
            match resolved {
                Ok(digest) => Some(digest),
                Err(failure) => return unresolved(image, &selected, &failure),
            }
        } else {
            image.digest().cloned()
        };
        if let (None, Some(digest)) = (image.digest(), &digest) {
            selected = snapshot.select(workload, &image.with_digest(digest.clone()));
            if selected.is_empty() {
                return uncovered(image);
            }
        }
        let (ready, invalid) = split(&selected);
        let mut policies: Vec<PolicyReport> = invalid.into_iter().map(invalid_report).collect();
        policies.extend(self.judge_all(image, digest.as_ref(), ready, asked).await);
        ImageReport::judged(image.to_string(), digest.map(|digest| digest.to_string()), policies)
    }

    /// Judges each policy as soon as its own evidence is there: one whose source is slow must not
    /// leave the others without time.
    async fn judge_all(
        &self,
        image: &ImageRef,
        digest: Option<&Digest>,
        policies: Vec<Arc<Policy>>,
        asked: Asked<'_>,
    ) -> Vec<PolicyReport> {
        let Asked { tenant, now, deadline, .. } = asked;
        // A static authority alone needs no digest; its verdict does not depend on one.
        let digest = &digest.cloned().unwrap_or_else(|| Digest::sha256_of(b""));
        let by = deadline.checked_sub(VERIFY_MARGIN).unwrap_or(deadline);
        // Authorities and policies that look in the same place share what is found there.
        let gathering = &Gathering::new(&self.fetch, tenant, image, &policies, by);
        let reader = &Reader { fetch: &self.fetch, tenant, image, named: digest, by };
        let parts = &Parts::new(reader);
        let (shared, shared_again) = (Budget::default(), Budget::default());
        let judged: Vec<_> = policies
            .into_iter()
            .map(|policy| {
                // However many policies a namespace has, their rules cost no more than one's;
                // and they take nothing from the administrators'.
                let (budget, budget_again) = match policy.id {
                    PolicyId::Cluster { .. } => Default::default(),
                    PolicyId::Namespaced { .. } => (shared.clone(), shared_again.clone()),
                };
                let subject = Subject::named(digest.clone());
                let oldest = Oldest::default();
                let noted = oldest.clone();
                let facts = Arc::clone(&self.facts);
                let case =
                    OwnedCase { subject, now, deadline, budget, budget_again, facts, oldest };
                let asked = Arc::clone(&policy);
                let judging = if asks_platforms(&policy) {
                    self.judge_platforms(policy, gathering, parts, case).boxed()
                } else {
                    async move {
                        let judged = self.judge_found(&policy, gathering, case.clone()).await;
                        self.settle(&policy, judged, parts, case).await
                    }
                    .boxed()
                };
                let about = About { image, digest, tenant, now };
                async move { self.recall_or(&asked, about, (noted, by), judging).await }.boxed()
            })
            .collect();
        join_all(judged).await
    }

    /// Judges the digests that a policy asks for: all of them, or until one is enough. One after the
    /// other, because each may have as much evidence as an image may.
    async fn judge_platforms(
        &self,
        policy: Arc<Policy>,
        gathering: &Gathering<'_, F>,
        parts: &Parts<'_>,
        case: OwnedCase,
    ) -> PolicyReport {
        let subjects = match parts.subjects(&policy).await {
            Ok(subjects) => subjects,
            Err(failure) => return policy_report(&policy, failure),
        };
        let any = policy.platforms == Platforms::Any;
        let (mut settled, mut open) = (Vec::new(), Vec::new());
        for subject in subjects {
            let case = OwnedCase { subject: subject.clone(), ..case.clone() };
            let judged = self.judge_found(&policy, gathering, case.clone()).await;
            let rejected = judged.report.verdict == Verdict::Rejected;
            if !any {
                open.push((judged, case));
                if rejected {
                    break;
                }
                continue;
            }
            let report = self.settle(&policy, judged, parts, case).await;
            let met = report.verdict == Verdict::Verified;
            settled.push((subject, report));
            if met {
                break;
            }
        }
        // Where one is not met, the rules over the others change nothing.
        let all_met = open.iter().all(|(one, _)| one.report.verdict == Verdict::Verified);
        for (judged, case) in open {
            let subject = case.subject.clone();
            let report = if all_met {
                self.settle(&policy, judged, parts, case).await
            } else {
                judged.report
            };
            settled.push((subject, report));
        }
        subjects::combine(&policy, settled).unwrap_or_else(|| {
            let failure = Failure::new(Reason::InternalError, "the image has no digest to judge");
            policy_report(&policy, failure)
        })
    }

    /// Asks what is left of a policy: its rules over the image's configuration.
    async fn settle(
        &self,
        policy: &Arc<Policy>,
        judged: Judged,
        parts: &Parts<'_>,
        case: OwnedCase,
    ) -> PolicyReport {
        let Judged { report, open, .. } = judged;
        let Some(open) = open else { return report };
        let asked = match parts.configs(policy, &case.subject).await {
            Ok(configs) => {
                let by = Arc::clone(policy);
                let ask = move || judge::settle(&by, open, &configs, case.borrow());
                self.off_thread(ask).await.and_then(|asked| asked)
            }
            Err(failure) => Err(failure),
        };
        match asked {
            Ok(()) => report,
            Err(failure) => {
                PolicyReport { verdict: failure.verdict(), failure: Some(failure), ..report }
            }
        }
    }

    /// Judges one policy by what is found for it. Where that was kept, and is not enough, the places are
    /// asked anew: a signature may have come since, and what was kept may have been tampered with.
    async fn judge_found(
        &self,
        policy: &Arc<Policy>,
        gathering: &Gathering<'_, F>,
        case: OwnedCase,
    ) -> Judged {
        let evidence = gathering.evidence(policy, &case.subject.digest).await;
        let judged = self.judge(policy, evidence.clone(), case.clone()).await;
        if judged.report.verdict == Verdict::Verified {
            return judged;
        }
        let Some(fresh) = gathering.again(policy, &evidence).await else { return judged };
        let case = OwnedCase { budget: case.budget_again.clone(), ..case };
        self.judge(policy, fresh, case).await
    }

    /// Judges one policy off the async threads; as many at a time as there are processors.
    async fn judge(
        &self,
        policy: &Arc<Policy>,
        evidence: Vec<Vec<Arc<Evidence>>>,
        case: OwnedCase,
    ) -> Judged {
        case.oldest.note(&evidence);
        let evidence = Arc::new(evidence);
        let oldest = case.oldest.clone();
        let looked_up = self.look_up(policy, &evidence, &case).await;
        let (judged, asked) = match looked_up {
            Err(failure) => (Err(failure), BTreeSet::new()),
            Ok((answers, asked)) => {
                let by = Arc::clone(policy);
                let judge = move || judge::judge(&by, &evidence, &answers, case.borrow());
                (self.off_thread(judge).await, asked)
            }
        };
        let judged = judged.unwrap_or_else(|failure| Judged {
            report: policy_report(policy, failure),
            open: None,
            lasting: false,
        });
        oldest.learn(&judged);
        if judged.report.verdict != Verdict::Verified {
            lookup::doubt(&self.log, &asked).await;
        }
        judged
    }

    /// Asks the logs of a policy for the entries that signatures lack; what they answered, and what
    /// they were asked.
    async fn look_up(
        &self,
        policy: &Arc<Policy>,
        evidence: &Arc<Vec<Vec<Arc<Evidence>>>>,
        case: &OwnedCase,
    ) -> Result<(Answers, BTreeSet<LogQuery>), Failure> {
        if !lookup::asks_logs(policy) {
            return Ok(Default::default());
        }
        let deadline = case.deadline;
        let (judged, found, case) = (Arc::clone(policy), Arc::clone(evidence), case.clone());
        let queries = move || lookup::queries(&judged, &found, case.borrow());
        let queries = self.off_thread(queries).await?;
        let by = deadline.checked_sub(VERIFY_MARGIN).unwrap_or(deadline);
        let asked = lookup::asked(&queries);
        Ok((lookup::search(&self.log, queries, by).await, asked))
    }

    /// Does what takes a processor, off the async threads.
    async fn off_thread<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, Failure> {
        let permit = self.verifying.clone().acquire_owned().await;
        let done = tokio::task::spawn_blocking(move || {
            // It goes along, so that work which outlives its request still counts.
            let _permit = permit;
            work()
        });
        done.await
            .map_err(|error| Failure::new(Reason::InternalError, format!("verification: {error}")))
    }
}

/// Whether the answer of a policy, or whether it applies at all, depends on the image's digest.
fn needs_digest(state: &PolicyState, image: &ImageRef) -> bool {
    let asks = match state {
        PolicyState::Ready(policy) => {
            policy.rules.is_some() || !policy.authorities.iter().all(is_static)
        }
        PolicyState::Invalid(_) => false,
    };
    asks || !state.scope().covers_image(image)
}

fn split<'a>(states: &[&'a PolicyState]) -> (Vec<Arc<Policy>>, Vec<&'a InvalidPolicy>) {
    let mut ready = Vec::new();
    let mut invalid = Vec::new();
    for state in states {
        match state {
            PolicyState::Ready(policy) => ready.push(Arc::clone(policy)),
            PolicyState::Invalid(policy) => invalid.push(&**policy),
        }
    }
    (ready, invalid)
}

pub(super) fn uncovered(image: &ImageRef) -> ImageReport {
    ImageReport::failed(image.to_string(), not_covered())
}

fn not_covered() -> Failure {
    Failure::new(Reason::PolicyNone, "no policy applies to this image")
        .wanted("a policy whose images, match and namespaces cover it")
}

/// A text that names no image: each policy that applies whatever the image answers that by its own
/// settings. Where there is none, nothing is covered.
pub(super) fn undecided(image: String, selected: &[&PolicyState], failure: Failure) -> ImageReport {
    if selected.is_empty() {
        return ImageReport::failed(image, not_covered());
    }
    let report = |state: &&PolicyState| match state {
        PolicyState::Invalid(policy) => invalid_report(policy),
        PolicyState::Ready(policy) => policy_report(policy, failure.clone()),
    };
    ImageReport::judged(image, None, selected.iter().map(report).collect())
}

/// The registry could not say which image it is: each policy answers that by its own settings,
/// unless its answer is the same for every digest.
fn unresolved(image: &ImageRef, selected: &[&PolicyState], failure: &Failure) -> ImageReport {
    let report = |state: &&PolicyState| match state {
        PolicyState::Invalid(policy) => invalid_report(policy),
        PolicyState::Ready(policy) if needs_digest(state, image) => {
            policy_report(policy, failure.clone())
        }
        PolicyState::Ready(policy) => judge::judge_static(policy),
    };
    ImageReport::judged(image.to_string(), None, selected.iter().map(report).collect())
}

fn policy_report(policy: &Policy, failure: Failure) -> PolicyReport {
    PolicyReport {
        stale: false,
        policy: policy.id.to_string(),
        mode: policy.mode,
        verdict: failure.verdict(),
        on_unavailable: policy.on_unavailable,
        failure: Some(failure),
        authorities: Vec::new(),
    }
}

/// An unusable policy denies what it matches: its mode may be what could not be read.
fn invalid_report(policy: &InvalidPolicy) -> PolicyReport {
    let failure = Failure::new(Reason::PolicyInvalid, &policy.problem);
    PolicyReport {
        stale: false,
        policy: policy.id.to_string(),
        mode: Mode::Enforce,
        verdict: failure.verdict(),
        on_unavailable: OnUnavailable::Deny,
        failure: Some(failure),
        authorities: Vec::new(),
    }
}
