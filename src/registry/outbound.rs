//! An HTTP client for other services than registries, under the settings of registries.
use std::sync::Arc;

use tokio::sync::Semaphore;
use url::Url;

use super::RegistryOptions;
use super::address::AddressRule;
use super::clients::Factory;
use super::limits::MAX_LOOKUPS;
use super::options::OptionsError;

/// A client that follows no redirect, sends no credentials, goes through the proxies of the
/// settings, and connects to no address that its rule forbids.
#[derive(Clone, Debug)]
pub(crate) struct Outbound {
    client: reqwest::Client,
    rule: AddressRule,
    proxies: Arc<[String]>,
}

impl Outbound {
    /// A client under `rule`.
    ///
    /// # Errors
    /// When a certificate authority or a proxy in the settings cannot be used.
    pub(crate) fn new(options: &RegistryOptions, rule: AddressRule) -> Result<Self, OptionsError> {
        let lookups = Arc::new(Semaphore::new(MAX_LOOKUPS));
        let factory = Factory::new(options, &lookups)?;
        let (client, proxies) = factory.outbound(rule)?;
        Ok(Self { client, rule, proxies })
    }

    /// A POST to `url`.
    ///
    /// # Errors
    /// When the address is one that must not be contacted: the text says which and why. Addresses
    /// that are names are looked at when they are looked up.
    pub(crate) fn post(&self, url: Url) -> Result<reqwest::RequestBuilder, String> {
        self.rule.check_literal(&url).map_err(|error| error.to_string())?;
        let host = url.host_str().unwrap_or_default();
        if !self.rule.private && self.proxies.iter().any(|proxy| proxy == host) {
            return Err(format!("{host}, which is our own proxy"));
        }
        Ok(self.client.post(url))
    }
}
