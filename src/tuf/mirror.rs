//! A repository's mirror: bytes by name, as few as are asked for, from nowhere else.
use std::time::Duration;

use reqwest::Response;
use reqwest::StatusCode;
use reqwest::header;
use url::Url;

use crate::registry::ProxyOptions;
use crate::verdict::printable;

/// Time for one refresh with all its requests. There are six to ten, some of milliseconds; a
/// mirror that takes longer is asked again later.
const DEADLINE: Duration = Duration::from_secs(60);

/// Time to connect.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Most redirects followed for one file, all on the mirror's own host: one for a moved folder, one
/// for a trailing slash, one to spare.
const MAX_REDIRECTS: usize = 3;

/// How mirrors are spoken to.
#[derive(Clone, Debug)]
pub struct Options {
    /// Hosts, with a port where it is not 80, that are spoken to over plain HTTP. Metadata is
    /// signed; in the clear others see what is fetched, and can keep it away.
    pub allow_http: Vec<String>,
    /// Certificate authorities, PEM, trusted in addition to the system's.
    pub ca_pem: Option<String>,
    /// Time for one refresh with all its requests.
    pub deadline: Duration,
    /// Proxies on the way to mirrors.
    pub proxy: ProxyOptions,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            allow_http: Vec::new(),
            ca_pem: None,
            deadline: DEADLINE,
            proxy: ProxyOptions::default(),
        }
    }
}

#[derive(Debug)]
pub(super) struct Mirror {
    client: reqwest::Client,
    base: Url,
}

impl Mirror {
    /// # Errors
    /// When the settings cannot be used.
    pub(super) fn new(base: &Url, options: &Options) -> Result<Self, MirrorError> {
        let allowed = options.allow_http.iter().any(|host| *host == authority(base));
        if base.scheme() != "https" && !allowed {
            return Err(MirrorError::PlainHttp { host: authority(base) });
        }
        let client = client(options).map_err(|problem| MirrorError::Settings { problem })?;
        Ok(Self { client, base: base.clone() })
    }

    /// The metadata file `name`; nothing where the mirror has none.
    ///
    /// # Errors
    /// When the mirror does not answer properly, or with more than `cap` bytes.
    pub(super) async fn get(&self, name: &str, cap: usize) -> Result<Option<Vec<u8>>, MirrorError> {
        self.fetch(self.url(&[name])?, cap).await
    }

    /// The target `name`, whose file's name begins with `prefix` where the repository has
    /// consistent snapshots.
    ///
    /// # Errors
    /// When the mirror does not answer properly, or with more than `cap` bytes.
    pub(super) async fn target(
        &self,
        name: &str,
        prefix: Option<&str>,
        cap: usize,
    ) -> Result<Option<Vec<u8>>, MirrorError> {
        let file;
        let mut segments: Vec<&str> = std::iter::once("targets").chain(name.split('/')).collect();
        if let (Some(prefix), Some(last)) = (prefix, segments.last_mut()) {
            file = format!("{prefix}.{last}");
            *last = &file;
        }
        self.fetch(self.url(&segments)?, cap).await
    }

    /// A file's address for people.
    pub(super) fn shown(&self, name: &str) -> String {
        self.url(&[name]).map_or_else(|_| printable(name), |url| shown(&url))
    }

    /// The address below the mirror's; each segment is escaped.
    fn url(&self, segments: &[&str]) -> Result<Url, MirrorError> {
        let mut url = self.base.clone();
        let problem = || MirrorError::Settings { problem: "the mirror has no path".to_owned() };
        url.path_segments_mut().map_err(|()| problem())?.pop_if_empty().extend(segments);
        Ok(url)
    }

    async fn fetch(&self, url: Url, cap: usize) -> Result<Option<Vec<u8>>, MirrorError> {
        let mut next = url.clone();
        for _ in 0..=MAX_REDIRECTS {
            let request = self.client.get(next.clone()).header(header::ACCEPT_ENCODING, "identity");
            let response = request.send().await.map_err(|error| unreachable(&next, error))?;
            match response.status() {
                StatusCode::OK => return read(response, &next, cap).await.map(Some),
                // Some stores that may not be listed answer so for what is not there.
                StatusCode::NOT_FOUND | StatusCode::FORBIDDEN => return Ok(None),
                status if status.is_redirection() => next = self.redirected(&next, &response)?,
                status => {
                    let status = status.as_u16();
                    return Err(MirrorError::Status { url: shown(&next), status });
                }
            }
        }
        Err(MirrorError::Redirects { url: shown(&url), limit: MAX_REDIRECTS })
    }

    fn redirected(&self, from: &Url, response: &Response) -> Result<Url, MirrorError> {
        let location = response.headers().get(header::LOCATION);
        let location = location.and_then(|value| value.to_str().ok()).unwrap_or_default();
        let next = from.join(location).ok().filter(|next| next.origin() == self.base.origin());
        next.ok_or_else(|| MirrorError::Elsewhere { url: shown(from), to: printable(location) })
    }
}

fn client(options: &Options) -> Result<reqwest::Client, String> {
    let authorities = match &options.ca_pem {
        None => Vec::new(),
        Some(pem) => reqwest::Certificate::from_pem_bundle(pem.as_bytes())
            .map_err(|error| format!("not certificates in PEM: {error}"))?,
    };
    let ProxyOptions { https, http, no_proxy } = &options.proxy;
    let except = reqwest::NoProxy::from_string(&no_proxy.join(","));
    let mut proxies = Vec::new();
    for (secure, address) in [(true, https), (false, http)] {
        let Some(address) = address else { continue };
        let proxy =
            if secure { reqwest::Proxy::https(address) } else { reqwest::Proxy::http(address) };
        let proxy = proxy.map_err(|_| "a proxy's address is none".to_owned())?;
        proxies.push(proxy.no_proxy(except.clone()));
    }
    let builder = || {
        let builder = reqwest::Client::builder()
            .user_agent(concat!("tegata/", env!("CARGO_PKG_VERSION")))
            .redirect(reqwest::redirect::Policy::none())
            .retry(reqwest::retry::never())
            .referer(false)
            .no_proxy()
            .connect_timeout(CONNECT_TIMEOUT);
        proxies.iter().cloned().fold(builder, reqwest::ClientBuilder::proxy)
    };
    // Without any certificates of the system only these are trusted.
    builder()
        .tls_certs_merge(authorities.iter().cloned())
        .build()
        .or_else(|_| builder().tls_certs_only(authorities.iter().cloned()).build())
        .map_err(|error| innermost(&error))
}

/// Reads no further than `cap`, whatever length is announced.
async fn read(mut response: Response, url: &Url, cap: usize) -> Result<Vec<u8>, MirrorError> {
    let too_large = || MirrorError::TooLarge { url: shown(url), limit: cap };
    if response.content_length().is_some_and(|length| length > cap as u64) {
        return Err(too_large());
    }
    let mut body = Vec::new();
    while let Some(chunk) = response.chunk().await.map_err(|error| unreachable(url, error))? {
        if body.len() + chunk.len() > cap {
            return Err(too_large());
        }
        body.extend_from_slice(&chunk);
    }
    Ok(body)
}

pub(super) fn authority(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    url.port().map_or_else(|| host.to_owned(), |port| format!("{host}:{port}"))
}

fn shown(url: &Url) -> String {
    printable(url.as_str())
}

fn unreachable(url: &Url, error: reqwest::Error) -> MirrorError {
    MirrorError::Unreachable { url: shown(url), problem: innermost(&error.without_url()) }
}

/// The innermost cause names the problem; the outer ones name layers of the HTTP client.
fn innermost(error: &(dyn std::error::Error + 'static)) -> String {
    let mut innermost = error;
    while let Some(source) = innermost.source() {
        innermost = source;
    }
    printable(&innermost.to_string())
}

/// Why a mirror gives nothing that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum MirrorError {
    /// It sends us to another host.
    #[error("{url} leads to `{to}`, which is not on the mirror's host")]
    Elsewhere {
        /// The file.
        url: String,
        /// Where to.
        to: String,
    },
    /// It has no such file.
    #[error("{url} is not there")]
    Missing {
        /// The file.
        url: String,
    },
    /// It would be spoken to in the clear.
    #[error(
        "the mirror is spoken to over plain HTTP, wanted https or `{host}` among the hosts for which that is allowed"
    )]
    PlainHttp {
        /// The host.
        host: String,
    },
    /// It redirects again and again.
    #[error("{url} leads to more than {limit} redirects")]
    Redirects {
        /// The file.
        url: String,
        /// The limit.
        limit: usize,
    },
    /// Settings cannot be used.
    #[error("the mirror's settings cannot be used: {problem}")]
    Settings {
        /// What is wrong.
        problem: String,
    },
    /// It answers with an error.
    #[error("{url} is answered with status {status}")]
    Status {
        /// The file.
        url: String,
        /// The status.
        status: u16,
    },
    /// It sends more than is wanted.
    #[error("{url} has more than {limit} bytes")]
    TooLarge {
        /// The file.
        url: String,
        /// The limit, in bytes.
        limit: usize,
    },
    /// It does not answer.
    #[error("{url} cannot be read: {problem}")]
    Unreachable {
        /// The file.
        url: String,
        /// Why.
        problem: String,
    },
}
