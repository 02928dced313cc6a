//! What goes wrong at a registry, and which reason it is.
use std::fmt;
use std::time::Duration;

use url::Url;

use super::limits::MAX_HELD_BYTES;
use super::limits::MAX_LOOKUPS;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::printable;

/// Why a registry, or a layout folder, did not give what was asked for.
///
/// Addresses in here carry no query and no user information: both hold secrets.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RegistryError {
    /// It is not there: the registry said so, with status 404.
    #[error("{what} does not exist")]
    Absent {
        /// The address.
        what: String,
    },
    /// The credentials could not be had: a credential helper failed.
    #[error("credential helper {helper} failed: {problem}")]
    Credentials {
        /// The helper's name.
        helper: String,
        /// What went wrong.
        problem: String,
    },
    /// The bytes are not those that the digest names.
    #[error("{what} answered with the content of {actual}")]
    DigestMismatch {
        /// The address.
        what: String,
        /// The digest that was asked for or announced.
        expected: String,
        /// The digest of the bytes received.
        actual: String,
    },
    /// An address that must not be contacted.
    #[error("{what} leads to {address}")]
    ForbiddenAddress {
        /// What sent us there.
        what: String,
        /// The host or address, with the rule that it breaks.
        address: String,
    },
    /// The answer cannot be parsed, or breaks the protocol.
    #[error("{what} is malformed: {problem}")]
    Malformed {
        /// The address.
        what: String,
        /// What is wrong.
        problem: String,
    },
    /// Other names are being looked up.
    #[error("{what} is not asked: {MAX_LOOKUPS} other names are being looked up")]
    NoLookup {
        /// The address.
        what: String,
    },
    /// Too much is held for other images already.
    #[error("{what} finds no memory: other images hold {MAX_HELD_BYTES} bytes of evidence")]
    NoMemory {
        /// The address.
        what: String,
    },
    /// The server has not answered lately, and is left alone for a while.
    #[error("{what} is not asked: {problem}; no answer for {} s{}", silent.as_secs(), Again(*again))]
    NotAsked {
        /// The address.
        what: String,
        /// What went wrong last.
        problem: String,
        /// For how long the server has not answered.
        silent: Duration,
        /// When it is asked again; `None` where a request is on its way to find out.
        again: Option<Duration>,
    },
    /// No turn within the time: our own settings limit the requests to this server.
    #[error("{what} found no turn in time: the registry's settings allow {budget}")]
    OverBudget {
        /// The address.
        what: String,
        /// The setting, with its value.
        budget: String,
    },
    /// Too many requests, and no time to wait.
    #[error("{what} is rate limited{}", Wait(*retry_after))]
    RateLimited {
        /// The address.
        what: String,
        /// The pause that the registry asked for.
        retry_after: Option<Duration>,
    },
    /// The time allowed passed.
    #[error("{what} was not answered in time")]
    TimedOut {
        /// The address.
        what: String,
    },
    /// A limit on size or number was exceeded.
    #[error("{what} exceeds {limit}")]
    TooLarge {
        /// The address.
        what: String,
        /// The limit, with its unit.
        limit: String,
    },
    /// Status 401 or 403, or no way to authenticate.
    #[error("{what} refused access: {problem}")]
    Unauthorised {
        /// The address.
        what: String,
        /// The status, or what was missing.
        problem: String,
    },
    /// No connection, a broken one, or a status that says the registry failed.
    #[error("{what} cannot be reached: {problem}")]
    Unreachable {
        /// The address.
        what: String,
        /// What went wrong.
        problem: String,
    },
    /// The registry does not know this request.
    #[error("{what} is not supported by the registry: status {status}")]
    Unsupported {
        /// The address.
        what: String,
        /// The HTTP status.
        status: u16,
    },
}

/// What was asked for: the same error means another step for the image than for its evidence.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Subject {
    /// The image itself.
    Image,
    /// Signatures and bundles.
    Evidence,
}

impl RegistryError {
    /// The reason that this error is. Only what a retry may change is indeterminate: an answer of
    /// the wrong size or shape never is, so that nobody can turn a denial into an outage.
    pub const fn reason(&self, subject: Subject) -> Reason {
        let image = matches!(subject, Subject::Image);
        match self {
            Self::Absent { .. } if image => Reason::ImageNotFound,
            Self::Absent { .. } => Reason::EvidenceMissing,
            Self::DigestMismatch { .. } if image => Reason::ImageDigestMismatch,
            Self::DigestMismatch { .. } => Reason::EvidenceDigestMismatch,
            Self::ForbiddenAddress { .. } => Reason::RegistryAddressForbidden,
            Self::Malformed { .. } | Self::TooLarge { .. } if image => Reason::ImageUnreadable,
            Self::Malformed { .. } => Reason::EvidenceMalformed,
            Self::TooLarge { .. } => Reason::EvidenceTooLarge,
            Self::NoLookup { .. } | Self::NoMemory { .. } | Self::OverBudget { .. } => {
                Reason::Overloaded
            }
            Self::RateLimited { .. } => Reason::RegistryRateLimited,
            Self::TimedOut { .. } => Reason::DeadlineExceeded,
            Self::Credentials { .. } | Self::Unauthorised { .. } => Reason::RegistryUnauthorised,
            Self::NotAsked { .. } | Self::Unreachable { .. } | Self::Unsupported { .. } => {
                Reason::RegistryUnreachable
            }
        }
    }

    /// The failure that people and policies see.
    pub fn failure(&self, subject: Subject) -> Failure {
        let failure = Failure::new(self.reason(subject), self);
        match self {
            Self::DigestMismatch { expected, .. } => {
                failure.wanted(format_args!("the content of {expected}"))
            }
            Self::ForbiddenAddress { .. } => {
                failure.wanted("a public address, or one that the registry's settings allow")
            }
            Self::TooLarge { limit, .. } => failure.wanted(format_args!("at most {limit}")),
            Self::Absent { .. }
            | Self::Credentials { .. }
            | Self::Malformed { .. }
            | Self::NoLookup { .. }
            | Self::NoMemory { .. }
            | Self::NotAsked { .. }
            | Self::OverBudget { .. }
            | Self::RateLimited { .. }
            | Self::TimedOut { .. }
            | Self::Unauthorised { .. }
            | Self::Unreachable { .. }
            | Self::Unsupported { .. } => failure,
        }
    }

    pub(super) fn malformed(what: impl fmt::Display, problem: impl fmt::Display) -> Self {
        Self::Malformed { what: what.to_string(), problem: printable(&problem.to_string()) }
    }

    pub(super) fn too_large(what: impl fmt::Display, limit: impl fmt::Display) -> Self {
        Self::TooLarge { what: what.to_string(), limit: limit.to_string() }
    }
}

/// The address without its query, fragment and user information, for people.
pub(super) fn shown(url: &Url) -> String {
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default();
    printable(&format!("{}://{host}{port}{}", url.scheme(), url.path()))
}

struct Wait(Option<Duration>);

impl fmt::Display for Wait {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(wait) => write!(f, "; it asks to retry after {} s", wait.as_secs()),
            None => Ok(()),
        }
    }
}

struct Again(Option<Duration>);

impl fmt::Display for Again {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            // Rounded up: it is not asked before.
            Some(again) => write!(f, ", asked again in {} s", again.as_secs_f64().ceil()),
            None => f.write_str(", being asked again now"),
        }
    }
}
