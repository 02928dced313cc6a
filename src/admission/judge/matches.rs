//! All that was verified for an image, as the rules of a policy see it.
use serde_json::Map;
use serde_json::Value;
use serde_json::json;

use super::search::Made;
use crate::policy::Authority;
use crate::verdict::SignerReport;

/// What met the authorities, by their names: the form that policy-controller gives its rules, with
/// each statement as an object in `statement`.
pub(in crate::admission) struct Matches(Option<Map<String, Value>>);

impl Matches {
    /// Nothing yet. Where nobody is going to ask, nothing is kept.
    pub(super) fn new(asked: bool) -> Self {
        Self(asked.then(Map::new))
    }

    pub(super) fn add_static(&mut self, name: &str) {
        self.add(name, || json!({ "static": true }));
    }

    pub(super) fn add_signatures(&mut self, name: &str, made: &[Made]) {
        self.add(name, || json!({ "signatures": made.iter().map(signature).collect::<Vec<_>>() }));
    }

    /// `found` holds the attestations in the order in which the authority asks for them.
    pub(super) fn add_attestations(&mut self, authority: &Authority, found: &[Vec<Made>]) {
        let one = |made: &Made| {
            let mut attestation = signature(made);
            if let (Value::Object(fields), Some(statement)) = (&mut attestation, &made.statement) {
                fields.insert("predicateType".to_owned(), statement.predicate_type().into());
                fields.insert("statement".to_owned(), statement.document().clone());
            }
            attestation
        };
        self.add(&authority.name, || {
            let names = authority.attestations.iter().map(|attestation| attestation.name.clone());
            let found = found.iter().map(|made| made.iter().map(one).collect::<Value>());
            json!({ "attestations": names.zip(found).collect::<Map<_, _>>() })
        });
    }

    fn add(&mut self, name: &str, value: impl FnOnce() -> Value) {
        if let Some(matches) = &mut self.0 {
            matches.insert(name.to_owned(), value());
        }
    }

    /// The input of the rules, with the image's configuration where they ask for it.
    pub(in crate::admission) fn input(self, config: Option<Value>) -> Value {
        let matches = Value::Object(self.0.unwrap_or_default());
        let config = config.map(|config| ("config".to_owned(), config));
        Value::Object(
            [("authorityMatches".to_owned(), matches)].into_iter().chain(config).collect(),
        )
    }
}

fn signature(made: &Made) -> Value {
    match &made.signer {
        SignerReport::Certificate { issuer, subject } => {
            json!({ "issuer": issuer, "subject": subject })
        }
        SignerReport::Key { fingerprint } => json!({ "id": fingerprint }),
    }
}
