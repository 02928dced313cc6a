//! Tegata: a Kubernetes admission controller that checks image signatures.
//!
//! A request is a value that flows one way. I/O happens in one step; every other step is a pure
//! function.
//!
//! ```text
//! AdmissionReview ─ review ─► [ImageUse] ─ select ─► [PolicyState] ─ fetch ─► Evidence
//!    server           pure                   pure                     I/O       untrusted
//!                   Verdict ◄─ evaluate ─ [VerifiedSignature] ◄─ verify ─┘
//!  response, audit,            pure         proof                pure: trust root, now
//!     metrics
//! ```
//!
//! | layer | modules | may use |
//! |---|---|---|
//! | wire | [`api`] | nothing |
//! | pure | [`error`], [`fingerprint`], [`image`], [`json`], [`workload`], [`trust_root`], [`verify`], [`conditions`], [`policy`], [`verdict`] | the layers above |
//! | pipeline | [`evidence`], [`admission`] | wire and pure |
//! | I/O | [`registry`], [`rekor`], [`files`], [`cluster`], [`server`], [`store`], [`telemetry`], [`metrics`], [`tuf`] | all of these |
//! | composition | [`args`], [`commands`] | everything |
//!
//! Imports go downwards only; `tests/layers.rs` holds every module to it.
pub mod admission;
pub mod api;
pub mod args;
pub mod cluster;
pub mod commands;
pub mod conditions;
pub mod error;
pub mod evidence;
pub mod files;
pub mod fingerprint;
pub mod image;
pub mod json;
pub mod metrics;
pub mod policy;
pub mod registry;
pub mod rekor;
pub mod server;
pub mod store;
pub mod telemetry;
pub mod trust_root;
pub mod tuf;
pub mod verdict;
pub mod verify;
pub mod workload;
