//! The trust root of authorities that name none, and what keeps it and the others current.
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use tokio::sync::watch;

use super::InputError;
use super::RegistryFiles;
use super::mirrors;
use super::read;
use crate::args::RegistryArgs;
use crate::commands::serve::Background;
use crate::error::one_line;
use crate::metrics::Metrics;
use crate::metrics::Reload;
use crate::server;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf::Source;
use crate::tuf;
use crate::tuf::DefaultRoot;
use crate::tuf::Follower;

const FLAG: &str = "--trusted-root";

/// How often the file of `--trusted-root` is looked at: as often as those of registries.
const POLL: Duration = Duration::from_secs(5);

/// The trust root of a file; without one the public-good instance's.
pub(in crate::commands) fn trust_root(path: Option<&Path>) -> Result<Arc<TrustRoot>, InputError> {
    let Some(path) = path else { return Ok(Arc::new(TrustRoot::public_good())) };
    parse(path, &read(FLAG, path)?)
}

fn parse(path: &Path, json: &str) -> Result<Arc<TrustRoot>, InputError> {
    let root = TrustRoot::from_json(json);
    root.map(Arc::new).map_err(|error| InputError::file(FLAG, path, &error))
}

/// Trust roots, and what keeps them current.
pub(in crate::commands) struct TrustRoots {
    /// That of authorities that name none, before another one is fetched or given.
    pub(in crate::commands) default: Arc<TrustRoot>,
    /// Brings that, and those of resources, anew.
    pub(in crate::commands) follower: Follower,
    /// What does the work.
    pub(in crate::commands) background: Vec<Background>,
}

/// Reads the default trust root, and starts what keeps trust roots current, under the settings of
/// registries as they are now. The default is the public-good instance's, unless `--trusted-root`
/// gives another.
pub(in crate::commands) fn trust_roots(
    args: &RegistryArgs,
    metrics: &Metrics,
) -> Result<TrustRoots, InputError> {
    let mut background = Vec::new();
    let (default, root) = match (&args.trusted_root, &args.tuf_mirror) {
        (Some(path), _) => {
            let json = read(FLAG, path)?;
            let root = parse(path, &json)?;
            let (sender, given) = watch::channel(Arc::clone(&root));
            let task = keep(path.clone(), json, sender, metrics.clone(), POLL).boxed();
            background.push(Background { name: "default trust root", task });
            (DefaultRoot::Given(given), root)
        }
        (None, None) => (DefaultRoot::Fetched(Source::public_good()), trust_root(None)?),
        (None, Some(mirror)) => {
            let source = Source::public_good_at(mirror).map_err(|error| InputError::Flag {
                flag: "--tuf-mirror",
                problem: one_line(&error),
            })?;
            (DefaultRoot::Fetched(source), trust_root(None)?)
        }
    };
    let (options, _) = RegistryFiles::read(args)?.settings(args)?;
    let settings = tuf::Settings {
        default,
        folder: args.outside.tuf_state.clone(),
        mirrors: mirrors(&args.outside, options),
        schedule: args.tuf_refresh,
        clock: server::now,
    };
    let (follower, following) = tuf::follow(settings, metrics.trust_roots.clone());
    background.push(Background { name: "trust roots", task: following.boxed() });
    Ok(TrustRoots { default: root, follower, background })
}

/// Gives the trust root anew whenever the file changes, which held `json`. What cannot be used is
/// reported once, and the last good one stays.
async fn keep(
    path: PathBuf,
    json: String,
    roots: watch::Sender<Arc<TrustRoot>>,
    metrics: Metrics,
    poll: Duration,
) {
    let mut seen = Some(json);
    loop {
        tokio::time::sleep(poll).await;
        let read = match read(FLAG, &path) {
            Ok(json) if seen.as_ref() == Some(&json) => continue,
            Err(_) if seen.is_none() => continue,
            Ok(json) => {
                let root = parse(&path, &json);
                seen = Some(json);
                root
            }
            Err(error) => {
                seen = None;
                Err(error)
            }
        };
        match read {
            Ok(root) => {
                let problems = root.problems();
                tracing::info!(?problems, "Reloaded the default trust root");
                roots.send_replace(root);
            }
            Err(error) => {
                metrics.reload_failed(Reload::TrustedRoot);
                let error = one_line(&error);
                tracing::error!(error, "Keeping the default trust root as it was");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

    use super::*;

    const TICK: Duration = Duration::from_millis(10);

    /// The public instance's root with so many of its logs.
    fn logs(count: usize) -> String {
        let mut root: serde_json::Value =
            serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
        root["tlogs"].as_array_mut().unwrap().truncate(count);
        root.to_string()
    }

    #[tokio::test]
    async fn follows_the_file_and_keeps_the_last_good_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("trusted_root.json");
        fs::write(&path, logs(2)).unwrap();
        let root = trust_root(Some(&path)).unwrap();
        let (sender, mut given) = watch::channel(root);
        let (registry, metrics) = crate::metrics::registry();
        tokio::spawn(keep(path.clone(), logs(2), sender, metrics, TICK));
        let failures = || {
            let text = crate::metrics::encode(&registry).unwrap();
            let name = "tegata_reload_failures_total{what=\"trusted-root\"} ";
            text.lines().find_map(|line| line.strip_prefix(name)).unwrap().to_owned()
        };
        tokio::time::sleep(10 * TICK).await;
        assert!(!given.has_changed().unwrap(), "the same file");
        fs::write(&path, logs(1)).unwrap();
        given.changed().await.unwrap();
        assert_eq!(given.borrow_and_update().logs().len(), 1);
        assert_eq!(failures(), "0");

        for (round, bad) in ["{}", "no JSON"].into_iter().enumerate() {
            fs::write(&path, bad).unwrap();
            tokio::time::sleep(20 * TICK).await;
            assert_eq!(failures(), (round + 1).to_string(), "once each");
        }
        fs::remove_file(&path).unwrap();
        tokio::time::sleep(20 * TICK).await;
        assert_eq!(failures(), "3");
        assert!(!given.has_changed().unwrap(), "the last good one stays");
        assert_eq!(given.borrow().logs().len(), 1);

        fs::write(&path, logs(0)).unwrap();
        given.changed().await.unwrap();
        assert_eq!(given.borrow_and_update().logs().len(), 0);
        assert_eq!(failures(), "3");
    }
}
