//! The evidence store: what registries answered, kept in memory, on disk and in a store that replicas
//! share.
//!
//! Evidence is kept, not verdicts: what comes out of the store is verified like what a registry hands
//! out, so that a store which somebody has written to costs time, and never an admission.
mod clock;
pub mod turns;

pub use clock::Clock;
pub use turns::Turn;
pub use turns::TurnError;
pub use turns::Turns;
