//! What the text of a module must not be: nested too deep, or with functions that call themselves.
//!
//! Rego forbids such functions, and the interpreter does not see them; rules that read each other
//! in a circle are left to it, for those it sees.
use std::collections::BTreeMap;
use std::collections::BTreeSet;

/// The functions that each rule or function of a module calls, by the last part of their names.
type Calls<'a> = BTreeMap<&'a str, BTreeSet<&'a str>>;

/// Deepest nesting of brackets in a module. The parser tries each list and each set in two ways,
/// so that every level doubles its time; rules that people write nest below six.
pub(super) const MAX_NESTING: usize = 10;

/// Refuses a module that nests too deep, and one with a function that calls itself, be it through
/// others.
pub(super) fn refuse(text: &str) -> Result<(), (String, String)> {
    let (calls, nesting) = read(text);
    if nesting > MAX_NESTING {
        let problem = format!("a module that nests {nesting} levels of brackets");
        return Err((problem, format!("at most {MAX_NESTING}")));
    }
    match calls.keys().find(|name| reaches_itself(&calls, name)) {
        None => Ok(()),
        Some(name) => {
            let problem = format!("the function `{name}` calls itself");
            Err((problem, "functions that do not, as Rego has it".to_owned()))
        }
    }
}

fn reaches_itself(calls: &Calls<'_>, start: &str) -> bool {
    let mut seen = BTreeSet::new();
    let mut next = vec![start];
    while let Some(name) = next.pop() {
        for called in calls.get(name).into_iter().flatten() {
            if *called == start {
                return true;
            }
            if calls.contains_key(called) && seen.insert(*called) {
                next.push(called);
            }
        }
    }
    false
}

/// Reads the module word by word: who calls whom, and the deepest nesting. A rule begins with the first word of a line, or after a closing
/// brace, outside all brackets.
fn read(text: &str) -> (Calls<'_>, usize) {
    let mut calls = Calls::new();
    let mut head = None;
    let mut depth = 0_usize;
    let mut deepest = 0;
    let mut begins = true;
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '"' | '`' => text_length(rest, c),
            c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
            c => c.len_utf8(),
        };
        let (token, after) = rest.split_at_checked(length).unwrap_or((rest, ""));
        rest = after;
        match c {
            '\n' => begins = depth == 0,
            '(' | '[' | '{' => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            ')' | ']' => depth = depth.saturating_sub(1),
            '}' => {
                depth = depth.saturating_sub(1);
                begins = depth == 0;
            }
            c if is_word(c) && begins && token == "default" => {}
            c if is_word(c) && begins && token != "else" => {
                calls.entry(token).or_default();
                head = Some(token);
                begins = false;
            }
            c if is_word(c) && after.trim_start().starts_with('(') => {
                if let Some(head) = head {
                    calls.entry(head).or_default().insert(token);
                }
                begins = false;
            }
            c if c.is_whitespace() || c == '#' => {}
            _ => begins = false,
        }
    }
    (calls, deepest)
}

fn is_word(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

/// The length of the text that `rest` begins with, its quotation marks included.
fn text_length(rest: &str, quote: char) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            _ if escaped => escaped = false,
            '\\' if quote == '"' => escaped = true,
            c if c == quote => return at + c.len_utf8(),
            _ => {}
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_nesting_from_both_sides() {
        let nested = |levels: usize| format!("x := {}{}", "[".repeat(levels), "]".repeat(levels));
        assert_eq!(refuse(&nested(MAX_NESTING)), Ok(()));
        assert!(refuse(&nested(MAX_NESTING + 1)).unwrap_err().0.contains("nests 11 levels"));
        assert_eq!(refuse(&format!("x := \"{}\"", "[".repeat(99))), Ok(()));
    }

    #[test]
    fn finds_functions_that_call_themselves() {
        for (text, name) in [
            ("package sigstore\nf(x) = y { y := f(x) }", Some("f")),
            (
                "f(x) = y { y := g (x) }\ng(x) = y { y := h(x) } h(x) { data.sigstore.f(x) }",
                Some("f"),
            ),
            ("default f(x) := 1\nf(x) := f(x)", Some("f")),
            ("f(x) = 1 {\n  x == \"}\" # }\n}\nelse = 2 {\n  f(x)\n}", Some("f")),
            ("f(x) = 1 {\n  x == 1\n}\ng { f(f(1)) }", None),
            ("f(x) { x == \"f(x)\" } # f(x)\ng(x) { f(x) }", None),
            ("f(x) { x == `f(x)` }\nf(x) { count(x) == 1 }", None),
            ("isCompliant {\n  input.isCompliant\n}", None),
        ] {
            let found = refuse(text).err().map(|(problem, _)| problem);
            let wanted = name.map(|name| format!("the function `{name}` calls itself"));
            assert_eq!(found, wanted, "{text}");
        }
    }
}
