//! Where the shared tier is, and how long it is waited for.
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

/// The shortest time to wait for an answer: shorter than a round trip, it would never be met.
pub const MIN_TIME: Duration = Duration::from_millis(5);

/// The longest time to wait for an answer: a registry takes less.
pub const MAX_TIME: Duration = Duration::from_secs(1);

/// The longest life of a record.
const MAX_LIFE: Duration = Duration::from_secs(90 * 24 * 60 * 60);

/// Longest prefix of keys, in bytes.
const MAX_PREFIX_BYTES: usize = 64;

const DEFAULT_PORT: u16 = 6379;

/// Most databases of a server that may be named; servers have sixteen where nothing else is set.
const MAX_DATABASE: u16 = 1_023;

/// Where the shared tier is, and how it is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct SharedOptions {
    /// `redis://[user@]host[:port][/database]`, or `rediss://` for TLS. Without a password, which
    /// would be seen by whoever may list processes.
    pub url: String,
    /// What every key begins with, so that several installations can share a server.
    pub prefix: String,
    /// How long an answer is waited for; between [`MIN_TIME`] and [`MAX_TIME`].
    pub time: Duration,
    /// How long the server keeps a record.
    pub life: Duration,
    /// File with the password. Read for each connection, so that it can be changed.
    pub password: Option<PathBuf>,
    /// Certificates, in PEM, of the authorities that may vouch for the server; none for those that
    /// the system trusts.
    pub ca_pem: Option<String>,
}

impl Default for SharedOptions {
    fn default() -> Self {
        Self {
            url: "redis://localhost:6379".to_owned(),
            prefix: "tegata:".to_owned(),
            time: Duration::from_millis(100),
            life: Duration::from_secs(24 * 60 * 60),
            password: None,
            ca_pem: None,
        }
    }
}

/// Why options cannot be used. Does not quote the address: somebody may have put a password there.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{field}: found {found}, wanted {wanted}")]
pub struct SharedError {
    /// The option.
    pub field: &'static str,
    /// What was found.
    pub found: String,
    /// What was wanted.
    pub wanted: &'static str,
}

impl SharedError {
    pub(super) fn new(field: &'static str, found: impl fmt::Display, wanted: &'static str) -> Self {
        Self { field, found: found.to_string(), wanted }
    }
}

impl SharedOptions {
    /// Whether all but the address and the certificates can be used.
    pub(super) fn check(&self) -> Result<(), SharedError> {
        let Self { url: _, prefix, time, life, password: _, ca_pem: _ } = self;
        if !(MIN_TIME..=MAX_TIME).contains(time) {
            return Err(SharedError::new("time", format_args!("{time:?}"), "5ms to 1s"));
        }
        if !(Duration::from_secs(1)..=MAX_LIFE).contains(life) {
            return Err(SharedError::new("life", format_args!("{life:?}"), "1s to 90 days"));
        }
        if prefix.len() > MAX_PREFIX_BYTES {
            let found = format_args!("{} bytes", prefix.len());
            return Err(SharedError::new("prefix", found, "at most 64 bytes"));
        }
        if !prefix.bytes().all(|byte| byte.is_ascii_graphic()) {
            let found = format_args!("{prefix:?}");
            return Err(SharedError::new("prefix", found, "visible ASCII characters"));
        }
        Ok(())
    }
}

/// A server's address, parsed.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Address {
    pub(super) tls: bool,
    /// An IPv6 address without brackets.
    pub(super) host: String,
    pub(super) port: u16,
    pub(super) database: u16,
    pub(super) user: Option<String>,
}

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, SharedError> {
        const FORM: &str = "redis://[user@]host[:port][/database], or rediss:// for TLS";
        let error = |found: &str| SharedError::new("url", found, FORM);
        let url = Url::parse(text).map_err(|problem| error(&problem.to_string()))?;
        let tls = match url.scheme() {
            "redis" => false,
            "rediss" => true,
            _ => return Err(error("another scheme")),
        };
        if url.password().is_some() {
            let wanted = "none there, but in a file that is named";
            return Err(SharedError::new("url", "a password", wanted));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(error("a query or a fragment"));
        }
        let host = url.host_str().filter(|host| !host.is_empty());
        let host = host.ok_or_else(|| error("no host"))?.trim_matches(['[', ']']).to_owned();
        let port = url.port().unwrap_or(DEFAULT_PORT);
        if port == 0 {
            return Err(error("port 0"));
        }
        let database = match url.path().trim_start_matches('/') {
            "" => 0,
            path => path
                .parse()
                .ok()
                .filter(|number| *number <= MAX_DATABASE)
                .ok_or_else(|| error("a path that is no database's number"))?,
        };
        let user = url.username();
        if user.contains('%') {
            return Err(error("a user name with escaped characters"));
        }
        let user = (!user.is_empty()).then(|| user.to_owned());
        Ok(Self { tls, host, port, database, user })
    }
}
