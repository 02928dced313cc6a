//! Certificates that Tegata makes: authorities, and leaves under them. Keys are ECDSA P-256.
use std::time::Duration;

use jiff::SignedDuration;
use jiff::Timestamp;
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DistinguishedName;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::IsCa;
use rcgen::Issuer;
use rcgen::KeyPair;
use rcgen::KeyUsagePurpose;

/// How long a leaf is valid; it is renewed after two thirds of that, which leaves a month to
/// notice that renewal fails.
pub(crate) const LEAF_LIFETIME: SignedDuration = SignedDuration::from_hours(90 * 24);

/// Certificates begin this much in the past, for clients whose clock is behind ours. Machines of a
/// cluster agree within seconds; an hour is a clock that was set without its time zone's change.
pub(crate) const BACKDATE: SignedDuration = SignedDuration::from_hours(1);

/// Why no certificate was made. Never holds anything of a key.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct IssueError(String);

impl IssueError {
    /// What was made is not what was asked for.
    pub(crate) fn defect() -> Self {
        Self("what was made cannot be used, which is a defect".to_owned())
    }
}

impl From<rcgen::Error> for IssueError {
    fn from(error: rcgen::Error) -> Self {
        Self(error.to_string())
    }
}

/// A new authority that may sign leaves only.
pub(crate) fn authority(
    common_name: &str,
    now: Timestamp,
    lifetime: SignedDuration,
) -> Result<CertifiedIssuer<'static, KeyPair>, IssueError> {
    let mut params = authority_params(common_name);
    valid(&mut params, now, now.checked_add(lifetime).map_err(out_of_range)?)?;
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

/// The authority that [`authority`] made under this name, to sign again.
pub(crate) fn issuer(common_name: &str, key: KeyPair) -> Issuer<'static, KeyPair> {
    Issuer::new(authority_params(common_name), key)
}

/// A new leaf for `names` and its key, as PEM, valid until `not_after`.
pub(crate) fn leaf(
    issuer: &Issuer<'_, KeyPair>,
    names: &[String],
    now: Timestamp,
    not_after: Timestamp,
) -> Result<(String, String), IssueError> {
    let mut params = CertificateParams::new(names)?;
    params.distinguished_name = named("Tegata webhook");
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    params.use_authority_key_identifier_extension = true;
    valid(&mut params, now, not_after)?;
    let key = KeyPair::generate()?;
    Ok((params.signed_by(&key, issuer)?.pem(), key.serialize_pem()))
}

/// When a certificate that was made at `issued` and ends at `expires` is to be replaced: after two
/// thirds of its life.
pub(crate) fn renewal(issued: Timestamp, expires: Timestamp) -> Timestamp {
    let third = expires.duration_since(issued) / 3;
    expires.checked_sub(third).unwrap_or(expires)
}

fn authority_params(common_name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = named(common_name);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn named(common_name: &str) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, common_name);
    name
}

fn valid(
    params: &mut CertificateParams,
    now: Timestamp,
    not_after: Timestamp,
) -> Result<(), IssueError> {
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    let since = |at: Timestamp| {
        u64::try_from(at.as_second()).map(Duration::from_secs).map_err(out_of_range)
    };
    params.not_before = epoch + since(now.checked_sub(BACKDATE).map_err(out_of_range)?)?;
    params.not_after = epoch + since(not_after)?;
    Ok(())
}

fn out_of_range(_: impl std::error::Error) -> IssueError {
    IssueError("the clock shows a time that no certificate can have".to_owned())
}
