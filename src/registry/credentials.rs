//! Credentials: Docker configuration files and pull secrets, and which entry is for a repository.
//!
//! Hosts are compared whole, label by label: `gcr.io.evil` is not `gcr.io`.
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;

use crate::image::Repository;

use super::limits::MAX_CONFIG_BYTES;

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

/// The credentials of one user or tenant.
#[derive(Clone, Debug, Default)]
pub struct Keychain {
    entries: Vec<Entry>,
    helpers: BTreeMap<String, String>,
    store: Option<String>,
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
        let file = parse(bytes)?;
        let mut helpers = BTreeMap::new();
        for (key, name) in file.cred_helpers.unwrap_or_default() {
            helpers.insert(Pattern::parse(&key).host, helper_name(name)?);
        }
        let store =
            file.creds_store.filter(|name| !name.is_empty()).map(helper_name).transpose()?;
        Ok(Self { entries: entries(file.auths.unwrap_or_default(), false)?, helpers, store })
    }

    /// The value of `.dockerconfigjson` in a pull secret. Keys may hold `*` in the labels of the
    /// host and a path, as the kubelet reads them; helpers are ignored.
    ///
    /// # Errors
    /// When it is too large or not such a file.
    pub fn from_pull_secret(bytes: &[u8]) -> Result<Self, KeychainError> {
        let file = parse(bytes)?;
        let entries = entries(file.auths.unwrap_or_default(), true)?;
        Ok(Self { entries, ..Self::default() })
    }

    /// Adds another keychain's credentials behind these: of two entries that fit equally well,
    /// the first is used.
    pub fn extend(&mut self, other: Self) {
        let Self { entries, helpers, store } = other;
        self.entries.extend(entries);
        for (host, helper) in helpers {
            self.helpers.entry(host).or_insert(helper);
        }
        self.store = self.store.take().or(store);
    }

    /// Whether there is a credential for this repository. A `credsStore` counts.
    pub fn covers(&self, repository: &Repository) -> bool {
        self.source(repository.registry(), repository.path()).is_some()
    }

    /// The credential for a registry and a path: the host's own helper, else the entry with the
    /// longest path and, of these, with the most literal host, else the general helper.
    pub(super) fn source(&self, registry: &str, path: &str) -> Option<CredentialSource> {
        let server = || if registry == "docker.io" { DOCKER_HUB_KEY } else { registry }.to_owned();
        if let Some(name) = self.helpers.get(registry) {
            return Some(CredentialSource::Helper { name: name.clone(), server: server() });
        }
        let mut best: Option<&Entry> = None;
        for entry in self.entries.iter().filter(|entry| entry.pattern.matches(registry, path)) {
            if best.is_none_or(|best| entry.pattern.rank() > best.pattern.rank()) {
                best = Some(entry);
            }
        }
        if let Some(entry) = best {
            return Some(CredentialSource::Entry(entry.credential.clone()));
        }
        let name = self.store.clone()?;
        Some(CredentialSource::Helper { name, server: server() })
    }
}

/// Why a configuration cannot be used. It never quotes the file.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("registry credentials: {problem}")]
pub struct KeychainError {
    /// What is wrong, in one clause.
    pub problem: String,
}

#[derive(Clone, Debug)]
struct Entry {
    pattern: Pattern,
    credential: Arc<Credential>,
}

/// A key of `auths`, taken apart.
#[derive(Clone, Debug)]
struct Pattern {
    host: String,
    path: String,
    glob: bool,
}

impl Pattern {
    fn parse(key: &str) -> Self {
        let key = key.trim();
        let rest =
            key.strip_prefix("https://").or_else(|| key.strip_prefix("http://")).unwrap_or(key);
        let (host, path) = rest.split_once('/').unwrap_or((rest, ""));
        let host = host.to_ascii_lowercase();
        let host = host.strip_suffix(":443").unwrap_or(&host);
        let host = match host {
            "index.docker.io" | "registry-1.docker.io" => "docker.io",
            other => other,
        };
        let path = match path.trim_end_matches('/') {
            "v1" | "v2" => "",
            other => other,
        };
        Self { host: host.to_owned(), path: path.to_owned(), glob: false }
    }

    fn matches(&self, registry: &str, path: &str) -> bool {
        let host = if self.glob { glob_host(&self.host, registry) } else { self.host == registry };
        host && within(&self.path, path)
    }

    /// Longer paths first, then literal hosts before globs.
    fn rank(&self) -> (usize, bool) {
        (self.path.len(), !self.host.contains('*'))
    }
}

fn within(prefix: &str, path: &str) -> bool {
    match path.strip_prefix(prefix) {
        Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
        None => false,
    }
}

/// The kubelet's rule: as many labels on both sides, the same port, `*` within one label.
fn glob_host(pattern: &str, registry: &str) -> bool {
    let split = |host: &str| match host.rsplit_once(':') {
        Some((host, port)) => (host.to_owned(), port.to_owned()),
        None => (host.to_owned(), String::new()),
    };
    let ((pattern, pattern_port), (host, port)) = (split(pattern), split(registry));
    let (patterns, labels) = (pattern.split('.'), host.split('.'));
    pattern_port == port
        && patterns.clone().count() == labels.clone().count()
        && patterns.zip(labels).all(|(pattern, label)| glob_label(pattern, label))
}

/// Linear: a `*` takes as little as it can, and the last piece must end the label.
fn glob_label(pattern: &str, label: &str) -> bool {
    let Some((head, tail)) = pattern.split_once('*') else {
        return pattern == label;
    };
    let Some(mut rest) = label.strip_prefix(head) else {
        return false;
    };
    let (middle, last) = tail.rsplit_once('*').unwrap_or(("", tail));
    for piece in middle.split('*') {
        match rest.find(piece) {
            Some(at) => rest = rest.get(at + piece.len()..).unwrap_or_default(),
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[derive(Deserialize)]
struct ConfigFile {
    auths: Option<BTreeMap<String, AuthEntry>>,
    #[serde(rename = "credHelpers")]
    cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(rename = "credsStore")]
    creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct AuthEntry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

fn parse(bytes: &[u8]) -> Result<ConfigFile, KeychainError> {
    let problem = |problem: String| KeychainError { problem };
    if bytes.len() > MAX_CONFIG_BYTES {
        return Err(problem(format!("found {} bytes, wanted at most 1 MiB", bytes.len())));
    }
    // The parser's message may quote a secret; its position does not.
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        problem(format!("not a Docker configuration: line {line}, column {column}"))
    })
}

fn entries(auths: BTreeMap<String, AuthEntry>, glob: bool) -> Result<Vec<Entry>, KeychainError> {
    let mut entries = Vec::new();
    for (key, auth) in auths {
        if let Some(credential) = credential(&key, auth)? {
            let pattern = Pattern { glob, ..Pattern::parse(&key) };
            entries.push(Entry { pattern, credential: Arc::new(credential) });
        }
    }
    Ok(entries)
}

/// Docker's order: tokens before passwords; an entry without any is left by credential stores.
fn credential(key: &str, auth: AuthEntry) -> Result<Option<Credential>, KeychainError> {
    let AuthEntry { auth, username, password, identitytoken, registrytoken } = auth;
    if !registrytoken.is_empty() {
        return Ok(Some(Credential::RegistryToken(registrytoken)));
    }
    if !identitytoken.is_empty() {
        return Ok(Some(Credential::IdentityToken(identitytoken)));
    }
    if auth.is_empty() {
        let found = !username.is_empty() || !password.is_empty();
        return Ok(found.then(|| Credential::from_parts(username, password)));
    }
    let error = || KeychainError {
        problem: format!("auths[{key}].auth: wanted base64 of user name, colon and password"),
    };
    let decoded = STANDARD.decode(auth.trim()).map_err(|_| error())?;
    let decoded = String::from_utf8(decoded).map_err(|_| error())?;
    let (username, password) = decoded.split_once(':').ok_or_else(error)?;
    let password = password.trim_end_matches('\0').to_owned();
    Ok(Some(Credential::from_parts(username.to_owned(), password)))
}

/// A helper's name becomes part of a program's name: no path may hide in it.
fn helper_name(name: String) -> Result<String, KeychainError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        let problem = "a credential helper's name holds more than letters, digits, `-`, `_`, `.`";
        return Err(KeychainError { problem: problem.to_owned() });
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
