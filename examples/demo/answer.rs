//! What came back, and what is wrong with it.
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
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
        let worst = [Verdict::Rejected, Verdict::Indeterminate, Verdict::Verified];
        let worst = worst.into_iter().find(|verdict| found.contains(&verdict.to_string()));
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
            verdict: worst.map_or_else(|| "none".to_owned(), |verdict| verdict.to_string()),
            reasons: text("/response/auditAnnotations/reasons").unwrap_or_default().to_owned(),
            digests: of(&images, "digest"),
        })
    }

    /// Everything in which this answer is not the wanted one.
    pub(crate) fn differences(&self, wanted: &Wanted) -> Vec<String> {
        let Wanted { allowed, verdict, reason, with } = wanted;
        let mut wrong = Vec::new();
        let mut compare = |what: &str, found: &str, wanted: &str| {
            if found != wanted {
                wrong.push(format!("{what}: found `{found}`, wanted `{wanted}`"));
            }
        };
        compare("allowed", &self.allowed.to_string(), &allowed.to_string());
        compare("verdict", &self.verdict, verdict.as_str());
        compare("reason", &self.reasons, reason.map_or("", Reason::code));
        let code = match (allowed, verdict) {
            (true, _) => None,
            (false, Verdict::Indeterminate) => Some(503),
            (false, Verdict::Rejected | Verdict::Verified) => Some(403),
        };
        compare("status code", &format!("{:?}", self.code), &format!("{code:?}"));
        if *with != With::Warning {
            compare("warnings", &self.warnings.join("; "), "");
        }
        let step = |reason: &Reason| format!(" at step {}: ", reason.step());
        let told = match (allowed, with) {
            (false, _) => Some(("message", self.message.clone())),
            (true, With::Warning) => Some(("warning", self.warnings.join("; "))),
            (true, With::Nothing | With::Patch) => None,
        };
        if let (Some((what, text)), Some(reason)) = (told, reason)
            && !text.contains(&step(reason))
        {
            compare(what, &text, &format!("…{}…", step(reason)));
        }
        let pins = match with {
            With::Patch => self.digests.len(),
            With::Nothing | With::Warning => 0,
        };
        let ends = |(pinned, digest): (&String, &String)| pinned.ends_with(&format!("@{digest}"));
        let good = self.pinned.iter().zip(&self.digests).filter(|pair| ends(*pair)).count();
        compare("fields pinned", &self.pinned.len().to_string(), &pins.to_string());
        compare("fields pinned to the verified digest", &good.to_string(), &pins.to_string());
        if *with == With::Patch && pins == 0 {
            compare("digests", "none", "one an image");
        }
        wrong
    }
}

fn list(json: &[u8]) -> Result<Vec<Value>, String> {
    serde_json::from_slice(json).map_err(|error| format!("found no list in the answer: {error}"))
}
