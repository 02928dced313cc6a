//! Settings of the registry client.
use std::collections::BTreeMap;
use std::num::NonZeroU16;
use std::time::Duration;

use serde::Deserialize;
use serde::Deserializer;
use serde::de::Error as _;

use super::limits::DEFAULT_REQUEST_TIMEOUT;

/// Settings for all registries. The default suits public ones: HTTPS, no mirrors, no redirects
/// to private addresses.
#[derive(Clone, Debug, Deserialize)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct RegistryOptions {
    /// Hosts, with a port where it is not 443, that are spoken to over plain HTTP.
    pub allow_http: Vec<String>,
    /// Certificate authorities, PEM, trusted for every host in addition to the system's.
    pub ca_pem: Option<String>,
    /// Settings by host, with a port where it is not 443, for example `docker.io` or
    /// `registry.example:5000`. Mirrors have entries of their own.
    pub hosts: BTreeMap<String, HostOptions>,
    /// Proxies on the way to registries; none where this is left out, whatever the environment
    /// says.
    pub proxy: ProxyOptions,
    /// Time for one request with its answer, for example `5s`.
    #[serde(deserialize_with = "duration")]
    pub request_timeout: Duration,
    /// The `User-Agent` that registries see.
    pub user_agent: String,
}

impl Default for RegistryOptions {
    fn default() -> Self {
        Self {
            allow_http: Vec::new(),
            ca_pem: None,
            proxy: ProxyOptions::default(),
            hosts: BTreeMap::new(),
            request_timeout: DEFAULT_REQUEST_TIMEOUT,
            user_agent: concat!("tegata/", env!("CARGO_PKG_VERSION")).to_owned(),
        }
    }
}

/// Settings for one registry host.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct HostOptions {
    /// Whether the registry itself, its redirects and its token service may lie at link-local
    /// addresses, where cloud providers keep instance credentials.
    pub allow_link_local: bool,
    /// Whether redirects and the token service may lead to loopback and private addresses. The
    /// registry itself always may lie there.
    pub allow_private: bool,
    /// Further hosts, with a port where it is not 443, whose token service may see the
    /// credentials.
    pub auth_realms: Vec<String>,
    /// Certificate authorities, PEM, trusted in addition to the system's and to those for every
    /// host.
    pub ca_pem: Option<String>,
    /// Most requests under way at this host at a time, redirects and token requests to itself
    /// included; [`super::limits::MAX_CONCURRENT_REQUESTS`] where left out. Each other registry
    /// that leads here has as many of its own, and at most
    /// [`super::limits::MAX_FOREIGN_REQUESTS`]. What finds no turn within its time is
    /// indeterminate.
    pub max_concurrent: Option<NonZeroU16>,
    /// Registries asked first, in order: `host[:port][/path]`, the path put before the
    /// repository. What they do not have is asked of the host itself.
    pub mirrors: Vec<String>,
    /// Whether this host is spoken to over plain HTTP.
    pub plain_http: bool,
    /// Most requests sent to this host in a second; no limit where left out. A second's worth may
    /// go at once; what comes later waits within its time, or is indeterminate.
    pub requests_per_second: Option<NonZeroU16>,
}

/// Proxies, as the usual environment variables name them.
///
/// A proxy looks up names itself: behind one, only addresses that are written as numbers can be
/// kept from being private, and the proxy must keep names from leading to such addresses.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(default, deny_unknown_fields, rename_all = "camelCase")]
pub struct ProxyOptions {
    /// The proxy for registries over HTTPS, for example `http://proxy.example:3128`. It may hold
    /// no user name and no password: settings are no secret.
    pub https: Option<String>,
    /// The proxy for registries over plain HTTP.
    pub http: Option<String>,
    /// Hosts that are reached without a proxy: names with all below them, addresses, or networks
    /// such as `10.0.0.0/8`. Their names are looked up and checked as without a proxy.
    pub no_proxy: Vec<String>,
}

/// Why settings cannot be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("registry settings: {field}: {problem}")]
pub struct OptionsError {
    /// The path of the setting.
    pub field: String,
    /// What is wrong with it.
    pub problem: String,
}

fn duration<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Duration, D::Error> {
    let signed = jiff::SignedDuration::deserialize(deserializer)?;
    match Duration::try_from(signed) {
        Ok(duration) if !duration.is_zero() => Ok(duration),
        _ => Err(D::Error::custom("wanted a duration above zero, for example `5s`")),
    }
}
