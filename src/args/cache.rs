//! What `tegata serve` keeps of what registries answered.
use std::path::PathBuf;
use std::time::Duration;

use crate::admission::known;
use crate::server::timeout::parse_duration;
use crate::store;
use crate::store::MAX_TIME;
use crate::store::MIN_TIME;
use crate::store::SharedOptions;

/// Of the memory, the part that evidence gets; the rest is for what was verified, which is asked more
/// often and takes a twentieth.
const EVIDENCE_PART: u64 = 8;

/// Evidence that is kept
#[derive(clap::Args, Clone, Debug)]
#[command(next_help_heading = "Evidence that is kept")]
pub struct CacheArgs {
    /// Most memory for what is known of images, in bytes, Ki, Mi or Gi
    #[arg(long, env = "TEGATA_CACHE_MEMORY", value_name = "SIZE", default_value = "40Mi", value_parser = memory)]
    pub cache_memory: u64,

    /// Age from which evidence is asked for anew in the background, while it is used
    #[arg(long, env = "TEGATA_CACHE_REFRESH", value_name = "DURATION", default_value = "10m", value_parser = refresh)]
    pub cache_refresh: Duration,

    /// Age from which evidence is not used, whether or not its registry can be asked
    #[arg(long, env = "TEGATA_CACHE_MAX_AGE", value_name = "DURATION", default_value = "24h", value_parser = max_age)]
    pub cache_max_age: Duration,

    /// Folder, of this process alone, in which evidence is kept for the next start; none where absent
    #[arg(long, env = "TEGATA_CACHE_DIR", value_name = "FOLDER")]
    pub cache_dir: Option<PathBuf>,

    /// Most bytes in --cache-dir, in bytes, Ki, Mi or Gi
    #[arg(long, env = "TEGATA_CACHE_DISK", value_name = "SIZE", default_value = "1Gi", value_parser = size)]
    pub cache_disk: u64,

    /// Redis or Valkey that replicas share evidence in: redis://host:port/database, or rediss:// over
    /// TLS; none where absent
    #[arg(long, env = "TEGATA_SHARED_STORE", value_name = "URL")]
    pub shared_store: Option<String>,

    /// File with the password of --shared-store
    #[arg(
        long,
        env = "TEGATA_SHARED_STORE_PASSWORD_FILE",
        value_name = "FILE",
        requires = "shared_store"
    )]
    pub shared_store_password_file: Option<PathBuf>,

    /// Begins the keys in --shared-store, to tell apart those that must not share
    #[arg(long, env = "TEGATA_SHARED_STORE_PREFIX", value_name = "TEXT", default_value = "tegata")]
    pub shared_store_prefix: String,

    /// How long --shared-store is waited for, before a registry is asked; 5ms to 1s
    #[arg(long, env = "TEGATA_SHARED_STORE_TIME", value_name = "DURATION", default_value = "100ms", value_parser = shared_time)]
    pub shared_store_time: Duration,
}

impl CacheArgs {
    /// The settings of the store. `pinned` says whether verified digests are written into pods.
    pub const fn settings(&self, pinned: bool) -> store::Settings {
        store::Settings {
            memory: self.cache_memory / EVIDENCE_PART,
            refresh_after: self.cache_refresh,
            max_age: self.cache_max_age,
            stale_tags: pinned,
        }
    }

    /// The shared store, where there is one.
    pub fn shared(&self) -> Option<SharedOptions> {
        Some(SharedOptions {
            url: self.shared_store.clone()?,
            prefix: format!("{}:", self.shared_store_prefix),
            time: self.shared_store_time,
            life: self.cache_max_age,
            password: self.shared_store_password_file.clone(),
            ca_pem: None,
        })
    }

    /// The settings of what is known of images.
    pub fn known(&self) -> known::Limits {
        let bytes = self.cache_memory - self.cache_memory / EVIDENCE_PART;
        known::Limits {
            bytes: usize::try_from(bytes).unwrap_or(usize::MAX),
            refresh_after: self.cache_refresh,
            max_age: self.cache_max_age,
        }
    }
}

/// A number of bytes as Kubernetes writes it.
fn size(text: &str) -> Result<u64, String> {
    let wrong = || format!("found `{text}`, wanted a whole number of bytes, Ki, Mi or Gi");
    let digits = text.trim_end_matches(|c: char| c.is_ascii_alphabetic());
    let unit: u64 = match text.strip_prefix(digits).unwrap_or_default() {
        "" => 1,
        "Ki" => 1 << 10,
        "Mi" => 1 << 20,
        "Gi" => 1 << 30,
        _ => return Err(wrong()),
    };
    let number: u64 = digits.parse().map_err(|_| wrong())?;
    number.checked_mul(unit).ok_or_else(wrong)
}

/// Below a MiB an image's evidence may not fit; beyond 16 GiB something was mistyped.
fn memory(text: &str) -> Result<u64, String> {
    match size(text)? {
        size if (1 << 20..=16 << 30).contains(&size) => Ok(size),
        _ => Err(format!("found {text}, wanted 1Mi to 16Gi")),
    }
}

fn shared_time(text: &str) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(time) if (MIN_TIME..=MAX_TIME).contains(&time) => Ok(time),
        Ok(_) => Err(format!("found {text}, wanted {MIN_TIME:?} to {MAX_TIME:?}")),
        Err(error) => Err(error.to_string()),
    }
}

/// More often than every 10 s would be no keeping.
fn refresh(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_secs(10), Duration::from_secs(24 * 3600))
}

/// For a month nobody would notice a signature that was taken back.
fn max_age(text: &str) -> Result<Duration, String> {
    between(text, Duration::from_secs(10), Duration::from_secs(30 * 24 * 3600))
}

fn between(text: &str, least: Duration, most: Duration) -> Result<Duration, String> {
    match parse_duration(text) {
        Ok(duration) if (least..=most).contains(&duration) => Ok(duration),
        Ok(_) => {
            let hours = most.as_secs() / 3600;
            Err(format!("found {text}, wanted {}s to {hours}h", least.as_secs()))
        }
        Err(error) => Err(error.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_sizes_as_kubernetes_writes_them() {
        assert_eq!(size("40Mi"), Ok(40 << 20));
        assert_eq!(size("1Gi"), Ok(1 << 30));
        assert_eq!(size("2Ki"), Ok(2048));
        assert_eq!(size("12"), Ok(12));
        for wrong in ["", "Mi", "1M", "1.5Mi", "-1", "1 Mi", "99999999999Gi", "1Mi1"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
        assert!(memory("1023Ki").is_err() && memory("1Mi").is_ok());
        assert!(memory("16Gi").is_ok() && memory("17Gi").is_err());
        assert!(refresh("9s").is_err() && refresh("10s").is_ok() && refresh("25h").is_err());
        assert!(max_age("9s").is_err() && max_age("720h").is_ok() && max_age("721h").is_err());
    }
}
