//! The `trusted_root.json` of an instance, with switches to alter it.
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;

use super::VirtualSigstore;
use super::instance::Instance;
use super::rekor::RekorLog;

/// A part of a Sigstore instance that a trust root lists.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Authority {
    /// The certificate transparency log.
    CtLog,
    /// The certificate authority.
    Fulcio,
    /// The log of the first generation.
    RekorV1,
    /// The log of the second generation.
    RekorV2,
    /// The timestamp authority.
    Tsa,
}

/// A trust root in the making; see [`VirtualSigstore::trusted_root`].
#[derive(Clone, Debug)]
#[must_use]
pub struct TrustedRootBuilder<'a> {
    sigstore: &'a VirtualSigstore,
    windows: BTreeMap<Authority, (Timestamp, Option<Timestamp>)>,
    omitted: BTreeSet<Authority>,
    seconds: BTreeSet<Authority>,
    retired: bool,
    intermediates: bool,
}

impl<'a> TrustedRootBuilder<'a> {
    pub(super) const fn new(sigstore: &'a VirtualSigstore) -> Self {
        Self {
            sigstore,
            windows: BTreeMap::new(),
            omitted: BTreeSet::new(),
            seconds: BTreeSet::new(),
            retired: true,
            intermediates: true,
        }
    }

    /// Gives the current `authority` the window from `from` until `until`.
    pub fn window(
        mut self,
        authority: Authority,
        from: Timestamp,
        until: Option<Timestamp>,
    ) -> Self {
        self.windows.insert(authority, (from, until));
        self
    }

    /// Ends the window of the current `authority` a day before the instance's start.
    pub fn expired(self, authority: Authority) -> Self {
        let start = self.sigstore.start();
        self.window(authority, start - 48.hours(), Some(start - 24.hours()))
    }

    /// Leaves out `authority`, the retired and second ones included.
    pub fn omit(mut self, authority: Authority) -> Self {
        self.omitted.insert(authority);
        self
    }

    /// Leaves out what was retired or has lapsed: one authority of each kind remains.
    pub const fn without_retired(mut self) -> Self {
        self.retired = false;
        self
    }

    /// Lists the roots of certificate authorities alone: the intermediates must come with the
    /// evidence then, as bundles of version 0.1 and 0.2 have them.
    pub const fn without_intermediates(mut self) -> Self {
        self.intermediates = false;
        self
    }

    /// Adds a second, current `authority` (see [`super::Log::SecondRekorV1`] and its like).
    pub fn second(mut self, authority: Authority) -> Self {
        self.seconds.insert(authority);
        self
    }

    /// The JSON text.
    pub fn json(&self) -> String {
        self.value().to_string()
    }

    /// The JSON value, for further tampering.
    pub fn value(&self) -> Value {
        let list = |authority| Value::Array(self.entries(authority));
        let logs = [self.entries(Authority::RekorV1), self.entries(Authority::RekorV2)].concat();
        json!({
            "mediaType": "application/vnd.dev.sigstore.trustedroot+json;version=0.1",
            "tlogs": logs,
            "certificateAuthorities": list(Authority::Fulcio),
            "ctlogs": list(Authority::CtLog),
            "timestampAuthorities": list(Authority::Tsa),
        })
    }

    fn entries(&self, authority: Authority) -> Vec<Value> {
        if self.omitted.contains(&authority) {
            return Vec::new();
        }
        let start = self.sigstore.start();
        let open = window(start - YEAR.days_of(1), None);
        let current = match self.windows.get(&authority) {
            Some((from, until)) => window(*from, *until),
            None => open.clone(),
        };
        let mut entries = vec![entry(&self.sigstore.current, authority, &current)];
        if self.retired {
            let over = window(start - YEAR.days_of(3), Some(start - YEAR.days_of(1)));
            entries.push(entry(&self.sigstore.retired, authority, &over));
            if authority == Authority::Fulcio {
                entries.push(authority_entry("lapsed", &self.sigstore.lapsed.chain(), &open));
            }
        }
        if self.seconds.contains(&authority) {
            entries.push(entry(&self.sigstore.second, authority, &open));
        }
        if authority == Authority::Fulcio && !self.intermediates {
            for entry in &mut entries {
                if let Some(chain) = entry["certChain"]["certificates"].as_array_mut() {
                    chain.remove(0);
                }
            }
        }
        entries
    }
}

/// Timestamps cannot add calendar units: a year is 365 days of 24 hours.
struct Year;
const YEAR: Year = Year;

impl Year {
    fn days_of(&self, years: i64) -> jiff::Span {
        (years * 365 * 24).hours()
    }
}

fn window(from: Timestamp, until: Option<Timestamp>) -> Value {
    match until {
        Some(until) => json!({ "start": from, "end": until }),
        None => json!({ "start": from }),
    }
}

fn entry(instance: &Instance, authority: Authority, window: &Value) -> Value {
    let name = instance.name();
    match authority {
        Authority::CtLog => {
            let log = &instance.ct_log;
            log_entry(&format!("https://ct.{name}"), &log.key, log.id(), window)
        }
        Authority::Fulcio => authority_entry("fulcio", &instance.fulcio.chain(), window),
        Authority::RekorV1 => rekor_entry(&instance.rekor_v1, window),
        Authority::RekorV2 => rekor_entry(&instance.rekor_v2, window),
        Authority::Tsa => authority_entry("tsa", &instance.tsa.chain(), window),
    }
}

fn rekor_entry(log: &RekorLog, window: &Value) -> Value {
    log_entry(&format!("https://{}", log.host()), &log.key, log.id(), window)
}

fn log_entry(url: &str, key: &super::key::Key, id: [u8; 32], window: &Value) -> Value {
    json!({
        "baseUrl": url,
        "hashAlgorithm": "SHA2_256",
        "publicKey": {
            "rawBytes": STANDARD.encode(key.spki()),
            "keyDetails": key.algorithm().details(),
            "validFor": window,
        },
        "logId": { "keyId": STANDARD.encode(id) },
    })
}

fn authority_entry(name: &str, chain: &[Vec<u8>], window: &Value) -> Value {
    let certificates: Vec<_> =
        chain.iter().map(|der| json!({ "rawBytes": STANDARD.encode(der) })).collect();
    json!({
        "subject": { "organization": "virtual.test", "commonName": name },
        "uri": format!("https://{name}.virtual.test"),
        "certChain": { "certificates": certificates },
        "validFor": window,
    })
}
