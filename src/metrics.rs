//! Prometheus metrics: closed label sets, no image names.
