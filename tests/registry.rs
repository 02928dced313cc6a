//! The registry client against registries that behave, misbehave and attack.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs,
    unreachable_pub,
    reason = "test support"
)]
#[path = "support/fake_registry.rs"]
mod fake_registry;
#[path = "registry/support.rs"]
mod support;

#[path = "registry/addresses.rs"]
mod addresses;
#[path = "registry/auth.rs"]
mod auth;
#[path = "registry/bounds.rs"]
mod bounds;
#[path = "registry/candidates.rs"]
mod candidates;
#[path = "registry/discovery.rs"]
mod discovery;
#[path = "registry/hostile.rs"]
mod hostile;
#[path = "registry/outages.rs"]
mod outages;
#[path = "registry/resolve.rs"]
mod resolve;
#[path = "registry/settings.rs"]
mod settings;
#[path = "registry/tenants.rs"]
mod tenants;
#[path = "registry/trips.rs"]
mod trips;
