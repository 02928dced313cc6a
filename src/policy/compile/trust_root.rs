//! `TrustRoot` resources to trust roots.
use serde_json::Value;

use super::CompileError;
use super::unsupported;
use crate::api;
use crate::trust_root::TrustRoot;

/// Where the JSON of a trust root is.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum TrustRootSource {
    /// Here.
    Json(String),
    /// In a file beside the YAML file, by this name.
    File(String),
}

/// Where a resource's trusted root is.
///
/// # Errors
/// When it gives none, or in a way that is not supported.
pub fn trust_root_source(spec: &api::TrustRootSpec) -> Result<TrustRootSource, CompileError> {
    let api::TrustRootSpec { trusted_root, remote, repository, sigstore_keys } = spec;
    let advice = "give the instance's trusted_root.json in `trustedRoot`";
    for (field, value) in
        [("remote", remote), ("repository", repository), ("sigstoreKeys", sigstore_keys)]
    {
        if value.is_some() {
            return Err(unsupported(format!("spec.{field}"), advice));
        }
    }
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
/// The first field that cannot be used.
pub fn compile_trust_root(spec: &api::TrustRootSpec) -> Result<TrustRoot, CompileError> {
    match trust_root_source(spec)? {
        TrustRootSource::Json(json) => TrustRoot::from_json(&json).map_err(|error| {
            CompileError::new("spec.trustedRoot", error.problem, "a Sigstore trusted_root.json")
        }),
        TrustRootSource::File(_) => Err(CompileError::new(
            "spec.trustedRoot.file",
            "a resource in the cluster cannot name a file",
            "the trusted_root.json itself in `trustedRoot`",
        )),
    }
}
