//! Who asks a registry, with whose credentials, and who else may be told the answer.
use std::hash::Hash;
use std::hash::Hasher;

/// On whose behalf a registry is asked: whose credentials may be used.
#[derive(Clone, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Tenant {
    /// The namespace of the pod; empty for none, and then there are no credentials of a tenant.
    pub namespace: String,
    /// The pod's ServiceAccount; `default` where the pod names none.
    pub service_account: String,
    /// Names of the pod's image pull secrets, in its order.
    pub pull_secrets: Vec<String>,
}

/// Whose credentials may be used besides the tenant's.
#[derive(Clone, Copy, Debug, Default, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum OwnCredentials {
    /// Nobody's: the place was named by the tenant, who must not reach through Tegata what their
    /// own credentials do not open.
    Withheld,
    /// Tegata's, after the tenant's.
    #[default]
    Used,
}

/// Who may be told what a registry answered: whoever could have asked with the same success. Two are
/// the same where the same credentials count, whichever secrets they are from.
#[derive(Clone, Debug, Eq)]
pub enum Scope {
    /// Everybody: no credential of a tenant was there to show. Tegata's own counted, or did not.
    Own(OwnCredentials),
    /// Only those with the same credentials.
    Tenant {
        /// A keyed hash of the credentials, which means nothing to another process.
        credentials: [u8; 32],
        /// A hash of the names of the secrets that they are from, for what outlives the process: it stays
        /// as it is when the content of a secret is renewed.
        secrets: [u8; 32],
        /// Whether Tegata's own counted besides.
        own: OwnCredentials,
    },
}

impl Scope {
    const fn counts(&self) -> (Option<&[u8; 32]>, OwnCredentials) {
        match self {
            Self::Own(own) => (None, *own),
            Self::Tenant { credentials, secrets: _, own } => (Some(credentials), *own),
        }
    }
}

impl PartialEq for Scope {
    fn eq(&self, other: &Self) -> bool {
        self.counts() == other.counts()
    }
}

impl Hash for Scope {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.counts().hash(state);
    }
}
