//! All policies of one instant.
use std::collections::BTreeMap;

use super::PolicyState;
use crate::image::ImageRef;

/// What a policy's `match` and `namespaceSelector` look at.
#[derive(Clone, Debug, Default)]
pub struct Workload {
    /// The namespace of the request; empty for none.
    pub namespace: String,
    /// Labels of the namespace, where known. Kubernetes itself sets `kubernetes.io/metadata.name`.
    pub namespace_labels: BTreeMap<String, String>,
    /// API group of the object, for example `apps`; empty is the core group.
    pub group: String,
    /// Version, for example `v1`.
    pub version: String,
    /// Plural resource, for example `deployments`.
    pub resource: String,
    /// Labels of the object.
    pub labels: BTreeMap<String, String>,
}

/// All policies of one instant, immutable.
#[derive(Clone, Debug, Default)]
pub struct PolicySnapshot {
    policies: Vec<PolicyState>,
}

impl PolicySnapshot {
    /// A snapshot of these policies.
    pub const fn new(policies: Vec<PolicyState>) -> Self {
        Self { policies }
    }

    /// All of them.
    pub fn policies(&self) -> &[PolicyState] {
        &self.policies
    }

    /// Those that apply to `image` in `workload`: cluster policies first, then the namespace's.
    pub fn select<'a>(&'a self, _workload: &Workload, _image: &ImageRef) -> Vec<&'a PolicyState> {
        todo!()
    }
}
