//! Errors as text.
use std::error::Error;

/// The error and its causes in one line, outermost first. A cause that the text before it says
/// already is not said again.
pub fn one_line(error: &(dyn Error + 'static)) -> String {
    let mut line = String::new();
    let mut next = Some(error);
    while let Some(error) = next {
        let text = error.to_string();
        let words: Vec<_> = text.split_whitespace().collect();
        let words = words.join(" ");
        if !line.ends_with(&words) {
            if !line.is_empty() {
                line.push_str(": ");
            }
            line.push_str(&words);
        }
        next = error.source();
    }
    line.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("{text}")]
    struct Told {
        text: &'static str,
        source: Option<Box<Self>>,
    }

    fn told(texts: &[&'static str]) -> Told {
        let (first, rest) = texts.split_first().unwrap();
        let source = (!rest.is_empty()).then(|| Box::new(told(rest)));
        Told { text: first, source }
    }

    #[test]
    fn joins_causes_in_one_line() {
        let error = told(&["cannot read key `k`", "no such\n   file", "no such file", "\u{1b}[1m"]);
        assert_eq!(one_line(&error), "cannot read key `k`: no such file: \u{fffd}[1m");
    }
}
