//! Policies, trust roots, namespaces and keys of a cluster, as one snapshot.
//!
//! ```text
//! API server ─ watches ─► events ─ Index ─► View: snapshot, references, reports
//!               I/O                 pure
//! ```
//!
//! Whatever happens, the last view stays in force: a lost API server, a list that breaks off, an
//! object that cannot be read. What cannot be used is in the view as a policy that denies.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::MutexGuard;
use std::sync::PoisonError;
use std::time::Duration;

use futures::Stream;
use futures::StreamExt as _;
use futures::future;
use futures::future::BoxFuture;
use futures::stream;
use futures::stream::BoxStream;
use futures::stream::SelectAll;
use k8s_openapi::api::core::v1 as core;
use kube::Api;
use kube::Client;
use kube::api::ApiResource;
use kube::runtime::WatchStreamExt as _;
use kube::runtime::watcher;
use kube::runtime::watcher::Event;
use tokio::sync::oneshot;
use tokio::sync::watch;
use tokio::time::Instant;

use crate::api;
use crate::metrics::Metrics;
use crate::policy::PolicySnapshot;
use crate::policy::compile::KeyHolder;
use crate::policy::compile::References;
use crate::server::health::Readiness;
use crate::trust_root::TrustRoot;
use crate::tuf::Follower;

mod collection;
mod contact;
mod entry;
pub mod index;
mod keys;
mod object;
mod report;
mod root;

use contact::Contacts;
use index::Index;
use index::Source;
use index::View;
pub use keys::KeyObject;
pub use keys::MAX_OF_TENANTS;
pub use keys::MAX_PER_NAMESPACE;
use object::Object;
pub use report::Kind;
pub use report::Outcome;
pub use report::Report;

/// What [`start`] makes ready.
pub const POLICIES: &str = "policies";

/// How long changes are gathered before they take effect: an apply of many files is one change.
const DEBOUNCE: Duration = Duration::from_millis(50);

/// How long a change waits for the keys and trust roots that it names to be looked up. Without the
/// wait a new policy would deny until its key is there; without an end, whoever names ever new keys would
/// hold back everybody's changes.
const KEY_PATIENCE: Duration = Duration::from_millis(500);

/// The same at the start, when all keys are looked up at once and nothing is in force yet.
const FIRST_KEY_PATIENCE: Duration = Duration::from_secs(10);

/// How often silent watches are looked for.
const LOOK: Duration = Duration::from_secs(10);

/// The pause before a watch that is of no use any longer begins anew, with a list.
const RESTART_PAUSE: Duration = Duration::from_millis(500);

/// Objects that one answer lists. An object has up to 1.5 MB (etcd's limit), so that an answer
/// stays below 75 MB however large the objects are.
const PAGE: u32 = 50;

/// How a cluster is watched.
#[derive(Clone, Debug)]
pub struct WatchOptions {
    /// Tegata's namespace: where a `ClusterImagePolicy` finds its keys.
    pub own_namespace: String,
    /// The trust root of authorities that name none, before another one was fetched.
    pub default_root: Arc<TrustRoot>,
    /// Fetches trust roots.
    pub follower: Follower,
}

/// A cluster that is being watched.
pub struct Watching {
    /// Policies and namespaces.
    pub snapshots: watch::Receiver<Arc<PolicySnapshot>>,
    /// What policies may name.
    pub references: watch::Receiver<Arc<References>>,
    /// One report an object of ours, for its status.
    pub reports: watch::Receiver<Arc<Vec<Report>>>,
    /// Keeps the others current. Never ends by itself; it must be polled.
    pub task: BoxFuture<'static, ()>,
}

impl fmt::Debug for Watching {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Watching").finish_non_exhaustive()
    }
}

/// Watches the cluster. Returns once everything has been listed and the keys that policies name
/// have been looked up, and then [`POLICIES`] are ready; not before, however long the API server
/// takes, for until then a policy may be missing. Why it takes long is in `readiness`.
pub async fn start(
    client: Client,
    options: WatchOptions,
    metrics: Metrics,
    readiness: Readiness,
) -> Watching {
    let contacts = Contacts::new(metrics.watch.clone(), readiness.clone());
    let mut watcher = Watcher::new(client, options, contacts);
    let View { snapshot, references, reports } = watcher.next().await;
    metrics.policies(&snapshot);
    readiness.ready(POLICIES);
    let (snapshot_sender, snapshots) = watch::channel(snapshot);
    let (reference_sender, references) = watch::channel(references);
    let (report_sender, reports) = watch::channel(reports);
    let task = async move {
        loop {
            let View { snapshot, references, reports } = watcher.next().await;
            metrics.policies(&snapshot);
            send(&reference_sender, references);
            send(&snapshot_sender, snapshot);
            send(&report_sender, reports);
        }
    };
    Watching { snapshots, references, reports, task: Box::pin(task) }
}

/// Sends what is not what was sent last.
fn send<T>(sender: &watch::Sender<Arc<T>>, value: Arc<T>) {
    sender.send_if_modified(|held| {
        let new = !Arc::ptr_eq(held, &value);
        *held = value;
        new
    });
}

type Item = (Source, Result<Event<Object>, watcher::Error>);

/// All watches, and what they brought.
struct Watcher {
    client: Client,
    contacts: Contacts,
    follower: Follower,
    index: Arc<Mutex<Index>>,
    events: SelectAll<BoxStream<'static, Item>>,
    /// What runs; dropping the sender ends it.
    running: BTreeMap<Source, oneshot::Sender<()>>,
    /// Whether a view has been made.
    started: bool,
    /// When there is something to be looked at.
    due: Option<Instant>,
    /// Since when the next view waits for keys and trust roots.
    waiting: Option<Instant>,
}

impl Watcher {
    fn new(client: Client, options: WatchOptions, contacts: Contacts) -> Self {
        let WatchOptions { own_namespace, default_root, follower } = options;
        let mut watcher = Self {
            client,
            contacts,
            follower,
            index: Arc::new(Mutex::new(Index::new(own_namespace, default_root))),
            events: SelectAll::new(),
            running: BTreeMap::new(),
            started: false,
            due: None,
            waiting: None,
        };
        for source in [
            Source::ClusterImagePolicies,
            Source::ImagePolicies,
            Source::Namespaces,
            Source::TrustRoots,
        ] {
            watcher.run(source, Duration::ZERO);
        }
        watcher
    }

    /// The next view.
    async fn next(&mut self) -> View {
        let mut look = tokio::time::interval(LOOK);
        loop {
            let due = self.due;
            let wait = async move {
                match due {
                    Some(due) => tokio::time::sleep_until(due).await,
                    None => future::pending().await,
                }
            };
            tokio::select! {
                () = wait => {
                    if let Some(view) = self.refresh().await {
                        return view;
                    }
                }
                Some((source, item)) = self.events.next() => self.take(&source, item),
                () = self.follower.changed() => {
                    let roots = self.follower.published();
                    self.index().fetched(roots);
                    self.soon();
                }
                _ = look.tick() => {
                    for source in self.contacts.silent(std::time::Instant::now()) {
                        self.run(source, RESTART_PAUSE);
                    }
                }
            }
        }
    }

    fn take(&mut self, source: &Source, item: Result<Event<Object>, watcher::Error>) {
        let changed = match item {
            Ok(event) => {
                // A watch that is about to begin has heard nothing yet.
                if !matches!(event, Event::Init) {
                    self.contacts.made(source);
                }
                self.index().apply(source, event)
            }
            Err(watcher::Error::WatchError(status)) if status.code == 410 => {
                // The API server is there, and forgot where the watch was: only a list tells.
                self.run(source.clone(), RESTART_PAUSE);
                false
            }
            Err(error) => {
                let cause = contact::cause(&error);
                if matches!(source, Source::Key(_)) && is_forbidden(&error) {
                    // An answer: whoever may write a policy may name what Tegata may not read.
                    self.contacts.made(source);
                } else {
                    self.contacts.failed(source, &cause);
                }
                if let watcher::Error::WatchFailed(kube::Error::SerdeError(_)) = error {
                    // The event that could not be read is lost: only a list brings it back.
                    self.run(source.clone(), RESTART_PAUSE);
                }
                match source {
                    Source::Key(object) => self.index().key_failed(object, cause),
                    Source::ClusterImagePolicies
                    | Source::ImagePolicies
                    | Source::Namespaces
                    | Source::TrustRoots => false,
                }
            }
        };
        if changed {
            self.soon();
        }
    }

    fn soon(&mut self) {
        let soon = Instant::now() + DEBOUNCE;
        self.due = Some(self.due.map_or(soon, |due| due.min(soon)));
    }

    /// The view of what there is, unless something is still to come.
    async fn refresh(&mut self) -> Option<View> {
        self.due = None;
        if !self.index().listed() {
            return None;
        }
        let index = Arc::clone(&self.index);
        let refresh = move || index.lock().unwrap_or_else(PoisonError::into_inner).refresh();
        let view = match tokio::task::spawn_blocking(refresh).await {
            Ok(view) => view,
            // A defect: the process ends rather than go on with policies that are out of date.
            Err(error) => std::panic::resume_unwind(error.into_panic()),
        };
        self.follow_keys();
        let sources = self.index().sources();
        self.follower.follow(sources);
        if self.pending() {
            let patience = if self.started { KEY_PATIENCE } else { FIRST_KEY_PATIENCE };
            let until = *self.waiting.get_or_insert_with(Instant::now) + patience;
            if Instant::now() < until {
                self.due = Some(until);
                return None;
            }
        }
        self.waiting = None;
        self.started = true;
        Some(view)
    }

    /// Whether something that policies name may be heard of soon.
    fn pending(&self) -> bool {
        let index = self.index();
        index.keys_pending() || index.roots_pending()
    }

    /// Watches the objects that hold keys which policies name, and no others.
    fn follow_keys(&mut self) {
        let wanted: BTreeSet<Source> =
            self.index().key_objects().cloned().map(Source::Key).collect();
        let gone = self
            .running
            .keys()
            .filter(|source| matches!(source, Source::Key(_)) && !wanted.contains(*source));
        for source in gone.cloned().collect::<Vec<_>>() {
            self.running.remove(&source);
            self.contacts.stop(&source);
        }
        for source in wanted {
            if !self.running.contains_key(&source) {
                self.run(source, Duration::ZERO);
            }
        }
    }

    /// Starts a watch after `pause`; one that runs already is replaced.
    fn run(&mut self, source: Source, pause: Duration) {
        self.contacts.start(&source);
        let client = self.contacts.client(&self.client, &source);
        let (stop, stopped) = oneshot::channel();
        let paused = stream::once(tokio::time::sleep(pause)).filter_map(|()| future::ready(None));
        let events = paused.chain(events(client, source.clone()));
        self.events.push(events.take_until(stopped).boxed());
        self.running.insert(source, stop);
    }

    fn index(&self) -> MutexGuard<'_, Index> {
        self.index.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What happens to the objects of `source`, with a pause after each error.
fn events(client: Client, source: Source) -> impl Stream<Item = Item> + Send + 'static {
    let seconds = u32::try_from(contact::WATCH_TIMEOUT.as_secs()).unwrap_or(u32::MAX);
    let config = watcher::Config::default().timeout(seconds).page_size(PAGE);
    let (api, config): (Api<Object>, _) = match &source {
        Source::ClusterImagePolicies => {
            let resource = ApiResource::erase::<api::ClusterImagePolicy>(&());
            (Api::all_with(client, &resource), config)
        }
        Source::ImagePolicies => {
            let resource = ApiResource::erase::<api::ImagePolicy>(&());
            (Api::all_with(client, &resource), config)
        }
        Source::Key(object) => {
            let resource = match object.kind {
                KeyHolder::ConfigMap => ApiResource::erase::<core::ConfigMap>(&()),
                KeyHolder::Secret => ApiResource::erase::<core::Secret>(&()),
            };
            let api = Api::namespaced_with(client, &object.namespace, &resource);
            (api, config.fields(&format!("metadata.name={}", object.name)))
        }
        Source::Namespaces => {
            (Api::all_with(client, &ApiResource::erase::<core::Namespace>(&())), config)
        }
        Source::TrustRoots => {
            let resource = ApiResource::erase::<api::TrustRoot>(&());
            (Api::all_with(client, &resource), config)
        }
    };
    watcher(api, config).default_backoff().map(move |item| (source.clone(), item))
}

/// Whether the API server answered that we may not.
fn is_forbidden(error: &watcher::Error) -> bool {
    use watcher::Error;
    let (Error::InitialListFailed(error) | Error::WatchStartFailed(error)) = error else {
        return false;
    };
    matches!(error, kube::Error::Api(status) if status.code == 403)
}
