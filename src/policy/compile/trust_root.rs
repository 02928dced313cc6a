//! `TrustRoot` resources to trust roots.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::CompileError;
use super::sigstore_keys;
use super::unsupported;
use crate::api;
use crate::error::one_line;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf::MAX_ROOT_BYTES;
use crate::trust_root::tuf::Source;
use crate::trust_root::tuf::SourceError;
use crate::trust_root::tuf::TRUSTED_ROOT_TARGET;

/// Most bytes of a root in base64, with line breaks.
const MAX_ROOT_TEXT: usize = MAX_ROOT_BYTES * 3 / 2;

/// Where a trust root comes from.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrustRootSource {
    /// Here, as JSON.
    Json(String),
    /// From a file beside the YAML file, by this name.
    File(String),
    /// From keys and certificates, put together as JSON.
    Keys(String),
    /// From a TUF repository.
    Tuf(Box<Source>),
}

/// Where a resource's trusted root comes from.
///
/// # Errors
/// When it gives none or more than one, or in a way that is not supported.
pub fn trust_root_source(spec: &api::TrustRootSpec) -> Result<TrustRootSource, CompileError> {
    let api::TrustRootSpec { trusted_root, tuf, sigstore_keys, remote, repository } = spec;
    let advice = "give the repository's `mirror` and `root` in `tuf`";
    for (field, value) in [("remote", remote), ("repository", repository)] {
        if value.is_some() {
            return Err(unsupported(format!("spec.{field}"), advice));
        }
    }
    match (trusted_root, tuf, sigstore_keys) {
        (_, None, None) => inline(trusted_root.as_ref()),
        (None, Some(tuf), None) => {
            repository_source(tuf).map(|source| TrustRootSource::Tuf(Box::new(source)))
        }
        (None, None, Some(keys)) => {
            sigstore_keys::document(keys).map(|root| TrustRootSource::Keys(root.to_string()))
        }
        (_, Some(_), _) => Err(one_of("spec.tuf")),
        (Some(_), None, Some(_)) => Err(one_of("spec.sigstoreKeys")),
    }
}

/// The one field of a spec that says where the trust root comes from; `None` where there is none, or
/// more than one.
///
/// A last good trust root must not outlive a change from one field to another: such a change takes
/// it away.
pub fn trust_root_field(spec: &Value) -> Option<&'static str> {
    let fields = ["remote", "repository", "sigstoreKeys", "trustedRoot", "tuf"];
    let mut given =
        fields.into_iter().filter(|field| spec.get(field).is_some_and(|it| !it.is_null()));
    given.next().filter(|_| given.next().is_none())
}

fn one_of(path: &str) -> CompileError {
    let wanted = "exactly one of `trustedRoot`, `tuf` and `sigstoreKeys`";
    CompileError::new(path, "it is not the only one", wanted)
}

fn repository_source(spec: &api::TufSpec) -> Result<Source, CompileError> {
    let api::TufSpec { mirror, root, target } = spec;
    let target = target.as_deref().unwrap_or(TRUSTED_ROOT_TARGET);
    let wanted_root = "the content of the repository's root.json, as it is or in base64";
    if root.len() > MAX_ROOT_TEXT {
        let problem = format!("it has {} bytes, more than {MAX_ROOT_TEXT}", root.len());
        return Err(CompileError::new("spec.tuf.root", problem, wanted_root));
    }
    let bytes = if root.trim_start().starts_with('{') {
        root.as_bytes().to_vec()
    } else {
        let joined: String = root.split_whitespace().collect();
        STANDARD.decode(joined).map_err(|_| {
            let problem = "it is neither JSON nor base64";
            CompileError::new("spec.tuf.root", problem, wanted_root)
        })?
    };
    Source::new(mirror, &bytes, target).map_err(|error| {
        let (field, wanted) = match &error {
            SourceError::Mirror { .. } => ("mirror", "the repository's address, https://host/path"),
            SourceError::Root(_) => ("root", wanted_root),
            SourceError::Target(_) => ("target", "the name of a target in the repository"),
        };
        CompileError::new(format!("spec.tuf.{field}"), one_line(&error), wanted)
    })
}

fn inline(trusted_root: Option<&Value>) -> Result<TrustRootSource, CompileError> {
    let advice = "the instance's trusted_root.json there, a repository in `tuf`, or keys in \
                  `sigstoreKeys`";
    let path = "spec.trustedRoot";
    match trusted_root {
        Some(Value::String(json)) => Ok(TrustRootSource::Json(json.clone())),
        Some(Value::Object(object)) => match object.get("file") {
            Some(Value::String(name)) if object.len() == 1 => {
                Ok(TrustRootSource::File(name.clone()))
            }
            Some(_) => Err(CompileError::new(
                format!("{path}.file"),
                "it stands beside other fields, or is no text",
                "either `file` with a name and nothing else, or a trusted root",
            )),
            None => Ok(TrustRootSource::Json(Value::Object(object.clone()).to_string())),
        },
        Some(Value::Null) | None => Err(CompileError::new(path, "it is missing", advice)),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            Err(CompileError::new(path, "it is neither a text nor an object", advice))
        }
    }
}

/// Compiles a `TrustRoot` of the cluster, which cannot name files.
///
/// # Errors
/// The first field that cannot be used, or that the trust root must be fetched from a repository.
pub fn compile_trust_root(spec: &api::TrustRootSpec) -> Result<TrustRoot, CompileError> {
    match trust_root_source(spec)? {
        TrustRootSource::Json(json) => TrustRoot::from_json(&json).map_err(|error| {
            CompileError::new("spec.trustedRoot", error.problem, "a Sigstore trusted_root.json")
        }),
        TrustRootSource::Keys(json) => from_keys(&json),
        TrustRootSource::File(_) => Err(CompileError::new(
            "spec.trustedRoot.file",
            "a resource in the cluster cannot name a file",
            "the trusted_root.json itself in `trustedRoot`",
        )),
        TrustRootSource::Tuf(_) => {
            let wanted = "a mirror that answers, and metadata that verifies";
            Err(CompileError::new("spec.tuf", "nothing was fetched from it yet", wanted))
        }
    }
}

/// A trust root put together from keys. All of it must be usable: whoever lists keys one by one
/// means each of them.
fn from_keys(json: &str) -> Result<TrustRoot, CompileError> {
    let error = |problem: &str| CompileError::new("spec.sigstoreKeys", problem, "");
    let root = TrustRoot::from_json(json).map_err(|problem| error(&problem.problem))?;
    root.problems().first().map_or(Ok(()), |problem| Err(error(problem)))?;
    Ok(root)
}

/// The same for a resource at apply time: a repository is not asked, but all that is said of it is
/// checked. Returns what of a trust root was left out, a line each.
///
/// # Errors
/// The first field that cannot be used.
pub fn check_trust_root(spec: &api::TrustRootSpec) -> Result<Vec<String>, CompileError> {
    if let TrustRootSource::Tuf(_) = trust_root_source(spec)? {
        return Ok(Vec::new());
    }
    compile_trust_root(spec).map(|root| root.problems().to_vec())
}

#[cfg(test)]
mod tests;
