//! Keeps the certificate: looks at everything whenever something may have changed, and does what
//! is to be done.
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::StreamExt as _;
use futures::stream;
use futures::stream::BoxStream;
use jiff::Timestamp;
use k8s_openapi::api::admissionregistration::v1::MutatingWebhookConfiguration;
use k8s_openapi::api::admissionregistration::v1::ValidatingWebhookConfiguration;
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::Client;
use kube::Resource;
use kube::core::PartialObjectMeta;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use rustls::pki_types::DnsName;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

use super::ServingError;
use super::ServingOptions;
use super::configurations::Configurations;
use super::configurations::Kept;
use super::rotation;
use super::rotation::Action;
use super::secret::Keep;
use crate::error::one_line;
use crate::metrics::Metrics;
use crate::metrics::Reload;
use crate::server::tls::Served;

/// How often everything is looked at when no watch says that anything changed.
const LOOK: Duration = Duration::from_secs(60);

/// How soon `caBundle` is looked at again after it was changed: a rotation goes on when it was seen
/// to hold, not when it was written.
const LOOK_AGAIN: Duration = Duration::from_secs(1);

/// Shortest time between two looks: when something else keeps changing `caBundle`, the two of us do
/// so no more than five times a second.
const SPACING: Duration = Duration::from_millis(200);

/// Longest time for one look, some ten requests. The API server usually answers each in
/// milliseconds.
const LOOK_TIMEOUT: Duration = Duration::from_secs(30);

/// Most steps of one look. A rotation has three that can follow each other at once; the rest are
/// for replicas that get in each other's way.
const MAX_STEPS: usize = 8;

/// The pause between two looks for a certificate at the start, for as long as there is none: API
/// servers and what allows us to use them may come up together with us.
const START_PAUSE: Duration = Duration::from_secs(2);

/// The time, as an argument.
pub(super) type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Keeps the certificate.
pub(super) struct Keeper {
    secret: Keep,
    configurations: Configurations,
    leader: watch::Receiver<bool>,
    serving: watch::Sender<Served>,
    changes: BoxStream<'static, ()>,
    metrics: Metrics,
    clock: Clock,
    /// What was last told to be wrong, and is told once however often it is met.
    wrong: Option<String>,
}

/// What a step came to.
enum Step {
    /// There may be more to do at once.
    Again,
    /// There is nothing more to do for this long.
    Rest(Duration),
}

impl Keeper {
    /// Reads or makes the certificate and brings the configurations in step, elected or not: what
    /// all replicas do at once is the same.
    pub(super) async fn start(
        client: Client,
        options: ServingOptions,
        leader: watch::Receiver<bool>,
        metrics: Metrics,
        clock: Clock,
    ) -> Result<(Self, watch::Receiver<Served>), ServingError> {
        let changes = changes(&client, &options);
        let ServingOptions { namespace, secret_name, dns_names, mutating, validating } = options;
        check_names(&dns_names)?;
        let secret =
            Keep { client: client.clone(), namespace, name: secret_name, names: dns_names };
        let served = first(&secret, &clock).await?;
        let configurations = Configurations::new(client, mutating, validating);
        let (serving, receiver) = watch::channel(served);
        let wrong = None;
        let mut keeper =
            Self { secret, configurations, leader, serving, changes, metrics, clock, wrong };
        if let Err(error) = keeper.look(true).await {
            keeper.failed(&error);
        }
        Ok((keeper, receiver))
    }

    /// Looks whenever something changed, and every [`LOOK`]. Never ends.
    pub(super) async fn run(mut self) {
        let mut failures = 0;
        loop {
            let pause = match self.look(false).await {
                Ok(pause) => {
                    failures = 0;
                    if self.wrong.take().is_some() {
                        tracing::info!("The serving certificate is kept again");
                    }
                    pause.clamp(SPACING, LOOK)
                }
                Err(error) => {
                    self.failed(&error);
                    failures = LOOK.as_secs().min(failures * 2 + 1);
                    Duration::from_secs(failures)
                }
            };
            tokio::select! {
                () = tokio::time::sleep(pause) => {}
                () = changed(&mut self.leader) => {}
                () = some(&mut self.changes) => {}
            }
            tokio::time::sleep(SPACING).await;
            // One look is enough for all that changed meanwhile.
            while let Some(Some(())) = self.changes.next().now_or_never() {}
        }
    }

    /// Does everything that is to be done now, and says for how long that is enough. `starting`:
    /// what is missing is made, and the configurations are brought in step, by whom it may be.
    pub(super) async fn look(&mut self, starting: bool) -> Result<Duration, ServingError> {
        let steps = async {
            for _ in 0..MAX_STEPS {
                if let Step::Rest(pause) = self.step(starting).await? {
                    return Ok(pause);
                }
            }
            Err(ServingError::Contended { secret: self.secret.to_string() })
        };
        let timeout = ServingError::Timeout { seconds: LOOK_TIMEOUT.as_secs() };
        tokio::time::timeout(LOOK_TIMEOUT, steps).await.unwrap_or(Err(timeout))
    }

    async fn step(&mut self, starting: bool) -> Result<Step, ServingError> {
        let now = (self.clock)();
        let acting = *self.leader.borrow() || self.urgent(now);
        // The configurations first: what is written to them is then never older than what another
        // replica wrote, or their resource version tells.
        let found = if acting || starting { self.configurations.read().await } else { Vec::new() };
        let (secret, stored) = self.secret.ensure(acting || starting, now).await?;
        self.serve(stored.served());
        if !acting && !starting {
            return Ok(Step::Rest(LOOK));
        }
        let kept = self.configurations.keep(found, &stored.bundle()).await;
        let action = if acting {
            rotation::next(&stored.state(), now, matches!(kept, Kept::InStep))
        } else {
            Action::Wait(Timestamp::MAX)
        };
        if let Action::Wait(until) = action {
            return match kept {
                Kept::Changed => Ok(Step::Rest(LOOK_AGAIN)),
                Kept::Contended => Ok(Step::Again),
                Kept::Failed(error) => Err(error),
                Kept::InStep => Ok(Step::Rest(until.duration_since(now).unsigned_abs())),
            };
        }
        tracing::info!(secret = %self.secret, ?action, "Moving the certificates on");
        let stored = stored.after(action, &self.secret.names, now)?;
        self.secret.replace(secret, &stored).await?;
        Ok(Step::Again)
    }

    fn serve(&self, served: &Served) {
        self.serving.send_if_modified(|current| {
            let new = !current.same_as(served);
            if new {
                *current = served.clone();
            }
            new
        });
    }

    /// Whether renewal is so late that it is everyone's.
    fn urgent(&self, now: Timestamp) -> bool {
        self.serving.borrow().expires().duration_since(now) < rotation::URGENT
    }

    fn failed(&mut self, error: &ServingError) {
        self.metrics.reload_failed(Reload::Certificate);
        let error = error.to_string();
        if self.wrong.as_ref() != Some(&error) {
            let expires = self.serving.borrow().expires();
            tracing::error!(error, %expires, "Cannot keep the serving certificate");
            self.wrong = Some(error);
        }
    }
}

fn check_names(names: &[String]) -> Result<(), ServingError> {
    if names.is_empty() {
        return Err(ServingError::NoName);
    }
    match names.iter().find(|name| DnsName::try_from(name.as_str()).is_err()) {
        Some(name) => Err(ServingError::Name { name: name.clone() }),
        None => Ok(()),
    }
}

/// The certificate to begin with, however long the API server takes. Only what it cannot change by
/// itself is an error.
async fn first(secret: &Keep, clock: &Clock) -> Result<Served, ServingError> {
    loop {
        let timeout = ServingError::Timeout { seconds: LOOK_TIMEOUT.as_secs() };
        let ensured = tokio::time::timeout(LOOK_TIMEOUT, secret.ensure(true, clock())).await;
        let error = match ensured.unwrap_or(Err(timeout)) {
            Ok((_, stored)) => return Ok(stored.served().clone()),
            Err(error) if error.is_final() => return Err(error),
            Err(error) => error,
        };
        tracing::warn!(%error, "Waiting for the serving certificate");
        tokio::time::sleep(START_PAUSE).await;
    }
}

/// Each time that the Secret or a configuration may have changed. Only their metadata is read, so
/// that no key is.
fn changes(client: &Client, options: &ServingOptions) -> BoxStream<'static, ()> {
    let ServingOptions { namespace, secret_name, dns_names: _, mutating, validating } = options;
    let secrets = Api::<PartialObjectMeta<Secret>>::namespaced(client.clone(), namespace);
    let mut all = vec![changes_of(secrets, secret_name)];
    for name in mutating {
        let api = Api::<PartialObjectMeta<MutatingWebhookConfiguration>>::all(client.clone());
        all.push(changes_of(api, name));
    }
    for name in validating {
        let api = Api::<PartialObjectMeta<ValidatingWebhookConfiguration>>::all(client.clone());
        all.push(changes_of(api, name));
    }
    stream::select_all(all).boxed()
}

fn changes_of<K>(api: Api<PartialObjectMeta<K>>, name: &str) -> BoxStream<'static, ()>
where
    K: Resource<DynamicType = ()> + Clone + DeserializeOwned + std::fmt::Debug + Send + 'static,
{
    let config = watcher::Config::default().fields(&format!("metadata.name={name}"));
    let (kind, name) = (K::kind(&()).into_owned(), name.to_owned());
    let mut lost = false;
    watcher(api, config)
        .default_backoff()
        .map(move |event| match event {
            // A watch that is about to begin has seen nothing yet.
            Ok(Event::Init) => {}
            // The API server is there, and forgot where the watch was: a list follows.
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {}
            Ok(_) if lost => {
                lost = false;
                tracing::info!(kind, name, "An object is in sight again");
            }
            Err(error) if !lost => {
                lost = true;
                let error = one_line(&error);
                tracing::warn!(error, kind, name, "Lost sight of an object; looking every minute");
            }
            Ok(_) | Err(_) => {}
        })
        .boxed()
}

/// Until something changed.
async fn some(changes: &mut BoxStream<'static, ()>) {
    if changes.next().await.is_none() {
        std::future::pending::<()>().await;
    }
}

/// Until this replica is elected, or no longer.
async fn changed(leader: &mut watch::Receiver<bool>) {
    if leader.changed().await.is_err() {
        // Nobody will be elected any more: it stays as it is.
        std::future::pending::<()>().await;
    }
}
