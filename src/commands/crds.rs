//! `tegata crds`.

/// The custom resource definitions as YAML.
pub fn yaml() -> String {
    todo!("another engineer's module")
}
