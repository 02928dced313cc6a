//! Pull credentials of tenants: registries, asked with what the kubelet would ask them with.
//!
//! The pod's image pull secrets come first, then those of its ServiceAccount, then Tegata's own
//! where they may be used. Secrets are read by name when an image needs them, and nothing that one
//! tenant's secret opened is handed to another. A secret that cannot be read fails nothing by
//! itself; when the registry then refuses, the failure says why.
use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering;
use std::time::Duration;
use std::time::Instant;

use bytes::Bytes;
use moka::sync::Cache;

use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::FetchEvidence;
use crate::evidence::OwnCredentials;
use crate::evidence::Part;
use crate::evidence::Place;
use crate::evidence::Problem;
use crate::evidence::Scope;
use crate::evidence::Tenant;
use crate::fingerprint::Fingerprint;
use crate::fingerprint::Parts;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::registry::Keychain;
use crate::registry::Registry;
use crate::verdict::Failure;
use crate::verdict::MAX_TEXT;
use crate::verdict::Reason;

mod gather;
mod secrets;

use gather::Gathered;
use gather::Unread;
use secrets::PullSecrets;

/// Most time for all that is read for one image: an API server in good health needs a hundredth.
/// It is at most half of what the image has left, so that a registry without need of credentials
/// is still asked.
const READ_TIME: Duration = Duration::from_secs(2);

/// Most unread secrets that one failure names; the text of a denial has room for no more.
const MAX_NOTES: usize = 3;

/// Most tenants and repositories of which it is remembered whose credentials count, at some 200 bytes
/// each; a cluster of a thousand namespaces has a few thousand.
const MAX_SCOPES: u64 = 8_192;

/// How long that is remembered: for so long at most, a tenant whose secret was withdrawn is told what
/// is known already.
const SCOPE_LIFE: Duration = Duration::from_secs(30);

/// Whose pull secrets are read.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum PullSecretScope {
    /// Those of every namespace.
    #[default]
    Everywhere,
    /// Those of these namespaces.
    Namespaces(BTreeSet<String>),
    /// Nobody's.
    Nowhere,
}

impl PullSecretScope {
    /// Whether the secrets of this namespace are read.
    pub fn covers(&self, namespace: &str) -> bool {
        match self {
            Self::Everywhere => true,
            Self::Namespaces(names) => names.contains(namespace),
            Self::Nowhere => false,
        }
    }
}

/// Registries, asked on behalf of tenants. Clones share what was read.
#[derive(Clone, Debug)]
pub struct TenantRegistry {
    registry: Registry,
    secrets: Option<PullSecrets>,
    scope: PullSecretScope,
    /// Who may be told what, as last found out.
    scopes: Cache<Opened, Scope>,
    /// Numbers scopes that are nobody's.
    unknown: Arc<AtomicU64>,
}

/// A hash of a repository, and of whose credentials are to open it.
type Opened = Fingerprint;

fn opened(tenant: &Tenant, own: OwnCredentials, repository: &Repository) -> Opened {
    let Tenant { namespace, service_account, pull_secrets } = tenant;
    Parts::of("opened")
        .part(namespace)
        .part(service_account)
        .list(pull_secrets.iter())
        .part([u8::from(own == OwnCredentials::Used)])
        .part(repository.registry())
        .part(repository.path())
        .finish()
}

impl TenantRegistry {
    /// Asks through `registry`, whose keychain is Tegata's own, and reads pull secrets of `scope`
    /// through `api`; without one, tenants have none.
    pub fn new(registry: Registry, api: Option<kube::Client>, scope: PullSecretScope) -> Self {
        let secrets = api.map(|api| PullSecrets::new(api, registry.metrics().clone()));
        let scopes = Cache::builder().max_capacity(MAX_SCOPES).time_to_live(SCOPE_LIFE).build();
        Self { registry, secrets, scope, scopes, unknown: Arc::default() }
    }

    /// What may be read for this tenant, and through what.
    fn secrets(&self, tenant: &Tenant) -> Option<&PullSecrets> {
        let named = !tenant.namespace.is_empty() && self.scope.covers(&tenant.namespace);
        self.secrets.as_ref().filter(|_| named)
    }

    async fn gather(&self, tenant: &Tenant, deadline: Instant) -> Gathered {
        let Some(secrets) = self.secrets(tenant) else {
            return Gathered::default();
        };
        let now = Instant::now();
        let time = READ_TIME.min(deadline.saturating_duration_since(now) / 2);
        gather::gather(secrets, tenant, now + time).await
    }

    /// What is there now, where it is not what was there before; only what was read a while ago is
    /// read again.
    async fn gather_again(
        &self,
        before: &Gathered,
        tenant: &Tenant,
        deadline: Instant,
    ) -> Option<Gathered> {
        if !self.secrets(tenant)?.forget(&before.read).await {
            return None;
        }
        let now = self.gather(tenant, deadline).await;
        (now.versions != before.versions).then_some(now)
    }

    /// Where Tegata itself has nothing to show, it does not matter whether it would.
    fn own(&self, own: OwnCredentials, repository: &Repository) -> OwnCredentials {
        match self.registry.fingerprint(&self.registry.keychain(), repository) {
            Some(_) => own,
            None => OwnCredentials::Withheld,
        }
    }

    fn acting(&self, gathered: &Gathered, own: OwnCredentials) -> Registry {
        let mut keychain = gathered.keychain.clone();
        match own {
            OwnCredentials::Used => keychain.then(Keychain::clone(&self.registry.keychain())),
            OwnCredentials::Withheld => {}
        }
        self.registry.with_keychain(keychain)
    }
}

impl FetchEvidence for TenantRegistry {
    async fn resolve(&self, image: &ImageRef, deadline: Instant) -> Result<Digest, Failure> {
        self.registry.resolve(image, deadline).await
    }

    async fn fetch(&self, query: &EvidenceQuery, deadline: Instant) -> Evidence {
        self.registry.fetch(query, deadline).await
    }

    async fn read(
        &self,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        self.registry.read(repository, part, deadline).await
    }

    async fn read_for(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let mut gathered = self.gather(tenant, deadline).await;
        let read = async |gathered: &Gathered| {
            self.acting(gathered, own).read(repository, part, deadline).await
        };
        let mut outcome = Box::pin(read(&gathered)).await;
        if outcome.as_ref().is_err_and(is_refusal)
            && let Some(now) = self.gather_again(&gathered, tenant, deadline).await
        {
            gathered = now;
            outcome = Box::pin(read(&gathered)).await;
        }
        outcome.map_err(|failure| explain(failure, &gathered.unread))
    }

    async fn resolve_for(
        &self,
        tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
    ) -> Result<Digest, Failure> {
        if image.digest().is_some() {
            return self.registry.resolve(image, deadline).await;
        }
        let mut gathered = self.gather(tenant, deadline).await;
        let resolve = async |gathered: &Gathered| {
            self.acting(gathered, OwnCredentials::Used).resolve(image, deadline).await
        };
        let mut outcome = Box::pin(resolve(&gathered)).await;
        if outcome.as_ref().is_err_and(is_refusal)
            && let Some(now) = self.gather_again(&gathered, tenant, deadline).await
        {
            gathered = now;
            outcome = Box::pin(resolve(&gathered)).await;
        }
        outcome.map_err(|failure| explain(failure, &gathered.unread))
    }

    async fn fetch_for(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        query: &EvidenceQuery,
        deadline: Instant,
    ) -> Arc<Evidence> {
        let mut gathered = self.gather(tenant, deadline).await;
        let fetch =
            async |gathered: &Gathered| self.acting(gathered, own).fetch(query, deadline).await;
        let mut evidence = Box::pin(fetch(&gathered)).await;
        if failures(&mut evidence).any(|failure| is_refusal(failure))
            && let Some(now) = self.gather_again(&gathered, tenant, deadline).await
        {
            gathered = now;
            evidence = Box::pin(fetch(&gathered)).await;
        }
        let Gathered { unread, .. } = &gathered;
        for failure in failures(&mut evidence) {
            *failure = explain(failure.clone(), unread);
        }
        // A stranger who is told of nothing has not learned that there is nothing.
        if evidence.candidates.is_empty()
            && evidence.problems.is_empty()
            && unread.iter().any(Unread::is_outage)
        {
            let failure = Failure::new(Reason::RegistryUnauthorised, "nothing is to be seen");
            let failure = explain(failure, unread);
            // Every kind of signature and of attestation may stand there.
            evidence.problems.push(Problem { place: Place::Referrers, failure });
        }
        Arc::new(evidence)
    }

    async fn scope(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
        deadline: Instant,
    ) -> Scope {
        let (asked, own) = (own, self.own(own, repository));
        if self.secrets(tenant).is_none() {
            return Scope::Own(own);
        }
        let gathered = self.gather(tenant, deadline).await;
        let opened = opened(tenant, asked, repository);
        // What cannot be read for now may count when the registry is asked: whose credentials open what
        // it answers is then not known, and nobody else may be told.
        if gathered.unread.iter().any(Unread::is_outage) {
            self.scopes.invalidate(&opened);
            let number = self.unknown.fetch_add(1, Ordering::Relaxed);
            let credentials = Parts::of("unknown").part(number.to_be_bytes()).finish();
            return Scope::Tenant { credentials, secrets: credentials, own };
        }
        let scope = match self.registry.fingerprint(&gathered.keychain, repository) {
            Some(credentials) => Scope::Tenant { credentials, secrets: gathered.names(), own },
            None => Scope::Own(own),
        };
        self.scopes.insert(opened, scope.clone());
        scope
    }

    fn scope_now(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
    ) -> Option<Scope> {
        if self.secrets(tenant).is_none() {
            return Some(Scope::Own(self.own(own, repository)));
        }
        self.scopes.get(&opened(tenant, own, repository))
    }
}

fn failures(evidence: &mut Evidence) -> impl Iterator<Item = &mut Failure> {
    let Evidence { candidates, problems, query: _, kept: _ } = evidence;
    let contents = candidates.iter_mut().filter_map(|candidate| candidate.content.as_mut().err());
    contents.chain(problems.iter_mut().map(|problem| &mut problem.failure))
}

fn is_refusal(failure: &Failure) -> bool {
    failure.reason == Reason::RegistryUnauthorised
}

/// Adds what could not be read to a refusal. An image that is not there is a refusal, too, where
/// the API server was the reason: with the credentials it might be.
fn explain(failure: Failure, unread: &[Unread]) -> Failure {
    let hidden = failure.reason == Reason::ImageNotFound && unread.iter().any(Unread::is_outage);
    if unread.is_empty() || !(is_refusal(&failure) || hidden) {
        return failure;
    }
    let notes: Vec<String> = unread.iter().take(MAX_NOTES).map(ToString::to_string).collect();
    let notes = format!("; {}", notes.join("; "));
    // The notes are what the reader can act on: the rest gives way.
    let room = MAX_TEXT.saturating_sub(notes.chars().count());
    let found: String = failure.found.chars().take(room).collect();
    Failure::new(Reason::RegistryUnauthorised, format!("{found}{notes}")).wanted(failure.wanted)
}
