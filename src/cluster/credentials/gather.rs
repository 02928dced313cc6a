//! What a tenant's secrets give, and what of it could not be had.
use std::fmt;
use std::time::Instant;

use futures::future::join_all;

use super::secrets::Key;
use super::secrets::Kind;
use super::secrets::PullSecrets;
use super::secrets::Unreadable;
use crate::evidence::Tenant;
use crate::fingerprint::Fingerprint;
use crate::fingerprint::Parts;
use crate::registry::Keychain;

/// Most pull secrets of one pod, and of one ServiceAccount, that are used. Each costs a request to
/// the API server; in the field they have one or two.
const MAX_PULL_SECRETS: usize = 16;

/// A tenant's credentials at one instant.
#[derive(Debug, Default)]
pub(super) struct Gathered {
    /// The pod's, then its ServiceAccount's.
    pub(super) keychain: Keychain,
    /// What could not be read.
    pub(super) unread: Vec<Unread>,
    /// What was read, or tried.
    pub(super) read: Vec<Key>,
    /// What state each of these was in; the same where nothing has changed.
    pub(super) versions: Vec<Result<String, Unreadable>>,
}

/// An object that could not be read, and why. Its text is for people and holds nothing of it.
#[derive(Debug)]
pub(super) struct Unread {
    key: Key,
    why: Unreadable,
}

impl Unread {
    /// Whether the API server is to blame, and not the object or a permission.
    pub(super) const fn is_outage(&self) -> bool {
        matches!(self.why, Unreadable::Unavailable(_))
    }
}

impl fmt::Display for Unread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { key, why } = self;
        write!(f, "{key}: {why}")
    }
}

/// Reads the tenant's secrets, by `until`.
pub(super) async fn gather(secrets: &PullSecrets, tenant: &Tenant, until: Instant) -> Gathered {
    let Tenant { namespace, service_account, pull_secrets } = tenant;
    let named = || pull_secrets.iter().take(MAX_PULL_SECRETS);
    let (of_pod, of_account) =
        tokio::join!(group(secrets, namespace, named().cloned().collect(), until), async {
            let key = Key::new(Kind::ServiceAccount, namespace, service_account);
            let account = secrets.account(&key, until).await;
            let names = account.content.as_deref().unwrap_or_default().iter();
            let more = names.filter(|name| !named().any(|own| own == *name));
            let names = more.take(MAX_PULL_SECRETS).cloned().collect();
            let mut found = group(secrets, namespace, names, until).await;
            found.note(key, account.state());
            found
        },);
    let mut all = of_pod;
    let Gathered { keychain, unread, read, versions } = of_account;
    all.keychain.then(keychain);
    all.unread.extend(unread);
    all.read.extend(read);
    all.versions.extend(versions);
    all
}

/// Secrets that the kubelet would join.
async fn group(
    secrets: &PullSecrets,
    namespace: &str,
    names: Vec<String>,
    until: Instant,
) -> Gathered {
    let read = names.iter().map(|name| async move {
        let key = Key::new(Kind::PullSecret, namespace, name);
        let secret = secrets.secret(&key, until).await;
        (key, secret)
    });
    let mut found = Gathered::default();
    for (key, secret) in join_all(read).await {
        if let Ok(keychain) = &secret.content {
            found.keychain.extend(keychain.clone());
        }
        found.note(key, secret.state());
    }
    found
}

impl Gathered {
    /// A hash of which secrets were read, by what stays as it is when their content is renewed.
    pub(super) fn names(&self) -> Fingerprint {
        let read = self.read.iter().zip(&self.versions);
        let names = read.filter(|(key, _)| key.is_secret()).filter_map(|(key, version)| {
            let uid = version.as_ref().ok()?.split('/').next()?;
            Some(format!("{key} {uid}"))
        });
        names.fold(Parts::of("pull secrets"), Parts::part).finish()
    }

    fn note(&mut self, key: Key, state: Result<String, Unreadable>) {
        if let Err(why) = &state {
            self.unread.push(Unread { key: key.clone(), why: why.clone() });
        }
        self.read.push(key);
        self.versions.push(state);
    }
}
