//! Watches on the cluster.
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

/// Watches on the cluster. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct WatchMetrics {
    healthy: Family<Labels, Gauge>,
    last_contact: Family<Labels, Gauge>,
    errors: Family<Labels, Counter>,
}

impl WatchMetrics {
    /// Registers every metric, each with its help text.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { healthy, last_contact, errors } = &metrics;
        registry.register(
            "watch_healthy",
            "Whether the watch on a resource has contact with the API server",
            healthy.clone(),
        );
        registry.register_with_unit(
            "watch_last_contact_timestamp",
            "When the API server last answered the watch on a resource, since the Unix epoch",
            Unit::Seconds,
            last_contact.clone(),
        );
        registry.register(
            "watch_errors",
            "Failed requests and broken streams of the watch on a resource",
            errors.clone(),
        );
        metrics
    }

    /// Makes the metrics of `resource` appear: nothing has been heard yet.
    pub fn starting(&self, resource: &'static str) {
        self.healthy(resource, false);
        let _ = self.errors.get_or_create_owned(&Labels { resource });
    }

    /// Publishes that the API server answered.
    pub fn contact(&self, resource: &'static str, at: Timestamp) {
        self.last_contact.get_or_create(&Labels { resource }).set(at.as_second());
    }

    /// Publishes whether the watch has contact.
    pub fn healthy(&self, resource: &'static str, healthy: bool) {
        self.healthy.get_or_create(&Labels { resource }).set(i64::from(healthy));
    }

    /// Counts an error.
    pub fn error(&self, resource: &'static str) {
        self.errors.get_or_create(&Labels { resource }).inc();
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    resource: &'static str,
}
