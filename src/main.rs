//! The `tegata` binary.
fn main() {}
