//! What the command line's commands do.
pub mod crds;
pub mod serve;
