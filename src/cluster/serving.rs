//! The serving certificate in a Secret, and the `caBundle` that goes with it.
//!
//! [`start`] makes an authority and a leaf in a Secret of Tegata's namespace, and keeps them:
//!
//! - every replica serves the leaf of the Secret, and the next one within a second;
//! - the elected replica renews the leaf after two thirds of its 90 days, and the authority after
//!   two thirds of its year, with an overlap in which both are trusted. Where nobody is elected,
//!   any replica does it on the leaf's last day;
//! - the elected replica keeps `caBundle` of every webhook in step, and repairs it within a second
//!   of whatever changed it.
//!
//! The Secret, of the type `kubernetes.io/tls` or any other:
//!
//! | key | holds |
//! |---|---|
//! | `tls.crt`, `tls.key` | the leaf and its key |
//! | `ca.crt` | every authority to be trusted, newest first |
//! | `ca.key` | the key of the authority that issues |
//! | `next-ca.key` | the key of an authority that is announced, until it issues |
//!
//! The annotation `tegata.dev/rotate: now` on the Secret asks for a new authority at once: use it
//! when a key may have leaked. It disappears when the new authority is announced; a leaf under it
//! is served half a minute after every webhook configuration trusts it, and the old one is trusted
//! for another hour. Deleting the Secret is for when that is too long: everything is made anew, and
//! requests are denied until API servers have the new `caBundle`.
//!
//! A Secret with data that Tegata did not write is never overwritten. One that Tegata wrote and
//! that was damaged is made anew; until then the last good leaf is served.
use std::future::Future;

use kube::Client;
use tokio::sync::watch;

use crate::error::one_line;
use crate::metrics::Metrics;
use crate::server;
use crate::server::tls::Source;

mod authority;
mod configurations;
mod keeper;
mod rotation;
mod secret;
mod stored;

/// What is served under, and where it is kept.
#[derive(Clone, Debug)]
pub struct ServingOptions {
    /// Tegata's namespace.
    pub namespace: String,
    /// The Secret, in that namespace. It is made when it is missing.
    pub secret_name: String,
    /// The names that API servers call, such as `tegata.tegata-system.svc`.
    pub dns_names: Vec<String>,
    /// Names of our MutatingWebhookConfigurations. Any may be missing.
    pub mutating: Vec<String>,
    /// Names of our ValidatingWebhookConfigurations. Any may be missing.
    pub validating: Vec<String>,
}

/// Reads or makes the certificate, brings `caBundle` in step, and goes on keeping both for as long
/// as the future is polled. The future never ends by itself.
///
/// `leader` says whether this replica is the elected one. While the API server cannot be asked, or
/// refuses, this waits and tries again.
///
/// # Errors
/// When the Secret is not ours, or there is nothing to serve under.
pub async fn start(
    client: Client,
    options: ServingOptions,
    leader: watch::Receiver<bool>,
    metrics: Metrics,
) -> Result<(Source, impl Future<Output = ()> + Send + 'static), ServingError> {
    let clock = std::sync::Arc::new(server::now);
    let (keeper, served) = keeper::Keeper::start(client, options, leader, metrics, clock).await?;
    Ok((Source::Managed(served), keeper.run()))
}

/// Why there is no serving certificate, or none that can be kept. Never holds anything of a key.
#[derive(Debug, thiserror::Error)]
pub enum ServingError {
    /// The Secret is gone, and another replica is to make it.
    #[error("{secret} is gone: the elected replica makes it anew")]
    Absent {
        /// The Secret.
        secret: String,
    },
    /// A request to the API server failed.
    #[error("cannot {action}: {problem}")]
    Api {
        /// What was asked for.
        action: String,
        /// What came of it.
        problem: String,
    },
    /// Others change the same objects all the time.
    #[error("{secret} or a webhook configuration changes all the time: wanted it at rest")]
    Contended {
        /// The Secret.
        secret: String,
    },
    /// The Secret cannot be used, and another replica is to make it anew.
    #[error("{secret} cannot be used: {problem}; the elected replica makes it anew")]
    Damaged {
        /// The Secret.
        secret: String,
        /// What is wrong.
        problem: String,
    },
    /// The Secret holds what Tegata did not write.
    #[error(
        "{secret} holds data that tegata did not write: wanted the label {}={}; name another \
         secret, or delete this one",
        stored::MANAGED_BY.0,
        stored::MANAGED_BY.1
    )]
    Foreign {
        /// The Secret.
        secret: String,
    },
    /// A certificate could not be made.
    #[error("cannot issue a serving certificate: {problem}")]
    Issue {
        /// Why.
        problem: String,
    },
    /// A name to serve under is none.
    #[error("cannot serve under the name {name:?}: wanted a DNS name")]
    Name {
        /// The name.
        name: String,
    },
    /// There is no name to serve under.
    #[error(
        "there is no name to serve under: wanted the service's, such as tegata.tegata-system.svc"
    )]
    NoName,
    /// The API server did not answer in time.
    #[error("the API server did not answer within {seconds} s")]
    Timeout {
        /// How long it was waited for.
        seconds: u64,
    },
}

impl ServingError {
    /// Whether trying again is of no use until somebody changes something.
    const fn is_final(&self) -> bool {
        match self {
            Self::Foreign { .. } | Self::Issue { .. } | Self::Name { .. } | Self::NoName => true,
            Self::Absent { .. }
            | Self::Api { .. }
            | Self::Contended { .. }
            | Self::Damaged { .. }
            | Self::Timeout { .. } => false,
        }
    }

    /// What an error of the API server comes to. An answer that cannot be read is not quoted: it
    /// may be a Secret.
    fn api(action: String, error: &kube::Error) -> Self {
        let problem = if let kube::Error::Api(status) = error {
            format!("{} {}", status.code, status.message)
        } else if let kube::Error::SerdeError(_) = error {
            "the answer cannot be read".to_owned()
        } else {
            one_line(error)
        };
        Self::Api { action, problem }
    }
}

impl From<server::tls::issue::IssueError> for ServingError {
    fn from(error: server::tls::issue::IssueError) -> Self {
        Self::Issue { problem: error.to_string() }
    }
}

#[cfg(test)]
mod tests;
