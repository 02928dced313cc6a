//! What was checked and found, as one JSON document for programs.
use std::fmt;

use serde::Serialize;

use super::Failure;
use super::Reason;
use super::Step;
use super::Verdict;

/// One step of one signature's verification.
#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct StepReport {
    /// Which step.
    pub step: Step,
    /// How it ended.
    pub outcome: StepOutcome,
    /// Present when it failed: the stable reason.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reason: Option<Reason>,
    /// What was found, in one clause.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub found: String,
    /// What was wanted, when it failed.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub wanted: String,
}

/// How a step ended. A step that was not reached is not listed.
#[derive(Clone, Copy, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// Checked and good.
    Passed,
    /// Checked and bad, or could not be checked.
    Failed,
    /// Neither asked for by the policy nor carried by the evidence.
    NotRequired,
}

impl StepReport {
    /// A step that was checked and good.
    pub fn passed(step: Step, found: impl fmt::Display) -> Self {
        Self::new(step, StepOutcome::Passed, found)
    }

    /// A step that neither policy nor evidence calls for.
    pub fn not_required(step: Step, found: impl fmt::Display) -> Self {
        Self::new(step, StepOutcome::NotRequired, found)
    }

    /// The step at which `failure` happened.
    pub fn failed(failure: &Failure) -> Self {
        let Failure { reason, found, wanted } = failure;
        Self {
            step: reason.step(),
            outcome: StepOutcome::Failed,
            reason: Some(*reason),
            found: found.clone(),
            wanted: wanted.clone(),
        }
    }

    fn new(step: Step, outcome: StepOutcome, found: impl fmt::Display) -> Self {
        let found = super::printable(&found.to_string());
        Self { step, outcome, reason: None, found, wanted: String::new() }
    }
}

/// Who made a signature, as far as it was verified.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "camelCase", tag = "kind")]
pub enum SignerReport {
    /// The holder of a key that the policy names.
    Key {
        /// SHA-256 of the key's SubjectPublicKeyInfo, in hexadecimal.
        fingerprint: String,
    },
    /// The subject of a certificate.
    Certificate {
        /// The OIDC issuer that vouched for the subject.
        issuer: String,
        /// The subject alternative name.
        subject: String,
    },
}

/// One candidate signature under one authority.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct SignatureReport {
    /// Where it was found, for a person: place and digest.
    pub source: String,
    /// The attestation of the policy that it was checked for, where it is one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub attestation: Option<String>,
    /// The format, as `signatureFormat` names it: `legacy` or `bundle`.
    pub format: &'static str,
    /// The answer for this signature.
    pub verdict: Verdict,
    /// The signer, once verified.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<SignerReport>,
    /// Every step that was reached, in order.
    pub steps: Vec<StepReport>,
}

/// One authority of a policy.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AuthorityReport {
    /// The authority's name in the policy.
    pub name: String,
    /// The platform of the manifest that was judged, where it is one of an index.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub platform: Option<String>,
    /// The answer for this authority.
    pub verdict: Verdict,
    /// Why it is not verified: of several signatures', the one that got furthest.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Every candidate signature.
    pub signatures: Vec<SignatureReport>,
}

/// One policy that applies to an image.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PolicyReport {
    /// Kind, namespace and name, for example `ImagePolicy team-a/signed`.
    pub policy: String,
    /// The policy's mode.
    pub mode: crate::policy::Mode,
    /// The answer of this policy.
    pub verdict: Verdict,
    /// What the policy does with an indeterminate answer.
    pub on_unavailable: crate::policy::OnUnavailable,
    /// Why it is not met.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Whether it stands on evidence that was to be asked for anew, and could not be: an outage.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub stale: bool,
    /// Every authority.
    pub authorities: Vec<AuthorityReport>,
}

impl PolicyReport {
    /// Whether `onUnavailable` has a say: something outside could not be asked. A defect of ours is
    /// no such thing; evidence that provokes one must not be admitted for it.
    pub fn unavailable(&self) -> bool {
        let defect = self.failure.as_ref().is_some_and(|f| f.reason == Reason::InternalError);
        self.verdict == Verdict::Indeterminate && !defect
    }
}

/// One image and everything that was found out about it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ImageReport {
    /// The image as it was asked for.
    pub image: String,
    /// The digest that was verified; absent where the reference could not be resolved.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// The answer: the worst of the policies'.
    pub verdict: Verdict,
    /// Why no policy could be asked, or none applies.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub failure: Option<Failure>,
    /// Every policy that applies.
    pub policies: Vec<PolicyReport>,
}

impl ImageReport {
    /// A report on an image that these policies judged: the worst verdict counts, and without any
    /// it is rejected.
    pub fn judged(image: String, digest: Option<String>, policies: Vec<PolicyReport>) -> Self {
        let worst = policies.iter().map(|policy| policy.verdict).max();
        let verdict = worst.unwrap_or(Verdict::Rejected);
        Self { image, digest, verdict, failure: None, policies }
    }

    /// A report on an image of which no policy could be asked.
    pub fn failed(image: String, failure: Failure) -> Self {
        let verdict = failure.verdict();
        Self { image, digest: None, verdict, failure: Some(failure), policies: Vec::new() }
    }
}
