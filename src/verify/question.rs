//! What a candidate is verified against.
use jiff::Timestamp;

use super::key::PublicKey;
use super::pki::CertificateAuthority;
use crate::fingerprint::Fingerprint;
use crate::fingerprint::Parts;
use crate::image::Digest;
use crate::policy::Demands;
use crate::policy::LogDemand;
use crate::policy::PayloadKind;
use crate::trust_root::TrustRoot;

/// What to verify a candidate against.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The image digest that the signature must be for.
    pub digest: &'a Digest,
    /// The key that must have signed, or `None` for a certificate.
    pub key: Option<&'a PublicKey>,
    /// What must prove log inclusion and time.
    pub demands: Demands,
    /// What the payload must be.
    pub payload: &'a PayloadKind,
    /// Whom to believe.
    pub trust_root: &'a TrustRoot,
    /// The present, for refusing signing times in the future.
    pub now: Timestamp,
}

impl Question<'_> {
    /// Of the question, and of the authority in place of Fulcio's where there is one: whatever would
    /// change the answer, but for the present.
    pub(crate) fn fingerprint(&self, own: Option<&CertificateAuthority>) -> Fingerprint {
        let Self { digest, key, demands, payload, trust_root, now: _ } = self;
        let parts = Parts::of("question").part(digest.to_string()).part(trust_root.fingerprint());
        let parts = match (own, key) {
            // A key is not looked at then.
            (Some(own), _) => parts.part("authority").part(own.fingerprint()),
            (None, Some(key)) => {
                let schemes = key.schemes().iter().map(ToString::to_string);
                parts.part("key").part(key.fingerprint()).list(schemes)
            }
            (None, None) => parts.part("certificate"),
        };
        let Demands { log, log_threshold, timestamp, timestamp_threshold } = demands;
        let log = match log {
            LogDemand::Optional => 0,
            LogDemand::Entry => 1,
            LogDemand::Proof => 2,
        };
        let parts = parts
            .number(log)
            .number(log_threshold.get())
            .number(usize::from(*timestamp))
            .number(timestamp_threshold.get());
        match payload {
            PayloadKind::Signature => parts.part("signature"),
            PayloadKind::Statement { predicate_types: None } => parts.part("statement"),
            PayloadKind::Statement { predicate_types: Some(types) } => {
                types.addresses().fold(parts.part("statement of"), |parts, (address, versions)| {
                    parts.part(address).number(usize::from(versions))
                })
            }
        }
        .finish()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::num::NonZeroUsize;

    use serde_json::Value;
    use serde_json::json;
    use sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

    use super::*;
    use crate::conditions::predicate_types;
    use crate::verify::HashAlgorithm;

    #[test]
    fn whatever_changes_the_answer_changes_the_fingerprint() {
        let [digest, other] = [b"a", b"b"].map(|bytes| Digest::sha256_of(bytes));
        let root = TrustRoot::public_good();
        let mut document: Value = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        document["tlogs"] = json!([]);
        let another = TrustRoot::from_json(&document.to_string()).unwrap();
        let pem = rcgen::KeyPair::generate().unwrap().public_key_pem();
        let key = |hash| PublicKey::from_pem(&pem, hash).unwrap().remove(0);
        let (plain, long) = (key(None), key(Some(HashAlgorithm::Sha512)));
        let statement = |types: Option<&str>| PayloadKind::Statement {
            predicate_types: types.map(|types| predicate_types(types, "").unwrap()),
        };
        let kinds = [
            statement(None),
            statement(Some("spdx")),
            statement(Some("https://spdx.dev/Document")),
            statement(Some("vuln")),
        ];
        let two = NonZeroUsize::new(2).unwrap();
        let base = Question {
            digest: &digest,
            key: None,
            demands: Demands::new(LogDemand::Entry, false),
            payload: &PayloadKind::Signature,
            trust_root: &root,
            now: Timestamp::UNIX_EPOCH,
        };
        let demands = base.demands;
        let mut all = vec![
            base,
            Question { digest: &other, ..base },
            Question { trust_root: &another, ..base },
            Question { key: Some(&plain), ..base },
            Question { key: Some(&long), ..base },
            Question { demands: Demands { log: LogDemand::Proof, ..demands }, ..base },
            Question { demands: Demands { log: LogDemand::Optional, ..demands }, ..base },
            Question { demands: Demands { log_threshold: two, ..demands }, ..base },
            Question { demands: Demands { timestamp: true, ..demands }, ..base },
            Question { demands: Demands { timestamp_threshold: two, ..demands }, ..base },
        ];
        all.extend(kinds.iter().map(|payload| Question { payload, ..base }));
        let distinct: BTreeSet<Fingerprint> = all.iter().map(|one| one.fingerprint(None)).collect();
        assert_eq!(distinct.len(), all.len());
        let later = Question { now: Timestamp::MAX, ..base };
        assert_eq!(later.fingerprint(None), base.fingerprint(None));
    }
}
