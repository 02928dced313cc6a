//! The Helm chart: what it refuses, what it renders, and that generated files are current.
//!
//! Needs `helm` 4 and `kubernetes-validate`, by the environment variables `HELM` and
//! `KUBERNETES_VALIDATE` or on the path. `make chart` writes the generated files anew.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "test support"
)]
#[path = "chart/support.rs"]
mod support;

#[path = "chart/command.rs"]
mod command;
#[path = "chart/files.rs"]
mod files;
#[path = "chart/pods.rs"]
mod pods;
#[path = "chart/rbac.rs"]
mod rbac;
#[path = "chart/values.rs"]
mod values;
#[path = "chart/webhooks.rs"]
mod webhooks;
