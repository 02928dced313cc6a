//! Where a repository is served: the registry itself and its mirrors, with their settings.
use std::sync::Arc;

use url::Url;

use crate::image::Repository;
use crate::metrics::Lookup;
use crate::metrics::OTHER;
use crate::metrics::RegistryMetrics;
use crate::metrics::RequestOutcome;
use crate::metrics::WELL_KNOWN;
use crate::verdict::printable;

use super::clients::Clients;
use super::error::RegistryError;
use super::options::OptionsError;

/// Docker Hub serves under another name than images carry.
const DOCKER_HUB: (&str, &str) = ("docker.io", "registry-1.docker.io");

/// Token services that public registries run under another name.
const WELL_KNOWN_REALMS: &[(&str, &str)] =
    &[("docker.io", "auth.docker.io"), ("registry.gitlab.com", "gitlab.com")];

/// One server that may hold a repository.
#[derive(Clone, Debug)]
pub(super) struct Endpoint {
    /// The host as images and settings name it: the key for credentials.
    pub(super) registry: String,
    /// The repository's path on this server.
    pub(super) path: String,
    /// `https://host[:port]/`.
    pub(super) base: Url,
    /// Its HTTP clients and settings.
    pub(super) clients: Arc<Clients>,
    /// Where its requests are counted, and whether under its own name.
    meter: (RegistryMetrics, bool),
}

impl Endpoint {
    /// The server `registry` for the repository at `path`.
    pub(super) fn new(
        registry: &str,
        path: String,
        plain_http: bool,
        clients: Arc<Clients>,
    ) -> Result<Self, RegistryError> {
        let authority = if registry == DOCKER_HUB.0 { DOCKER_HUB.1 } else { registry };
        let scheme = if plain_http { "http" } else { "https" };
        let base = Url::parse(&format!("{scheme}://{authority}/"))
            .map_err(|error| RegistryError::malformed(registry, error))?;
        // Whatever the name's grammar lets through, it must stay a host and nothing else.
        if base.path() != "/" || base.query().is_some() || !base.username().is_empty() {
            return Err(RegistryError::malformed(registry, "not a host with an optional port"));
        }
        let meter = (RegistryMetrics::default(), false);
        Ok(Self { registry: registry.to_owned(), path, base, clients, meter })
    }

    /// The same, counting its requests in `metrics`: under its name where it is `named` by the
    /// settings or well known, as tenants choose the others.
    pub(super) fn counting(self, metrics: RegistryMetrics, named: bool) -> Self {
        let named = named || WELL_KNOWN.contains(&self.registry.as_str());
        Self { meter: (metrics, named), ..self }
    }

    /// Counts a request.
    pub(super) fn count(&self, outcome: RequestOutcome) {
        let (metrics, named) = &self.meter;
        metrics.request(if *named { &self.registry } else { OTHER }, outcome);
    }

    /// Counts a need for an authorization.
    pub(super) fn count_token(&self, lookup: Lookup) {
        self.meter.0.token(lookup);
    }

    /// `/v2/<path>/<kind>/<reference>`, encoded.
    pub(super) fn url(&self, kind: &str, reference: &str) -> Url {
        let mut url = self.base.clone();
        if let Ok(mut segments) = url.path_segments_mut() {
            segments.clear().push("v2").extend(self.path.split('/')).push(kind).push(reference);
        }
        url
    }

    /// The address that answers with a challenge, `/v2/`.
    pub(super) fn ping_url(&self) -> Url {
        let mut url = self.base.clone();
        url.set_path("/v2/");
        url
    }

    /// Whether `url` is on this very server: the same host and port.
    pub(super) fn is_own(&self, url: &Url) -> bool {
        url.host() == self.base.host()
            && url.port_or_known_default() == self.base.port_or_known_default()
    }

    /// Whether the token service at `realm` may see the credentials: this server, the well-known
    /// service of this registry, or one that the settings name.
    pub(super) fn trusts_realm(&self, realm: &Url) -> bool {
        if self.is_own(realm) {
            return realm.scheme() == self.base.scheme() || realm.scheme() == "https";
        }
        let host = authority(realm);
        let known = WELL_KNOWN_REALMS.iter();
        realm.scheme() == "https"
            && (known.into_iter().any(|(name, realm)| *name == self.registry && *realm == host)
                || self.clients.options.auth_realms.iter().any(|name| name.to_lowercase() == host))
            || realm.scheme() == "http"
                && self.base.scheme() == "http"
                && self.clients.options.auth_realms.contains(&host)
    }
}

/// The server of the settings for `host`, as [`authority`] names it. Refuses settings under a name
/// that no image can have, and mirrors that are no host: they would fail, or be ignored, only when
/// an image comes.
pub(super) fn check(
    host: &str,
    plain_http: bool,
    clients: &Arc<Clients>,
) -> Result<String, OptionsError> {
    let server = |name: &str, field: String| {
        let parsed = Endpoint::new(name, String::new(), plain_http, clients.clone());
        let plain = name.bytes().all(|b| b.is_ascii_alphanumeric() || b".-:[]".contains(&b))
            && !name.ends_with(':');
        let problem = format!("found `{}`, wanted host[:port]", printable(name));
        match parsed {
            Ok(endpoint) if plain => Ok(authority(&endpoint.base)),
            Ok(_) | Err(_) => Err(OptionsError { field, problem }),
        }
    };
    let own = server(host, "hosts".to_owned())?;
    for mirror in &clients.options.mirrors {
        let name = mirror.split('/').next().unwrap_or_default();
        server(name, format!("hosts[{host}].mirrors"))?;
    }
    Ok(own)
}

/// A mirror setting `host[:port][/path]`, for `repository`.
pub(super) fn mirrored(mirror: &str, repository: &Repository) -> (String, String) {
    let mirror = mirror.trim_end_matches('/');
    match mirror.split_once('/') {
        Some((host, prefix)) => (host.to_owned(), format!("{prefix}/{}", repository.path())),
        None => (mirror.to_owned(), repository.path().to_owned()),
    }
}

/// `host[:port]`, the port left out where it is the scheme's own.
pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}
