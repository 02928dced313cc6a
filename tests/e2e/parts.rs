//! The programs of others that a run needs, and ours.
use std::env;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use anyhow::Context as _;
use anyhow::Result;
use anyhow::ensure;

/// Every part, with the variable that may name it.
const PARTS: [(&str, &str); 19] = [
    ("cosign", "COSIGN"),
    ("createtree", "CREATETREE"),
    ("ctlog", "CTLOG"),
    ("docker-registry", "DOCKER_REGISTRY"),
    ("etcd", "ETCD"),
    ("fulcio", "FULCIO"),
    ("helm", "HELM"),
    ("kube-apiserver", "KUBE_APISERVER"),
    ("kube-controller-manager", "KUBE_CONTROLLER_MANAGER"),
    ("kubectl", "KUBECTL"),
    ("mariadbd", "MARIADBD"),
    ("referrers", "REFERRERS_REGISTRY"),
    ("rekor-server", "REKOR"),
    ("rekor-v1-server", "REKOR_V1"),
    ("timestamp-server", "TIMESTAMP_SERVER"),
    ("trillian.sql", "TRILLIAN_SCHEMA"),
    ("trillian_log_server", "TRILLIAN_LOG_SERVER"),
    ("trillian_log_signer", "TRILLIAN_LOG_SIGNER"),
    ("tuf-repository", "TUF_REPOSITORY"),
];

/// Gets what is not there yet.
pub fn get() -> Result<()> {
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/e2e/parts.sh");
    let status = Command::new(&script).status().context("cannot start tests/e2e/parts.sh")?;
    ensure!(status.success(), "tests/e2e/parts.sh could not get every part");
    Ok(())
}

/// Where a part is.
pub fn path(name: &str) -> Result<PathBuf> {
    let part = PARTS.iter().find(|(part, _)| *part == name);
    let (_, variable) = part.with_context(|| format!("{name} is none of the parts"))?;
    let folder = env::var_os("KUBEBUILDER_ASSETS").map(|folder| PathBuf::from(folder).join(name));
    let found = env::var_os(variable)
        .map(PathBuf::from)
        .or_else(|| folder.filter(|path| path.is_file()))
        .map_or_else(|| cache().map(|cache| cache.join("bin").join(name)), Ok)?;
    ensure!(found.is_file(), "{name} is not at {}: run tests/e2e/parts.sh", found.display());
    Ok(found)
}

/// The `tegata` that is tested: `TEGATA_BIN`, or the one that Cargo built for this test.
pub fn tegata() -> PathBuf {
    env::var_os("TEGATA_BIN").map_or_else(|| env!("CARGO_BIN_EXE_tegata").into(), PathBuf::from)
}

/// The chart that is tested: `TEGATA_CHART`, or the project's.
pub fn chart() -> PathBuf {
    let ours = Path::new(env!("CARGO_MANIFEST_DIR")).join("charts/tegata");
    env::var_os("TEGATA_CHART").map_or(ours, PathBuf::from)
}

/// The same folder as in `parts.sh`.
fn cache() -> Result<PathBuf> {
    let of = |variable| env::var_os(variable).map(PathBuf::from);
    of("TEGATA_E2E_CACHE")
        .or_else(|| of("XDG_CACHE_HOME").map(|folder| folder.join("tegata-e2e")))
        .or_else(|| of("HOME").map(|home| home.join(".cache/tegata-e2e")))
        .context("none of TEGATA_E2E_CACHE, XDG_CACHE_HOME and HOME is set")
}
