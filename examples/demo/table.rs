//! The answers as a table.
use owo_colors::OwoColorize as _;
use owo_colors::Style;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;

use super::answer::Answer;
use super::requests::Ask;

/// Columns of the table with the images in a column of their own.
const WIDE: usize = 99;

/// Widths of the columns: request, namespace, images, allowed, verdict. The reason comes last.
const WIDTHS: [usize; 5] = [15, 9, 19, 11, 13];

/// Between columns.
const GAP: &str = "  ";

/// The columns of the terminal; 100 where there is none.
pub(crate) fn columns() -> usize {
    terminal_size::terminal_size().map_or(100, |(width, _)| usize::from(width.0))
}

/// The head of a table for so many columns.
pub(crate) fn head(columns: usize) -> String {
    let names = ["request", "namespace", "images", "allowed", "verdict", "reason"];
    let row = row(names.map(str::to_owned), [Style::new(); 6], columns);
    let rule = "─".repeat(columns.min(WIDE));
    format!("{}\n{}", row.bold(), rule.dimmed())
}

/// One answer. In a narrow table the images stand below it.
pub(crate) fn line(ask: &Ask, answer: &Answer, columns: usize) -> String {
    let colour = match (answer.allowed, answer.verdict == Verdict::Indeterminate.as_str()) {
        (true, _) if answer.warnings.is_empty() => Style::new().green(),
        (true, _) | (false, true) => Style::new().yellow(),
        (false, false) => Style::new().red(),
    };
    let images = ask.images();
    let (first, rest) = images.split_first().map_or(("", &[][..]), |(one, rest)| (one, rest));
    let cells = [
        ask.title(),
        ask.namespace.to_owned(),
        first.to_owned(),
        allowed(answer),
        verdict(answer),
        answer.reasons.clone(),
    ];
    let plain = Style::new();
    let styles = [plain, plain, plain, colour, colour, colour];
    let mut out = row(cells, styles, columns);
    let [title, namespace, ..] = WIDTHS;
    let below = if columns < WIDE {
        format!("\n{GAP}{}", images.join(", ").dimmed())
    } else {
        let indent = " ".repeat(title + namespace + 2 * GAP.len());
        rest.iter().map(|image| format!("\n{indent}{image}")).collect()
    };
    out.push_str(&below);
    out
}

/// The verdict, where a policy asks for one: an image that none covers is let in without.
fn verdict(answer: &Answer) -> String {
    let uncovered = answer.allowed && answer.reasons == Reason::PolicyNone.code();
    if uncovered { "-".to_owned() } else { answer.verdict.clone() }
}

fn allowed(answer: &Answer) -> String {
    let answer = match answer {
        Answer { allowed: false, code: Some(503), .. } => "no, retry",
        Answer { allowed: false, .. } => "no",
        Answer { pinned, .. } if !pinned.is_empty() => "yes, pinned",
        Answer { warnings, .. } if !warnings.is_empty() => "yes, warned",
        Answer { .. } => "yes",
    };
    answer.to_owned()
}

/// One row; colours do not count as columns.
fn row(cells: [String; 6], styles: [Style; 6], columns: usize) -> String {
    let widths = WIDTHS.into_iter().chain([0]);
    let cells = cells.into_iter().zip(styles).zip(widths).enumerate();
    let shown = cells.filter(|(index, _)| columns >= WIDE || *index != 2);
    let padded = shown.filter(|(_, ((text, _), _))| !text.is_empty());
    let padded = padded.map(|(_, ((text, style), width))| {
        let padding = " ".repeat(width.saturating_sub(text.chars().count()));
        format!("{}{padding}", text.style(style))
    });
    padded.collect::<Vec<_>>().join(GAP).trim_end().to_owned()
}
