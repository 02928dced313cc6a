//! The webhook server.
//!
//! [`router`] answers `POST /validate`, `/mutate` and `/validate-policies`; [`health::router`] answers the probes and
//! the metrics on a second port. [`listen`] puts them on sockets, [`tls`] and [`reload`] keep the
//! serving certificate and the policies current.
//!
//! Whatever goes wrong while a request is answered ends in a denial that names it, never in an
//! admission and, as far as the request's `uid` can be read, never in an HTTP error: with
//! `failurePolicy: Ignore` the API server would admit on one.
use std::collections::BTreeMap;
use std::fmt;
use std::future::Future;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use axum::Router;
use axum::extract::Request as HttpRequest;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::post;
use jiff::Timestamp;
use tokio::sync::Semaphore;
use tokio::sync::watch;

use crate::admission::Admission;
use crate::admission::Decision;
use crate::admission::Request;
use crate::admission::review::Endpoint;
use crate::admission::shares::Shares;
use crate::evidence::FetchEvidence;
use crate::evidence::SearchLog;
use crate::metrics::Metrics;
use crate::policy::PolicySnapshot;
use crate::policy::compile::Keys;
use crate::policy::compile::References;
use crate::trust_root::TrustRoot;

mod body;
mod denial;
pub mod drain;
pub mod health;
pub mod listen;
mod places;
mod record;
pub mod reload;
pub mod timeout;
pub mod tls;
mod webhook;

pub use body::MAX_BUFFERED;
pub use places::MAX_WAITING;
pub use record::detail;

use places::Places;

/// The pipeline, as the server calls it: [`Admission`], or a fake in tests.
pub trait Admit: Send + Sync + 'static {
    /// Answers one request by `deadline`, under one snapshot of the policies.
    fn admit(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
        deadline: Instant,
    ) -> impl Future<Output = Decision> + Send;

    /// The decision that [`Self::admit`] would come to, where it can be told at once.
    fn admit_known(
        &self,
        _request: &Request,
        _snapshot: &PolicySnapshot,
        _now: Timestamp,
    ) -> Option<Decision> {
        None
    }

    /// Has what an admitted workload's pods will need looked at, by `deadline`.
    fn prefetch(
        &self,
        _request: &Request,
        _snapshot: &PolicySnapshot,
        _now: Timestamp,
        _deadline: Instant,
    ) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

impl<F: FetchEvidence, L: SearchLog> Admit for Admission<F, L> {
    fn admit(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
        deadline: Instant,
    ) -> impl Future<Output = Decision> + Send {
        Self::admit(self, request, snapshot, now, deadline)
    }

    fn admit_known(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
    ) -> Option<Decision> {
        Self::admit_known(self, request, snapshot, now)
    }

    fn prefetch(
        &self,
        request: &Request,
        snapshot: &PolicySnapshot,
        now: Timestamp,
        deadline: Instant,
    ) -> impl Future<Output = ()> + Send {
        Self::prefetch(self, request, snapshot, now, deadline)
    }
}

/// Most requests that are answered at once, unless set otherwise. A request waits for registries
/// most of its time and holds some hundred KiB, so that this many stay below 64 MiB; the
/// verification they share two cores for takes about a millisecond each.
pub const DEFAULT_MAX_IN_FLIGHT: usize = 128;

/// Most requests at once that are turned away with a denial, for which their beginning must be
/// read. Further ones get an HTTP error at once: under a flood there is no memory for more.
pub const MAX_SHEDDING: usize = 128;

/// Largest body that is parsed where it was received, and judged without a place if all that it asks
/// is known: a pod of fifty containers fits. It takes less than half a millisecond, about as long as
/// a TLS handshake on the same thread; handing it to another thread takes longer than parsing the
/// usual one.
pub const SMALL_BODY: usize = 128 << 10;

/// Larger bodies that are parsed at once. One, because a parsed body takes up to [`crate::json`]'s
/// bound beside its bytes.
const MAX_PARSING: usize = 1;

/// Requests about policies that are looked at once; further ones wait before their body is read.
/// They have places of their own, because the regular expressions of one policy may take a second
/// to compile: whoever may write policies must not take the places of pods.
const MAX_POLICIES: usize = 2;

/// Workloads whose images are looked at beforehand at once: nobody waits for that, and it must leave the
/// registries to those who wait.
const MAX_PREFETCHING: usize = 4;

/// The present, for the pipeline. The only place of the server that reads the clock.
#[expect(clippy::disallowed_methods, reason = "the server is where a request's time is fixed")]
pub fn now() -> Timestamp {
    Timestamp::now()
}

/// How requests are answered.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// The time that a request gets when it names none.
    pub default_timeout: Duration,
    /// Most requests that are answered at once; half of them for one namespace.
    pub max_in_flight: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { default_timeout: timeout::DEFAULT_TIMEOUT, max_in_flight: DEFAULT_MAX_IN_FLIGHT }
    }
}

/// Told of every decision, for what else is made of it than the answer: Events. Must return at
/// once.
pub trait Observe: Send + Sync + 'static {
    /// A request was decided.
    fn decided(&self, endpoint: Endpoint, request: &Request, decision: &Decision);
}

/// What the webhook's handlers share.
pub struct AppState<A> {
    admit: Arc<A>,
    observer: Option<Arc<dyn Observe>>,
    policies: watch::Receiver<Arc<PolicySnapshot>>,
    references: watch::Receiver<Arc<References>>,
    metrics: Metrics,
    default_timeout: Duration,
    in_flight: Arc<Places>,
    shares: Arc<Shares>,
    shedding: Arc<Semaphore>,
    parsing: Arc<Semaphore>,
    reviewing: Arc<Semaphore>,
    prefetching: Arc<Semaphore>,
    buffers: Arc<Semaphore>,
}

impl<A> AppState<A> {
    /// State for a pipeline that answers under the latest of `policies`. Policies under review
    /// may name no trust root and no key of a cluster, unless [`Self::with_references`] says so.
    pub fn new(
        admit: A,
        policies: watch::Receiver<Arc<PolicySnapshot>>,
        metrics: Metrics,
        limits: Limits,
    ) -> Self {
        let Limits { default_timeout, max_in_flight } = limits;
        Self {
            admit: Arc::new(admit),
            observer: None,
            policies,
            references: no_references(),
            metrics,
            default_timeout,
            in_flight: Arc::new(Places::new(max_in_flight)),
            shares: Arc::new(Shares::half_of(max_in_flight)),
            shedding: Arc::new(Semaphore::new(MAX_SHEDDING)),
            parsing: Arc::new(Semaphore::new(MAX_PARSING)),
            reviewing: Arc::new(Semaphore::new(MAX_POLICIES)),
            prefetching: Arc::new(Semaphore::new(MAX_PREFETCHING)),
            buffers: body::budget(),
        }
    }

    /// The same, with someone who is told of every decision.
    #[must_use]
    pub fn observed_by(self, observer: Option<Arc<dyn Observe>>) -> Self {
        Self { observer, ..self }
    }
}

impl<A> AppState<A> {
    /// The same, with what policies under review may name: the latest of `references`.
    #[must_use]
    pub fn with_references(self, references: watch::Receiver<Arc<References>>) -> Self {
        Self { references, ..self }
    }
}

/// The public-good trust root, and nothing else.
fn no_references() -> watch::Receiver<Arc<References>> {
    let default = Arc::new(TrustRoot::public_good());
    let references = References { default, named: BTreeMap::new(), keys: Keys::NoCluster };
    watch::channel(Arc::new(references)).1
}

impl<A> Clone for AppState<A> {
    fn clone(&self) -> Self {
        Self {
            admit: Arc::clone(&self.admit),
            observer: self.observer.clone(),
            policies: self.policies.clone(),
            references: self.references.clone(),
            metrics: self.metrics.clone(),
            default_timeout: self.default_timeout,
            in_flight: Arc::clone(&self.in_flight),
            shares: Arc::clone(&self.shares),
            shedding: Arc::clone(&self.shedding),
            parsing: Arc::clone(&self.parsing),
            reviewing: Arc::clone(&self.reviewing),
            prefetching: Arc::clone(&self.prefetching),
            buffers: Arc::clone(&self.buffers),
        }
    }
}

impl<A> fmt::Debug for AppState<A> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AppState").finish_non_exhaustive()
    }
}

/// The webhook's routes.
pub fn router<A: Admit>(state: AppState<A>) -> Router {
    Router::new()
        .route("/mutate", post(mutate::<A>))
        .route("/validate", post(validate::<A>))
        .route("/validate-policies", post(validate_policies::<A>))
        .method_not_allowed_fallback(method_not_allowed::<A>)
        .fallback(not_found::<A>)
        .with_state(state)
}

async fn mutate<A: Admit>(State(state): State<AppState<A>>, request: HttpRequest) -> Response {
    webhook::answer(state, Endpoint::Mutate, request).await
}

async fn validate<A: Admit>(State(state): State<AppState<A>>, request: HttpRequest) -> Response {
    webhook::answer(state, Endpoint::Validate, request).await
}

async fn validate_policies<A: Admit>(
    State(state): State<AppState<A>>,
    request: HttpRequest,
) -> Response {
    webhook::answer(state, Endpoint::ValidatePolicies, request).await
}

async fn method_not_allowed<A: Admit>(State(state): State<AppState<A>>) -> Response {
    let text = "this path takes POST with an AdmissionReview";
    let mut response = refuse(&state.metrics, StatusCode::METHOD_NOT_ALLOWED, text);
    response.headers_mut().insert(header::ALLOW, header::HeaderValue::from_static("POST"));
    response
}

async fn not_found<A: Admit>(State(state): State<AppState<A>>) -> Response {
    let text = "no such path: there are /mutate and /validate, and /validate-policies";
    refuse(&state.metrics, StatusCode::NOT_FOUND, text)
}

/// An HTTP error: for what is no admission review, and for nothing else.
fn refuse(metrics: &Metrics, status: StatusCode, text: impl fmt::Display) -> Response {
    metrics.refused(status.as_u16());
    tracing::debug!(status = status.as_u16(), error = %text, "Refused a request");
    (status, format!("{text}\n")).into_response()
}
