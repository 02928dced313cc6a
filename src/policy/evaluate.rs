//! Policies against what was verified.
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use super::Authority;
use super::IdentityMatcher;
use super::Policy;
use super::Signer;
use super::TextMatcher;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::SignerReport;
use crate::verify::CertificateIdentity;
use crate::verify::VerifiedSigner;

/// What was verified for each authority, by its index in the policy.
pub type Verified = BTreeMap<usize, BTreeSet<SignerReport>>;

/// Which of the matchers accepts the identity; they are alternatives.
///
/// # Errors
/// The failure of the matcher that got furthest: a wrong claim says more than a wrong subject,
/// and that more than a wrong issuer.
pub fn identity(
    identities: &[IdentityMatcher],
    identity: &CertificateIdentity,
) -> Result<usize, Failure> {
    let mut furthest: Option<Failure> = None;
    for (index, matcher) in identities.iter().enumerate() {
        match matcher.matches(identity) {
            Ok(()) => return Ok(index),
            Err(failure) => {
                // The first of equals stays.
                if furthest.as_ref().is_none_or(|best| depth(&failure) > depth(best)) {
                    furthest = Some(failure);
                }
            }
        }
    }
    Err(furthest.unwrap_or_else(|| {
        let found = format!("issuer `{}`", identity.issuer);
        Failure::new(Reason::IssuerMismatch, found).wanted("an identity, and the policy names none")
    }))
}

/// Which of the matchers accepts a subject of the certificate; they are alternatives.
///
/// # Errors
/// `subject-mismatch`, with what was found and wanted.
pub fn subject(subjects: &[TextMatcher], identity: &CertificateIdentity) -> Result<usize, Failure> {
    let found = |matcher: &TextMatcher| identity.subjects.iter().any(|text| matcher.matches(text));
    subjects.iter().position(found).ok_or_else(|| {
        let found = match identity.subjects.as_slice() {
            [] => "no subject alternative name".to_owned(),
            subjects => format!("subject `{}`", subjects.join("`, `")),
        };
        let failure = Failure::new(Reason::SubjectMismatch, found);
        match subjects {
            [] => failure.wanted("a subject, and the policy names none"),
            [first, ..] => failure.wanted(first),
        }
    })
}

/// How far an identity got.
fn depth(failure: &Failure) -> u8 {
    if failure.reason == Reason::ClaimMismatch {
        2
    } else if failure.reason == Reason::SubjectMismatch {
        1
    } else {
        0
    }
}

/// The signer as it counts towards a threshold: the same one under two authorities is equal.
///
/// Of several subjects the first in order stands for the certificate, whichever of them a matcher
/// accepted, so that one certificate is one signer.
pub fn signer(signer: &VerifiedSigner) -> SignerReport {
    match signer {
        VerifiedSigner::Key { fingerprint } => {
            SignerReport::Key { fingerprint: fingerprint.clone() }
        }
        VerifiedSigner::Certificate(identity) => SignerReport::Certificate {
            issuer: identity.issuer.clone(),
            subject: identity.subjects.iter().min().cloned().unwrap_or_default(),
        },
    }
}

/// How many distinct signers were verified, each for another authority: one signer under two
/// authorities is one, two signers under one authority are one, and all static passes are one.
pub fn distinct_signers(policy: &Policy, verified: &Verified) -> usize {
    let candidates: Vec<Vec<Voter<'_>>> = policy
        .authorities
        .iter()
        .enumerate()
        .map(|(index, authority)| voters(authority, verified.get(&index)))
        .collect();
    let mut assigned = BTreeMap::new();
    (0..candidates.len())
        .filter(|authority| assign(*authority, &candidates, &mut assigned, &mut BTreeSet::new()))
        .count()
}

/// Whether enough distinct signers were verified for distinct authorities.
///
/// # Errors
/// `static-fail` when only static refusals are there, otherwise `threshold-unmet`.
pub fn threshold(policy: &Policy, verified: &Verified) -> Result<(), Failure> {
    let wanted = policy.threshold.get();
    let found = distinct_signers(policy, verified);
    if found >= wanted {
        return Ok(());
    }
    if let Some(message) = only_refusals(policy) {
        let found = if message.is_empty() { "the policy refuses this image" } else { message };
        return Err(Failure::new(Reason::StaticFail, found));
    }
    Err(Failure::new(Reason::ThresholdUnmet, format!("{found} of {wanted} distinct signers"))
        .wanted(format!(
            "{wanted} distinct signers, each for another of the authorities {}",
            names(policy)
        )))
}

/// Someone who counts towards a threshold.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
enum Voter<'a> {
    /// The policy itself.
    Policy,
    /// Whoever signed.
    Signer(&'a SignerReport),
}

fn voters<'a>(
    authority: &Authority,
    verified: Option<&'a BTreeSet<SignerReport>>,
) -> Vec<Voter<'a>> {
    match authority.signer {
        Signer::StaticPass => vec![Voter::Policy],
        Signer::StaticFail { .. } => Vec::new(),
        Signer::Keys(_) | Signer::Identities(_) | Signer::Certificates { .. } => {
            verified.into_iter().flatten().map(Voter::Signer).collect()
        }
    }
}

/// Finds a signer for `authority`, moving earlier authorities to other signers where that helps:
/// an augmenting path of a bipartite matching. `seen` bounds the work to one visit a signer, and
/// the depth to the number of authorities.
fn assign<'a>(
    authority: usize,
    candidates: &[Vec<Voter<'a>>],
    assigned: &mut BTreeMap<Voter<'a>, usize>,
    seen: &mut BTreeSet<Voter<'a>>,
) -> bool {
    for voter in candidates.get(authority).into_iter().flatten() {
        if !seen.insert(*voter) {
            continue;
        }
        let holder = assigned.get(voter).copied();
        if holder.is_none_or(|holder| assign(holder, candidates, assigned, seen)) {
            assigned.insert(*voter, authority);
            return true;
        }
    }
    false
}

/// The first message, where every authority is a static refusal.
fn only_refusals(policy: &Policy) -> Option<&str> {
    let mut messages = policy.authorities.iter().map(|authority| match &authority.signer {
        Signer::StaticFail { message } => Some(message.as_str()),
        Signer::Keys(_)
        | Signer::Identities(_)
        | Signer::Certificates { .. }
        | Signer::StaticPass => None,
    });
    let first = messages.next()??;
    messages.all(|message| message.is_some()).then_some(first)
}

fn names(policy: &Policy) -> String {
    let names: Vec<&str> = policy.authorities.iter().map(|a| a.name.as_str()).collect();
    names.join(", ")
}

#[cfg(test)]
mod tests;
