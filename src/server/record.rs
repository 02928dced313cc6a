//! What is recorded of every decision: one log line, and the metrics.
use std::fmt;
use std::time::Duration;

use crate::admission::Decision;
use crate::admission::Detail;
use crate::admission::FieldReport;
use crate::admission::Outcome;
use crate::admission::Request;
use crate::admission::review::Endpoint;
use crate::admission::review::ReviewError;
use crate::metrics::Decided;
use crate::metrics::Metrics;
use crate::metrics::Stage;
use crate::verdict::ImageReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;
use crate::verdict::printable;
use crate::verdict::printed;

/// Longest explanation, in bytes, that one log line carries. Some hundred signatures explained in
/// full stay below it; more would only push other lines out of the log.
const MAX_EXPLANATION: usize = 256 << 10;

/// How much of what was admitted the log shows, as logging is set up: at the level `debug`, every step.
pub fn detail() -> Detail {
    if tracing::enabled!(tracing::Level::DEBUG) { Detail::Steps } else { Detail::Verdicts }
}

/// Logs and counts one decision. `request` is `None` where only the `uid` could be read; `reason`
/// is what the server itself denied for, if it did.
pub(super) fn record(
    metrics: &Metrics,
    endpoint: Endpoint,
    uid: &str,
    request: Option<&Request>,
    decision: &Decision,
    reason: Option<Reason>,
    elapsed: Duration,
) {
    let (verdict, first) = outcome(decision, reason);
    metrics.stage(Stage::Total, elapsed);
    if endpoint.settles(decision.allowed) {
        let policies = decision.images.iter().flat_map(|image| &image.report.policies);
        metrics.policies_decided(policies);
    }
    let mut policies = decision.images.iter().flat_map(|image| &image.report.policies);
    if policies.any(|policy| policy.stale) {
        metrics.stale();
    }
    let endpoint = endpoint.as_str();
    metrics.decided(Decided { endpoint, allowed: decision.allowed, verdict, reason: first });
    let of = |text: fn(&Request) -> &str| printed(request.map_or("", text));
    tracing::info!(
        endpoint,
        uid = %printed(uid),
        operation = request.map_or("", |request| request.operation.as_str()),
        kind = %of(|request| &request.kind),
        namespace = %of(|request| &request.workload.namespace),
        name = %of(|request| &request.name),
        user = %of(|request| &request.user),
        dry_run = request.is_some_and(|request| request.dry_run),
        allowed = decision.allowed,
        verdict = verdict.as_str(),
        reasons = %reasons(decision, reason),
        images = %Images(&decision.images),
        elapsed_ms = elapsed.as_secs_f64() * 1000.0,
        explanation = (!decision.allowed).then(|| explanation(decision)),
        "{}",
        if decision.allowed { "Admitted" } else { "Denied" },
    );
    if decision.allowed && detail() == Detail::Steps {
        let explanation = explanation(decision);
        tracing::debug!(uid = %printable(uid), explanation, "Explained");
    }
}

/// Logs and counts a request that cannot be judged.
pub(super) fn record_refusal(
    metrics: &Metrics,
    endpoint: Endpoint,
    error: &ReviewError,
    elapsed: Duration,
) {
    metrics.stage(Stage::Total, elapsed);
    let endpoint = endpoint.as_str();
    match error.reason() {
        Some(reason) => metrics.decided(Decided {
            endpoint,
            allowed: false,
            verdict: reason.verdict().into(),
            reason: Some(reason),
        }),
        None => metrics.refused(error.status()),
    }
    tracing::info!(
        endpoint,
        uid = error.uid().unwrap_or_default(),
        allowed = false,
        reasons = error.reason().map_or("request-malformed", Reason::code),
        elapsed_ms = elapsed.as_secs_f64() * 1000.0,
        error = %printable(&error.to_string()),
        "Refused",
    );
}

/// The worst of all images, and the reason of the first image that is as bad.
fn outcome(decision: &Decision, reason: Option<Reason>) -> (Outcome, Option<Reason>) {
    if let Some(reason) = reason {
        return (reason.verdict().into(), Some(reason));
    }
    let verdict = decision.outcome();
    let as_bad = |image: &&FieldReport| image.outcome() == verdict && verdict > Outcome::Verified;
    (verdict, decision.images.iter().filter(as_bad).find_map(|image| reason_of(&image.report)))
}

/// Why an image is not verified: its own failure, or that of the first policy with its verdict.
fn reason_of(report: &ImageReport) -> Option<Reason> {
    let own = report.failure.as_ref();
    let policies = || report.policies.iter().filter(|policy| policy.verdict != Verdict::Verified);
    own.or_else(|| {
        policies()
            .filter(|policy| policy.verdict == report.verdict)
            .chain(policies())
            .find_map(|policy| policy.failure.as_ref())
    })
    .map(|failure| failure.reason)
}

fn reasons(decision: &Decision, reason: Option<Reason>) -> String {
    let mut codes: Vec<&str> = reason.map(Reason::code).into_iter().collect();
    for report in decision.images.iter().map(|image| &image.report) {
        let failures = report
            .failure
            .iter()
            .chain(report.policies.iter().filter_map(|policy| policy.failure.as_ref()));
        codes.extend(failures.map(|failure| failure.reason.code()));
    }
    codes.sort_unstable();
    codes.dedup();
    codes.join(",")
}

/// The images of a request in one line.
struct Images<'a>(&'a [FieldReport]);

impl fmt::Display for Images<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, image) in self.0.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            let FieldReport { path, report, .. } = image;
            let digest = report.digest.as_deref().unwrap_or("unresolved");
            let name = printed(&report.image);
            write!(f, "{separator}{path} {name} {digest} {}", image.outcome())?;
        }
        Ok(())
    }
}

fn explanation(decision: &Decision) -> String {
    let full = serde_json::to_string(decision)
        .unwrap_or_else(|error| serde_json::json!({ "error": error.to_string() }).to_string());
    if full.len() <= MAX_EXPLANATION {
        return full;
    }
    serde_json::json!({ "message": printable(&decision.message), "omittedBytes": full.len() })
        .to_string()
}

#[cfg(test)]
mod tests {
    use tracing::Level;

    use super::*;
    use crate::admission::Consequence;
    use crate::policy::Mode;
    use crate::policy::OnUnavailable;
    use crate::verdict::Failure;
    use crate::verdict::PolicyReport;

    fn image(verdict: Verdict, own: Option<Reason>, policies: &[(Verdict, Reason)]) -> FieldReport {
        let policy = |(verdict, reason): &(Verdict, Reason)| PolicyReport {
            stale: false,
            policy: "ClusterImagePolicy p".to_owned(),
            mode: Mode::Enforce,
            verdict: *verdict,
            on_unavailable: OnUnavailable::Deny,
            failure: Some(Failure::new(*reason, "found")),
            authorities: Vec::new(),
        };
        FieldReport {
            path: "spec.containers[0].image".to_owned(),
            pointer: String::new(),
            text: "app".to_owned(),
            pinned: None,
            unpinned: false,
            consequence: match verdict {
                Verdict::Verified => Consequence::Admit,
                Verdict::Indeterminate | Verdict::Rejected => Consequence::Deny(verdict),
            },
            report: ImageReport {
                image: "app\n".to_owned(),
                digest: None,
                verdict,
                failure: own.map(|reason| Failure::new(reason, "found")),
                policies: policies.iter().map(policy).collect(),
            },
        }
    }

    fn decision(images: Vec<FieldReport>) -> Decision {
        Decision { allowed: false, message: String::new(), warnings: vec![], retry: false, images }
    }

    #[test]
    fn names_the_reason_of_the_worst_image() {
        let decision = decision(vec![
            image(Verdict::Verified, None, &[]),
            image(Verdict::Indeterminate, Some(Reason::RegistryUnreachable), &[]),
            image(
                Verdict::Rejected,
                None,
                &[
                    (Verdict::Indeterminate, Reason::DeadlineExceeded),
                    (Verdict::Rejected, Reason::SubjectMismatch),
                ],
            ),
        ]);
        assert_eq!(outcome(&decision, None), (Outcome::Rejected, Some(Reason::SubjectMismatch)));
        assert_eq!(
            reasons(&decision, None),
            "deadline-exceeded,registry-unreachable,subject-mismatch"
        );
        let line = Images(&decision.images).to_string();
        assert!(!line.contains('\n'), "{line:?}");
        let own = Some(Reason::Overloaded);
        assert_eq!(outcome(&decision, own), (Outcome::Indeterminate, own));
    }

    #[test]
    fn gives_no_reason_where_all_is_verified() {
        let nothing = Decision { allowed: true, ..decision(vec![]) };
        assert_eq!(outcome(&nothing, None), (Outcome::Unasked, None));
        let one = decision(vec![image(Verdict::Verified, None, &[])]);
        assert_eq!(outcome(&one, None), (Outcome::Verified, None));
    }

    /// It would hide the image that could not be decided, and why.
    #[test]
    fn an_uncovered_image_that_was_let_in_is_not_the_worst() {
        let mut uncovered = image(Verdict::Rejected, Some(Reason::PolicyNone), &[]);
        uncovered.consequence = Consequence::Admit;
        let down = Reason::RegistryUnreachable;
        let undecided = image(Verdict::Indeterminate, None, &[(Verdict::Indeterminate, down)]);
        let one = decision(vec![uncovered.clone()]);
        assert_eq!(outcome(&one, None), (Outcome::Uncovered, Some(Reason::PolicyNone)));
        let line = Images(&one.images).to_string();
        assert!(line.ends_with(" uncovered"), "{line}");
        let two = decision(vec![uncovered, undecided]);
        assert_eq!(outcome(&two, None), (Outcome::Indeterminate, Some(down)));
    }

    #[test]
    fn shows_the_steps_of_an_admission_where_the_log_does() {
        for (level, wanted) in [(Level::INFO, Detail::Verdicts), (Level::DEBUG, Detail::Steps)] {
            let log = tracing_subscriber::fmt().with_max_level(level).with_writer(std::io::sink);
            let found = tracing::subscriber::with_default(log.finish(), detail);
            assert_eq!(found, wanted, "{level}");
        }
    }

    #[test]
    fn keeps_an_explanation_within_a_line() {
        let mut decision = decision(vec![]);
        decision.warnings = vec!["w".repeat(MAX_EXPLANATION)];
        let text = explanation(&decision);
        assert!(text.len() < 1000);
        assert!(text.contains("omittedBytes"), "{text}");
    }
}
