//! Evidence of one image for several policies: each place is asked once.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::time::Instant;

use futures::FutureExt as _;
use futures::future::BoxFuture;
use futures::future::Shared;
use futures::future::WeakShared;
use futures::future::join_all;

use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::FetchEvidence;
use crate::evidence::OwnCredentials;
use crate::evidence::Tenant;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::policy::Authority;
use crate::policy::Policy;
use crate::policy::PolicyId;
use crate::policy::Signer;

/// A place, and whose credentials open it.
type Asked = (EvidenceQuery, OwnCredentials);

type Fetching<'a> = BoxFuture<'a, Arc<Evidence>>;

/// What an authority finds in its places.
pub(super) type Found = Vec<Arc<Evidence>>;

/// The places of one image that are being asked. What nobody waits for any more is let go.
pub(super) struct Gathering<'a, F> {
    fetch: &'a F,
    tenant: &'a Tenant,
    image: &'a ImageRef,
    by: Instant,
    /// The places in which one of the policies looks for attestations, too; the digest is left out.
    attested: BTreeSet<Asked>,
    under_way: Mutex<BTreeMap<Asked, WeakShared<Fetching<'a>>>>,
}

impl<'a, F: FetchEvidence> Gathering<'a, F> {
    /// Nothing is asked yet; whatever is must answer until `by`.
    pub(super) fn new(
        fetch: &'a F,
        tenant: &'a Tenant,
        image: &'a ImageRef,
        policies: &[Arc<Policy>],
        by: Instant,
    ) -> Self {
        let attested = attested(policies, image);
        Self { fetch, tenant, image, by, attested, under_way: Mutex::default() }
    }

    /// What each authority of a policy finds for a digest, in their order.
    pub(super) fn evidence(
        &self,
        policy: &Policy,
        digest: &Digest,
    ) -> impl Future<Output = Vec<Found>> + use<'a, F> {
        let of_authority = |authority: &Authority| {
            let own = own_credentials(&policy.id, authority);
            let queries = queries(authority, self.image, digest).into_iter();
            join_all(queries.map(|query| self.fetch((query, own))))
        };
        join_all(policy.authorities.iter().map(of_authority).collect::<Vec<_>>())
    }

    /// The same places asked once more, after what they gave has led to nothing good; `None` where that
    /// is new enough, or where nothing is kept.
    pub(super) async fn again(&self, policy: &Policy, found: &[Found]) -> Option<Vec<Found>> {
        let Self { fetch, tenant, by, .. } = *self;
        let of_authority = |(authority, found): (&Authority, &Found)| {
            let own = own_credentials(&policy.id, authority);
            let again = found.iter().cloned().map(|seen| async move {
                let fresh = fetch.fetch_again(tenant, own, &seen, by).await;
                (fresh.is_some(), fresh.unwrap_or(seen))
            });
            join_all(again.collect::<Vec<_>>())
        };
        let asked = policy.authorities.iter().zip(found).map(of_authority);
        let answers = join_all(asked.collect::<Vec<_>>()).await;
        let any = answers.iter().flatten().any(|(is_fresh, _)| *is_fresh);
        let fresh = |answers: Vec<(bool, _)>| answers.into_iter().map(|(_, found)| found).collect();
        any.then(|| answers.into_iter().map(fresh).collect())
    }

    fn fetch(&self, (query, own): Asked) -> Shared<Fetching<'a>> {
        let attestations = self.attested.contains(&(anonymous(query.clone()), own));
        let query = EvidenceQuery { attestations, ..query };
        let asked = (query.clone(), own);
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(fetching) = under_way.get(&asked).and_then(WeakShared::upgrade) {
            return fetching;
        }
        let Self { fetch, tenant, by, .. } = *self;
        let fetching = async move { fetch.fetch_for(tenant, own, &query, by).await };
        let fetching = fetching.boxed().shared();
        if let Some(weak) = fetching.downgrade() {
            under_way.insert(asked, weak);
        }
        fetching
    }
}

/// A place that a namespace's owners name is asked with their own credentials alone.
const fn own_credentials(policy: &PolicyId, authority: &Authority) -> OwnCredentials {
    match policy {
        PolicyId::Namespaced { .. } if !authority.sources.is_empty() => OwnCredentials::Withheld,
        PolicyId::Cluster { .. } | PolicyId::Namespaced { .. } => OwnCredentials::Used,
    }
}

fn attested(policies: &[Arc<Policy>], image: &ImageRef) -> BTreeSet<Asked> {
    let of_policy = |policy: &Arc<Policy>| {
        let asking = policy.authorities.iter().filter(|one| !one.attestations.is_empty());
        let places = asking.flat_map(|authority| {
            let own = own_credentials(&policy.id, authority);
            let queries = queries(authority, image, &Digest::sha256_of(b"")).into_iter();
            queries.map(move |query| (anonymous(query), own))
        });
        places.collect::<Vec<_>>()
    };
    policies.iter().flat_map(of_policy).collect()
}

/// The place alone, whichever digest is looked for in it.
fn anonymous(query: EvidenceQuery) -> EvidenceQuery {
    EvidenceQuery { digest: Digest::sha256_of(b""), attestations: false, ..query }
}

/// Where the signatures for an authority may be.
fn queries(authority: &Authority, image: &ImageRef, digest: &Digest) -> Vec<EvidenceQuery> {
    let query = |repository: &crate::image::Repository, tag_prefix: &str| EvidenceQuery {
        repository: repository.clone(),
        digest: digest.clone(),
        tag_prefix: tag_prefix.to_owned(),
        attestations: false,
    };
    if is_static(authority) {
        return Vec::new();
    }
    if authority.sources.is_empty() {
        return vec![query(image.repository(), "")];
    }
    let sources = authority.sources.iter();
    sources
        .map(|source| {
            let repository = source.repository.as_ref().unwrap_or_else(|| image.repository());
            query(repository, &source.tag_prefix)
        })
        .collect()
}

/// Whether an authority asks nobody.
pub(super) fn is_static(authority: &Authority) -> bool {
    matches!(authority.signer, Signer::StaticPass | Signer::StaticFail { .. })
}
