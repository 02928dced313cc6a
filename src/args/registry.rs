//! Registries and trust, for `tegata serve`.
use std::path::PathBuf;

use super::OutsideArgs;
use crate::evidence::LogUrl;
use crate::server::timeout::parse_duration;
use crate::tuf::Schedule;

/// How registries are reached, and whom to believe
#[derive(clap::Args, Clone, Debug, Default)]
pub struct RegistryArgs {
    /// Registry, with its port, that is spoken to over plain HTTP; may be given several times
    #[arg(long, env = "TEGATA_HTTP_REGISTRY", value_name = "HOST[:PORT]", value_delimiter = ',')]
    pub http_registry: Vec<String>,

    /// Docker `config.json` with credentials for registries; without it none are used
    #[arg(long, env = "TEGATA_REGISTRY_CONFIG", value_name = "FILE")]
    pub registry_config: Option<PathBuf>,

    /// YAML file with settings by registry: mirrors, certificate authorities, budgets, private
    /// addresses; and proxies
    #[arg(long, env = "TEGATA_REGISTRIES", value_name = "FILE")]
    pub registries: Option<PathBuf>,

    /// Rekor log that policies of namespaces may name although it lies at a private address, and that
    /// any policy may name with `http`; may be given several times
    #[arg(long, env = "TEGATA_REKOR_ALLOW", value_name = "URL", value_delimiter = ',')]
    pub rekor_allow: Vec<LogUrl>,

    /// `trusted_root.json` to believe where a policy names no TrustRoot, instead of the public-good
    /// instance's, which is kept fresh from its repository
    #[arg(long, env = "TEGATA_TRUSTED_ROOT", value_name = "FILE")]
    pub trusted_root: Option<PathBuf>,

    /// Mirror of the public-good instance's TUF repository, to be fetched from instead
    #[arg(long, env = "TEGATA_TUF_MIRROR", value_name = "URL", conflicts_with = "trusted_root")]
    pub tuf_mirror: Option<String>,

    /// How often trust roots are fetched anew from TUF repositories; 10s to 24h. After failures, and
    /// when metadata is about to expire, sooner
    #[arg(long, env = "TEGATA_TUF_REFRESH", value_name = "DURATION", default_value = "1h", value_parser = schedule)]
    pub tuf_refresh: Schedule,

    #[command(flatten)]
    #[allow(missing_docs, reason = "clap would take it for the help text of the group")]
    pub outside: OutsideArgs,
}

fn schedule(text: &str) -> Result<Schedule, String> {
    let interval = parse_duration(text).map_err(|error| error.to_string())?;
    Schedule::every(interval).ok_or_else(|| format!("found {text}, wanted 10s to 24h"))
}
