//! One task for all trust roots that are kept fresh: a keeper for each source that is wanted.
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::collections::btree_map::Entry;
use std::path::PathBuf;
use std::sync::Arc;

use futures::future;
use jiff::Timestamp;
use tokio::sync::watch;
use tokio::task::AbortHandle;
use tokio::task::JoinSet;

use crate::error::one_line;
use crate::metrics::RefreshOutcome;
use crate::metrics::TrustRootMetrics;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf::Source;

use super::Failure;
use super::Opened;
use super::Options;
use super::Published;
use super::RefreshError;
use super::Refreshed;
use super::Repository;
use super::Schedule;
use super::Status;
use super::keep;
use super::mirror::authority;

/// Most repositories, besides that of the default trust root, that are followed at a time. Each
/// costs a task, some connections an hour and up to some megabytes; an organisation has one or two
/// instances of Sigstore, and as many again while it moves.
pub const MAX_FOLLOWED: usize = 16;

/// The label in metrics of the trust root of authorities that name none.
pub const DEFAULT: &str = "default";

/// How repositories are followed.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Where the trust root of authorities that name none comes from.
    pub default: DefaultRoot,
    /// The folder in which each source has one of its own, by [`Source::id`].
    pub folder: Option<PathBuf>,
    /// Whether mirrors are asked.
    pub mirrors: Mirrors,
    /// When to refresh.
    pub schedule: Schedule,
    /// What time it is.
    pub clock: fn() -> Timestamp,
}

/// Where the trust root of authorities that name none comes from.
#[derive(Clone, Debug)]
pub enum DefaultRoot {
    /// It is fetched from here.
    Fetched(Source),
    /// It is given, and may be given anew.
    Given(watch::Receiver<Arc<TrustRoot>>),
    /// It stays as it is; nothing is published of it.
    Unchanging,
}

/// Whether mirrors are asked.
#[derive(Clone, Debug)]
pub enum Mirrors {
    /// They are, like this.
    Ask(Options),
    /// Nothing leaves: what the folder holds is all there is.
    Offline,
}

/// What was published last.
#[derive(Clone, Debug, Default)]
pub struct Roots {
    /// The trust root of authorities that name none; none before one was fetched or found.
    pub default: Option<Arc<TrustRoot>>,
    /// Each source that is followed, by [`Source::id`].
    pub sources: BTreeMap<String, Published>,
}

impl Roots {
    /// Whether both hold the very same trust roots, however refreshing them goes.
    pub fn same(&self, other: &Self) -> bool {
        let same = |one: Option<&Arc<TrustRoot>>, other: Option<&Arc<TrustRoot>>| match (one, other)
        {
            (Some(one), Some(other)) => Arc::ptr_eq(one, other),
            (None, None) => true,
            (Some(_), None) | (None, Some(_)) => false,
        };
        let names = || self.sources.keys().chain(other.sources.keys());
        let root = |roots: &'_ Self, id: &str| roots.sources.get(id)?.root.clone();
        same(self.default.as_ref(), other.default.as_ref())
            && names().all(|id| same(root(self, id).as_ref(), root(other, id).as_ref()))
    }

    /// The trust root of a source, or why there is none, in one line.
    ///
    /// # Errors
    /// When nothing was fetched yet.
    pub fn find(&self, source: &Source) -> Result<Arc<TrustRoot>, String> {
        let published = self.sources.get(&source.id());
        match published.and_then(|published| published.root.as_ref()) {
            Some(root) => Ok(Arc::clone(root)),
            None => {
                let error = published.and_then(|published| published.status.error.as_ref());
                Err(unfetched(error))
            }
        }
    }
}

/// Why a source has no trust root.
pub(crate) fn unfetched(error: Option<&Failure>) -> String {
    error.map_or_else(
        || "nothing was fetched from it yet".to_owned(),
        |error| format!("nothing was fetched from it yet: {}", error.problem),
    )
}

/// Tells [`follow`]'s task what is wanted, and what was published. Clones share their state.
#[derive(Clone, Debug)]
pub struct Follower {
    wanted: watch::Sender<BTreeMap<String, Source>>,
    published: watch::Receiver<Arc<Roots>>,
}

impl Follower {
    /// Follows these sources and no others, by their labels in metrics. Those beyond
    /// [`MAX_FOLLOWED`] are not: those that are followed already stay, then comes the order of labels.
    ///
    /// A source that is followed no longer is forgotten, with the trust root that it had.
    pub fn follow(&self, wanted: BTreeMap<String, Source>) {
        self.wanted.send_if_modified(|held| {
            let new = *held != wanted;
            *held = wanted;
            new
        });
    }

    /// What was published last; counts as seen by [`Self::changed`].
    pub fn published(&mut self) -> Arc<Roots> {
        Arc::clone(&self.published.borrow_and_update())
    }

    /// Until something else is published. Never ends once the task has ended.
    pub async fn changed(&mut self) {
        if self.published.changed().await.is_err() {
            future::pending::<()>().await;
        }
    }
}

/// Follows repositories: keeps the trust root of each fresh in the background, and publishes them.
///
/// The task never ends by itself, and nothing is fetched before it is polled.
pub fn follow(
    settings: Settings,
    metrics: TrustRootMetrics,
) -> (Follower, impl Future<Output = ()> + Send + 'static) {
    let (wanted, asked) = watch::channel(BTreeMap::new());
    let (sender, published) = watch::channel(Arc::default());
    let keepers = Keepers {
        settings,
        metrics,
        running: BTreeMap::new(),
        tasks: JoinSet::new(),
        labels: BTreeMap::new(),
        refused: BTreeSet::new(),
    };
    (Follower { wanted, published }, keepers.run(asked, sender))
}

/// Fetches each source once, for a command line. What the folder holds stands in for what cannot be
/// fetched now; what there is neither of is in the result with its error.
pub async fn fetch_once(settings: &Settings, wanted: BTreeMap<String, Source>) -> Roots {
    let sources: BTreeMap<String, Source> =
        wanted.into_values().map(|source| (source.id(), source)).collect();
    let mut fetched: Vec<_> = Vec::new();
    for (index, (id, source)) in sources.into_iter().enumerate() {
        fetched.push(async move {
            let published = match index < MAX_FOLLOWED {
                true => fetch(settings, &source, &id).await,
                false => crowded(),
            };
            (id, published)
        });
    }
    let sources = future::join_all(fetched).await.into_iter().collect();
    Roots { default: None, sources }
}

async fn fetch(settings: &Settings, source: &Source, id: &str) -> Published {
    let Settings { default: _, folder, mirrors, schedule: _, clock } = settings;
    let folder = folder.as_ref().map(|folder| folder.join(id));
    let fetched = match mirrors {
        Mirrors::Offline => from_folder(source, folder, clock()).await,
        Mirrors::Ask(options) => from_mirror(source, options, folder, *clock).await.map(Ok),
    };
    match fetched {
        Ok(Ok(published)) => published,
        Ok(Err(problem)) => failed(Failure::unavailable(problem)),
        Err(error) => failed(Failure::from(&error)),
    }
}

async fn from_mirror(
    source: &Source,
    options: &Options,
    folder: Option<PathBuf>,
    clock: fn() -> Timestamp,
) -> Result<Published, RefreshError> {
    let Opened { mut repository, stored, ignored: _ } =
        Repository::open(source, options, folder.as_deref(), clock()).await?;
    let Refreshed { root, root_version, expires, .. } =
        match (repository.refresh(clock()).await, stored) {
            (Ok(refreshed), _) | (Err(_), Some(refreshed)) => refreshed,
            (Err(error), None) => return Err(error),
        };
    let (root_version, expires) = (Some(root_version), Some(expires));
    let status = Status { root_version, expires, ..Status::default() };
    Ok(Published { root: Some(root), status })
}

/// Nothing, for this reason.
fn failed(failure: Failure) -> Published {
    let status = Status { failures: 1, error: Some(failure), ..Status::default() };
    Published { root: None, status }
}

fn crowded() -> Published {
    let problem = format!("{MAX_FOLLOWED} repositories are followed already");
    failed(Failure::unavailable(problem))
}

/// A keeper, and what was heard of it.
#[derive(Debug)]
struct Running {
    published: watch::Receiver<Published>,
    seen: Status,
    task: AbortHandle,
}

#[derive(Debug)]
struct Keepers {
    settings: Settings,
    metrics: TrustRootMetrics,
    /// By [`Source::id`].
    running: BTreeMap<String, Running>,
    tasks: JoinSet<()>,
    /// The source's ID by label.
    labels: BTreeMap<String, String>,
    /// The IDs of sources that are wanted and not followed.
    refused: BTreeSet<String>,
}

impl Keepers {
    async fn run(
        mut self,
        mut wanted: watch::Receiver<BTreeMap<String, Source>>,
        published: watch::Sender<Arc<Roots>>,
    ) {
        let mut given = match &self.settings.default {
            DefaultRoot::Given(given) => Some(given.clone()),
            DefaultRoot::Fetched(_) | DefaultRoot::Unchanging => None,
        };
        loop {
            let sources = wanted.borrow_and_update().clone();
            self.reconcile(sources);
            published.send_replace(Arc::new(self.roots()));
            let news = self.running.values_mut().map(|running| {
                Box::pin(async {
                    if running.published.changed().await.is_err() {
                        future::pending::<()>().await;
                    }
                })
            });
            let news: Vec<_> = news.collect();
            tokio::select! {
                () = any(news) => {}
                () = given_anew(&mut given) => {}
                // What told of it has ended before us: the process is stopping.
                () = async { if wanted.changed().await.is_err() { future::pending().await } } => {}
                Some(Err(ended)) = self.tasks.join_next(), if !self.tasks.is_empty() => {
                    // A defect: the process ends rather than go on with trust roots that age.
                    if let Ok(panic) = ended.try_into_panic() {
                        std::panic::resume_unwind(panic);
                    }
                }
            }
        }
    }

    /// Starts what is wanted and does not run, and ends what runs and is not wanted.
    fn reconcile(&mut self, wanted: BTreeMap<String, Source>) {
        let mut sources: BTreeMap<String, Source> = BTreeMap::new();
        let mut labels = BTreeMap::new();
        if let DefaultRoot::Fetched(source) = &self.settings.default {
            labels.insert(DEFAULT.to_owned(), source.id());
            sources.insert(source.id(), source.clone());
        }
        let most = sources.len() + MAX_FOLLOWED;
        self.refused.clear();
        let (known, new): (Vec<_>, Vec<_>) =
            wanted.into_iter().partition(|(_, source)| self.running.contains_key(&source.id()));
        for (label, source) in known.into_iter().chain(new) {
            let (id, full) = (source.id(), sources.len() >= most);
            match sources.entry(id.clone()) {
                Entry::Vacant(_) if full => {
                    self.refused.insert(id);
                    continue;
                }
                Entry::Vacant(place) => drop(place.insert(source)),
                Entry::Occupied(_) => {}
            }
            labels.insert(label, id);
        }
        self.running.retain(|id, running| {
            let keep = sources.contains_key(id);
            if !keep {
                running.task.abort();
            }
            keep
        });
        for (id, source) in sources {
            if !self.running.contains_key(&id) {
                let running = self.start(source, &id);
                self.running.insert(id, running);
            }
        }
        for gone in self.labels.keys().filter(|label| !labels.contains_key(*label)) {
            self.metrics.forget(gone);
        }
        self.labels = labels;
    }

    fn start(&mut self, source: Source, id: &str) -> Running {
        let (sender, published) = watch::channel(Published::default());
        let Settings { default: _, folder, mirrors, schedule, clock } = self.settings.clone();
        let folder = folder.map(|folder| folder.join(id));
        let task = self.tasks.spawn(async move {
            let kept = match mirrors {
                Mirrors::Ask(options) => {
                    keep(source, options, folder, schedule, clock, sender.clone()).await
                }
                Mirrors::Offline => stored(source, folder, clock, &sender).await,
            };
            if let Err(error) = kept {
                fail(&sender, Failure::from(&error));
            }
            sender.closed().await;
        });
        Running { published, seen: Status::default(), task }
    }

    /// What there is now; counts what is new.
    fn roots(&mut self) -> Roots {
        let mut sources = BTreeMap::new();
        for (id, running) in &mut self.running {
            let published = running.published.borrow_and_update().clone();
            let labels = self.labels.iter().filter(|(_, of)| *of == id).map(|(label, _)| label);
            for label in labels {
                report(&self.metrics, label, &running.seen, &published.status);
            }
            running.seen = published.status.clone();
            sources.insert(id.clone(), published);
        }
        for id in &self.refused {
            sources.insert(id.clone(), crowded());
        }
        let default = match &self.settings.default {
            DefaultRoot::Fetched(source) => {
                sources.get(&source.id()).and_then(|published| published.root.clone())
            }
            DefaultRoot::Given(given) => Some(Arc::clone(&given.borrow())),
            DefaultRoot::Unchanging => None,
        };
        Roots { default, sources }
    }
}

/// Publishes how a trust root stands, and counts the attempt that is new.
fn report(metrics: &TrustRootMetrics, label: &str, before: &Status, now: &Status) {
    metrics.state(label, now.root_version, now.succeeded, now.expires);
    if now.succeeded != before.succeeded {
        metrics.refresh(label, RefreshOutcome::Ok);
    }
    if now.failures > before.failures {
        metrics.refresh(label, RefreshOutcome::Error);
    }
}

/// Until another default is given; never, where none is.
async fn given_anew(given: &mut Option<watch::Receiver<Arc<TrustRoot>>>) {
    let changed = match given {
        Some(given) => given.changed().await.is_ok(),
        None => false,
    };
    if !changed {
        future::pending().await
    }
}

/// Until one of them is done; never, where there is none.
async fn any(news: Vec<impl Future<Output = ()> + Unpin>) {
    if news.is_empty() {
        return future::pending().await;
    }
    future::select_all(news).await;
}

/// Publishes what the folder holds, or that it holds nothing.
async fn stored(
    source: Source,
    folder: Option<PathBuf>,
    clock: fn() -> Timestamp,
    published: &watch::Sender<Published>,
) -> Result<(), RefreshError> {
    match from_folder(&source, folder, clock()).await? {
        Ok(found) => drop(published.send_replace(found)),
        // Nothing was tried, so nothing failed.
        Err(problem) => published
            .send_modify(|published| published.status.error = Some(Failure::unavailable(problem))),
    }
    Ok(())
}

/// What the folder holds of a source, all of which must verify; or why that is of no use.
async fn from_folder(
    source: &Source,
    folder: Option<PathBuf>,
    now: Timestamp,
) -> Result<Result<Published, String>, RefreshError> {
    let Some(folder) = folder else {
        let problem = "with --offline nothing is fetched, and no folder is named with --tuf-state";
        return Ok(Err(problem.to_owned()));
    };
    // It is not contacted: whether it may be over plain HTTP is of no matter.
    let options = Options { allow_http: vec![authority(source.mirror())], ..Options::default() };
    let Opened { repository: _, stored, ignored } =
        Repository::open(source, &options, Some(&folder), now).await?;
    Ok(match stored {
        Some(stored) => {
            let Refreshed { root, root_version, expires, unsaved: _ } = stored;
            let (root_version, expires) = (Some(root_version), Some(expires));
            let status = Status { root_version, expires, ..Status::default() };
            Ok(Published { root: Some(root), status })
        }
        None => {
            let why = ignored.first().map(|problem| format!(": {}", one_line(problem)));
            let why = why.unwrap_or_default();
            Err(format!(
                "with --offline nothing is fetched, and the folder of --tuf-state holds no trust \
                 root of it that can be used{why}"
            ))
        }
    })
}

fn fail(published: &watch::Sender<Published>, failure: Failure) {
    published.send_modify(|published| {
        published.status.failures = published.status.failures.saturating_add(1);
        published.status.error = Some(failure);
    });
}
