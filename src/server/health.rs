//! Liveness, readiness and metrics, on a port of their own without TLS.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Instant;

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
    degraded: BTreeMap<&'static str, Degraded>,
    draining: bool,
}

/// What works no longer, while the server goes on with what it had.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Degraded {
    /// What is wrong, for example `the watch on imagepolicies has had no contact`.
    pub what: String,
    /// Since when.
    pub since: Instant,
    /// Why.
    pub cause: String,
}

impl Readiness {
    /// Not ready until each of `parts` is.
    pub fn new(parts: impl IntoIterator<Item = &'static str>) -> Self {
        let pending = parts.into_iter().collect();
        let state = Parts { pending, degraded: BTreeMap::new(), draining: false };
        Self { state: Arc::new(Mutex::new(state)) }
    }

    /// Marks a part as ready. It stays so: what breaks later is served from its last good state.
    pub fn ready(&self, part: &'static str) {
        self.state().pending.remove(part);
    }

    /// Notes that a part works no longer, or again where `None`. The server stays ready: it serves
    /// what it had, and says so.
    pub fn degraded(&self, part: &'static str, how: Option<Degraded>) {
        let degraded = &mut self.state().degraded;
        match how {
            Some(how) => drop(degraded.insert(part, how)),
            None => drop(degraded.remove(part)),
        }
    }

    /// What works no longer at `now`, a line each, for a person.
    pub fn notes(&self, now: Instant) -> Vec<String> {
        let note = |Degraded { what, since, cause }: &Degraded| {
            let seconds = now.saturating_duration_since(*since).as_secs();
            format!("{what} for {seconds}s ({cause})")
        };
        self.state().degraded.values().map(note).collect()
    }

    /// Fails readiness for good: the server is about to stop.
    pub fn drain(&self) {
        self.state().draining = true;
    }

    /// Whether the server is about to stop.
    pub fn is_draining(&self) -> bool {
        self.state().draining
    }

    /// Nothing when ready.
    ///
    /// # Errors
    /// What stands in the way, for a person.
    pub fn check(&self) -> Result<(), String> {
        let state = self.state();
        let Parts { pending, degraded: _, draining } = &*state;
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
    let (status, text, but) = match readiness.check() {
        Ok(()) => (StatusCode::OK, "ok".to_owned(), ", but: "),
        Err(missing) => (StatusCode::SERVICE_UNAVAILABLE, missing, "; "),
    };
    let notes = readiness.notes(Instant::now());
    let but = if notes.is_empty() { "" } else { but };
    (status, format!("{text}{but}{}\n", notes.join("; "))).into_response()
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
    use std::time::Duration;

    use super::*;

    async fn read(readiness: &Readiness) -> (StatusCode, String) {
        let response = readyz(State(readiness.clone())).await;
        let status = response.status();
        let body = axum::body::to_bytes(response.into_body(), 1 << 16).await.unwrap();
        (status, String::from_utf8(body.to_vec()).unwrap())
    }

    #[tokio::test]
    async fn stays_ready_when_degraded_and_says_so() {
        let readiness = Readiness::new(["policies"]);
        let since = Instant::now().checked_sub(Duration::from_secs(42)).unwrap();
        let what = "the watch on imagepolicies has had no contact".to_owned();
        let how = Degraded { what, since, cause: "connection refused".to_owned() };
        let note = "the watch on imagepolicies has had no contact for 42s (connection refused)";
        readiness.degraded("imagepolicies", Some(how));
        let waiting = format!("not ready: waiting for policies; {note}\n");
        assert_eq!(read(&readiness).await, (StatusCode::SERVICE_UNAVAILABLE, waiting));
        readiness.ready("policies");
        assert_eq!(read(&readiness).await, (StatusCode::OK, format!("ok, but: {note}\n")));
        readiness.degraded("imagepolicies", None);
        assert_eq!(read(&readiness).await, (StatusCode::OK, "ok\n".to_owned()));
    }

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
