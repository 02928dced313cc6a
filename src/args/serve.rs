//! Flags of `tegata serve`.
use clap::Args;

/// Flags of `tegata serve`.
#[derive(Args, Debug)]
pub struct ServeArgs {}
