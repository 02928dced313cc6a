//! Events on the workloads that were denied, or would have been.
