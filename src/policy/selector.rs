//! Kubernetes label selectors.

/// A compiled label selector (`matchLabels`, `matchExpressions`).
#[derive(Clone, Debug)]
pub struct LabelSelector {}
