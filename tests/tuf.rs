//! Trust roots from TUF repositories: others' vectors, attacks, refreshes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support"
)]

#[path = "support/collection.rs"]
mod collection;
#[path = "tuf/vectors.rs"]
mod vectors;
