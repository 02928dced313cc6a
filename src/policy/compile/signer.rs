//! Identities of certificates.
use super::CompileError;
use super::count;
use super::form;
use super::form::Text;
use super::unsupported;
use crate::api;
use crate::policy::IdentityMatcher;
use crate::policy::Signer;
use crate::policy::TextMatcher;
use crate::policy::pattern::PatternError;
use crate::policy::suggest;
use crate::verify::CLAIM_NAMES;

pub(super) fn compile_keyless(spec: &api::KeylessSpec, path: &str) -> Result<Signer, CompileError> {
    let api::KeylessSpec {
        identities,
        trust_root_ref: _,
        url: _,
        ca_cert,
        certificate,
        insecure_ignore_sct,
    } = spec;
    let trust_root = "leave it out, and name a TrustRoot in `trustRootRef` where it is not the \
                      default one";
    for (field, there) in [("ca-cert", ca_cert.is_some()), ("certificate", certificate.is_some())] {
        if there {
            return Err(unsupported(format!("{path}.{field}"), trust_root));
        }
    }
    if *insecure_ignore_sct == Some(true) {
        let advice = "name a TrustRoot with the instance's own certificate transparency log";
        return Err(unsupported(format!("{path}.insecureIgnoreSCT"), advice));
    }
    let path = format!("{path}.identities");
    count(&path, identities.len(), api::MAX_IDENTITIES)?;
    let compile = |(index, spec)| compile_identity(spec, &format!("{path}[{index}]"));
    let identities = identities.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
    Ok(Signer::Identities(identities))
}

pub(super) fn compile_identity(
    spec: &api::IdentitySpec,
    path: &str,
) -> Result<IdentityMatcher, CompileError> {
    let api::IdentitySpec { issuer, issuer_reg_exp, subject, subject_reg_exp, claims, .. } = spec;
    let mut matchers = Vec::new();
    let (issuer, subject) = match form::expand(spec, path)? {
        Some(form) => {
            for (name, text) in form.claims {
                matchers.push((name.to_owned(), expanded(&text, path)?));
            }
            (expanded(&Text::Exact(form.issuer), path)?, expanded(&form.subject, path)?)
        }
        None => (
            one_of(issuer.as_deref(), issuer_reg_exp.as_deref(), path, "issuer")?,
            one_of(subject.as_deref(), subject_reg_exp.as_deref(), path, "subject")?,
        ),
    };
    if claims.len() > api::MAX_CLAIMS {
        count(&format!("{path}.claims"), claims.len(), api::MAX_CLAIMS)?;
    }
    for (name, claim) in claims {
        let path = format!("{path}.claims.{name}");
        if !CLAIM_NAMES.contains(&name.as_str()) {
            let wanted = suggest::nearest(name, CLAIM_NAMES.iter().copied()).map_or_else(
                || format!("one of {}", CLAIM_NAMES.join(", ")),
                |nearest| format!("`{nearest}`"),
            );
            return Err(CompileError::new(path, format!("`{name}` is no claim"), wanted));
        }
        matchers.push((name.clone(), compile_claim(claim, &path)?));
    }
    IdentityMatcher::new(issuer, subject, matchers)
        .map_err(|error| CompileError::new(format!("{path}.claims"), error, ""))
}

fn expanded(text: &Text, path: &str) -> Result<TextMatcher, CompileError> {
    match text {
        Text::Exact(text) => pattern(TextMatcher::exact(text), path, text),
        Text::Glob(text) => pattern(TextMatcher::glob(text), path, text),
    }
}

fn one_of(
    exact: Option<&str>,
    regex: Option<&str>,
    path: &str,
    field: &str,
) -> Result<TextMatcher, CompileError> {
    match (exact, regex) {
        (Some(exact), None) => {
            pattern(TextMatcher::exact(exact), &format!("{path}.{field}"), exact)
        }
        (None, Some(regex)) => {
            pattern(TextMatcher::regex(regex), &format!("{path}.{field}RegExp"), regex)
        }
        (None, None) => Err(CompileError::new(
            path,
            format!("it has neither `{field}` nor `{field}RegExp`"),
            format!("one of them; `{field}RegExp: .*` says that it may be anyone"),
        )),
        (Some(_), Some(_)) => Err(CompileError::new(
            path,
            format!("it has both `{field}` and `{field}RegExp`"),
            "one of them",
        )),
    }
}

fn compile_claim(spec: &api::ClaimSpec, path: &str) -> Result<TextMatcher, CompileError> {
    let api::ClaimSpec { exact, glob, regex } = spec;
    match (exact, glob, regex) {
        (Some(text), None, None) => pattern(TextMatcher::exact(text), path, text),
        (None, Some(text), None) => pattern(TextMatcher::glob(text), path, text),
        (None, None, Some(text)) => pattern(TextMatcher::regex(text), path, text),
        _ => {
            let found = [exact, glob, regex].iter().filter(|text| text.is_some()).count();
            let problem = format!("it has {found} of `exact`, `glob` and `regex`");
            Err(CompileError::new(path, problem, "a text, or exactly one of them"))
        }
    }
}

pub(super) fn pattern(
    result: Result<TextMatcher, PatternError>,
    path: &str,
    text: &str,
) -> Result<TextMatcher, CompileError> {
    result.map_err(|error| {
        let problem = format!("`{text}` cannot be used: {}", error.problem);
        CompileError::new(path, problem, "a text or pattern that matches the whole value")
    })
}
