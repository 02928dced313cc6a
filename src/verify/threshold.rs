//! How many distinct logs and timestamp authorities vouch for a signature.
//!
//! Runs after everything that is attached was verified. A log is the key that signed its promise or
//! its checkpoint, whatever identifier the entry states; an authority is the one of the trust root
//! under which the timestamp verifies (CVE-2026-49834).
use super::Parsed;
use super::log;
use super::timestamp;
use crate::policy::Demands;
use crate::policy::LogDemand;
use crate::trust_root::TrustRoot;
use crate::trust_root::distinct;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// (3) and (7) Enough of them, where the policy asks for more than one.
pub(super) fn check(parsed: &Parsed, demands: Demands, root: &TrustRoot) -> Result<(), Failure> {
    let Demands { log, log_threshold, timestamp, timestamp_threshold } = demands;
    let wanted = log_threshold.get();
    if log != LogDemand::Optional && wanted > 1 {
        let entries = &parsed.bundle.verification_material.tlog_entries;
        let logs: Vec<_> =
            entries.iter().map(|entry| log::of_entry(entry, root)).collect::<Result<_, _>>()?;
        let found = distinct::logs(logs);
        if found < wanted {
            let found = format!("{} entries of {found} distinct logs", entries.len());
            return Err(Failure::new(Reason::LogThresholdUnmet, found)
                .wanted(format!("entries of {wanted} distinct logs")));
        }
    }
    let wanted = timestamp_threshold.get();
    if timestamp && wanted > 1 {
        let stamps = timestamp::verify(parsed, root)?;
        let found = distinct::timestamp_authorities(stamps.iter().map(|stamp| stamp.authority));
        if found < wanted {
            let count = stamps.len();
            let found = format!("{count} timestamps of {found} distinct authorities");
            return Err(Failure::new(Reason::TimestampThresholdUnmet, found)
                .wanted(format!("timestamps of {wanted} distinct authorities")));
        }
    }
    Ok(())
}
