//! One question of an authority to every candidate.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use super::Case;
use super::Found;
use super::furthest;
use crate::conditions::Statement;
use crate::evidence::Candidate;
use crate::evidence::Evidence;
use crate::evidence::Format;
use crate::evidence::Kept;
use crate::evidence::LookedUp;
use crate::evidence::Place;
use crate::evidence::Problem;
use crate::image::Digest;
use crate::policy::Attestation;
use crate::policy::Authority;
use crate::policy::PayloadKind;
use crate::policy::Signer;
use crate::policy::evaluate;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::SignatureReport;
use crate::verdict::SignerReport;
use crate::verdict::Step;
use crate::verdict::StepReport;
use crate::verdict::Verdict;
use crate::verdict::printable;
use crate::verify::Examined;
use crate::verify::PublicKey;
use crate::verify::Question;
use crate::verify::VerifiedSignature;
use crate::verify::VerifiedSigner;

/// Something that was looked for, and who made it.
pub(super) struct Made {
    /// Who made it.
    pub(super) signer: SignerReport,
    /// What it says, where it is an attestation.
    pub(super) statement: Option<Statement>,
}

/// What is looked for among the candidates.
#[derive(Clone, Copy)]
pub(in crate::admission) enum Wanted<'a> {
    /// An attestation.
    Attestation(&'a Attestation),
    /// A signature of the image.
    Signature,
}

impl<'a> Wanted<'a> {
    /// All that an authority asks for.
    pub(in crate::admission) fn of(authority: &'a Authority) -> Vec<Self> {
        if authority.attestations.is_empty() {
            return vec![Self::Signature];
        }
        authority.attestations.iter().map(Self::Attestation).collect()
    }

    /// Whether it may stand there: the tags are for one kind of payload each.
    const fn may_stand_at(self, place: Place) -> bool {
        match place {
            Place::AttestationTag => matches!(self, Self::Attestation(_)),
            Place::SignatureTag => matches!(self, Self::Signature),
            Place::Referrers | Place::FallbackTag => true,
        }
    }

    pub(in crate::admission) fn payload(self) -> PayloadKind {
        match self {
            Self::Attestation(attestation) => {
                let predicate_types = Some(attestation.rules.predicate_types().clone());
                PayloadKind::Statement { predicate_types }
            }
            Self::Signature => PayloadKind::Signature,
        }
    }

    /// That nothing is there which could be it.
    fn absent(self, signer: &Signer) -> Failure {
        let by = by(signer);
        match self {
            Self::Attestation(Attestation { name, rules }) => {
                let types = rules.predicate_types();
                let wanted = format!("`{name}`, of predicate type {types}, by {by}");
                Failure::new(Reason::AttestationAbsent, "no attestation is attached").wanted(wanted)
            }
            Self::Signature => Failure::new(Reason::SignatureAbsent, "no signature is attached")
                .wanted(format!("a signature by {by}")),
        }
    }
}

/// The candidates of all places, in a stable order.
pub(in crate::admission) fn candidates(
    evidence: &[Arc<Evidence>],
) -> impl Iterator<Item = &Candidate> {
    found_by(evidence).map(|(_, candidate)| candidate)
}

/// The same, each with what it is a part of.
fn found_by(evidence: &[Arc<Evidence>]) -> impl Iterator<Item = (&Evidence, &Candidate)> {
    evidence.iter().flat_map(|evidence| {
        let evidence: &Evidence = evidence;
        evidence.candidates.iter().map(move |candidate| (evidence, candidate))
    })
}

/// Says in the explanation that evidence is older than it was to be, and why.
fn note_age(report: &mut SignatureReport, evidence: &Evidence) {
    let Some(Kept { fetched, stale: Some(why), .. }) = &evidence.kept else { return };
    let evidence = report.steps.iter_mut().find(|step| step.step == Step::Evidence);
    if let Some(StepReport { found, .. }) = evidence {
        let what = std::mem::take(found);
        *found = printable(&format!("{what}; stale, from {fetched}: {}", why.found));
    }
}

/// One question to all candidates.
#[derive(Clone, Copy)]
pub(in crate::admission) struct Search<'a> {
    /// Who asks.
    pub(in crate::admission) authority: &'a Authority,
    /// For what.
    pub(in crate::admission) wanted: Wanted<'a>,
    /// Of which image, and when.
    pub(in crate::admission) case: Case<'a>,
}

impl<'a> Search<'a> {
    /// Who made what is looked for, or why nobody did. Adds a report on every candidate.
    pub(super) fn judge(
        self,
        found: Found<'_>,
        reports: &mut Vec<SignatureReport>,
    ) -> Result<Vec<Made>, Failure> {
        let mut failures = Vec::new();
        let mut made = Vec::new();
        let payload = self.wanted.payload();
        for (index, (evidence, candidate)) in found_by(found.evidence).enumerate() {
            if !self.accepts(candidate) {
                continue;
            }
            if Instant::now() >= self.case.deadline {
                failures.push(Failure::new(
                    Reason::DeadlineExceeded,
                    "the time was up before every signature was verified",
                ));
                break;
            }
            let looked_up = (found.looked_up)(index);
            let (mut report, outcome) = self.judge_candidate(candidate, &payload, looked_up);
            note_age(&mut report, evidence);
            reports.push(report);
            match outcome {
                Ok(one) => made.push(one),
                Err(failure) => failures.push(failure),
            }
        }
        if made.is_empty() {
            return Err(self.explain(found.evidence, &failures));
        }
        Ok(made)
    }

    /// Whether a candidate may be it, by its place and its format.
    pub(in crate::admission) fn accepts(self, candidate: &Candidate) -> bool {
        self.wanted.may_stand_at(candidate.place)
            && self.authority.formats.contains(&candidate.format)
    }

    /// What is asked of a candidate.
    pub(in crate::admission) fn question(
        self,
        key: Option<&'a PublicKey>,
        payload: &'a PayloadKind,
    ) -> Question<'a> {
        let Self { authority, wanted: _, case } = self;
        Question {
            digest: case.digest,
            key,
            demands: authority.demands,
            payload,
            trust_root: &authority.trust_root,
            now: case.now,
        }
    }

    /// Why nobody made it. What was not read comes first: an error is not "none there", whatever
    /// else was found.
    fn explain(self, evidence: &[Arc<Evidence>], failures: &[Failure]) -> Failure {
        let problems = self.problems(evidence);
        let all = || problems.iter().map(|problem| &problem.failure).chain(failures);
        let open = all().filter(|failure| failure.verdict() == Verdict::Indeterminate);
        if let Some(failure) = furthest(open).or_else(|| furthest(all())) {
            return failure.clone();
        }
        let there = candidates(evidence).filter(|one| self.wanted.may_stand_at(one.place));
        let formats: BTreeSet<&str> = there.map(|candidate| candidate.format.as_str()).collect();
        if formats.is_empty() {
            return self.wanted.absent(&self.authority.signer);
        }
        let formats: Vec<&str> = formats.into_iter().collect();
        let found = format!("signatures in the format {}", formats.join(" and "));
        let wanted: Vec<&str> = self.authority.formats.iter().map(|one| one.as_str()).collect();
        Failure::new(Reason::SignatureFormatRefused, found).wanted(wanted.join(" or "))
    }

    /// The listing errors of places in which it could stand, in a format that is accepted.
    fn problems(self, evidence: &[Arc<Evidence>]) -> Vec<&Problem> {
        let relevant = |problem: &&Problem| match problem.place {
            Place::AttestationTag | Place::SignatureTag => {
                self.wanted.may_stand_at(problem.place)
                    && self.authority.formats.contains(&Format::Legacy)
            }
            Place::Referrers | Place::FallbackTag => true,
        };
        evidence.iter().flat_map(|evidence| &evidence.problems).filter(relevant).collect()
    }

    fn judge_candidate(
        self,
        candidate: &Candidate,
        payload: &PayloadKind,
        looked_up: &LookedUp,
    ) -> (SignatureReport, Result<Made, Failure>) {
        let Self { authority, wanted, case: Case { facts, .. } } = self;
        let question = |key| Search { ..self }.question(key, payload);
        let ask = |key| facts.verify(candidate, &question(key), looked_up);
        let Examined { mut steps, result } = match &authority.signer {
            Signer::Keys(keys) => {
                // One under which it was verified before comes before those under which it fails.
                let known = keys.iter().find(|key| {
                    keys.len() > 1 && facts.knows(candidate, &question(Some(*key)), looked_up)
                });
                match known {
                    Some(key) => ask(Some(key)),
                    None => first_good(keys.iter().map(|key| ask(Some(key)))),
                }
            }
            Signer::Certificates { authority: own, subjects: _ } => {
                facts.verify_certified(candidate, &question(None), own)
            }
            Signer::Identities(_) | Signer::StaticPass | Signer::StaticFail { .. } => ask(None),
        };
        let mut signer = None;
        let outcome = result.and_then(|verified| {
            signer = Some(evaluate::signer(verified.signer()));
            steps.push(self.check_identity(&verified)?);
            let statement = self.check_statement(&verified, &mut steps)?;
            Ok(Made { signer: evaluate::signer(verified.signer()), statement })
        });
        if let Err(failure) = &outcome
            && failure.step() >= Step::Identity
        {
            steps.push(StepReport::failed(failure));
        }
        let report = SignatureReport {
            source: format!("{} {}", candidate.place, short(&candidate.manifest)),
            attestation: match wanted {
                Wanted::Attestation(attestation) => Some(attestation.name.clone()),
                Wanted::Signature => None,
            },
            format: candidate.format.as_str(),
            verdict: outcome.as_ref().map_or_else(Failure::verdict, |_| Verdict::Verified),
            signer,
            steps,
        };
        (report, outcome)
    }

    /// The statement, where one is looked for, and that it says what it must.
    fn check_statement(
        self,
        verified: &VerifiedSignature,
        steps: &mut Vec<StepReport>,
    ) -> Result<Option<Statement>, Failure> {
        let Wanted::Attestation(attestation) = self.wanted else { return Ok(None) };
        let Case { digest, now, budget, .. } = self.case;
        let bytes = verified.statement().ok_or_else(|| {
            Failure::new(Reason::InternalError, "an attestation without a statement")
        })?;
        let statement = Statement::parse(bytes, digest)?;
        attestation.rules.check(&statement, now, budget)?;
        steps.push(StepReport::passed(Step::Conditions, statement.predicate_type()));
        Ok(Some(statement))
    }

    fn check_identity(self, verified: &VerifiedSignature) -> Result<StepReport, Failure> {
        match (verified.signer(), &self.authority.signer) {
            (VerifiedSigner::Certificate(identity), Signer::Identities(identities)) => {
                let index = evaluate::identity(identities, identity)?;
                Ok(StepReport::passed(Step::Identity, format!("identities[{index}]")))
            }
            (VerifiedSigner::Certificate(identity), Signer::Certificates { subjects, .. }) => {
                let index = evaluate::subject(subjects, identity)?;
                Ok(StepReport::passed(Step::Identity, format!("identities[{index}]")))
            }
            (VerifiedSigner::Key { .. }, Signer::Keys(_)) => {
                Ok(StepReport::passed(Step::Identity, "the policy's key"))
            }
            _ => Err(Failure::new(Reason::InternalError, "a signer that was not asked for")),
        }
    }
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

/// Whoever must have made it.
fn by(signer: &Signer) -> String {
    match signer {
        Signer::Keys(keys) => {
            let fingerprint = keys.first().map_or("", PublicKey::fingerprint);
            format!("the key with SHA-256 {fingerprint}")
        }
        Signer::Identities(identities) => {
            let first = identities.first().map(ToString::to_string).unwrap_or_default();
            match identities.len() {
                0 | 1 => first,
                many => format!("{first} or {} others", many - 1),
            }
        }
        Signer::Certificates { subjects, .. } => {
            let first = subjects.first().map(ToString::to_string).unwrap_or_default();
            format!("a certificate of the policy's authority for {first}")
        }
        Signer::StaticPass | Signer::StaticFail { .. } => String::new(),
    }
}

fn short(digest: &Digest) -> String {
    digest.to_string().chars().take("sha256:".len() + 12).collect()
}
