//! What `tegata serve` keeps of what registries answered.
use std::time::Duration;

use crate::server::timeout::parse_duration;
use crate::store;

/// Of the memory, the part that evidence gets; the rest is for what was verified, which is asked more
/// often and takes a twentieth.
const EVIDENCE_PART: u64 = 5;

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

    /// Bytes for what was verified.
    pub const fn known_bytes(&self) -> u64 {
        self.cache_memory - self.cache_memory / EVIDENCE_PART
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
