//! Attestations that an authority asks for.
use std::collections::BTreeSet;

use super::CompileError;
use super::count;
use crate::api;
use crate::conditions;
use crate::conditions::PolicyRules;
use crate::conditions::RuleError;
use crate::policy::Attestation;
use crate::policy::PolicyId;
use crate::verify::SIGN_PREDICATE_TYPE;

/// Longest name, in characters: it stands in explanations.
const MAX_NAME: usize = 253;

pub(super) fn compile_all(
    id: &PolicyId,
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
        attestations.push(compile(id, spec, &path)?);
    }
    Ok(attestations)
}

fn compile(
    id: &PolicyId,
    spec: &api::AttestationSpec,
    path: &str,
) -> Result<Attestation, CompileError> {
    let name = &spec.name;
    let length = name.chars().count();
    if !(1..=MAX_NAME).contains(&length) || name.chars().any(char::is_control) {
        return Err(CompileError::new(
            format!("{path}.name"),
            format!("it has {length} characters, or control characters among them"),
            format!("1 to {MAX_NAME} characters on one line"),
        ));
    }
    let rules = conditions::compile(spec, path).map_err(of_rule)?;
    if rules.predicate_types().contains(SIGN_PREDICATE_TYPE) {
        return Err(CompileError::new(
            format!("{path}.predicateType"),
            "it is the type of image signatures",
            "the type of an attestation; without `attestations` a signature is asked for",
        ));
    }
    refuse_rego(id, rules.has_rego(), &format!("{path}.policy"))?;
    Ok(Attestation { name: name.clone(), rules })
}

/// How many regular expressions and globs are compiled for an attestation, at most.
pub(super) fn patterns(spec: &api::AttestationSpec) -> usize {
    let open = |claim: &&api::ClaimSpec| claim.exact.is_none();
    let in_conditions = |condition: &api::ConditionSpec| condition.cel.matches("matches").count();
    let provenance = spec.slsa_provenance.iter().flat_map(|spec| {
        let levels = spec.level.iter().flat_map(|level| &level.builders).map(|one| &one.builder);
        let others = [&spec.source_repository, &spec.reference, &spec.commit, &spec.build_type];
        spec.builders.iter().chain(levels).chain(others.into_iter().flatten())
    });
    let scanner = spec.vulnerabilities.iter().filter_map(|spec| spec.scanner.as_ref());
    provenance.chain(scanner).filter(open).count()
        + spec.conditions.iter().map(in_conditions).sum::<usize>()
}

/// The rules over all that was verified.
pub(super) fn compile_policy(
    id: &PolicyId,
    spec: Option<&api::PolicyRulesSpec>,
    path: &str,
) -> Result<Option<PolicyRules>, CompileError> {
    let rules = spec.map(|spec| conditions::compile_policy(spec, path)).transpose();
    let rules = rules.map_err(of_rule)?;
    refuse_rego(id, rules.as_ref().is_some_and(PolicyRules::has_rego), path)?;
    Ok(rules)
}

/// What a module may cost is bounded in time, but not in memory as CEL is: a namespace's owners
/// could slow everybody down.
fn refuse_rego(id: &PolicyId, rego: bool, path: &str) -> Result<(), CompileError> {
    match id {
        PolicyId::Namespaced { .. } if rego => Err(CompileError::new(
            path,
            "an ImagePolicy cannot have rules in Rego",
            "CEL in `conditions`, or a ClusterImagePolicy",
        )),
        PolicyId::Cluster { .. } | PolicyId::Namespaced { .. } => Ok(()),
    }
}

fn of_rule(error: RuleError) -> CompileError {
    let RuleError { path, problem, wanted } = error;
    CompileError::new(path, problem, wanted)
}
