//! Whom a policy trusts: issuer, subject and claims of a certificate.
use std::fmt;

use super::pattern::TextMatcher;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verify::CLAIM_NAMES;
use crate::verify::CertificateIdentity;

/// Issuer and subject, both mandatory, and claims.
#[derive(Clone, Debug)]
pub struct IdentityMatcher {
    issuer: TextMatcher,
    subject: TextMatcher,
    claims: Vec<(&'static str, TextMatcher)>,
}

impl fmt::Display for IdentityMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { issuer, subject, claims: _ } = self;
        write!(f, "{subject} of issuer {issuer}")
    }
}

/// A claim that no certificate can have.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{name}` is no claim")]
pub struct UnknownClaim {
    /// The name as it was given.
    pub name: String,
}

impl IdentityMatcher {
    /// A matcher for this issuer and subject, and for these claims, all of which must match.
    ///
    /// # Errors
    /// When a claim's name is not among [`CLAIM_NAMES`].
    pub fn new(
        issuer: TextMatcher,
        subject: TextMatcher,
        claims: Vec<(String, TextMatcher)>,
    ) -> Result<Self, UnknownClaim> {
        let claims = claims
            .into_iter()
            .map(|(name, matcher)| {
                let known = CLAIM_NAMES.iter().find(|known| **known == name);
                known.map(|known| (*known, matcher)).ok_or(UnknownClaim { name })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { issuer, subject, claims })
    }

    /// Whether the certificate's identity is the one asked for. Of several subjects any may be.
    ///
    /// # Errors
    /// `issuer-mismatch`, `subject-mismatch` or `claim-mismatch`, with what was found and wanted.
    pub fn matches(&self, identity: &CertificateIdentity) -> Result<(), Failure> {
        let Self { issuer, subject, claims } = self;
        if !issuer.matches(&identity.issuer) {
            let found = format!("issuer `{}`", identity.issuer);
            return Err(Failure::new(Reason::IssuerMismatch, found).wanted(issuer));
        }
        if !identity.subjects.iter().any(|found| subject.matches(found)) {
            let found = match identity.subjects.as_slice() {
                [] => "no subject".to_owned(),
                subjects => format!("subject `{}`", subjects.join("`, `")),
            };
            return Err(Failure::new(Reason::SubjectMismatch, found).wanted(subject));
        }
        for (name, matcher) in claims {
            let found = match identity.claims.get(name) {
                Some(value) if matcher.matches(value) => continue,
                Some(value) => format!("claim {name} `{value}`"),
                None => format!("no claim {name}"),
            };
            return Err(Failure::new(Reason::ClaimMismatch, found).wanted(matcher));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;

    fn identity() -> CertificateIdentity {
        CertificateIdentity {
            issuer: "https://issuer.example".to_owned(),
            subjects: vec!["other@example.com".to_owned(), "me@example.com".to_owned()],
            claims: BTreeMap::from([
                ("sourceRepositoryURI", "https://github.com/org/app".to_owned()),
                ("runnerEnvironment", "github-hosted".to_owned()),
            ]),
        }
    }

    fn matcher() -> IdentityMatcher {
        let exact = |text| TextMatcher::exact(text).unwrap();
        IdentityMatcher::new(
            exact("https://issuer.example"),
            exact("me@example.com"),
            vec![
                ("sourceRepositoryURI".to_owned(), exact("https://github.com/org/app")),
                ("runnerEnvironment".to_owned(), exact("github-hosted")),
            ],
        )
        .unwrap()
    }

    #[test]
    fn accepts_the_identity_by_any_of_its_subjects() {
        assert_eq!(matcher().matches(&identity()), Ok(()));
    }

    #[test]
    fn rejects_when_any_single_field_differs() {
        type Change = fn(&mut CertificateIdentity);
        let cases: [(Reason, Change); 7] = [
            (Reason::IssuerMismatch, |i| i.issuer.push('x')),
            (Reason::IssuerMismatch, |i| i.issuer.clear()),
            (Reason::SubjectMismatch, |i| drop(i.subjects.pop())),
            (Reason::SubjectMismatch, |i| i.subjects.clear()),
            (Reason::ClaimMismatch, |i| drop(i.claims.remove("runnerEnvironment"))),
            (Reason::ClaimMismatch, |i| {
                i.claims.insert("runnerEnvironment", "self-hosted".to_owned());
            }),
            (Reason::ClaimMismatch, |i| {
                i.claims.insert("sourceRepositoryURI", "https://github.com/evil/app".to_owned());
            }),
        ];
        for (reason, change) in cases {
            let mut changed = identity();
            change(&mut changed);
            let failure = matcher().matches(&changed).unwrap_err();
            assert_eq!(failure.reason, reason, "{failure}");
            assert!(!failure.wanted.is_empty());
        }
    }

    #[test]
    fn rejects_when_any_single_matcher_differs() {
        let other = TextMatcher::exact("other").unwrap();
        let reason = |matcher: IdentityMatcher| matcher.matches(&identity()).unwrap_err().reason;
        let issuer = IdentityMatcher { issuer: other.clone(), ..matcher() };
        assert_eq!(reason(issuer), Reason::IssuerMismatch);
        let subject = IdentityMatcher { subject: other.clone(), ..matcher() };
        assert_eq!(reason(subject), Reason::SubjectMismatch);
        for index in 0..2 {
            let mut claims = matcher().claims;
            claims[index].1 = other.clone();
            assert_eq!(reason(IdentityMatcher { claims, ..matcher() }), Reason::ClaimMismatch);
        }
    }

    #[test]
    fn an_absent_claim_never_matches_not_even_anything() {
        let any = || TextMatcher::regex(".*").unwrap();
        let claims = vec![("buildTrigger".to_owned(), any())];
        let failure =
            IdentityMatcher::new(any(), any(), claims).unwrap().matches(&identity()).unwrap_err();
        assert_eq!(failure.reason, Reason::ClaimMismatch);
        assert_eq!(failure.found, "no claim buildTrigger");
    }

    #[test]
    fn rejects_unknown_claims_when_built() {
        let any = || TextMatcher::regex(".*").unwrap();
        let claims = vec![("sourceRepositoryUri".to_owned(), any())];
        assert!(IdentityMatcher::new(any(), any(), claims).is_err());
    }
}
