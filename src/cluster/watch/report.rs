//! What became of each object, for its status.
use std::sync::Arc;

use crate::api;
use crate::policy::compile::CompileError;
use crate::trust_root::TrustRoot;
use crate::tuf;

/// One of our resources, and what became of it.
#[derive(Clone, Debug)]
pub struct Report {
    /// Its kind.
    pub kind: Kind,
    /// Its namespace; empty for what has none.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its `uid`.
    pub uid: String,
    /// The version of the object that was read.
    pub resource_version: String,
    /// The generation of the spec that the outcome is about.
    pub generation: Option<i64>,
    /// Its status as it was read.
    pub status: api::Status,
    /// How many authorities its spec has; `None` for a trust root, and where that cannot be read.
    pub authorities: Option<usize>,
    /// What became of it.
    pub outcome: Outcome,
    /// What policies that name it are checked against; `None` for a policy.
    pub root: Option<Arc<TrustRoot>>,
}

/// The kinds of our resources.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Kind {
    /// `ClusterImagePolicy`.
    ClusterImagePolicy,
    /// `ImagePolicy`.
    ImagePolicy,
    /// `TrustRoot`.
    TrustRoot,
}

/// What became of an object.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Outcome {
    /// A trust root that was fetched from a repository, and that policies may name.
    Fetched {
        /// What it holds, for a person.
        holds: String,
        /// How refreshing goes.
        status: tuf::Status,
    },
    /// It cannot be used.
    Invalid {
        /// Why.
        error: CompileError,
        /// Whether the last version of it that could be used stays in force.
        last_good: bool,
    },
    /// A trust root that is to be fetched from a repository, and of which there is nothing yet.
    NotFetched {
        /// How fetching goes; without an error before an attempt has ended.
        status: tuf::Status,
    },
    /// A policy in force.
    Policy,
    /// A trust root that policies may name.
    TrustRoot {
        /// What it holds, for a person.
        holds: String,
    },
    /// A trust root that names a ConfigMap which was read, and which cannot be used.
    Unusable {
        /// Why.
        error: CompileError,
        /// Whether what the ConfigMap held before stays in force.
        last_good: bool,
    },
}
