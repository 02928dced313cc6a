//! The evidence store's outer tiers against what is real: a Redis server that is killed, stopped,
//! filled with garbage and restarted, and processes that share a volume or are killed.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]

#[path = "store/disk.rs"]
mod disk;
#[path = "store/hostile.rs"]
mod hostile;
#[path = "store/redis_server.rs"]
mod redis_server;
#[path = "store/shared.rs"]
mod shared;
#[allow(dead_code, reason = "each test uses a part of it")]
#[path = "support/signed_cluster.rs"]
mod signed_cluster;
#[path = "store/verdicts.rs"]
mod verdicts;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;
