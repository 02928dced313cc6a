//! `TrustRoot` resources to trust roots.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Map;
use serde_json::Value;

use super::CompileError;
use super::KeyHolder;
use super::KeyPlace;
use super::Keys;
use super::object::place_of;
use super::read::read_at;
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

const PATH: &str = "spec.trustedRoot";

const REFERENCE: &str = "spec.trustedRoot.configMapRef";

const WANTED: &str = "a Sigstore trusted_root.json";

/// What every trusted root says of itself.
const MEDIA_TYPE: &str = "application/vnd.dev.sigstore.trustedroot";

/// Where a trust root comes from.
#[derive(Clone, Debug, PartialEq)]
pub enum TrustRootSource {
    /// From a ConfigMap in Tegata's own namespace.
    ConfigMap(api::KeyReference),
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
/// it away. A reference in `trustedRoot` is a field of its own.
pub fn trust_root_field(spec: &Value) -> Option<&'static str> {
    let fields = ["remote", "repository", "sigstoreKeys", "trustedRoot", "tuf"];
    let mut given =
        fields.into_iter().filter(|field| spec.get(field).is_some_and(|it| !it.is_null()));
    let field = given.next().filter(|_| given.next().is_none())?;
    let referred = spec.get("trustedRoot").is_some_and(|root| root.get("configMapRef").is_some());
    Some(if referred { "trustedRoot.configMapRef" } else { field })
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
    match trusted_root {
        Some(Value::String(json)) => Ok(TrustRootSource::Json(json.clone())),
        Some(Value::Object(object)) => object_source(object),
        Some(Value::Null) | None => Err(CompileError::new(PATH, "it is missing", advice)),
        Some(Value::Bool(_) | Value::Number(_) | Value::Array(_)) => {
            Err(CompileError::new(PATH, "it is neither a text nor an object", advice))
        }
    }
}

/// A trusted root as it is, or one word that says where it is.
fn object_source(object: &Map<String, Value>) -> Result<TrustRootSource, CompileError> {
    let alone = object.len() == 1;
    if let Some(file) = object.get("file") {
        let name = file.as_str().filter(|_| alone).ok_or_else(|| {
            let problem = "it stands beside other fields, or is no text";
            let wanted = "either `file` with a name and nothing else, or a trusted root";
            CompileError::new(format!("{PATH}.file"), problem, wanted)
        })?;
        return Ok(TrustRootSource::File(name.to_owned()));
    }
    if let Some(reference) = object.get("configMapRef") {
        if !alone {
            let wanted = "either `configMapRef` and nothing else, or a trusted root";
            return Err(CompileError::new(REFERENCE, "it stands beside other fields", wanted));
        }
        return read_at(REFERENCE, reference).map(TrustRootSource::ConfigMap);
    }
    if object.contains_key("secretRef") {
        let problem = "a trusted root is public, and none is read from a Secret";
        let wanted = "a ConfigMap in `configMapRef`";
        return Err(CompileError::new(format!("{PATH}.secretRef"), problem, wanted));
    }
    Ok(TrustRootSource::Json(Value::Object(object.clone()).to_string()))
}

/// The place of the trusted root that a reference names, always in Tegata's own namespace.
///
/// # Errors
/// The field of the reference that cannot be followed.
pub fn trust_root_place(
    reference: &api::KeyReference,
    own_namespace: &str,
) -> Result<KeyPlace, CompileError> {
    let whose = "a TrustRoot reads from Tegata's namespace";
    let kind = KeyHolder::ConfigMap;
    place_of(kind, reference, TRUSTED_ROOT_TARGET, (own_namespace, whose), REFERENCE)
}

/// Compiles what was found at the place that a reference names; the error is of its content.
///
/// Of what does not call itself a trusted root nothing is quoted: it may be anything.
///
/// # Errors
/// When it is no trusted root that can be used.
pub fn referred_trust_root(place: &KeyPlace, json: &str) -> Result<TrustRoot, CompileError> {
    TrustRoot::from_json(json).map_err(|error| {
        let problem = if json.contains(MEDIA_TYPE) {
            format!("{place} holds no trusted root that can be used: {}", error.problem)
        } else {
            format!("{place} holds no trusted root")
        };
        CompileError::new(REFERENCE, problem, WANTED)
    })
}

/// Compiles a `TrustRoot` of the cluster, which cannot name files.
///
/// # Errors
/// The first field that cannot be used, or that the trust root must be fetched from a repository or
/// read from a ConfigMap.
pub fn compile_trust_root(spec: &api::TrustRootSpec) -> Result<TrustRoot, CompileError> {
    match trust_root_source(spec)? {
        TrustRootSource::Json(json) => TrustRoot::from_json(&json)
            .map_err(|error| CompileError::new(PATH, error.problem, WANTED)),
        TrustRootSource::ConfigMap(_) => {
            let problem = "the ConfigMap that it names has not been read yet";
            Err(CompileError::new(REFERENCE, problem, WANTED).missing())
        }
        TrustRootSource::Keys(json) => from_keys(&json),
        TrustRootSource::File(_) => Err(CompileError::new(
            format!("{PATH}.file"),
            "a resource in the cluster cannot name a file",
            "the trusted_root.json itself in `trustedRoot`, or in a ConfigMap that `configMapRef` \
             names",
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

/// The same for a resource at apply time: a repository is not asked and a ConfigMap not read, but
/// all that is said of it is checked. Returns what of a trust root was left out, a line each.
///
/// # Errors
/// The first field that cannot be used.
pub fn check_trust_root(
    spec: &api::TrustRootSpec,
    keys: &Keys,
) -> Result<Vec<String>, CompileError> {
    match trust_root_source(spec)? {
        TrustRootSource::Tuf(_) => Ok(Vec::new()),
        TrustRootSource::ConfigMap(reference) => {
            let own_namespace = keys.own_namespace().ok_or_else(no_cluster)?;
            trust_root_place(&reference, own_namespace).map(|_| Vec::new())
        }
        TrustRootSource::File(_) | TrustRootSource::Json(_) | TrustRootSource::Keys(_) => {
            compile_trust_root(spec).map(|root| root.problems().to_vec())
        }
    }
}

/// What to say of a reference where there is no cluster.
pub fn no_cluster() -> CompileError {
    let problem = "a trust root in a file cannot name an object of a cluster";
    let wanted = "`{file: NAME}`, the name of a trusted_root.json beside this file, or its content \
                  in `trustedRoot`";
    CompileError::new(REFERENCE, problem, wanted)
}

#[cfg(test)]
mod tests;
