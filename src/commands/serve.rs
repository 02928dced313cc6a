//! `tegata serve`.
use super::CommandError;
use crate::args::ServeArgs;

/// Serves until told to stop.
///
/// # Errors
/// When its configuration cannot be used.
pub async fn run(_args: ServeArgs) -> Result<(), CommandError> {
    todo!("another engineer's module")
}
