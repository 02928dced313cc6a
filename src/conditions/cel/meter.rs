//! Functions of expressions that count what they cost, and those of time.
//!
//! [`super::rewrite`] puts them in; nobody can write their names.
use std::any::Any;
use std::sync::Arc;

use ::cel::DeclarationError;
use ::cel::Env;
use ::cel::ExecutionError;
use ::cel::common::types::CelBool;
use ::cel::common::types::CelInt;
use ::cel::common::types::CelString;
use ::cel::common::types::DYN_TYPE;
use ::cel::common::types::STRING_TYPE;
use ::cel::common::types::Type;
use ::cel::common::value::CowVal;
use ::cel::common::value::StaticVal;
use ::cel::common::value::Val;
use regex::Regex;

use super::rewrite;
use super::time;
use super::value;
use crate::conditions::Budget;
use crate::conditions::budget::Exhausted;

static METER_TYPE: Type = Type::new_unspecified_type("meter");
static PATTERNS_TYPE: Type = Type::new_unspecified_type("patterns");

/// The budget, as a value that expressions hand to the functions below.
#[derive(Clone, Debug)]
pub(super) struct Meter(Budget);

/// The regular expressions of a condition.
#[derive(Clone, Debug)]
pub(super) struct Patterns(Arc<[Regex]>);

impl Meter {
    pub(super) fn new(budget: Budget) -> Self {
        Self(budget)
    }
}

impl Patterns {
    pub(super) fn new(patterns: Arc<[Regex]>) -> Self {
        Self(patterns)
    }
}

macro_rules! opaque {
    ($name:ident $kind:ident) => {
        impl Val for $name {
            fn get_type(&self) -> &Type {
                &$kind
            }

            fn cel_type() -> &'static Type {
                &$kind
            }

            fn clone_as_boxed<'v>(&self) -> Box<dyn Val + 'v>
            where
                Self: 'v,
            {
                Box::new(self.clone())
            }

            fn as_any(&self) -> Option<&dyn Any> {
                Some(self)
            }
        }

        impl StaticVal for $name {}
    };
}

opaque!(Meter METER_TYPE);
opaque!(Patterns PATTERNS_TYPE);

/// CEL's own functions and macros, without optional values, and ours.
pub(super) fn environment() -> Result<Env, DeclarationError> {
    let mut env = Env::stdlib().with_optional_support(false);
    env.add_overload(rewrite::PAY, "pay", vec![DYN_TYPE, DYN_TYPE], pay)?;
    env.add_overload(rewrite::RANGE, "range", vec![DYN_TYPE, DYN_TYPE, DYN_TYPE], range)?;
    env.add_overload(
        rewrite::MATCHES,
        "matches",
        vec![DYN_TYPE, DYN_TYPE, DYN_TYPE, DYN_TYPE],
        matches,
    )?;
    env.add_overload("timestamp", "timestamp_of_string", vec![STRING_TYPE], time::timestamp)?;
    env.add_overload("duration", "duration_of_string", vec![STRING_TYPE], time::duration)?;
    Ok(env)
}

/// `(value, meter)`: the value, paid for.
fn pay<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [value, meter] = exactly(args)?;
    spend(&meter, || value::size(value.as_ref()))?;
    Ok(value)
}

/// `(range, meter, weight)`: the range of a loop whose steps have that many nodes, all of them
/// paid for: a loop that cannot be paid never begins.
fn range<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [range, meter, weight] = exactly(args)?;
    let weight = weight.downcast_ref::<CelInt>().map_or(i64::MAX, |weight| *weight.inner());
    let weight = u64::try_from(weight).unwrap_or(u64::MAX);
    spend(&meter, || {
        let steps = range.as_sizer().map_or(1, |sizer| *sizer.size().inner());
        let steps = u64::try_from(steps).unwrap_or(u64::MAX);
        value::size(range.as_ref()).saturating_add(steps.saturating_mul(weight))
    })?;
    Ok(range)
}

/// `(text, meter, patterns, index)`: whether that pattern is found in the text.
fn matches<'b, 'v>(args: Vec<CowVal<'b, 'v>>) -> Result<CowVal<'b, 'v>, ExecutionError> {
    let [text, meter, patterns, index] = exactly(args)?;
    let Some(text) = text.downcast_ref::<CelString<'_>>() else {
        return Err(ExecutionError::function_error("matches", "it is asked of what is no string"));
    };
    let index = index.downcast_ref::<CelInt>().and_then(|i| usize::try_from(*i.inner()).ok());
    let patterns = patterns.downcast_ref::<Patterns>();
    let pattern = patterns.zip(index).and_then(|(patterns, index)| patterns.0.get(index));
    let Some(pattern) = pattern else {
        return Err(ExecutionError::function_error("matches", "its pattern is lost"));
    };
    // A byte costs a search as much as a value costs the interpreter.
    spend(&meter, || u64::try_from(text.inner().len()).unwrap_or(u64::MAX))?;
    Ok(CowVal::owned(CelBool::from(pattern.is_match(text.inner()))))
}

/// Asks what it costs only while something is left: after that every loop ends at once.
fn spend(meter: &CowVal<'_, '_>, units: impl FnOnce() -> u64) -> Result<(), ExecutionError> {
    let spent = match meter.downcast_ref::<Meter>() {
        Some(Meter(budget)) if !budget.is_exhausted() => budget.spend(units()),
        Some(_) | None => Err(Exhausted),
    };
    spent.map_err(|error| ExecutionError::function_error("cost", error))
}

fn exactly<'b, 'v, const N: usize>(
    args: Vec<CowVal<'b, 'v>>,
) -> Result<[CowVal<'b, 'v>; N], ExecutionError> {
    let actual = args.len();
    <[CowVal<'b, 'v>; N]>::try_from(args)
        .map_err(|_| ExecutionError::invalid_argument_count(N, actual))
}
