//! What `tegata verify` prints.
use std::io;
use std::io::IsTerminal as _;

use anstream::AutoStream;
use anstream::ColorChoice;
use serde::Serialize;

use crate::args::VerifyArgs;
use crate::args::verify::Color;
use crate::args::verify::Output;
use crate::verdict::Failure;
use crate::verdict::ImageReport;
use crate::verdict::Reason;
use crate::verdict::Verdict;
use crate::verdict::text::Look;
use crate::verdict::text::tree;

/// The JSON document.
#[derive(Serialize)]
struct Document<'a> {
    images: &'a [ImageReport],
    verdict: Verdict,
}

/// The reports in the format of the flags, ending with a newline.
pub(super) fn render(reports: &[ImageReport], args: &VerifyArgs) -> String {
    match args.output {
        Output::Json => json(reports),
        Output::Text => {
            let look = look(args.color);
            let trees: Vec<_> = reports.iter().map(|report| tree(report, look)).collect();
            trees.join("\n")
        }
    }
}

fn json(reports: &[ImageReport]) -> String {
    let document = Document { images: reports, verdict: verdict(reports) };
    // Reports hold strings, numbers and lists only, which always have a JSON form.
    let mut text = serde_json::to_string_pretty(&document).unwrap_or_default();
    text.push('\n');
    text
}

/// The worst answer: rejected before indeterminate before verified. Of no image, nothing is
/// verified.
pub(super) fn verdict(reports: &[ImageReport]) -> Verdict {
    reports.iter().map(|report| report.verdict).max().unwrap_or(Verdict::Rejected)
}

/// The report, with a verdict of "verified" taken back where no policy stands behind it: all() over
/// nothing is not a pass.
pub(super) fn covered(report: ImageReport) -> ImageReport {
    if !report.policies.is_empty() || report.verdict != Verdict::Verified {
        return report;
    }
    let failure = Failure::new(Reason::PolicyNone, "not covered: no policy applies to this image")
        .wanted("a policy whose images, match and namespaces cover it");
    ImageReport { verdict: failure.verdict(), failure: Some(failure), ..report }
}

fn look(color: Color) -> Look {
    let out = io::stdout();
    let colour = match color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => AutoStream::choice(&out) != ColorChoice::Never,
    };
    // Narrower than 40 columns nothing fits; wider than 120 nobody reads.
    let columns = terminal_size::terminal_size_of(&out)
        .filter(|_| out.is_terminal())
        .map_or(80, |(width, _)| usize::from(width.0).clamp(40, 120));
    Look { colour, unicode: utf8_locale(), width: columns }
}

/// Whether the locale says UTF-8 (POSIX: the first of these that is not empty counts).
fn utf8_locale() -> bool {
    let variables = ["LC_ALL", "LC_CTYPE", "LANG"].into_iter();
    let mut values = variables.filter_map(std::env::var_os).filter(|value| !value.is_empty());
    let locale = values.next().unwrap_or_default().to_string_lossy().to_lowercase();
    locale.contains("utf-8") || locale.contains("utf8")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(verdict: Verdict) -> ImageReport {
        let failure = match verdict {
            Verdict::Verified => None,
            Verdict::Indeterminate => Some(Failure::new(Reason::RegistryUnreachable, "refused")),
            Verdict::Rejected => Some(Failure::new(Reason::ImageNotFound, "404")),
        };
        ImageReport {
            image: "a.example/b:c".to_owned(),
            digest: None,
            verdict,
            failure,
            policies: Vec::new(),
        }
    }

    #[test]
    fn the_worst_image_counts() {
        use Verdict::Indeterminate;
        use Verdict::Rejected;
        use Verdict::Verified;
        for (images, wanted) in [
            (vec![], Rejected),
            (vec![Verified], Verified),
            (vec![Verified, Indeterminate], Indeterminate),
            (vec![Rejected, Indeterminate, Verified], Rejected),
        ] {
            let reports: Vec<_> = images.into_iter().map(report).collect();
            assert_eq!(verdict(&reports), wanted);
        }
    }

    #[test]
    fn rejects_an_image_that_no_policy_covers() {
        let report = covered(report(Verdict::Verified));
        assert_eq!(report.verdict, Verdict::Rejected);
        let failure = report.failure.unwrap();
        assert_eq!(failure.reason, Reason::PolicyNone);
        assert!(failure.found.starts_with("not covered"));
    }

    #[test]
    fn keeps_a_report_that_says_why() {
        let report = covered(report(Verdict::Indeterminate));
        assert_eq!(report.failure.unwrap().reason, Reason::RegistryUnreachable);
    }

    #[test]
    fn json_is_one_document() {
        let reports = [report(Verdict::Rejected), report(Verdict::Indeterminate)];
        let parsed: serde_json::Value = serde_json::from_str(&json(&reports)).unwrap();
        assert_eq!(parsed["verdict"], "rejected");
        assert_eq!(parsed["images"][0]["failure"]["reason"], "image-not-found");
        assert_eq!(parsed["images"][1]["verdict"], "indeterminate");
    }
}
