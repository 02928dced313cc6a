//! Who signed, and what proves it: thresholds of logs and of timestamp authorities, ready-made
//! identities, certificates of one's own authority; and what was verified before.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use jiff::Timestamp;
use tegata::image::Digest;

#[path = "identities/facts.rs"]
mod facts;
#[path = "support/fake_registry.rs"]
mod fake_registry;
#[path = "identities/forms.rs"]
mod forms;
#[path = "support/gate.rs"]
mod gate;
#[path = "identities/pki.rs"]
mod pki;
#[path = "support/policy.rs"]
mod policy;
#[path = "support/review.rs"]
mod review;
#[path = "identities/thresholds.rs"]
mod thresholds;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

const ALICE: &str = "alice@example.com";
const ISSUER: &str = "https://issuer.example";

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn image() -> Digest {
    Digest::sha256_of(b"an image manifest")
}
