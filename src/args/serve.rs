//! `tegata serve`.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::builder::PossibleValuesParser;
use clap::builder::TypedValueParser;

use crate::admission::Mutate;
use crate::admission::NoMatch;
use crate::args::CacheArgs;
use crate::server::timeout::MAX_TIMEOUT;
use crate::server::timeout::parse_duration;
use crate::telemetry::LogFilter;
use crate::telemetry::LogFormat;

/// Answer a cluster's admission reviews
#[derive(clap::Args, Clone, Debug)]
pub struct ServeArgs {
    /// File or folder with policies and trust roots as YAML; may be given several times. Without
    /// it they are resources of the cluster
    #[arg(long, env = "TEGATA_POLICIES", value_name = "PATH", value_delimiter = ',')]
    pub policies: Vec<PathBuf>,

    /// Address of the webhook, over TLS
    #[arg(long, env = "TEGATA_LISTEN", value_name = "ADDRESS", default_value = "0.0.0.0:8443")]
    pub listen: SocketAddr,

    /// Address of /livez, /readyz and /metrics, without TLS
    #[arg(
        long,
        env = "TEGATA_HEALTH_LISTEN",
        value_name = "ADDRESS",
        default_value = "0.0.0.0:8080"
    )]
    pub health_listen: SocketAddr,

    /// Serving certificate, PEM with the leaf first; re-read when it changes. Without one, Tegata
    /// signs its own
    #[arg(long, env = "TEGATA_TLS_CERT", value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,

    /// Key of the serving certificate, PEM
    #[arg(long, env = "TEGATA_TLS_KEY", value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,

    /// Where to write the certificate of the authority that Tegata makes, for clients to trust
    #[arg(long, env = "TEGATA_TLS_CA_OUT", value_name = "FILE", conflicts_with = "tls_cert")]
    pub tls_ca_out: Option<PathBuf>,

    /// Name or address that the self-signed certificate is for, besides localhost; may be given
    /// several times
    #[arg(
        long,
        env = "TEGATA_TLS_NAME",
        value_name = "NAME",
        value_delimiter = ',',
        conflicts_with = "tls_cert"
    )]
    pub tls_name: Vec<String>,

    /// What happens to images that no policy covers
    #[arg(
        long,
        env = "TEGATA_NO_MATCH",
        value_name = "ANSWER",
        default_value = "allow",
        value_parser = PossibleValuesParser::new(["allow", "warn", "deny"]).map(|text| no_match(&text))
    )]
    pub no_match: NoMatch,

    /// Which objects get the verified digest written into their image fields
    #[arg(
        long,
        env = "TEGATA_MUTATE",
        value_name = "OBJECTS",
        default_value = "pods",
        value_parser = PossibleValuesParser::new(["off", "pods", "all"]).map(|text| mutate(&text))
    )]
    pub mutate: Mutate,

    /// Form of the log lines on standard error
    #[arg(
        long,
        env = "TEGATA_LOG_FORMAT",
        value_name = "FORMAT",
        default_value = "text",
        value_parser = PossibleValuesParser::new(["text", "json"]).map(|text| log_format(&text))
    )]
    pub log_format: LogFormat,

    /// Which log lines are written, for example `info` or `info,tegata=debug`
    #[arg(long, env = "TEGATA_LOG_FILTER", value_name = "FILTER", default_value = "info")]
    pub log_filter: LogFilter,

    /// Most requests that are answered at once; more are turned away
    #[arg(
        long,
        env = "TEGATA_MAX_IN_FLIGHT",
        value_name = "NUMBER",
        default_value_t = 128,
        value_parser = clap::value_parser!(u16).range(1..)
    )]
    pub max_in_flight: u16,

    /// How long to go on after a signal to stop, while /readyz already fails
    #[arg(long, env = "TEGATA_DRAIN_DELAY", value_name = "DURATION", default_value = "5s", value_parser = pause)]
    pub drain_delay: Duration,

    /// How long after that clients may take to close their connections, in the first half of it, and
    /// requests in flight to end
    #[arg(long, env = "TEGATA_DRAIN_TIMEOUT", value_name = "DURATION", default_value = "30s", value_parser = pause)]
    pub drain_timeout: Duration,

    /// How long a request may take that names no time-out; 30s at most
    #[arg(long, env = "TEGATA_DEFAULT_TIMEOUT", value_name = "DURATION", default_value = "10s", value_parser = timeout)]
    pub default_timeout: Duration,

    /// What is kept.
    #[command(flatten)]
    pub cache: CacheArgs,
}

fn no_match(text: &str) -> NoMatch {
    match text {
        "allow" => NoMatch::Allow,
        "warn" => NoMatch::Warn,
        _ => NoMatch::Deny,
    }
}

fn mutate(text: &str) -> Mutate {
    match text {
        "off" => Mutate::Off,
        "all" => Mutate::All,
        _ => Mutate::Pods,
    }
}

fn log_format(text: &str) -> LogFormat {
    match text {
        "json" => LogFormat::Json,
        _ => LogFormat::Text,
    }
}

/// A pause while stopping. Kubernetes kills a pod long before an hour has passed.
fn pause(text: &str) -> Result<Duration, String> {
    const MAX: Duration = Duration::from_secs(3600);
    match parse_duration(text) {
        Ok(duration) if duration <= MAX => Ok(duration),
        Ok(_) => Err(format!("found {text}, wanted at most 1h")),
        Err(error) => Err(error.to_string()),
    }
}

fn timeout(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if !duration.is_zero() && duration <= MAX_TIMEOUT => Ok(duration),
        Ok(_) => Err(format!("found {text}, wanted more than 0s and at most 30s")),
        Err(error) => Err(error.to_string()),
    }
}
