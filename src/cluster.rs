//! The Kubernetes API: what Tegata reads of a cluster, and the little that it writes.
//!
//! | module | reads | writes |
//! |---|---|---|
//! | [`watch`] | policies, trust roots, namespaces, keys | nothing |
//! | [`status`] | nothing | conditions of policies and trust roots, by the elected replica |
//! | [`lease`] | the Lease | the Lease |
//! | [`serving`] | the certificate's Secret | that Secret, and `caBundle` of our webhooks |
//! | [`credentials`] | pull secrets and ServiceAccounts, by name | nothing |
//! | [`events`] | nothing | Events on workloads |
pub mod credentials;
pub mod events;
pub mod lease;
pub mod serving;
pub mod status;
pub mod watch;
