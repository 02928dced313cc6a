//! The text of an expression, bounded before the parser sees it.
use std::thread;

use ::cel::Env;
use ::cel::IdedExpr;

use crate::conditions::RuleError;

/// Longest expression, in bytes. The longest rules in public policies have some 500; beyond a
/// screenful, several conditions with a message each say more.
pub const MAX_EXPRESSION_BYTES: usize = 2048;

/// Most opening brackets of any kind in one expression, those within its texts included: each may
/// be a level of the parser's recursion, and no text can hide one.
pub const MAX_BRACKETS: usize = 48;

/// Most question marks in one expression: each may be a branch within a branch.
pub const MAX_BRANCHES: usize = 16;

/// Stack of the thread that parses, in bytes: the parser takes some 40 KiB for a level when it is
/// built without optimisation, for at most [`MAX_BRACKETS`] and [`MAX_BRANCHES`] levels, and some
/// more for the operators of a flat expression. Only touched pages are used.
const PARSER_STACK_BYTES: usize = 64 << 20;

/// Parses an expression within the bounds, on a stack that is large enough for all of them.
pub(super) fn parse(text: &str, env: &Env, path: &str) -> Result<IdedExpr, RuleError> {
    check(text, path)?;
    let parse = || env.parser().parse(text).map_err(|errors| describe(&errors.to_string()));
    let parsed = thread::scope(|scope| {
        let builder = thread::Builder::new().stack_size(PARSER_STACK_BYTES);
        let thread = builder.spawn_scoped(scope, parse);
        thread.map(|thread| thread.join())
    });
    let cannot = |problem: String| {
        RuleError::new(
            path,
            format!("`{text}` cannot be parsed: {problem}"),
            "an expression in CEL",
        )
    };
    match parsed {
        Ok(Ok(parsed)) => parsed.map_err(cannot),
        Ok(Err(_)) => Err(cannot("the parser broke off".to_owned())),
        Err(error) => Err(cannot(format!("no thread: {error}"))),
    }
}

fn check(text: &str, path: &str) -> Result<(), RuleError> {
    if text.trim().is_empty() {
        return Err(RuleError::new(path, "it is empty", "an expression in CEL"));
    }
    let count = |chars: &[char]| text.chars().filter(|c| chars.contains(c)).count();
    let bounds = [
        (text.len(), MAX_EXPRESSION_BYTES, "bytes"),
        (count(&['(', '[', '{']), MAX_BRACKETS, "opening brackets"),
        (count(&['?']), MAX_BRANCHES, "question marks"),
    ];
    for (found, most, of) in bounds {
        if found > most {
            let problem = format!("an expression with {found} {of}");
            let wanted = format!("at most {most}; split it into several conditions");
            return Err(RuleError::new(path, problem, wanted));
        }
    }
    Ok(())
}

/// The first error, without the drawing of the expression that follows it.
fn describe(errors: &str) -> String {
    let first = errors.lines().next().unwrap_or_default();
    first.trim_start_matches("ERROR: <input>:").trim().to_owned()
}
