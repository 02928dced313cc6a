//! How long registries take, measured around whatever fetches evidence.
use std::sync::Arc;
use std::time::Instant;

use bytes::Bytes;

use super::Metrics;
use super::Stage;
use crate::evidence::Evidence;
use crate::evidence::EvidenceQuery;
use crate::evidence::FetchEvidence;
use crate::evidence::OwnCredentials;
use crate::evidence::Part;
use crate::evidence::Scope;
use crate::evidence::Tenant;
use crate::image::Digest;
use crate::image::ImageRef;
use crate::image::Repository;
use crate::verdict::Failure;

/// A source of evidence whose calls are timed: [`Stage::Resolve`] and [`Stage::Fetch`].
#[derive(Clone, Debug)]
pub struct Timed<F> {
    fetch: F,
    metrics: Metrics,
}

impl<F> Timed<F> {
    /// The same source, timed.
    pub const fn new(fetch: F, metrics: Metrics) -> Self {
        Self { fetch, metrics }
    }
}

impl<F: FetchEvidence> FetchEvidence for Timed<F> {
    async fn resolve(&self, image: &ImageRef, deadline: Instant) -> Result<Digest, Failure> {
        let _timer = Timer::start(&self.metrics, Stage::Resolve);
        self.fetch.resolve(image, deadline).await
    }

    async fn fetch(&self, query: &EvidenceQuery, deadline: Instant) -> Evidence {
        let _timer = Timer::start(&self.metrics, Stage::Fetch);
        self.fetch.fetch(query, deadline).await
    }

    async fn read(
        &self,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let _timer = Timer::start(&self.metrics, Stage::Resolve);
        self.fetch.read(repository, part, deadline).await
    }

    async fn read_for(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
        part: &Part,
        deadline: Instant,
    ) -> Result<Bytes, Failure> {
        let _timer = Timer::start(&self.metrics, Stage::Resolve);
        self.fetch.read_for(tenant, own, repository, part, deadline).await
    }

    async fn resolve_for(
        &self,
        tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
    ) -> Result<Digest, Failure> {
        let _timer = Timer::start(&self.metrics, Stage::Resolve);
        self.fetch.resolve_for(tenant, image, deadline).await
    }

    async fn resolve_fresh_for(
        &self,
        tenant: &Tenant,
        image: &ImageRef,
        deadline: Instant,
    ) -> Result<Digest, Failure> {
        let _timer = Timer::start(&self.metrics, Stage::Resolve);
        self.fetch.resolve_fresh_for(tenant, image, deadline).await
    }

    async fn fetch_for(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        query: &EvidenceQuery,
        deadline: Instant,
    ) -> Arc<Evidence> {
        let _timer = Timer::start(&self.metrics, Stage::Fetch);
        self.fetch.fetch_for(tenant, own, query, deadline).await
    }

    async fn fetch_again(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        seen: &Arc<Evidence>,
        deadline: Instant,
    ) -> Option<Arc<Evidence>> {
        let _timer = Timer::start(&self.metrics, Stage::Fetch);
        self.fetch.fetch_again(tenant, own, seen, deadline).await
    }

    async fn scope(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
        deadline: Instant,
    ) -> Scope {
        self.fetch.scope(tenant, own, repository, deadline).await
    }

    fn scope_now(
        &self,
        tenant: &Tenant,
        own: OwnCredentials,
        repository: &Repository,
    ) -> Option<Scope> {
        self.fetch.scope_now(tenant, own, repository)
    }
}

/// Records the time until it is dropped, so that calls which are given up count too.
struct Timer<'a> {
    metrics: &'a Metrics,
    stage: Stage,
    start: Instant,
}

impl<'a> Timer<'a> {
    fn start(metrics: &'a Metrics, stage: Stage) -> Self {
        Self { metrics, stage, start: Instant::now() }
    }
}

impl Drop for Timer<'_> {
    fn drop(&mut self) {
        self.metrics.stage(self.stage, self.start.elapsed());
    }
}
