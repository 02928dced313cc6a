//! Evidence from OCI registries and layout folders.
//!
//! [`Registry`] is a read-only client of the OCI distribution specification, written for two
//! things that general clients leave out. It treats registries as hostile: every length, count
//! and wait is bounded ([`limits`]), no redirect or token service leads to addresses that are not
//! public ([`address`]), credentials never cross hosts, and bytes are hashed before they count.
//! And it treats them politely: tokens are shared, `Retry-After` is obeyed, requests are budgeted,
//! and a server that does not answer is left alone for a while ([`breaker`]).
use std::collections::BTreeSet;
use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::AtomicU32;
use std::time::Instant;

use arc_swap::ArcSwap;
use bytes::Bytes;
use tokio::sync::Semaphore;

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
mod apis;
mod auth;
pub mod breaker;
pub mod budget;
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
mod session;
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

use apis::Apis;
use auth::Authenticator;
use clients::Clients;
use clients::Factory;
use discover::Api;
use discover::Listing;
use discover::Store;
use discover::discover;
use endpoint::Endpoint;
use endpoint::mirrored;
use fingerprint::FingerprintKey;
use limits::MAX_MANIFEST_BYTES;
use manifest::parse_document;
use session::Session;
use transport::Transport;

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
    apis: Apis,
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
    /// Tokens are kept, connections and request budgets begin anew, as does what is known of servers. Reads the system's certificate
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
        let deadline = deadline.into();
        let began = tokio::time::Instant::now();
        let requests = AtomicU32::default();
        Ok(Session { configured, keychain, lasting, endpoints, began, requests, deadline })
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
            apis: Apis::new(),
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
        Listing { api: Api::Present, descriptors: Vec::new(), problem: Some(self.0.clone()) }
    }

    async fn expects_fallback(&self) -> bool {
        false
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Names that nobody answers for hold the places; no registry is left alone for it.
    #[tokio::test(start_paused = true)]
    async fn waiting_for_the_lookups_of_others_says_nothing_about_a_server() {
        let options = RegistryOptions::default();
        let client = Registry::new(options, Keychain::anonymous()).unwrap();
        let lookups = client.lasting.lookups.clone();
        let _others = lookups.try_acquire_many(limits::MAX_LOOKUPS as u32).unwrap();
        let image: ImageRef = "registry.example/team/app:v1".parse().unwrap();
        for _ in 0..=limits::UNREACHED {
            let deadline = tokio::time::Instant::now() + std::time::Duration::from_secs(60);
            let failure = client.resolve(&image, deadline.into_std()).await.unwrap_err();
            assert_eq!(failure.reason, Reason::Overloaded, "{failure:?}");
            assert!(failure.found.contains("other names are being looked up"), "{failure:?}");
        }
    }

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
