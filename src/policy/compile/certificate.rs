//! Authorities of one's own, and the subjects that they must have certified.
use std::sync::Arc;

use super::CompileError;
use super::count;
use super::signer::pattern;
use crate::api;
use crate::policy::Signer;
use crate::policy::TextMatcher;
use crate::verify::CertificateAuthority;

const WANTED: &str = "certificates in PEM (`-----BEGIN CERTIFICATE-----`)";

const WANTED_LISTS: &str = "current revocation lists in PEM (`-----BEGIN X509 CRL-----`)";

pub(super) fn compile(spec: &api::CertificateSpec, path: &str) -> Result<Signer, CompileError> {
    let api::CertificateSpec { data, intermediates, revocation_list, identities } = spec;
    let within = |field: &str, wanted: &'static str| {
        let path = format!("{path}.{field}");
        move |error: crate::verify::KeyError| CompileError::new(path, error.problem, wanted)
    };
    // Each part on its own first, so that an error names its field.
    CertificateAuthority::from_pem(data, None, None).map_err(within("data", WANTED))?;
    CertificateAuthority::from_pem(data, intermediates.as_deref(), None)
        .map_err(within("intermediates", WANTED))?;
    let authority =
        CertificateAuthority::from_pem(data, intermediates.as_deref(), revocation_list.as_deref())
            .map_err(within("revocationList", WANTED_LISTS))?;
    let path = format!("{path}.identities");
    count(&path, identities.len(), api::MAX_IDENTITIES)?;
    let compile = |(index, spec)| compile_subject(spec, &format!("{path}[{index}]"));
    let subjects = identities.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
    Ok(Signer::Certificates { authority: Arc::new(authority), subjects })
}

/// How many regular expressions and globs the subjects hold.
pub(super) fn patterns(spec: &api::CertificateSpec) -> usize {
    spec.identities.iter().filter(|identity| identity.subject.is_none()).count()
}

fn compile_subject(spec: &api::SubjectSpec, path: &str) -> Result<TextMatcher, CompileError> {
    let api::SubjectSpec { subject, subject_glob, subject_reg_exp } = spec;
    let at = |field: &str| format!("{path}.{field}");
    match (subject, subject_glob, subject_reg_exp) {
        (Some(text), None, None) => pattern(TextMatcher::exact(text), &at("subject"), text),
        (None, Some(text), None) => pattern(TextMatcher::glob(text), &at("subjectGlob"), text),
        (None, None, Some(text)) => pattern(TextMatcher::regex(text), &at("subjectRegExp"), text),
        _ => {
            let there = [subject, subject_glob, subject_reg_exp];
            let found = there.iter().filter(|text| text.is_some()).count();
            let problem = format!("it has {found} of `subject`, `subjectGlob` and `subjectRegExp`");
            Err(CompileError::new(path, problem, "exactly one of them"))
        }
    }
}
