//! One policy against the evidence for one image: pure.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use jiff::Timestamp;

use crate::evidence::Candidate;
use crate::evidence::Evidence;
use crate::evidence::Format;
use crate::evidence::Place;
use crate::evidence::Problem;
use crate::image::Digest;
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
use crate::verdict::Step;
use crate::verdict::StepReport;
use crate::verdict::Verdict;
use crate::verify;
use crate::verify::Examined;
use crate::verify::PublicKey;
use crate::verify::Question;
use crate::verify::VerifiedSigner;

/// What a judgement is made on, besides policy and evidence.
#[derive(Clone, Copy)]
pub(super) struct Case<'a> {
    /// The image.
    pub(super) digest: &'a Digest,
    /// The present.
    pub(super) now: Timestamp,
    /// After this, no further signature is verified.
    pub(super) deadline: Instant,
}

/// Judges one policy. `evidence` holds, for every authority, what its places gave.
pub(super) fn judge(
    policy: &Policy,
    evidence: &[Vec<Arc<Evidence>>],
    case: Case<'_>,
) -> PolicyReport {
    let mut authorities = Vec::new();
    let mut signers = BTreeMap::new();
    for (index, authority) in policy.authorities.iter().enumerate() {
        let found = evidence.get(index).map_or(&[][..], Vec::as_slice);
        let (report, verified) = judge_authority(authority, found, case);
        if report.verdict == Verdict::Verified {
            signers.insert(index, verified);
        }
        authorities.push(report);
    }
    let failure = evaluate::threshold(policy, &signers).err().map(|unmet| {
        let met = evaluate::distinct_signers(policy, &signers);
        explain(unmet, policy.threshold.get(), met, &authorities)
    });
    PolicyReport {
        policy: policy.id.to_string(),
        mode: policy.mode,
        verdict: failure.as_ref().map_or(Verdict::Verified, Failure::verdict),
        on_unavailable: policy.on_unavailable,
        failure,
        authorities,
    }
}

/// Judges a policy of static authorities alone: neither image nor time changes its answer.
pub(super) fn judge_static(policy: &Policy) -> PolicyReport {
    let digest = &Digest::sha256_of(b"");
    judge(policy, &[], Case { digest, now: Timestamp::UNIX_EPOCH, deadline: Instant::now() })
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
    evidence: &[Arc<Evidence>],
    case: Case<'_>,
) -> (AuthorityReport, BTreeSet<SignerReport>) {
    let report = |verdict, failure, signatures| AuthorityReport {
        name: authority.name.clone(),
        verdict,
        failure,
        signatures,
    };
    match &authority.signer {
        Signer::StaticPass => {
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
    let mut failures = Vec::new();
    let mut signers = BTreeSet::new();
    for candidate in evidence.iter().flat_map(|evidence| &evidence.candidates) {
        if !authority.formats.contains(&candidate.format) {
            continue;
        }
        if Instant::now() >= case.deadline {
            failures.push(Failure::new(
                Reason::DeadlineExceeded,
                "the time was up before every signature was verified",
            ));
            break;
        }
        let (signature, outcome) = judge_candidate(authority, candidate, case);
        signatures.push(signature);
        match outcome {
            Ok(signer) => drop(signers.insert(signer)),
            Err(failure) => failures.push(failure),
        }
    }
    if !signers.is_empty() {
        return (report(Verdict::Verified, None, signatures), signers);
    }
    let problems = problems(authority, evidence);
    let failure = explain_authority(authority, evidence, &problems, &failures);
    (report(failure.verdict(), Some(failure), signatures), BTreeSet::new())
}

/// Why no signature satisfies an authority. What was not read comes first: an error is not "none
/// there", whatever else was found.
fn explain_authority(
    authority: &Authority,
    evidence: &[Arc<Evidence>],
    problems: &[&Problem],
    failures: &[Failure],
) -> Failure {
    let all = || problems.iter().map(|problem| &problem.failure).chain(failures);
    let open = all().filter(|failure| failure.verdict() == Verdict::Indeterminate);
    if let Some(failure) = furthest(open).or_else(|| furthest(all())) {
        return failure.clone();
    }
    let formats: BTreeSet<&str> = evidence
        .iter()
        .flat_map(|evidence| &evidence.candidates)
        .map(|candidate| candidate.format.as_str())
        .collect();
    if formats.is_empty() {
        return Failure::new(Reason::SignatureAbsent, "no signature is attached")
            .wanted(wanted(&authority.signer));
    }
    let formats: Vec<&str> = formats.into_iter().collect();
    let found = format!("signatures in the format {}", formats.join(" and "));
    Failure::new(Reason::SignatureFormatRefused, found).wanted(
        authority.formats.iter().map(|format| format.as_str()).collect::<Vec<_>>().join(" or "),
    )
}

/// The listing errors of places in which a format that the authority accepts could stand.
fn problems<'a>(authority: &Authority, evidence: &'a [Arc<Evidence>]) -> Vec<&'a Problem> {
    let relevant = |problem: &&Problem| match problem.place {
        Place::SignatureTag => authority.formats.contains(&Format::Legacy),
        Place::Referrers | Place::FallbackTag => true,
    };
    evidence.iter().flat_map(|evidence| &evidence.problems).filter(relevant).collect()
}

fn judge_candidate(
    authority: &Authority,
    candidate: &Candidate,
    case: Case<'_>,
) -> (SignatureReport, Result<SignerReport, Failure>) {
    let question = Question {
        digest: case.digest,
        key: None,
        demands: authority.demands,
        payload: &authority.payload,
        trust_root: &authority.trust_root,
        now: case.now,
    };
    let ask = |key: Option<&PublicKey>| verify::verify(candidate, &Question { key, ..question });
    let Examined { mut steps, result } = match &authority.signer {
        Signer::Keys(keys) => first_good(keys.iter().map(|key| ask(Some(key)))),
        Signer::Certificates { authority: own, subjects: _ } => {
            verify::verify_certified(candidate, &question, own)
        }
        Signer::Identities(_) | Signer::StaticPass | Signer::StaticFail { .. } => ask(None),
    };
    let mut signer = None;
    let outcome = result.and_then(|verified| {
        let report = evaluate::signer(verified.signer());
        signer = Some(report.clone());
        match (verified.signer(), &authority.signer) {
            (VerifiedSigner::Certificate(identity), Signer::Identities(identities)) => {
                let index = evaluate::identity(identities, identity)?;
                steps.push(StepReport::passed(Step::Identity, format!("identities[{index}]")));
                Ok(report)
            }
            (VerifiedSigner::Certificate(identity), Signer::Certificates { subjects, .. }) => {
                let index = evaluate::subject(subjects, identity)?;
                steps.push(StepReport::passed(Step::Identity, format!("identities[{index}]")));
                Ok(report)
            }
            (VerifiedSigner::Key { .. }, Signer::Keys(_)) => {
                steps.push(StepReport::passed(Step::Identity, "the policy's key"));
                Ok(report)
            }
            _ => Err(Failure::new(Reason::InternalError, "a signer that was not asked for")),
        }
    });
    if let Err(failure) = &outcome
        && failure.step() == Step::Identity
    {
        steps.push(StepReport::failed(failure));
    }
    let source = format!("{} {}", candidate.place, short(&candidate.manifest));
    let signature = SignatureReport {
        source,
        format: candidate.format.as_str(),
        verdict: outcome.as_ref().map_or_else(Failure::verdict, |_| Verdict::Verified),
        signer,
        steps,
    };
    (signature, outcome)
}

/// The first good one of several keys' outcomes, or the one that got furthest.
fn first_good(outcomes: impl Iterator<Item = Examined>) -> Examined {
    let mut best: Option<Examined> = None;
    let progress = |examined: &Examined| match &examined.result {
        Ok(_) => u8::MAX,
        Err(failure) => failure.step().progress(),
    };
    for outcome in outcomes {
        if outcome.result.is_ok() {
            return outcome;
        }
        if best.as_ref().is_none_or(|best| progress(&outcome) > progress(best)) {
            best = Some(outcome);
        }
    }
    best.unwrap_or_else(|| Examined {
        steps: Vec::new(),
        result: Err(Failure::new(Reason::InternalError, "an authority without a key")),
    })
}

fn wanted(signer: &Signer) -> String {
    match signer {
        Signer::Keys(keys) => {
            let fingerprint = keys.first().map_or("", PublicKey::fingerprint);
            format!("a signature by the key with SHA-256 {fingerprint}")
        }
        Signer::Identities(identities) => {
            let first = identities.first().map(ToString::to_string).unwrap_or_default();
            match identities.len() {
                0 | 1 => format!("a signature by {first}"),
                many => format!("a signature by {first} or {} others", many - 1),
            }
        }
        Signer::Certificates { subjects, .. } => {
            let first = subjects.first().map(ToString::to_string).unwrap_or_default();
            format!("a signature with a certificate of the policy's authority for {first}")
        }
        Signer::StaticPass | Signer::StaticFail { .. } => String::new(),
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

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take("sha256:".len() + 12).collect()
}
