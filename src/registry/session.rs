//! One question to one repository, on the registry and its mirrors.
use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::sync::atomic::Ordering;
use std::time::Duration;

use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderName;
use tokio::time::Instant;
use url::Url;

use crate::image::Digest;

use super::Configured;
use super::Keychain;
use super::Lasting;
use super::check;
use super::credentials::CredentialSource;
use super::discover::Listing;
use super::discover::Store;
use super::endpoint::Endpoint;
use super::error;
use super::error::RegistryError;
use super::limits::MAX_BLOB_BYTES;
use super::limits::MAX_MANIFEST_BYTES;
use super::manifest::ACCEPT_MANIFEST;
use super::referrers;
use super::transport;
use super::transport::Answer;
use super::transport::Call;

/// A registry's word on the digest of its answer.
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// Requests after which a question lets those pass that began while it may last, where requests wait in
/// line, and again after as many more. A signature takes four; images with hundreds take turns, and keep
/// nobody else waiting.
const FEW_REQUESTS: u32 = 8;
const LETS_PASS: Duration = Duration::from_secs(30);

/// One question to one repository, on the registry and its mirrors.
pub(super) struct Session {
    pub(super) configured: Arc<Configured>,
    pub(super) keychain: Arc<Keychain>,
    pub(super) lasting: Arc<Lasting>,
    pub(super) endpoints: Vec<Endpoint>,
    /// When the question began.
    pub(super) began: Instant,
    /// How many requests it has had.
    pub(super) requests: AtomicU32,
    pub(super) deadline: Instant,
}

impl Session {
    /// Asks the mirrors in turn, then the registry itself, whose word is final.
    async fn each<T, F>(&self, ask: impl Fn(Endpoint, Instant) -> F) -> Result<T, RegistryError>
    where
        F: Future<Output = Result<T, RegistryError>>,
    {
        let mut left = self.endpoints.len() as u32;
        let mut outcome = Err(RegistryError::TimedOut { what: "registry".to_owned() });
        for endpoint in &self.endpoints {
            // A mirror that hangs leaves as much time to each of those after it.
            let time = self.deadline.saturating_duration_since(Instant::now()) / left.max(1);
            let until = if left == 1 { self.deadline } else { Instant::now() + time };
            left = left.saturating_sub(1);
            outcome = ask(endpoint.clone(), until).await;
            if outcome.is_ok() {
                break;
            }
        }
        outcome
    }

    /// The credentials for this server.
    fn sources(&self, endpoint: &Endpoint) -> Vec<CredentialSource> {
        self.keychain.sources(&endpoint.registry, &endpoint.path)
    }

    /// A GET with the credentials for this server. 404 is `Absent`, other refusals `Unsupported`.
    async fn get(
        &self,
        endpoint: &Endpoint,
        url: Url,
        accept: &'static str,
        cap: usize,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let what = error::shown(&url);
        settled(what, self.ask(endpoint, url, accept, cap, deadline).await?)
    }

    /// A GET with the credentials for this server, whatever its status.
    pub(super) async fn ask(
        &self,
        endpoint: &Endpoint,
        url: Url,
        accept: &'static str,
        cap: usize,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let Lasting { authenticator, .. } = &*self.lasting;
        let transport = &self.configured.transport;
        let sources = self.sources(endpoint);
        let behind = behind(self.requests.fetch_add(1, Ordering::Relaxed));
        let call = Call { accept, cap, behind, ..Call::to(url, self.began) };
        // Boxed, as further down: a future of this depth would outgrow a thread's stack.
        let send = authenticator.send(transport, endpoint, &sources, call, deadline);
        Box::pin(send).await
    }

    /// The manifest of at most `cap` bytes under a tag or digest, with the digest of what came.
    pub(super) async fn manifest_at(
        &self,
        reference: &str,
        expected: Option<&Digest>,
        cap: usize,
    ) -> Result<(Digest, Bytes), RegistryError> {
        self.each(|endpoint, until| async move {
            let url = endpoint.url("manifests", reference);
            let what = error::shown(&url);
            let answer = self.get(&endpoint, url, ACCEPT_MANIFEST, cap, until).await?;
            check_announced(&what, &answer)?;
            if let Some(expected) = expected {
                check(&what, expected, &answer.body)?;
            }
            Ok((Digest::sha256_of(&answer.body), answer.body))
        })
        .await
    }
}

/// How far behind its question's place the next request comes that has had so many.
fn behind(requests: u32) -> Duration {
    LETS_PASS * (requests / FEW_REQUESTS)
}

/// An answer with content; 404 is `Absent`, other refusals `Unsupported`.
pub(super) fn settled(what: String, answer: Answer) -> Result<Answer, RegistryError> {
    match answer.status {
        StatusCode::OK => Ok(answer),
        StatusCode::NOT_FOUND => Err(RegistryError::Absent { what }),
        status => Err(RegistryError::Unsupported { what, status: status.as_u16() }),
    }
}

impl Store for Session {
    async fn tag(&self, tag: &str) -> Result<Option<(Digest, Bytes)>, RegistryError> {
        if !is_tag(tag) {
            return Err(RegistryError::malformed(
                "signature tag",
                "wanted a tag of 128 characters",
            ));
        }
        match self.manifest_at(tag, None, MAX_MANIFEST_BYTES).await {
            Ok(found) => Ok(Some(found)),
            Err(RegistryError::Absent { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    async fn manifest(&self, digest: &Digest, cap: usize) -> Result<Bytes, RegistryError> {
        let (_, bytes) = self.manifest_at(&digest.to_string(), Some(digest), cap).await?;
        Ok(bytes)
    }

    async fn blob(&self, digest: &Digest) -> Result<Bytes, RegistryError> {
        self.each(|endpoint, until| async move {
            let url = endpoint.url("blobs", &digest.to_string());
            let what = error::shown(&url);
            let answer = self.get(&endpoint, url, "*/*", MAX_BLOB_BYTES, until).await?;
            check(&what, digest, &answer.body)?;
            Ok(answer.body)
        })
        .await
    }

    async fn referrers(&self, digest: &Digest) -> Listing {
        referrers::list(self, digest).await
    }

    /// The last of the servers decides: the registry itself.
    async fn expects_fallback(&self) -> bool {
        match self.endpoints.last() {
            Some(endpoint) => self.configured.apis.lacks(endpoint).await,
            None => false,
        }
    }
}

/// The header is never believed; one that contradicts the bytes shows that something is wrong.
fn check_announced(what: &str, answer: &Answer) -> Result<(), RegistryError> {
    if !answer.headers.contains_key(&DOCKER_CONTENT_DIGEST) {
        return Ok(());
    }
    let announced: Option<Digest> = transport::header_text(&answer.headers, &DOCKER_CONTENT_DIGEST)
        .and_then(|text| text.trim().parse().ok());
    match announced {
        Some(announced) => check(what, &announced, &answer.body),
        None => Err(RegistryError::malformed(what, "Docker-Content-Digest is not a digest")),
    }
}

/// OCI distribution specification, "Pulling manifests": the grammar of a tag.
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || matches!(b, b'.' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_with_many_requests_lets_others_pass() {
        assert_eq!([behind(0), behind(FEW_REQUESTS - 1)], [Duration::ZERO; 2]);
        assert_eq!([behind(FEW_REQUESTS), behind(16_000)], [LETS_PASS, LETS_PASS * 2_000]);
        assert!(Instant::now().checked_add(behind(u32::MAX)).is_some());
    }
}
