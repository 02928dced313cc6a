//! The HTTP clients for each host's settings: certificates, proxies, addresses.
use std::sync::Arc;

use tokio::sync::Semaphore;
use url::Url;

use super::address::AddressRule;
use super::address::GuardedResolver;
use super::limits::CONNECT_TIMEOUT;
use super::limits::IDLE_LIFE;
use super::limits::MAX_HEADERS;
use super::limits::MAX_IDLE_CONNECTIONS;
use super::limits::WINDOW_BYTES;
use super::options::HostOptions;
use super::options::OptionsError;
use super::options::ProxyOptions;
use super::options::RegistryOptions;
use super::transport::innermost;

/// The HTTP clients for one host's settings.
#[derive(Debug)]
pub(super) struct Clients {
    /// For the registry itself, which may lie at a private address.
    pub(super) own: reqwest::Client,
    /// For wherever it sends us.
    pub(super) foreign: reqwest::Client,
    pub(super) options: HostOptions,
    proxies: Arc<[String]>,
}

impl Clients {
    pub(super) const fn own_rule(&self) -> AddressRule {
        AddressRule { link_local: self.options.allow_link_local, private: true }
    }

    pub(super) const fn foreign_rule(&self) -> AddressRule {
        let HostOptions { allow_link_local, allow_private, .. } = self.options;
        AddressRule { link_local: allow_link_local, private: allow_private }
    }

    /// Whether `url` is on the host of a proxy, which may lie at a private address and is no place
    /// for a registry to send us to.
    pub(super) fn is_proxy(&self, url: &Url) -> bool {
        self.proxies.iter().any(|proxy| url.host_str() == Some(proxy))
    }
}

/// Makes clients for the settings of all hosts.
#[derive(Debug)]
pub(super) struct Factory<'a> {
    user_agent: &'a str,
    authorities: Vec<reqwest::Certificate>,
    proxies: Vec<reqwest::Proxy>,
    proxy_hosts: Arc<[String]>,
    lookups: &'a Arc<Semaphore>,
}

impl<'a> Factory<'a> {
    /// # Errors
    /// When the settings for every host cannot be used.
    pub(super) fn new(
        options: &'a RegistryOptions,
        lookups: &'a Arc<Semaphore>,
    ) -> Result<Self, OptionsError> {
        let authorities = certificates(options.ca_pem.as_deref(), "caPem".to_owned())?;
        let (mut proxies, mut hosts) = (Vec::new(), Vec::new());
        let ProxyOptions { https, http, no_proxy } = &options.proxy;
        let except = reqwest::NoProxy::from_string(&no_proxy.join(","));
        for (secure, address) in [(true, https), (false, http)] {
            let Some(address) = address else { continue };
            let field = if secure { "proxy.https" } else { "proxy.http" };
            let url = proxy_address(address, field)?;
            hosts.extend(url.host_str().map(str::to_owned));
            let proxy = if secure { reqwest::Proxy::https(url) } else { reqwest::Proxy::http(url) };
            let proxy = proxy.map_err(|error| OptionsError {
                field: field.to_owned(),
                problem: innermost(&error),
            })?;
            proxies.push(proxy.no_proxy(except.clone()));
        }
        let user_agent = &options.user_agent;
        Ok(Self { user_agent, authorities, proxies, proxy_hosts: hosts.into(), lookups })
    }

    /// Clients for the settings of `field`.
    pub(super) fn clients(
        &self,
        field: String,
        options: HostOptions,
    ) -> Result<Arc<Clients>, OptionsError> {
        let mut extra = certificates(options.ca_pem.as_deref(), format!("{field}.caPem"))?;
        extra.extend(self.authorities.iter().cloned());
        let AddressRule { link_local, private } =
            AddressRule { link_local: options.allow_link_local, private: options.allow_private };
        let client = |private| {
            self.client(AddressRule { link_local, private }, &extra)
                .map_err(|problem| OptionsError { field: field.clone(), problem })
        };
        let (own, foreign) = (client(true)?, client(private)?);
        Ok(Arc::new(Clients { own, foreign, options, proxies: self.proxy_hosts.clone() }))
    }

    /// A client for another service than a registry, and the hosts of the proxies that it uses.
    pub(super) fn outbound(
        &self,
        rule: AddressRule,
    ) -> Result<(reqwest::Client, Arc<[String]>), OptionsError> {
        let client = self.client(rule, &self.authorities);
        let client =
            client.map_err(|problem| OptionsError { field: "caPem".to_owned(), problem })?;
        Ok((client, self.proxy_hosts.clone()))
    }

    fn client(
        &self,
        rule: AddressRule,
        extra: &[reqwest::Certificate],
    ) -> Result<reqwest::Client, String> {
        let builder = || {
            let resolver = GuardedResolver {
                rule,
                proxies: self.proxy_hosts.clone(),
                lookups: self.lookups.clone(),
            };
            let builder = reqwest::Client::builder()
                .user_agent(self.user_agent)
                .redirect(reqwest::redirect::Policy::none())
                .retry(reqwest::retry::never())
                .referer(false)
                .no_proxy()
                .connect_timeout(CONNECT_TIMEOUT)
                .http1_max_headers(MAX_HEADERS)
                .http2_initial_connection_window_size(WINDOW_BYTES)
                .http2_initial_stream_window_size(WINDOW_BYTES)
                .pool_idle_timeout(IDLE_LIFE)
                .pool_max_idle_per_host(MAX_IDLE_CONNECTIONS)
                .dns_resolver(Arc::new(resolver));
            self.proxies.iter().cloned().fold(builder, reqwest::ClientBuilder::proxy)
        };
        // Without any system certificates only the extra ones are trusted; with neither, every TLS
        // connection fails, and registries over plain HTTP still work.
        builder()
            .tls_certs_merge(extra.iter().cloned())
            .build()
            .or_else(|_| builder().tls_certs_only(extra.iter().cloned()).build())
            .map_err(|error| innermost(&error))
    }
}

fn certificates(
    pem: Option<&str>,
    field: String,
) -> Result<Vec<reqwest::Certificate>, OptionsError> {
    let Some(pem) = pem else { return Ok(Vec::new()) };
    match reqwest::Certificate::from_pem_bundle(pem.as_bytes()) {
        Ok(found) if !found.is_empty() => Ok(found),
        Ok(_) => {
            Err(OptionsError { field, problem: "no certificate in it, wanted PEM".to_owned() })
        }
        Err(error) => {
            Err(OptionsError { field, problem: format!("not certificates in PEM: {error}") })
        }
    }
}

/// The address of a proxy. The error does not quote it: it may hold a password.
fn proxy_address(address: &str, field: &str) -> Result<Url, OptionsError> {
    let problem = |problem: &str| OptionsError {
        field: field.to_owned(),
        problem: format!("{problem}, wanted http://host[:port]"),
    };
    let url = Url::parse(address).map_err(|_| problem("found no address"))?;
    if !url.username().is_empty() || url.password().is_some() {
        return Err(problem("found a user name or a password"));
    }
    if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none() {
        return Err(problem("found another scheme than http and https"));
    }
    Ok(url)
}
