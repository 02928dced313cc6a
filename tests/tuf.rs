//! Trust roots from TUF repositories: others' vectors, attacks, refreshes.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support"
)]

#[path = "tuf/attacks.rs"]
mod attacks;
#[path = "support/collection.rs"]
mod collection;
#[path = "tuf/following.rs"]
mod following;
#[path = "tuf/keeping.rs"]
mod keeping;
#[path = "tuf/mirror.rs"]
mod mirror;
#[path = "tuf/refresh.rs"]
mod refresh;
#[path = "support/tuf_repository.rs"]
mod tuf_repository;
#[path = "tuf/vectors.rs"]
mod vectors;
