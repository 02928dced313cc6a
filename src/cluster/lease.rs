//! Which replica writes: a `coordination.k8s.io` Lease.
