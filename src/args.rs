//! The command line, typed; no logic.
pub mod serve;
