//! Regular expressions that match more than they look like.
use crate::policy::TextMatcher;

/// Texts of which no reasonable pattern matches every one.
const ANYTHING: [&str; 4] =
    ["x", "nobody@stranger.example", "https://stranger.example/a/b?c=d#e", "0123456789 \u{1}ü"];

/// The first dot that stands for any character within what looks like a host, an address or a
/// file name, with the words around it: `github.com`.
pub(super) fn loose_dot(pattern: &str) -> Option<String> {
    let chars: Vec<char> = pattern.chars().collect();
    let at = |index: usize| chars.get(index).copied();
    let mut class = false;
    let mut index = 0;
    while let Some(c) = at(index) {
        match c {
            '\\' => index += 1,
            '[' => class = true,
            ']' => class = false,
            '.' if !class => {
                let before = index.checked_sub(1).and_then(at);
                // A letter after an escape is a class, as in `\w`.
                let escaped = index.checked_sub(2).and_then(at) == Some('\\');
                let letter = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphabetic());
                if letter(before) && !escaped && letter(at(index + 1)) && letter(at(index + 2)) {
                    return Some(word_around(&chars, index));
                }
            }
            _ => {}
        }
        index += 1;
    }
    None
}

fn word_around(chars: &[char], dot: usize) -> String {
    let part = |c: &&char| c.is_ascii_alphanumeric() || **c == '-';
    let (before, after) = chars.split_at(dot);
    let head: Vec<char> = before.iter().rev().take_while(part).copied().collect();
    let tail = after.iter().skip(1).take_while(part);
    head.iter().rev().chain(['.'].iter()).chain(tail).collect()
}

/// Whether the pattern matches whatever it is compared with.
pub(super) fn matches_anything(matcher: &TextMatcher) -> bool {
    ANYTHING.iter().all(|text| matcher.matches(text))
}
