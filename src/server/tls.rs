//! The serving certificate: from files, re-read when they change, or made by ourselves, in memory
//! or in a Secret that [`crate::cluster::serving`] keeps.
//!
//! A new certificate is for new connections: those that are open go on with the one that they began
//! with, so that no request is lost.
use std::fmt;
use std::io;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use axum_server::tls_rustls::RustlsConfig;
use jiff::Timestamp;
use rustls::ServerConfig;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::PrivateKeyDer;
use rustls::pki_types::pem::PemObject;
use sha2::Digest as _;
use sha2::Sha256;
use tokio::sync::watch;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;

use crate::metrics::Metrics;
use crate::metrics::Reload;

pub(crate) mod issue;
mod self_signed;

pub use self_signed::SelfSigned;

/// How often the files are compared with what is served. A kubelet brings a changed Secret within
/// a minute or so; five seconds add little to that and cost two small reads.
pub const POLL: Duration = Duration::from_secs(5);

/// Most bytes of a certificate or key file: a Kubernetes Secret holds at most 1 MiB.
const MAX_PEM: u64 = 1 << 20;

/// Where the serving certificate comes from.
#[derive(Debug)]
pub enum Source {
    /// PEM files: the chain with the leaf first, and the key of the leaf.
    Files {
        /// The chain.
        certificate: PathBuf,
        /// The key, as PKCS#8, PKCS#1 or SEC1.
        key: PathBuf,
    },
    /// Whatever was sent last. Each new pair is served at once.
    Managed(watch::Receiver<Served>),
    /// Our own authority in memory.
    SelfSigned(Box<SelfSigned>),
}

/// A certificate with its key, ready to serve.
#[derive(Clone)]
pub struct Served {
    config: Arc<ServerConfig>,
    fingerprint: [u8; 32],
    expires: Timestamp,
}

impl Served {
    /// The chain, with the leaf first, and the key of the leaf, as PEM.
    ///
    /// # Errors
    /// When there are no such things, or they do not belong together.
    pub fn from_pem(chain: &[u8], key: &[u8]) -> Result<Self, PairError> {
        served(chain, key)
    }

    /// Whether this is the same chain and key, to the byte.
    pub fn same_as(&self, other: &Self) -> bool {
        self.fingerprint == other.fingerprint
    }

    /// When the leaf expires.
    pub const fn expires(&self) -> Timestamp {
        self.expires
    }

    /// For the acceptor; later pairs are put in with [`watch()`].
    pub fn acceptor_config(&self) -> RustlsConfig {
        RustlsConfig::from_config(Arc::clone(&self.config))
    }
}

impl fmt::Debug for Served {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Served").field("expires", &self.expires).finish_non_exhaustive()
    }
}

impl Source {
    /// The pair as it is now: read from the files, sent last, or issued at `now`.
    ///
    /// # Errors
    /// When the files cannot be read, hold no such thing, or do not belong together.
    pub async fn load(&self, now: Timestamp) -> Result<Served, TlsError> {
        match self {
            Self::Files { certificate, key } => {
                let (chain, secret) = (read(certificate).await?, read(key).await?);
                let problem = |problem| TlsError::Pair {
                    certificate: certificate.clone(),
                    key: key.clone(),
                    problem,
                };
                served(&chain, &secret).map_err(problem)
            }
            Self::Managed(pairs) => Ok(pairs.borrow().clone()),
            Self::SelfSigned(authority) => {
                let (chain, secret) = authority.issue(now).map_err(TlsError::Issue)?;
                served(chain.as_bytes(), secret.as_bytes())
                    .map_err(|problem| TlsError::Issue(problem.to_string()))
            }
        }
    }

    /// Waits until it is time to look: for whatever is sent, and every `poll` for the rest.
    async fn pause(&mut self, poll: Duration) {
        match self {
            Self::Files { .. } | Self::SelfSigned(_) => tokio::time::sleep(poll).await,
            Self::Managed(pairs) => {
                if pairs.changed().await.is_err() {
                    // Nothing will be sent any more: what ended says so itself.
                    std::future::pending::<()>().await;
                }
            }
        }
    }

    /// Whether `current` is to be replaced: the files changed, another pair was sent, or our own
    /// leaf nears its end.
    async fn stale(&self, seen: &[u8; 32], current: &Served, now: Timestamp) -> Staleness {
        match self {
            Self::Files { certificate, key } => {
                let found = match (read(certificate).await, read(key).await) {
                    (Ok(chain), Ok(secret)) => fingerprint(&chain, &secret),
                    (Err(error), _) | (_, Err(error)) => {
                        fingerprint(error.to_string().as_bytes(), b"")
                    }
                };
                if found == *seen { Staleness::Current } else { Staleness::Changed(found) }
            }
            Self::Managed(pairs) => {
                let found = pairs.borrow().fingerprint;
                if found == *seen { Staleness::Current } else { Staleness::Changed(found) }
            }
            Self::SelfSigned(_) if SelfSigned::renewal_due(current.expires, now) => {
                Staleness::Changed(*seen)
            }
            Self::SelfSigned(_) => Staleness::Current,
        }
    }
}

enum Staleness {
    Current,
    Changed([u8; 32]),
}

/// Replaces what `acceptor` serves whenever the source has something new, looking every `poll`
/// where it is not told.
/// A pair that cannot be used is reported and the one before it kept. Never returns.
pub async fn watch(
    mut source: Source,
    mut current: Served,
    acceptor: RustlsConfig,
    metrics: Metrics,
    poll: Duration,
) {
    metrics.certificate_expiry(current.expires);
    let mut seen = current.fingerprint;
    loop {
        source.pause(poll).await;
        let now = super::now();
        let Staleness::Changed(found) = source.stale(&seen, &current, now).await else {
            continue;
        };
        match source.load(now).await {
            Ok(served) => {
                acceptor.reload_from_config(Arc::clone(&served.config));
                metrics.certificate_expiry(served.expires);
                tracing::info!(expires = %served.expires, "Serving a new certificate");
                (seen, current) = (served.fingerprint, served);
            }
            Err(error) => {
                seen = found;
                metrics.reload_failed(Reload::Certificate);
                let expires = current.expires;
                tracing::error!(%error, %expires, "Keeping the certificate as it was");
            }
        }
    }
}

async fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    use tokio::io::AsyncReadExt as _;
    let error = |source| TlsError::Read { path: path.to_owned(), source };
    let file = tokio::fs::File::open(path).await.map_err(error)?;
    let mut bytes = Vec::new();
    let read = file.take(MAX_PEM + 1).read_to_end(&mut bytes).await.map_err(error)?;
    if read as u64 > MAX_PEM {
        return Err(error(io::Error::other(format!("more than {MAX_PEM} bytes"))));
    }
    Ok(bytes)
}

fn fingerprint(chain: &[u8], key: &[u8]) -> [u8; 32] {
    let mut hash = Sha256::new();
    hash.update((chain.len() as u64).to_be_bytes());
    hash.update(chain);
    hash.update(key);
    hash.finalize().into()
}

fn served(chain: &[u8], key: &[u8]) -> Result<Served, PairError> {
    let fingerprint = fingerprint(chain, key);
    let chain = CertificateDer::pem_slice_iter(chain)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| PairError::Certificate)?;
    let leaf = chain.first().ok_or(PairError::Certificate)?;
    let expires = expiry(leaf).ok_or(PairError::Certificate)?;
    // The cause is left out: what fails to parse may be quoted in it.
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| PairError::Key)?;
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
        .map_err(PairError::Rustls)?
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .map_err(PairError::Rustls)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(Served { config: Arc::new(config), fingerprint, expires })
}

fn expiry(leaf: &CertificateDer<'_>) -> Option<Timestamp> {
    timestamp(Certificate::from_der(leaf).ok()?.tbs_certificate.validity.not_after)
}

/// A certificate's time.
pub(crate) fn timestamp(time: x509_cert::time::Time) -> Option<Timestamp> {
    let since_epoch = i64::try_from(time.to_unix_duration().as_secs()).ok()?;
    Timestamp::from_second(since_epoch).ok()
}

/// Why there is no certificate to serve. Never holds anything of the key.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// The authority's certificate cannot be written for the clients.
    #[error("cannot write the authority's certificate to {}", path.display())]
    Export {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// Our own pair could not be made.
    #[error("cannot issue a serving certificate: {0}")]
    Issue(String),
    /// The files are no pair that can be served.
    #[error("cannot serve {} with the key {}", certificate.display(), key.display())]
    Pair {
        /// The chain's file.
        certificate: PathBuf,
        /// The key's file.
        key: PathBuf,
        /// What is wrong.
        #[source]
        problem: PairError,
    },
    /// A file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

/// What is wrong with a certificate and its key.
#[derive(Debug, thiserror::Error)]
pub enum PairError {
    /// There is no certificate in the text.
    #[error("found no certificate that can be read: wanted PEM with the leaf first")]
    Certificate,
    /// There is no key in the text.
    #[error("found no private key that can be read: wanted PEM without a password")]
    Key,
    /// The two do not belong together, or are of a kind that TLS does not take.
    #[error("the certificate and the key cannot be used together")]
    Rustls(#[source] rustls::Error),
}

#[cfg(test)]
mod tests;
