//! A certificate authority in memory, for running without one.
use std::path::Path;

use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::tz::TimeZone;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

use super::TlsError;

/// Names that every leaf is for, besides those that are asked for.
const LOCAL_NAMES: [&str; 3] = ["localhost", "127.0.0.1", "::1"];

/// How long the authority is valid. It lives in memory only and ends with the process, so that it
/// must outlast any process.
const AUTHORITY_LIFETIME: SignedDuration = SignedDuration::from_hours(10 * 365 * 24);

/// How long a leaf is valid; it is renewed after two thirds of that.
const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// When a leaf is replaced: this long before its end.
const RENEW_BEFORE: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Certificates begin this much in the past, for clients whose clock is behind ours. It is more
/// than a day because validity is written in whole days.
const BACKDATE: SignedDuration = SignedDuration::from_hours(25);

/// An authority whose key never leaves this process.
pub struct SelfSigned {
    authority: CertifiedIssuer<'static, KeyPair>,
    names: Vec<String>,
}

impl std::fmt::Debug for SelfSigned {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SelfSigned").field("names", &self.names).finish_non_exhaustive()
    }
}

impl SelfSigned {
    /// An authority that issues for the local names and for `names`: DNS names or addresses.
    ///
    /// # Errors
    /// When a name is none that a certificate can hold.
    pub fn new(names: &[String], now: Timestamp) -> Result<Self, TlsError> {
        let mut all: Vec<String> = LOCAL_NAMES.map(str::to_owned).to_vec();
        all.extend(names.iter().filter(|name| !LOCAL_NAMES.contains(&name.as_str())).cloned());
        CertificateParams::new(all.clone()).map_err(|_| {
            issue(&format!("one of the names cannot be in a certificate: {names:?}"))
        })?;
        let mut params = CertificateParams::default();
        params.distinguished_name = named("Tegata self-signed authority");
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        valid(&mut params, now, AUTHORITY_LIFETIME)?;
        let key = KeyPair::generate().map_err(|error| issue(&error.to_string()))?;
        let authority =
            CertifiedIssuer::self_signed(params, key).map_err(|error| issue(&error.to_string()))?;
        Ok(Self { authority, names: all })
    }

    /// The authority's certificate as PEM: what clients must trust.
    pub fn authority_pem(&self) -> String {
        self.authority.pem()
    }

    /// Writes [`Self::authority_pem`] to a file.
    ///
    /// # Errors
    /// When the file cannot be written.
    pub fn export(&self, path: &Path) -> Result<(), TlsError> {
        std::fs::write(path, self.authority_pem())
            .map_err(|source| TlsError::Export { path: path.to_owned(), source })
    }

    /// A new leaf and its key, as PEM.
    pub(super) fn issue(&self, now: Timestamp) -> Result<(String, String), String> {
        let mut params =
            CertificateParams::new(self.names.clone()).map_err(|error| error.to_string())?;
        params.distinguished_name = named("Tegata webhook");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        valid(&mut params, now, LEAF_LIFETIME).map_err(|error| error.to_string())?;
        let key = KeyPair::generate().map_err(|error| error.to_string())?;
        let leaf = params.signed_by(&key, &self.authority).map_err(|error| error.to_string())?;
        Ok((leaf.pem(), key.serialize_pem()))
    }

    /// Whether a leaf that ends at `expires` is to be replaced.
    pub(super) fn renewal_due(expires: Timestamp, now: Timestamp) -> bool {
        expires.duration_since(now) < RENEW_BEFORE
    }
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn valid(
    params: &mut CertificateParams,
    now: Timestamp,
    lifetime: SignedDuration,
) -> Result<(), TlsError> {
    let day = |at: Timestamp| {
        let date = at.to_zoned(TimeZone::UTC).date();
        let (month, day) = (date.month().unsigned_abs(), date.day().unsigned_abs());
        rcgen::date_time_ymd(i32::from(date.year()), month, day)
    };
    let shifted = |by| now.checked_add(by).map_err(|error| issue(&error.to_string()));
    params.not_before = day(shifted(-BACKDATE)?);
    params.not_after = day(shifted(lifetime)?);
    Ok(())
}

fn issue(problem: &str) -> TlsError {
    TlsError::Issue(problem.to_owned())
}
