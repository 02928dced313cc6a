//! Evidence from OCI registries and layout folders.
//!
//! [`Registry`] is a read-only client of the OCI distribution specification, written for two
//! things that general clients leave out. It treats registries as hostile: every length, count
//! and wait is bounded ([`limits`]), no redirect or token service leads to addresses that are not
//! public ([`address`]), credentials never cross hosts, and bytes are hashed before they count.
//! And it treats them politely: tokens are shared, `Retry-After` is obeyed, requests are budgeted.
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use reqwest::StatusCode;
use reqwest::header::HeaderName;
use tokio::sync::Semaphore;
use url::Url;

use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::FetchEvidence;
use crate::evidence::Part;
use crate::image::Algorithm;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::image::contents::MAX_DOCUMENT_BYTES;
use crate::metrics::RegistryMetrics;
use crate::verdict::Failure;
use crate::verdict::Reason;

pub mod address;
mod auth;
mod budget;
mod clients;
mod credentials;
mod discover;
mod endpoint;
mod error;
mod fingerprint;
mod held;
mod helper;
pub mod layout;
pub mod limits;
pub mod manifest;
mod options;
mod outbound;
mod referrers;
mod transport;

pub use credentials::Credential;
pub use credentials::Keychain;
pub use credentials::KeychainError;
pub use error::RegistryError;
pub use error::Subject;
pub use layout::Layout;
pub use layout::LayoutError;
pub use layout::LayoutRef;
pub use options::HostOptions;
pub use options::OptionsError;
pub use options::ProxyOptions;
pub use options::RegistryOptions;
pub(crate) use outbound::Outbound;

use auth::Authenticator;
use clients::Clients;
use clients::Factory;
use discover::Listing;
use discover::Store;
use discover::discover;
use endpoint::Endpoint;
use endpoint::mirrored;
use fingerprint::FingerprintKey;
use limits::MAX_BLOB_BYTES;
use limits::MAX_MANIFEST_BYTES;
use manifest::ACCEPT_MANIFEST;
use manifest::parse_document;
use transport::Answer;
use transport::Call;
use transport::Transport;

/// A registry's word on the digest of its answer.
const DOCKER_CONTENT_DIGEST: HeaderName = HeaderName::from_static("docker-content-digest");

/// A client for all registries, acting for one keychain. Clones share connections, tokens,
/// settings and credentials: what replaces them in one replaces them in all.
#[derive(Clone, Debug)]
pub struct Registry {
    configured: Arc<ArcSwap<Configured>>,
    keychain: Arc<ArcSwap<Keychain>>,
    lasting: Arc<Lasting>,
    metrics: RegistryMetrics,
}

/// What follows from the settings.
#[derive(Debug)]
struct Configured {
    default_clients: Arc<Clients>,
    host_clients: HashMap<String, Arc<Clients>>,
    /// Hosts that are counted by name.
    named: BTreeSet<String>,
    options: RegistryOptions,
    transport: Transport,
}

/// What new settings leave as it is.
#[derive(Debug)]
struct Lasting {
    authenticator: Authenticator,
    fingerprints: FingerprintKey,
    lookups: Arc<Semaphore>,
    memory: Arc<Semaphore>,
}

impl Registry {
    /// A client with these settings and credentials. Needs no runtime, and contacts nobody.
    ///
    /// # Errors
    /// When a certificate authority, a host or a proxy in the settings cannot be used.
    pub fn new(options: RegistryOptions, keychain: Keychain) -> Result<Self, OptionsError> {
        let fingerprints = FingerprintKey::new().map_err(|_| OptionsError {
            field: "credentials".to_owned(),
            problem: "the system gives no random numbers".to_owned(),
        })?;
        let lasting = Lasting {
            authenticator: Authenticator::new(),
            fingerprints,
            lookups: Arc::new(Semaphore::new(limits::MAX_LOOKUPS)),
            memory: held::budget(),
        };
        let configured = Configured::new(options, &lasting)?;
        Ok(Self {
            configured: Arc::new(ArcSwap::from_pointee(configured)),
            keychain: Arc::new(ArcSwap::from_pointee(keychain)),
            lasting: Arc::new(lasting),
            metrics: RegistryMetrics::default(),
        })
    }

    /// The same client, counting its requests in `metrics`.
    #[must_use]
    pub fn with_metrics(self, metrics: RegistryMetrics) -> Self {
        Self { metrics, ..self }
    }

    /// The same client for another tenant. Connections are shared; tokens are shared only where
    /// the credential is the same.
    #[must_use]
    pub fn with_keychain(&self, keychain: Keychain) -> Self {
        Self { keychain: Arc::new(ArcSwap::from_pointee(keychain)), ..self.clone() }
    }

    /// Replaces the settings from the next question on; those under way end under the old ones.
    /// Tokens are kept, connections and request budgets begin anew. Reads the system's certificate
    /// authorities, which takes some milliseconds.
    ///
    /// # Errors
    /// As [`Self::new`]; the old settings then stay.
    pub fn reload(&self, options: RegistryOptions) -> Result<(), OptionsError> {
        let configured = Configured::new(options, &self.lasting)?;
        self.configured.store(Arc::new(configured));
        Ok(())
    }

    /// Replaces the credentials of this client and its clones, from the next question on.
    pub fn reload_keychain(&self, keychain: Keychain) {
        self.keychain.store(Arc::new(keychain));
    }

    /// The credentials of this client.
    pub fn keychain(&self) -> Arc<Keychain> {
        self.keychain.load_full()
    }

    /// A keyed hash of the credentials that `keychain` has for a repository, on its registry and on
    /// its mirrors; `None` where it has none. Asks nobody.
    pub(crate) fn fingerprint(
        &self,
        keychain: &Keychain,
        repository: &Repository,
    ) -> Option<[u8; 32]> {
        let configured = self.configured.load();
        let mirrors = configured.host_clients.get(repository.registry());
        let mirrors = mirrors.into_iter().flat_map(|clients| &clients.options.mirrors);
        let places = mirrors.map(|mirror| mirrored(mirror, repository));
        let own = (repository.registry().to_owned(), repository.path().to_owned());
        let shown: Vec<_> = places
            .chain([own])
            .map(|(host, path)| {
                let sources = keychain.sources(&host, &path);
                (host, sources)
            })
            .filter(|(_, sources)| !sources.is_empty())
            .collect();
        (!shown.is_empty()).then(|| self.lasting.fingerprints.of(&shown))
    }

    /// Where this client counts.
    pub(crate) const fn metrics(&self) -> &RegistryMetrics {
        &self.metrics
    }

    fn session(
        &self,
        repository: &Repository,
        deadline: Instant,
    ) -> Result<Session, RegistryError> {
        let configured = self.configured.load_full();
        let endpoint = |host: &str, path: String| {
            let named = configured.named.contains(host);
            Ok(configured.endpoint(host, path)?.counting(self.metrics.clone(), named))
        };
        let mut endpoints = Vec::new();
        if let Some(clients) = configured.host_clients.get(repository.registry()) {
            for mirror in &clients.options.mirrors {
                let (host, path) = mirrored(mirror, repository);
                endpoints.push(endpoint(&host, path)?);
            }
        }
        endpoints.push(endpoint(repository.registry(), repository.path().to_owned())?);
        let (keychain, lasting) = (self.keychain(), self.lasting.clone());
        Ok(Session { configured, keychain, lasting, endpoints, deadline })
    }
}

impl Configured {
    fn new(options: RegistryOptions, lasting: &Lasting) -> Result<Self, OptionsError> {
        let Lasting { authenticator: _, fingerprints: _, lookups, memory } = lasting;
        let factory = Factory::new(&options, lookups)?;
        let default_clients = factory.clients("hosts".to_owned(), HostOptions::default())?;
        let (mut host_clients, mut limits) = (HashMap::new(), HashMap::new());
        for (host, settings) in &options.hosts {
            let clients = factory.clients(format!("hosts[{host}]"), settings.clone())?;
            let plain_http = settings.plain_http || options.allow_http.contains(host);
            let server = endpoint::check(host, plain_http, &clients)?;
            limits.insert(server, settings.into());
            host_clients.insert(host.to_lowercase(), clients);
        }
        let named = options.hosts.keys().chain(&options.allow_http);
        Ok(Self {
            default_clients,
            host_clients,
            named: named.map(|host| host.to_lowercase()).collect(),
            transport: Transport::new(options.request_timeout, limits, memory.clone()),
            options,
        })
    }

    fn endpoint(&self, host: &str, path: String) -> Result<Endpoint, RegistryError> {
        let Self { default_clients, host_clients, options, .. } = self;
        let clients = host_clients.get(host).unwrap_or(default_clients).clone();
        let plain = clients.options.plain_http || options.allow_http.iter().any(|h| h == host);
        Endpoint::new(host, path, plain, clients)
    }
}

impl FetchEvidence for Registry {
    async fn resolve(&self, image: &ImageRef, deadline: Instant) -> Result<Digest, Failure> {
        if let Some(digest) = image.digest() {
            return supported(digest);
        }
        let tag = image.tag().unwrap_or("latest");
        let found = async {
            let session = self.session(image.repository(), deadline)?;
            let (digest, bytes) = session.manifest_at(tag, None, MAX_MANIFEST_BYTES).await?;
            let shown = format_args!("manifest of {image}");
            parse_document(&bytes).map_err(|error| RegistryError::malformed(shown, error))?;
            Ok(digest)
        };
        found.await.map_err(|error: RegistryError| error.failure(Subject::Image))
    }

    async fn fetch(&self, query: &EvidenceQuery, deadline: Instant) -> Evidence {
        match self.session(&query.repository, deadline) {
            Ok(session) => Box::pin(discover(&session, query)).await,
            Err(error) => discover(&Broken(error), query).await,
        }
    }

    async fn read(
        &self,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let read = async {
            let session = self.session(repository, deadline)?;
            part_of(&session, part).await
        };
        read.await.map_err(|error| error.failure(Subject::Image))
    }
}

/// A part of an image; what is read hashes to its digest.
async fn part_of(store: &impl Store, part: &Part) -> Result<Bytes, RegistryError> {
    match part {
        Part::Config(digest) => store.blob(digest).await,
        Part::Manifest(digest) => store.manifest(digest, MAX_DOCUMENT_BYTES).await,
    }
}

/// A digest that signatures can cover.
pub(crate) fn supported(digest: &Digest) -> Result<Digest, Failure> {
    match digest.algorithm() {
        Algorithm::Sha256 => Ok(digest.clone()),
        Algorithm::Sha512 => {
            let failure = Failure::new(Reason::ImageDigestUnsupported, digest);
            Err(failure.wanted("a sha256 digest"))
        }
    }
}

/// One question to one repository, on the registry and its mirrors.
struct Session {
    configured: Arc<Configured>,
    keychain: Arc<Keychain>,
    lasting: Arc<Lasting>,
    endpoints: Vec<Endpoint>,
    deadline: Instant,
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

    /// A GET with the credentials for this server. 404 is `Absent`, other refusals `Unsupported`.
    async fn get(
        &self,
        endpoint: &Endpoint,
        url: Url,
        accept: &'static str,
        cap: usize,
        deadline: Instant,
    ) -> Result<Answer, RegistryError> {
        let Lasting { authenticator, .. } = &*self.lasting;
        let transport = &self.configured.transport;
        let sources = self.keychain.sources(&endpoint.registry, &endpoint.path);
        let what = error::shown(&url);
        let call = Call { url, accept, authorization: None, form: None, cap, follow: true };
        // Boxed, as further down: a future of this depth would outgrow a thread's stack.
        let send = authenticator.send(transport, endpoint, &sources, call, deadline);
        let answer = Box::pin(send).await?;
        match answer.status {
            StatusCode::OK => Ok(answer),
            StatusCode::NOT_FOUND => Err(RegistryError::Absent { what }),
            status => Err(RegistryError::Unsupported { what, status: status.as_u16() }),
        }
    }

    /// The manifest of at most `cap` bytes under a tag or digest, with the digest of what came.
    async fn manifest_at(
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

/// Bytes that are not those of `expected` are refused.
fn check(what: &str, expected: &Digest, bytes: &[u8]) -> Result<(), RegistryError> {
    if expected.matches(bytes) {
        return Ok(());
    }
    Err(RegistryError::DigestMismatch {
        what: what.to_owned(),
        expected: expected.to_string(),
        actual: Digest::sha256_of(bytes).to_string(),
    })
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
}

/// OCI distribution specification, "Pulling manifests": the grammar of a tag.
fn is_tag(tag: &str) -> bool {
    let word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    let mut bytes = tag.bytes();
    tag.len() <= 128
        && bytes.next().is_some_and(word)
        && bytes.all(|b| word(b) || matches!(b, b'.' | b'-'))
}

/// A repository that cannot even be asked: every place fails with the same error.
struct Broken(RegistryError);

impl Store for Broken {
    async fn tag(&self, _: &str) -> Result<Option<(Digest, Bytes)>, RegistryError> {
        Err(self.0.clone())
    }

    async fn manifest(&self, _: &Digest, _: usize) -> Result<Bytes, RegistryError> {
        Err(self.0.clone())
    }

    async fn blob(&self, _: &Digest) -> Result<Bytes, RegistryError> {
        Err(self.0.clone())
    }

    async fn referrers(&self, _: &Digest) -> Listing {
        Listing { supported: true, descriptors: Vec::new(), problem: Some(self.0.clone()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_settings_that_no_image_would_use() {
        let options = |host: &str, mirror: &str| {
            let settings =
                HostOptions { mirrors: vec![mirror.to_owned()], ..HostOptions::default() };
            let hosts = [(host.to_owned(), settings)].into();
            RegistryOptions { hosts, ..RegistryOptions::default() }
        };
        let new = |host, mirror| Registry::new(options(host, mirror), Keychain::anonymous());
        assert!(new("registry.example:5000", "mirror.example/prefix").is_ok());
        for (host, mirror, field) in [
            ("https://a.example", "b.example", "hosts"),
            ("a.example/path", "b.example", "hosts"),
            ("", "b.example", "hosts"),
            ("a.example", "https://b.example", "hosts[a.example].mirrors"),
            ("a.example", "user@b.example", "hosts[a.example].mirrors"),
            ("a.example", "", "hosts[a.example].mirrors"),
        ] {
            assert_eq!(new(host, mirror).unwrap_err().field, field, "{host} {mirror}");
        }
    }
}
