//! Resources to policies.
