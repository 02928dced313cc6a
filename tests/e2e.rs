//! End to end: a real API server, real controllers, `helm install`, images that `cosign` signs in
//! this very run by a private Sigstore, and `kubectl` to see what an administrator sees.
//!
//! ```text
//! make e2e                  all of it
//! make e2e ONLY=kinds       the scenarios whose name contains a text
//! ```
//!
//! The program starts itself again in network, process and mount namespaces of its own, with
//! nothing but a loopback device: addresses and ports are free, runs side by side do not meet, no
//! test can reach another host, and whatever was started ends with it. [`world`] is what the
//! [`scenarios`] are given; [`run`] tells how they went in the form of Rust's test runner.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    unreachable_pub,
    reason = "test support"
)]
use std::process::ExitCode;

#[path = "e2e/cluster.rs"]
mod cluster;
#[path = "support/collection.rs"]
mod collection;
#[path = "support/foreign_policies.rs"]
mod foreign_policies;
#[path = "support/invalid_policies.rs"]
mod invalid_policies;
#[path = "e2e/isolation.rs"]
mod isolation;
#[path = "e2e/kubelet.rs"]
mod kubelet;
#[path = "e2e/parts.rs"]
mod parts;
#[path = "e2e/pki.rs"]
mod pki;
#[path = "e2e/process.rs"]
mod process;
#[path = "e2e/registries.rs"]
mod registries;
#[path = "e2e/rekor_proxy.rs"]
mod rekor_proxy;
#[path = "e2e/run.rs"]
mod run;
#[path = "e2e/scenarios.rs"]
mod scenarios;
#[path = "e2e/sigstore.rs"]
mod sigstore;
#[path = "e2e/tegata.rs"]
mod tegata;
#[path = "e2e/tuf.rs"]
mod tuf;
#[path = "e2e/world.rs"]
mod world;

fn main() -> ExitCode {
    let asked = run::Asked::from_arguments();
    if asked.list {
        return run::list();
    }
    if !isolation::is_isolated() {
        return match parts::get().and_then(|()| isolation::run_isolated()) {
            Ok(code) => code,
            Err(error) => {
                eprintln!("e2e: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match run::run(&asked) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("e2e: {error:#}");
            ExitCode::FAILURE
        }
    }
}
