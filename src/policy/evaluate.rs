//! Policies against what was verified.
