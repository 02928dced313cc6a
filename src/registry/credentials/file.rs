//! Docker configuration files and the values of pull secrets.
use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::Credential;
use super::Entry;
use super::KeychainError;
use super::pattern::Pattern;
use super::pattern::Rules;

#[derive(Deserialize)]
pub(super) struct ConfigFile {
    pub(super) auths: Option<BTreeMap<String, AuthEntry>>,
    #[serde(rename = "credHelpers")]
    pub(super) cred_helpers: Option<BTreeMap<String, String>>,
    #[serde(rename = "credsStore")]
    pub(super) creds_store: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub(super) struct AuthEntry {
    auth: String,
    username: String,
    password: String,
    identitytoken: String,
    registrytoken: String,
}

/// Parses JSON of at most `most` bytes.
pub(super) fn parse<T: DeserializeOwned>(bytes: &[u8], most: usize) -> Result<T, KeychainError> {
    let problem = |problem: String| KeychainError { problem };
    if bytes.len() > most {
        return Err(problem(format!("found {} bytes, wanted at most {most}", bytes.len())));
    }
    // The parser's message may quote a secret; its position does not.
    serde_json::from_slice(bytes).map_err(|error| {
        let (line, column) = (error.line(), error.column());
        problem(format!("not a Docker configuration: line {line}, column {column}"))
    })
}

pub(super) fn entries(
    auths: BTreeMap<String, AuthEntry>,
    rules: Rules,
) -> Result<Vec<Entry>, KeychainError> {
    let mut entries = Vec::new();
    for (key, auth) in auths {
        if let Some(credential) = credential(&key, auth)? {
            let credential = Arc::new(credential);
            entries.push(Entry { pattern: Pattern::parse(&key, rules), credential });
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
pub(super) fn helper_name(name: String) -> Result<String, KeychainError> {
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.');
    if name.is_empty() || !name.bytes().all(plain) {
        let problem = "a credential helper's name holds more than letters, digits, `-`, `_`, `.`";
        return Err(KeychainError { problem: problem.to_owned() });
    }
    Ok(name)
}
