//! The image fields of every workload kind.
