//! Trust roots that are fetched.
use jiff::Timestamp;
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

/// How a refresh ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RefreshOutcome {
    /// Nothing came of it: the last good trust root stays.
    Error,
    /// What the mirror has was verified.
    Ok,
}

impl RefreshOutcome {
    const ALL: [Self; 2] = [Self::Error, Self::Ok];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Ok => "ok",
        }
    }
}

/// Trust roots that are fetched. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct TrustRootMetrics {
    expiry: Family<Labels, Gauge>,
    refreshed: Family<Labels, Gauge>,
    refreshes: Family<RefreshLabels, Counter>,
    version: Family<Labels, Gauge>,
}

impl TrustRootMetrics {
    /// Registers every metric, each with its help text.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { expiry, refreshed, refreshes, version } = &metrics;
        registry.register_with_unit(
            "trust_root_expiry_timestamp",
            "When the first of the metadata expires that leads to a fetched trust root, since the \
             Unix epoch",
            Unit::Seconds,
            expiry.clone(),
        );
        registry.register_with_unit(
            "trust_root_refreshed_timestamp",
            "When a trust root was last refreshed with success, since the Unix epoch",
            Unit::Seconds,
            refreshed.clone(),
        );
        registry.register(
            "trust_root_refresh",
            "Attempts to refresh a trust root, by how they ended",
            refreshes.clone(),
        );
        registry.register(
            "trust_root_metadata_version",
            "The version of the root metadata that leads to a fetched trust root",
            version.clone(),
        );
        metrics
    }

    /// Publishes which version leads to a trust root, how old that is, and how long it lasts.
    pub fn state(
        &self,
        root: &str,
        version: Option<u64>,
        refreshed: Option<Timestamp>,
        expires: Option<Timestamp>,
    ) {
        let labels = Labels { trust_root: root.to_owned() };
        let second = |at: Timestamp| at.as_second();
        for (family, value) in [
            (&self.refreshed, refreshed.map(second)),
            (&self.expiry, expires.map(second)),
            (&self.version, version.and_then(|version| i64::try_from(version).ok())),
        ] {
            if let Some(value) = value {
                family.get_or_create(&labels).set(value);
            }
        }
        for outcome in RefreshOutcome::ALL {
            let _ = self.refreshes.get_or_create_owned(&RefreshLabels::new(root, outcome));
        }
    }

    /// Counts an attempt.
    pub fn refresh(&self, root: &str, outcome: RefreshOutcome) {
        self.refreshes.get_or_create(&RefreshLabels::new(root, outcome)).inc();
    }

    /// Forgets a trust root that is not followed any longer.
    pub fn forget(&self, root: &str) {
        let labels = Labels { trust_root: root.to_owned() };
        self.expiry.remove(&labels);
        self.refreshed.remove(&labels);
        self.version.remove(&labels);
        for outcome in RefreshOutcome::ALL {
            self.refreshes.remove(&RefreshLabels::new(root, outcome));
        }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct Labels {
    trust_root: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RefreshLabels {
    trust_root: String,
    outcome: &'static str,
}

impl RefreshLabels {
    fn new(root: &str, outcome: RefreshOutcome) -> Self {
        Self { trust_root: root.to_owned(), outcome: outcome.as_str() }
    }
}
