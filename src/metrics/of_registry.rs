//! Requests to registries, and the caches that save them.
//!
//! Tenants choose the hosts of their images, so a host is a label only where the registries file
//! or [`WELL_KNOWN`] names it.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// Public registries that are labels without being named in the settings.
pub const WELL_KNOWN: [&str; 7] = [
    "docker.io",
    "gcr.io",
    "ghcr.io",
    "mcr.microsoft.com",
    "public.ecr.aws",
    "quay.io",
    "registry.k8s.io",
];

/// The label of every other registry.
pub const OTHER: &str = "other";

/// How a request to a registry ended.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum RequestOutcome {
    /// There is no such thing: status 404.
    Absent,
    /// The registry asked for credentials where none were shown.
    Challenged,
    /// Any other failure.
    Error,
    /// Held back and not sent: the server is left alone, or has asked for a pause, or our own limits
    /// left no turn.
    NotAsked,
    /// An answer.
    Ok,
    /// Too many requests: status 429.
    RateLimited,
    /// What was shown was refused: status 401 or 403.
    Refused,
    /// No answer in time.
    Timeout,
}

impl RequestOutcome {
    const fn as_str(self) -> &'static str {
        match self {
            Self::Absent => "absent",
            Self::Challenged => "challenged",
            Self::Error => "error",
            Self::NotAsked => "not-asked",
            Self::Ok => "ok",
            Self::RateLimited => "rate-limited",
            Self::Refused => "refused",
            Self::Timeout => "timeout",
        }
    }
}

/// Whether a cache had what was asked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Lookup {
    /// It had.
    Hit,
    /// It had not.
    Miss,
}

impl Lookup {
    const ALL: [Self; 2] = [Self::Hit, Self::Miss];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// Requests to registries. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct RegistryMetrics {
    requests: Family<RequestLabels, Counter>,
    tokens: Family<LookupLabels, Counter>,
    pull_secrets: Family<LookupLabels, Counter>,
}

impl RegistryMetrics {
    /// Registers every metric, each with its help text.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { requests, tokens, pull_secrets } = &metrics;
        registry.register(
            "registry_requests",
            "Requests to registries, by registry and by how they ended",
            requests.clone(),
        );
        registry.register(
            "registry_tokens",
            "Authorizations needed for registries, by whether one was at hand",
            tokens.clone(),
        );
        registry.register(
            "pull_secret_cache",
            "Pull secrets and service accounts needed, by whether they were at hand",
            pull_secrets.clone(),
        );
        for result in Lookup::ALL {
            let labels = LookupLabels { result: result.as_str() };
            let _ = tokens.get_or_create_owned(&labels);
            let _ = pull_secrets.get_or_create_owned(&labels);
        }
        metrics
    }

    /// Counts a request. `registry` must be of a bounded set.
    pub fn request(&self, registry: &str, outcome: RequestOutcome) {
        let labels = RequestLabels { registry: registry.to_owned(), outcome: outcome.as_str() };
        self.requests.get_or_create(&labels).inc();
    }

    /// Counts a need for an authorization.
    pub fn token(&self, result: Lookup) {
        self.tokens.get_or_create(&LookupLabels { result: result.as_str() }).inc();
    }

    /// Counts a need for a pull secret or a service account.
    pub fn pull_secret(&self, result: Lookup) {
        self.pull_secrets.get_or_create(&LookupLabels { result: result.as_str() }).inc();
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    registry: String,
    outcome: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LookupLabels {
    result: &'static str,
}
