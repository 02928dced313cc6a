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

/// Words that go on with an expression or begin one, and so are the name of no rule.
const KEYWORDS: [&str; 10] =
    ["as", "contains", "default", "else", "every", "if", "in", "not", "some", "with"];

/// Stands for the name of a field, whatever that is.
const FIELD: &str = "field";

/// Keywords that are names in older modules.
const NEWER: [&str; 4] = ["contains", "every", "if", "in"];

/// Refuses a module that nests too deep, and one with a function that calls itself, be it through
/// others. A function is known by its name: names that are written as texts are refused.
pub(super) fn refuse(text: &str) -> Result<(), (String, String)> {
    refuse_read_as(text, Words::New)?;
    // Where the newer keywords are not imported they are names like all others.
    if imports_newer(text) { Ok(()) } else { refuse_read_as(text, Words::Old) }
}

/// Which words are keywords.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Words {
    /// All of [`KEYWORDS`].
    New,
    /// Those of [`KEYWORDS`] that are not [`NEWER`].
    Old,
}

impl Words {
    fn is_keyword(self, token: &str) -> bool {
        KEYWORDS.contains(&token) && (self == Self::New || !NEWER.contains(&token))
    }
}

/// Whether a module imports newer keywords, `rego.v1` or `future.keywords`.
fn imports_newer(text: &str) -> bool {
    let (mut before, mut rest) = ("", text);
    while let Some((token, after)) = next_token(rest) {
        rest = after;
        if is_space(token) {
            continue;
        }
        if before == "import" && matches!(token, "rego" | "future") {
            return true;
        }
        before = token;
    }
    false
}

fn refuse_read_as(text: &str, words: Words) -> Result<(), (String, String)> {
    let Module { calls, deepest, hidden } = read(text, words);
    if deepest > MAX_NESTING {
        let problem = format!("a module that nests {deepest} levels of brackets");
        return Err((problem, format!("at most {MAX_NESTING}")));
    }
    if hidden {
        let problem = "the name of a function or an import stands in brackets";
        return Err((problem.to_owned(), "names with dots, such as `data.sigstore.f`".to_owned()));
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

/// What was read of a module.
#[derive(Default)]
struct Module<'a> {
    calls: Calls<'a>,
    deepest: usize,
    /// Whether a text in brackets is the name of something that is called or imported.
    hidden: bool,
}

/// What a word is part of.
#[derive(Clone, Copy, Eq, PartialEq)]
enum Path {
    /// What `as` puts in the place of something else.
    As,
    /// The name of the rule or function that begins here.
    Head,
    Import,
    Other,
}

/// Reads the module word by word: who calls whom, and the deepest nesting. A rule begins outside all
/// brackets with a word that follows the end of an expression: as for the interpreter, lines do not
/// matter.
fn read(text: &str, words: Words) -> Module<'_> {
    let mut module = Module::default();
    // The rule that a word belongs to; two, where a name may be a keyword.
    let mut heads: Vec<&str> = Vec::new();
    let (mut before, mut path, mut imported) = ("", Path::Other, "");
    let mut depth = 0_usize;
    let mut rest = text;
    while let Some((token, after)) = next_token(rest) {
        rest = after;
        if is_space(token) {
            continue;
        }
        let follows = skip_space(after);
        match token {
            "(" | "[" | "{" => {
                depth += 1;
                module.deepest = module.deepest.max(depth);
                let named = token == "[" && is_text(follows);
                module.hidden |= named && matches!(path, Path::As | Path::Import);
            }
            ")" | "]" | "}" => {
                depth = depth.saturating_sub(1);
                module.hidden |= token == "]" && is_text(before) && follows.starts_with('(');
            }
            _ => {}
        }
        if token.starts_with(is_word) {
            let called = follows.starts_with('(');
            let older = called && NEWER.contains(&token);
            let begins = depth == 0 && words.end(before) && (older || !words.is_keyword(token));
            path = match before {
                "." => path,
                "as" => Path::As,
                "import" => Path::Import,
                "default" if depth == 0 => Path::Head,
                _ if begins && token != "import" => Path::Head,
                _ => Path::Other,
            };
            match path {
                Path::Head => {
                    if before == "." {
                        heads.pop();
                    } else if !older {
                        heads.clear();
                    }
                    heads.push(token);
                    module.calls.entry(token).or_default();
                    imported = "";
                }
                Path::Import => imported = token,
                Path::As if depth == 0 && !imported.is_empty() => {
                    module.calls.entry(token).or_default().insert(imported);
                }
                Path::As => module.call(&heads, token),
                Path::Other if called => module.call(&heads, token),
                Path::Other if begins => heads.clear(),
                Path::Other => {}
            }
        } else if !matches!(token, "." | "[") {
            path = Path::Other;
        }
        before = match (before, token) {
            // Any word may name a field, and is no keyword there.
            (".", word) if word.starts_with(is_word) => FIELD,
            ("as", "(") => before,
            _ => token,
        };
    }
    module
}

impl<'a> Module<'a> {
    fn call(&mut self, heads: &[&'a str], called: &'a str) {
        for head in heads {
            self.calls.entry(head).or_default().insert(called);
        }
    }
}

impl Words {
    /// Whether an expression may end with this token, so that a word after it begins something new.
    fn end(self, token: &str) -> bool {
        let last = token.chars().next_back();
        !self.is_keyword(token)
            && !matches!(token, "import" | "package")
            && last.is_none_or(|c| is_word(c) || matches!(c, ')' | ']' | '}' | '"' | '`'))
    }
}

/// The token that the text begins with, and what follows it. White space and comments are tokens.
fn next_token(rest: &str) -> Option<(&str, &str)> {
    let first = rest.chars().next()?;
    let length = match first {
        '#' => rest.find('\n').unwrap_or(rest.len()),
        '"' | '`' => text_length(rest, first),
        c if is_word(c) => rest.find(|c| !is_word(c)).unwrap_or(rest.len()),
        c => c.len_utf8(),
    };
    Some(rest.split_at_checked(length).unwrap_or((rest, "")))
}

/// The text without the white space and the comments that it begins with.
fn skip_space(mut rest: &str) -> &str {
    while let Some((token, after)) = next_token(rest) {
        if !is_space(token) {
            break;
        }
        rest = after;
    }
    rest
}

fn is_space(token: &str) -> bool {
    token.starts_with(|c: char| c.is_whitespace() || c == '#')
}

fn is_text(token: &str) -> bool {
    token.starts_with(['"', '`'])
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
    fn refuses_names_that_are_written_as_texts() {
        for text in [
            "f(x) = y { y := data.sigstore[\"f\"](x) }",
            "f(x) = y { y := data.sigstore[`f`] # why\n (x) }",
            "f[\"g\"](x) = y { y := data.sigstore.f.g(x) }",
            "f(x) = y { y := count(x) with count as data.sigstore[\"f\"] }",
            "import data.sigstore[ \"f\" ] as g\nf(x) = y { y := g(x) }",
        ] {
            assert!(refuse(text).unwrap_err().0.contains("stands in brackets"), "{text}");
        }
        for text in [
            "isCompliant { input[\"a\"] == [1][0]; input.b[\"c\"]\n(1 < 2) == true }",
            "isCompliant { count(input.list) == 1 with input.list as [\"a\"] }",
        ] {
            assert_eq!(refuse(text).is_ok(), !text.contains("\n("), "{text}");
        }
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
            // Whatever stands between name and arguments, and wherever a rule begins.
            ("f(x) = y { y := f # why\n (x) }", Some("f")),
            ("f(x) =\nf(x)", Some("f")),
            ("a := 1 f(x) = y { y := f(x) }", Some("f")),
            ("a := [1] f(x) = y { y := f(x) }", Some("f")),
            ("f(x) := {1} in f(x)", Some("f")),
            ("a := 1 in(x) = y { y := in(x) }", Some("in")),
            ("f.g(x) = y { y := f.h(x) }\nf.h(x) = y { y := data.sigstore.f.g(x) }", Some("g")),
            // Under another name, and in the place of another function.
            ("import data.sigstore.f as g\nf(x) = y { y := g(x) }", Some("f")),
            ("import data.sigstore as s\nf(x) = y { y := s.f(x) }", Some("f")),
            ("f(x) = y { y := count(x) with count as f }", Some("f")),
            ("f(x) = y { y := g(x) with data.sigstore.g as data.sigstore.f }\ng(x) = 1", Some("f")),
            ("f(x) = y { y := count(x) with count as ((f)) }", Some("f")),
            // Keywords that name a field.
            ("a := input.with\nf(x) = y { y := f(x) }", Some("f")),
            ("f(x) = 1 { x.import\n f(x) }", Some("f")),
            ("f(x) = 1 { input.as.x\n f(x) }", Some("f")),
            ("f(x) = y { y := h(x) }\nh(x) = y { y := count(x) with count as f }", Some("f")),
            ("in := 1\na := in\nf(x) = y { y := f(x) }", Some("f")),
            ("every = 1\nf(x) = 1 { x == every\n f(x) }", Some("f")),
            ("import rego.v1\nallow if f(1)\nf(x) := y if { y := f(x) }", Some("f")),
            (
                "import rego.v1\nallow contains x if {\n  some x in f(1)\n}\nf(x) := x if contains(x, \"f\")",
                None,
            ),
            ("import data.sigstore.f as g\nf(x) = x\nisCompliant { g(1) }", None),
            (
                "f(x) = y { y := x with input as {} }\nisCompliant { f(1) with input.a as f(2) }",
                None,
            ),
            ("default f(x) = 1\nf(x) = x\na = f(1)\nb = c { c := f(a) }", None),
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
