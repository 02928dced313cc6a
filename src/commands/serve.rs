//! `tegata serve`.
use crate::args::ServeArgs;
use crate::evidence::FetchEvidence;
use crate::server::reload::Load;

/// Stand-in.
pub async fn run<F: FetchEvidence>(
    _args: ServeArgs,
    _fetch: F,
    _load: impl Load,
) -> Result<(), crate::registry::StandIn> {
    Err(crate::registry::StandIn)
}
