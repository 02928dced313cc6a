//! Whether the watches still have contact with the API server.
//!
//! A healthy watch on things that do not change brings no events. What is looked at is therefore
//! every answer to a request: a watch is opened anew every [`WATCH_TIMEOUT`], so that silence is
//! bounded.
use std::collections::BTreeMap;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;
use std::time::Instant;

use kube::Client;
use kube::client::Body;
use tower::service_fn;

use super::index::Source;
use crate::metrics::WatchMetrics;
use crate::server;
use crate::server::health::Degraded;
use crate::server::health::Readiness;
use crate::verdict::printable;

/// How long one request of a watch lives. Few enough requests that hundreds of idle watches cost
/// the API server little, and short enough that a connection that died unnoticed is found.
pub(super) const WATCH_TIMEOUT: Duration = Duration::from_secs(120);

/// How long the API server may take to begin an answer. It ends requests other than watches after
/// a minute.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(60);

/// How long after its last answer a watch counts as dead: after a request that lived its time, the
/// five seconds for which the client waits for its end, and another one's answer.
pub(super) const SILENCE: Duration = WATCH_TIMEOUT.saturating_add(Duration::from_secs(75));

/// The contact of all watches. Clones share their state.
#[derive(Clone, Debug)]
pub(super) struct Contacts {
    watches: Arc<Mutex<BTreeMap<Source, Watch>>>,
    metrics: WatchMetrics,
    readiness: Readiness,
}

#[derive(Debug)]
struct Watch {
    last: Instant,
    /// Since when it fails, and why.
    failing: Option<(Instant, String)>,
    /// Whether it ever had contact.
    heard: bool,
}

impl Contacts {
    pub(super) fn new(metrics: WatchMetrics, readiness: Readiness) -> Self {
        Self { watches: Arc::default(), metrics, readiness }
    }

    /// Begins to look at a watch.
    pub(super) fn start(&self, source: &Source) {
        let watch = Watch { last: Instant::now(), failing: None, heard: false };
        let mut watches = self.watches();
        if watches.keys().all(|known| label(known) != label(source)) {
            self.metrics.starting(label(source));
        }
        watches.entry(source.clone()).or_insert(watch);
    }

    /// Looks at a watch no longer.
    pub(super) fn stop(&self, source: &Source) {
        let mut watches = self.watches();
        watches.remove(source);
        self.publish(&watches, source);
    }

    /// The API server answered.
    pub(super) fn made(&self, source: &Source) {
        let mut watches = self.watches();
        let Some(watch) = watches.get_mut(source) else { return };
        watch.last = Instant::now();
        let news = watch.failing.is_some() || !watch.heard;
        if watch.failing.take().is_some() {
            tracing::info!(resource = label(source), "The watch has contact again");
        }
        watch.heard = true;
        self.metrics.contact(label(source), server::now());
        if news {
            self.publish(&watches, source);
        }
    }

    /// A request failed, or a stream broke.
    pub(super) fn failed(&self, source: &Source, cause: &str) {
        self.metrics.error(label(source));
        let mut watches = self.watches();
        let Some(watch) = watches.get_mut(source) else { return };
        let since = match watch.failing.take() {
            Some((since, _)) => since,
            None => {
                tracing::warn!(resource = label(source), error = cause, "A watch lost contact");
                Instant::now()
            }
        };
        watch.failing = Some((since, cause.to_owned()));
        self.publish(&watches, source);
    }

    /// Watches of which nothing was heard for so long that they cannot be alive. They count as
    /// failing from now on.
    pub(super) fn silent(&self, now: Instant) -> Vec<Source> {
        let dead = |watch: &Watch| {
            watch.failing.is_none() && now.saturating_duration_since(watch.last) > SILENCE
        };
        let watches = self.watches();
        let dead = watches.iter().filter(|(_, watch)| dead(watch));
        let dead: Vec<Source> = dead.map(|(source, _)| source.clone()).collect();
        drop(watches);
        for source in &dead {
            self.failed(source, "it does not answer");
        }
        dead
    }

    /// A client whose answers count as contact of `source`.
    pub(super) fn client(&self, client: &Client, source: &Source) -> Client {
        let (contacts, source, client) = (self.clone(), source.clone(), client.clone());
        let send = move |request: axum::http::Request<Body>| {
            let (contacts, source, client) = (contacts.clone(), source.clone(), client.clone());
            async move {
                let sending = tokio::time::timeout(ANSWER_TIMEOUT, client.send(request));
                let response = sending.await.map_err(|_| NoAnswer)??;
                if response.status().is_success() {
                    contacts.made(&source);
                }
                Ok::<_, Box<dyn Error + Send + Sync>>(response)
            }
        };
        Client::new(service_fn(send), "")
    }

    fn publish(&self, watches: &BTreeMap<Source, Watch>, source: &Source) {
        let resource = label(source);
        let of_resource = || {
            let watches = watches.iter().filter(|(source, _)| label(source) == resource);
            watches.map(|(_, watch)| watch)
        };
        let healthy = of_resource().all(|watch| watch.heard && watch.failing.is_none());
        self.metrics.healthy(resource, healthy);
        let failing = of_resource().filter_map(|watch| watch.failing.as_ref());
        let degraded = failing.min_by_key(|(since, _)| *since).map(|(since, cause)| Degraded {
            what: format!("the watch on {resource} has had no contact with the API server"),
            since: *since,
            cause: cause.clone(),
        });
        self.readiness.degraded(resource, degraded);
    }

    fn watches(&self) -> MutexGuard<'_, BTreeMap<Source, Watch>> {
        self.watches.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The resource's name in metrics and notes: a closed set, which names no object.
pub(super) const fn label(source: &Source) -> &'static str {
    match source {
        Source::ClusterImagePolicies => "clusterimagepolicies",
        Source::ImagePolicies => "imagepolicies",
        Source::Key(_) => "keys",
        Source::Namespaces => "namespaces",
        Source::TrustRoots => "trustroots",
    }
}

#[derive(Debug)]
struct NoAnswer;

impl fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "no answer within {}s", ANSWER_TIMEOUT.as_secs())
    }
}

impl Error for NoAnswer {}

/// The innermost cause of an error, which is what a person can do something about.
pub(super) fn cause(error: &(dyn Error + 'static)) -> String {
    let mut cause = error;
    while let Some(source) = cause.source() {
        cause = source;
    }
    let text = printable(&cause.to_string());
    if text.starts_with("404 page not found") || text.contains("the server could not find") {
        return "there is no such resource: are Tegata's resource definitions installed?"
            .to_owned();
    }
    text
}
