//! What becomes of a verdict: what an image does to its request, and what is recorded of both.
use std::fmt;

use serde::Serialize;
use serde::Serializer;

use super::Decision;
use super::FieldReport;
use super::NoMatch;
use super::Settings;
use crate::policy::Mode;
use crate::policy::OnUnavailable;
use crate::verdict::ImageReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;

/// What one image does to its request.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Consequence {
    /// Nothing.
    Admit,
    /// It is admitted with a warning.
    Warn,
    /// It is denied, for good or for now.
    Deny(Verdict),
}

impl Consequence {
    /// The stable name used in JSON.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Admit => "admit",
            Self::Warn => "warn",
            Self::Deny(_) => "deny",
        }
    }

    /// The graver of two; of two denials the final one.
    fn worse(self, other: Self) -> Self {
        match (self, other) {
            (Self::Deny(a), Self::Deny(b)) => Self::Deny(a.max(b)),
            (Self::Deny(verdict), _) | (_, Self::Deny(verdict)) => Self::Deny(verdict),
            (Self::Warn, _) | (_, Self::Warn) => Self::Warn,
            (Self::Admit, Self::Admit) => Self::Admit,
        }
    }
}

impl Serialize for Consequence {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.as_str())
    }
}

/// Each policy's mode and `onUnavailable` decide what its verdict does; the worst counts.
pub(super) fn consequence(report: &ImageReport, settings: Settings) -> Consequence {
    if let Some(failure) = &report.failure {
        return match (failure.reason, settings.no_match) {
            (Reason::PolicyNone, NoMatch::Allow) => Consequence::Admit,
            (Reason::PolicyNone, NoMatch::Warn) => Consequence::Warn,
            _ => Consequence::Deny(failure.verdict()),
        };
    }
    report.policies.iter().fold(Consequence::Admit, |worst, policy| {
        let lenient = policy.unavailable().then_some(policy.on_unavailable);
        worst.worse(match (policy.verdict, policy.mode, lenient) {
            (Verdict::Verified, _, _) | (_, Mode::Audit, _) => Consequence::Admit,
            (_, _, Some(OnUnavailable::Allow)) => Consequence::Admit,
            (_, Mode::Warn, _) | (_, _, Some(OnUnavailable::Warn)) => Consequence::Warn,
            (verdict, Mode::Enforce, _) => Consequence::Deny(verdict),
        })
    })
}

/// What logs, metrics and the audit log say of an image or a request: its verdict, or that there
/// was nothing to have one on. Ordered: of several images the last counts for their request.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Outcome {
    /// The request names no image that had to be judged.
    Unasked,
    /// Everything asked for was verified.
    Verified,
    /// No policy covers the image, and it was let in for that.
    Uncovered,
    /// It could not be decided.
    Indeterminate,
    /// Evidence is there and bad, or there is none.
    Rejected,
}

impl Outcome {
    /// The stable name used in logs, metrics and the audit log.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Unasked => "none",
            Self::Verified => Verdict::Verified.as_str(),
            Self::Uncovered => "uncovered",
            Self::Indeterminate => Verdict::Indeterminate.as_str(),
            Self::Rejected => Verdict::Rejected.as_str(),
        }
    }
}

impl From<Verdict> for Outcome {
    fn from(verdict: Verdict) -> Self {
        match verdict {
            Verdict::Verified => Self::Verified,
            Verdict::Indeterminate => Self::Indeterminate,
            Verdict::Rejected => Self::Rejected,
        }
    }
}

impl fmt::Display for Outcome {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl FieldReport {
    /// What to record of this image.
    pub fn outcome(&self) -> Outcome {
        let uncovered =
            self.report.failure.as_ref().map(|failure| failure.reason) == Some(Reason::PolicyNone);
        match self.consequence {
            Consequence::Admit | Consequence::Warn if uncovered => Outcome::Uncovered,
            Consequence::Admit | Consequence::Warn | Consequence::Deny(_) => {
                self.report.verdict.into()
            }
        }
    }

    /// Whether the image was let in although a policy is not met, or a warning says that none
    /// covers it. What `onUnavailable: allow` lets in was meant to be, and is no such thing.
    pub fn overlooked(&self) -> bool {
        let unmet = self.report.policies.iter().any(|policy| {
            let silent = policy.unavailable() && policy.on_unavailable == OnUnavailable::Allow;
            policy.verdict != Verdict::Verified && !silent
        });
        match self.consequence {
            Consequence::Admit => unmet,
            Consequence::Warn => true,
            Consequence::Deny(_) => false,
        }
    }
}

impl Decision {
    /// What to record of the request.
    pub fn outcome(&self) -> Outcome {
        let worst = self.images.iter().map(FieldReport::outcome).max();
        worst.unwrap_or(match (self.allowed, self.retry) {
            (true, _) => Outcome::Unasked,
            (false, true) => Outcome::Indeterminate,
            (false, false) => Outcome::Rejected,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::Failure;
    use crate::verdict::PolicyReport;

    fn report(own: Option<Reason>, policies: &[(Mode, OnUnavailable, Reason)]) -> ImageReport {
        let policy = |(mode, on_unavailable, reason): &(Mode, OnUnavailable, Reason)| {
            let failure = Some(Failure::new(*reason, "found"));
            let verdict = reason.verdict();
            let (mode, on_unavailable) = (*mode, *on_unavailable);
            let policy = "ClusterImagePolicy p".to_owned();
            PolicyReport {
                stale: false,
                policy,
                mode,
                verdict,
                on_unavailable,
                failure,
                authorities: vec![],
            }
        };
        match own {
            Some(reason) => ImageReport::failed("app".to_owned(), Failure::new(reason, "found")),
            None => {
                ImageReport::judged("app".to_owned(), None, policies.iter().map(policy).collect())
            }
        }
    }

    fn field(no_match: NoMatch, report: ImageReport) -> FieldReport {
        FieldReport {
            path: "spec.containers[0].image".to_owned(),
            pointer: String::new(),
            text: "app".to_owned(),
            pinned: None,
            unpinned: false,
            consequence: consequence(&report, Settings { no_match, ..Settings::default() }),
            report,
        }
    }

    #[test]
    fn an_uncovered_image_is_rejected_only_where_it_is_denied() {
        for (no_match, wanted, overlooked) in [
            (NoMatch::Allow, Outcome::Uncovered, false),
            (NoMatch::Warn, Outcome::Uncovered, true),
            (NoMatch::Deny, Outcome::Rejected, false),
        ] {
            let field = field(no_match, report(Some(Reason::PolicyNone), &[]));
            assert_eq!((field.outcome(), field.overlooked()), (wanted, overlooked), "{no_match:?}");
        }
    }

    #[test]
    fn what_is_overlooked_was_let_in_and_not_meant_to_be() {
        let (absent, down) = (Reason::SignatureAbsent, Reason::RegistryUnreachable);
        let deny = OnUnavailable::Deny;
        let table = [
            (Mode::Enforce, deny, absent, "deny", false),
            (Mode::Warn, deny, absent, "warn", true),
            (Mode::Audit, deny, absent, "admit", true),
            (Mode::Enforce, deny, down, "deny", false),
            (Mode::Enforce, OnUnavailable::Warn, down, "warn", true),
            (Mode::Enforce, OnUnavailable::Allow, down, "admit", false),
            (Mode::Enforce, OnUnavailable::Allow, absent, "deny", false),
        ];
        for (mode, on_unavailable, reason, wanted, overlooked) in table {
            let policies = [(mode, on_unavailable, reason)];
            let field = field(NoMatch::Allow, report(None, &policies));
            let found = (field.consequence.as_str(), field.overlooked());
            assert_eq!(found, (wanted, overlooked), "{policies:?}");
            assert_eq!(field.outcome(), reason.verdict().into());
        }
    }

    #[test]
    fn the_worst_image_counts_and_an_uncovered_one_is_none_of_them() {
        let uncovered = || field(NoMatch::Allow, report(Some(Reason::PolicyNone), &[]));
        let of = |reason| {
            let policies = [(Mode::Enforce, OnUnavailable::Deny, reason)];
            field(NoMatch::Allow, report(None, &policies))
        };
        let decision = |allowed, retry, images| Decision {
            allowed,
            message: String::new(),
            warnings: vec![],
            retry,
            images,
        };
        let table = [
            (decision(true, false, vec![]), Outcome::Unasked),
            (decision(false, true, vec![]), Outcome::Indeterminate),
            (decision(false, false, vec![]), Outcome::Rejected),
            (decision(true, false, vec![uncovered()]), Outcome::Uncovered),
            (
                decision(false, true, vec![of(Reason::RegistryUnreachable), uncovered()]),
                Outcome::Indeterminate,
            ),
            (
                decision(false, false, vec![uncovered(), of(Reason::SignatureAbsent)]),
                Outcome::Rejected,
            ),
        ];
        for (decision, wanted) in table {
            assert_eq!(decision.outcome(), wanted, "{decision:?}");
        }
    }
}
