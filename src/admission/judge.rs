//! One policy against the evidence for one image: pure.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use super::facts::Facts;
use super::lookup::Answers;
use super::subjects::Configs;
use crate::conditions;
use crate::conditions::Budget;
use crate::evidence::Evidence;
use crate::evidence::LookedUp;
use crate::image::Digest;
use crate::image::contents;
use crate::policy::Authority;
use crate::policy::Policy;
use crate::policy::Signer;
use crate::policy::evaluate;
use crate::verdict::AuthorityReport;
use crate::verdict::Failure;
use crate::verdict::PolicyReport;
use crate::verdict::Reason;
use crate::verdict::SignatureReport;
use crate::verdict::SignerReport;
use crate::verdict::Verdict;

mod matches;
mod search;

use search::Made;

pub(super) use matches::Matches;
pub(super) use search::Search;
pub(super) use search::Wanted;
pub(super) use search::candidates;

/// What a judgement is made on, besides policy and evidence.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    /// The image.
    pub(super) digest: &'a Digest,
    /// The present.
    pub(super) now: Timestamp,
    /// After this, no further signature is verified.
    pub(super) deadline: Instant,
    /// The work that rules over the image may still do.
    pub(super) budget: &'a Budget,
    /// What was verified before.
    pub(super) facts: &'a Facts,
}

/// What was found for one authority.
#[derive(Clone, Copy)]
pub(super) struct Found<'a> {
    /// What its places gave.
    pub(super) evidence: &'a [Arc<Evidence>],
    /// What a log said of a candidate, by its place among [`candidates`].
    pub(super) looked_up: &'a dyn Fn(usize) -> &'a LookedUp,
}

/// What a policy says, and the rules that it still has to be asked.
pub(super) struct Judged {
    /// The answer, as far as it goes.
    pub(super) report: PolicyReport,
    /// All that was verified, where the authorities are met and rules want the image's configuration
    /// besides: [`settle`] asks them. It is not read before, so that whoever may push an image cannot
    /// use up time and memory without a signature.
    pub(super) open: Option<Matches>,
}

/// Judges one policy. `evidence` holds, for every authority, what its places gave; `answers`, for
/// every candidate whose log entry was looked up, what came of it.
pub(super) fn judge(
    policy: &Policy,
    evidence: &[Vec<Arc<Evidence>>],
    answers: &Answers,
    case: Case<'_>,
) -> Judged {
    let mut authorities = Vec::new();
    let mut signers = BTreeMap::new();
    let mut matches = Matches::new(policy.rules.is_some());
    for (index, authority) in policy.authorities.iter().enumerate() {
        let found = evidence.get(index).map_or(&[][..], Vec::as_slice);
        let looked_up = |candidate| answers.get(&(index, candidate)).unwrap_or(&LookedUp::NotAsked);
        let found = Found { evidence: found, looked_up: &looked_up };
        let (report, verified) =
            judge_authority(authority, found, case, policy.threshold, &mut matches);
        if report.verdict == Verdict::Verified {
            signers.insert(index, verified);
        }
        authorities.push(report);
    }
    let unmet = evaluate::threshold(policy, &signers).err().map(|unmet| {
        let met = evaluate::distinct_signers(policy, &signers);
        explain(unmet, policy.threshold.get(), met, &authorities)
    });
    let (failure, open) = match (unmet, &policy.rules) {
        (Some(unmet), _) => (Some(unmet), None),
        (None, None) => (None, None),
        (None, Some(rules)) if rules.fetches_config() => (None, Some(matches)),
        (None, Some(rules)) => {
            let input = matches.input(None);
            (conditions::evaluate_policy(rules, &input, case.now, case.budget).err(), None)
        }
    };
    let report = PolicyReport {
        policy: policy.id.to_string(),
        mode: policy.mode,
        verdict: failure.as_ref().map_or(Verdict::Verified, Failure::verdict),
        on_unavailable: policy.on_unavailable,
        failure,
        authorities,
    };
    Judged { report, open }
}

/// Asks the rules over all that was verified, and over the image's configuration.
pub(super) fn settle(
    policy: &Policy,
    open: Matches,
    configs: &Configs,
    case: Case<'_>,
) -> Result<(), Failure> {
    let Some(rules) = &policy.rules else {
        return Err(Failure::new(Reason::InternalError, "a policy without the rules it had"));
    };
    let config = contents::parse_configs(configs).map_err(|error| {
        Failure::new(Reason::ImageUnreadable, format!("{}: {error}", case.digest))
    })?;
    conditions::evaluate_policy(rules, &open.input(Some(config)), case.now, case.budget)
}

/// Judges a policy of static authorities alone: neither image nor time changes its answer.
pub(super) fn judge_static(policy: &Policy) -> PolicyReport {
    let digest = &Digest::sha256_of(b"");
    let (now, deadline, budget) = (Timestamp::UNIX_EPOCH, Instant::now(), &Budget::default());
    let facts = &Facts::default();
    let case = Case { digest, now, deadline, budget, facts };
    let Judged { report, open } = judge(policy, &[], &Answers::new(), case);
    // Rules are not asked without an image, and none of a policy that has some is judged here.
    if open.is_none() {
        return report;
    }
    let failure = Failure::new(Reason::InternalError, "rules without an image");
    PolicyReport { verdict: failure.verdict(), failure: Some(failure), ..report }
}

/// What to tell about an unmet policy: what could still be decided otherwise, if that would meet
/// it; with one signer asked for, the authority that got furthest; else the count.
///
/// `met` counts signers, not authorities: one signer under two of them leaves as many to find.
fn explain(
    unmet: Failure,
    threshold: usize,
    met: usize,
    authorities: &[AuthorityReport],
) -> Failure {
    let open = authorities.iter().filter(|one| one.verdict == Verdict::Indeterminate).count();
    let of = |verdict| {
        let failures = authorities.iter().filter(|authority| authority.verdict == verdict);
        furthest(failures.filter_map(|authority| authority.failure.as_ref()))
    };
    if open > 0 && met + open >= threshold {
        return of(Verdict::Indeterminate).cloned().unwrap_or(unmet);
    }
    if threshold > 1 {
        return unmet;
    }
    of(Verdict::Rejected).cloned().unwrap_or(unmet)
}

fn judge_authority(
    authority: &Authority,
    found: Found<'_>,
    case: Case<'_>,
    threshold: NonZeroUsize,
    matches: &mut Matches,
) -> (AuthorityReport, BTreeSet<SignerReport>) {
    let report = |verdict, failure, signatures| AuthorityReport {
        name: authority.name.clone(),
        platform: None,
        verdict,
        failure,
        signatures,
    };
    match &authority.signer {
        Signer::StaticPass => {
            matches.add_static(&authority.name);
            return (report(Verdict::Verified, None, Vec::new()), BTreeSet::new());
        }
        Signer::StaticFail { message } => {
            let found = if message.is_empty() { "a static policy" } else { message };
            let failure = Failure::new(Reason::StaticFail, found);
            return (report(failure.verdict(), Some(failure), Vec::new()), BTreeSet::new());
        }
        Signer::Keys(_) | Signer::Identities(_) | Signer::Certificates { .. } => {}
    }
    let mut signatures = Vec::new();
    let judged = if authority.attestations.is_empty() {
        let search = Search { authority, wanted: Wanted::Signature, case };
        search.judge(found, &mut signatures).map(|made| {
            matches.add_signatures(&authority.name, &made);
            signers(&made)
        })
    } else {
        judge_attestations(authority, found, case, &mut signatures).map(|found| {
            matches.add_attestations(authority, &found);
            let made: Vec<_> = found.iter().map(|made| signers(made)).collect();
            let all = made.iter().cloned().reduce(|all, by| &all & &by).unwrap_or_default();
            // Towards a threshold only those count who made all of them; several who made one each
            // are not several who vouch for the whole.
            let shared = all.is_empty() && threshold == NonZeroUsize::MIN;
            if shared { made.into_iter().flatten().collect() } else { all }
        })
    };
    match judged {
        Ok(signers) => (report(Verdict::Verified, None, signatures), signers),
        Err(failure) => (report(failure.verdict(), Some(failure), signatures), BTreeSet::new()),
    }
}

fn signers(made: &[Made]) -> BTreeSet<SignerReport> {
    made.iter().map(|made| made.signer.clone()).collect()
}

/// Each of the attestations that an authority asks for with its makers, or why one of them is not there.
fn judge_attestations(
    authority: &Authority,
    found: Found<'_>,
    case: Case<'_>,
    signatures: &mut Vec<SignatureReport>,
) -> Result<Vec<Vec<Made>>, Failure> {
    let mut made = Vec::new();
    let mut failures = Vec::new();
    for attestation in &authority.attestations {
        let search = Search { authority, wanted: Wanted::Attestation(attestation), case };
        match search.judge(found, signatures) {
            Ok(one) => made.push(one),
            Err(failure) => failures.push(failure),
        }
    }
    // One that is refused for good decides, whatever may become of the others.
    let rejected = failures.iter().filter(|failure| failure.verdict() == Verdict::Rejected);
    match furthest(rejected).or_else(|| failures.first()) {
        Some(failure) => Err(failure.clone()),
        None => Ok(made),
    }
}

/// Of several failures the one that got furthest; of equals the first.
pub(super) fn furthest<'a>(failures: impl Iterator<Item = &'a Failure>) -> Option<&'a Failure> {
    failures.reduce(
        |best, next| {
            if next.step().progress() > best.step().progress() { next } else { best }
        },
    )
}
