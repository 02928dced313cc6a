//! Two replicas of the real program under a cluster's load: one is killed and comes back, and policies
//! change meanwhile.
//!
//! Everything runs on loopback. `TEGATA_RATE` says how many reviews are sent a second, `TEGATA_BIN` names
//! another program than cargo's. What happens is told on standard error.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    unreachable_pub,
    reason = "test support"
)]
use std::io::Write as _;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

#[path = "bench/client.rs"]
#[allow(dead_code, reason = "the other program that includes it uses the rest")]
mod client;
#[path = "bench/images.rs"]
#[allow(dead_code, reason = "the other program that includes it uses the rest")]
mod images;
#[path = "replicas/killed.rs"]
mod killed;
#[path = "replicas/load.rs"]
mod load;
#[path = "bench/pods.rs"]
#[allow(dead_code, reason = "the other program that includes it uses the rest")]
mod pods;
#[path = "support/policy.rs"]
mod policy;
#[path = "bench/registry.rs"]
#[allow(dead_code, reason = "the other program that includes it uses the rest")]
mod registry;
#[path = "replicas/replaced.rs"]
mod replaced;
#[path = "replicas/replica.rs"]
mod replica;
#[path = "support/review.rs"]
mod review;
#[path = "replicas/service.rs"]
mod service;
#[path = "replicas/tally.rs"]
mod tally;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

/// Held by the test that runs: each wants the machine for itself.
static MACHINE: Mutex<()> = Mutex::new(());

/// The machine for one test, and all that its programs need.
fn alone() -> MutexGuard<'static, ()> {
    // Another provider may be installed already, which serves as well.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    MACHINE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Tells what is being done; the test harness withholds what the macros print.
fn say(text: &str) {
    let _ = writeln!(std::io::stderr(), "  {text}");
}
