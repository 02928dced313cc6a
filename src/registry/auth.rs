//! Authentication: challenges, token services, and the cache of what they granted.
//!
//! Distribution specification, "Token Authentication": a challenge names a realm and a service;
//! the scope is ours, always `repository:<path>:pull`, whatever the challenge asks for.
use std::hash::BuildHasher as _;
use std::hash::RandomState;
use std::sync::Arc;

use moka::future::Cache;
use reqwest::StatusCode;
use reqwest::header::HeaderValue;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use url::Url;
use url::form_urlencoded;

use crate::metrics::Lookup;

use super::budget::Account;
use super::credentials::Credential;
use super::credentials::CredentialSource;
use super::endpoint::Endpoint;
use super::endpoint::authority;
use super::error::RegistryError;
use super::error::shown;
use super::helper;
use super::limits::DEFAULT_TOKEN_LIFE;
use super::limits::HELPER_LIFE;
use super::limits::MAX_HELPERS;
use super::limits::MAX_REGISTRIES;
use super::limits::MAX_TOKEN_BYTES;
use super::limits::MAX_TOKEN_LIFE;
use super::limits::MAX_TOKENS;
use super::transport::Answer;
use super::transport::Call;
use super::transport::Transport;

mod challenge;
mod grant;
mod standing;

use challenge::Challenge;
use grant::Grant;
use grant::GrantExpiry;
use grant::basic;
use grant::bearer;
use grant::grant;
use standing::Standing;
use standing::Standings;

/// How this program introduces itself to token services.
const CLIENT_ID: &str = "tegata";

/// What an authorization is good for: one repository on one server, with one credential.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    server: String,
    path: String,
    source: Option<CredentialSource>,
}

/// Obtains and keeps authorizations.
#[derive(Debug)]
pub(super) struct Authenticator {
    grants: Cache<Key, Arc<Grant>>,
    helpers: Cache<CredentialSource, Option<Arc<Credential>>>,
    standings: Standings,
    running: Semaphore,
    /// Makes accounts of credentials.
    hasher: RandomState,
}

impl Authenticator {
    pub(super) fn new() -> Self {
        let grants = Cache::builder().max_capacity(MAX_TOKENS).expire_after(GrantExpiry).build();
        let helpers =
            Cache::builder().max_capacity(MAX_REGISTRIES).time_to_live(HELPER_LIFE).build();
        let running = Semaphore::new(MAX_HELPERS);
        Self { grants, helpers, standings: Standings::new(), running, hasher: RandomState::new() }
    }

    /// Sends `call` with one of `sources`, in order, until one is let in and finds something; with
    /// none where there are none, as the kubelet does. A credential that is known to read the
    /// repository is believed when it finds nothing, and one that was refused a moment ago is not
    /// shown again.
    ///
    /// # Errors
    /// As [`Transport::send`]; `Unauthorised` when the server refuses all with 401 or 403.
    pub(super) async fn send(
        &self,
        transport: &Transport,
        endpoint: &Endpoint,
        sources: &[CredentialSource],
        call: Call,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let began = call.began;
        let asker = Asker { authenticator: self, transport, endpoint, source: None, began };
        if sources.is_empty() {
            return Box::pin(self.send_as(asker, call, deadline)).await;
        }
        let (mut absent, mut refused) = (None, None);
        for source in sources {
            let asker = Asker { source: Some(source), ..asker };
            match Box::pin(self.send_known(asker, call.clone(), deadline)).await {
                Ok((answer, true)) => return Ok(answer),
                Ok((answer, false)) => absent = absent.or(Some(answer)),
                Err(
                    error
                    @ (RegistryError::Unauthorised { .. } | RegistryError::Credentials { .. }),
                ) => refused = refused.or(Some(error)),
                Err(error) => return Err(error),
            }
        }
        // Whoever adds a credential that is refused must not turn "nothing there" into an outage.
        match (absent, refused) {
            (Some(answer), _) => Ok(answer),
            (None, Some(error)) => Err(error),
            (None, None) => Err(RegistryError::TimedOut { what: shown(&call.url) }),
        }
    }

    /// Sends with one credential, and remembers how it fared. The answer comes with whether it is
    /// final: one of "not found" may hide from this credential what another may see.
    async fn send_known(
        &self,
        asker: Asker<'_>,
        call: Call,
        deadline: Instant,
    ) -> Result<(Answer, bool), RegistryError> {
        let key = asker.key();
        let standing = self.standings.get(&key).await;
        if let Some(Standing::Refused(error)) = standing {
            return Err(error);
        }
        let outcome = Box::pin(self.send_as(asker, call, deadline)).await;
        match outcome {
            Ok(answer) if answer.status == StatusCode::OK => {
                self.standings.insert(key, Standing::Accepted).await;
                Ok((answer, true))
            }
            Ok(answer) => {
                let hidden = answer.status == StatusCode::NOT_FOUND && standing.is_none();
                Ok((answer, !hidden))
            }
            Err(error) => {
                if matches!(error, RegistryError::Unauthorised { .. }) {
                    self.standings.insert(key, Standing::Refused(error.clone())).await;
                }
                Err(error)
            }
        }
    }

    async fn send_as(
        &self,
        asker: Asker<'_>,
        call: Call,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let Asker { transport, endpoint, .. } = asker;
        let mut grant = asker.known(deadline).await?;
        for last in [false, true] {
            let authorization = grant.as_ref().and_then(|grant| grant.header.clone());
            let call = Call { authorization, account: asker.account(), ..call.clone() };
            let answer = transport.send(endpoint, &call, deadline).await?;
            match answer.status {
                StatusCode::UNAUTHORIZED if !last => {
                    let challenge = Challenge::parse(&answer.headers);
                    let renewed = asker.renew(grant.as_ref(), challenge, deadline).await?;
                    if call.authorization.is_some() && call.authorization == renewed.header {
                        return Err(unauthorised(&call.url, &answer));
                    }
                    grant = Some(renewed);
                }
                StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    return Err(unauthorised(&call.url, &answer));
                }
                _ => return Ok(answer),
            }
        }
        Err(RegistryError::Unauthorised { what: shown(&call.url), problem: "status 401".into() })
    }
}

/// One caller's need for an authorization.
#[derive(Clone, Copy)]
struct Asker<'a> {
    authenticator: &'a Authenticator,
    transport: &'a Transport,
    endpoint: &'a Endpoint,
    source: Option<&'a CredentialSource>,
    /// When the question began for which the authorization is needed.
    began: Instant,
}

impl Asker<'_> {
    fn key(&self) -> Key {
        let Endpoint { base, path, .. } = self.endpoint;
        Key { server: base.to_string(), path: path.clone(), source: self.source.cloned() }
    }

    /// Whose requests these are.
    fn account(&self) -> Account {
        self.source.map(|source| self.authenticator.hasher.hash_one(source))
    }

    /// A question for a challenge.
    fn ping_call(&self) -> Call {
        let (accept, account) = ("application/json", self.account());
        let call = Call::to(self.endpoint.ping_url(), self.began);
        Call { accept, account, cap: MAX_TOKEN_BYTES, ..call }
    }

    /// The grant that is there, while it holds.
    async fn present(&self, key: &Key) -> Option<Arc<Grant>> {
        let grants = &self.authenticator.grants;
        let grant = grants.get(key).await?;
        if grant.is_fresh() {
            return Some(grant);
        }
        grants.invalidate(key).await;
        None
    }

    /// What is known already. With a credential the server is asked for its challenge first, as
    /// some answer 404 to strangers instead of 401.
    async fn known(&self, deadline: Instant) -> Result<Option<Arc<Grant>>, RegistryError> {
        let key = self.key();
        if let Some(grant) = self.present(&key).await {
            self.endpoint.count_token(Lookup::Hit);
            return Ok(Some(grant));
        }
        if self.source.is_none() {
            return Ok(None);
        }
        self.endpoint.count_token(Lookup::Miss);
        self.shared(key, deadline, Box::pin(self.ping())).await.map(Some)
    }

    /// A new grant after `used` was refused, unless another caller has got one already.
    async fn renew(
        &self,
        used: Option<&Arc<Grant>>,
        challenge: Option<Challenge>,
        deadline: Instant,
    ) -> Result<Arc<Grant>, RegistryError> {
        let grants = &self.authenticator.grants;
        let key = self.key();
        if let Some(present) = self.present(&key).await {
            if used.is_none_or(|used| !Arc::ptr_eq(used, &present)) {
                return Ok(present);
            }
            grants.invalidate(&key).await;
        }
        self.endpoint.count_token(Lookup::Miss);
        self.shared(key, deadline, Box::pin(self.answer(challenge))).await
    }

    /// Runs `load` once for all who wait for the same key. Its time is its own: a caller with
    /// little time left does not fail those with more.
    async fn shared(
        &self,
        key: Key,
        deadline: Instant,
        load: impl Future<Output = Result<Grant, RegistryError>>,
    ) -> Result<Arc<Grant>, RegistryError> {
        let load = async { load.await.map(Arc::new) };
        let shared = self.authenticator.grants.try_get_with(key, load);
        match tokio::time::timeout_at(deadline, shared).await {
            Ok(Ok(grant)) => Ok(grant),
            Ok(Err(error)) => Err((*error).clone()),
            Err(_) => Err(RegistryError::TimedOut { what: shown(&self.endpoint.base) }),
        }
    }

    fn own_deadline(&self) -> Instant {
        Instant::now() + self.transport.request_timeout()
    }

    async fn ping(&self) -> Result<Grant, RegistryError> {
        let call = self.ping_call();
        let answer = self.transport.send(self.endpoint, &call, self.own_deadline()).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Box::pin(self.answer(Challenge::parse(&answer.headers))).await;
        }
        Ok(Grant::new(None, DEFAULT_TOKEN_LIFE))
    }

    async fn answer(&self, challenge: Option<Challenge>) -> Result<Grant, RegistryError> {
        let what = shown(&self.endpoint.base);
        let refuse = |problem: &str| {
            let problem = problem.to_owned();
            RegistryError::Unauthorised { what: what.clone(), problem }
        };
        let credential = self.credential().await?;
        match (challenge, credential.as_deref()) {
            (None, _) => Err(refuse("status 401 without a Basic or Bearer challenge")),
            (Some(_), Some(Credential::RegistryToken(token))) => {
                Ok(Grant::new(Some(bearer(token, &what)?), MAX_TOKEN_LIFE))
            }
            (Some(Challenge::Basic), Some(Credential::Basic { username, password })) => {
                Box::pin(self.prove(basic(username, password)?)).await
            }
            (Some(Challenge::Basic), Some(Credential::IdentityToken(_))) => {
                Err(refuse("it wants user name and password, and we have an identity token"))
            }
            (Some(Challenge::Basic), None) => Err(refuse("it wants user name and password")),
            (Some(Challenge::Bearer { realm, service }), credential) => {
                Box::pin(self.token(&realm, service.as_deref(), credential)).await
            }
        }
    }

    /// Shows user name and password once, before all who wait for them do so at the same time:
    /// wrong ones must not lock the account.
    async fn prove(&self, header: HeaderValue) -> Result<Grant, RegistryError> {
        let call = Call { authorization: Some(header.clone()), ..self.ping_call() };
        let answer = self.transport.send(self.endpoint, &call, self.own_deadline()).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(unauthorised(&call.url, &answer));
        }
        Ok(Grant::new(Some(header), MAX_TOKEN_LIFE))
    }

    async fn credential(&self) -> Result<Option<Arc<Credential>>, RegistryError> {
        match self.source {
            None => Ok(None),
            Some(CredentialSource::Entry(credential)) => Ok(Some(credential.clone())),
            Some(source @ CredentialSource::Helper { name, server }) => {
                let run = async {
                    let _turn = self.authenticator.running.acquire().await;
                    helper::run(name, server).await
                };
                let helpers = &self.authenticator.helpers;
                helpers.try_get_with(source.clone(), run).await.map_err(|error| (*error).clone())
            }
        }
    }

    /// Asks the token service at `realm`.
    async fn token(
        &self,
        realm: &str,
        service: Option<&str>,
        credential: Option<&Credential>,
    ) -> Result<Grant, RegistryError> {
        let realm = self.realm(realm, credential.is_some())?;
        let scope = format!("repository:{}:pull", self.endpoint.path);
        let mut call = Call {
            accept: "application/json",
            account: self.account(),
            cap: MAX_TOKEN_BYTES,
            follow: false,
            ..Call::to(realm.clone(), self.began)
        };
        if let Some(Credential::IdentityToken(token)) = credential {
            let mut form = form_urlencoded::Serializer::new(String::new());
            form.append_pair("grant_type", "refresh_token").append_pair("client_id", CLIENT_ID);
            form.append_pair("scope", &scope).append_pair("refresh_token", token);
            form.extend_pairs(service.map(|service| ("service", service)));
            call.form = Some(form.finish());
        } else {
            let mut query = call.url.query_pairs_mut();
            query.extend_pairs(service.map(|service| ("service", service)));
            query.append_pair("scope", &scope);
        }
        if let Some(Credential::Basic { username, password }) = credential {
            call.authorization = Some(basic(username, password)?);
        }
        let answer = self.transport.send(self.endpoint, &call, self.own_deadline()).await?;
        match answer.status {
            StatusCode::OK => grant(&answer, &shown(&realm)),
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(unauthorised(&realm, &answer)),
            status => {
                let problem = format!("the token service answers with status {}", status.as_u16());
                Err(RegistryError::Unauthorised { what: shown(&realm), problem })
            }
        }
    }

    /// The realm's address, if it may be asked: with credentials only where they belong, without
    /// them anywhere over HTTPS.
    fn realm(&self, realm: &str, credentials: bool) -> Result<Url, RegistryError> {
        let what = shown(&self.endpoint.base);
        let url = Url::parse(realm)
            .map_err(|_| RegistryError::malformed(&what, "its token service has no address"))?;
        let trusted = self.endpoint.trusts_realm(&url);
        let refuse = |why: &str| {
            let address = format!("the token service {}, {why}", authority(&url));
            Err(RegistryError::ForbiddenAddress { what: what.clone(), address })
        };
        if !url.username().is_empty() || url.password().is_some() {
            return refuse("with credentials in its address");
        }
        if credentials && !trusted {
            return refuse("which must not see this registry's credentials");
        }
        if url.scheme() != "https" && !trusted {
            return refuse("without TLS");
        }
        Ok(url)
    }
}

/// `Unauthorised`, with the error code of the answer's body where it has one.
fn unauthorised(url: &Url, answer: &Answer) -> RegistryError {
    let status = answer.status.as_u16();
    let code = error_code(&answer.body).map(|code| format!(" {code}")).unwrap_or_default();
    RegistryError::Unauthorised { what: shown(url), problem: format!("status {status}{code}") }
}

/// The first code of an OCI error body (distribution specification, "Error Codes").
pub(super) fn error_code(body: &[u8]) -> Option<String> {
    let body: serde_json::Value = serde_json::from_slice(body).ok()?;
    let code = body.get("errors")?.get(0)?.get("code")?.as_str()?;
    let plain = code.len() <= 40 && code.bytes().all(|b| b.is_ascii_uppercase() || b == b'_');
    plain.then(|| code.to_owned())
}
