//! A Sigstore trust root: the certificate authorities, logs and timestamp authorities to believe.
use std::fmt;
use std::sync::Arc;
use std::sync::OnceLock;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use sigstore_verify::Verifier;
use sigstore_verify::crypto::VerificationKey;
use sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
use sigstore_verify::trust_root::TimeRange;
use sigstore_verify::trust_root::TrustedRoot;
use sigstore_verify::trust_root::TsaAuthority;
use sigstore_verify::types::DerPublicKey;
use sigstore_verify::types::LogId;

use crate::fingerprint::Fingerprint;
use crate::fingerprint::Parts;
use crate::verdict::printable;

pub(crate) mod distinct;
pub mod tuf;

/// Most bytes of a `trusted_root.json`. The public-good instance's has 7 KiB, GitHub's 10 KiB.
pub const MAX_BYTES: usize = 1024 * 1024;

/// Most logs, authorities or timestamp authorities of one kind. Public roots have fewer than ten.
const MAX_ENTRIES: usize = 64;

/// A parsed `trusted_root.json`; cheap to clone.
#[derive(Clone)]
pub struct TrustRoot(Arc<Inner>);

struct Inner {
    verifier: Verifier,
    logs: Vec<Log>,
    ct_logs: Vec<Log>,
    authorities: Vec<Authority>,
    timestamp_authorities: Vec<TsaAuthority>,
    services: Vec<String>,
    problems: Vec<String>,
    fingerprint: Fingerprint,
}

/// A transparency log, of signatures or of certificates.
pub(crate) struct Log {
    /// SHA-256 of the key (Rekor v1, certificate transparency) or the C2SP key hash (Rekor v2).
    pub(crate) id: [u8; 32],
    pub(crate) key: VerificationKey,
    pub(crate) window: Option<TimeRange>,
}

impl Log {
    /// Whether the log's key was valid at `time`.
    pub(crate) fn valid_at(&self, time: Timestamp) -> bool {
        self.window.is_none_or(|window| window.contains(time))
    }
}

/// A certificate authority: a chain from the issuing certificate to the root.
pub(crate) struct Authority {
    pub(crate) chain: Vec<Vec<u8>>,
    pub(crate) window: Option<TimeRange>,
    /// For each certificate of the chain but the last, what was found out about its path.
    proven: Vec<OnceLock<Proven>>,
}

/// That a certificate leads to its authority's root, and issues signing certificates: verified once,
/// for all that it issues.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct Proven {
    /// SHA-256 of its public key, as certificates hold it.
    pub(crate) key: Fingerprint,
    /// From when on it, and every certificate of the path, is valid: a second.
    pub(crate) from: i64,
    /// The last second of that.
    pub(crate) until: i64,
}

impl Proven {
    /// Whether every certificate of the path is valid at `time`.
    pub(crate) fn covers(&self, time: Timestamp) -> bool {
        (self.from..=self.until).contains(&time.as_second())
    }
}

impl Authority {
    pub(crate) fn new(chain: Vec<Vec<u8>>, window: Option<TimeRange>) -> Self {
        let proven = chain.iter().skip(1).map(|_| OnceLock::new()).collect();
        Self { chain, window, proven }
    }

    /// Whether its certificates are to be believed at `time`.
    pub(crate) fn valid_at(&self, time: Timestamp) -> bool {
        self.window.is_none_or(|window| window.contains(time))
    }

    /// The certificates of the chain whose path to the root was verified.
    pub(crate) fn issuers(&self) -> impl Iterator<Item = (&[u8], Proven)> {
        let proven = self.chain.iter().zip(&self.proven);
        proven.filter_map(|(der, proven)| Some((der.as_slice(), *proven.get()?)))
    }

    /// Remembers what was verified about a certificate of the chain. The first to say so counts.
    pub(crate) fn remember(&self, der: &[u8], proven: Proven) {
        let place = self.chain.iter().position(|known| known == der);
        if let Some(slot) = place.and_then(|place| self.proven.get(place)) {
            slot.get_or_init(|| proven);
        }
    }
}

impl TrustRoot {
    /// The public-good instance's, embedded at build time.
    ///
    /// # Panics
    /// Never: a test parses the embedded document.
    pub fn public_good() -> Self {
        #[expect(clippy::expect_used, reason = "a constant document, parsed by a test")]
        Self::from_json(SIGSTORE_PRODUCTION_TRUSTED_ROOT).expect("embedded trust root")
    }

    /// Parses a `trusted_root.json` (Sigstore protobuf specification, `sigstore_trustroot.proto`).
    ///
    /// An entry of an unknown key type or with a malformed identifier is left out and reported by
    /// [`Self::problems`]: one log of tomorrow must not take today's away.
    ///
    /// # Errors
    /// When the document is too large, is no such JSON, or nothing in it can be used.
    pub fn from_json(json: &str) -> Result<Self, TrustRootError> {
        if json.len() > MAX_BYTES {
            let size = json.len();
            return Err(TrustRootError::new(format!("{size} bytes; the limit is {MAX_BYTES}")));
        }
        let document = crate::json::parse(json.as_bytes())
            .map_err(|error| TrustRootError::new(format!("not JSON: {error}")))?;
        let media_type = document.get("mediaType").and_then(Value::as_str).unwrap_or_default();
        if !media_type.starts_with("application/vnd.dev.sigstore.trustedroot") {
            return Err(TrustRootError::new(format!(
                "media type is `{}`, wanted application/vnd.dev.sigstore.trustedroot+json",
                printable(media_type)
            )));
        }
        let (document, problems) = sanitise(&document, media_type)?;
        Inner::new(document, problems).map(|inner| Self(Arc::new(inner)))
    }

    /// Of all that is believed: two documents of the same content have the same one, however they
    /// are written, and whatever is distrusted or ends sooner makes another.
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// Entries that were left out, a line each.
    pub fn problems(&self) -> &[String] {
        &self.0.problems
    }

    /// Whether a certificate authority or a log states this address as its own. It proves nothing:
    /// keys alone are believed.
    pub(crate) fn has_service(&self, address: &str) -> bool {
        self.0.services.iter().any(|service| service == address)
    }

    pub(crate) fn verifier(&self) -> &Verifier {
        &self.0.verifier
    }

    pub(crate) fn logs(&self) -> &[Log] {
        &self.0.logs
    }

    /// The logs of certificates.
    pub(crate) fn ct_logs(&self) -> &[Log] {
        &self.0.ct_logs
    }

    pub(crate) fn authorities(&self) -> &[Authority] {
        &self.0.authorities
    }

    pub(crate) fn timestamp_authorities(&self) -> &[TsaAuthority] {
        &self.0.timestamp_authorities
    }
}

impl fmt::Debug for TrustRoot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TrustRoot")
            .field("logs", &self.0.logs.len())
            .field("authorities", &self.0.authorities.len())
            .field("timestamp_authorities", &self.0.timestamp_authorities.len())
            .field("problems", &self.0.problems)
            .finish_non_exhaustive()
    }
}

impl Inner {
    fn new(document: Value, problems: Vec<String>) -> Result<Self, TrustRootError> {
        // All below is made of this document alone. Its names are sorted.
        let fingerprint = Parts::of("trust root").part(document.to_string()).finish();
        let root: TrustedRoot = serde_json::from_value(document).map_err(TrustRootError::new)?;
        let verifier = Verifier::new(&root).map_err(TrustRootError::new)?;
        let logs: Vec<Log> = root
            .tlogs
            .iter()
            .filter_map(|log| {
                Log::new(&log.log_id, &log.public_key.raw_bytes, log.public_key.valid_for)
            })
            .collect();
        let ct_logs = root
            .ctlogs
            .iter()
            .filter_map(|log| {
                Log::new(&log.log_id, &log.public_key.raw_bytes, log.public_key.valid_for)
            })
            .collect();
        let authorities: Vec<Authority> = root
            .certificate_authorities
            .iter()
            .map(|authority| {
                let certificates = authority.cert_chain.certificates.iter();
                let chain = certificates.map(|one| one.raw_bytes.as_bytes().to_vec()).collect();
                Authority::new(chain, authority.valid_for)
            })
            .collect();
        let timestamp_authorities = root.tsa_authorities();
        if logs.is_empty() && authorities.is_empty() && timestamp_authorities.is_empty() {
            let why = problems.first().map_or_else(String::new, |first| format!(": {first}"));
            return Err(TrustRootError::new(format!(
                "holds no certificate authority, log or timestamp authority that can be used{why}"
            )));
        }
        let services = root.certificate_authorities.iter().map(|authority| authority.uri.clone());
        let services = services.chain(root.tlogs.iter().map(|log| log.base_url.clone())).collect();
        Ok(Self {
            verifier,
            logs,
            ct_logs,
            authorities,
            timestamp_authorities,
            services,
            problems,
            fingerprint,
        })
    }
}

impl Log {
    fn new(id: &LogId, key: &DerPublicKey, window: Option<TimeRange>) -> Option<Self> {
        let key = VerificationKey::from_spki(key).ok()?;
        Some(Self { id: id.key_id.as_bytes().try_into().ok()?, key, window })
    }
}

/// Keeps the entries that the verifier can use on their own; names the others.
fn sanitise(document: &Value, media_type: &str) -> Result<(Value, Vec<String>), TrustRootError> {
    let mut kept = json!({ "mediaType": media_type });
    let mut problems = Vec::new();
    for field in ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"] {
        let entries = match document.get(field) {
            None | Some(Value::Null) => continue,
            Some(Value::Array(entries)) => entries,
            Some(_) => return Err(TrustRootError::new(format!("`{field}` is not a list"))),
        };
        if entries.len() > MAX_ENTRIES {
            let count = entries.len();
            return Err(TrustRootError::new(format!(
                "`{field}` has {count} entries; the limit is {MAX_ENTRIES}"
            )));
        }
        let mut good: Vec<Value> = Vec::new();
        for (index, entry) in entries.iter().enumerate() {
            let mut attempt = good.clone();
            attempt.push(entry.clone());
            let alone = json!({ "mediaType": media_type, field: attempt });
            match usable(alone) {
                Ok(()) => good.push(entry.clone()),
                Err(why) => problems.push(format!("{field}[{index}] is left out: {why}")),
            }
        }
        if let Value::Object(map) = &mut kept {
            map.insert(field.to_owned(), Value::Array(good));
        }
    }
    Ok((kept, problems))
}

fn usable(document: Value) -> Result<(), String> {
    let root: TrustedRoot =
        serde_json::from_value(document).map_err(|error| printable(&error.to_string()))?;
    Verifier::new(&root).map(drop).map_err(|error| printable(&error.to_string()))
}

/// Why a document is not a trust root.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct TrustRootError {
    /// What is wrong, in one clause.
    pub problem: String,
}

impl TrustRootError {
    fn new(problem: impl fmt::Display) -> Self {
        Self { problem: problem.to_string() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn public_good_is_usable_in_full() {
        let root = TrustRoot::public_good();
        assert_eq!(root.problems(), &[] as &[String]);
        assert!(!root.logs().is_empty() && root.authorities().len() >= 2);
        assert!(!root.timestamp_authorities().is_empty());
    }

    #[test]
    fn the_fingerprint_is_of_what_is_believed() {
        let document: Value = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        let of = |document: &Value| {
            let text = serde_json::to_string_pretty(document).unwrap();
            TrustRoot::from_json(&text).unwrap().fingerprint()
        };
        let whole = TrustRoot::public_good().fingerprint();
        assert_eq!(of(&document), whole);
        let mut backwards = String::from("{");
        let fields: Vec<_> = document.as_object().unwrap().iter().rev().collect();
        for (index, (name, value)) in fields.iter().enumerate() {
            let comma = if index == 0 { "" } else { " , " };
            backwards.push_str(&format!("{comma}{}:{value}", json!(name)));
        }
        backwards.push('}');
        assert_eq!(TrustRoot::from_json(&backwards).unwrap().fingerprint(), whole);
        for change in [
            (|root| drop(root["tlogs"].as_array_mut().unwrap().remove(0))) as fn(&mut Value),
            |root| drop(root["ctlogs"].as_array_mut().unwrap().remove(0)),
            |root| drop(root["certificateAuthorities"].as_array_mut().unwrap().remove(0)),
            |root| drop(root["timestampAuthorities"].as_array_mut().unwrap().remove(0)),
            |root| {
                root["tlogs"][0]["publicKey"]["validFor"]["end"] = json!("2024-01-01T00:00:00Z");
            },
            |root| {
                root["certificateAuthorities"][1]["validFor"]["end"] =
                    json!("2024-01-01T00:00:00Z");
            },
        ] {
            let mut changed = document.clone();
            change(&mut changed);
            assert_ne!(of(&changed), whole);
        }
    }

    #[test]
    fn leaves_out_what_it_cannot_use_and_says_so() {
        let mut document: Value = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        let mut unknown = document["tlogs"][0].clone();
        unknown["logId"]["keyId"] = json!("AAAAAA==");
        document["tlogs"].as_array_mut().unwrap().insert(0, unknown);
        let whole = TrustRoot::public_good().logs().len();
        let root = TrustRoot::from_json(&document.to_string()).unwrap();
        assert_eq!(root.logs().len(), whole);
        assert!(root.problems()[0].starts_with("tlogs[0] is left out"), "{:?}", root.problems());
    }

    #[test]
    fn bounds_bytes_and_entries_from_both_sides() {
        let mut text = SIGSTORE_PRODUCTION_TRUSTED_ROOT.to_owned();
        text.push_str(&" ".repeat(MAX_BYTES - text.len()));
        assert!(TrustRoot::from_json(&text).is_ok());
        text.push(' ');
        let error = TrustRoot::from_json(&text).unwrap_err();
        assert_eq!(error.problem, "1048577 bytes; the limit is 1048576");
        for field in ["tlogs", "certificateAuthorities", "ctlogs", "timestampAuthorities"] {
            let of = |count: usize| {
                let mut document: Value =
                    serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
                let first = document[field][0].clone();
                document[field] = json!(vec![first; count]);
                TrustRoot::from_json(&document.to_string())
            };
            // Repetitions are left out; the document is read all the same.
            assert!(of(MAX_ENTRIES).is_ok(), "{field}");
            let error = of(MAX_ENTRIES + 1).unwrap_err();
            assert_eq!(error.problem, format!("`{field}` has 65 entries; the limit is 64"));
        }
    }

    #[test]
    fn rejects_what_is_no_trust_root() {
        for text in ["", "[]", "{}", r#"{"mediaType":"text/plain"}"#] {
            assert!(TrustRoot::from_json(text).is_err(), "{text}");
        }
        let empty = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
        let error = TrustRoot::from_json(empty).unwrap_err();
        assert!(error.problem.contains("holds no certificate authority"), "{error}");
    }
}
