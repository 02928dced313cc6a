//! Answering one admission request.
use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use axum::extract::Request as HttpRequest;
use axum::http::HeaderMap;
use axum::http::StatusCode;
use axum::http::header;
use axum::response::IntoResponse;
use axum::response::Response;
use bytes::Bytes;
use futures::FutureExt;
use tokio::sync::OwnedSemaphorePermit;
use tokio::task::JoinSet;

use super::Admit;
use super::AppState;
use super::SMALL_BODY;
use super::body;
use super::body::BodyError;
use super::body::Received;
use super::denial::denial;
use super::places::Place;
use super::record;
use super::refuse;
use super::timeout::Deadlines;
use super::timeout::MAX_TIMEOUT;
use crate::admission::Decision;
use crate::admission::Request;
use crate::admission::policies;
use crate::admission::review;
use crate::admission::review::Endpoint;
use crate::admission::review::MAX_BODY;
use crate::admission::review::ReviewError;
use crate::metrics::Shed;
use crate::metrics::Stage;
use crate::verdict::Reason;

/// Longest time for a body to arrive. The API server sends it at once from a network nearby; a
/// client that dribbles would hold a place among the requests in flight.
const MAX_RECEIVE: Duration = Duration::from_secs(5);

/// The media type of every answer.
const JSON: &str = "application/json";

/// Answers one request on `endpoint`. Never panics, and never admits what was not decided.
pub(super) async fn answer<A: Admit>(
    state: AppState<A>,
    endpoint: Endpoint,
    request: HttpRequest,
) -> Response {
    let metrics = state.metrics.clone();
    AssertUnwindSafe(Exchange { state, endpoint, start: Instant::now() }.answer(request))
        .catch_unwind()
        .await
        .unwrap_or_else(|_| {
            tracing::error!("A handler panicked");
            let text = "a defect in tegata stopped the check: report it with the log";
            refuse(&metrics, StatusCode::INTERNAL_SERVER_ERROR, text)
        })
}

/// One request and its answer.
struct Exchange<A> {
    state: AppState<A>,
    endpoint: Endpoint,
    start: Instant,
}

/// What decided a request: the pipeline, or the server in its stead.
struct Outcome {
    request: Option<Arc<Request>>,
    decision: Decision,
    /// The reason, where the server denied.
    own: Option<Reason>,
}

/// What a request may hold until it is judged.
enum Held {
    /// A place among the requests in flight.
    Place(Place),
    /// A place among the requests about policies.
    Review { _place: OwnedSemaphorePermit },
    /// No more than it takes to be turned away, or to be answered with what is known.
    Nothing(OwnedSemaphorePermit),
}

impl<A: Admit> Exchange<A> {
    async fn answer(self, request: HttpRequest) -> Response {
        let _in_flight = self.state.metrics.enter();
        if let Err((status, text)) = acceptable(request.headers()) {
            return refuse(&self.state.metrics, status, text);
        }
        let deadlines =
            Deadlines::of_request(request.uri().query(), self.state.default_timeout, self.start);
        let Some(held) = self.hold(deadlines).await else {
            self.state.metrics.shed(Shed::Request);
            return self.refuse(StatusCode::SERVICE_UNAVAILABLE, "too many requests are under way");
        };
        let (budget, most) = match (&held, self.endpoint) {
            (Held::Place(_) | Held::Review { .. }, _) => (Some(&self.state.buffers), MAX_BODY),
            (Held::Nothing(_), Endpoint::Mutate | Endpoint::Validate) => {
                (Some(&self.state.buffers), SMALL_BODY)
            }
            (Held::Nothing(_), Endpoint::ValidatePolicies) => (None, 0),
        };
        let receiving = body::receive(request.into_body(), budget, most);
        let by = deadlines.admit.min(Instant::now() + MAX_RECEIVE);
        let received = tokio::time::timeout_at(by.into(), receiving).await;
        self.state.metrics.stage(Stage::Receive, self.start.elapsed());
        match received {
            Err(_) => self.refuse(StatusCode::REQUEST_TIMEOUT, "the body took too long"),
            Ok(Err(error @ BodyError::TooLarge)) => {
                self.refuse(StatusCode::PAYLOAD_TOO_LARGE, &error.to_string())
            }
            Ok(Err(error @ BodyError::Interrupted(_))) => {
                self.refuse(StatusCode::BAD_REQUEST, &error.to_string())
            }
            Ok(Ok(Received::Head(head))) => self.shed(&head),
            Ok(Ok(Received::Whole(bytes, share))) => match (self.endpoint, held) {
                (Endpoint::ValidatePolicies, Held::Nothing(_)) => self.shed(&bytes),
                (Endpoint::ValidatePolicies, held) => {
                    self.decide_policy(bytes, (held, share), deadlines).await
                }
                (Endpoint::Mutate | Endpoint::Validate, held) => {
                    self.decide(bytes, (held, share), deadlines).await
                }
            },
        }
    }

    /// A place among the requests under way, if there is one, or else the means to be turned away.
    /// Policies wait for their place, for half of their time: they take it out of no pod's.
    async fn hold(&self, deadlines: Deadlines) -> Option<Held> {
        let place = match self.endpoint {
            Endpoint::Mutate | Endpoint::Validate => self.state.in_flight.take().map(Held::Place),
            Endpoint::ValidatePolicies => {
                let turn = Arc::clone(&self.state.reviewing).acquire_owned();
                let turn = tokio::time::timeout_at(self.half_time(deadlines).into(), turn).await;
                turn.ok().and_then(Result::ok).map(|place| Held::Review { _place: place })
            }
        };
        let turned_away = || Arc::clone(&self.state.shedding).try_acquire_owned().ok();
        place.or_else(|| turned_away().map(Held::Nothing))
    }

    /// Who waits for a place does so for half of its time: the other half is for the check.
    fn half_time(&self, deadlines: Deadlines) -> Instant {
        self.start + deadlines.admit.saturating_duration_since(self.start) / 2
    }

    fn refuse(&self, status: StatusCode, text: &str) -> Response {
        refuse(&self.state.metrics, status, text)
    }

    /// Turns a request away that there is no place or no memory for.
    fn shed(&self, head: &[u8]) -> Response {
        self.state.metrics.shed(Shed::Request);
        self.deny_unparsed(head, Reason::Overloaded, "too many requests are under way")
    }

    /// Denies a request of which no more than the `uid` can be read.
    fn deny_unparsed(&self, head: &[u8], reason: Reason, found: &str) -> Response {
        let Some(uid) = body::probe_uid(head) else {
            return self.refuse(StatusCode::SERVICE_UNAVAILABLE, found);
        };
        let decision = denial(reason, found, None);
        self.respond(&uid, &Outcome { request: None, decision, own: Some(reason) })
    }

    async fn decide(
        &self,
        bytes: Bytes,
        (held, share): (Held, Option<OwnedSemaphorePermit>),
        deadlines: Deadlines,
    ) -> Response {
        let turned_away = matches!(held, Held::Nothing(_)).then(|| bytes.clone());
        let parsed = if bytes.len() <= SMALL_BODY {
            self.parse_here(&bytes).map(|request| (request, (held, share)))
        } else {
            let parse = |bytes: Bytes, turn| {
                let parsed = review::parse(&bytes);
                drop((bytes, turn));
                parsed
            };
            self.parse(bytes, (held, share), deadlines, parse).await
        };
        let (request, (held, _share)) = match (parsed, turned_away) {
            (Ok(parsed), _) => parsed,
            (Err(_), Some(bytes)) => return self.shed(&bytes),
            (Err(unreadable), None) => return self.unreadable(unreadable),
        };
        let request = Arc::new(Request { endpoint: self.endpoint, ..request });
        if let Some(outcome) = self.admit_known(&request) {
            if outcome.decision.allowed {
                self.prefetch(Arc::clone(&request));
            }
            return self.respond(&request.uid, &outcome);
        }
        let Some(share) = self.state.shares.take(&request.workload.namespace) else {
            return self.crowded_out(request);
        };
        match self.place(held, deadlines).await {
            Some(place) => {
                let outcome = self.admit(Arc::clone(&request), (place, share), deadlines).await;
                if outcome.decision.allowed {
                    self.prefetch(Arc::clone(&request));
                }
                self.respond(&request.uid, &outcome)
            }
            None => self.turn_away(request, "too many requests are under way"),
        }
    }

    /// The place that it holds, or that it gets in time.
    async fn place(&self, held: Held, deadlines: Deadlines) -> Option<Place> {
        match held {
            Held::Place(place) => Some(place),
            Held::Review { .. } => None,
            Held::Nothing(turned_away) => {
                // While it waits, others are to be turned away.
                drop(turned_away);
                self.state.in_flight.wait(deadlines.admit, self.half_time(deadlines)).await
            }
        }
    }

    /// What is known of the request, if that decides it.
    fn admit_known(&self, request: &Arc<Request>) -> Option<Outcome> {
        let admitting = Instant::now();
        let snapshot = Arc::clone(&self.state.policies.borrow());
        let known = || self.state.admit.admit_known(request, &snapshot, super::now());
        let (decision, own) = match std::panic::catch_unwind(AssertUnwindSafe(known)) {
            Ok(decision) => checked(decision?, request),
            Err(_) => self.panicked(request),
        };
        self.state.metrics.stage(Stage::Admit, admitting.elapsed());
        Some(Outcome { request: Some(Arc::clone(request)), decision, own })
    }

    /// Has the pods of an admitted workload looked at beforehand, where there is a place for that.
    fn prefetch(&self, request: Arc<Request>) {
        // Of the two questions about an object the one that settles it.
        if request.kind == "Pod" || self.endpoint != Endpoint::Validate {
            return;
        }
        let Ok(place) = Arc::clone(&self.state.prefetching).try_acquire_owned() else { return };
        let snapshot = Arc::clone(&self.state.policies.borrow());
        let admit = Arc::clone(&self.state.admit);
        tokio::spawn(async move {
            let _place = place;
            let deadline = Instant::now() + MAX_TIMEOUT;
            admit.prefetch(&request, &snapshot, super::now(), deadline).await;
        });
    }

    fn panicked(&self, request: &Request) -> (Decision, Option<Reason>) {
        tracing::error!(uid = %request.uid, "The pipeline panicked");
        own(Reason::InternalError, "the check stopped before it was complete", request)
    }

    /// Turns a request away whose namespace has all the places that it may have.
    fn crowded_out(&self, request: Arc<Request>) -> Response {
        self.turn_away(request, "too many requests of this namespace are under way")
    }

    fn turn_away(&self, request: Arc<Request>, found: &str) -> Response {
        self.state.metrics.shed(Shed::Request);
        let (decision, own) = own(Reason::Overloaded, found, &request);
        let uid = request.uid.clone();
        self.respond(&uid, &Outcome { request: Some(request), decision, own })
    }

    /// Answers for one of our own resources, which is compiled where it is parsed.
    async fn decide_policy(
        &self,
        bytes: Bytes,
        held: (Held, Option<OwnedSemaphorePermit>),
        deadlines: Deadlines,
    ) -> Response {
        let references = Arc::clone(&self.state.references.borrow());
        let judge = move |bytes: Bytes, turn| {
            let parsed = policies::parse(&bytes);
            drop((bytes, turn));
            parsed.map(|asked| (asked.judge(&references), asked.request))
        };
        match self.parse(bytes, held, deadlines, judge).await {
            Ok(((decision, request), _held)) => {
                let own = (!decision.allowed).then_some(Reason::PolicyInvalid);
                let request = Arc::new(Request { endpoint: self.endpoint, ..request });
                let uid = request.uid.clone();
                self.respond(&uid, &Outcome { request: Some(request), decision, own })
            }
            Err(unreadable) => self.unreadable(unreadable),
        }
    }

    /// Parses a small body on this thread.
    fn parse_here(&self, bytes: &Bytes) -> Result<Request, Unreadable> {
        let start = Instant::now();
        let parsed = std::panic::catch_unwind(AssertUnwindSafe(|| review::parse(bytes)));
        self.state.metrics.stage(Stage::Parse, start.elapsed());
        match parsed {
            Ok(parsed) => parsed.map_err(Unreadable::Review),
            Err(_) => Err(Unreadable::panicked(bytes)),
        }
    }

    /// Has `parse` read the body, which it is to drop, with its turn, as soon as it has read it.
    ///
    /// Off the async threads: eight MiB of JSON take tens of milliseconds. The permits go along,
    /// so that work which outlives its request still counts.
    async fn parse<T: Send + 'static, H: Send + 'static>(
        &self,
        bytes: Bytes,
        held: H,
        deadlines: Deadlines,
        parse: impl FnOnce(Bytes, OwnedSemaphorePermit) -> Result<T, ReviewError> + Send + 'static,
    ) -> Result<(T, H), Unreadable> {
        let start = Instant::now();
        let head = bytes.clone();
        let parsing = Arc::clone(&self.state.parsing);
        let parse = async {
            let turn = parsing.acquire_owned().await;
            let work = move || turn.map(|turn| (parse(bytes, turn), held));
            tokio::task::spawn_blocking(work).await
        };
        let parsed = tokio::time::timeout_at(deadlines.overrun.into(), parse).await;
        self.state.metrics.stage(Stage::Parse, start.elapsed());
        match parsed {
            Ok(Ok(Ok((Ok(read), held)))) => Ok((read, held)),
            Ok(Ok(Ok((Err(error), _)))) => Err(Unreadable::Review(error)),
            Ok(Ok(Err(_)) | Err(_)) => Err(Unreadable::panicked(&head)),
            Err(_) => {
                let found = "the request could not be parsed in time";
                Err(Unreadable::Own { head, reason: Reason::DeadlineExceeded, found })
            }
        }
    }

    /// Answers what could not be parsed.
    fn unreadable(&self, unreadable: Unreadable) -> Response {
        match unreadable {
            Unreadable::Review(error) => self.reject(&error),
            Unreadable::Own { head, reason, found } => self.deny_unparsed(&head, reason, found),
        }
    }

    /// Denies a request that cannot be judged; one without a `uid` gets an HTTP error.
    fn reject(&self, error: &ReviewError) -> Response {
        record::record_refusal(&self.state.metrics, self.endpoint, error, self.start.elapsed());
        match error.uid() {
            Some(uid) => {
                let answer = review::refusal(uid, error);
                ([(header::CONTENT_TYPE, JSON)], answer).into_response()
            }
            None => {
                let status =
                    StatusCode::from_u16(error.status()).unwrap_or(StatusCode::BAD_REQUEST);
                (status, format!("{error}\n")).into_response()
            }
        }
    }

    /// Asks the pipeline in a task of its own, so that neither its panics nor its hanging reach
    /// the connection. The task ends with this future.
    async fn admit(
        &self,
        request: Arc<Request>,
        place: (Place, OwnedSemaphorePermit),
        deadlines: Deadlines,
    ) -> Outcome {
        let admitting = Instant::now();
        let snapshot = Arc::clone(&self.state.policies.borrow());
        let admit = Arc::clone(&self.state.admit);
        let asked = Arc::clone(&request);
        let mut task = JoinSet::new();
        task.spawn(async move {
            let _place = place;
            admit.admit(&asked, &snapshot, super::now(), deadlines.admit).await
        });
        let joined = tokio::time::timeout_at(deadlines.overrun.into(), task.join_next()).await;
        self.state.metrics.stage(Stage::Admit, admitting.elapsed());
        let (decision, own) = match joined {
            Ok(Some(Ok(decision))) => checked(decision, &request),
            Ok(Some(Err(_)) | None) => self.panicked(&request),
            Err(_) => {
                let waited = self.start.elapsed().as_millis();
                own(Reason::DeadlineExceeded, format!("no answer within {waited} ms"), &request)
            }
        };
        Outcome { request: Some(request), decision, own }
    }

    fn respond(&self, uid: &str, outcome: &Outcome) -> Response {
        let Outcome { request, decision, own } = outcome;
        let elapsed = self.start.elapsed();
        let request = request.as_deref();
        record::record(&self.state.metrics, self.endpoint, uid, request, decision, *own, elapsed);
        if let (Some(observer), Some(request)) = (&self.state.observer, request) {
            let told = || observer.decided(self.endpoint, request, decision);
            if std::panic::catch_unwind(AssertUnwindSafe(told)).is_err() {
                tracing::error!(uid, "The observer of decisions panicked");
            }
        }
        let answer = review::answer(uid, decision, self.endpoint, *own);
        ([(header::CONTENT_TYPE, JSON)], answer).into_response()
    }
}

/// Why a body gives no request.
enum Unreadable {
    /// It is none that can be judged.
    Review(ReviewError),
    /// It was not read to its end.
    Own {
        /// The body.
        head: Bytes,
        /// Why.
        reason: Reason,
        /// The same, for people.
        found: &'static str,
    },
}

impl Unreadable {
    fn panicked(head: &Bytes) -> Self {
        tracing::error!("Parsing a request panicked");
        let found = "parsing the request failed";
        Self::Own { head: head.clone(), reason: Reason::InternalError, found }
    }
}

fn own(
    reason: Reason,
    found: impl std::fmt::Display,
    request: &Request,
) -> (Decision, Option<Reason>) {
    (denial(reason, found, Some(request)), Some(reason))
}

/// An admission must account for every image of the request; one that does not is a defect.
fn checked(decision: Decision, request: &Request) -> (Decision, Option<Reason>) {
    if decision.allowed && decision.images.len() != request.images.len() {
        let (found, wanted) = (decision.images.len(), request.images.len());
        tracing::error!(uid = %request.uid, found, wanted, "The pipeline left images out");
        return own(Reason::InternalError, "not every image was checked", request);
    }
    (decision, None)
}

/// Whether the headers announce what we read.
fn acceptable(headers: &HeaderMap) -> Result<(), (StatusCode, &'static str)> {
    let text = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let media_type = text(header::CONTENT_TYPE)
        .and_then(|value| value.split(';').next())
        .is_some_and(|essence| essence.trim().eq_ignore_ascii_case("application/json"));
    if !media_type {
        let wanted = "the body must be an AdmissionReview as application/json";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted));
    }
    if headers.contains_key(header::CONTENT_ENCODING) {
        let wanted = "the body must not be compressed: send it without content-encoding";
        return Err((StatusCode::UNSUPPORTED_MEDIA_TYPE, wanted));
    }
    let length = text(header::CONTENT_LENGTH).and_then(|value| value.parse::<u64>().ok());
    if length.is_some_and(|length| length > MAX_BODY as u64) {
        let wanted = "the body is larger than an AdmissionReview can be";
        return Err((StatusCode::PAYLOAD_TOO_LARGE, wanted));
    }
    Ok(())
}
