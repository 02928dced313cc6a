//! Logs.
use std::fmt;
use std::str::FromStr;

use anstream::AutoStream;
use anstream::ColorChoice;
use tracing_subscriber::EnvFilter;

/// The form of log lines.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object a line, for programs.
    Json,
}

/// Which log lines are written, in the syntax of `tracing`: `info`, `info,tegata=debug`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFilter(String);

impl fmt::Display for LogFilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for LogFilter {
    type Err = LogFilterError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let error = |source| LogFilterError { found: text.to_owned(), source };
        // `tracing` would read it as "nothing", and a server without a log hides its denials.
        if text.trim().is_empty() {
            return Err(error(None));
        }
        match EnvFilter::try_new(text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(source) => Err(error(Some(source))),
        }
    }
}

/// A text that is no log filter.
#[derive(Debug, thiserror::Error)]
#[error("`{found}` is not a log filter: wanted a level such as `info`, or `info,tegata=debug`")]
pub struct LogFilterError {
    found: String,
    source: Option<tracing_subscriber::filter::ParseError>,
}

/// Logging was already set up in this process.
#[derive(Debug, thiserror::Error)]
#[error("logging is already set up in this process")]
pub struct TelemetryError;

/// Sends log lines to standard error, coloured on a terminal only (and not where `NO_COLOR` is
/// set). To be called once, by the command.
///
/// # Errors
/// When it was called before.
pub fn init(format: LogFormat, filter: &LogFilter) -> Result<(), TelemetryError> {
    let colour = AutoStream::choice(&std::io::stderr()) != ColorChoice::Never;
    let builder = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(colour)
        .with_env_filter(EnvFilter::new(&filter.0));
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| TelemetryError)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_a_filter_that_would_silence_everything_by_accident() {
        for text in ["", "  ", "tegata=loud"] {
            assert!(text.parse::<LogFilter>().is_err(), "{text:?}");
        }
        for text in ["info", "off", "info,tegata=debug"] {
            assert_eq!(text.parse::<LogFilter>().unwrap().to_string(), text);
        }
    }
}
