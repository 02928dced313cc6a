//! Denials that the server makes itself, where the pipeline could not answer.
use std::fmt;

use crate::admission::Consequence;
use crate::admission::Decision;
use crate::admission::FieldReport;
use crate::admission::Request;
use crate::verdict::Failure;
use crate::verdict::ImageReport;
use crate::verdict::Reason;
use crate::verdict::printable;

/// A denial for `reason`, with every image of `request` as undecided, where it is known.
pub(super) fn denial(
    reason: Reason,
    found: impl fmt::Display,
    request: Option<&Request>,
) -> Decision {
    let failure = Failure::new(reason, found);
    let verdict = failure.verdict();
    let images =
        request.map_or(&[][..], |request| &request.images).iter().map(|image| FieldReport {
            path: image.path.clone(),
            pointer: image.pointer.clone(),
            text: image.text.clone(),
            pinned: None,
            unpinned: false,
            consequence: Consequence::Deny(verdict),
            report: ImageReport::failed(printable(&image.text), failure.clone()),
        });
    Decision {
        allowed: false,
        message: format!("{verdict} ({reason}): {}; {}", failure.found, reason.advice()),
        warnings: Vec::new(),
        retry: verdict == crate::verdict::Verdict::Indeterminate,
        images: images.collect(),
    }
}
