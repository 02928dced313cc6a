//! `tegata probe`.
use std::time::Duration;

use url::Url;

use crate::server::timeout::parse_duration;

/// Ask a URL once, and succeed when it answers 200
#[derive(clap::Args, Clone, Debug)]
pub struct ProbeArgs {
    /// What to ask, for example `http://tegata.tegata-system.svc:8080/readyz`
    #[arg(value_name = "URL")]
    pub url: Url,

    /// How long to wait for the answer
    #[arg(long, env = "TEGATA_TIMEOUT", value_name = "DURATION", default_value = "5s", value_parser = parse_duration)]
    pub timeout: Duration,
}
