//! What came back, and what is wrong with it.
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tegata::admission::Outcome;
use tegata::verdict::Reason;
use tegata::verdict::Verdict;

use super::requests::Wanted;
use super::requests::With;

/// The part of an AdmissionReview's response that the demo shows.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Answer {
    /// Whether the object is let in.
    pub(crate) allowed: bool,
    /// The status code of a denial.
    pub(crate) code: Option<u64>,
    /// What `kubectl` prints of a denial.
    pub(crate) message: String,
    /// What `kubectl` prints as warnings.
    pub(crate) warnings: Vec<String>,
    /// The values that the patch writes into image fields.
    pub(crate) pinned: Vec<String>,
    /// The worst verdict on the images.
    pub(crate) verdict: String,
    /// The reason codes, joined by commas.
    pub(crate) reasons: String,
    /// The digests that were verified.
    pub(crate) digests: Vec<String>,
}

impl Answer {
    /// Reads the answer to the request `uid`.
    ///
    /// # Errors
    /// When it is none.
    pub(crate) fn parse(review: &Value, uid: &str) -> Result<Self, String> {
        let text = |pointer: &str| review.pointer(pointer).and_then(Value::as_str);
        match text("/response/uid") {
            Some(found) if found == uid => {}
            found => return Err(format!("found an answer to {found:?}, wanted one to `{uid}`")),
        }
        let allowed = review.pointer("/response/allowed").and_then(Value::as_bool);
        let images = match text("/response/auditAnnotations/images") {
            Some(json) => list(json.as_bytes())?,
            None => Vec::new(),
        };
        let of = |list: &[Value], key: &str| -> Vec<String> {
            let texts = list.iter().filter_map(|entry| entry.get(key)?.as_str());
            texts.map(str::to_owned).collect()
        };
        let found = of(&images, "verdict");
        let worst =
            [Outcome::Rejected, Outcome::Indeterminate, Outcome::Uncovered, Outcome::Verified];
        let worst = worst.into_iter().find(|outcome| found.contains(&outcome.to_string()));
        let patch = match text("/response/patch") {
            Some(patch) => {
                let json = BASE64_STANDARD.decode(patch).map_err(|error| error.to_string())?;
                let writes = |operation: &Value| {
                    operation.get("op").and_then(Value::as_str) == Some("replace")
                };
                list(&json)?.into_iter().filter(writes).collect()
            }
            None => Vec::new(),
        };
        let warnings = review.pointer("/response/warnings").and_then(Value::as_array);
        let warnings = warnings.into_iter().flatten().filter_map(Value::as_str);
        Ok(Self {
            allowed: allowed.ok_or("found an answer without `allowed`")?,
            code: review.pointer("/response/status/code").and_then(Value::as_u64),
            message: text("/response/status/message").unwrap_or_default().to_owned(),
            warnings: warnings.map(str::to_owned).collect(),
            pinned: of(&patch, "value"),
            verdict: worst.map_or_else(|| "none".to_owned(), |outcome| outcome.to_string()),
            reasons: text("/response/auditAnnotations/reasons").unwrap_or_default().to_owned(),
            digests: of(&images, "digest"),
        })
    }

    /// How this answer differs from the wanted one, in one clause; `None` where it does not.
    pub(crate) fn difference(&self, wanted: &Wanted) -> Option<String> {
        let Wanted { allowed, verdict, reason, with } = wanted;
        let code = match (allowed, verdict) {
            (true, _) => None,
            (false, Verdict::Indeterminate) => Some(503),
            (false, Verdict::Rejected | Verdict::Verified) => Some(403),
        };
        let reasons = reason.map_or("", Reason::code);
        let found = outcome(self.allowed, self.code, &self.verdict, &self.reasons);
        let verdict = match (allowed, reason) {
            (true, Some(Reason::PolicyNone)) => Outcome::Uncovered,
            _ => Outcome::from(*verdict),
        };
        let wanted = outcome(*allowed, code, verdict.as_str(), reasons);
        if found != wanted {
            return Some(format!("found `{found}`, wanted `{wanted}`"));
        }
        let warned = self.warnings.join("; ");
        if warned.is_empty() == (*with == With::Warning) {
            return Some(format!("found warnings `{warned}`, wanted {with:?}"));
        }
        // An image that no policy covers is let in without a word.
        let told = if *allowed { warned } else { self.message.clone() };
        let step = reason.map(|reason| format!(" at step {}: ", reason.step()));
        if let Some(step) = step.filter(|step| !told.is_empty() && !told.contains(step)) {
            return Some(format!("found the text `{told}`, wanted `…{step}…` in it"));
        }
        if !allowed && told.is_empty() {
            return Some("found a denial without a message".to_owned());
        }
        let pins = if *with == With::Patch { self.digests.as_slice() } else { &[] };
        let pinned = |(value, digest): (&String, &String)| value.ends_with(&format!("@{digest}"));
        let exact = self.pinned.len() == pins.len() && self.pinned.iter().zip(pins).all(pinned);
        if !exact || (*with == With::Patch && pins.is_empty()) {
            let found = self.pinned.join(", ");
            return Some(format!("found a patch to `{found}`, wanted one to {pins:?}"));
        }
        None
    }
}

fn outcome(allowed: bool, code: Option<u64>, verdict: &str, reasons: &str) -> String {
    let allowed = if allowed { "allowed" } else { "denied" };
    let parts = [Some(allowed.to_owned()), code.map(|code| code.to_string())];
    let rest = [verdict, reasons].into_iter().filter(|text| !text.is_empty()).map(str::to_owned);
    parts.into_iter().flatten().chain(rest).collect::<Vec<_>>().join(", ")
}

fn list(json: &[u8]) -> Result<Vec<Value>, String> {
    serde_json::from_slice(json).map_err(|error| format!("found no list in the answer: {error}"))
}
