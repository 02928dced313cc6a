//! Matchers for texts: exact, glob and regular expression. All match the whole text.
use std::fmt;

use regex::Regex;
use regex::RegexBuilder;

/// Longest regular expression or glob, in bytes. The longest in public policies is below 300.
pub const MAX_PATTERN_BYTES: usize = 1024;

/// Most memory, in bytes, of one compiled regular expression. A pattern of the longest length
/// stays far below unless it counts (`.{1000}`); a policy may hold some hundred of them.
pub const MAX_REGEX_BYTES: usize = 256 * 1024;

/// Most memory, in bytes, of the cache that one regular expression searches with.
const MAX_REGEX_CACHE_BYTES: usize = 512 * 1024;

/// A matcher for one text.
#[derive(Clone, Debug)]
pub struct TextMatcher(Kind);

#[derive(Clone, Debug)]
enum Kind {
    Exact(String),
    Glob { text: String, regex: Regex },
    Regex { text: String, regex: Regex },
}

/// Why a text is not a pattern.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct PatternError {
    /// What was found, in one clause.
    pub problem: String,
}

impl TextMatcher {
    /// Matches this text only.
    ///
    /// # Errors
    /// When it is empty: nothing that is compared may be empty, so it could never match.
    pub fn exact(text: &str) -> Result<Self, PatternError> {
        bounded(text)?;
        Ok(Self(Kind::Exact(text.to_owned())))
    }

    /// Matches what the glob describes: `*` stays between slashes, `**` does not, `?` is one
    /// character that is not a slash; everything else is literal.
    ///
    /// # Errors
    /// When it is empty or too long.
    pub fn glob(text: &str) -> Result<Self, PatternError> {
        bounded(text)?;
        Ok(Self(Kind::Glob { text: text.to_owned(), regex: glob_regex(text)? }))
    }

    /// Matches what the regular expression matches from the first character to the last.
    ///
    /// # Errors
    /// When it is empty, too long, too costly, or no regular expression.
    pub fn regex(text: &str) -> Result<Self, PatternError> {
        bounded(text)?;
        // On its own first: `a)|(b` must not become valid by the group put around it.
        compile(text)?;
        // `\A` and `\z` ignore the flags m and x; flags set within the group end with it. A
        // trailing comment in verbose mode swallows the group's end, which is an error here.
        let regex = compile(&format!(r"\A(?:{text})\z"))?;
        Ok(Self(Kind::Regex { text: text.to_owned(), regex }))
    }

    /// Whether the whole text matches.
    pub fn matches(&self, text: &str) -> bool {
        match &self.0 {
            Kind::Exact(exact) => exact == text,
            Kind::Glob { regex, .. } | Kind::Regex { regex, .. } => regex.is_match(text),
        }
    }
}

impl fmt::Display for TextMatcher {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Kind::Exact(text) => write!(f, "`{text}`"),
            Kind::Glob { text, .. } => write!(f, "a match of the glob `{text}`"),
            Kind::Regex { text, .. } => write!(f, "a full match of `{text}`"),
        }
    }
}

/// A glob as a regular expression over the whole text.
pub(super) fn glob_regex(glob: &str) -> Result<Regex, PatternError> {
    let mut pattern = String::from(r"(?s)\A");
    let mut chars = glob.chars().peekable();
    while let Some(c) = chars.next() {
        match c {
            '*' if chars.peek() == Some(&'*') => {
                while chars.next_if_eq(&'*').is_some() {}
                pattern.push_str(".*");
            }
            '*' => pattern.push_str("[^/]*"),
            '?' => pattern.push_str("[^/]"),
            c => pattern.push_str(&regex::escape(c.encode_utf8(&mut [0; 4]))),
        }
    }
    pattern.push_str(r"\z");
    compile(&pattern)
}

fn bounded(text: &str) -> Result<(), PatternError> {
    if text.is_empty() {
        return Err(PatternError { problem: "it is empty, so it could never match".to_owned() });
    }
    if text.len() > MAX_PATTERN_BYTES {
        let problem = format!("it has {} bytes, more than {MAX_PATTERN_BYTES}", text.len());
        return Err(PatternError { problem });
    }
    Ok(())
}

fn compile(pattern: &str) -> Result<Regex, PatternError> {
    RegexBuilder::new(pattern)
        .size_limit(MAX_REGEX_BYTES)
        .dfa_size_limit(MAX_REGEX_CACHE_BYTES)
        .build()
        .map_err(|error| PatternError { problem: describe(&error) })
}

fn describe(error: &regex::Error) -> String {
    if let regex::Error::CompiledTooBig(_) = error {
        return format!(
            "it compiles to more than {MAX_REGEX_BYTES} bytes; use smaller repetitions"
        );
    }
    // The library draws the pattern over several lines; the last one says what is wrong.
    let text = error.to_string();
    let last = text.lines().last().unwrap_or_default().trim();
    format!("it is no regular expression: {}", last.trim_start_matches("error: "))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn regexes_match_the_whole_text_whatever_flags_they_set() {
        for (pattern, text, expected) in [
            ("a|b", "a", true),
            ("a|b", "xa", false),
            ("a|b", "bx", false),
            ("a|ab", "ab", true),
            ("(?m)a", "a\nb", false),
            ("(?m)^a$", "b\na", false),
            ("(?i)A", "a", true),
            ("(?x) a b", "ab", true),
            (".*", "any thing", true),
            (".*", "two\nlines", false),
            ("a$", "a\n", false),
            (".*@example[.]com", "me@example.com.evil.test", false),
        ] {
            let matcher = TextMatcher::regex(pattern).unwrap();
            assert_eq!(matcher.matches(text), expected, "{pattern} on {text:?}");
        }
    }

    #[test]
    fn rejects_patterns_that_break_out_or_cost_too_much() {
        let long = "a".repeat(MAX_PATTERN_BYTES + 1);
        for (pattern, problem) in [
            ("", "empty"),
            ("a)|(b", "no regular expression"),
            ("a)|(?:b", "no regular expression"),
            ("(?x)a # comment", "no regular expression"),
            ("****", "no regular expression"),
            ("[", "no regular expression"),
            ("a\\", "no regular expression"),
            ("(\\w{100}){100}", "compiles to more than"),
            (long.as_str(), "bytes, more than"),
        ] {
            let error = TextMatcher::regex(pattern).unwrap_err();
            assert!(error.problem.contains(problem), "{pattern}: {error}");
        }
        let longest = &long[1..];
        for matcher in [TextMatcher::exact, TextMatcher::glob, TextMatcher::regex] {
            assert!(matcher("").is_err());
            assert!(matcher(longest).unwrap().matches(longest));
            assert!(matcher(&long).unwrap_err().problem.contains("bytes, more than"));
        }
    }

    #[test]
    fn globs_stay_within_a_segment() {
        for (glob, text, expected) in [
            ("https://github.com/org/*", "https://github.com/org/app", true),
            ("https://github.com/org/*", "https://github.com/org/app/evil", false),
            ("https://github.com/org/**", "https://github.com/org/app/x", true),
            ("refs/tags/v?", "refs/tags/v1", true),
            ("refs/tags/v?", "refs/tags/v12", false),
            ("a.b", "axb", false),
            ("{a,b}", "a", false),
            ("[ab]", "a", false),
        ] {
            let matcher = TextMatcher::glob(glob).unwrap();
            assert_eq!(matcher.matches(text), expected, "{glob} on {text}");
        }
    }
}
