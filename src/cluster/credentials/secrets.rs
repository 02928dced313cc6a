//! Pull secrets and ServiceAccounts, read by name and kept for a short time.
use std::fmt;
use std::sync::Arc;
use std::time::Duration;
use std::time::Instant;

use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Api;
use kube::Client;
use moka::future::Cache;
use tokio::sync::Semaphore;

use crate::metrics::Lookup;
use crate::metrics::RegistryMetrics;
use crate::registry::Keychain;

/// How long what was read is used: the longest time for which a withdrawn secret still counts.
const LIFE: Duration = Duration::from_secs(60);

/// How long something that is not there, not permitted or malformed is not asked for again. Short,
/// since it is often put right within seconds: secrets and pods are applied together.
const NEGATIVE_LIFE: Duration = Duration::from_secs(5);

/// How long an API server that does not answer is left alone for one object.
const OUTAGE_LIFE: Duration = Duration::from_secs(1);

/// The least age at which something is read again because a registry refused it: a registry that
/// refuses everyone must not turn into a flood of requests to the API server.
const REREAD_AGE: Duration = Duration::from_secs(1);

/// Most time for one object.
const REQUEST_TIME: Duration = Duration::from_secs(3);

/// Objects that are read at a time; a pull secret takes up to a MiB on its way.
const MAX_READS: usize = 8;

/// Most bytes that secrets kept may take in memory; two thousand of ordinary size.
const MAX_BYTES: u64 = 16 << 20;

/// What every kept object counts for besides its content.
const OVERHEAD: usize = 1 << 10;

/// What a byte of a secret counts for: parsed, the shortest entries take about so much more.
const EXPANSION: usize = 8;

/// Most ServiceAccounts kept.
const MAX_ACCOUNTS: u64 = 4_096;

/// Longest name of an object (RFC 1123, as the API server reads it).
const MAX_NAME: usize = 253;

/// What kind of object is read.
#[derive(Clone, Copy, Debug, Eq, Hash, PartialEq)]
pub(super) enum Kind {
    PullSecret,
    ServiceAccount,
}

/// An object by its name.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) struct Key {
    kind: Kind,
    namespace: String,
    name: String,
}

impl Key {
    pub(super) fn new(kind: Kind, namespace: &str, name: &str) -> Self {
        Self { kind, namespace: namespace.to_owned(), name: name.to_owned() }
    }

    /// Whether it is a pull secret.
    pub(super) const fn is_secret(&self) -> bool {
        matches!(self.kind, Kind::PullSecret)
    }

    /// Whether both names can be those of an object; anything else could change the request's
    /// path.
    fn is_valid(&self) -> bool {
        is_subdomain(&self.namespace) && is_subdomain(&self.name)
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { kind, namespace, name } = self;
        let kind = match kind {
            Kind::PullSecret => "pull secret",
            Kind::ServiceAccount => "service account",
        };
        write!(f, "{kind} {namespace}/{name}")
    }
}

fn is_subdomain(name: &str) -> bool {
    let word = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
    name.len() <= MAX_NAME
        && name.split('.').all(|label| {
            label.bytes().all(|b| word(b) || b == b'-')
                && label.bytes().next().is_some_and(word)
                && label.bytes().last().is_some_and(word)
        })
}

/// Why an object gives no credentials. Says nothing of its content.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub(super) enum Unreadable {
    #[error("Tegata may not read it, grant `get`")]
    Forbidden,
    #[error("not a valid name")]
    InvalidName,
    #[error("not a Docker configuration of at most 64 KiB")]
    Malformed,
    #[error("not found")]
    NotFound,
    #[error("the API server {0}")]
    Unavailable(String),
    #[error("not of type kubernetes.io/dockerconfigjson or kubernetes.io/dockercfg")]
    WrongType,
}

/// What was read at one instant.
#[derive(Debug)]
pub(super) struct Read<T> {
    pub(super) content: Result<T, Unreadable>,
    at: Instant,
    /// `uid` and `resourceVersion`.
    version: String,
    bytes: usize,
}

impl<T> Read<T> {
    fn failed(why: Unreadable) -> Arc<Self> {
        let (at, version) = (Instant::now(), String::new());
        Arc::new(Self { content: Err(why), at, version, bytes: 0 })
    }

    /// The same for the same state of the object.
    pub(super) fn state(&self) -> Result<String, Unreadable> {
        self.content.as_ref().map(|_| self.version.clone()).map_err(Clone::clone)
    }
}

type Kept<T> = Cache<Key, Arc<Read<T>>>;

/// Reads objects by name. Clones share what was read.
#[derive(Clone)]
pub(super) struct PullSecrets {
    api: Client,
    metrics: RegistryMetrics,
    secrets: Kept<Keychain>,
    accounts: Kept<Vec<String>>,
    reads: Arc<Semaphore>,
}

impl fmt::Debug for PullSecrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PullSecrets").finish_non_exhaustive()
    }
}

impl PullSecrets {
    pub(super) fn new(api: Client, metrics: RegistryMetrics) -> Self {
        let weigh = |_: &Key, read: &Arc<Read<Keychain>>| {
            u32::try_from(EXPANSION * read.bytes + OVERHEAD).unwrap_or(u32::MAX)
        };
        let secrets = Cache::builder().max_capacity(MAX_BYTES).weigher(weigh);
        let accounts = Cache::builder().max_capacity(MAX_ACCOUNTS);
        Self {
            api,
            metrics,
            secrets: secrets.expire_after(Life).build(),
            accounts: accounts.expire_after(Life).build(),
            reads: Arc::new(Semaphore::new(MAX_READS)),
        }
    }

    /// The credentials of a pull secret.
    pub(super) async fn secret(&self, key: &Key, until: Instant) -> Arc<Read<Keychain>> {
        let load = async {
            let api: Api<Secret> = Api::namespaced(self.api.clone(), &key.namespace);
            let secret = self.bounded(api.get(&key.name)).await?;
            let version = version(&secret.metadata);
            let (content, bytes) = credentials(&secret);
            Ok((content, version, bytes))
        };
        self.read(&self.secrets, key, until, load).await
    }

    /// The names of a ServiceAccount's pull secrets.
    pub(super) async fn account(&self, key: &Key, until: Instant) -> Arc<Read<Vec<String>>> {
        let load = async {
            let api: Api<ServiceAccount> = Api::namespaced(self.api.clone(), &key.namespace);
            let account = self.bounded(api.get(&key.name)).await?;
            let version = version(&account.metadata);
            let named = account.image_pull_secrets.unwrap_or_default().into_iter();
            let names = named.map(|secret| secret.name).filter(|name| !name.is_empty());
            Ok((Ok(names.collect()), version, 0))
        };
        self.read(&self.accounts, key, until, load).await
    }

    /// Forgets those of `keys` that were read a while ago; whether there was any.
    pub(super) async fn forget(&self, keys: &[Key]) -> bool {
        let mut forgot = false;
        for key in keys {
            forgot |= match key.kind {
                Kind::PullSecret => forget(&self.secrets, key).await,
                Kind::ServiceAccount => forget(&self.accounts, key).await,
            };
        }
        forgot
    }

    /// What is kept, or else what `load` gives: once for all who ask for the same, in a time of
    /// its own, so that a caller with little time left does not fail those with more.
    async fn read<T: Send + Sync + 'static>(
        &self,
        kept: &Kept<T>,
        key: &Key,
        until: Instant,
        load: impl Future<Output = Result<(Result<T, Unreadable>, String, usize), Unreadable>>,
    ) -> Arc<Read<T>> {
        if !key.is_valid() {
            return Read::failed(Unreadable::InvalidName);
        }
        if let Some(read) = kept.get(key).await {
            self.metrics.pull_secret(Lookup::Hit);
            return read;
        }
        self.metrics.pull_secret(Lookup::Miss);
        let load = async {
            match load.await {
                Ok((content, version, bytes)) => {
                    Arc::new(Read { content, at: Instant::now(), version, bytes })
                }
                Err(why) => Read::failed(why),
            }
        };
        let shared = kept.get_with(key.clone(), load);
        match tokio::time::timeout_at(until.into(), shared).await {
            Ok(read) => read,
            Err(_) => Read::failed(late()),
        }
    }

    async fn bounded<T>(
        &self,
        get: impl Future<Output = Result<T, kube::Error>>,
    ) -> Result<T, Unreadable> {
        let turn = async {
            let _turn = self.reads.acquire().await;
            get.await
        };
        match tokio::time::timeout(REQUEST_TIME, turn).await {
            Ok(Ok(object)) => Ok(object),
            Ok(Err(error)) => Err(unreadable(&error)),
            Err(_) => Err(late()),
        }
    }
}

async fn forget<T: Send + Sync + 'static>(kept: &Kept<T>, key: &Key) -> bool {
    let old = kept.get(key).await.is_some_and(|read| read.at.elapsed() > REREAD_AGE);
    if old {
        kept.invalidate(key).await;
    }
    old
}

struct Life;

impl<T> moka::Expiry<Key, Arc<Read<T>>> for Life {
    fn expire_after_create(&self, _: &Key, read: &Arc<Read<T>>, _: Instant) -> Option<Duration> {
        Some(match read.content {
            Ok(_) => LIFE,
            Err(Unreadable::Unavailable(_)) => OUTAGE_LIFE,
            Err(_) => NEGATIVE_LIFE,
        })
    }
}

fn late() -> Unreadable {
    Unreadable::Unavailable("did not answer in time".to_owned())
}

/// The error's own text is left out: it may quote what was read.
fn unreadable(error: &kube::Error) -> Unreadable {
    let kube::Error::Api(status) = error else {
        return Unreadable::Unavailable("cannot be reached".to_owned());
    };
    match status.code {
        403 => Unreadable::Forbidden,
        404 => Unreadable::NotFound,
        code => Unreadable::Unavailable(format!("answered with status {code}")),
    }
}

fn version(metadata: &kube::api::ObjectMeta) -> String {
    let text = |field: &Option<String>| field.clone().unwrap_or_default();
    format!("{}/{}", text(&metadata.uid), text(&metadata.resource_version))
}

/// What the kubelet takes from a secret: nothing but the one key of its type.
fn credentials(secret: &Secret) -> (Result<Keychain, Unreadable>, usize) {
    let value = |key: &str| secret.data.as_ref().and_then(|data| data.get(key));
    let parse: fn(&[u8]) -> _;
    let value = match secret.type_.as_deref() {
        Some("kubernetes.io/dockerconfigjson") => {
            parse = Keychain::from_pull_secret;
            value(".dockerconfigjson")
        }
        Some("kubernetes.io/dockercfg") => {
            parse = Keychain::from_legacy_pull_secret;
            value(".dockercfg")
        }
        Some(_) | None => return (Err(Unreadable::WrongType), 0),
    };
    let bytes = value.map(|value| value.0.as_slice()).unwrap_or_default();
    match parse(bytes) {
        Ok(keychain) => (Ok(keychain), bytes.len()),
        Err(_) => (Err(Unreadable::Malformed), 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_names_that_are_no_object() {
        for (name, expected) in [
            ("regcred", true),
            ("a.b-c.1", true),
            ("", false),
            ("..", false),
            ("a/b", false),
            ("a%2fb", false),
            ("../../secrets", false),
            ("A", false),
            ("a_b", false),
            ("-a", false),
            ("a-", false),
            ("a?watch=true", false),
            ("a\nb", false),
        ] {
            assert_eq!(is_subdomain(name), expected, "{name:?}");
        }
        assert!(is_subdomain(&"a".repeat(MAX_NAME)));
        assert!(!is_subdomain(&"a".repeat(MAX_NAME + 1)));
    }
}
