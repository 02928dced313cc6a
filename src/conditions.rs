//! Rules over attestations, and over all that was verified: CEL, Rego and typed helpers.
//!
//! [`compile`] makes [`Rules`] from [`crate::api::AttestationSpec`]; [`Rules::check`] asks them of
//! a [`Statement`], whose signature and subject were verified before. All of it is pure: the time
//! is an argument, and so is the work that may be done ([`Budget`]).
//!
//! A rule holds only when it says so: a field that is missing, a value of another type, an error,
//! a panic, an exhausted budget all fail it.
use std::fmt;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::Value;

use crate::api;
use crate::policy::TextMatcher;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::printable;

mod budget;
mod cel;
mod predicate;
mod provenance;
mod rego;
mod sbom;
mod statement;
mod vex;
mod vulnerabilities;

pub use budget::Budget;
pub use budget::MAX_UNITS;
pub use cel::MAX_BRACKETS;
pub use cel::MAX_BRANCHES;
pub use cel::MAX_DEPTH;
pub use cel::MAX_EXPRESSION_BYTES;
pub use predicate::PredicateTypes;
pub use predicate::SHORT_NAMES;
pub use predicate::predicate_types;
pub use rego::MAX_MODULE_BYTES;
pub use statement::MAX_STATEMENT_BYTES;
pub use statement::MAX_STATEMENT_DEPTH;
pub use statement::Statement;

/// Most CEL conditions of one attestation or policy: more are easier to read in one Rego module.
pub const MAX_CONDITIONS: usize = 16;

/// Most alternatives in one list of builders: a release team has a few.
pub const MAX_BUILDERS: usize = 32;

/// Most vulnerabilities that a policy may name: beyond that, a list belongs in a VEX document.
pub const MAX_VULNERABILITIES: usize = 256;

/// Rules over one attestation, compiled.
#[derive(Clone, Debug)]
pub struct Rules {
    types: PredicateTypes,
    rules: Arc<[Rule]>,
}

/// Rules over all that was verified for an image, compiled.
#[derive(Clone, Debug)]
pub struct PolicyRules {
    rules: Arc<[Rule]>,
    fetches_config: bool,
}

#[derive(Debug)]
enum Rule {
    Cel(cel::Conditions),
    Rego(rego::Module),
    Provenance(provenance::Demands),
    Sbom(sbom::Demands),
    Vex(vex::Demands),
    Vulnerabilities(vulnerabilities::Demands),
}

/// Why rules cannot be compiled.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub struct RuleError {
    /// The field, for example `spec.authorities[0].attestations[0].conditions[0].cel`.
    pub path: String,
    /// What was found, in one clause without a full stop.
    pub problem: String,
    /// What was wanted, or what to do, in one clause. Empty where the problem says it.
    pub wanted: String,
}

impl RuleError {
    fn new(path: impl fmt::Display, problem: impl fmt::Display, wanted: impl fmt::Display) -> Self {
        Self {
            path: path.to_string(),
            problem: printable(&problem.to_string()),
            wanted: printable(&wanted.to_string()),
        }
    }
}

impl fmt::Display for RuleError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.path, self.problem)?;
        if self.wanted.is_empty() { Ok(()) } else { write!(f, ", wanted {}", self.wanted) }
    }
}

/// Compiles the rules of one attestation.
///
/// # Errors
/// The first field that cannot be used.
pub fn compile(spec: &api::AttestationSpec, path: &str) -> Result<Rules, RuleError> {
    let api::AttestationSpec {
        name: _,
        predicate_type,
        conditions,
        policy,
        slsa_provenance,
        vulnerabilities,
        sbom,
        vex,
    } = spec;
    let mut rules = Vec::new();
    let mut implied = Vec::new();
    if let Some(spec) = slsa_provenance {
        let path = format!("{path}.slsaProvenance");
        rules.push(Rule::Provenance(provenance::compile(spec, &path)?));
        implied.push((PredicateTypes::slsa(), path));
    }
    if let Some(spec) = vulnerabilities {
        let path = format!("{path}.vulnerabilities");
        rules.push(Rule::Vulnerabilities(vulnerabilities::compile(spec, &path)?));
        implied.push((PredicateTypes::vuln(), path));
    }
    if let Some(spec) = sbom {
        let path = format!("{path}.sbom");
        rules.push(Rule::Sbom(sbom::compile(spec, &path)?));
        implied.push((PredicateTypes::sbom(), path));
    }
    if let Some(spec) = vex {
        let path = format!("{path}.vex");
        rules.push(Rule::Vex(vex::compile(spec, &path)?));
        implied.push((PredicateTypes::openvex(), path));
    }
    if !conditions.is_empty() {
        let path = format!("{path}.conditions");
        rules.push(Rule::Cel(cel::compile(conditions, cel::Scope::Statement, &path)?));
    }
    if let Some(spec) = policy {
        rules.push(Rule::Rego(compile_rule_policy(spec, &format!("{path}.policy"))?));
    }
    let types = compile_types(predicate_type.as_deref(), implied, path)?;
    Ok(Rules { types, rules: rules.into() })
}

/// The type that is named, or else the one that a helper implies; never two that exclude each
/// other, for then no attestation could meet them.
fn compile_types(
    named: Option<&str>,
    implied: Vec<(PredicateTypes, String)>,
    path: &str,
) -> Result<PredicateTypes, RuleError> {
    let named =
        named.map(|text| predicate_types(text, &format!("{path}.predicateType"))).transpose()?;
    let mut implied = implied.into_iter();
    let first = implied.next();
    if let Some((_, path)) = implied.next() {
        let wanted = "one of them here, and another attestation for the next";
        return Err(RuleError::new(path, "it asks for a second predicate type", wanted));
    }
    match (named, first) {
        (Some(named), None) => Ok(named),
        (None, Some((implied, _))) => Ok(implied),
        (Some(named), Some((implied, _))) if named.within(&implied) => Ok(named),
        (Some(named), Some((implied, _))) => {
            let problem = format!("`{named}` is not a type that the rule below reads");
            Err(RuleError::new(format!("{path}.predicateType"), problem, implied))
        }
        (None, None) => {
            let wanted = "an address, or one of cosign's short names";
            Err(RuleError::new(format!("{path}.predicateType"), "it is missing", wanted))
        }
    }
}

fn compile_rule_policy(spec: &api::RulePolicySpec, path: &str) -> Result<rego::Module, RuleError> {
    let api::RulePolicySpec {
        language,
        data,
        url,
        remote,
        config_map_ref,
        fetch_config_file,
        include_spec,
        include_object_meta,
        include_type_meta,
    } = spec;
    refuse_elsewhere([url.is_some(), remote.is_some(), config_map_ref.is_some()], path)?;
    let more = [include_spec, include_object_meta, include_type_meta];
    refuse_more_input(more.map(|field| *field == Some(true)), path)?;
    if *fetch_config_file == Some(true) {
        let path = format!("{path}.fetchConfigFile");
        let problem = "`fetchConfigFile` is not supported in a rule over one attestation";
        return Err(RuleError::new(path, problem, "it in `spec.policy`"));
    }
    compile_module(*language, data.as_deref(), path)
}

/// Refuses a module that is not here.
fn refuse_elsewhere(there: [bool; 3], path: &str) -> Result<(), RuleError> {
    let fields = ["url", "remote", "configMapRef"];
    match fields.iter().zip(there).find(|(_, there)| *there) {
        None => Ok(()),
        Some((field, _)) => {
            let problem = format!("`{field}` is not supported yet");
            Err(RuleError::new(format!("{path}.{field}"), problem, "the module in `data`"))
        }
    }
}

/// Refuses rules that look at more than what was verified: without it they might say yes.
fn refuse_more_input(asked: [bool; 3], path: &str) -> Result<(), RuleError> {
    let fields = ["includeSpec", "includeObjectMeta", "includeTypeMeta"];
    match fields.iter().zip(asked).find(|(_, asked)| *asked) {
        None => Ok(()),
        Some((field, _)) => {
            let problem = format!("`{field}` is not supported");
            let wanted = "a rule over what was verified, and over the image's configuration";
            Err(RuleError::new(format!("{path}.{field}"), problem, wanted))
        }
    }
}

fn compile_module(
    language: api::RuleLanguageSpec,
    data: Option<&str>,
    path: &str,
) -> Result<rego::Module, RuleError> {
    match language {
        api::RuleLanguageSpec::Cue => Err(RuleError::new(
            format!("{path}.type"),
            "`cue` is not supported",
            "the rule in CEL (`conditions`) or in Rego (`type: rego`)",
        )),
        api::RuleLanguageSpec::Rego => {
            let path = format!("{path}.data");
            let Some(data) = data else {
                return Err(RuleError::new(path, "it is missing", "the text of a Rego module"));
            };
            rego::compile(data, &path)
        }
    }
}

/// Compiles the rules over all that was verified.
///
/// # Errors
/// The first field that cannot be used.
pub fn compile_policy(spec: &api::PolicyRulesSpec, path: &str) -> Result<PolicyRules, RuleError> {
    let api::PolicyRulesSpec {
        conditions,
        language,
        data,
        url,
        remote,
        config_map_ref,
        fetch_config_file,
        include_spec,
        include_object_meta,
        include_type_meta,
    } = spec;
    refuse_elsewhere([url.is_some(), remote.is_some(), config_map_ref.is_some()], path)?;
    let more = [include_spec, include_object_meta, include_type_meta];
    refuse_more_input(more.map(|field| *field == Some(true)), path)?;
    let mut rules = Vec::new();
    if !conditions.is_empty() {
        let path = format!("{path}.conditions");
        rules.push(Rule::Cel(cel::compile(conditions, cel::Scope::Input, &path)?));
    }
    match (language, data) {
        (Some(language), data) => {
            rules.push(Rule::Rego(compile_module(*language, data.as_deref(), path)?));
        }
        (None, Some(_)) => {
            return Err(RuleError::new(format!("{path}.type"), "it is missing", "`rego`"));
        }
        (None, None) => {}
    }
    if rules.is_empty() {
        let wanted = "`conditions` in CEL, or `type: rego` with `data`";
        return Err(RuleError::new(path, "it has no rule", wanted));
    }
    Ok(PolicyRules { rules: rules.into(), fetches_config: *fetch_config_file == Some(true) })
}

impl Rules {
    /// The predicate types that an attestation must have one of to be asked at all.
    pub fn predicate_types(&self) -> &PredicateTypes {
        &self.types
    }

    /// Whether one of the rules is in Rego, which only administrators of the cluster should be
    /// let write: its evaluation can be timed, but its memory cannot be bounded as CEL's is.
    pub fn has_rego(&self) -> bool {
        has_rego(&self.rules)
    }

    /// Asks every rule of a verified statement.
    ///
    /// `now` is the time of the request. `budget` bounds the work; share one among all statements
    /// of an image.
    ///
    /// # Errors
    /// The first rule that does not hold, with a reason of step `conditions`, or
    /// `predicate-type-unexpected`.
    pub fn check(
        &self,
        statement: &Statement,
        now: Timestamp,
        budget: &Budget,
    ) -> Result<(), Failure> {
        if !self.types.contains(statement.predicate_type()) {
            let found = format!("a statement of predicate type `{}`", statement.predicate_type());
            return Err(Failure::new(Reason::PredicateTypeUnexpected, found).wanted(&self.types));
        }
        self.rules.iter().try_for_each(|rule| match rule {
            Rule::Cel(conditions) => {
                conditions.check(cel::Facts::Statement(statement), now, budget)
            }
            Rule::Rego(module) => module.check(statement.document(), now, budget),
            Rule::Provenance(demands) => demands.check(statement),
            Rule::Sbom(demands) => demands.check(statement),
            Rule::Vex(demands) => demands.check(statement, now),
            Rule::Vulnerabilities(demands) => demands.check(statement, now),
        })
    }
}

impl PolicyRules {
    /// Whether the image's configuration is to be part of the input: `config`, by platform.
    pub const fn fetches_config(&self) -> bool {
        self.fetches_config
    }

    /// As [`Rules::has_rego`].
    pub fn has_rego(&self) -> bool {
        has_rego(&self.rules)
    }
}

fn has_rego(rules: &[Rule]) -> bool {
    rules.iter().any(|rule| matches!(rule, Rule::Rego(_)))
}

/// Asks every rule over all that was verified for an image.
///
/// `input` has the form that the Rego rules of policy-controller know:
/// `{"authorityMatches": {NAME: {"signatures": […], "attestations": {NAME: […]}}}}`, and where
/// [`PolicyRules::fetches_config`], `{"config": {"linux/amd64": {…}}}`.
///
/// # Errors
/// As [`Rules::check`].
pub fn evaluate_policy(
    rules: &PolicyRules,
    input: &Value,
    now: Timestamp,
    budget: &Budget,
) -> Result<(), Failure> {
    rules.rules.iter().try_for_each(|rule| match rule {
        Rule::Cel(conditions) => conditions.check(cel::Facts::Input(input), now, budget),
        Rule::Rego(module) => module.check(input, now, budget),
        // Not made by `compile_policy`: a rule that cannot be asked does not hold.
        Rule::Provenance(_) | Rule::Sbom(_) | Rule::Vex(_) | Rule::Vulnerabilities(_) => {
            Err(Failure::new(Reason::ConditionError, "a rule over one attestation"))
        }
    })
}

/// A matcher from the API's text or object.
fn matcher(spec: &api::ClaimSpec, path: &str) -> Result<TextMatcher, RuleError> {
    let api::ClaimSpec { exact, glob, regex } = spec;
    let (text, matcher) = match (exact, glob, regex) {
        (Some(text), None, None) => (text, TextMatcher::exact(text)),
        (None, Some(text), None) => (text, TextMatcher::glob(text)),
        (None, None, Some(text)) => (text, TextMatcher::regex(text)),
        _ => {
            let found = [exact, glob, regex].iter().filter(|text| text.is_some()).count();
            let problem = format!("it has {found} of `exact`, `glob` and `regex`");
            return Err(RuleError::new(path, problem, "a text, or exactly one of them"));
        }
    };
    matcher.map_err(|error| {
        let problem = format!("`{text}` cannot be used: {}", error.problem);
        RuleError::new(path, problem, "a text or pattern that matches the whole value")
    })
}

/// A list must not hold too much.
fn at_most(path: &str, found: usize, most: usize) -> Result<(), RuleError> {
    if found <= most {
        return Ok(());
    }
    Err(RuleError::new(path, format!("{found} elements"), format!("at most {most} elements")))
}

/// The text of a predicate's field that the rule needs.
fn text_at<'a>(value: &'a Value, pointer: &str) -> Option<&'a str> {
    value.pointer(pointer).and_then(Value::as_str).filter(|text| !text.is_empty())
}

#[cfg(test)]
mod tests;
