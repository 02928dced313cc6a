//! Attestations that an authority asks for.
use std::collections::BTreeSet;

use super::CompileError;
use super::count;
use crate::api;
use crate::policy::Attestation;
use crate::verify::SIGN_PREDICATE_TYPE;

/// Longest name and predicate type, in characters: they stand in explanations.
const MAX_NAME: usize = 253;
const MAX_PREDICATE_TYPE: usize = 1024;

pub(super) fn compile_all(
    specs: Option<&[api::AttestationSpec]>,
    path: &str,
) -> Result<Vec<Attestation>, CompileError> {
    let Some(specs) = specs else { return Ok(Vec::new()) };
    count(path, specs.len(), api::MAX_ATTESTATIONS)?;
    let mut names = BTreeSet::new();
    let mut attestations = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if !names.insert(&spec.name) {
            return Err(CompileError::new(
                format!("{path}.name"),
                format!("`{}` is the name of an earlier attestation, too", spec.name),
                "a name of its own for each attestation",
            ));
        }
        attestations.push(compile(spec, &path)?);
    }
    Ok(attestations)
}

fn compile(spec: &api::AttestationSpec, path: &str) -> Result<Attestation, CompileError> {
    let api::AttestationSpec { name, predicate_type } = spec;
    for (field, text, most) in
        [("name", name, MAX_NAME), ("predicateType", predicate_type, MAX_PREDICATE_TYPE)]
    {
        let length = text.chars().count();
        if !(1..=most).contains(&length) || text.chars().any(char::is_control) {
            return Err(CompileError::new(
                format!("{path}.{field}"),
                format!("it has {length} characters, or control characters among them"),
                format!("1 to {most} characters on one line"),
            ));
        }
    }
    if predicate_type == SIGN_PREDICATE_TYPE {
        return Err(CompileError::new(
            format!("{path}.predicateType"),
            "it is the type of image signatures",
            "the type of an attestation; without `attestations` a signature is asked for",
        ));
    }
    Ok(Attestation { name: name.clone(), predicate_type: predicate_type.clone() })
}
