//! The evaluation of a module, timed and on a stack of its own.
use std::num::NonZeroU32;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use jiff::Timestamp;
use regorus::Engine;
use regorus::LimitError;
use regorus::Value as RegoValue;
use regorus::utils::limits::ExecutionTimerConfig;
use serde_json::Value;

use super::functions;
use super::shape;
use crate::conditions::Budget;
use crate::conditions::MAX_UNITS;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Longest evaluation of one module. Those of public policies take below a millisecond.
const MAX_TIME: Duration = Duration::from_millis(100);

/// Steps of the interpreter between two looks at the clock.
const CHECK_INTERVAL: NonZeroU32 = NonZeroU32::new(64).unwrap();

/// What one evaluation costs of the budget: it may take up to [`MAX_TIME`], so that there are at
/// most 16 for one image.
const UNITS: u64 = MAX_UNITS / 16;

/// Stack of the thread that evaluates, in bytes: a rule that reads a rule nests the interpreter,
/// and a module of the longest text has room for some thousand. Only touched pages are used.
const STACK_BYTES: usize = 256 << 20;

/// The package of a module, and its rules, as policy-controller names them.
const PACKAGE: &str = "data.sigstore";
const RULE: &str = "data.sigstore.isCompliant";
const MESSAGE: &str = "data.sigstore.errorMsg";

/// A compiled module.
pub(crate) struct Module {
    engine: Arc<Engine>,
}

impl std::fmt::Debug for Module {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Module")
    }
}

impl Module {
    /// Parses the module, in the syntax before version 1 of Rego, as policy-controller does, or in
    /// that of version 1 where the module is written so.
    pub(super) fn compile(text: &str) -> Result<Self, (String, String)> {
        functions::refuse(text)?;
        shape::refuse(text)?;
        let text = text.to_owned();
        let parse = move || {
            let older = !text.contains("import rego.v1") && !text.contains(" if ");
            parse(&text, older).or_else(|error| parse(&text, !older).map_err(|_| error))
        };
        let engine = on_a_stack(parse).unwrap_or_else(|problem| Err((problem, String::new())))?;
        Ok(Self { engine: Arc::new(engine) })
    }

    /// Evaluates the module over `input`.
    pub(crate) fn check(
        &self,
        input: &Value,
        now: Timestamp,
        budget: &Budget,
    ) -> Result<(), Failure> {
        budget.spend(UNITS).map_err(|_| too_costly("the rules of this image"))?;
        let evaluate = || evaluate(self.engine.as_ref().clone(), input, now);
        on_a_stack(evaluate).unwrap_or_else(|problem| Err(error(&problem)))
    }
}

/// Runs on a thread of its own; a panic there is an error here.
fn on_a_stack<T: Send>(work: impl FnOnce() -> T + Send) -> Result<T, String> {
    thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(STACK_BYTES);
        let thread = builder
            .spawn_scoped(scope, work)
            .map_err(|error| format!("no thread for the evaluation: {error}"))?;
        thread.join().map_err(|_| "the evaluation of the module broke off".to_owned())
    })
}

fn parse(text: &str, older: bool) -> Result<Engine, (String, String)> {
    let cannot = |error: anyhow::Error| {
        (format!("the module cannot be used: {}", line(&error)), String::new())
    };
    let mut engine = Engine::new();
    engine.set_rego_v0(older);
    engine.set_strict_builtin_errors(true);
    let timer = ExecutionTimerConfig { limit: MAX_TIME, check_interval: CHECK_INTERVAL };
    engine.set_execution_timer_config(timer);
    let package = engine.add_policy("policy".to_owned(), text.to_owned()).map_err(cannot)?;
    if package != PACKAGE {
        let package = package.trim_start_matches("data.");
        return Err((
            format!("the module is of package `{package}`"),
            "`package sigstore`".to_owned(),
        ));
    }
    // Asks for the rule, and finds what only shows when rules are put in order.
    let mut probe = engine.clone();
    functions::add(&mut probe, Timestamp::UNIX_EPOCH).map_err(cannot)?;
    probe.compile_with_entrypoint(&RULE.into()).map_err(|error| {
        let problem = format!("the module cannot be used: {}", line(&error));
        (problem, "a rule `isCompliant`".to_owned())
    })?;
    Ok(engine)
}

fn evaluate(mut engine: Engine, input: &Value, now: Timestamp) -> Result<(), Failure> {
    functions::add(&mut engine, now).map_err(|problem| error(&line(&problem)))?;
    engine.set_input(RegoValue::from(input.clone()));
    let answer = engine.eval_rule(RULE.to_owned()).map_err(|problem| failure(&problem))?;
    match verdict(&answer) {
        Ok(()) => Ok(()),
        Err(found) => {
            let found = found.or_else(|| message(&mut engine));
            let found = found.unwrap_or_else(|| "isCompliant is not true".to_owned());
            Err(Failure::new(Reason::ConditionUnmet, found).wanted("isCompliant to be true"))
        }
    }
}

/// Whether the answer is yes; otherwise what it says, if it does.
fn verdict(answer: &RegoValue) -> Result<(), Option<String>> {
    let results: Vec<&RegoValue> = match answer {
        RegoValue::Bool(true) => return Ok(()),
        RegoValue::Array(list) => list.iter().collect(),
        RegoValue::Set(set) => set.iter().collect(),
        RegoValue::Bool(false)
        | RegoValue::Null
        | RegoValue::Number(_)
        | RegoValue::Object(_)
        | RegoValue::String(_)
        | RegoValue::Undefined => return Err(None),
    };
    let compliant = |result: &RegoValue| result["result"] == RegoValue::Bool(true);
    match results.iter().find(|result| !compliant(result)) {
        None if !results.is_empty() => Ok(()),
        None => Err(None),
        Some(result) => Err(result["error"].as_string().ok().map(|text| text.to_string())),
    }
}

/// What the module says to the user, where it says something.
fn message(engine: &mut Engine) -> Option<String> {
    let answer = engine.eval_rule(MESSAGE.to_owned()).ok()?;
    let text = answer.as_string().ok()?;
    (!text.trim().is_empty()).then(|| text.to_string())
}

fn failure(problem: &anyhow::Error) -> Failure {
    let timed_out =
        matches!(problem.downcast_ref::<LimitError>(), Some(LimitError::TimeLimitExceeded { .. }));
    if timed_out { too_costly("the module") } else { error(&line(problem)) }
}

fn too_costly(what: &str) -> Failure {
    let found = format!("{what} took longer than it may");
    Failure::new(Reason::ConditionTooCostly, found)
        .wanted(format!("at most {} ms for a module", MAX_TIME.as_millis()))
}

fn error(problem: &str) -> Failure {
    Failure::new(Reason::ConditionError, format!("the module cannot be evaluated: {problem}"))
        .wanted("isCompliant to be true")
}

/// The library draws the module over several lines; the last one says what is wrong.
fn line(error: &anyhow::Error) -> String {
    let text = error.to_string();
    let last = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
    last.trim_start_matches("error: ").to_owned()
}
