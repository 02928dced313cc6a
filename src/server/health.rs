//! Liveness, readiness and metrics, on a port of their own without TLS.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use axum::routing::get;
use prometheus_client::registry::Registry;

use crate::metrics;

/// Whether the server is ready to be asked, and what is missing. Clones share their state.
#[derive(Clone, Debug)]
pub struct Readiness {
    state: Arc<Mutex<Parts>>,
}

#[derive(Debug)]
struct Parts {
    pending: BTreeSet<&'static str>,
    draining: bool,
}

impl Readiness {
    /// Not ready until each of `parts` is.
    pub fn new(parts: impl IntoIterator<Item = &'static str>) -> Self {
        let state = Parts { pending: parts.into_iter().collect(), draining: false };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Marks a part as ready. It stays so: what breaks later is served from its last good state.
    pub fn ready(&self, part: &'static str) {
        self.state().pending.remove(part);
    }

    /// Fails readiness for good: the server is about to stop.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// Nothing when ready.
    ///
    /// # Errors
    /// What stands in the way, for a person.
    pub fn check(&self) -> Result<(), String> {
        let state = self.state();
        let Parts { pending, draining } = &*state;
        if *draining {
            return Err("not ready: the server is stopping".to_owned());
        }
        if pending.is_empty() {
            return Ok(());
        }
        let pending: Vec<&str> = pending.iter().copied().collect();
        Err(format!("not ready: waiting for {}", pending.join(", ")))
    }

    fn state(&self) -> MutexGuard<'_, Parts> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// `/livez`, `/readyz` and `/metrics`.
pub fn router(readiness: Readiness, registry: Arc<Registry>) -> Router {
    Router::new()
        .route("/livez", get(|| async { "ok\n" }))
        .route("/readyz", get(readyz).with_state(readiness))
        .route("/metrics", get(metrics_text).with_state(registry))
        .fallback(|| async {
            (StatusCode::NOT_FOUND, "no such path: there are /livez, /readyz and /metrics\n")
        })
}

async fn readyz(State(readiness): State<Readiness>) -> Response {
    match readiness.check() {
        Ok(()) => "ok\n".into_response(),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, format!("{missing}\n")).into_response(),
    }
}

async fn metrics_text(State(registry): State<Arc<Registry>>) -> Response {
    match metrics::encode(&registry) {
        Ok(text) => ([(header::CONTENT_TYPE, metrics::CONTENT_TYPE)], text).into_response(),
        Err(_) => (StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n")
            .into_response(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_what_is_missing_until_all_is_ready_and_fails_for_good_when_draining() {
        let readiness = Readiness::new(["policies", "certificate"]);
        assert_eq!(
            readiness.check(),
            Err("not ready: waiting for certificate, policies".to_owned())
        );
        readiness.ready("policies");
        assert_eq!(readiness.check(), Err("not ready: waiting for certificate".to_owned()));
        readiness.ready("certificate");
        assert_eq!(readiness.check(), Ok(()));
        readiness.drain();
        readiness.ready("policies");
        assert_eq!(readiness.check(), Err("not ready: the server is stopping".to_owned()));
    }
}
