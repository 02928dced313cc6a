//! An in-toto statement, parsed once.
use serde_json::Value;

use crate::image::Algorithm;
use crate::image::Digest;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Longest statement, in bytes: what a bundle or an envelope of the registry's greatest size can
/// hold.
pub const MAX_STATEMENT_BYTES: usize = 8 << 20;

/// Deepest nesting of a statement, in objects and lists. CycloneDX nests components within each
/// other, in practice below ten; provenance of GitHub's events reaches eight.
pub const MAX_STATEMENT_DEPTH: usize = 64;

const TYPES: [&str; 2] = ["https://in-toto.io/Statement/v1", "https://in-toto.io/Statement/v0.1"];

/// A statement about an image: its type, its predicate and its subjects.
///
/// It proves nothing: whoever makes one has verified the signature over the very bytes.
#[derive(Clone, Debug)]
pub struct Statement {
    document: Value,
    predicate_type: String,
    image: Digest,
}

impl Statement {
    /// Parses the exact payload of a verified envelope (in-toto attestation framework,
    /// `statement.md`, versions 0.1 and 1) as a statement about `image`.
    ///
    /// # Errors
    /// `evidence-too-large`, `payload-malformed`, or `payload-digest-mismatch` when no subject is
    /// the image.
    pub fn parse(payload: &[u8], image: &Digest) -> Result<Self, Failure> {
        if payload.len() > MAX_STATEMENT_BYTES {
            let found = format!("a statement of {} bytes", payload.len());
            let wanted = format!("at most {MAX_STATEMENT_BYTES}");
            return Err(Failure::new(Reason::EvidenceTooLarge, found).wanted(wanted));
        }
        let document = crate::json::parse(payload)
            .map_err(|error| malformed(format!("the statement is not JSON: {error}")))?;
        if depth(&document) > MAX_STATEMENT_DEPTH {
            let found = "a statement that nests too deep";
            let wanted = format!("at most {MAX_STATEMENT_DEPTH} levels");
            return Err(Failure::new(Reason::EvidenceTooLarge, found).wanted(wanted));
        }
        let kind = text(&document, "_type");
        if !TYPES.contains(&kind) {
            let found = format!("the statement's _type is `{kind}`");
            return Err(malformed(found).wanted(TYPES.join(" or ")));
        }
        let predicate_type = text(&document, "predicateType").to_owned();
        if predicate_type.is_empty() {
            return Err(malformed("the statement has no predicateType".to_owned()));
        }
        if document.get("predicate").is_none() {
            return Err(malformed("the statement has no predicate".to_owned()));
        }
        check_subject(&document, image)?;
        Ok(Self { document, predicate_type, image: image.clone() })
    }

    /// The whole statement.
    pub fn document(&self) -> &Value {
        &self.document
    }

    /// Its predicate type; not empty.
    pub fn predicate_type(&self) -> &str {
        &self.predicate_type
    }

    /// Its predicate.
    pub fn predicate(&self) -> &Value {
        self.document.get("predicate").unwrap_or(&Value::Null)
    }

    /// Its subjects, as they are written.
    pub fn subject(&self) -> &Value {
        self.document.get("subject").unwrap_or(&Value::Null)
    }

    /// The image that it was parsed for; one of its subjects.
    pub fn image(&self) -> &Digest {
        &self.image
    }
}

fn check_subject(document: &Value, image: &Digest) -> Result<(), Failure> {
    let algorithm = match image.algorithm() {
        Algorithm::Sha256 => "sha256",
        Algorithm::Sha512 => "sha512",
    };
    let subjects = document.get("subject").and_then(Value::as_array);
    let is_image = |subject: &Value| {
        let digest = subject.get("digest").and_then(|digests| digests.get(algorithm));
        digest.and_then(Value::as_str) == Some(image.hex())
    };
    if subjects.is_some_and(|subjects| subjects.iter().any(is_image)) {
        return Ok(());
    }
    let found = "none of the statement's subjects is the image";
    Err(Failure::new(Reason::PayloadDigestMismatch, found).wanted(image))
}

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document.get(field).and_then(Value::as_str).unwrap_or_default()
}

fn malformed(found: String) -> Failure {
    Failure::new(Reason::PayloadMalformed, found)
}

/// Levels of objects and lists. The parser has bounded them already, to a larger number.
fn depth(value: &Value) -> usize {
    let deepest = match value {
        Value::Array(list) => list.iter().map(depth).max(),
        Value::Object(map) => map.values().map(depth).max(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return 0,
    };
    1 + deepest.unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image() -> Digest {
        Digest::sha256_of(b"image")
    }

    fn payload(predicate: &str) -> String {
        let hex = image().hex().to_owned();
        format!(
            r#"{{"_type":"https://in-toto.io/Statement/v1","predicateType":"t","subject":[{{"digest":{{"sha256":"{hex}"}}}}],"predicate":{predicate}}}"#
        )
    }

    #[test]
    fn accepts_both_versions() {
        for version in ["v1", "v0.1"] {
            let payload = payload("{}").replace("Statement/v1", &format!("Statement/{version}"));
            let statement = Statement::parse(payload.as_bytes(), &image()).unwrap();
            assert_eq!(statement.predicate_type(), "t");
            assert_eq!(statement.image(), &image());
        }
    }

    #[test]
    fn rejects_each_part_that_is_wrong() {
        let good = payload("{}");
        let cases = [
            (good.replace("Statement/v1", "Statement/v2"), Reason::PayloadMalformed),
            (good.replace("predicateType", "other"), Reason::PayloadMalformed),
            (good.replace(r#""t""#, r#""""#), Reason::PayloadMalformed),
            (good.replace(r#""predicate":"#, r#""other":"#), Reason::PayloadMalformed),
            (
                good.replace(r#""predicate":{}"#, r#""predicate":{"a":1,"a":2}"#),
                Reason::PayloadMalformed,
            ),
            (good.replace("subject", "other"), Reason::PayloadDigestMismatch),
            (good.replace("sha256", "sha512"), Reason::PayloadDigestMismatch),
            (good.replace(image().hex(), "00"), Reason::PayloadDigestMismatch),
            ("\"text\"".to_owned(), Reason::PayloadMalformed),
            ("no".to_owned(), Reason::PayloadMalformed),
        ];
        for (payload, reason) in cases {
            let failure = Statement::parse(payload.as_bytes(), &image()).unwrap_err();
            assert_eq!(failure.reason, reason, "{payload}: {failure}");
        }
    }

    #[test]
    fn bounds_depth_and_size_from_both_sides() {
        let nested = |levels: usize| format!("{}{}", "[".repeat(levels), "]".repeat(levels));
        let fits = payload(&nested(MAX_STATEMENT_DEPTH - 1));
        assert!(Statement::parse(fits.as_bytes(), &image()).is_ok());
        let deep = payload(&nested(MAX_STATEMENT_DEPTH));
        let failure = Statement::parse(deep.as_bytes(), &image()).unwrap_err();
        assert_eq!(failure.reason, Reason::EvidenceTooLarge);
        let mut long = payload("{}");
        long.push_str(&" ".repeat(MAX_STATEMENT_BYTES - long.len()));
        assert!(Statement::parse(long.as_bytes(), &image()).is_ok());
        long.push(' ');
        let failure = Statement::parse(long.as_bytes(), &image()).unwrap_err();
        assert_eq!(failure.reason, Reason::EvidenceTooLarge);
    }
}
