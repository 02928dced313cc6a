//! The tiers of the evidence store.
use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// A tier of the evidence store.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Tier {
    /// A file on a volume.
    Disk,
    /// This process's own memory.
    Memory,
    /// A server that replicas share.
    Shared,
}

impl Tier {
    const ALL: [Self; 3] = [Self::Disk, Self::Memory, Self::Shared];

    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Disk => "disk",
            Self::Memory => "memory",
            Self::Shared => "shared",
        }
    }
}

/// Whether a tier had what was looked for.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreLookup {
    /// It did not say: it failed, was too slow, or is left alone because of that.
    Failure,
    /// It had.
    Hit,
    /// It had not.
    Miss,
}

impl StoreLookup {
    const ALL: [Self; 3] = [Self::Failure, Self::Hit, Self::Miss];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Failure => "failure",
            Self::Hit => "hit",
            Self::Miss => "miss",
        }
    }
}

/// What became of something to be kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum StoreWrite {
    /// It was not tried: too much waits already, or the tier is left alone after a failure.
    Dropped,
    /// It was tried in vain.
    Failed,
    /// It is kept.
    Written,
}

impl StoreWrite {
    const ALL: [Self; 3] = [Self::Dropped, Self::Failed, Self::Written];

    const fn as_str(self) -> &'static str {
        match self {
            Self::Dropped => "dropped",
            Self::Failed => "failed",
            Self::Written => "written",
        }
    }
}

/// The tiers of the evidence store. Clones share their values.
#[derive(Clone, Debug, Default)]
pub struct StoreMetrics {
    lookups: Family<LookupLabels, Counter>,
    refused: Family<TierLabels, Counter>,
    writes: Family<WriteLabels, Counter>,
}

impl StoreMetrics {
    /// Registers every metric, each with its help text.
    pub(super) fn register(registry: &mut Registry) -> Self {
        let metrics = Self::default();
        let Self { lookups, refused, writes } = &metrics;
        registry.register(
            "store_lookups",
            "Evidence looked for in the tiers of the store, by whether it was there",
            lookups.clone(),
        );
        registry.register(
            "store_refused",
            "What a tier of the store held and was not what it should be, and so was not used",
            refused.clone(),
        );
        registry.register(
            "store_writes",
            "Evidence to be kept in the tiers of the store, by what became of it",
            writes.clone(),
        );
        for tier in Tier::ALL {
            for result in StoreLookup::ALL {
                let _ = lookups.get_or_create_owned(&LookupLabels::of(tier, result));
            }
            let _ = refused.get_or_create_owned(&TierLabels { tier: tier.as_str() });
            for outcome in StoreWrite::ALL {
                let _ = writes.get_or_create_owned(&WriteLabels::of(tier, outcome));
            }
        }
        metrics
    }

    /// Counts a lookup.
    pub fn lookup(&self, tier: Tier, result: StoreLookup) {
        self.lookups.get_or_create(&LookupLabels::of(tier, result)).inc();
    }

    /// Counts what a tier held and was not what it should be.
    pub fn refused(&self, tier: Tier) {
        self.refused.get_or_create(&TierLabels { tier: tier.as_str() }).inc();
    }

    /// Counts so many things to be kept.
    pub fn written(&self, tier: Tier, outcome: StoreWrite, count: usize) {
        let count = u64::try_from(count).unwrap_or(u64::MAX);
        self.writes.get_or_create(&WriteLabels::of(tier, outcome)).inc_by(count);
    }

    /// How many lookups ended so.
    pub fn lookups(&self, tier: Tier, result: StoreLookup) -> u64 {
        self.lookups.get_or_create(&LookupLabels::of(tier, result)).get()
    }

    /// How many things were refused.
    pub fn refusals(&self, tier: Tier) -> u64 {
        self.refused.get_or_create(&TierLabels { tier: tier.as_str() }).get()
    }

    /// How many things to be kept ended so.
    pub fn writes(&self, tier: Tier, outcome: StoreWrite) -> u64 {
        self.writes.get_or_create(&WriteLabels::of(tier, outcome)).get()
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LookupLabels {
    tier: &'static str,
    result: &'static str,
}

impl LookupLabels {
    const fn of(tier: Tier, result: StoreLookup) -> Self {
        Self { tier: tier.as_str(), result: result.as_str() }
    }
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct TierLabels {
    tier: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct WriteLabels {
    tier: &'static str,
    outcome: &'static str,
}

impl WriteLabels {
    const fn of(tier: Tier, outcome: StoreWrite) -> Self {
        Self { tier: tier.as_str(), outcome: outcome.as_str() }
    }
}
