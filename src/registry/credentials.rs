//! Credentials: Docker configuration files and pull secrets, and which entries are for a
//! repository.
use std::cmp::Reverse;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use crate::image::Repository;

use super::limits::MAX_CONFIG_BYTES;
use super::limits::MAX_CREDENTIALS;
use super::limits::MAX_PULL_SECRET_BYTES;

mod file;
mod pattern;

use file::AuthEntry;
use file::ConfigFile;
use file::entries;
use file::helper_name;
use file::parse;
use pattern::Pattern;
use pattern::Rules;

/// Docker Hub's key in configuration files and for credential helpers.
const DOCKER_HUB_KEY: &str = "https://index.docker.io/v1/";

/// User name by which a helper says that the secret is an identity token.
const IDENTITY_TOKEN_USER: &str = "<token>";

/// Who we are at a registry. `Debug` shows no secret.
#[derive(Clone, Eq, Hash, PartialEq)]
pub enum Credential {
    /// User name and password.
    Basic {
        /// The user name.
        username: String,
        /// The password.
        password: String,
    },
    /// A refresh token, to be exchanged at the token service.
    IdentityToken(String),
    /// A token for the registry itself.
    RegistryToken(String),
}

impl Credential {
    /// A user name and a secret as helpers and files give them.
    pub(super) fn from_parts(username: String, password: String) -> Self {
        if username == IDENTITY_TOKEN_USER {
            return Self::IdentityToken(password);
        }
        Self::Basic { username, password }
    }
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Basic { .. } => "Basic(…)",
            Self::IdentityToken(_) => "IdentityToken(…)",
            Self::RegistryToken(_) => "RegistryToken(…)",
        })
    }
}

/// Where the credential for a repository comes from.
#[derive(Clone, Debug, Eq, Hash, PartialEq)]
pub(super) enum CredentialSource {
    /// The file holds it.
    Entry(Arc<Credential>),
    /// The program `docker-credential-<name>` has it, under this server address.
    Helper { name: String, server: String },
}

/// The credentials of one user or tenant: groups that are tried one after the other.
///
/// Within a group the order is the kubelet's: by the key, backwards, so that longer paths come
/// first; of equal keys that of the file added first.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    groups: Vec<Vec<Arc<File>>>,
}

/// What one file holds.
#[derive(Debug, Default)]
struct File {
    entries: Vec<Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
}

#[derive(Debug)]
struct Entry {
    pattern: Pattern,
    credential: Arc<Credential>,
}

impl Keychain {
    /// No credentials.
    pub fn anonymous() -> Self {
        Self::default()
    }

    /// A Docker `config.json`: `auths`, `credHelpers`, `credsStore`. Hosts match exactly; a key
    /// may add a path, as in containers' `auth.json`.
    ///
    /// # Errors
    /// When it is too large, not such a file, or names a helper that is not a plain file name.
    pub fn from_docker_config(bytes: &[u8]) -> Result<Self, KeychainError> {
        let ConfigFile { auths, cred_helpers, creds_store } = parse(bytes, MAX_CONFIG_BYTES)?;
        let mut helpers = BTreeMap::new();
        for (key, name) in cred_helpers.unwrap_or_default() {
            let host = Pattern::parse(&key, Rules::Docker).host().to_owned();
            helpers.insert(host, helper_name(name)?);
        }
        let store = creds_store.filter(|name| !name.is_empty()).map(helper_name).transpose()?;
        let entries = entries(auths.unwrap_or_default(), Rules::Docker)?;
        Ok(Self::of(File { entries, helpers, store }))
    }

    /// The value of `.dockerconfigjson` in a pull secret. Keys may hold `*` in the labels of the
    /// host and a path, as the kubelet reads them; helpers are ignored.
    ///
    /// # Errors
    /// When it is too large or not such a file.
    pub fn from_pull_secret(bytes: &[u8]) -> Result<Self, KeychainError> {
        let ConfigFile { auths, .. } = parse(bytes, MAX_PULL_SECRET_BYTES)?;
        let entries = entries(auths.unwrap_or_default(), Rules::Kubelet)?;
        Ok(Self::of(File { entries, ..File::default() }))
    }

    /// The value of `.dockercfg` in a pull secret of the older kind: what the newer one holds
    /// under `auths`.
    ///
    /// # Errors
    /// As [`Self::from_pull_secret`].
    pub fn from_legacy_pull_secret(bytes: &[u8]) -> Result<Self, KeychainError> {
        let auths: BTreeMap<String, AuthEntry> = parse(bytes, MAX_PULL_SECRET_BYTES)?;
        let entries = entries(auths, Rules::Kubelet)?;
        Ok(Self::of(File { entries, ..File::default() }))
    }

    fn of(file: File) -> Self {
        Self { groups: vec![vec![Arc::new(file)]] }
    }

    /// Adds another keychain's credentials to the last group of these, as the kubelet joins pull
    /// secrets: the more specific key comes first, whichever keychain holds it.
    pub fn extend(&mut self, other: Self) {
        let files = other.groups.into_iter().flatten();
        match self.groups.last_mut() {
            Some(last) => last.extend(files),
            None => self.groups.push(files.collect()),
        }
    }

    /// Adds another keychain's credentials behind all of these.
    pub fn then(&mut self, other: Self) {
        self.groups.extend(other.groups);
    }

    /// Whether there is a credential for this repository. A `credsStore` counts.
    pub fn covers(&self, repository: &Repository) -> bool {
        !self.sources(repository.registry(), repository.path()).is_empty()
    }

    /// The credentials for a registry and a path, in the order in which they are tried: each once,
    /// at most [`MAX_CREDENTIALS`].
    pub(super) fn sources(&self, registry: &str, path: &str) -> Vec<CredentialSource> {
        let mut found: Vec<CredentialSource> = Vec::new();
        for group in &self.groups {
            for source in group_sources(group, registry, path) {
                if found.len() < MAX_CREDENTIALS && !found.contains(&source) {
                    found.push(source);
                }
            }
        }
        found
    }
}

/// The host's own helper; else the entries that fit; else the general helper.
fn group_sources(group: &[Arc<File>], registry: &str, path: &str) -> Vec<CredentialSource> {
    let helper = |name: &String| {
        let server = if registry == "docker.io" { DOCKER_HUB_KEY } else { registry }.to_owned();
        vec![CredentialSource::Helper { name: name.clone(), server }]
    };
    if let Some(name) = group.iter().find_map(|file| file.helpers.get(registry)) {
        return helper(name);
    }
    let mut fitting: Vec<&Entry> = group
        .iter()
        .flat_map(|file| &file.entries)
        .filter(|entry| entry.pattern.matches(registry, path))
        .collect();
    fitting.sort_by_key(|entry| Reverse(entry.pattern.rank()));
    if fitting.is_empty() {
        return group.iter().find_map(|file| file.store.as_ref()).map(helper).unwrap_or_default();
    }
    fitting.into_iter().map(|entry| CredentialSource::Entry(entry.credential.clone())).collect()
}

/// Why a configuration cannot be used. It never quotes a secret of the file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("registry credentials: {problem}")]
pub struct KeychainError {
    /// What is wrong, in one clause.
    pub problem: String,
}

#[cfg(test)]
mod tests;
