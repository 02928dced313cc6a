//! The webhook server.
pub mod reload;
