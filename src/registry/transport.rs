//! One HTTP exchange after another: redirects by hand, capped bodies, retries, deadlines.
//!
//! Nothing here trusts the other side: not its lengths, not its encodings, not where it sends us.
use std::collections::HashMap;
use std::error::Error as StdError;
use std::hash::BuildHasher as _;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use bytes::BytesMut;
use reqwest::Method;
use reqwest::RequestBuilder;
use reqwest::Response;
use reqwest::StatusCode;
use reqwest::header;
use reqwest::header::HeaderMap;
use reqwest::header::HeaderName;
use reqwest::header::HeaderValue;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;

use crate::metrics::RequestOutcome;
use crate::verdict::printable;

use super::address::ForbiddenAddress;
use super::address::NoLookup;
use super::breaker::Breaker;
use super::breaker::Pass;
use super::breaker::Refusal;
use super::breaker::Silence;
use super::budget::Account;
use super::budget::Budget;
use super::budget::Limits;
use super::budget::NoTurn;
use super::clients::Clients;
use super::endpoint::Endpoint;
use super::endpoint::authority;
use super::error::RegistryError;
use super::error::shown;
use super::held::Held;
use super::limits::MAX_ERROR_BYTES;
use super::limits::MAX_HEADER_BYTES;
use super::limits::MAX_REDIRECTS;
use super::limits::MAX_REGISTRIES;
use super::limits::MAX_RETRY_AFTER;
use super::limits::MAX_TRIES;
use super::limits::RETRY_PAUSE;
use super::limits::SILENCE;

/// What to send, and how much of the answer to take.
#[derive(Clone, Debug)]
pub(super) struct Call {
    pub(super) url: Url,
    /// Whose request it is.
    pub(super) account: Account,
    /// When the question began that it is a part of: who comes first where requests wait in line.
    pub(super) began: Instant,
    /// How far behind that it comes.
    pub(super) behind: Duration,
    pub(super) accept: &'static str,
    /// Sent to this server only, never after a redirect elsewhere.
    pub(super) authorization: Option<HeaderValue>,
    /// A form to post; `None` is a GET.
    pub(super) form: Option<String>,
    /// Most bytes of a successful answer.
    pub(super) cap: usize,
    /// Whether redirects are followed.
    pub(super) follow: bool,
}

impl Call {
    /// A GET without credentials, for nothing yet, of a question that began then.
    pub(super) const fn to(url: Url, began: Instant) -> Self {
        let (account, authorization, form, behind) = (None, None, None, Duration::ZERO);
        Self {
            url,
            account,
            began,
            behind,
            accept: "*/*",
            authorization,
            form,
            cap: 0,
            follow: true,
        }
    }
}

/// A complete answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) headers: HeaderMap,
    pub(super) body: Bytes,
}

/// Sends requests; shared by all callers.
#[derive(Debug)]
pub(super) struct Transport {
    /// By the registry that leads there, and the server.
    breakers: moka::future::Cache<(String, String), Arc<Breaker>>,
    /// As the breakers: what a registry leads others to takes nothing from the server's own.
    budgets: moka::future::Cache<(String, String), Arc<Budget>>,
    /// By authority, where the settings say something.
    limits: HashMap<String, Limits>,
    memory: Arc<Semaphore>,
    request_timeout: Duration,
}

impl Transport {
    pub(super) fn new(
        request_timeout: Duration,
        limits: HashMap<String, Limits>,
        memory: Arc<Semaphore>,
    ) -> Self {
        let breakers = moka::future::Cache::new(MAX_REGISTRIES);
        let budgets = moka::future::Cache::new(MAX_REGISTRIES);
        Self { breakers, budgets, limits, memory, request_timeout }
    }

    pub(super) const fn request_timeout(&self) -> Duration {
        self.request_timeout
    }

    /// Sends `call`, again after errors that a short wait may mend, until an answer of any other
    /// kind is there.
    ///
    /// # Errors
    /// When no complete answer is there by `deadline`, or the answer breaks a rule. Statuses other
    /// than 429 and 5xx are answers.
    pub(super) async fn send(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let mut attempt = 1;
        loop {
            let outcome = self.send_once(endpoint, call, deadline).await;
            endpoint.count(outcome_of(call, &outcome));
            let (error, pause) = match outcome.and_then(|answer| judge(&call.url, answer)) {
                Ok(Judged::Final(answer)) => return Ok(answer),
                Ok(Judged::Again(error, pause)) => (error, pause),
                Err(RegistryError::RateLimited { what, retry_after }) => {
                    (RegistryError::RateLimited { what, retry_after }, retry_after)
                }
                Err(
                    error @ (RegistryError::NoLookup { .. }
                    | RegistryError::NoMemory { .. }
                    | RegistryError::OverBudget { .. }
                    | RegistryError::Unreachable { .. }),
                ) => (error, None),
                Err(error) => return Err(error),
            };
            let own = jittered(RETRY_PAUSE * (1 << (attempt - 1)));
            let pause = pause.map_or(own, |pause| pause + own);
            let left = deadline.saturating_duration_since(Instant::now());
            if attempt >= MAX_TRIES || pause >= left || pause > MAX_RETRY_AFTER {
                return Err(error);
            }
            tokio::time::sleep(pause).await;
            attempt += 1;
        }
    }

    async fn send_once(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let now = Instant::now();
        if now >= deadline {
            return Err(RegistryError::TimedOut { what: shown(&call.url) });
        }
        Box::pin(self.follow(endpoint, call, deadline)).await
    }

    async fn follow(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let mut url = call.url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let answer = Box::pin(self.exchange(endpoint, call, &url, deadline)).await?;
            if !call.follow || !is_redirect(answer.status) {
                return Ok(answer);
            }
            let next = location(&url, &answer.headers)?;
            if url.scheme() == "https" && next.scheme() != "https" {
                let address = format!("{}, without TLS", shown(&next));
                return Err(RegistryError::ForbiddenAddress { what: shown(&url), address });
            }
            url = next;
        }
        let problem = format!("more than {MAX_REDIRECTS} redirects");
        Err(RegistryError::malformed(shown(&call.url), problem))
    }

    async fn exchange(
        &self,
        endpoint: &Endpoint,
        call: &Call,
        url: &Url,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let client = client_for(endpoint, call, url)?;
        let (breaker, budget) = self.server(endpoint, url).await;
        breaker.look(&endpoint.path).map_err(|refusal| not_asked(url, refusal))?;
        let turn = budget.turn(call.account, call.began + call.behind, deadline).await;
        let _turn = turn.map_err(|why| no_turn(url, why))?;
        // Only now: a turn that is waited for says nothing of how long the server takes.
        let until = deadline.min(Instant::now() + self.request_timeout);
        let pass = breaker.pass(&endpoint.path).map_err(|refusal| not_asked(url, refusal))?;
        let method = if call.form.is_some() { Method::POST } else { Method::GET };
        let mut request = client
            .request(method, url.clone())
            .header(header::ACCEPT, call.accept)
            .header(header::ACCEPT_ENCODING, "identity");
        // The call's own address decides, not the registry: a token service has its credentials.
        if let Some(value) = call.authorization.as_ref().filter(|_| same_server(url, &call.url)) {
            request = request.header(header::AUTHORIZATION, value.clone());
        }
        if let Some(form) = &call.form {
            request = request
                .header(header::CONTENT_TYPE, "application/x-www-form-urlencoded")
                .body(form.clone());
        }
        let sent = Instant::now();
        let response = self.answer(request, pass, call, url, until).await?;
        match (response.status(), retry_after(response.headers())) {
            (StatusCode::TOO_MANY_REQUESTS, Some(time)) => budget.pause(call.account, time, sent),
            (StatusCode::TOO_MANY_REQUESTS, None) => {}
            (_, _) => budget.answered(call.account, sent),
        }
        let reading = read(response, url, call.cap, &self.memory);
        match tokio::time::timeout_at(until, reading).await {
            Ok(outcome) => outcome,
            Err(_) => Err(RegistryError::TimedOut { what: shown(url) }),
        }
    }

    async fn server(&self, endpoint: &Endpoint, url: &Url) -> (Arc<Breaker>, Arc<Budget>) {
        let limits = self.limits.get(&authority(url)).copied().unwrap_or_default();
        let limits = if endpoint.is_own(url) { limits } else { limits.foreign() };
        let key = (endpoint.registry.clone(), url.origin().ascii_serialization());
        let breaker = self.breakers.get_with(key.clone(), async { Arc::default() }).await;
        let budget = self.budgets.get_with(key, async { Arc::new(Budget::new(limits)) }).await;
        (breaker, budget)
    }

    /// Sends, and waits for the head of the answer. Whether one comes is what the breaker hears of.
    async fn answer(
        &self,
        request: RequestBuilder,
        pass: Pass<'_>,
        call: &Call,
        url: &Url,
        until: Instant,
    ) -> Result<Response, RegistryError> {
        let sent = Instant::now();
        match tokio::time::timeout_at(until, request.send()).await {
            Ok(Ok(response)) => {
                let status = response.status();
                if is_failure(status) {
                    pass.failed(Silence::Unanswered, &format!("status {}", status.as_u16()));
                } else {
                    pass.answered();
                }
                Ok(response)
            }
            Ok(Err(error)) => {
                let silence =
                    if error.is_connect() { Silence::Unreached } else { Silence::Unanswered };
                let error = connect_error(&call.url, url, error);
                if let RegistryError::Unreachable { problem, .. } = &error {
                    pass.failed(silence, problem);
                }
                Err(error)
            }
            Err(_) => {
                // Who waits less has not found out, and says nothing about the server.
                if sent.elapsed() >= SILENCE.min(self.request_timeout) {
                    pass.failed(Silence::Unanswered, "it was not answered in time");
                }
                Err(RegistryError::TimedOut { what: shown(url) })
            }
        }
    }
}

/// The client for `url`, unless its address is one that must not be contacted.
fn client_for<'a>(
    endpoint: &'a Endpoint,
    call: &Call,
    url: &Url,
) -> Result<&'a reqwest::Client, RegistryError> {
    let clients: &Clients = &endpoint.clients;
    let (client, rule) = if endpoint.is_own(url) {
        (&clients.own, clients.own_rule())
    } else {
        (&clients.foreign, clients.foreign_rule())
    };
    rule.check_literal(url).map_err(|error| forbidden(&call.url, &error))?;
    if !rule.private && clients.is_proxy(url) {
        let address = format!("{}, which is our own proxy", authority(url));
        return Err(RegistryError::ForbiddenAddress { what: shown(&call.url), address });
    }
    Ok(client)
}

/// How a request ended, for the metrics.
fn outcome_of(call: &Call, outcome: &Result<Answer, RegistryError>) -> RequestOutcome {
    match outcome {
        Ok(answer) => match answer.status {
            status if status.is_success() => RequestOutcome::Ok,
            StatusCode::NOT_FOUND => RequestOutcome::Absent,
            StatusCode::TOO_MANY_REQUESTS => RequestOutcome::RateLimited,
            StatusCode::UNAUTHORIZED if call.authorization.is_none() && call.form.is_none() => {
                RequestOutcome::Challenged
            }
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => RequestOutcome::Refused,
            _ => RequestOutcome::Error,
        },
        // A server's own 429 is an answer.
        Err(
            RegistryError::NoLookup { .. }
            | RegistryError::NotAsked { .. }
            | RegistryError::OverBudget { .. }
            | RegistryError::RateLimited { .. },
        ) => RequestOutcome::NotAsked,
        Err(RegistryError::TimedOut { .. }) => RequestOutcome::Timeout,
        Err(_) => RequestOutcome::Error,
    }
}

/// Reads the answer, no further than `cap`, whatever length it announces.
async fn read(
    mut response: Response,
    url: &Url,
    cap: usize,
    memory: &Arc<Semaphore>,
) -> Result<Answer, RegistryError> {
    let status = response.status();
    let headers = std::mem::take(response.headers_mut());
    if !status.is_success() {
        let body = read_error(&mut response).await;
        return Ok(Answer { status, headers, body });
    }
    let encoded = headers.get_all(header::CONTENT_ENCODING).iter();
    if encoded.into_iter().any(|value| !value.as_bytes().eq_ignore_ascii_case(b"identity")) {
        return Err(RegistryError::malformed(shown(url), "compressed, wanted it as it is stored"));
    }
    let too_large = || RegistryError::too_large(shown(url), format_args!("{cap} bytes"));
    let announced = header_text(&headers, &header::CONTENT_LENGTH).and_then(|v| v.parse().ok());
    if announced.is_some_and(|length: u64| length > cap as u64) {
        return Err(too_large());
    }
    let room = announced.and_then(|length| usize::try_from(length).ok()).unwrap_or_default();
    let mut body = Held::with_room(room.min(cap));
    while let Some(chunk) =
        response.chunk().await.map_err(|error| unreachable_at(url, &innermost(&error)))?
    {
        if body.len() + chunk.len() > cap {
            return Err(too_large());
        }
        body.extend(&chunk, memory).ok_or_else(|| RegistryError::NoMemory { what: shown(url) })?;
    }
    Ok(Answer { status, headers, body: body.freeze() })
}

/// As much of an error's body as may be read; what cannot be read is left out.
async fn read_error(response: &mut Response) -> Bytes {
    let mut body = BytesMut::new();
    while let Ok(Some(chunk)) = response.chunk().await {
        let room = MAX_ERROR_BYTES - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() == MAX_ERROR_BYTES {
            break;
        }
    }
    body.freeze()
}

enum Judged {
    Final(Answer),
    Again(RegistryError, Option<Duration>),
}

fn judge(url: &Url, answer: Answer) -> Result<Judged, RegistryError> {
    let pause = retry_after(&answer.headers);
    let what = shown(url);
    if answer.status == StatusCode::TOO_MANY_REQUESTS {
        let error = RegistryError::RateLimited { what, retry_after: pause };
        return Ok(Judged::Again(error, pause));
    }
    if is_failure(answer.status) {
        let problem = format!("status {}", answer.status.as_u16());
        return Ok(Judged::Again(RegistryError::Unreachable { what, problem }, pause));
    }
    Ok(Judged::Final(answer))
}

/// Whether a status says that the server failed. 501 does not: it says that the request is not known.
fn is_failure(status: StatusCode) -> bool {
    status.is_server_error() && status != StatusCode::NOT_IMPLEMENTED
}

/// `Retry-After` in seconds (RFC 9110, 10.2.3). A date is treated as none: it would need a clock
/// that agrees with the registry's.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let seconds: u32 = header_text(headers, &header::RETRY_AFTER)?.trim().parse().ok()?;
    Some(Duration::from_secs(u64::from(seconds)))
}

/// Between half and all of `pause`, so that callers that failed together do not return together.
fn jittered(pause: Duration) -> Duration {
    let random = std::hash::RandomState::new().hash_one(0u8);
    pause / 2 + (pause / 2).mul_f64((random % 1_000) as f64 / 1_000.0)
}

fn is_redirect(status: StatusCode) -> bool {
    matches!(status.as_u16(), 301 | 302 | 303 | 307 | 308)
}

fn location(url: &Url, headers: &HeaderMap) -> Result<Url, RegistryError> {
    let malformed = |problem| RegistryError::malformed(shown(url), problem);
    let text = header_text(headers, &header::LOCATION)
        .ok_or_else(|| malformed("a redirect without a readable address"))?;
    let next = url.join(text).map_err(|_| malformed("a redirect to what is no address"))?;
    if !matches!(next.scheme(), "http" | "https") {
        return Err(malformed("a redirect to another scheme than http and https"));
    }
    if !next.username().is_empty() || next.password().is_some() {
        return Err(malformed("a redirect with credentials in its address"));
    }
    Ok(next)
}

/// A header's text, if it is text of bounded length.
pub(super) fn header_text<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Option<&'a str> {
    let value = headers.get(name)?.to_str().ok()?;
    (value.len() <= MAX_HEADER_BYTES).then_some(value)
}

fn same_server(left: &Url, right: &Url) -> bool {
    left.scheme() == right.scheme()
        && left.host() == right.host()
        && left.port_or_known_default() == right.port_or_known_default()
}

fn connect_error(asked: &Url, url: &Url, error: reqwest::Error) -> RegistryError {
    let mut source: Option<&(dyn StdError + 'static)> = Some(&error);
    while let Some(current) = source {
        if let Some(refused) = current.downcast_ref::<ForbiddenAddress>() {
            return forbidden(asked, refused);
        }
        if current.is::<NoLookup>() {
            return RegistryError::NoLookup { what: shown(url) };
        }
        source = current.source();
    }
    unreachable_at(url, &innermost(&error.without_url()))
}

fn forbidden(asked: &Url, refused: &ForbiddenAddress) -> RegistryError {
    RegistryError::ForbiddenAddress { what: shown(asked), address: refused.to_string() }
}

fn no_turn(url: &Url, why: NoTurn) -> RegistryError {
    let what = shown(url);
    match why {
        NoTurn::Paused(left) => RegistryError::RateLimited { what, retry_after: Some(left) },
        NoTurn::Spent(spent) => RegistryError::OverBudget { what, budget: spent.to_string() },
    }
}

fn not_asked(url: &Url, refusal: Refusal) -> RegistryError {
    let Refusal { silent, problem, again } = refusal;
    RegistryError::NotAsked { what: shown(url), problem: printable(&problem), silent, again }
}

fn unreachable_at(url: &Url, problem: &str) -> RegistryError {
    RegistryError::Unreachable { what: shown(url), problem: problem.to_owned() }
}

/// The innermost cause, which names the problem; the outer ones name layers of the HTTP client.
pub(super) fn innermost(error: &(dyn StdError + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    innermost.to_string()
}
