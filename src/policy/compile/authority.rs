//! Authorities: who, where, in which format, and what must prove it.
use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::sync::Arc;

use super::CompileError;
use super::References;
use super::attestation;
use super::certificate;
use super::count;
use super::form;
use super::key;
use super::service;
use super::signer;
use super::unsupported;
use crate::api;
use crate::evidence::Format;
use crate::image::Repository;
use crate::policy::Authority;
use crate::policy::Demands;
use crate::policy::LogDemand;
use crate::policy::PolicyId;
use crate::policy::Signer;
use crate::policy::Source;
use crate::policy::suggest;
use crate::trust_root::TrustRoot;
use crate::verify::MAX_LOG_ENTRIES;
use crate::verify::MAX_TIMESTAMPS;

/// Longest name of an authority, in characters: it stands in every denial.
const MAX_NAME: usize = 253;

/// Longest message of a static refusal, in characters: it stands in the line that kubectl prints.
const MAX_MESSAGE: usize = 1024;

/// Most regular expressions and globs in the identities of one policy. Release teams write tens;
/// each may take the memory of [`crate::policy::pattern::MAX_REGEX_BYTES`], and a cache to search
/// with, so without a sum one policy of the size that etcd takes could hold gigabytes.
const MAX_PATTERNS: usize = 256;

/// Longest tag prefix: a tag has at most 128 characters (OCI distribution specification), of
/// which `-sha256-`, 64 digits and `.sig` or `.att` take 76.
const MAX_TAG_PREFIX: usize = 48;

pub(super) fn compile_all(
    id: &PolicyId,
    specs: &[api::AuthoritySpec],
    roots: &References,
) -> Result<Vec<Authority>, CompileError> {
    count("spec.authorities", specs.len(), api::MAX_AUTHORITIES)?;
    let patterns = patterns(specs);
    if patterns > MAX_PATTERNS {
        let problem = format!("{patterns} regular expressions and globs in identities");
        let wanted = format!("at most {MAX_PATTERNS}, or several policies");
        return Err(CompileError::new("spec.authorities", problem, wanted));
    }
    let mut names = BTreeSet::new();
    let mut authorities = Vec::new();
    let mut missing = None;
    for (index, spec) in specs.iter().enumerate() {
        let path = format!("spec.authorities[{index}]");
        let name = compile_name(index, spec.name.as_deref(), &path)?;
        if !names.insert(name.clone()) {
            return Err(CompileError::new(
                format!("{path}.name"),
                format!("`{name}` is the name of an earlier authority, too"),
                "a name of its own for each authority",
            ));
        }
        match compile(name, spec, &path, (id, roots)) {
            Ok(authority) => authorities.push(authority),
            Err(error) if error.missing => drop(missing.get_or_insert(error)),
            Err(error) => return Err(error),
        }
    }
    missing.map_or(Ok(authorities), Err)
}

/// How many regular expressions and globs the identities and the rules of these authorities hold.
pub fn patterns(specs: &[api::AuthoritySpec]) -> usize {
    let of_identity = |identity: &api::IdentitySpec| {
        let claims = identity.claims.values().filter(|claim| claim.exact.is_none()).count();
        let issuer = usize::from(identity.issuer_reg_exp.is_some());
        // What cannot be expanded is refused, and holds no memory.
        let form = form::expand(identity, "").ok().flatten().map_or(0, |form| form.patterns());
        issuer + usize::from(identity.subject_reg_exp.is_some()) + claims + form
    };
    let keyless = specs.iter().filter_map(|spec| spec.keyless.as_ref());
    let identities: usize = keyless.flat_map(|keyless| &keyless.identities).map(of_identity).sum();
    let certificates = specs.iter().filter_map(|spec| spec.certificate.as_ref());
    let attestations = specs.iter().filter_map(|spec| spec.attestations.as_deref());
    identities
        + certificates.map(certificate::patterns).sum::<usize>()
        + attestations.flatten().map(attestation::patterns).sum::<usize>()
}

fn compile(
    name: String,
    spec: &api::AuthoritySpec,
    path: &str,
    (id, roots): (&PolicyId, &References),
) -> Result<Authority, CompileError> {
    let api::AuthoritySpec {
        name: _,
        key,
        keyless,
        certificate,
        fixed,
        source,
        ctlog,
        rfc3161timestamp,
        attestations,
        signature_format,
    } = spec;
    let attestations =
        attestation::compile_all(id, attestations.as_deref(), &format!("{path}.attestations"))?;
    service::check_addresses(spec, path, &roots.default)?;
    let rekor = service::compile_log(ctlog.as_ref(), path)?;
    let sources = compile_sources(source, path)?;
    // What is missing comes last, so that it hides nothing else.
    let trust_root = match trust_root(spec, path, roots) {
        Err(error) if !error.missing => return Err(error),
        trust_root => trust_root,
    };
    let signer = match (key, keyless, certificate, fixed) {
        (Some(key), None, None, None) => {
            key::compile(id, key, &format!("{path}.key"), &roots.keys)?
        }
        (None, Some(keyless), None, None) => {
            signer::compile_keyless(keyless, &format!("{path}.keyless"))?
        }
        (None, None, Some(certificate), None) => {
            certificate::compile(id, certificate, &format!("{path}.certificate"), &roots.keys)?
        }
        (None, None, None, Some(fixed)) => compile_static(spec, fixed, path)?,
        _ => {
            let found = [key.is_some(), keyless.is_some(), certificate.is_some(), fixed.is_some()];
            let found = found.iter().filter(|there| **there).count();
            return Err(CompileError::new(
                path,
                format!("it has {found} of `key`, `keyless`, `certificate` and `static`"),
                "exactly one of them",
            ));
        }
    };
    Ok(Authority {
        name,
        demands: demands(&signer, ctlog.as_ref(), rfc3161timestamp.as_ref(), path)?,
        rekor,
        signer,
        sources,
        formats: match signature_format {
            Some(api::SignatureFormatSpec::Legacy) => vec![Format::Legacy],
            Some(api::SignatureFormatSpec::Bundle) => vec![Format::Bundle],
            Some(api::SignatureFormatSpec::Both) | None => vec![Format::Legacy, Format::Bundle],
        },
        trust_root: trust_root?,
        attestations,
    })
}

fn compile_name(index: usize, name: Option<&str>, path: &str) -> Result<String, CompileError> {
    let Some(name) = name else {
        return Ok(format!("authority-{index}"));
    };
    let length = name.chars().count();
    if (1..=MAX_NAME).contains(&length) && !name.chars().any(char::is_control) {
        return Ok(name.to_owned());
    }
    Err(CompileError::new(
        format!("{path}.name"),
        format!("it has {length} characters, or control characters among them"),
        format!("1 to {MAX_NAME} characters on one line"),
    ))
}

fn compile_static(
    spec: &api::AuthoritySpec,
    fixed: &api::StaticSpec,
    path: &str,
) -> Result<Signer, CompileError> {
    for (field, there) in [
        ("source", !spec.source.is_empty()),
        ("ctlog", spec.ctlog.is_some()),
        ("rfc3161timestamp", spec.rfc3161timestamp.is_some()),
        ("signatureFormat", spec.signature_format.is_some()),
        ("attestations", spec.attestations.is_some()),
    ] {
        if there {
            let problem = "a `static` authority looks at no signature";
            let wanted = format!("no `{field}`, or `key` or `keyless` instead of `static`");
            return Err(CompileError::new(format!("{path}.{field}"), problem, wanted));
        }
    }
    let api::StaticSpec { action, message } = fixed;
    let message = message.clone().unwrap_or_default();
    if message.chars().count() > MAX_MESSAGE {
        return Err(CompileError::new(
            format!("{path}.static.message"),
            format!("it has more than {MAX_MESSAGE} characters"),
            "a sentence",
        ));
    }
    Ok(match action {
        api::StaticActionSpec::Pass => Signer::StaticPass,
        api::StaticActionSpec::Fail => Signer::StaticFail { message },
    })
}

/// Keyless authorities need a log entry, unless a timestamp is asked for instead. Keys need
/// neither, unless asked for.
fn demands(
    signer: &Signer,
    ctlog: Option<&api::CtLogSpec>,
    timestamp: Option<&api::TimestampSpec>,
    path: &str,
) -> Result<Demands, CompileError> {
    let proof = ctlog.and_then(|ctlog| ctlog.inclusion_proof);
    let keyless = matches!(signer, Signer::Identities(_));
    let log = match (ctlog, proof) {
        (Some(_), Some(api::InclusionProofSpec::Required)) => LogDemand::Proof,
        (Some(_), Some(api::InclusionProofSpec::Optional) | None) => LogDemand::Entry,
        (None, _) if keyless && timestamp.is_none() => LogDemand::Entry,
        (None, _) => LogDemand::Optional,
    };
    let logs = ctlog.and_then(|ctlog| ctlog.threshold);
    let stamps = timestamp.and_then(|timestamp| timestamp.threshold);
    Ok(Demands {
        log_threshold: threshold(logs, MAX_LOG_ENTRIES, &format!("{path}.ctlog"))?,
        timestamp_threshold: threshold(
            stamps,
            MAX_TIMESTAMPS,
            &format!("{path}.rfc3161timestamp"),
        )?,
        ..Demands::new(log, timestamp.is_some())
    })
}

/// How many are asked for; at most as many as evidence may carry.
fn threshold(asked: Option<u32>, most: usize, path: &str) -> Result<NonZeroUsize, CompileError> {
    let Some(asked) = asked else { return Ok(NonZeroUsize::MIN) };
    let threshold = usize::try_from(asked).ok().and_then(NonZeroUsize::new);
    threshold.filter(|threshold| threshold.get() <= most).ok_or_else(|| {
        let wanted = format!("a number from 1 to {most}, the most that a signature may carry");
        CompileError::new(format!("{path}.threshold"), asked, wanted)
    })
}

fn compile_sources(specs: &[api::SourceSpec], path: &str) -> Result<Vec<Source>, CompileError> {
    if specs.is_empty() {
        return Ok(Vec::new());
    }
    count(&format!("{path}.source"), specs.len(), api::MAX_SOURCES)?;
    let compile = |(index, spec)| compile_source(spec, &format!("{path}.source[{index}]"));
    specs.iter().enumerate().map(compile).collect()
}

fn compile_source(spec: &api::SourceSpec, path: &str) -> Result<Source, CompileError> {
    let api::SourceSpec { oci, tag_prefix, signature_pull_secrets } = spec;
    if signature_pull_secrets.is_some() {
        let advice = "use the pod's image pull secrets";
        return Err(unsupported(format!("{path}.signaturePullSecrets"), advice));
    }
    if oci.is_none() && tag_prefix.is_none() {
        return Err(CompileError::new(path, "it is empty", "`oci`, `tagPrefix`, or both"));
    }
    let repository = oci.as_ref().map(|oci| {
        oci.parse::<Repository>().map_err(|error| {
            CompileError::new(format!("{path}.oci"), error, "a repository without tag and digest")
        })
    });
    let tag_prefix = tag_prefix.clone().unwrap_or_default();
    // OCI distribution specification, "pulling manifests": the characters of a tag.
    let usable = |c: char| c.is_ascii_alphanumeric() || "._-".contains(c);
    let bad_start = tag_prefix.starts_with(['.', '-']);
    if tag_prefix.len() > MAX_TAG_PREFIX || bad_start || !tag_prefix.chars().all(usable) {
        return Err(CompileError::new(
            format!("{path}.tagPrefix"),
            format!("`{tag_prefix}` cannot begin a tag"),
            format!("at most {MAX_TAG_PREFIX} letters, digits, `.`, `_` and `-`"),
        ));
    }
    Ok(Source { repository: repository.transpose()?, tag_prefix })
}

/// The one trust root of an authority. Parts that name none follow those that do, but a log's or
/// a timestamp's never replaces the one that certificates are checked against.
fn trust_root(
    spec: &api::AuthoritySpec,
    path: &str,
    roots: &References,
) -> Result<Arc<TrustRoot>, CompileError> {
    let api::AuthoritySpec { keyless, ctlog, rfc3161timestamp, .. } = spec;
    let of_keyless = keyless.as_ref().and_then(|keyless| keyless.trust_root_ref.as_deref());
    let others = [
        ("ctlog", ctlog.as_ref().and_then(|ctlog| ctlog.trust_root_ref.as_deref())),
        ("rfc3161timestamp", rfc3161timestamp.as_ref().and_then(|t| t.trust_root_ref.as_deref())),
    ];
    let mut chosen = of_keyless.map(|name| ("keyless", name));
    for (field, name) in others {
        let Some(name) = name else { continue };
        let clashes = match chosen {
            Some((_, earlier)) => earlier != name,
            None => keyless.is_some(),
        };
        if clashes {
            let first = chosen.map_or("keyless", |(field, _)| field);
            return Err(CompileError::new(
                format!("{path}.{field}.trustRootRef"),
                format!("`{name}` is not the trust root of `{first}`"),
                format!("one trust root for the whole authority: the same name in `{first}`"),
            ));
        }
        chosen = Some((field, name));
    }
    let Some((field, name)) = chosen else {
        return Ok(Arc::clone(&roots.default));
    };
    roots.named.get(name).map(Arc::clone).ok_or_else(|| {
        let known = roots.named.keys().map(String::as_str);
        let wanted = suggest::nearest(name, known).map_or_else(
            || "the name of a TrustRoot that is there and can be used".to_owned(),
            |nearest| format!("`{nearest}`"),
        );
        let problem = format!("there is no usable TrustRoot `{name}`");
        CompileError::new(format!("{path}.{field}.trustRootRef"), problem, wanted).missing()
    })
}
