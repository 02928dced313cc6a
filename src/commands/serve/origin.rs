//! Where policies come from, and what else runs for them: files, or a cluster.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future;
use futures::future::BoxFuture;
use tokio::sync::oneshot;
use tokio::sync::watch;

use super::Parts;
use super::ServeError;
use crate::args::ClusterArgs;
use crate::cluster::events::Events;
use crate::cluster::events::Reporter;
use crate::cluster::lease;
use crate::cluster::serving;
use crate::cluster::serving::ServingOptions;
use crate::cluster::status;
use crate::cluster::watch as cluster_watch;
use crate::cluster::watch::POLICIES;
use crate::cluster::watch::WatchOptions;
use crate::metrics::Metrics;
use crate::policy::PolicySnapshot;
use crate::policy::compile::References;
use crate::server::Observe;
use crate::server::health::Readiness;
use crate::server::reload;
use crate::server::reload::Load;
use crate::server::reload::Reloader;
use crate::server::tls;
use crate::trust_root::TrustRoot;
use crate::tuf::Follower;

/// Where policies come from.
#[derive(Debug)]
pub enum Origin<L> {
    /// Files, loaded by this.
    Files(L),
    /// A cluster's API server.
    Cluster(Box<Cluster>),
}

/// A cluster, and who we are in it.
pub struct Cluster {
    /// Its API.
    pub client: kube::Client,
    /// What the flags say of it.
    pub args: ClusterArgs,
    /// Our name among the replicas.
    pub identity: String,
    /// The trust root of authorities that name none.
    pub default_root: Arc<TrustRoot>,
    /// Fetches trust roots.
    pub follower: Follower,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster").field("identity", &self.identity).finish_non_exhaustive()
    }
}

/// What the server takes from its origin.
pub(super) struct Feeds {
    pub(super) snapshots: watch::Receiver<Arc<PolicySnapshot>>,
    pub(super) references: Option<watch::Receiver<Arc<References>>>,
    pub(super) observer: Option<Arc<dyn Observe>>,
    pub(super) tls: Option<tls::Source>,
    /// Lets another replica lead; to be awaited when this one stops.
    pub(super) resign: Option<BoxFuture<'static, ()>>,
}

/// What an origin starts with.
pub(super) struct Start<'a> {
    pub(super) parts: &'a mut Parts,
    pub(super) metrics: &'a Metrics,
    pub(super) readiness: &'a Readiness,
    pub(super) policies: Vec<PathBuf>,
    pub(super) poll: Option<Duration>,
    pub(super) follower: Option<Follower>,
}

impl<L: Load> Origin<L> {
    /// Starts what feeds the server, and waits until the policies are there.
    pub(super) async fn start(self, start: Start<'_>) -> Result<Feeds, ServeError> {
        match self {
            Self::Files(load) => files(load, start).await,
            Self::Cluster(cluster) => cluster.start(start).await,
        }
    }
}

async fn files(load: impl Load, start: Start<'_>) -> Result<Feeds, ServeError> {
    let Start { parts, metrics, readiness, policies, poll, follower } = start;
    let (reloader, snapshots) =
        Reloader::start(policies, load, metrics.clone()).await.map_err(ServeError::Policies)?;
    let received = snapshots.subscribe();
    readiness.ready(POLICIES);
    let reloading = reloader.run(snapshots, poll.unwrap_or(reload::POLL), follower);
    parts.spawn(async move {
        reloading.await;
        ("policy reload", Ok(()))
    });
    Ok(Feeds { snapshots: received, references: None, observer: None, tls: None, resign: None })
}

impl Cluster {
    async fn start(self, start: Start<'_>) -> Result<Feeds, ServeError> {
        let Start { parts, metrics, readiness, .. } = start;
        let Self { client, args, identity, default_root, follower } = self;
        let ClusterArgs {
            namespace,
            pod_name: _,
            lease,
            tls_secret,
            service,
            mutating_webhook,
            validating_webhook,
            pull_secrets: _,
        } = args;
        let (stop, stopped) = oneshot::channel::<()>();
        let (gone, resigned) = oneshot::channel::<()>();
        let timing = lease::Timing::default();
        let (leader, leading) =
            lease::run(client.clone(), &namespace, &lease, &identity, timing, stopped.map(drop));
        parts.spawn(async move {
            leading.await;
            drop(gone);
            // A part that ends before the webhook does would stop the server.
            future::pending().await
        });
        let resign = async move {
            drop(stop);
            // Nothing is sent: what counts is the end.
            let _ = resigned.await;
        };
        let tls = match tls_secret {
            None => None,
            Some(secret_name) => {
                let options = ServingOptions {
                    dns_names: service_names(&service, &namespace),
                    namespace: namespace.clone(),
                    secret_name,
                    mutating: mutating_webhook,
                    validating: validating_webhook,
                };
                let client = client.clone();
                let (source, keeping) =
                    serving::start(client, options, leader.clone(), metrics.clone()).await?;
                parts.spawn(async move {
                    keeping.await;
                    ("certificate keeper", Ok(()))
                });
                Some(source)
            }
        };
        let options = WatchOptions { own_namespace: namespace, default_root, follower };
        let watching =
            cluster_watch::start(client.clone(), options, metrics.clone(), readiness.clone()).await;
        parts.spawn(async move {
            watching.task.await;
            ("watch on the cluster", Ok(()))
        });
        let reports = watching.reports;
        let writing = status::run(client.clone(), reports.clone(), leader.clone());
        parts.spawn(async move {
            writing.await;
            ("status writer", Ok(()))
        });
        let reporter = Reporter { component: "tegata".to_owned(), instance: identity };
        let (observer, sending) = Events::start(client, reporter, metrics.clone());
        parts.spawn(async move {
            sending.await;
            ("event sender", Ok(()))
        });
        let telling = Arc::clone(&observer).of_trust_roots(reports, leader);
        parts.spawn(async move {
            telling.await;
            ("events on trust roots", Ok(()))
        });
        Ok(Feeds {
            snapshots: watching.snapshots,
            references: Some(watching.references),
            observer: Some(observer),
            tls,
            resign: Some(resign.boxed()),
        })
    }
}

/// The names by which an API server calls a Service.
fn service_names(service: &str, namespace: &str) -> Vec<String> {
    ["", ".cluster.local"].map(|domain| format!("{service}.{namespace}.svc{domain}")).to_vec()
}
