//! The evidence store: what registries answered, kept in memory, on disk and in a store that replicas
//! share.
//!
//! Evidence is kept, not verdicts: what comes out of the store is verified like what a registry hands
//! out, so that a store which somebody has written to costs time, and never an admission.
mod clock;
pub mod disk;
mod pause;
mod record;
pub mod shared;

pub use clock::Clock;
pub use record::MAX_RECORD_BYTES;
