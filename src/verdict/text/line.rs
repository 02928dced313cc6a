//! The one line that `kubectl` prints when a pod is denied.
use crate::policy::Mode;
use crate::verdict::Failure;
use crate::verdict::ImageReport;
use crate::verdict::PolicyReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;
use crate::verdict::printable;

/// Longest line that [`denial`] makes, in characters: `kubectl` prints the lines of all denied
/// images as one paragraph, and a pod with ten of them must still be readable.
pub const MAX_DENIAL: usize = 1000;

/// Shares of [`MAX_DENIAL`], in characters. A JSON path of a pod template is below 70, a usual
/// reference with a digest below 150, a workflow URI below 200; longer ones lose their middle.
const MAX_PATH: usize = 100;
const MAX_IMAGE: usize = 180;
const MAX_POLICY: usize = 100;
const MAX_FOUND: usize = 220;
const MAX_WANTED: usize = 180;

/// Longest admission warning, in characters: the Kubernetes API reference asks for less than 256,
/// and the API server may cut longer ones, which would cost the reason's code.
pub const MAX_WARNING: usize = 250;

/// Shares of [`MAX_WARNING`], in characters; what is left is for what was found.
const MAX_WARNED_PATH: usize = 48;
const MAX_WARNED_IMAGE: usize = 72;
const MAX_WARNED_POLICY: usize = 36;

/// Why the image that the field `path` names is denied, in one line of at most [`MAX_DENIAL`]
/// characters: field, image, policy, step, what was found, what was wanted, what to do next.
///
/// Of several failures the one that decides the verdict and got furthest. Holds no control
/// character and no newline. For a verified image it says so.
pub fn denial(path: &str, report: &ImageReport) -> String {
    let subject = format!("{}: image {}", clip(path, MAX_PATH), clip(&report.image, MAX_IMAGE));
    if report.verdict == Verdict::Verified {
        return cut(&format!("{subject} is verified"), MAX_DENIAL);
    }
    let (by, failure) = decisive(report);
    let verdict = said(report.verdict, failure);
    let by = by.map(|policy| format!(" by {}", clip(policy, MAX_POLICY))).unwrap_or_default();
    let others = match unmet(report).count() {
        0 | 1 => String::new(),
        2 => " (1 further policy is not met)".to_owned(),
        more => format!(" ({} further policies are not met)", more - 1),
    };
    let Some(failure) = failure else {
        let next = "next: report it with the log of this request (internal-error)";
        return cut(
            &format!("{subject} {verdict}{by}: no reason was recorded; {next}"),
            MAX_DENIAL,
        );
    };
    let Failure { reason, found, wanted } = failure;
    let found = if found.is_empty() { reason.meaning() } else { found };
    let wanted = match wanted.as_str() {
        "" => String::new(),
        wanted => format!("; wanted: {}", clip(wanted, MAX_WANTED)),
    };
    let line = format!(
        "{subject} {verdict}{by} at step {}: found: {}{wanted}; next: {} [{}]{others}",
        reason.step(),
        clip(found, MAX_FOUND),
        reason.advice(),
        reason.code(),
    );
    cut(&line, MAX_DENIAL)
}

/// The same for an admission warning, in at most [`MAX_WARNING`] characters: field, image, policy,
/// step, what was found, and the reason's code at the end.
pub fn warning(path: &str, report: &ImageReport) -> String {
    let (by, failure) = decisive(report);
    let by = by.map(|policy| format!(" by {}", clip(policy, MAX_WARNED_POLICY)));
    let head = format!(
        "{}: image {} {}{}",
        clip(path, MAX_WARNED_PATH),
        clip(&report.image, MAX_WARNED_IMAGE),
        said(report.verdict, failure),
        by.unwrap_or_default(),
    );
    let Some(Failure { reason, found, .. }) = failure else {
        return cut(&head, MAX_WARNING);
    };
    let head = format!("{head} at step {}", reason.step());
    let tail = format!(" [{}]", reason.code());
    let left = MAX_WARNING.saturating_sub(head.chars().count() + tail.chars().count() + 2);
    cut(&format!("{head}: {}{tail}", clip(found, left)), MAX_WARNING)
}

/// The verdict as people say it.
pub(super) fn said(verdict: Verdict, failure: Option<&Failure>) -> &'static str {
    match (verdict, failure.map(|failure| failure.reason)) {
        (_, Some(Reason::PolicyNone)) => "is not covered",
        (Verdict::Verified, _) => "is verified",
        (Verdict::Rejected, _) => "is rejected",
        (Verdict::Indeterminate, _) => "could not be decided",
    }
}

/// The policy and the failure that decided, where one did.
fn decisive(report: &ImageReport) -> (Option<&str>, Option<&Failure>) {
    if let Some(failure) = &report.failure {
        return (None, Some(failure));
    }
    let denies = |policy: &PolicyReport| policy.mode == Mode::Enforce;
    let rank = |policy: &&PolicyReport| {
        (denies(policy), policy.verdict, furthest(policy).map(Failure::step))
    };
    // Of equals the first, as the report lists them: cluster policies before the namespace's.
    let policy = unmet(report).rev().max_by_key(rank);
    (policy.map(|policy| policy.policy.as_str()), policy.and_then(furthest))
}

fn unmet(report: &ImageReport) -> impl DoubleEndedIterator<Item = &PolicyReport> {
    report.policies.iter().filter(|policy| policy.verdict != Verdict::Verified)
}

/// The policy's own failure, or of its authorities' the one that got furthest.
fn furthest(policy: &PolicyReport) -> Option<&Failure> {
    let below = || policy.authorities.iter().filter_map(|authority| authority.failure.as_ref());
    policy.failure.as_ref().or_else(|| below().max_by_key(|failure| failure.step()))
}

/// Makes untrusted text printable and, where it is longer than `most` characters, leaves out its
/// middle: the ends of references, paths and URIs tell more.
fn clip(text: &str, most: usize) -> String {
    let text = single_line(text);
    let length = text.chars().count();
    if length <= most {
        return text;
    }
    let head = most / 2;
    let tail = most.saturating_sub(head + 1);
    let start: String = text.chars().take(head).collect();
    let end: String = text.chars().skip(length.saturating_sub(tail)).collect();
    format!("{start}…{end}")
}

/// [`printable`] text without the line separators that are no control characters.
fn single_line(text: &str) -> String {
    printable(text).replace(['\u{2028}', '\u{2029}'], "\u{fffd}")
}

fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    let kept: String = text.chars().take(most.saturating_sub(1)).collect();
    format!("{kept}…")
}
