//! Why metadata or a target is not trusted.
use jiff::Timestamp;

use crate::verdict::printable;

use super::Role;

/// Why metadata or a target is not trusted.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TufError {
    /// Too few of the role's keys sign it (5.3.4 and others).
    #[error("{valid} of the keys of the {role} role sign the {role} metadata, wanted {threshold}")]
    BelowThreshold {
        /// The role.
        role: Role,
        /// How many keys sign it; each is counted once.
        valid: usize,
        /// How many must.
        threshold: usize,
    },
    /// The top-level targets do not name the target, and delegations are not followed.
    #[error(
        "the top-level targets do not name `{}`; targets of delegated roles are not supported",
        printable(name)
    )]
    Delegated {
        /// The target.
        name: String,
    },
    /// A snapshot leaves out targets metadata that an earlier one named (5.5.5).
    #[error("the snapshot no longer names `{}`, which an earlier one named", printable(name))]
    Dropped {
        /// The file.
        name: String,
    },
    /// It has expired (5.3.10, 5.4.4, 5.5.6, 5.6.5): a freeze attack, or a neglected repository.
    #[error("the {role} metadata expired at {expires}")]
    Expired {
        /// The role.
        role: Role,
        /// When.
        expires: Timestamp,
    },
    /// The bytes have another hash than was signed.
    #[error("{} has another {algorithm} than was signed", printable(name))]
    HashMismatch {
        /// The file.
        name: String,
        /// The hash algorithm.
        algorithm: &'static str,
    },
    /// The bytes are more or fewer than was signed.
    #[error("{} has {found} bytes, signed were {wanted}", printable(name))]
    LengthMismatch {
        /// The file.
        name: String,
        /// How many there are.
        found: u64,
        /// How many there must be.
        wanted: u64,
    },
    /// It is no metadata of its role.
    #[error("the {role} metadata is malformed: {problem}")]
    Malformed {
        /// The role.
        role: Role,
        /// What is wrong, in one clause.
        problem: String,
    },
    /// A target's name could name something else than a file of the repository.
    #[error("the target name `{}` {problem}", printable(name))]
    NameForbidden {
        /// The name.
        name: String,
        /// What is wrong with it.
        problem: &'static str,
    },
    /// Metadata that must come before is not there.
    #[error("there is no {role} metadata yet")]
    NotLoaded {
        /// The role.
        role: Role,
    },
    /// It is older than what is trusted (5.4.3, 5.5.5).
    #[error("{} goes back from version {trusted} to {offered}", printable(name))]
    Rollback {
        /// The file.
        name: String,
        /// The trusted version.
        trusted: u64,
        /// The version offered.
        offered: u64,
    },
    /// A root is not the one after the trusted (5.3.5).
    #[error("the root metadata has version {offered}, wanted the one after {trusted}")]
    RootVersion {
        /// The trusted version.
        trusted: u64,
        /// The version offered.
        offered: u64,
    },
    /// No targets metadata names it.
    #[error("the repository has no target `{}`", printable(name))]
    TargetAbsent {
        /// The target.
        name: String,
    },
    /// A role asks for no signature at all.
    #[error("the root metadata asks for no signature of the {role} role, wanted one at least")]
    ThresholdZero {
        /// The role.
        role: Role,
    },
    /// It is larger than anything that is expected.
    #[error("{} has {bytes} bytes; the limit is {limit}", printable(name))]
    TooLarge {
        /// The file.
        name: String,
        /// How large it is, or says that it is.
        bytes: u64,
        /// The limit, in bytes.
        limit: usize,
    },
    /// It has another version than the metadata before it names (5.5.4, 5.6.4).
    #[error("the {role} metadata has version {found}, wanted {wanted}")]
    VersionMismatch {
        /// The role.
        role: Role,
        /// Its version.
        found: u64,
        /// The version named.
        wanted: u64,
    },
}
