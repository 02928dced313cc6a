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

/// The client of the Kubernetes API and its watches. They log each failure that we tell of, once more
/// and again with every attempt, and at times what an answer said.
const KUBE: [&str; 2] = ["kube_client", "kube_runtime"];

/// Which log lines are written, in the syntax of `tracing`: `info`, `info,tegata=debug`. Lines of the
/// Kubernetes client and of its watches are left out unless the filter names them.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LogFilter(String);

impl LogFilter {
    fn directives(&self) -> String {
        let Self(text) = self;
        let target =
            |directive: &str| directive.split(['=', '[']).next().unwrap_or_default().to_owned();
        let named: Vec<String> = text.split(',').map(target).collect();
        let silent = KUBE.iter().filter(|kube| !named.iter().any(|name| name.starts_with(**kube)));
        silent.fold(text.clone(), |all, kube| format!("{all},{kube}=off"))
    }
}

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
        .with_env_filter(EnvFilter::new(filter.directives()));
    match format {
        LogFormat::Text => builder.try_init(),
        LogFormat::Json => builder.json().flatten_event(true).try_init(),
    }
    .map_err(|_| TelemetryError)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::sync::Mutex;

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

    /// What `filter` lets through of these three lines.
    fn written(filter: &str) -> String {
        let lines = Arc::new(Mutex::new(Vec::new()));
        let writer = Arc::clone(&lines);
        let filter: LogFilter = filter.parse().unwrap();
        let subscriber = tracing_subscriber::fmt()
            .without_time()
            .with_level(false)
            .with_target(false)
            .with_ansi(false)
            .with_env_filter(EnvFilter::new(filter.directives()))
            .with_writer(move || Lines(Arc::clone(&writer)))
            .finish();
        tracing::subscriber::with_default(subscriber, || {
            tracing::warn!("ours");
            tracing::error!(target: "kube_client::client", "client");
            tracing::error!(target: "kube_runtime::watcher", "watcher");
        });
        let lines = lines.lock().unwrap();
        String::from_utf8_lossy(&lines).split_whitespace().collect::<Vec<_>>().join(" ")
    }

    struct Lines(Arc<Mutex<Vec<u8>>>);

    impl std::io::Write for Lines {
        fn write(&mut self, text: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(text);
            Ok(text.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn the_kubernetes_client_is_silent_where_the_filter_does_not_name_it() {
        for (filter, wanted) in [
            ("info", "ours"),
            ("warn,tegata=debug", "ours"),
            ("info,kube_client=warn", "ours client"),
            ("kube_client::client=error,kube_runtime=warn,tegata=info", "ours client watcher"),
            ("off", ""),
        ] {
            assert_eq!(written(filter), wanted, "{filter}");
        }
    }
}
