//! Log entries that evidence lacks: what a log is asked for, and the trait that asks it.
//!
//! What comes back is as untrusted as all evidence: [`crate::verify`] believes an entry for the keys
//! of the trust root alone, whoever handed it out.
use std::fmt;
use std::future::Future;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;
use url::Url;

use crate::image::Digest;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Most bytes of a log's address: as much as the schema of policies takes.
pub const MAX_LOG_URL_BYTES: usize = 1024;

/// The address of a log that answers searches: Rekor's API of version 1.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LogUrl(Url);

impl LogUrl {
    /// Whether it is spoken to over TLS.
    pub fn is_encrypted(&self) -> bool {
        self.0.scheme() == "https"
    }

    /// The address.
    pub const fn url(&self) -> &Url {
        &self.0
    }
}

impl fmt::Display for LogUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.0.as_str().trim_end_matches('/'))
    }
}

/// A text that is no address of a log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{0}, wanted an address such as https://rekor.example")]
pub struct LogUrlError(&'static str);

impl FromStr for LogUrl {
    type Err = LogUrlError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if text.len() > MAX_LOG_URL_BYTES {
            return Err(LogUrlError("found a text of more than 1024 bytes"));
        }
        let url = Url::parse(text).map_err(|_| LogUrlError("found no address"))?;
        if !matches!(url.scheme(), "http" | "https") || url.host_str().is_none_or(str::is_empty) {
            return Err(LogUrlError("found another scheme than https and http, or no host"));
        }
        if !url.username().is_empty() || url.password().is_some() {
            return Err(LogUrlError("found a user name or a password in the address"));
        }
        if url.query().is_some() || url.fragment().is_some() {
            return Err(LogUrlError("found a query or a fragment in the address"));
        }
        // With and without the last slash it is one log.
        let mut url = url;
        let path = url.path().trim_end_matches('/').to_owned();
        url.set_path(&path);
        Ok(Self(url))
    }
}

/// Who named a log's address, and so how far a request may reach.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub enum NamedBy {
    /// Whoever sets policies for the whole cluster, or runs the command.
    Administrator,
    /// A namespace's owners, who must not reach through Tegata what they cannot reach themselves.
    Tenant,
}

/// What a log is asked for: entries about one signature.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct LogQuery {
    /// The log.
    pub log: LogUrl,
    /// Who named it.
    pub named_by: NamedBy,
    /// SHA-256 of what was signed, under which the log lists its entries.
    pub hash: Digest,
    /// The signature: of the entries with that hash, those that name it count.
    pub signature: Vec<u8>,
}

/// What a log answered; untrusted.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct LogAnswer {
    /// The entries that name the signature, each as the log's JSON.
    pub entries: Vec<Bytes>,
    /// How many entries the log lists under the hash.
    pub listed: usize,
    /// How many of those were not looked at: there are too many, or they are too large.
    pub left_out: usize,
}

/// What is known of the entry that a candidate lacks.
#[derive(Clone, Debug)]
pub enum LookedUp {
    /// No log was asked.
    NotAsked,
    /// The log answered.
    Answered(Arc<LogAnswer>),
    /// The log could not be asked.
    Failed(Failure),
}

/// The I/O of looking up log entries. Implemented by the client of Rekor, and by fakes in tests.
pub trait SearchLog: Send + Sync + 'static {
    /// Asks the log. What is not there by `deadline` is a [`Failure`] of the step `log-lookup`,
    /// never an answer without entries.
    fn search(
        &self,
        query: &LogQuery,
        deadline: Instant,
    ) -> impl Future<Output = Result<Arc<LogAnswer>, Failure>> + Send;

    /// Says that an answer led to nothing good, so that what remembers answers may ask anew. What
    /// remembers none leaves it as it is.
    fn doubt(&self, _query: &LogQuery) -> impl Future<Output = ()> + Send {
        std::future::ready(())
    }
}

/// Asks no log: every search fails, as one of a log that is down.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoLog;

impl SearchLog for NoLog {
    async fn search(&self, query: &LogQuery, _: Instant) -> Result<Arc<LogAnswer>, Failure> {
        let found = format!("no log may be asked, so {} was not", query.log);
        Err(Failure::new(Reason::LogUnreachable, found)
            .wanted("a log entry that is attached, or a way to the log"))
    }
}

/// Where there may be none: as [`NoLog`].
impl<L: SearchLog> SearchLog for Option<L> {
    async fn search(&self, query: &LogQuery, deadline: Instant) -> Result<Arc<LogAnswer>, Failure> {
        match self {
            Some(log) => log.search(query, deadline).await,
            None => NoLog.search(query, deadline).await,
        }
    }

    async fn doubt(&self, query: &LogQuery) {
        if let Some(log) = self {
            log.doubt(query).await;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepts_addresses_with_and_without_a_path() {
        for (text, shown) in [
            ("https://rekor.sigstore.dev", "https://rekor.sigstore.dev"),
            ("https://rekor.sigstore.dev/", "https://rekor.sigstore.dev"),
            ("https://Log.Example:8443/a/", "https://log.example:8443/a"),
            ("http://10.0.0.1:3000", "http://10.0.0.1:3000"),
        ] {
            let url = text.parse::<LogUrl>().unwrap();
            assert_eq!(url.to_string(), shown);
            assert_eq!(url.is_encrypted(), text.starts_with("https"));
        }
        let same: [LogUrl; 2] = ["https://x/", "https://x"].map(|text| text.parse().unwrap());
        assert_eq!(same[0], same[1]);
    }

    #[test]
    fn rejects_what_is_no_address_of_a_log() {
        let long = format!("https://x/{}", "a".repeat(MAX_LOG_URL_BYTES - 10));
        assert!(long.parse::<LogUrl>().is_ok());
        let longer = format!("{long}a");
        for text in [
            "",
            "rekor.sigstore.dev",
            "ftp://log.example",
            "https://user@log.example",
            "https://:secret@log.example",
            "https://log.example/?a=b",
            "https://log.example/#x",
            "file:///etc/passwd",
            &longer,
        ] {
            assert!(text.parse::<LogUrl>().is_err(), "{text}");
        }
    }
}
