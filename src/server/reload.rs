//! Policy files, reloaded when they change.
use std::collections::BTreeSet;
use std::fs;
use std::io::Read as _;
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use sha2::Digest as _;
use sha2::Sha256;
use tokio::sync::watch;

use crate::metrics::Metrics;
use crate::metrics::Reload;
use crate::policy::PolicySnapshot;
use crate::tuf::Follower;
use crate::tuf::Roots;

/// How often the files are compared with what was loaded. A kubelet brings a changed ConfigMap
/// within a minute or so; people who edit a file wait for this.
pub const POLL: Duration = Duration::from_secs(2);

/// How deep folders are followed, which ends cycles of symbolic links. Policies lie flat or one
/// level down.
const MAX_DEPTH: usize = 4;

/// Most files whose content is compared; a folder with more is not one of policies.
const MAX_FILES: usize = 10_000;

/// Most bytes of a file that are compared. More than any file that is loaded may have.
const MAX_FILE: u64 = 8 << 20;

/// Most times that files which change while they are read are read again at once.
const MAX_LOADS: usize = 3;

/// What loading the policy files came to.
#[derive(Debug)]
pub struct LoadOutcome {
    /// Every policy: those of broken files as they were last, or invalid and denying.
    pub snapshot: PolicySnapshot,
    /// One text a problem, each with file, line and field.
    pub problems: Vec<String>,
}

/// Loads the policy files. It keeps what was good before, to fall back on.
///
/// An error means that nothing could be loaded at all: the snapshot in force stays.
pub trait Load: FnMut() -> Result<LoadOutcome, String> + Send + 'static {}

impl<L: FnMut() -> Result<LoadOutcome, String> + Send + 'static> Load for L {}

/// Loads the policies and keeps them current.
#[derive(Debug)]
pub struct Reloader<L> {
    paths: Vec<PathBuf>,
    load: L,
    seen: [u8; 32],
    metrics: Metrics,
}

impl<L: Load> Reloader<L> {
    /// Loads for the first time. Problems are logged; policies that they concern deny.
    ///
    /// # Errors
    /// When nothing could be loaded.
    pub async fn start(
        paths: Vec<PathBuf>,
        load: L,
        metrics: Metrics,
    ) -> Result<(Self, watch::Sender<Arc<PolicySnapshot>>), String> {
        let reloader = Self { paths, load, seen: [0; 32], metrics };
        let (reloader, loaded) = reloader.load().await?;
        let snapshot = reloader.report(loaded)?;
        Ok((reloader, watch::Sender::new(Arc::new(snapshot))))
    }

    /// Looks at the files every `poll`, and sends a new snapshot when they changed, or when
    /// `follower` brings another trust root. Ends only when that is impossible.
    pub async fn run(
        mut self,
        snapshots: watch::Sender<Arc<PolicySnapshot>>,
        poll: Duration,
        mut follower: Option<Follower>,
    ) {
        let mut roots = Arc::default();
        loop {
            tokio::select! {
                () = tokio::time::sleep(poll) => {
                    let paths = self.paths.clone();
                    let found = tokio::task::spawn_blocking(move || fingerprint(&paths)).await;
                    // A defect in comparing must not keep a changed policy from taking effect.
                    if found.is_ok_and(|found| found == self.seen) {
                        continue;
                    }
                }
                found = published(&mut follower) => {
                    if Roots::same(&roots, &found) {
                        continue;
                    }
                    roots = found;
                }
            }
            let Ok((reloader, loaded)) = self.load().await else {
                return;
            };
            self = reloader;
            match self.report(loaded) {
                Ok(snapshot) => {
                    tracing::info!(policies = snapshot.policies().len(), "Reloaded the policies");
                    snapshots.send_replace(Arc::new(snapshot));
                }
                Err(problem) => tracing::error!(problem, "Keeping the policies as they were"),
            }
        }
    }

    /// Loads off the async threads.
    async fn load(mut self) -> Result<(Self, Result<LoadOutcome, String>), String> {
        tokio::task::spawn_blocking(move || {
            let loaded = self.load_whole();
            (self, loaded)
        })
        .await
        .map_err(|error| error.to_string())
    }

    /// Loads until nothing changed meanwhile. While files are replaced, some are read as they were
    /// and some as they are: a policy that moves from one to another would be in neither, and what
    /// it forbids would pass until the next look.
    fn load_whole(&mut self) -> Result<LoadOutcome, String> {
        for _ in 0..MAX_LOADS {
            self.seen = fingerprint(&self.paths);
            let loaded = catch_unwind(AssertUnwindSafe(&mut self.load))
                .unwrap_or_else(|_| Err("loading the policies failed for a defect".to_owned()));
            if fingerprint(&self.paths) == self.seen {
                return loaded;
            }
        }
        // Different from what is there, so that the next look loads again.
        self.seen = [0; 32];
        Err("the policy files change while they are read: wanted them at rest".to_owned())
    }

    fn report(&self, loaded: Result<LoadOutcome, String>) -> Result<PolicySnapshot, String> {
        match loaded {
            Ok(LoadOutcome { snapshot, problems }) => {
                if !problems.is_empty() {
                    self.metrics.reload_failed(Reload::Policies);
                }
                for problem in problems {
                    tracing::error!(problem, "A policy file cannot be used as it is");
                }
                if snapshot.policies().is_empty() {
                    tracing::warn!("There is no policy: no image is checked");
                }
                self.metrics.policies(&snapshot);
                Ok(snapshot)
            }
            Err(problem) => {
                self.metrics.reload_failed(Reload::Policies);
                Err(problem)
            }
        }
    }
}

/// What is published next; never, where nothing is followed.
async fn published(follower: &mut Option<Follower>) -> Arc<Roots> {
    match follower {
        Some(follower) => {
            follower.changed().await;
            follower.published()
        }
        None => std::future::pending().await,
    }
}

/// A hash over names and content of everything that `paths` lead to. Kubernetes swaps a symbolic
/// link to a hidden folder to change a volume's files at once; links are followed, and hidden
/// entries left out, so that a swap shows as changed content.
fn fingerprint(paths: &[PathBuf]) -> [u8; 32] {
    let mut files = BTreeSet::new();
    for path in paths {
        list(path, MAX_DEPTH, &mut files);
    }
    let mut hash = Sha256::new();
    for path in files {
        let name = path.as_os_str().as_encoded_bytes();
        hash.update((name.len() as u64).to_be_bytes());
        hash.update(name);
        let content = content(&path);
        hash.update((content.len() as u64).to_be_bytes());
        hash.update(content);
    }
    hash.finalize().into()
}

fn list(path: &Path, depth: usize, files: &mut BTreeSet<PathBuf>) {
    if files.len() >= MAX_FILES {
        return;
    }
    let entries = match fs::read_dir(path) {
        Ok(entries) if depth > 0 => entries,
        // Also what is not there: its content is then the error, and changes when it appears.
        Ok(_) | Err(_) => {
            files.insert(path.to_owned());
            return;
        }
    };
    files.insert(path.to_owned());
    for entry in entries.flatten() {
        if !entry.file_name().as_encoded_bytes().starts_with(b".") {
            list(&entry.path(), depth - 1, files);
        }
    }
}

fn content(path: &Path) -> Vec<u8> {
    // Opening a pipe would wait for a writer.
    let read = || {
        let metadata = fs::metadata(path)?;
        if !metadata.is_file() {
            return Ok(Vec::new());
        }
        let mut content = Vec::new();
        fs::File::open(path)?.take(MAX_FILE).read_to_end(&mut content)?;
        Ok(content)
    };
    read().unwrap_or_else(|error: std::io::Error| error.kind().to_string().into_bytes())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn notices_every_change_and_nothing_else() {
        let folder = tempfile::tempdir().unwrap();
        let paths = [folder.path().to_owned()];
        let mut last = fingerprint(&paths);
        let mut changed = |what: &str, expected: bool| {
            let found = fingerprint(&paths);
            assert_eq!(found != last, expected, "{what}");
            last = found;
        };
        changed("nothing", false);
        fs::write(folder.path().join("a.yaml"), "a").unwrap();
        changed("a new file", true);
        fs::write(folder.path().join("a.yaml"), "b").unwrap();
        changed("new content of the same length", true);
        fs::rename(folder.path().join("a.yaml"), folder.path().join("b.yaml")).unwrap();
        changed("a new name", true);
        fs::write(folder.path().join(".hidden"), "x").unwrap();
        changed("a hidden file", false);
        fs::create_dir(folder.path().join("sub")).unwrap();
        fs::write(folder.path().join("sub/c.yaml"), "c").unwrap();
        changed("a file in a folder", true);
        symlink(folder.path(), folder.path().join("sub/cycle")).unwrap();
        changed("a cycle", true);
        fs::remove_file(folder.path().join("b.yaml")).unwrap();
        changed("a missing file", true);
        drop(folder);
        changed("a missing folder", true);
    }

    #[tokio::test]
    async fn never_uses_policies_that_changed_while_they_were_read() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("a.yaml");
        fs::write(&file, "0").unwrap();
        let mut reads = 0;
        let (path, changes) = (file.clone(), Arc::new(std::sync::Mutex::new(2)));
        let left = Arc::clone(&changes);
        let load = move || {
            reads += 1;
            let mut left = left.lock().unwrap();
            if *left > 0 {
                *left -= 1;
                fs::write(&path, format!("{reads}")).unwrap();
            }
            let problems = vec![format!("read {reads}")];
            Ok(LoadOutcome { snapshot: PolicySnapshot::default(), problems })
        };
        let (_, metrics) = crate::metrics::registry();
        let paths = vec![folder.path().to_owned()];
        let reloader = Reloader { paths, load, seen: [0; 32], metrics };
        let (reloader, loaded) = reloader.load().await.unwrap();
        assert_eq!(loaded.unwrap().problems, ["read 3"]);
        *changes.lock().unwrap() = 100;
        let (reloader, loaded) = reloader.load().await.unwrap();
        assert!(loaded.unwrap_err().contains("change while they are read"));
        assert_ne!(reloader.seen, fingerprint(&reloader.paths));
    }

    #[test]
    fn notices_the_swap_of_a_volumes_link() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        for (version, text) in [("..v1", "one"), ("..v2", "two")] {
            fs::create_dir(at(version)).unwrap();
            fs::write(at(version).join("p.yaml"), text).unwrap();
        }
        symlink("..v1", at("..data")).unwrap();
        symlink("..data/p.yaml", at("p.yaml")).unwrap();
        let paths = [folder.path().to_owned()];
        let before = fingerprint(&paths);
        symlink("..v2", at("..new")).unwrap();
        fs::rename(at("..new"), at("..data")).unwrap();
        assert_ne!(fingerprint(&paths), before);
    }
}
