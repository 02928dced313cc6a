//! The command line, typed; no logic.
