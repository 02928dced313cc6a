//! Predicate types, and cosign's short names for them.
use std::fmt;

use super::RuleError;
use crate::policy::suggest;

const CUSTOM: &str = "https://cosign.sigstore.dev/attestation/v1";
const CYCLONEDX: &str = "https://cyclonedx.org/bom";
const LINK: &str = "https://in-toto.io/Link/v1";
const OPENVEX: &str = "https://openvex.dev/ns";
pub(super) const SLSA_0_1: &str = "https://slsa.dev/provenance/v0.1";
pub(super) const SLSA_0_2: &str = "https://slsa.dev/provenance/v0.2";
pub(super) const SLSA_1: &str = "https://slsa.dev/provenance/v1";
const SPDX: &str = "https://spdx.dev/Document";
const VULN: &str = "https://cosign.sigstore.dev/attestation/vuln/v1";

/// The short names that policies may use, as `cosign attest --type` has them.
pub const SHORT_NAMES: [(&str, &str); 10] = [
    ("custom", CUSTOM),
    ("cyclonedx", CYCLONEDX),
    ("link", LINK),
    ("openvex", OPENVEX),
    ("slsaprovenance", SLSA_0_2),
    ("slsaprovenance02", SLSA_0_2),
    ("slsaprovenance1", SLSA_1),
    ("spdx", SPDX),
    ("spdxjson", SPDX),
    ("vuln", VULN),
];

/// Types whose later versions append to the address: `https://cyclonedx.org/bom/v1.5`.
const VERSIONED: [&str; 3] = [CYCLONEDX, OPENVEX, SPDX];

/// Predicate types that will do: alternatives, never empty.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct PredicateTypes(Vec<PredicateType>);

#[derive(Clone, Debug, Eq, PartialEq)]
struct PredicateType {
    address: String,
    /// Whether the address followed by `/v` and a version will do too.
    any_version: bool,
}

/// The predicate types that a short name or an address stands for.
///
/// The short names `cyclonedx`, `openvex`, `spdx` and `spdxjson` also stand for the addresses with
/// a version, for example `https://openvex.dev/ns/v0.2.0`; an address stands for itself alone.
///
/// # Errors
/// When it is neither a short name nor an address.
pub fn predicate_types(text: &str, path: &str) -> Result<PredicateTypes, RuleError> {
    if let Some((_, full)) = SHORT_NAMES.iter().find(|(short, _)| *short == text) {
        return Ok(PredicateTypes::of(&[full]));
    }
    if text.contains(':') && !text.chars().any(char::is_whitespace) {
        let address = text.to_owned();
        return Ok(PredicateTypes(vec![PredicateType { address, any_version: false }]));
    }
    let names = SHORT_NAMES.map(|(short, _)| short);
    let wanted = suggest::nearest(text, names).map_or_else(
        || format!("an address, or one of {}", names.join(", ")),
        |nearest| format!("`{nearest}`"),
    );
    Err(RuleError::new(path, format!("`{text}` is no predicate type"), wanted))
}

impl PredicateTypes {
    fn of(types: &[&str]) -> Self {
        let one = |full: &&str| PredicateType {
            address: (*full).to_owned(),
            any_version: VERSIONED.contains(full),
        };
        Self(types.iter().map(one).collect())
    }

    pub(super) fn slsa() -> Self {
        Self::of(&[SLSA_1, SLSA_0_2, SLSA_0_1])
    }

    pub(super) fn vuln() -> Self {
        Self::of(&[VULN])
    }

    pub(super) fn sbom() -> Self {
        Self::of(&[SPDX, CYCLONEDX])
    }

    pub(super) fn openvex() -> Self {
        Self::of(&[OPENVEX])
    }

    /// Whether a statement of this predicate type will do.
    pub fn contains(&self, predicate_type: &str) -> bool {
        self.0.iter().any(|PredicateType { address, any_version }| {
            address == predicate_type || (*any_version && is_version(address, predicate_type))
        })
    }

    /// The addresses, and whether versions of each will do too.
    pub(crate) fn addresses(&self) -> impl ExactSizeIterator<Item = (&str, bool)> {
        self.0.iter().map(|one| (one.address.as_str(), one.any_version))
    }

    /// Whether each of these types is among `others`.
    pub(super) fn within(&self, others: &Self) -> bool {
        self.0.iter().all(|one| others.contains(&one.address))
    }
}

/// Whether `found` is `base/v` with a version in digits and dots.
fn is_version(base: &str, found: &str) -> bool {
    found.strip_prefix(base).and_then(|rest| rest.strip_prefix("/v")).is_some_and(|version| {
        version.starts_with(|c: char| c.is_ascii_digit())
            && version.chars().all(|c| c.is_ascii_digit() || c == '.')
    })
}

impl fmt::Display for PredicateTypes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let addresses: Vec<&str> = self.0.iter().map(|one| one.address.as_str()).collect();
        f.write_str(&addresses.join(" or "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_names_are_cosigns() {
        for (text, found, expected) in [
            ("slsaprovenance", SLSA_0_2, true),
            ("slsaprovenance", SLSA_1, false),
            ("slsaprovenance1", SLSA_1, true),
            ("vuln", VULN, true),
            ("openvex", "https://openvex.dev/ns", true),
            ("openvex", "https://openvex.dev/ns/v0.2.0", true),
            ("openvex", "https://openvex.dev/ns/vx", false),
            ("openvex", "https://openvex.dev/ns/v", false),
            ("openvex", "https://openvex.dev/nsv0.2.0", false),
            ("cyclonedx", "https://cyclonedx.org/bom/v1.5", true),
            ("spdxjson", "https://spdx.dev/Document/v2.3", true),
            ("spdx", "https://spdx.dev/Document/v2.3/evil", false),
            ("custom", CUSTOM, true),
            ("link", LINK, true),
            ("https://openvex.dev/ns", "https://openvex.dev/ns/v0.2.0", false),
            ("https://example.com/type/v1", "https://example.com/type/v1", true),
        ] {
            let types = predicate_types(text, "p").unwrap();
            assert_eq!(types.contains(found), expected, "{text}: {found}");
        }
    }

    #[test]
    fn rejects_what_is_no_type() {
        for (text, wanted) in [
            ("slsaprovenence", "`slsaprovenance`"),
            ("zzzzzz", "one of custom"),
            ("a: b", "one of"),
        ] {
            let error = predicate_types(text, "p").unwrap_err();
            assert!(error.wanted.contains(wanted), "{error}");
        }
    }
}
