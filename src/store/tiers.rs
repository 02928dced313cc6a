//! The tiers beyond memory, asked one after the other.
use std::time::Duration;

use jiff::Timestamp;
use tracing::warn;

use super::disk::Disk;
use super::key::Key;
use super::memory::age;
use super::record;
use super::shared::Shared;
use crate::evidence::Evidence;
use crate::metrics::StoreMetrics;
use crate::metrics::Tier;

/// Put in the place of a record that no longer holds: as it is none, nobody uses it.
const NO_RECORD: &[u8] = b"-";

/// What keeps evidence beyond the process. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct Tiers {
    /// A volume.
    pub disk: Option<Disk>,
    /// A server that replicas share.
    pub shared: Option<Shared>,
    /// Where their use is counted.
    pub metrics: StoreMetrics,
}

impl Tiers {
    /// Whether there are none.
    pub(super) const fn is_none(&self) -> bool {
        self.disk.is_none() && self.shared.is_none()
    }

    /// Evidence that is younger than `max_age`, with the time when a registry gave it. What is none, or
    /// answers something else, is as good as not there.
    pub(super) async fn find(
        &self,
        key: &Key,
        now: Timestamp,
        max_age: Duration,
    ) -> Option<(Evidence, Timestamp)> {
        let Self { disk, shared, metrics: _ } = self;
        let name = key.lasting();
        let usable = |tier, bytes: &[u8]| {
            let (evidence, fetched) = self.read(tier, key, bytes, now)?;
            (age(fetched, now) < max_age).then_some((evidence, fetched))
        };
        if let Some(disk) = disk
            && let Some(bytes) = disk.get(&name).await
        {
            match usable(Tier::Disk, &bytes) {
                Some(found) => return Some(found),
                None => disk.remove(name),
            }
        }
        let shared = shared.as_ref().filter(|_| key.is_shareable())?;
        let bytes = shared.get(&name).await?;
        let found = usable(Tier::Shared, &bytes)?;
        if let Some(disk) = disk {
            disk.put(name, &bytes, now);
        }
        Some(found)
    }

    fn read(
        &self,
        tier: Tier,
        key: &Key,
        bytes: &[u8],
        now: Timestamp,
    ) -> Option<(Evidence, Timestamp)> {
        match record::decode(&key.query, bytes, now) {
            Ok(found) => Some(found),
            Err(error) => {
                self.metrics.refused(tier);
                warn!(tier = tier.as_str(), %error, "A record of evidence is not used");
                None
            }
        }
    }

    /// Keeps a registry's answer, in the background; forgets what was there where it says that nothing
    /// is attached any more, or cannot be kept.
    pub(super) fn keep(&self, key: &Key, evidence: &Evidence, fetched: Timestamp) {
        let Self { disk, shared, metrics: _ } = self;
        if disk.is_none() && shared.is_none() {
            return;
        }
        let name = key.lasting();
        let Some(record) = record::encode(evidence, fetched) else {
            if let Some(disk) = disk {
                disk.remove(name);
            }
            if let Some(shared) = shared.as_ref().filter(|_| key.is_shareable()) {
                shared.put(&name, NO_RECORD);
            }
            return;
        };
        if let Some(disk) = disk {
            disk.put(name, &record, fetched);
        }
        if let Some(shared) = shared.as_ref().filter(|_| key.is_shareable()) {
            shared.put(&name, &record);
        }
    }

    /// Writes what waits to the volume.
    pub async fn flush(&self) {
        if let Some(disk) = &self.disk {
            disk.flush().await;
        }
    }
}
