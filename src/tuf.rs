//! Trust roots from TUF repositories: fetched from a mirror, kept on a volume, kept fresh.
//!
//! What is to be believed, [`crate::trust_root::tuf`] decides. Here is where bytes come from and
//! go to: a mirror ([`Options`]) that is treated as hostile, and a folder of which nothing is
//! believed that does not verify again. Nothing here is in the path of a request: [`keep`]
//! publishes, requests use what was published last.
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;

use crate::error::one_line;
use crate::trust_root::TrustRoot;
use crate::trust_root::TrustRootError;
use crate::trust_root::tuf::MAX_ROOTS;
use crate::trust_root::tuf::Role;
use crate::trust_root::tuf::Source;
use crate::trust_root::tuf::Trusted;
use crate::trust_root::tuf::TufError;

mod follow;
mod keep;
mod mirror;
mod state;

pub use follow::DEFAULT;
pub use follow::DefaultRoot;
pub use follow::Follower;
pub use follow::MAX_FOLLOWED;
pub use follow::Mirrors;
pub use follow::Roots;
pub use follow::Settings;
pub use follow::fetch_once;
pub use follow::follow;
pub(crate) use follow::unfetched;
pub use keep::Failure;
pub use keep::FailureKind;
pub use keep::MAX_INTERVAL;
pub use keep::MIN_INTERVAL;
pub use keep::Published;
pub use keep::Schedule;
pub use keep::Status;
pub use keep::keep;
pub use mirror::MirrorError;
pub use mirror::Options;
pub use state::StateError;

use mirror::Mirror;
use state::Latest;
use state::State;

/// A TUF repository and what of it is trusted.
#[derive(Debug)]
pub struct Repository {
    mirror: Mirror,
    deadline: Duration,
    state: Option<State>,
    name: String,
    trusted: Trusted,
    /// The target's bytes, as they were last.
    target: Option<Vec<u8>>,
    /// What they say.
    root: Option<Arc<TrustRoot>>,
}

/// A repository with what its folder held.
#[derive(Debug)]
pub struct Opened {
    /// The repository.
    pub repository: Repository,
    /// The trust root in the folder, where all that leads to it verifies and has not expired.
    pub stored: Option<Refreshed>,
    /// What in the folder was passed over, and why.
    pub ignored: Vec<StateError>,
}

/// A verified trust root.
#[derive(Clone, Debug)]
pub struct Refreshed {
    /// The trust root.
    pub root: Arc<TrustRoot>,
    /// The version of the root metadata that leads to it.
    pub root_version: u64,
    /// When the first of the metadata expires that leads to it.
    pub expires: Timestamp,
    /// Why it could not be put into the folder, where that is so: after a restart the mirror must
    /// be there.
    pub unsaved: Option<StateError>,
}

impl Repository {
    /// Opens the repository, with what `folder` holds of it.
    ///
    /// The folder is this repository's alone and is made if it is not there. What in it does not
    /// verify is ignored and reported; it is written anew at the next refresh.
    ///
    /// # Errors
    /// When the settings cannot be used.
    pub async fn open(
        source: &Source,
        options: &Options,
        folder: Option<&Path>,
        now: Timestamp,
    ) -> Result<Opened, RefreshError> {
        let mut repository = Self {
            mirror: Mirror::new(source.mirror(), options)?,
            deadline: options.deadline,
            state: folder.map(State::new),
            name: source.target().to_owned(),
            trusted: Trusted::from_root(source.root())?,
            target: None,
            root: None,
        };
        let mut ignored = Vec::new();
        repository.restore(&mut ignored).await;
        let stored = match &repository.target {
            None => None,
            Some(target) => match repository.believe(&repository.trusted, target, now) {
                Ok(refreshed) => Some(refreshed),
                Err(error) => {
                    ignored.push(StateError::new("what was fetched last", &one_line(&error)));
                    None
                }
            },
        };
        repository.root = stored.as_ref().map(|stored: &Refreshed| Arc::clone(&stored.root));
        Ok(Opened { repository, stored, ignored })
    }

    async fn restore(&mut self, ignored: &mut Vec<StateError>) {
        let Some(state) = &self.state else { return };
        for _ in 0..MAX_ROOTS {
            let version = self.trusted.root_version().saturating_add(1);
            let bytes = match state.root(version).await {
                Ok(Some(bytes)) => bytes,
                Ok(None) => break,
                Err(error) => return ignored.push(error),
            };
            if let Err(error) = self.trusted.update_root(&bytes) {
                return ignored
                    .push(StateError::new(&State::root_name(version), &one_line(&error)));
            }
        }
        let latest = match state.latest().await {
            Ok(Some(latest)) => latest,
            Ok(None) => return,
            Err(error) => return ignored.push(error),
        };
        // Step by step: what does verify still guards against rollback.
        let Latest { timestamp, snapshot, targets, target } = latest;
        let trusted = &mut self.trusted;
        let restored = trusted
            .restore_timestamp(timestamp.as_bytes())
            .and_then(|()| trusted.restore_snapshot(snapshot.as_bytes()))
            .and_then(|()| trusted.restore_targets(targets.as_bytes()));
        match restored {
            Ok(()) => self.target = Some(target.into_bytes()),
            Err(error) => ignored.push(StateError::new(state::LATEST, &one_line(&error))),
        }
    }

    /// Fetches what is newer, verifies it and keeps it.
    ///
    /// On an error what was verified so far stays, so that a mirror cannot take it back.
    ///
    /// # Errors
    /// When the mirror does not answer in time or properly, something does not verify, or the
    /// target is no trusted root.
    pub async fn refresh(&mut self, now: Timestamp) -> Result<Refreshed, RefreshError> {
        let (mut trusted, mut unsaved) = (self.trusted.clone(), None);
        let fetch = Box::pin(self.fetch(&mut trusted, &mut unsaved, now));
        let fetched = tokio::time::timeout(self.deadline, fetch).await;
        self.trusted = trusted;
        let target = fetched.unwrap_or(Err(RefreshError::TimedOut { limit: self.deadline }))?;
        let mut refreshed = self.believe(&self.trusted, &target, now)?;
        refreshed.unsaved = unsaved.or(self.save(&target).await.err());
        self.root = Some(Arc::clone(&refreshed.root));
        self.target = Some(target);
        Ok(refreshed)
    }

    /// The client workflow (TUF specification, 5.3 to 5.7).
    async fn fetch(
        &self,
        trusted: &mut Trusted,
        unsaved: &mut Option<StateError>,
        now: Timestamp,
    ) -> Result<Vec<u8>, RefreshError> {
        self.fetch_roots(trusted, unsaved).await?;
        trusted.check_root(now)?;
        let timestamp = self.metadata(Role::Timestamp, None, None).await?;
        trusted.update_timestamp(&timestamp, now)?;
        if trusted.target(&self.name, now).is_err() {
            let consistent = trusted.consistent_snapshot();
            let (version, length) = trusted.snapshot_file()?;
            let version = consistent.then_some(version);
            let snapshot = self.metadata(Role::Snapshot, version, length).await?;
            trusted.update_snapshot(&snapshot, now)?;
            let (version, length) = trusted.targets_file()?;
            let version = consistent.then_some(version);
            let targets = self.metadata(Role::Targets, version, length).await?;
            trusted.update_targets(&targets, now)?;
        }
        let file = trusted.target(&self.name, now)?;
        if let Some(target) = self.target.as_ref().filter(|target| file.check(target).is_ok()) {
            return Ok(target.clone());
        }
        let length = file.length()?;
        let prefixes: Vec<Option<&str>> = match trusted.consistent_snapshot() {
            true => file.hashes().map(Some).collect(),
            false => vec![None],
        };
        for prefix in prefixes {
            if let Some(target) = self.mirror.target(&self.name, prefix, length).await? {
                file.check(&target)?;
                return Ok(target);
            }
        }
        Err(MirrorError::Missing { url: self.mirror.shown(&self.name) }.into())
    }

    async fn fetch_roots(
        &self,
        trusted: &mut Trusted,
        unsaved: &mut Option<StateError>,
    ) -> Result<(), RefreshError> {
        for _ in 0..MAX_ROOTS {
            let version = trusted.root_version().saturating_add(1);
            let name = format!("{version}.root.json");
            let Some(root) = self.mirror.get(&name, Role::Root.max_bytes()).await? else {
                return Ok(());
            };
            trusted.update_root(&root)?;
            if let Some(state) = &self.state {
                *unsaved = unsaved.take().or(state.save_root(version, &root).await.err());
            }
        }
        Err(RefreshError::TooManyRoots { limit: MAX_ROOTS })
    }

    async fn metadata(
        &self,
        role: Role,
        version: Option<u64>,
        length: Option<u64>,
    ) -> Result<Vec<u8>, RefreshError> {
        let name = match version {
            Some(version) => format!("{version}.{role}.json"),
            None => format!("{role}.json"),
        };
        let length = length.and_then(|length| usize::try_from(length).ok());
        let cap = length.unwrap_or(usize::MAX).min(role.max_bytes());
        let found = self.mirror.get(&name, cap).await?;
        found.ok_or_else(|| MirrorError::Missing { url: self.mirror.shown(&name) }.into())
    }

    /// The trust root in `target`, if `trusted` leads to it.
    fn believe(
        &self,
        trusted: &Trusted,
        target: &[u8],
        now: Timestamp,
    ) -> Result<Refreshed, RefreshError> {
        trusted.target(&self.name, now)?.check(target)?;
        let text = std::str::from_utf8(target).map_err(|error| {
            RefreshError::Target(TrustRootError { problem: format!("not text: {error}") })
        })?;
        let root = match &self.root {
            // The very same, so that nothing is compiled again for it.
            Some(root) if self.target.as_deref() == Some(target) => Arc::clone(root),
            Some(_) | None => Arc::new(TrustRoot::from_json(text).map_err(RefreshError::Target)?),
        };
        let (root_version, expires) = (trusted.root_version(), trusted.expires());
        Ok(Refreshed { root, root_version, expires, unsaved: None })
    }

    async fn save(&self, target: &[u8]) -> Result<(), StateError> {
        let Some(state) = &self.state else { return Ok(()) };
        let text = |bytes: Option<&[u8]>| {
            String::from_utf8(bytes.unwrap_or_default().to_vec())
                .map_err(|error| StateError::new(state::LATEST, &error))
        };
        let latest = Latest {
            timestamp: text(self.trusted.bytes(Role::Timestamp))?,
            snapshot: text(self.trusted.bytes(Role::Snapshot))?,
            targets: text(self.trusted.bytes(Role::Targets))?,
            target: text(Some(target))?,
        };
        state.save_latest(&latest).await
    }
}

/// Why a refresh brought no trust root.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum RefreshError {
    /// What the mirror sends is not to be trusted.
    #[error("the repository's metadata is not to be trusted")]
    Metadata(#[from] TufError),
    /// The mirror sends nothing that can be used.
    #[error("cannot read from the mirror")]
    Mirror(#[from] MirrorError),
    /// The target is verified, and no trusted root.
    #[error("the target is no trusted root")]
    Target(#[source] TrustRootError),
    /// It took too long.
    #[error("the mirror took longer than {} seconds", limit.as_secs_f32())]
    TimedOut {
        /// The limit.
        limit: Duration,
    },
    /// There are more new roots than one refresh follows.
    #[error("more than {limit} new roots; the next refresh goes on from there")]
    TooManyRoots {
        /// The limit.
        limit: usize,
    },
}
