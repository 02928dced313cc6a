//! Authorities of one's own, and the subjects that they must have certified.
use std::sync::Arc;

use super::CompileError;
use super::KeyPlace;
use super::Keys;
use super::count;
use super::object;
use super::object::Source;
use super::object::Wish;
use super::signer::pattern;
use crate::api;
use crate::policy::PolicyId;
use crate::policy::Signer;
use crate::policy::TextMatcher;
use crate::verify::CertificateAuthority;
use crate::verify::KeyError;

const WANTED: &str = "certificates in PEM (`-----BEGIN CERTIFICATE-----`)";

const WANTED_LISTS: &str = "current revocation lists in PEM (`-----BEGIN X509 CRL-----`)";

/// The usual entry is that of Kubernetes' own ConfigMap of authorities, and of TLS Secrets.
const ROOTS: Wish =
    Wish { usual: "ca.crt", wanted: WANTED, here: "the root certificates themselves in `data`" };

const INTERMEDIATES: Wish = Wish {
    usual: "intermediates.crt",
    wanted: WANTED,
    here: "the certificates themselves in `intermediates`",
};

const LISTS: Wish = Wish {
    usual: "ca.crl",
    wanted: WANTED_LISTS,
    here: "the lists themselves in `revocationList`",
};

pub(super) fn compile(
    id: &PolicyId,
    spec: &api::CertificateSpec,
    path: &str,
    keys: &Keys,
) -> Result<Signer, CompileError> {
    let parts = Parts::of(spec, path)?;
    if let Some(own_namespace) = keys.own_namespace() {
        parts.all().try_for_each(|part| part.place(id, own_namespace).map(drop))?;
    }
    let identities = &spec.identities;
    let within = format!("{path}.identities");
    count(&within, identities.len(), api::MAX_IDENTITIES)?;
    let compile = |(index, spec)| compile_subject(spec, &format!("{within}[{index}]"));
    let subjects = identities.iter().enumerate().map(compile).collect::<Result<_, _>>()?;
    // What is missing may still come, so it is reported only where the rest of the spec is right.
    let Parts { roots, intermediates, lists } = &parts;
    let roots = roots.read(id, keys)?;
    let intermediates = intermediates.as_ref().map(|part| part.read(id, keys)).transpose()?;
    let lists = lists.as_ref().map(|part| part.read(id, keys)).transpose()?;
    // Each part on its own first, so that an error names its field.
    let parse = CertificateAuthority::from_pem;
    parse(roots.text, None, None).map_err(|error| roots.refuse(&error))?;
    let chain = intermediates.as_ref().map(|pem| pem.text);
    parse(roots.text, chain, None)
        .map_err(|error| intermediates.as_ref().unwrap_or(&roots).refuse(&error))?;
    let authority = parse(roots.text, chain, lists.as_ref().map(|pem| pem.text))
        .map_err(|error| lists.as_ref().unwrap_or(&roots).refuse(&error))?;
    Ok(Signer::Certificates { authority: Arc::new(authority), subjects })
}

/// Where the certificates and lists are, as far as the spec names objects in a way that can be
/// followed.
pub(super) fn places(
    id: &PolicyId,
    spec: &api::CertificateSpec,
    own_namespace: &str,
) -> Vec<KeyPlace> {
    let Ok(parts) = Parts::of(spec, "") else { return Vec::new() };
    parts.all().filter_map(|part| part.place(id, own_namespace).ok()?).collect()
}

/// What an authority consists of.
struct Parts<'a> {
    roots: Part<'a>,
    intermediates: Option<Part<'a>>,
    lists: Option<Part<'a>>,
}

impl<'a> Parts<'a> {
    fn of(spec: &'a api::CertificateSpec, path: &str) -> Result<Self, CompileError> {
        let api::CertificateSpec {
            data,
            secret_ref,
            config_map_ref,
            intermediates,
            intermediates_ref,
            revocation_list,
            revocation_list_ref,
            identities: _,
        } = spec;
        let names = "`data`, `secretRef` and `configMapRef`";
        let references = (secret_ref.as_ref(), config_map_ref.as_ref());
        let source = Source::of(data.as_deref(), references.0, references.1, (path, names))?;
        let source = source
            .ok_or_else(|| CompileError::new(path, format!("it has none of {names}"), WANTED))?;
        let at = match source {
            Source::Here(_) => format!("{path}.data"),
            Source::There(kind, _) => format!("{path}.{}", object::field(kind)),
        };
        Ok(Self {
            roots: Part { source, path: at, wish: &ROOTS },
            intermediates: Part::optional(
                intermediates.as_deref(),
                intermediates_ref.as_ref(),
                (path, "intermediates"),
                &INTERMEDIATES,
            )?,
            lists: Part::optional(
                revocation_list.as_deref(),
                revocation_list_ref.as_ref(),
                (path, "revocationList"),
                &LISTS,
            )?,
        })
    }
}

impl<'a> Parts<'a> {
    fn all(&self) -> impl Iterator<Item = &Part<'a>> {
        let Self { roots, intermediates, lists } = self;
        [Some(roots), intermediates.as_ref(), lists.as_ref()].into_iter().flatten()
    }
}

/// One PEM text of an authority, and where it is.
struct Part<'a> {
    source: Source<'a>,
    path: String,
    wish: &'static Wish,
}

impl<'a> Part<'a> {
    fn optional(
        here: Option<&'a str>,
        there: Option<&'a api::ObjectReference>,
        (parent, field): (&str, &str),
        wish: &'static Wish,
    ) -> Result<Option<Self>, CompileError> {
        let path = format!("{parent}.{field}");
        let (source, path) = match (here, there) {
            (None, None) => return Ok(None),
            (Some(pem), None) => (Source::Here(pem), path),
            (None, Some(api::ObjectReference { secret_ref, config_map_ref })) => {
                let path = format!("{path}Ref");
                let names = "`secretRef` and `configMapRef`";
                let references = (secret_ref.as_ref(), config_map_ref.as_ref());
                match Source::of(None, references.0, references.1, (&path, names))? {
                    Some(source @ Source::There(kind, _)) => {
                        (source, format!("{path}.{}", object::field(kind)))
                    }
                    Some(Source::Here(_)) | None => {
                        let problem = format!("it has none of {names}");
                        return Err(CompileError::new(path, problem, "exactly one of them"));
                    }
                }
            }
            (Some(_), Some(_)) => {
                let problem = format!("it stands beside `{field}`");
                let wanted = format!("either `{field}` or `{field}Ref`");
                return Err(CompileError::new(format!("{path}Ref"), problem, wanted));
            }
        };
        Ok(Some(Self { source, path, wish }))
    }

    /// The place of the object that it is in, if it is in one.
    fn place(&self, id: &PolicyId, own_namespace: &str) -> Result<Option<KeyPlace>, CompileError> {
        let Self { source, path, wish } = self;
        match *source {
            Source::Here(_) => Ok(None),
            Source::There(kind, reference) => {
                object::place((kind, reference), wish, id, own_namespace, path).map(Some)
            }
        }
    }

    fn read(&self, id: &PolicyId, keys: &'a Keys) -> Result<Pem<'a>, CompileError> {
        let Self { source, path, wish } = self;
        let (place, text) = match *source {
            Source::Here(text) => (None, text),
            Source::There(kind, reference) => {
                let (place, text) = object::content((kind, reference), wish, id, keys, path)?;
                (Some(place), text)
            }
        };
        let path = path.clone();
        Ok(Pem { text, path, place, wanted: wish.wanted })
    }
}

/// A PEM text as it was found.
struct Pem<'a> {
    text: &'a str,
    path: String,
    /// The object that it is from, unless it is in the spec.
    place: Option<KeyPlace>,
    wanted: &'static str,
}

impl Pem<'_> {
    /// What is wrong with it. Of an object's content nothing may be quoted: whoever writes a policy
    /// need not be someone who may read Secrets. Only of certificates and lists is said more.
    fn refuse(&self, KeyError { problem }: &KeyError) -> CompileError {
        let Some(place) = &self.place else {
            return CompileError::new(&self.path, problem, self.wanted);
        };
        let known = ["-----BEGIN CERTIFICATE-----", "-----BEGIN X509 CRL-----"];
        let labels = || {
            let lines = self.text.lines().map(str::trim);
            lines.filter(|line| line.starts_with("-----BEGIN "))
        };
        let public = labels().next().is_some() && labels().all(|label| known.contains(&label));
        let problem = match public {
            true => format!("{place} holds nothing that can be used: {problem}"),
            false => format!("{place} holds something else"),
        };
        CompileError::new(&self.path, problem, self.wanted).missing()
    }
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
