//! The webhook server: what it answers, and what it does when anything goes wrong.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]

#[path = "server/busy.rs"]
mod busy;
#[path = "server/configuration.rs"]
mod configuration;
#[path = "server/fake.rs"]
mod fake;
#[path = "server/lifecycle.rs"]
mod lifecycle;
#[path = "server/live.rs"]
mod live;
#[path = "server/policies.rs"]
mod policies;
#[path = "server/reload.rs"]
mod reload;
#[path = "server/router.rs"]
mod router;
#[path = "server/slow.rs"]
mod slow;
