//! Conditions in CEL, the Common Expression Language.
//!
//! The interpreter has no notion of cost and recurses as deep as an expression does, so what it is
//! given is bounded from all sides: the text before it is parsed ([`text`]), the tree before it is
//! evaluated, and the work while it is ([`meter`]).
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::sync::Arc;

use ::cel::Context;
use ::cel::Env;
use ::cel::ExecutionError;
use ::cel::IdedExpr;
use ::cel::Value as CelValue;
use ::cel::common::types::CelBool;
use ::cel::common::types::CelString;
use ::cel::common::value::Val;
use jiff::Timestamp;
use regex::Regex;
use serde_json::Value;

use super::Budget;
use super::MAX_CONDITIONS;
use super::RuleError;
use super::Statement;
use super::at_most;
use crate::api;
use crate::verdict::Failure;
use crate::verdict::Reason;

mod meter;
mod rewrite;
mod text;
mod time;
mod value;

pub use rewrite::MAX_DEPTH;
pub use text::MAX_BRACKETS;
pub use text::MAX_BRANCHES;
pub use text::MAX_EXPRESSION_BYTES;

/// What expressions speak of.
#[derive(Clone, Copy, Debug)]
pub(super) enum Scope {
    /// `statement`, `predicate`, `predicateType`, `subject`, `now`.
    Statement,
    /// `input`, `now`.
    Input,
}

impl Scope {
    const fn variables(self) -> &'static [&'static str] {
        match self {
            Self::Statement => &["now", "predicate", "predicateType", "statement", "subject"],
            Self::Input => &["input", "now"],
        }
    }
}

/// What an expression is evaluated on.
#[derive(Clone, Copy, Debug)]
pub(super) enum Facts<'a> {
    Statement(&'a Statement),
    Input(&'a Value),
}

impl<'a> Facts<'a> {
    fn json(self, variable: &str) -> Option<&'a Value> {
        match (self, variable) {
            (Self::Statement(statement), "predicate") => Some(statement.predicate()),
            (Self::Statement(statement), "statement") => Some(statement.document()),
            (Self::Statement(statement), "subject") => Some(statement.subject()),
            (Self::Input(input), "input") => Some(input),
            _ => None,
        }
    }
}

/// Compiled conditions: all must yield `true`.
pub(super) struct Conditions {
    env: Arc<Env>,
    conditions: Vec<Condition>,
    /// The variables that they read.
    used: Vec<&'static str>,
}

struct Condition {
    text: String,
    message: Option<String>,
    expression: IdedExpr,
    patterns: Arc<[Regex]>,
}

impl std::fmt::Debug for Conditions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let texts = self.conditions.iter().map(|condition| &condition.text);
        f.debug_list().entries(texts).finish()
    }
}

/// Compiles conditions; a name or a function that is not there is refused here, not at evaluation.
pub(super) fn compile(
    specs: &[api::ConditionSpec],
    scope: Scope,
    path: &str,
) -> Result<Conditions, RuleError> {
    at_most(path, specs.len(), MAX_CONDITIONS)?;
    let env = meter::environment()
        .map_err(|error| RuleError::new(path, format!("cel cannot be set up: {error}"), ""))?;
    let env = Arc::new(env);
    let mut used = Vec::new();
    let mut conditions = Vec::new();
    for (index, spec) in specs.iter().enumerate() {
        let path = format!("{path}[{index}].cel");
        let api::ConditionSpec { cel, message } = spec;
        let parsed = text::parse(cel, &env, &path)?;
        let rewritten = rewrite::rewrite(parsed, scope.variables())
            .map_err(|error| RuleError::new(&path, error.problem, error.wanted))?;
        used.extend(rewritten.used);
        conditions.push(Condition {
            text: cel.clone(),
            message: message.clone(),
            expression: rewritten.expression,
            patterns: rewritten.patterns.into(),
        });
    }
    used.sort_unstable();
    used.dedup();
    Ok(Conditions { env, conditions, used })
}

impl Conditions {
    /// Asks each condition in turn.
    pub(super) fn check(
        &self,
        facts: Facts<'_>,
        now: Timestamp,
        budget: &Budget,
    ) -> Result<(), Failure> {
        // A defect of the interpreter denies this image; it stops nothing else.
        let run = || self.run(facts, now, budget);
        catch_unwind(AssertUnwindSafe(run)).unwrap_or_else(|_| {
            Err(Failure::new(Reason::ConditionError, "the evaluation of a condition broke off"))
        })
    }

    fn run(&self, facts: Facts<'_>, now: Timestamp, budget: &Budget) -> Result<(), Failure> {
        let mut context = Context::with_env(Arc::clone(&self.env));
        context.add_variable_as_val(rewrite::METER, Box::new(meter::Meter::new(budget.clone())));
        for name in &self.used {
            let value: Box<dyn Val + '_> = match (*name, facts) {
                ("now", _) => Box::new(time::Time::new(now)),
                ("predicateType", Facts::Statement(statement)) => {
                    Box::new(CelString::from(statement.predicate_type()))
                }
                (name, facts) => {
                    let json = facts.json(name).unwrap_or(&Value::Null);
                    budget.spend(value::count(json)).map_err(|_| too_costly())?;
                    value::from_json(json)
                }
            };
            context.add_variable_as_val(*name, value);
        }
        self.conditions.iter().try_for_each(|condition| {
            let patterns = meter::Patterns::new(Arc::clone(&condition.patterns));
            context.add_variable_as_val(rewrite::PATTERNS, Box::new(patterns));
            condition.check(&context, budget)
        })
    }
}

impl Condition {
    fn check(&self, context: &Context<'_, '_>, budget: &Budget) -> Result<(), Failure> {
        let wanted = format!("`{}`", self.text);
        let result = CelValue::resolve_val(&self.expression, context);
        if budget.is_exhausted() {
            return Err(too_costly().wanted(wanted));
        }
        match result {
            Ok(value) => match value.downcast_ref::<CelBool>().map(|truth| *truth.inner()) {
                Some(true) => Ok(()),
                Some(false) => {
                    let found = self.message.as_deref().unwrap_or("the condition is false");
                    Err(Failure::new(Reason::ConditionUnmet, found).wanted(wanted))
                }
                None => {
                    let kind = value.get_type().name();
                    let found = format!("the condition yields a {kind}, not true or false");
                    Err(Failure::new(Reason::ConditionError, found).wanted(wanted))
                }
            },
            Err(error) => {
                Err(Failure::new(Reason::ConditionError, describe(&error)).wanted(wanted))
            }
        }
    }
}

fn too_costly() -> Failure {
    Failure::new(Reason::ConditionTooCostly, "the conditions cost more than one image may")
}

fn describe(error: &ExecutionError) -> String {
    if let ExecutionError::NoSuchKey(key) = error {
        return format!("the field `{key}` is missing");
    }
    let text = error.to_string();
    let mut chars = text.chars();
    // The library begins its sentences in upper case.
    let first = chars.next().map(|first| first.to_ascii_lowercase());
    format!("the condition cannot be evaluated: {}{}", first.unwrap_or(' '), chars.as_str())
}

#[cfg(test)]
mod tests;
