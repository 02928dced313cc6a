//! Stand-in.
use crate::policy::PolicySnapshot;

/// Stand-in.
#[derive(Debug)]
pub struct LoadOutcome {
    /// Policies.
    pub snapshot: PolicySnapshot,
    /// Problems.
    pub problems: Vec<String>,
}

/// Stand-in.
pub trait Load: FnMut() -> Result<LoadOutcome, String> + Send + 'static {}

impl<L: FnMut() -> Result<LoadOutcome, String> + Send + 'static> Load for L {}
