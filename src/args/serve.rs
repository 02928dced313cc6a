//! Flags of `tegata serve`.
use std::path::PathBuf;

/// Stand-in.
#[derive(clap::Args, Clone, Debug)]
pub struct ServeArgs {
    /// File or folder with policies
    #[arg(long, env = "TEGATA_POLICIES")]
    pub policies: Vec<PathBuf>,
}
