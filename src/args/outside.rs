//! What is asked beyond registries.
use std::path::PathBuf;

use clap::builder::BoolishValueParser;

/// What is asked beyond registries, and where that is kept
#[derive(clap::Args, Clone, Debug, Default)]
pub struct OutsideArgs {
    /// Send requests to registries alone: no transparency log is asked, whatever policies say, and
    /// no trust root is fetched
    #[arg(long, env = "TEGATA_OFFLINE", num_args = 0..=1, require_equals = true,
        default_value = "false", default_missing_value = "true", value_name = "BOOL",
        hide_default_value = true, hide_possible_values = true,
        value_parser = BoolishValueParser::new())]
    pub offline: bool,

    /// Folder that keeps fetched trust roots, so that they are there at the next start; all in it is
    /// verified again
    #[arg(long, env = "TEGATA_TUF_STATE", value_name = "DIR")]
    pub tuf_state: Option<PathBuf>,
}
