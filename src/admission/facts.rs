//! What was verified before: facts, so that a signature need not be verified again.
//!
//! A fact is that [`verify`] succeeded. It is known again by a hash over all that the answer was
//! made of: the candidate's own bytes and annotations, whatever digests a registry or a store gives
//! them; the image's digest; the trust root; the key with its schemes, or the policy's own
//! authority; the demands, and the payload that was wanted; and what a log answered. Whatever of
//! these is another is another fact, so that nothing has to be taken back: a log that is distrusted
//! makes another trust root, under which nothing is known.
//!
//! The present alone is left out. It is asked four things. That no signing time lies in the future:
//! that is asked again of every fact, since a clock may be set back. That the keys of logs have
//! begun to be valid: once they have, they have. Where nothing proves a signing time, that the key
//! behind a log entry's proof, or the certificate of a policy's own authority, is valid now; and
//! that lists of revoked certificates are current: what was asked one of these
//! ([`Lasting::ForNow`]) is no fact. Everything else is held against the signing times.
//!
//! Identities, conditions and rules are no part of it: they are asked every time. Failures are not
//! kept at all.
use std::collections::HashMap;
use std::mem;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;

use jiff::Timestamp;

use crate::evidence::Candidate;
use crate::evidence::LogAnswer;
use crate::evidence::LookedUp;
use crate::fingerprint::Fingerprint;
use crate::fingerprint::Parts;
use crate::verdict::StepReport;
use crate::verify;
use crate::verify::CertificateAuthority;
use crate::verify::CertificateIdentity;
use crate::verify::Examined;
use crate::verify::Lasting;
use crate::verify::Question;
use crate::verify::VerifiedSignature;
use crate::verify::VerifiedSigner;

/// Most bytes of all facts. A keyless signature's takes some two kilobytes, so that those of one
/// thousand images are there; a statement comes along with its signature.
pub const MAX_FACT_BYTES: usize = 2 * 1024 * 1024;

/// What a fact takes besides its texts: tables, pointers, lengths.
const FACT_OVERHEAD: usize = 512;

/// What a text takes besides its bytes, with its share of the list that it stands in.
const TEXT_OVERHEAD: usize = 64;

/// Facts of all requests, bounded by [`MAX_FACT_BYTES`].
#[derive(Debug, Default)]
pub struct Facts {
    table: Mutex<Table>,
    verified: AtomicU64,
    reused: AtomicU64,
}

/// How often a signature was looked at, and how.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Counts {
    /// It was verified, whatever came of it.
    pub verified: u64,
    /// It had been verified before.
    pub reused: u64,
}

/// A verification that succeeded.
#[derive(Clone, Debug)]
struct Fact {
    steps: Arc<[StepReport]>,
    proof: VerifiedSignature,
}

impl Facts {
    /// What was counted since the beginning.
    pub fn counts(&self) -> Counts {
        Counts {
            verified: self.verified.load(Ordering::Relaxed),
            reused: self.reused.load(Ordering::Relaxed),
        }
    }

    /// Verifies a candidate, with what a log answered, unless that is a fact.
    pub fn verify(
        &self,
        candidate: &Candidate,
        question: &Question<'_>,
        looked_up: &LookedUp,
    ) -> Examined {
        let key = key(candidate, question, None, looked_up);
        self.look(key, question.now, || verify::verify_looked_up(candidate, question, looked_up))
    }

    /// The same under an authority of the policy's own.
    pub fn verify_certified(
        &self,
        candidate: &Candidate,
        question: &Question<'_>,
        own: &CertificateAuthority,
    ) -> Examined {
        let key = key(candidate, question, Some(own), &LookedUp::NotAsked);
        self.look(key, question.now, || verify::verify_certified(candidate, question, own))
    }

    /// Whether [`Self::verify`] would find a fact.
    pub(super) fn knows(
        &self,
        candidate: &Candidate,
        question: &Question<'_>,
        looked_up: &LookedUp,
    ) -> bool {
        let key = key(candidate, question, None, looked_up);
        key.is_some_and(|key| self.find(&key, question.now).is_some())
    }

    fn look(
        &self,
        key: Option<Fingerprint>,
        now: Timestamp,
        verify: impl FnOnce() -> Examined,
    ) -> Examined {
        if let Some(Fact { steps, proof }) = key.and_then(|key| self.find(&key, now)) {
            self.reused.fetch_add(1, Ordering::Relaxed);
            return Examined { steps: steps.to_vec(), result: Ok(proof) };
        }
        self.verified.fetch_add(1, Ordering::Relaxed);
        let examined = verify();
        if let (Some(key), Ok(proof)) = (key, &examined.result)
            && proof.lasting() == Lasting::Forever
        {
            let fact = Fact { steps: examined.steps.clone().into(), proof: proof.clone() };
            self.table().keep(key, fact);
        }
        examined
    }

    fn find(&self, key: &Fingerprint, now: Timestamp) -> Option<Fact> {
        let fact = self.table().find(key)?;
        fact.proof.signing_times().iter().all(|time| *time <= now).then_some(fact)
    }

    fn table(&self) -> std::sync::MutexGuard<'_, Table> {
        self.table.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All that the answer depends on, but for the present. `None` where the candidate has no bytes.
fn key(
    candidate: &Candidate,
    question: &Question<'_>,
    own: Option<&CertificateAuthority>,
    looked_up: &LookedUp,
) -> Option<Fingerprint> {
    let parts = Parts::of("fact").part(candidate.fingerprint()?).part(question.fingerprint(own));
    Some(match looked_up {
        LookedUp::Answered(answer) => {
            let LogAnswer { entries, listed, left_out } = &**answer;
            parts.number(*listed).number(*left_out).list(entries.iter()).finish()
        }
        // What was not answered helps no signature that lacks its entry, and others do without.
        LookedUp::Failed(_) | LookedUp::NotAsked => parts.finish(),
    })
}

/// Two halves: the younger one takes what is new and what was asked for; when it is full it becomes
/// the older one, and what was in that is forgotten.
#[derive(Debug, Default)]
struct Table {
    young: HashMap<Fingerprint, Fact>,
    old: HashMap<Fingerprint, Fact>,
    /// Bytes of the younger half.
    bytes: usize,
}

impl Table {
    fn find(&mut self, key: &Fingerprint) -> Option<Fact> {
        if let Some(fact) = self.young.get(key) {
            return Some(fact.clone());
        }
        let fact = self.old.remove(key)?;
        self.keep(*key, fact.clone());
        Some(fact)
    }

    fn keep(&mut self, key: Fingerprint, fact: Fact) {
        const HALF: usize = MAX_FACT_BYTES / 2;
        let size = fact.size();
        if size > HALF || self.young.contains_key(&key) {
            return;
        }
        if self.bytes + size > HALF {
            self.old = mem::take(&mut self.young);
            self.bytes = 0;
        }
        self.bytes += size;
        self.young.insert(key, fact);
    }
}

impl Fact {
    fn size(&self) -> usize {
        let text = |text: &str| text.len() + TEXT_OVERHEAD;
        let Self { steps, proof } = self;
        let steps: usize = steps.iter().map(|step| text(&step.found) + text(&step.wanted)).sum();
        let signer = match proof.signer() {
            VerifiedSigner::Key { fingerprint } => text(fingerprint),
            VerifiedSigner::Certificate(CertificateIdentity { issuer, subjects, claims }) => {
                let subjects: usize = subjects.iter().map(|one| text(one)).sum();
                let claims: usize = claims.values().map(|one| text(one)).sum();
                text(issuer) + subjects + claims
            }
        };
        let statement = proof.statement().map_or(0, <[u8]>::len);
        let times = size_of_val(proof.signing_times());
        FACT_OVERHEAD + steps + signer + statement + times
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
