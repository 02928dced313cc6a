//! Stages against real verification, and the keeper against an API server in memory.
mod fake;
mod kept;
mod stages;
