//! One set of authorities: a certificate authority, its CT log, two logs, a timestamp authority.
use jiff::Timestamp;
use jiff::ToSpan as _;

use super::fulcio::CtLog;
use super::fulcio::Fulcio;
use super::key::Algorithm;
use super::rekor::Protocol;
use super::rekor::RekorLog;
use super::tsa::Tsa;
use super::x509::Validity;

/// A complete Sigstore instance; a [`super::VirtualSigstore`] holds several.
#[derive(Debug)]
pub struct Instance {
    name: String,
    /// The certificate authority.
    pub fulcio: Fulcio,
    /// The certificate transparency log.
    pub ct_log: CtLog,
    /// The log of the first generation.
    pub rekor_v1: RekorLog,
    /// The log of the second generation.
    pub rekor_v2: RekorLog,
    /// The timestamp authority.
    pub tsa: Tsa,
}

impl Instance {
    /// An instance under the domain `name`, with certificates for a century around `start`.
    pub fn new(name: &str, start: Timestamp, tsa: Algorithm) -> Self {
        let validity = century(start);
        Self {
            name: name.to_owned(),
            fulcio: Fulcio::new(name, validity, validity),
            ct_log: CtLog::new(),
            rekor_v1: RekorLog::new(Protocol::V1, &format!("rekor1.{name}")),
            rekor_v2: RekorLog::new(Protocol::V2, &format!("rekor2.{name}")),
            tsa: Tsa::new(name, validity, tsa),
        }
    }

    /// Its domain.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// An authority whose intermediate ended a day before `start`, although its window is open.
pub fn lapsed_fulcio(start: Timestamp) -> Fulcio {
    let validity = century(start);
    let lapsed = Validity { until: start - 24.hours(), ..validity };
    Fulcio::new("lapsed.virtual.test", validity, lapsed)
}

/// From four years before `start` until a century after, so that no certificate of an authority
/// is the reason of a refusal unless a part asks for it.
fn century(start: Timestamp) -> Validity {
    Validity { from: start - (4 * 365 * 24).hours(), until: start + (100 * 365 * 24).hours() }
}
