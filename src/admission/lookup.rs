//! Log entries that signatures lack: which logs a policy wants to be asked, and asking them.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Instant;

use futures::future::join_all;

use super::judge;
use super::judge::Case;
use super::judge::Search;
use super::judge::Wanted;
use crate::evidence::Candidate;
use crate::evidence::Evidence;
use crate::evidence::LogQuery;
use crate::evidence::LookedUp;
use crate::evidence::NamedBy;
use crate::evidence::SearchLog;
use crate::policy::Authority;
use crate::policy::IdentityMatcher;
use crate::policy::LogDemand;
use crate::policy::Policy;
use crate::policy::PolicyId;
use crate::policy::Signer;
use crate::policy::evaluate;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verify;
use crate::verify::CertificateIdentity;

/// Most signatures of one image whose entries are looked up for one policy. Only those are that
/// could satisfy it, so a few are the rule; each costs a search, and up to some requests more.
pub const MAX_SEARCHES: usize = 16;

/// What logs said, by the places of authority and candidate in policy and evidence.
pub(super) type Answers = BTreeMap<(usize, usize), LookedUp>;

/// What logs are to be asked, by the same places.
pub(super) type Queries = BTreeMap<(usize, usize), Query>;

/// What a log is to be asked about a candidate.
pub(super) struct Query {
    query: LogQuery,
    /// Whether something of the signature was verified. Where nothing was, anyone can have made it,
    /// and a log that does not answer must not leave the image undecided.
    proven: bool,
}

/// Whether some authority wants a log to be asked at all.
pub(super) fn asks_logs(policy: &Policy) -> bool {
    policy.authorities.iter().any(|authority| log_of(authority).is_some())
}

fn log_of(authority: &Authority) -> Option<&crate::evidence::LogUrl> {
    authority.rekor.as_ref().filter(|_| authority.demands.log != LogDemand::Optional)
}

/// The entries that would have to be looked up for a policy: those of signatures that lack one, and
/// that could satisfy it with one. Pure, and as costly as verifying signatures.
pub(super) fn queries(policy: &Policy, evidence: &[Vec<Arc<Evidence>>], case: Case<'_>) -> Queries {
    let named_by = match policy.id {
        PolicyId::Cluster { .. } => NamedBy::Administrator,
        PolicyId::Namespaced { .. } => NamedBy::Tenant,
    };
    let mut queries = Queries::new();
    for (place, authority) in policy.authorities.iter().enumerate() {
        let Some(log) = log_of(authority) else { continue };
        let found = evidence.get(place).map_or(&[][..], Vec::as_slice);
        let wanted = Wanted::of(authority);
        for (index, candidate) in judge::candidates(found).enumerate() {
            // Whoever judges sees that the time is up, too.
            if Instant::now() >= case.deadline {
                return queries;
            }
            let missing = wanted
                .iter()
                .find_map(|wanted| missing(Search { authority, wanted: *wanted, case }, candidate));
            if let Some(verify::MissingEntry { hash, signature, certificate }) = missing {
                let keyed = matches!(authority.signer, Signer::Keys(_));
                let query = LogQuery { log: log.clone(), named_by, hash, signature };
                let proven = keyed || certificate.is_some();
                queries.insert((place, index), Query { query, proven });
            }
        }
    }
    queries
}

/// The entry that a candidate lacks to be what is looked for.
fn missing(search: Search<'_>, candidate: &Candidate) -> Option<verify::MissingEntry> {
    if !search.accepts(candidate) {
        return None;
    }
    let payload = search.wanted.payload();
    let missing = |key| {
        let question = Search { ..search }.question(key, &payload);
        // What is good as it is lacks nothing.
        if search.case.facts.knows(candidate, &question, &LookedUp::NotAsked) {
            return None;
        }
        verify::missing_entry(candidate, &question)
    };
    match &search.authority.signer {
        Signer::Keys(keys) => keys.iter().find_map(|key| missing(Some(key))),
        Signer::Identities(identities) => {
            missing(None).filter(|missing| may_be(identities, missing.certificate.as_ref()))
        }
        Signer::Certificates { .. } | Signer::StaticPass | Signer::StaticFail { .. } => None,
    }
}

/// Whether a signer whom the certificate names, or whom the log will name, can be one of these.
fn may_be(identities: &[IdentityMatcher], named: Option<&CertificateIdentity>) -> bool {
    named.is_none_or(|named| evaluate::identity(identities, named).is_ok())
}

/// Asks all logs at once. Beyond [`MAX_SEARCHES`] different questions none is asked, and that is no
/// answer "no entry".
pub(super) async fn search(log: &impl SearchLog, queries: Queries, deadline: Instant) -> Answers {
    let distinct: BTreeSet<&LogQuery> = queries.values().map(|one| &one.query).collect();
    let asked = distinct.into_iter().take(MAX_SEARCHES).map(|query| async move {
        let answer = match log.search(query, deadline).await {
            Ok(answer) => LookedUp::Answered(answer),
            Err(failure) => LookedUp::Failed(failure),
        };
        (query, answer)
    });
    let answers: BTreeMap<&LogQuery, LookedUp> = join_all(asked).await.into_iter().collect();
    let answer = |Query { query, proven }: &Query| match answers.get(query) {
        Some(LookedUp::Failed(_)) if !proven => LookedUp::NotAsked,
        Some(answer) => answer.clone(),
        None => LookedUp::Failed(surplus()),
    };
    queries.iter().map(|(place, query)| (*place, answer(query))).collect()
}

/// Tells the logs that what they answered met no policy.
pub(super) async fn doubt(log: &impl SearchLog, asked: &BTreeSet<LogQuery>) {
    for query in asked {
        log.doubt(query).await;
    }
}

/// The different questions.
pub(super) fn asked(queries: &Queries) -> BTreeSet<LogQuery> {
    queries.values().map(|one| one.query.clone()).collect()
}

fn surplus() -> Failure {
    let found = format!("more than {MAX_SEARCHES} signatures lack their log entry");
    Failure::new(Reason::LogSearchTooLarge, found)
        .wanted(format!("at most {MAX_SEARCHES}, or entries that are attached"))
}
