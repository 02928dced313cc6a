//! Prometheus metrics: closed label sets but for the names of policies, of which a bounded number is
//! kept; never names of images, users or objects. `.github/METRICS.md` lists them.
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;
use prometheus_client::registry::Unit;

use crate::admission::Outcome;
use crate::policy::PolicySnapshot;
use crate::policy::PolicyState;
use crate::verdict::PolicyReport;
use crate::verdict::Reason;

mod by_policy;
mod labels;
mod of_registry;
mod of_store;
mod of_trust_root;
mod of_watch;
mod timed;

pub use by_policy::MAX_LABEL_SETS;
pub use labels::EventOutcome;
pub use labels::Reload;
pub use labels::Shed;
pub use labels::Stage;
pub use of_registry::Lookup;
pub use of_registry::OTHER;
pub use of_registry::RegistryMetrics;
pub use of_registry::RequestOutcome;
pub use of_registry::WELL_KNOWN;
pub use of_store::StoreLookup;
pub use of_store::StoreMetrics;
pub use of_store::StoreWrite;
pub use of_store::Tier;
pub use of_trust_root::RefreshOutcome;
pub use of_trust_root::TrustRootMetrics;
pub use of_watch::WatchMetrics;
pub use timed::Timed;

use by_policy::ByPolicy;
use labels::BuildLabels;
use labels::DecisionLabels;
use labels::EventLabels;
use labels::PolicyLabels;
use labels::RefusedLabels;
use labels::ReloadLabels;
use labels::ShedLabels;
use labels::StageLabels;

/// Upper bounds of the latency buckets, in seconds: from a cached answer (about a millisecond) to
/// 30 s, the longest time-out that Kubernetes lets a webhook have.
const LATENCY_BUCKETS: [f64; 14] =
    [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0];

/// The server's metrics. Clones share their values.
#[derive(Clone, Debug)]
pub struct Metrics {
    decisions: Family<DecisionLabels, Counter>,
    by_policy: ByPolicy,
    events: Family<EventLabels, Counter>,
    stages: Family<StageLabels, Histogram, fn() -> Histogram>,
    in_flight: Gauge,
    shed: Family<ShedLabels, Counter>,
    refused: Family<RefusedLabels, Counter>,
    policies: Family<PolicyLabels, Gauge>,
    certificate_expiry: Gauge,
    reload_failures: Family<ReloadLabels, Counter>,
    /// Of the watches on the cluster.
    pub watch: WatchMetrics,
    /// Of requests to registries.
    pub registry: RegistryMetrics,
    /// Of the tiers of the evidence store.
    pub store: StoreMetrics,
    /// Of trust roots that are fetched.
    pub trust_roots: TrustRootMetrics,
}

/// What [`Metrics::decided`] counts.
#[derive(Clone, Copy, Debug)]
pub struct Decided {
    /// `mutate`, `validate` or `validate-policies`.
    pub endpoint: &'static str,
    /// Whether the object was admitted.
    pub allowed: bool,
    /// The worst of the request's images.
    pub verdict: Outcome,
    /// The reason of the first image with that verdict; `None` where all is verified.
    pub reason: Option<Reason>,
}

impl Metrics {
    /// Registers every metric, each with its help text.
    pub fn register(registry: &mut Registry) -> Self {
        let latency: fn() -> Histogram = || Histogram::new(LATENCY_BUCKETS);
        let metrics = Self {
            decisions: Family::default(),
            by_policy: ByPolicy::register(registry),
            events: Family::default(),
            stages: Family::new_with_constructor(latency),
            in_flight: Gauge::default(),
            shed: Family::default(),
            refused: Family::default(),
            policies: Family::default(),
            certificate_expiry: Gauge::default(),
            reload_failures: Family::default(),
            watch: WatchMetrics::register(registry),
            registry: RegistryMetrics::register(registry),
            store: StoreMetrics::register(registry),
            trust_roots: TrustRootMetrics::register(registry),
        };
        metrics.register_all(registry);
        for outcome in EventOutcome::ALL {
            let labels = EventLabels { outcome: outcome.as_str() };
            let _ = metrics.events.get_or_create_owned(&labels);
        }
        for shed in [Shed::Connection, Shed::Request] {
            let _ = metrics.shed.get_or_create_owned(&ShedLabels { what: shed.as_str() });
        }
        let all = [Reload::Certificate, Reload::Policies, Reload::Registries, Reload::TrustedRoot];
        for what in all {
            let labels = ReloadLabels { what: what.as_str() };
            let _ = metrics.reload_failures.get_or_create_owned(&labels);
        }
        metrics
    }

    fn register_all(&self, registry: &mut Registry) {
        let Self {
            decisions,
            by_policy: _,
            events,
            stages,
            in_flight,
            shed,
            refused,
            policies,
            certificate_expiry,
            reload_failures,
            watch: _,
            registry: _,
            store: _,
            trust_roots: _,
        } = self;
        registry.register(
            "decisions",
            "Answers to admission requests, by the reason that decided",
            decisions.clone(),
        );
        registry.register(
            "events",
            "What is to be told by Events, denials above all, by what became of it",
            events.clone(),
        );
        registry.register(
            "build",
            "The version that runs",
            Info::new(BuildLabels { version: env!("CARGO_PKG_VERSION") }),
        );
        registry.register_with_unit(
            "stage_duration",
            "Time spent in each stage of answering a request",
            Unit::Seconds,
            stages.clone(),
        );
        registry.register("in_flight", "Requests being answered", in_flight.clone());
        registry.register("shed", "Work turned away because of overload", shed.clone());
        registry.register(
            "refused_requests",
            "Requests that were not admission reviews, by HTTP status",
            refused.clone(),
        );
        registry.register("policies", "Policies in force, by readiness", policies.clone());
        registry.register_with_unit(
            "certificate_expiry_timestamp",
            "When the serving certificate expires, since the Unix epoch",
            Unit::Seconds,
            certificate_expiry.clone(),
        );
        registry.register(
            "reload_failures",
            "Failed attempts to re-read what the server runs on",
            reload_failures.clone(),
        );
    }

    /// Counts an answer.
    pub fn decided(&self, decided: Decided) {
        let Decided { endpoint, allowed, verdict, reason } = decided;
        let labels = DecisionLabels {
            endpoint,
            allowed,
            verdict: verdict.as_str(),
            reason: reason.map_or("none", Reason::code),
        };
        self.decisions.get_or_create(&labels).inc();
    }

    /// Counts what one policy said of one image.
    pub fn policy_decided(&self, report: &PolicyReport) {
        self.by_policy.decided(report);
    }

    /// Counts what became of something to be told by an Event.
    pub fn event(&self, outcome: EventOutcome) {
        self.events.get_or_create(&EventLabels { outcome: outcome.as_str() }).inc();
    }

    /// Records the time that a stage took.
    pub fn stage(&self, stage: Stage, elapsed: Duration) {
        let labels = StageLabels { stage: stage.as_str() };
        self.stages.get_or_create(&labels).observe(elapsed.as_secs_f64());
    }

    /// Counts a request as in flight until the guard is dropped.
    pub fn enter(&self) -> InFlight {
        self.in_flight.inc();
        InFlight { gauge: self.in_flight.clone() }
    }

    /// Counts what was turned away.
    pub fn shed(&self, what: Shed) {
        self.shed.get_or_create(&ShedLabels { what: what.as_str() }).inc();
    }

    /// Counts a request that got an HTTP error.
    pub fn refused(&self, status: u16) {
        self.refused.get_or_create(&RefusedLabels { status }).inc();
    }

    /// Publishes how many policies of the snapshot can be used, and forgets what was counted of
    /// those that are gone. To be called for each new snapshot.
    pub fn policies(&self, snapshot: &PolicySnapshot) {
        self.by_policy.retain(snapshot);
        let ready = snapshot
            .policies()
            .iter()
            .filter(|policy| matches!(policy, PolicyState::Ready(_)))
            .count();
        let invalid = snapshot.policies().len() - ready;
        for (state, count) in [("ready", ready), ("invalid", invalid)] {
            let count = i64::try_from(count).unwrap_or(i64::MAX);
            self.policies.get_or_create(&PolicyLabels { state }).set(count);
        }
    }

    /// Publishes when the serving certificate expires.
    pub fn certificate_expiry(&self, at: Timestamp) {
        self.certificate_expiry.set(at.as_second());
    }

    /// Counts a failed attempt to re-read something.
    pub fn reload_failed(&self, what: Reload) {
        self.reload_failures.get_or_create(&ReloadLabels { what: what.as_str() }).inc();
    }
}

/// A request in flight; ends when dropped.
#[derive(Debug)]
pub struct InFlight {
    gauge: Gauge,
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.gauge.dec();
    }
}

/// A registry whose metrics all start with `tegata_`, and the server's metrics in it.
pub fn registry() -> (Arc<Registry>, Metrics) {
    let mut registry = Registry::with_prefix("tegata");
    let metrics = Metrics::register(&mut registry);
    (Arc::new(registry), metrics)
}

/// The content type of [`encode`]'s text (OpenMetrics 1.0, "Overall Structure").
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// The registry's metrics as OpenMetrics text.
///
/// # Errors
/// When a metric cannot be written, which is a defect in this program.
pub fn encode(registry: &Registry) -> Result<String, std::fmt::Error> {
    let mut out = String::new();
    text::encode(&mut out, registry)?;
    Ok(out)
}
