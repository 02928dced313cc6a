//! Every possible answer, through the real router: request JSON in, answer out.
//!
//! Images are signed by a Sigstore in memory and lie in a registry in process; policies are read
//! from files. `reasons` has one row for each reason code and is the place to start reading.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]

#[path = "support/fake_registry.rs"]
mod fake_registry;
#[path = "support/gate.rs"]
mod gate;
#[path = "support/policy.rs"]
mod policy;
#[path = "support/review.rs"]
mod review;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

#[path = "admission/attestations.rs"]
mod attestations;
#[path = "admission/known.rs"]
mod known;
#[path = "admission/modes.rs"]
mod modes;
#[path = "admission/mutation.rs"]
mod mutation;
#[path = "admission/platforms.rs"]
mod platforms;
#[path = "admission/policies.rs"]
mod policies;
#[path = "admission/reasons.rs"]
mod reasons;
#[path = "admission/workloads.rs"]
mod workloads;
