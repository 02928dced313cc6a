//! The time that the API server gives us: `?timeout=10s`, less a margin.
use std::time::Duration;
use std::time::Instant;

/// The longest time that a request may take. Kubernetes bounds `timeoutSeconds` of a webhook to
/// 30 (`admissionregistration.k8s.io/v1`), so nobody waits longer for the answer.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(30);

/// The time that a request gets when it names none, or none that can be read: the default of
/// `timeoutSeconds` in `admissionregistration.k8s.io/v1`.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(10);

/// What is kept back of the API server's time for two journeys over the network, TLS, and writing
/// the answer, so that the user reads our explanation and not "context deadline exceeded".
pub const MARGIN: Duration = Duration::from_millis(500);

/// Of a time-out shorter than four margins only this part is kept back, as most of it would be
/// gone otherwise.
const SHORT_MARGIN_DIVISOR: u32 = 4;

/// Longest duration text that is read: Go writes at most 25 characters (`2562047h47m16.854775807s`).
const MAX_DURATION_TEXT: usize = 64;

/// When the parts of answering a request must have ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Deadlines {
    /// When the pipeline must have answered.
    pub admit: Instant,
    /// When we answer in its stead: later than [`Self::admit`], so that the pipeline's own, better
    /// explanation has half of the margin to arrive.
    pub overrun: Instant,
}

impl Deadlines {
    /// The deadlines of a request that began at `start` with this query string.
    pub fn of_request(query: Option<&str>, default: Duration, start: Instant) -> Self {
        let timeout = query
            .and_then(|query| {
                url::form_urlencoded::parse(query.as_bytes())
                    .find(|(name, _)| name == "timeout")
                    .and_then(|(_, value)| parse_duration(&value).ok())
            })
            .filter(|timeout| !timeout.is_zero())
            .unwrap_or(default)
            .min(MAX_TIMEOUT);
        let margin = MARGIN.min(timeout / SHORT_MARGIN_DIVISOR);
        Self { admit: start + (timeout - margin), overrun: start + (timeout - margin / 2) }
    }
}

/// Parses a duration as Go writes it: `10s`, `1m30s`, `1.5s`, `250ms`.
///
/// # Errors
/// When the text is anything else, negative, or too long to be held.
pub fn parse_duration(text: &str) -> Result<Duration, DurationError> {
    let error = || DurationError {
        found: crate::verdict::printable(text.get(..MAX_DURATION_TEXT).unwrap_or(text)),
    };
    if text.len() > MAX_DURATION_TEXT {
        return Err(error());
    }
    if text == "0" {
        return Ok(Duration::ZERO);
    }
    let mut rest = text.strip_prefix('+').unwrap_or(text);
    if rest.is_empty() {
        return Err(error());
    }
    let mut total = Duration::ZERO;
    while !rest.is_empty() {
        let number = rest.find(|c: char| !c.is_ascii_digit() && c != '.').ok_or_else(error)?;
        let (value, tail) = rest.split_at(number);
        let unit = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(unit);
        total = part(value, unit).and_then(|part| total.checked_add(part)).ok_or_else(error)?;
        rest = tail;
    }
    Ok(total)
}

fn part(value: &str, unit: &str) -> Option<Duration> {
    if !value.bytes().any(|b| b.is_ascii_digit()) {
        return None;
    }
    let value: f64 = value.parse().ok()?;
    let seconds = match unit {
        "ns" => 1e-9,
        "us" | "\u{b5}s" | "\u{3bc}s" => 1e-6,
        "ms" => 1e-3,
        "s" => 1.0,
        "m" => 60.0,
        "h" => 3600.0,
        _ => return None,
    };
    Duration::try_from_secs_f64(value * seconds).ok()
}

/// A text that is no duration.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("`{found}` is not a duration: wanted a number with a unit, for example 10s or 1m30s")]
pub struct DurationError {
    /// The text.
    pub found: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_durations_as_go_writes_them() {
        for (text, milliseconds) in [
            ("10s", 10_000),
            ("1m30s", 90_000),
            ("1.5s", 1_500),
            (".5s", 500),
            ("250ms", 250),
            ("1h0m0s", 3_600_000),
            ("+2s", 2_000),
            ("0", 0),
            ("0s", 0),
            ("2000\u{b5}s", 2),
        ] {
            assert_eq!(parse_duration(text), Ok(Duration::from_millis(milliseconds)), "{text}");
        }
    }

    #[test]
    fn rejects_what_is_no_duration() {
        for text in [
            "",
            "10",
            "s",
            "-5s",
            "1..5s",
            ".s",
            "10 s",
            "10x",
            "1e9h1",
            "+",
            "ü",
            "99999999999999999999h",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
        assert!(parse_duration(&"1".repeat(1000)).is_err());
        assert!(parse_duration(&"é".repeat(1000)).is_err());
    }

    #[test]
    fn keeps_a_margin_below_the_api_servers_own_time_out() {
        let start = Instant::now();
        for (query, admit, overrun) in [
            (Some("timeout=10s"), 9_500, 9_750),
            (Some("a=b&timeout=10s"), 9_500, 9_750),
            (Some("timeout=1s"), 750, 875),
            (Some("timeout=100ms"), 75, 87),
            (Some("timeout=5h"), 29_500, 29_750),
            (Some("timeout=0s"), 6_500, 6_750),
            (Some("timeout=-1s"), 6_500, 6_750),
            (Some("timeout=soon"), 6_500, 6_750),
            (Some(""), 6_500, 6_750),
            (None, 6_500, 6_750),
        ] {
            let deadlines = Deadlines::of_request(query, Duration::from_secs(7), start);
            assert_eq!((deadlines.admit - start).as_millis(), admit, "{query:?}");
            assert_eq!((deadlines.overrun - start).as_millis(), overrun, "{query:?}");
        }
    }
}
