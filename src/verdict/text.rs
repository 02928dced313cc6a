//! Reports as people read them: the tree that `tegata verify` prints, and the one line of a denial.
use std::fmt::Write as _;

use owo_colors::OwoColorize as _;
use owo_colors::Style;

use super::AuthorityReport;
use super::Failure;
use super::ImageReport;
use super::PolicyReport;
use super::Reason;
use super::SignatureReport;
use super::SignerReport;
use super::StepOutcome;
use super::StepReport;
use super::Verdict;
use super::printable;
use crate::policy::Mode;
use crate::policy::OnUnavailable;

mod line;

pub use line::MAX_DENIAL;
pub use line::MAX_WARNING;
pub use line::denial;
pub use line::warning;

use line::said;

/// How [`tree`] looks.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Look {
    /// Whether to write ANSI colours.
    pub colour: bool,
    /// Whether to use `✓`, `✗` and box lines, or ASCII alone.
    pub unicode: bool,
    /// Columns to wrap at. Words are never broken, so that digests and addresses can be copied.
    pub width: usize,
}

impl Default for Look {
    /// Plain Unicode text for 80 columns.
    fn default() -> Self {
        Self { colour: false, unicode: true, width: 80 }
    }
}

/// The report as a tree: policies, authorities, signatures, steps. Steps that passed are condensed
/// to one line; a failed one says what was found, what was wanted and what to do next.
///
/// Ends with a newline. Control characters of untrusted text are replaced.
pub fn tree(report: &ImageReport, look: Look) -> String {
    let mut out = String::new();
    image_node(report).write(&mut out, look, "", "");
    out
}

/// What stands before a line.
#[derive(Clone, Copy)]
enum Mark {
    Answer(Verdict),
    NotRequired,
}

impl Mark {
    const fn text(self, unicode: bool) -> &'static str {
        match (self, unicode) {
            (Self::Answer(Verdict::Verified), true) => "✓",
            (Self::Answer(Verdict::Rejected), true) => "✗",
            (Self::Answer(Verdict::Indeterminate), _) => "?",
            (Self::NotRequired, _) => "-",
            (Self::Answer(Verdict::Verified), false) => "+",
            (Self::Answer(Verdict::Rejected), false) => "x",
        }
    }

    const fn colour(self) -> Style {
        match self {
            Self::Answer(Verdict::Verified) => Style::new().green(),
            Self::Answer(Verdict::Rejected) => Style::new().red().bold(),
            Self::Answer(Verdict::Indeterminate) => Style::new().yellow().bold(),
            Self::NotRequired => Style::new().dimmed(),
        }
    }
}

/// One entry of the tree: a marked title, labelled details below it, and children.
struct Node {
    mark: Mark,
    title: String,
    details: Vec<(&'static str, String)>,
    children: Vec<Self>,
}

/// Width of the column of labels: the longest, `wanted`, and a blank. With it a digest of 71
/// characters just fits below the title of an image at 80 columns.
const LABEL_WIDTH: usize = 7;

impl Node {
    fn new(mark: Mark, title: String) -> Self {
        Self { mark, title, details: Vec::new(), children: Vec::new() }
    }

    /// Writes the node with `head` before its first line and `body` before all further ones.
    fn write(&self, out: &mut String, look: Look, head: &str, body: &str) {
        let Self { mark, title, details, children } = self;
        let rail = if children.is_empty() { "" } else { look.rail() };
        let text_body = format!("{body}{rail:<2}");
        let room = look.width.saturating_sub(text_body.chars().count());
        for (index, line) in wrap(&printable(title), room).iter().enumerate() {
            if index == 0 {
                let mark_text = look.paint(mark.text(look.unicode), mark.colour());
                put_line(
                    out,
                    look,
                    head,
                    &format!("{mark_text} {}", look.paint_title(*mark, line)),
                );
            } else {
                put_line(out, look, &text_body, &look.paint_title(*mark, line));
            }
        }
        for (label, text) in details {
            let lines = wrap(&printable(text), room.saturating_sub(LABEL_WIDTH));
            for (index, line) in lines.iter().enumerate() {
                let label = if index == 0 { label } else { &"" };
                let label = look.paint(&format!("{label:<LABEL_WIDTH$}"), Style::new().dimmed());
                put_line(out, look, &text_body, &format!("{label}{line}"));
            }
        }
        for (index, child) in children.iter().enumerate() {
            let last = index + 1 == children.len();
            let (fork, rail) = look.branch(last);
            child.write(out, look, &format!("{body}{fork}"), &format!("{body}{rail}"));
        }
    }
}

impl Look {
    const fn branch(self, last: bool) -> (&'static str, &'static str) {
        match (self.unicode, last) {
            (true, false) => ("├─ ", "│  "),
            (true, true) => ("└─ ", "   "),
            (false, false) => ("|- ", "|  "),
            (false, true) => ("`- ", "   "),
        }
    }

    const fn rail(self) -> &'static str {
        if self.unicode { "│" } else { "|" }
    }

    fn paint(self, text: &str, style: Style) -> String {
        if self.colour { text.style(style).to_string() } else { text.to_owned() }
    }

    fn paint_title(self, mark: Mark, text: &str) -> String {
        match mark {
            Mark::Answer(Verdict::Verified) => text.to_owned(),
            Mark::Answer(_) => self.paint(text, Style::new().bold()),
            Mark::NotRequired => self.paint(text, Style::new().dimmed()),
        }
    }
}

fn put_line(out: &mut String, look: Look, prefix: &str, text: &str) {
    let prefix = look.paint(prefix, Style::new().dimmed());
    // Writing to a string cannot fail.
    let _ = writeln!(out, "{}", format!("{prefix}{text}").trim_end());
}

/// Breaks at blanks; a word longer than `width` stays whole. At least one line.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for word in text.split(' ').filter(|word| !word.is_empty()) {
        let length = word.chars().count();
        if used > 0 && used + 1 + length > width {
            lines.push(String::new());
            used = 0;
        }
        let Some(line) = lines.last_mut() else { break };
        if used > 0 {
            line.push(' ');
            used += 1;
        }
        line.push_str(word);
        used += length;
    }
    lines
}

fn image_node(report: &ImageReport) -> Node {
    let ImageReport { image, digest, verdict, failure, policies } = report;
    let mut node =
        Node::new(Mark::Answer(*verdict), format!("{image} {}", said(*verdict, failure.as_ref())));
    if let Some(digest) = digest
        && !image.contains(digest.as_str())
    {
        node.details.push(("digest", digest.clone()));
    }
    if let Some(failure) = failure {
        add_failure(&mut node, failure);
    } else if policies.is_empty() {
        node.details.push(("found", "not covered: no policy applies to this image".to_owned()));
    }
    node.children = policies.iter().map(policy_node).collect();
    node
}

fn policy_node(report: &PolicyReport) -> Node {
    let PolicyReport { policy, mode, verdict, on_unavailable, failure, stale: _, authorities } =
        report;
    let mut title = policy.clone();
    title.push_str(match mode {
        Mode::Enforce => "",
        Mode::Warn => " (mode warn: admits with a warning)",
        Mode::Audit => " (mode audit: records only)",
    });
    if report.unavailable() {
        title.push_str(match on_unavailable {
            OnUnavailable::Deny => "",
            OnUnavailable::Warn => " (onUnavailable warn: admits with a warning)",
            OnUnavailable::Allow => " (onUnavailable allow: admits)",
        });
    }
    let mut node = Node::new(Mark::Answer(*verdict), title);
    let told = |failure: &Failure| authorities.iter().any(|below| tells(below, failure));
    if let Some(failure) = failure
        && !told(failure)
    {
        add_failure(&mut node, failure);
    }
    node.children = authorities.iter().map(authority_node).collect();
    node
}

/// Whether the entry of `authority` says `failure` already, itself or in a signature's steps.
fn tells(authority: &AuthorityReport, failure: &Failure) -> bool {
    authority.failure.as_ref() == Some(failure) || in_steps(authority, failure)
}

fn in_steps(authority: &AuthorityReport, failure: &Failure) -> bool {
    let mut steps = authority.signatures.iter().flat_map(|signature| &signature.steps);
    steps.any(|step| step.reason == Some(failure.reason) && step.found == failure.found)
}

fn authority_node(report: &AuthorityReport) -> Node {
    let AuthorityReport { name, platform, verdict, failure, signatures } = report;
    let platform = platform.as_ref().map(|platform| format!(" for {platform}"));
    let title = format!("authority {name}{}", platform.unwrap_or_default());
    let mut node = Node::new(Mark::Answer(*verdict), title);
    if let Some(failure) = failure
        && !in_steps(report, failure)
    {
        add_failure(&mut node, failure);
    }
    node.children = signatures.iter().map(signature_node).collect();
    node
}

fn signature_node(report: &SignatureReport) -> Node {
    let SignatureReport { source, attestation, format, verdict, signer, steps } = report;
    let what = match attestation {
        Some(name) => format!("{format} attestation at {source}, for {name}"),
        None => format!("{format} signature at {source}"),
    };
    let mut node = Node::new(Mark::Answer(*verdict), what);
    match signer {
        Some(SignerReport::Certificate { issuer, subject }) => {
            node.details.push(("signer", subject.clone()));
            node.details.push(("issuer", issuer.clone()));
        }
        Some(SignerReport::Key { fingerprint }) => {
            node.details.push(("signer", format!("key sha256:{fingerprint}")));
        }
        None => {}
    }
    let named = |outcome| {
        let of = |step: &&StepReport| step.outcome == outcome;
        steps.iter().filter(of).map(|step| step.step.as_str()).collect::<Vec<_>>().join(", ")
    };
    let passed = named(StepOutcome::Passed);
    if !passed.is_empty() {
        node.children.push(Node::new(Mark::Answer(Verdict::Verified), passed));
    }
    let spared = named(StepOutcome::NotRequired);
    if !spared.is_empty() {
        node.children.push(Node::new(Mark::NotRequired, format!("not required: {spared}")));
    }
    node.children.extend(steps.iter().filter_map(failed_node));
    node
}

fn failed_node(step: &StepReport) -> Option<Node> {
    let StepReport { step: name, outcome, reason, found, wanted } = step;
    if *outcome != StepOutcome::Failed {
        return None;
    }
    // A failed step without a reason is a defect of ours; it must still read as a failure.
    let reason = reason.unwrap_or(Reason::InternalError);
    let mut node =
        Node::new(Mark::Answer(reason.verdict()), format!("{name}: {}", reason.meaning()));
    add_details(&mut node, reason, found, wanted);
    Some(node)
}

fn add_failure(node: &mut Node, failure: &Failure) {
    let Failure { reason, found, wanted } = failure;
    node.details.push(("step", format!("{}: {}", reason.step(), reason.meaning())));
    add_details(node, *reason, found, wanted);
}

fn add_details(node: &mut Node, reason: Reason, found: &str, wanted: &str) {
    if !found.is_empty() {
        node.details.push(("found", found.to_owned()));
    }
    if !wanted.is_empty() {
        node.details.push(("wanted", wanted.to_owned()));
    }
    node.details.push(("next", reason.advice().to_owned()));
    node.details.push(("reason", reason.code().to_owned()));
}

#[cfg(test)]
mod tests;
