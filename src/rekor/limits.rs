//! Every bound on what a log may make us read or wait for.
use std::time::Duration;

/// Entries asked for in one request: as many as Rekor's API takes (`entryUUIDs`, `maxItems`).
pub const BATCH: usize = 10;

/// Most entries that are looked at for one hash. An image that is signed anew every week by three
/// signers, with the same payload, has some hundred in a year, but each signature is asked for while
/// it is young; whoever floods a public log must be met by a bound.
pub const MAX_LISTED: usize = 40;

/// Largest answer to a search, in bytes: some 12,000 entries. More is refused unread.
pub const MAX_INDEX_BYTES: usize = 1 << 20;

/// Largest answer with [`BATCH`] entries, in bytes. An entry takes 5 to 15 KiB with its proof;
/// entries with an attestation beside them up to 200. Batches that are larger are left out.
pub const MAX_BATCH_BYTES: usize = 1 << 20;

/// Largest single entry that is kept, in bytes: ten times one with a certificate and a proof.
pub const MAX_ENTRY_BYTES: usize = 128 << 10;

/// Requests under way at one log at a time: the batches of one search.
pub const MAX_CONCURRENT_REQUESTS: usize = 4;

/// Searches under way at a time in logs that administrators name, and as many in those that
/// namespaces' owners name. Each holds up to four answers of [`MAX_BATCH_BYTES`].
pub const MAX_CONCURRENT_SEARCHES: usize = 4;

/// Time for one request with its answer: what the public log takes in its slow hours.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(4);

/// Time for one search, with its wait for a turn. Below the ten seconds that an admission request
/// has by default.
pub const SEARCH_TIMEOUT: Duration = Duration::from_secs(8);

/// Most bytes of answers that are remembered: a hit takes some 10 KiB.
pub const MAX_CACHED_BYTES: u64 = 4 << 20;

/// Logs whose queues are remembered at a time; a cluster uses one or two.
pub const MAX_LOGS: u64 = 64;

/// How long entries are remembered that led to a good signature. What a log has once logged stays;
/// only a proof under a newer checkpoint would be another.
pub const HIT_LIFE: Duration = Duration::from_secs(60 * 60);

/// How long it is remembered that a log has no entry, or one that does not verify: a signer who logs
/// late, or whose log's answer was damaged on its way, expects a retry to find it.
pub const MISS_LIFE: Duration = Duration::from_secs(15);
