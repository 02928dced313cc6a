//! Rules in Rego, as policy-controller has them: `package sigstore`, a rule `isCompliant` that
//! must be `true`, and optionally `errorMsg`.
//!
//! `isCompliant` may also be a set or a list of objects with `result` and `error`: there must be
//! one, and every `result` must be `true`.
use super::RuleError;

/// Longest module, in bytes: the longest in public policies have some 3,000.
pub const MAX_MODULE_BYTES: usize = 16 << 10;

#[cfg(not(feature = "rego"))]
mod absent;
#[cfg(feature = "rego")]
mod evaluate;
#[cfg(feature = "rego")]
mod functions;
#[cfg(feature = "rego")]
mod shape;

#[cfg(not(feature = "rego"))]
pub(super) use absent::Module;
#[cfg(feature = "rego")]
pub(super) use evaluate::Module;

/// Compiles a module.
pub(super) fn compile(text: &str, path: &str) -> Result<Module, RuleError> {
    if text.len() > MAX_MODULE_BYTES {
        let problem = format!("a module of {} bytes", text.len());
        return Err(RuleError::new(path, problem, format!("at most {MAX_MODULE_BYTES}")));
    }
    Module::compile(text).map_err(|(problem, wanted)| RuleError::new(path, problem, wanted))
}

#[cfg(all(test, feature = "rego"))]
mod tests;
