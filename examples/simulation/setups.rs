//! The configurations that are compared.
use std::num::NonZeroU16;
use std::time::Duration;

use tegata::store::Settings;

use crate::run::Setup;
use crate::run::Volume;
use crate::servers::Limit;
use crate::world::Size;

const MIB: u64 = 1 << 20;

/// Few configurations, or all.
pub(crate) fn all(size: Size, quick: bool) -> Vec<Setup> {
    let kept = |replicas, mib| with(size, replicas, mib, "", |_| {});
    let mut setups = vec![bare(size), kept(1, 8), kept(1, 64), kept(3, 8), kept(3, 256)];
    if quick {
        let counted = with(size, 3, 256, ", 200 pulls in 6 h", |_| {});
        setups.push(Setup { limit: PULLS, ..counted });
        return setups;
    }
    let hour = |settings: &mut Settings| settings.refresh_after = Duration::from_secs(3600);
    let brief = |settings: &mut Settings| settings.max_age = Duration::from_secs(1200);
    let pinned = |settings: &mut Settings| settings.stale_tags = true;
    setups.extend([
        kept(1, 256),
        kept(3, 64),
        kept(10, 8),
        kept(10, 64),
        with(size, 3, 256, ", refresh after 1 h", hour),
        with(size, 3, 256, ", max age 20 min", brief),
        with(size, 3, 256, ", digests pinned", pinned),
        Setup { per_second: NonZeroU16::new(15), ..with(size, 3, 256, ", 15 requests/s", |_| {}) },
        Setup { volume: Volume::Each, ..with(size, 3, 8, ", volumes", |_| {}) },
        Setup { volume: Volume::One, ..with(size, 3, 8, ", shared", |_| {}) },
        Setup { volume: Volume::One, ..with(size, 10, 8, ", shared", |_| {}) },
    ]);
    setups
}

/// Nothing is kept, and nobody shares a question.
fn bare(size: Size) -> Setup {
    Setup { label: "nothing kept".to_owned(), settings: None, ..with(size, 3, 0, "", |_| {}) }
}

/// So many MiB in a whole cluster; in a part of it that part.
fn with(
    size: Size,
    replicas: usize,
    mib: u64,
    more: &str,
    change: impl Fn(&mut Settings),
) -> Setup {
    let memory = mib * MIB / size.part;
    let mut settings = Settings { memory, ..Settings::default() };
    change(&mut settings);
    let noun = if replicas == 1 { "replica" } else { "replicas" };
    let label = format!("{replicas} {noun}, {:.1} MiB{more}", memory as f64 / MIB as f64);
    Setup {
        label,
        replicas,
        settings: Some(settings),
        volume: Volume::Nowhere,
        per_second: None,
        limit: usual(size),
    }
}

/// What public registries put up with from one address: some thousands of requests a minute.
fn usual(size: Size) -> Limit {
    Limit { requests: size.of(500), per: Duration::from_secs(10), manifests_only: false }
}

/// What Docker Hub allows an account that nobody pays for, however small the cluster is.
const PULLS: Limit =
    Limit { requests: 200, per: Duration::from_secs(6 * 3600), manifests_only: true };
