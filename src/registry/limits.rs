//! Every bound on what a registry may make us read, follow or wait for.
use std::time::Duration;

/// Largest manifest or index, in bytes. The OCI distribution specification asks registries to
/// accept at least this much, and clients to expect no more ("Pushing Manifests").
pub const MAX_MANIFEST_BYTES: usize = 4 << 20;

/// Largest payload or bundle, in bytes. A bundle with a certificate, a log entry and a timestamp
/// takes 10 KiB; an attestation of a large build some hundred. Verification has the same bound.
pub const MAX_BLOB_BYTES: usize = 1 << 20;

/// Most bytes of manifests and blobs read for one image. A hundred bundles of ordinary size take
/// two; it keeps 128 candidates of the largest size from adding up.
pub const MAX_EVIDENCE_BYTES: usize = 8 << 20;

/// Most bytes of answers in memory at a time, for all images and tenants together: a fifth of the
/// 128 MiB that the whole server is to stay below, and enough for one image's largest evidence. Ordinary evidence takes some 50 KiB an image.
/// Beyond it an answer is not read, and the request is sent again after a pause.
pub const MAX_HELD_BYTES: usize = 24 << 20;

/// What an answer counts for at least toward [`MAX_HELD_BYTES`]: its place in maps, lists and
/// explanations.
pub const MIN_HELD_BYTES: usize = 4 << 10;

/// Longest media or artifact type, in bytes (RFC 6838, 4.2: 127 characters on each side).
pub const MAX_TYPE_BYTES: usize = 255;

/// Largest answer of a token service, in bytes. Tokens with many group claims reach 16 KiB.
pub const MAX_TOKEN_BYTES: usize = 64 << 10;

/// Most bytes read of an error's body: enough for the error code in it.
pub const MAX_ERROR_BYTES: usize = 8 << 10;

/// Longest `WWW-Authenticate`, `Link` or `Location` header that is looked at, in bytes. Presigned
/// storage addresses are the longest in use, at about 2 KiB.
pub const MAX_HEADER_BYTES: usize = 8 << 10;

/// Most header lines in an answer. Registries behind two proxies send about thirty.
pub const MAX_HEADERS: usize = 100;

/// Most pages of referrers read for one image. Registries put 50 to 1,000 on a page.
pub const MAX_REFERRERS_PAGES: usize = 16;

/// Most descriptors kept of an index or of all pages of referrers. A multi-platform image with
/// SBOMs, provenance and weekly signatures for years stays below.
pub const MAX_DESCRIPTORS: usize = 1_024;

/// Most annotations kept of a layer or descriptor. cosign writes five, users add a few.
pub const MAX_ANNOTATIONS: usize = 64;

/// Most redirects followed for one request. Storage back ends need one, geographic routing two.
pub const MAX_REDIRECTS: usize = 5;

/// Most times that one request is sent: two retries ride out a restart, more would only delay the
/// answer for which the API server waits.
pub const MAX_TRIES: u32 = 3;

/// First pause before a retry where the registry names none; it doubles each time.
pub const RETRY_PAUSE: Duration = Duration::from_millis(200);

/// Longest `Retry-After` obeyed. The API server gives webhooks at most 30 seconds.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(30);

/// Accounts whose pause at one registry is remembered at a time. A cluster has some ten at its
/// largest; one that is forgotten costs a request that is refused again.
pub const MAX_PAUSES: usize = 64;

/// Connections in a row that fail before a server is left alone: more than the tries of one request,
/// so that a name that is mistyped once does not count as an outage.
pub const UNREACHED: u32 = 5;

/// Requests in a row that a server fails to answer before it is left alone: three requests with all
/// their tries. A restart behind a balancer fails fewer.
pub const UNANSWERED: u32 = 9;

/// From how many repositories those must come. One may be broken alone.
pub const MIN_SUSPECTS: usize = 2;

/// Most repositories that are known to have failed in one row. Each takes eight bytes; a server that
/// has failed so many without one answer serves nobody.
pub const MAX_SUSPECTS: usize = 256;

/// How long a server must have said nothing for it to count. As long as connecting may take: a
/// manifest is looked up in a twentieth, and whoever waits less has not found out.
pub const SILENCE: Duration = CONNECT_TIMEOUT;

/// How long a server is left alone first; it doubles each time it still does not answer. Short, as
/// most outages are over by then.
pub const FIRST_REST: Duration = Duration::from_secs(1);

/// Longest time that a server is left alone: so long after its return it is in use again, and a
/// thousand clusters send it some thirty requests a second meanwhile.
pub const MAX_REST: Duration = Duration::from_secs(30);

/// Time for one request with its answer where the settings give none. Half of the ten seconds
/// that an admission request has by default, so that one retry fits.
pub const DEFAULT_REQUEST_TIMEOUT: Duration = Duration::from_secs(5);

/// Time for connecting: a reachable registry needs two round trips and a TLS handshake.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);

/// Requests under way at one registry at a time; container runtimes use 3 to 10 for one image.
pub const MAX_CONCURRENT_REQUESTS: usize = 16;

/// Requests under way at a time at a server that a registry leads to: storage, a token service. Each
/// registry has its own, so that those which lead to a server that others use take no place of them;
/// half of a registry's, as storage answers within one round trip.
pub const MAX_FOREIGN_REQUESTS: usize = 8;

/// Names looked up at a time. A lookup occupies a thread until the system's resolver gives up, long
/// after its request has ended: without a bound, names that nobody answers for would take every
/// thread, also those that parse and verify.
pub const MAX_LOOKUPS: usize = 32;

/// How long a lookup is waited for while so many are under way. Of [`CONNECT_TIMEOUT`] it leaves
/// what the lookup and the connection need.
pub const LOOKUP_PATIENCE: Duration = Duration::from_secs(1);

/// Credential helpers that run at a time: each is a process, of some ten MiB.
pub const MAX_HELPERS: usize = 4;

/// Connections kept to one host after its answers, and how long. A request for evidence makes some
/// ten calls in a row; hosts that are named once must not add up.
pub const MAX_IDLE_CONNECTIONS: usize = 4;

/// See [`MAX_IDLE_CONNECTIONS`].
pub const IDLE_LIFE: Duration = Duration::from_secs(15);

/// Most bytes on their way to us on one HTTP/2 connection, and on one stream of it, before they are
/// read. A server may send them whether we want them or not.
pub const WINDOW_BYTES: u32 = 256 << 10;

/// Servers whose request budgets are remembered at a time; a cluster uses some ten.
pub const MAX_REGISTRIES: u64 = 1_024;

/// How long it is remembered that a server has no lists of referrers. Registries learn it with an
/// upgrade, after which clients stop writing the tag that stands in for them.
pub const LACK_LIFE: Duration = Duration::from_secs(10 * 60);

/// Tokens kept: one a repository and credential in use. Each takes a few KiB.
pub const MAX_TOKENS: u64 = 4_096;

/// Life of a token that names none (distribution specification, token authentication: 60 s).
pub const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(60);

/// Longest time that a token is used, whatever it says, so that a revoked credential ends soon.
pub const MAX_TOKEN_LIFE: Duration = Duration::from_secs(15 * 60);

/// Largest Docker configuration, in bytes: Kubernetes limits secrets to 1 MiB.
pub const MAX_CONFIG_BYTES: usize = 1 << 20;

/// Largest pull secret that is looked into, in bytes. Cloud tokens take some 3 KiB each, so that
/// twenty registries fit; whoever may write secrets must not fill the memory of all.
pub const MAX_PULL_SECRET_BYTES: usize = 64 << 10;

/// Most credentials tried for one repository on one server. One is the rule and two are a
/// rotation; every further one is a request that the registry counts as a failed login.
pub const MAX_CREDENTIALS: usize = 5;

/// How long a credential that a registry refused is not shown to it again for the same repository.
/// Registries lock accounts after some ten failures in minutes; people who grant access expect it
/// to work after a retry.
pub const REFUSAL_LIFE: Duration = Duration::from_secs(20);

/// How long a credential that could read a repository is believed when it finds nothing there.
pub const ACCEPTANCE_LIFE: Duration = Duration::from_secs(60);

/// Time for a credential helper. Cloud helpers make one or two requests.
pub const HELPER_TIMEOUT: Duration = Duration::from_secs(5);

/// Largest answer of a credential helper, in bytes: a user name and a token.
pub const MAX_HELPER_BYTES: usize = 64 << 10;

/// How long a credential helper's answer is used. Cloud tokens live for an hour or more.
pub const HELPER_LIFE: Duration = Duration::from_secs(5 * 60);
