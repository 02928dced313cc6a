//! Answers and their explanation: [`Verdict`], [`Reason`], and the reports that carry every step.
//!
//! There are three answers, not two. `Rejected` is final: evidence is there and bad, or there is
//! none. `Indeterminate` is worth a retry: a registry, a log or a deadline stood in the way. Which
//! of the two a failure means is a property of its [`Reason`], so that no code path can choose.
use std::borrow::Cow;
use std::fmt;

use serde::Serialize;
use serde::Serializer;
use serde::ser::SerializeStruct as _;

mod reason;
mod report;
pub mod text;

pub use reason::Reason;
pub use report::AuthorityReport;
pub use report::ImageReport;
pub use report::PolicyReport;
pub use report::SignatureReport;
pub use report::SignerReport;
pub use report::StepOutcome;
pub use report::StepReport;

/// The answer for an image, a policy, an authority or one signature.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "lowercase")]
#[must_use]
pub enum Verdict {
    /// Everything asked for was verified.
    Verified,
    /// It could not be decided; the same question may get another answer later.
    Indeterminate,
    /// Evidence is there and bad, or there is none. Asking again changes nothing.
    Rejected,
}

impl Verdict {
    /// The stable name used in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Verified => "verified",
            Self::Indeterminate => "indeterminate",
            Self::Rejected => "rejected",
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A step of verification, in the order in which every explanation lists them.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Step {
    /// The image reference, its digest, and the policies that apply.
    Subject,
    /// The transparency log entry of the signature: attached, or looked up.
    LogLookup,
    /// The entry's proof or promise, under a trusted key, and that it names this very signature.
    LogEntry,
    /// Certificate, signature and time as the evidence carries them.
    Evidence,
    /// Chain to a trusted authority at the signing time, code-signing usage, SCT.
    Certificate,
    /// The signature over the payload, and the payload's naming of the image digest.
    Signature,
    /// The signing time lies within the validity of certificate and keys.
    Time,
    /// Issuer, subject and claims against the policy.
    Identity,
    /// Thresholds, static answers, and rules over what was verified.
    Conditions,
}

impl Step {
    /// Every step, in order.
    pub const ALL: [Self; 9] = [
        Self::Subject,
        Self::LogLookup,
        Self::LogEntry,
        Self::Evidence,
        Self::Certificate,
        Self::Signature,
        Self::Time,
        Self::Identity,
        Self::Conditions,
    ];

    /// How far verification has come when it fails at this step: of several failures, the one
    /// that got furthest is the one to tell. Evidence is parsed before its parts are checked.
    pub const fn progress(self) -> u8 {
        match self {
            Self::Subject => 0,
            Self::Evidence => 1,
            Self::LogLookup => 2,
            Self::Time => 3,
            Self::Certificate => 4,
            Self::LogEntry => 5,
            Self::Signature => 6,
            Self::Identity => 7,
            Self::Conditions => 8,
        }
    }

    /// The stable name used in logs, metrics and JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Subject => "subject",
            Self::LogLookup => "log-lookup",
            Self::LogEntry => "log-entry",
            Self::Evidence => "evidence",
            Self::Certificate => "certificate",
            Self::Signature => "signature",
            Self::Time => "time",
            Self::Identity => "identity",
            Self::Conditions => "conditions",
        }
    }
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why something was not verified: a stable reason, what was found and what was wanted.
///
/// In JSON its step stands beside the reason, so that a program needs no table.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{found}")]
pub struct Failure {
    /// The stable reason; it fixes the step and whether the answer is final.
    pub reason: Reason,
    /// What was found, in one clause without a full stop; cut to [`MAX_TEXT`] characters.
    pub found: String,
    /// What was wanted, in one clause, where it can be said. Empty otherwise.
    pub wanted: String,
}

impl Serialize for Failure {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let Self { reason, found, wanted } = self;
        let mut fields = serializer.serialize_struct("Failure", 4)?;
        fields.serialize_field("step", &reason.step())?;
        fields.serialize_field("reason", reason)?;
        fields.serialize_field("found", found)?;
        if wanted.is_empty() {
            fields.skip_field("wanted")?;
        } else {
            fields.serialize_field("wanted", wanted)?;
        }
        fields.end()
    }
}

/// Longest text, in characters, that untrusted evidence can put into an explanation: enough for a
/// workflow URI or an error, too little to fill a log.
pub const MAX_TEXT: usize = 300;

impl Failure {
    /// A failure for `reason`, with what was found.
    pub fn new(reason: Reason, found: impl fmt::Display) -> Self {
        Self { reason, found: printable(&found.to_string()), wanted: String::new() }
    }

    /// Adds what was wanted instead.
    #[must_use]
    pub fn wanted(mut self, wanted: impl fmt::Display) -> Self {
        self.wanted = printable(&wanted.to_string());
        self
    }

    /// The verdict that this failure means.
    pub const fn verdict(&self) -> Verdict {
        self.reason.verdict()
    }

    /// The step at which it happened.
    pub const fn step(&self) -> Step {
        self.reason.step()
    }
}

/// Cuts to [`MAX_TEXT`] and replaces control and bidirectional-override characters, so that
/// evidence cannot forge lines or colours in a terminal or a log.
pub fn printable(text: &str) -> String {
    printed(text).into_owned()
}

/// The same, which is the text itself where there is nothing to replace.
pub fn printed(text: &str) -> Cow<'_, str> {
    if text.len() <= MAX_TEXT && text.bytes().all(|b| (b' '..=b'~').contains(&b)) {
        return Cow::Borrowed(text);
    }
    let hidden = |c: char| {
        c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
    };
    let mut chars = text.chars();
    let mut out: String =
        chars.by_ref().take(MAX_TEXT).map(|c| if hidden(c) { '\u{fffd}' } else { c }).collect();
    if chars.next().is_some() {
        out.push('…');
    }
    Cow::Owned(out)
}
