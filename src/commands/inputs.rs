//! What commands read at their start: files named by flags, credentials, trust roots, registries.
use std::fs::File;
use std::io;
use std::io::Read as _;
use std::path::Path;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;

use super::serve::Background;
use super::serve::Cluster;
use crate::args::ClusterArgs;
use crate::args::OutsideArgs;
use crate::args::RegistryArgs;
use crate::error::one_line;
use crate::files;
use crate::files::Loaded;
use crate::metrics::Metrics;
use crate::metrics::Reload;
use crate::registry::Keychain;
use crate::registry::Registry;
use crate::registry::RegistryOptions;
use crate::rekor::Rekor;
use crate::server;
use crate::server::reload::LoadOutcome;
use crate::trust_root::TrustRoot;
use crate::trust_root::tuf::Source;
use crate::tuf;
use crate::tuf::Follower;
use crate::tuf::Mirrors;

/// Largest file read for a flag. Keys are below 1 KiB, trust roots below 64 KiB; a `config.json`
/// with hundreds of registries is below 1 MiB.
const MAX_FILE: u64 = 1 << 20;

/// Why a file that a flag names cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InputError {
    /// It is not what the flag asks for.
    #[error("{flag} {}: {problem}", path.display())]
    File {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// What was found, and what was wanted.
        problem: String,
    },
    /// A flag's value cannot be used.
    #[error("{flag}: {problem}")]
    Flag {
        /// The flag.
        flag: &'static str,
        /// What was found, and what was wanted.
        problem: String,
    },
    /// There is no way to the cluster.
    #[error(
        "no cluster to work for: wanted a pod with a ServiceAccount, or a kubeconfig in KUBECONFIG; \
         or policies from files with --policies"
    )]
    Cluster(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// It cannot be read.
    #[error("{flag}: cannot read {}", path.display())]
    Read {
        /// The flag.
        flag: &'static str,
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The settings of the registry client cannot be used.
    #[error("{0}")]
    Registry(String),
}

impl InputError {
    pub(super) fn file(
        flag: &'static str,
        path: &Path,
        error: &(dyn std::error::Error + 'static),
    ) -> Self {
        Self::File { flag, path: path.to_owned(), problem: one_line(error) }
    }
}

/// The text of a file that a flag names, of at most [`MAX_FILE`] bytes.
pub(super) fn read(flag: &'static str, path: &Path) -> Result<String, InputError> {
    let unreadable = |source| InputError::Read { flag, path: path.to_owned(), source };
    let mut bytes = Vec::new();
    let file = File::open(path).map_err(unreadable)?;
    file.take(MAX_FILE + 1).read_to_end(&mut bytes).map_err(unreadable)?;
    let problem = |problem: &str| InputError::File {
        flag,
        path: path.to_owned(),
        problem: problem.to_owned(),
    };
    if bytes.len() as u64 > MAX_FILE {
        return Err(problem("larger than 1 MiB"));
    }
    String::from_utf8(bytes).map_err(|_| problem("not a text in UTF-8"))
}

/// The trust root of a file; without one the public-good instance's.
pub(super) fn trust_root(path: Option<&Path>) -> Result<Arc<TrustRoot>, InputError> {
    const FLAG: &str = "--trusted-root";
    let Some(path) = path else { return Ok(Arc::new(TrustRoot::public_good())) };
    let root = TrustRoot::from_json(&read(FLAG, path)?);
    root.map(Arc::new).map_err(|error| InputError::file(FLAG, path, &error))
}

/// What fetches trust roots and keeps them fresh, under the settings of registries as they are now.
/// The default is the public-good instance's, unless `--trusted-root` gives another.
pub(super) fn trust_roots(
    args: &RegistryArgs,
    metrics: &Metrics,
) -> Result<(Follower, Background), InputError> {
    let default = match (&args.trusted_root, &args.tuf_mirror) {
        (Some(_), _) => None,
        (None, None) => Some(Source::public_good()),
        (None, Some(mirror)) => Some(Source::public_good_at(mirror).map_err(|error| {
            InputError::Flag { flag: "--tuf-mirror", problem: one_line(&error) }
        })?),
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
    Ok((follower, Background { name: "trust roots", task: following.boxed() }))
}

/// How mirrors are asked, with the proxies and authorities of registries; not at all offline.
pub(super) fn mirrors(args: &OutsideArgs, options: RegistryOptions) -> Mirrors {
    if args.offline {
        return Mirrors::Offline;
    }
    let RegistryOptions { allow_http, ca_pem, proxy, .. } = options;
    Mirrors::Ask(tuf::Options { allow_http, ca_pem, proxy, ..tuf::Options::default() })
}

const REGISTRIES: &str = "--registries";
const REGISTRY_CONFIG: &str = "--registry-config";

/// The credentials of a Docker `config.json`.
pub(super) fn keychain(path: &Path) -> Result<Keychain, InputError> {
    parse_keychain(path, &read(REGISTRY_CONFIG, path)?)
}

fn parse_keychain(path: &Path, text: &str) -> Result<Keychain, InputError> {
    Keychain::from_docker_config(text.as_bytes())
        .map_err(|error| InputError::file(REGISTRY_CONFIG, path, &error))
}

/// The settings in a file of `--registries`; the usual ones without it.
pub(super) fn registry_options(path: Option<&Path>) -> Result<RegistryOptions, InputError> {
    let Some(path) = path else { return Ok(RegistryOptions::default()) };
    parse_registry_options(path, &read(REGISTRIES, path)?)
}

fn parse_registry_options(path: &Path, text: &str) -> Result<RegistryOptions, InputError> {
    serde_saphyr::from_str(text).map_err(|error| {
        // What follows the first line draws the place in the file.
        let text = error.to_string();
        let first = text.lines().next().unwrap_or_default();
        let problem = first.strip_prefix("error: ").unwrap_or(first).to_owned();
        InputError::File { flag: REGISTRIES, path: path.to_owned(), problem }
    })
}

/// The registry client of these flags, and what keeps its settings and credentials as their files
/// say.
pub(super) fn registry(
    args: RegistryArgs,
    metrics: Metrics,
) -> Result<(Registry, Background), InputError> {
    let files = RegistryFiles::read(&args)?;
    let (options, keychain) = files.settings(&args)?;
    let registry =
        Registry::new(options, keychain).map_err(|error| InputError::Registry(one_line(&error)))?;
    let registry = registry.with_metrics(metrics.registry.clone());
    let keeping = keep_registry(args, files, registry.clone(), metrics);
    Ok((registry, Background { name: "registry settings", task: keeping.boxed() }))
}

/// The client of the logs that policies name, under the settings of registries as they are now.
pub(super) fn rekor(args: &RegistryArgs) -> Result<Rekor, InputError> {
    let (options, _) = RegistryFiles::read(args)?.settings(args)?;
    Rekor::new(&options, args.rekor_allow.iter().cloned())
        .map_err(|error| InputError::Registry(one_line(&error)))
}

/// What is in the files of `--registries` and `--registry-config`.
#[derive(Debug, Eq, PartialEq)]
struct RegistryFiles {
    registries: Option<String>,
    config: Option<String>,
}

impl RegistryFiles {
    fn read(args: &RegistryArgs) -> Result<Self, InputError> {
        let text = |flag, path: &Option<PathBuf>| path.as_ref().map(|path| read(flag, path));
        Ok(Self {
            registries: text(REGISTRIES, &args.registries).transpose()?,
            config: text(REGISTRY_CONFIG, &args.registry_config).transpose()?,
        })
    }

    fn settings(&self, args: &RegistryArgs) -> Result<(RegistryOptions, Keychain), InputError> {
        let options = args.registries.as_deref().zip(self.registries.as_deref());
        let options = options.map(|(path, text)| parse_registry_options(path, text)).transpose()?;
        let mut options = options.unwrap_or_default();
        options.allow_http.extend(args.http_registry.iter().cloned());
        let keychain = args.registry_config.as_deref().zip(self.config.as_deref());
        let keychain = keychain.map(|(path, text)| parse_keychain(path, text)).transpose()?;
        Ok((options, keychain.unwrap_or_else(Keychain::anonymous)))
    }
}

/// How often the files of `--registries` and `--registry-config` are looked at. A kubelet brings a
/// changed ConfigMap or Secret within a minute or so.
const REGISTRIES_POLL: Duration = Duration::from_secs(5);

/// Applies what the files say whenever that changes. What cannot be used is reported once, and what
/// was there before stays.
async fn keep_registry(
    args: RegistryArgs,
    files: RegistryFiles,
    registry: Registry,
    metrics: Metrics,
) {
    let mut seen = Some(files);
    loop {
        tokio::time::sleep(REGISTRIES_POLL).await;
        let reloaded = match RegistryFiles::read(&args) {
            Ok(files) if seen.as_ref() == Some(&files) => continue,
            Err(_) if seen.is_none() => continue,
            Ok(files) => {
                let settings = files.settings(&args);
                seen = Some(files);
                settings.and_then(|(options, keychain)| {
                    registry
                        .reload(options)
                        .map_err(|error| InputError::Registry(one_line(&error)))?;
                    registry.reload_keychain(keychain);
                    Ok(())
                })
            }
            Err(error) => {
                seen = None;
                Err(error)
            }
        };
        match reloaded {
            Ok(()) => tracing::info!("Reloaded the settings of registries"),
            Err(error) => {
                metrics.reload_failed(Reload::Registries);
                let error = one_line(&error);
                tracing::error!(error, "Keeping the settings of registries as they were");
            }
        }
    }
}

/// Longest wait for a connection to the API server, which is near.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// The cluster that we run in, or that the kubeconfig names. Nobody is asked yet.
pub(super) async fn cluster(
    args: ClusterArgs,
    default_root: Arc<TrustRoot>,
    follower: Follower,
) -> Result<Box<Cluster>, InputError> {
    let mut config =
        kube::Config::infer().await.map_err(|error| InputError::Cluster(error.into()))?;
    config.connect_timeout = Some(CONNECT_TIMEOUT);
    let client =
        kube::Client::try_from(config).map_err(|error| InputError::Cluster(error.into()))?;
    let identity = args.pod_name.clone().unwrap_or_else(host_name);
    Ok(Box::new(Cluster { client, args, identity, default_root, follower }))
}

/// The machine's name; outside a cluster there is one replica, whatever it is called.
fn host_name() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    let name = name.trim();
    if name.is_empty() { "tegata".to_owned() } else { name.to_owned() }
}

/// Loads policy files again and again, and falls back on what was good before.
pub(super) fn loader(
    paths: Vec<PathBuf>,
    default: Arc<TrustRoot>,
    mut follower: Follower,
) -> impl FnMut() -> Result<LoadOutcome, String> + Send + 'static {
    let mut last_good = Loaded::default();
    move || {
        let roots = follower.published();
        let default = roots.default.as_ref().unwrap_or(&default);
        let loaded =
            files::load_with(&paths, default, &roots).map_err(|error| error.to_string())?;
        let problems = loaded.problems.iter().map(ToString::to_string).collect();
        last_good = files::merge(&last_good, loaded);
        follower.follow(last_good.sources());
        Ok(LoadOutcome { snapshot: last_good.snapshot.clone(), problems })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rejects_files_that_are_too_large() {
        let file = tempfile::NamedTempFile::new().unwrap();
        file.as_file().set_len(MAX_FILE).unwrap();
        assert_eq!(read("--key", file.path()).unwrap().len() as u64, MAX_FILE);
        file.as_file().set_len(1 << 40).unwrap();
        let error = read("--key", file.path()).unwrap_err();
        assert!(matches!(error, InputError::File { flag: "--key", .. }), "{error}");
    }
}
