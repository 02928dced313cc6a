//! `tegata serve`: the webhook server, composed.
use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::net::TcpListener;
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use futures::future;
use futures::future::BoxFuture;
use futures::future::OptionFuture;
use prometheus_client::registry::Registry;
use tokio::signal::unix::SignalKind;
use tokio::signal::unix::signal;
use tokio::sync::mpsc;
use tokio::sync::oneshot;
use tokio::task::JoinSet;

use crate::admission::Admission;
use crate::admission::Mutate;
use crate::admission::Settings;
use crate::args::CacheArgs;
use crate::args::serve::ServeArgs;
use crate::cluster::serving;
use crate::cluster::watch::POLICIES;
use crate::evidence::FetchEvidence;
use crate::metrics;
use crate::metrics::Metrics;
use crate::metrics::StoreMetrics;
use crate::metrics::Timed;
use crate::rekor::Rekor;
use crate::server;
use crate::server::Admit;
use crate::server::AppState;
use crate::server::Limits;
use crate::server::drain;
use crate::server::health;
use crate::server::health::Readiness;
use crate::server::listen;
use crate::server::listen::ConnectionLimits;
use crate::server::reload::Load;
use crate::server::tls;
use crate::store::Clock;
use crate::store::Disk;
use crate::store::DiskError;
use crate::store::Shared;
use crate::store::SharedError;
use crate::store::Stored;
use crate::store::Tiers;
use crate::tuf::Follower;

mod origin;

pub use origin::Cluster;
pub use origin::Origin;

use origin::Feeds;
use origin::Start;

/// What `/readyz` waits for.
const CERTIFICATE: &str = "the serving certificate";

/// How often connections are counted while stopping: a tenth of a second more is not noticed.
const CONNECTIONS_POLL: Duration = Duration::from_millis(100);

/// Time, once all requests have ended, to write what waits for a volume.
const FLUSH_TIME: Duration = Duration::from_secs(5);

/// Most connections to the probes and metrics: a kubelet and a few scrapers hold one each.
const HEALTH_CONNECTIONS: usize = 32;

/// Serves until SIGTERM or SIGINT, with evidence from `fetch` and policies from `origin`.
///
/// # Errors
/// When the server cannot start as it is configured, or a part of it stops.
pub async fn run<F: FetchEvidence>(
    args: ServeArgs,
    options: Options,
    fetch: F,
    origin: Origin<impl Load>,
) -> Result<(), ServeError> {
    let settings = Settings { no_match: args.no_match, mutate: args.mutate };
    let signals = signals().map_err(ServeError::Signals)?;
    let (_, metrics) = &options.metrics;
    let pinned = args.mutate != Mutate::Off;
    let tiers = tiers(&args.cache, &metrics.store).await?;
    let clock = Clock::starting_at(server::now());
    let stored = Stored::new(fetch, args.cache.settings(pinned), tiers.clone(), clock);
    let admission = Admission::new(Timed::new(stored, metrics.clone()), settings);
    let admission = admission.with_log(options.rekor.clone()).keeping(args.cache.known());
    let admission = admission.telling(server::detail());
    let served = serve(args, options, admission, origin, signals).await;
    // A disk that does not answer must not keep the process.
    let _ = tokio::time::timeout(FLUSH_TIME, tiers.flush()).await;
    served
}

/// What keeps evidence beyond the process.
async fn tiers(args: &CacheArgs, metrics: &StoreMetrics) -> Result<Tiers, ServeError> {
    let disk = match args.cache_dir.clone() {
        Some(folder) => {
            let (capacity, metrics) = (args.cache_disk, metrics.clone());
            let open = move || Disk::open(&folder, capacity, metrics);
            let opened = tokio::task::spawn_blocking(open).await;
            match opened.map_err(|error| ServeError::Cache(error.to_string()))? {
                Ok(disk) => Some(disk),
                Err(error) if error.is_configuration() => return Err(error.into()),
                // It spares requests; without it they are made.
                Err(error) => {
                    tracing::warn!(%error, "Evidence is not kept on disk: --cache-dir cannot be used");
                    None
                }
            }
        }
        None => None,
    };
    let shared = args.shared().map(|options| Shared::new(options, metrics.clone())).transpose()?;
    Ok(Tiers { disk, shared, metrics: metrics.clone() })
}

/// What is not set on the command line.
#[derive(Debug)]
pub struct Options {
    /// The metrics, and the registry that they are in.
    pub metrics: (Arc<Registry>, Metrics),
    /// Bounds on connections.
    pub connections: ConnectionLimits,
    /// How often files are looked at; the usual where `None`.
    pub poll: Option<Duration>,
    /// Told where the server listens, once it is ready.
    pub listening: Option<oneshot::Sender<Addresses>>,
    /// The client of the logs that policies name; none is asked where `None`.
    pub rekor: Option<Rekor>,
    /// What fetches trust roots that policies from files are loaded with again; none where `None`.
    pub follower: Option<Follower>,
    /// What else is to run as long as the server does.
    pub background: Vec<Background>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            metrics: metrics::registry(),
            connections: ConnectionLimits::default(),
            poll: None,
            listening: None,
            rekor: None,
            follower: None,
            background: Vec::new(),
        }
    }
}

/// A task that runs as long as the server does.
pub struct Background {
    /// Its name, for the error when it ends.
    pub name: &'static str,
    /// What it does. It does not end by itself.
    pub task: BoxFuture<'static, ()>,
}

impl fmt::Debug for Background {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Background").field(&self.name).finish()
    }
}

/// Where the server listens.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Addresses {
    /// The webhook.
    pub webhook: SocketAddr,
    /// Probes and metrics.
    pub health: SocketAddr,
}

/// Serves until `signals` yields: the first drains, the second stops at once.
///
/// # Errors
/// As [`run`].
pub async fn serve(
    args: ServeArgs,
    options: Options,
    admit: impl Admit,
    origin: Origin<impl Load>,
    mut signals: mpsc::Receiver<()>,
) -> Result<(), ServeError> {
    let drain = (args.drain_delay, args.drain_timeout);
    let starting = start(args, options, admit, origin);
    let mut running = tokio::select! {
        biased;
        _ = signals.recv() => return Err(ServeError::Interrupted),
        started = starting => started?,
    };
    tokio::select! {
        biased;
        _ = signals.recv() => {}
        stopped = running.parts.join_next() => return Err(stopped_early(stopped)),
    }
    tokio::select! {
        biased;
        _ = signals.recv() => Err(ServeError::Interrupted),
        drained = running.drain(drain) => drained,
    }
}

/// Tasks by their names; none of them ends by itself.
type Parts = JoinSet<(&'static str, io::Result<()>)>;

/// The parts of a running server. Dropping it ends them all.
struct Running {
    parts: Parts,
    readiness: Readiness,
    webhook: Handle<SocketAddr>,
    resign: Option<BoxFuture<'static, ()>>,
}

/// Of [`Running::parts`], the one that ends when drained.
const WEBHOOK: &str = "webhook";

async fn start(
    args: ServeArgs,
    options: Options,
    admit: impl Admit,
    origin: Origin<impl Load>,
) -> Result<Running, ServeError> {
    // A provider that the process already has is as good: ours is named where it is used.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let Options { connections, poll, listening, rekor: _, follower, background, metrics } = options;
    let (registry, metrics) = metrics;
    let readiness = Readiness::new([POLICIES, CERTIFICATE]);
    let (webhook_listener, webhook_address) = bind(args.listen)?;
    let (health_listener, health_address) = bind(args.health_listen)?;
    let mut parts = JoinSet::new();

    let router = health::router(readiness.clone(), registry);
    let few = connections.connections.min(HEALTH_CONNECTIONS);
    let few = ConnectionLimits { connections: few, ..connections };
    let health = listen::plain_apart(health_listener, router, few, metrics.clone());
    parts.spawn(async move { ("health server", health.await) });

    for Background { name, task } in background {
        parts.spawn(async move {
            task.await;
            (name, Ok(()))
        });
    }
    let start = Start {
        parts: &mut parts,
        metrics: &metrics,
        readiness: &readiness,
        policies: args.policies.clone(),
        poll,
        follower,
    };
    let Feeds { snapshots, references, observer, tls, resign } = origin.start(start).await?;
    let count = snapshots.borrow().policies().len();

    let source = tls.map_or_else(|| certificate(&args), Ok)?;
    let self_signed = matches!(source, tls::Source::SelfSigned(_));
    let served = source.load(server::now()).await?;
    let (expires, acceptor) = (served.expires(), served.acceptor_config());
    readiness.ready(CERTIFICATE);
    let every = poll.unwrap_or(tls::POLL);
    let renewing = tls::watch(source, served, acceptor.clone(), metrics.clone(), every);
    parts.spawn(async move {
        renewing.await;
        ("certificate reload", Ok(()))
    });

    let limits = Limits {
        default_timeout: args.default_timeout,
        max_in_flight: usize::from(args.max_in_flight),
    };
    let state = AppState::new(admit, snapshots, metrics.clone(), limits).observed_by(observer);
    let state = match references {
        Some(references) => state.with_references(references),
        None => state,
    };
    let router = drain::closing(server::router(state), readiness.clone());
    let webhook = Handle::new();
    let serving =
        listen::tls(webhook_listener, acceptor, router, webhook.clone(), connections, metrics);
    parts.spawn(async move { (WEBHOOK, serving.await) });
    webhook.listening().await;

    tracing::info!(
        webhook = %webhook_address,
        health = %health_address,
        policies = count,
        certificate_expires = %expires,
        self_signed,
        "Serving"
    );
    if let Some(listening) = listening {
        let addresses = Addresses { webhook: webhook_address, health: health_address };
        // Whoever asked may have stopped waiting.
        let _ = listening.send(addresses);
    }
    Ok(Running { parts, readiness, webhook, resign })
}

impl Running {
    /// Fails readiness and lets another replica lead, waits for both to be noticed, then finishes
    /// what is in flight.
    async fn drain(&mut self, (delay, timeout): (Duration, Duration)) -> Result<(), ServeError> {
        tracing::info!(?delay, ?timeout, "Stopping");
        self.readiness.drain();
        let resign = OptionFuture::from(self.resign.take());
        tokio::select! {
            _ = future::join(tokio::time::sleep(delay), resign) => {}
            stopped = self.parts.join_next() => return Err(stopped_early(stopped)),
        }
        // Clients have been asked to leave. Those that do so themselves lose no request; one that is
        // sent just when an idle connection is closed for them would be lost.
        let patience = timeout / 2;
        tokio::select! {
            () = left(&self.webhook) => {}
            () = tokio::time::sleep(patience) => {}
            stopped = self.parts.join_next() => return Err(stopped_early(stopped)),
        }
        self.webhook.graceful_shutdown(Some(timeout - patience));
        match self.parts.join_next().await {
            Some(Ok((WEBHOOK, Ok(())))) => {
                tracing::info!("Stopped");
                Ok(())
            }
            stopped => Err(stopped_early(stopped)),
        }
    }
}

/// Until nobody is connected.
async fn left(webhook: &Handle<SocketAddr>) {
    while webhook.connection_count() > 0 {
        tokio::time::sleep(CONNECTIONS_POLL).await;
    }
}

fn bind(address: SocketAddr) -> Result<(TcpListener, SocketAddr), ServeError> {
    let error = |source| ServeError::Bind { address, source };
    let listener = TcpListener::bind(address).map_err(error)?;
    let bound = listener.local_addr().map_err(error)?;
    Ok((listener, bound))
}

fn certificate(args: &ServeArgs) -> Result<tls::Source, ServeError> {
    match (&args.tls_cert, &args.tls_key) {
        (Some(certificate), Some(key)) => {
            Ok(tls::Source::Files { certificate: certificate.clone(), key: key.clone() })
        }
        (None, None) => {
            let authority = tls::SelfSigned::new(&args.tls_name, server::now())?;
            if let Some(path) = &args.tls_ca_out {
                authority.export(path)?;
            }
            Ok(tls::Source::SelfSigned(Box::new(authority)))
        }
        (Some(_), None) | (None, Some(_)) => Err(ServeError::HalfPair),
    }
}

/// Each SIGTERM and SIGINT of the process, from now on.
fn signals() -> io::Result<mpsc::Receiver<()>> {
    // Two are all that matter: the first drains, the second stops.
    let (sender, receiver) = mpsc::channel(2);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
            if sender.send(()).await.is_err() {
                return;
            }
        }
    });
    Ok(receiver)
}

type Ended = Option<Result<(&'static str, io::Result<()>), tokio::task::JoinError>>;

fn stopped_early(ended: Ended) -> ServeError {
    let (part, cause): (_, Box<dyn fmt::Display>) = match ended {
        Some(Ok((part, Ok(())))) => (part, Box::new("it ended by itself")),
        Some(Ok((part, Err(error)))) => (part, Box::new(error)),
        Some(Err(error)) => ("server", Box::new(error)),
        None => ("server", Box::new("nothing is left running")),
    };
    ServeError::Stopped { part, cause: cause.to_string() }
}

/// Why the server does not run.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address cannot be listened on.
    #[error("cannot listen on {address}: choose another with --listen or --health-listen")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// The volume for evidence cannot be looked at.
    #[error("--cache-dir cannot be opened: {0}")]
    Cache(String),
    /// The volume for evidence cannot be used.
    #[error("--cache-dir: {0}")]
    Disk(#[from] DiskError),
    /// The shared store cannot be used as it is named.
    #[error("--shared-store: {0}")]
    Shared(#[from] SharedError),
    /// A certificate without a key, or the reverse.
    #[error("--tls-cert and --tls-key belong together: found one of them")]
    HalfPair,
    /// A second signal came, or one before the server had started.
    #[error("stopped by a signal before it had started, or before requests in flight had ended")]
    Interrupted,
    /// The policies cannot be loaded.
    #[error("cannot load the policies: {0}")]
    Policies(String),
    /// The process's signals cannot be had.
    #[error("cannot receive signals")]
    Signals(#[source] io::Error),
    /// A part of the server stopped.
    #[error("the {part} stopped: {cause}")]
    Stopped {
        /// Which.
        part: &'static str,
        /// Why.
        cause: String,
    },
    /// The certificate's Secret cannot be used.
    #[error(transparent)]
    Serving(#[from] serving::ServingError),
    /// There is no certificate to serve.
    #[error(transparent)]
    Tls(#[from] tls::TlsError),
}

impl ServeError {
    /// The exit code: 2 for what the configuration must change, 1 for what failed while serving.
    pub const fn exit_code(&self) -> u8 {
        match self {
            Self::Bind { .. }
            | Self::Disk(_)
            | Self::HalfPair
            | Self::Policies(_)
            | Self::Shared(_)
            | Self::Tls(_) => 2,
            Self::Cache(_)
            | Self::Interrupted
            | Self::Serving(_)
            | Self::Signals(_)
            | Self::Stopped { .. } => 1,
        }
    }
}
