//! Policies, trust roots, namespaces and keys of a cluster, as one snapshot.
