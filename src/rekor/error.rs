//! Why a log gave no answer that can be used.
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Why a log gave no answer that can be used.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum LogError {
    /// An address that must not be contacted, or a way of speaking to it.
    #[error("the log {log} may not be asked: {problem}")]
    Forbidden {
        /// The log.
        log: String,
        /// Which rule is in the way.
        problem: String,
    },
    /// The answer is not what the API says.
    #[error("the log {log} gave a malformed answer: {problem}")]
    Malformed {
        /// The log.
        log: String,
        /// What is wrong.
        problem: String,
    },
    /// Time was up.
    #[error("the log {log} did not answer in time")]
    TimedOut {
        /// The log.
        log: String,
    },
    /// The answer is longer than is read.
    #[error("the log {log} gave an answer of more than {limit} bytes")]
    TooLarge {
        /// The log.
        log: String,
        /// The limit, in bytes.
        limit: usize,
        /// How many entries were asked for; 0 for a search.
        entries: usize,
    },
    /// No connection, a broken one, or a status that is no answer.
    #[error("the log {log} cannot be asked: {problem}")]
    Unreachable {
        /// The log.
        log: String,
        /// What went wrong.
        problem: String,
    },
}

impl LogError {
    /// The reason that this error is. Only what a retry may change is indeterminate: an answer of
    /// the wrong size or shape never is, so that nobody can turn a denial into an outage.
    pub const fn reason(&self) -> Reason {
        match self {
            Self::Forbidden { .. } => Reason::LogAddressForbidden,
            Self::Malformed { .. } => Reason::LogAnswerMalformed,
            Self::TooLarge { .. } => Reason::LogSearchTooLarge,
            Self::TimedOut { .. } | Self::Unreachable { .. } => Reason::LogUnreachable,
        }
    }

    /// The failure that people and policies see.
    pub fn failure(&self) -> Failure {
        let failure = Failure::new(self.reason(), self);
        match self {
            Self::Forbidden { .. } => failure.wanted("a log at a public address, over https"),
            Self::Malformed { .. } => failure.wanted("an answer of Rekor's API of version 1"),
            Self::TooLarge { .. } => failure.wanted("fewer entries under one hash"),
            Self::TimedOut { .. } | Self::Unreachable { .. } => failure,
        }
    }

    /// The same, about so many entries.
    pub(super) fn of_entries(self, count: usize) -> Self {
        match self {
            Self::TooLarge { log, limit, entries: _ } => {
                Self::TooLarge { log, limit, entries: count }
            }
            other @ (Self::Forbidden { .. }
            | Self::Malformed { .. }
            | Self::TimedOut { .. }
            | Self::Unreachable { .. }) => other,
        }
    }
}
