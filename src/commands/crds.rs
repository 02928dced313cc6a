//! `tegata crds`.

/// Stand-in.
pub fn yaml() -> Result<String, crate::registry::StandIn> {
    Err(crate::registry::StandIn)
}
