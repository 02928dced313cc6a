//! The chain from a signing certificate to an authority of the trust root, in time.
//!
//! `sigstore-verify` takes each certificate of an authority as an anchor, and an anchor's expiry is
//! not looked at: an intermediate that had expired, or that a later root no longer covers, would
//! still vouch (CVE-2026-24122). Here only the last certificate of a chain is an anchor, and it and
//! all others must be valid at every signing time.
//!
//! What lies above an issuing certificate of the trust root is the same for all that it issues. It
//! is verified with the first signing certificate that leads there, and kept beside the issuing
//! certificate with the time for which it holds ([`Proven`]); of later signing certificates the one
//! signature is verified that is their own.
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::TrustAnchor;
use rustls::pki_types::UnixTime;
use sha2::Digest as _;
use sha2::Sha256;
use sigstore_verify::crypto::WEBPKI_VERIFICATION_ALGS;
use webpki::EndEntityCert;
use webpki::KeyUsage;
use webpki::VerifiedPath;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::ext::pkix::NameConstraints;

use super::certificate::malformed;
use crate::fingerprint::Fingerprint;
use crate::trust_root::Authority;
use crate::trust_root::Proven;
use crate::trust_root::TrustRoot;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// id-kp-codeSigning (RFC 5280 section 4.2.1.12), as DER content.
pub(super) const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// Who issued a signing certificate; made only by verifying it.
#[derive(Clone, Copy)]
pub(super) struct Issuer<'a> {
    authority: &'a Authority,
    proven: Proven,
}

impl Issuer<'_> {
    /// SHA-256 of the issuer's public key.
    pub(super) const fn key(&self) -> &Fingerprint {
        &self.proven.key
    }

    /// Whether the issuer may vouch for a signature of that time.
    fn vouches_at(&self, time: Timestamp) -> bool {
        self.authority.valid_at(time) && self.proven.covers(time)
    }
}

/// Checks the chain at each of the signing times, with every certificate held to its own validity.
/// Returns the issuer at the last of them; without a time there is none.
pub(super) fn check<'a>(
    leaf: &[u8],
    brought: &[Vec<u8>],
    root: &'a TrustRoot,
    times: &[Timestamp],
) -> Result<Issuer<'a>, Failure> {
    let mut issuer: Option<Issuer<'a>> = None;
    for time in times {
        // A signature does not change in time. What does is left: who may vouch, and until when.
        let still = issuer.filter(|issuer| issuer.vouches_at(*time) && covers(leaf, *time));
        issuer = match still {
            Some(issuer) => Some(issuer),
            None => Some(check_at(leaf, brought, root, *time)?),
        };
    }
    issuer.ok_or_else(|| untrusted("no signing time to hold the certificate's chain to".to_owned()))
}

/// The same for one time.
pub(super) fn check_at<'a>(
    leaf: &[u8],
    brought: &[Vec<u8>],
    root: &'a TrustRoot,
    time: Timestamp,
) -> Result<Issuer<'a>, Failure> {
    let authorities: Vec<&Authority> =
        root.authorities().iter().filter(|authority| authority.valid_at(time)).collect();
    if authorities.is_empty() {
        let found = format!("no certificate authority of the trust root was valid at {time}");
        return Err(Failure::new(Reason::CertificateAuthorityExpired, found));
    }
    let leaf = CertificateDer::from(leaf);
    let leaf = EndEntityCert::try_from(&leaf)
        .map_err(|error| malformed(format!("the certificate cannot be parsed: {error}")))?;
    if let Some(issuer) = issued_by_proven(&leaf, &authorities, time) {
        return Ok(issuer);
    }
    let usage = KeyUsage::required(CODE_SIGNING);
    let mut last = None;
    for authority in authorities {
        match check_authority(&leaf, brought, authority, time, usage) {
            Ok(Path { proven, shared }) => {
                if let Some(der) = shared {
                    authority.remember(&der, proven);
                }
                return Ok(Issuer { authority, proven });
            }
            Err(failure) => {
                let keep = last.as_ref().is_none_or(|last: &Failure| {
                    failure.reason == Reason::CertificateAuthorityExpired
                        || last.reason != Reason::CertificateAuthorityExpired
                });
                if keep {
                    last = Some(failure);
                }
            }
        }
    }
    Err(last.unwrap_or_else(|| untrusted("the trust root has no certificate authority".to_owned())))
}

/// Whether the certificate is of an authority whose window does not hold `time`: for telling a
/// certificate of yesterday's authority from one of nobody's.
pub(super) fn chains_outside_window(
    leaf: &[u8],
    brought: &[Vec<u8>],
    root: &TrustRoot,
    time: Timestamp,
) -> bool {
    let leaf = CertificateDer::from(leaf);
    let Ok(leaf) = EndEntityCert::try_from(&leaf) else { return false };
    let usage = KeyUsage::required(CODE_SIGNING);
    let mut authorities = root.authorities().iter().filter(|authority| !authority.valid_at(time));
    authorities.any(|authority| check_authority(&leaf, brought, authority, time, usage).is_ok())
}

/// The issuer, where its own path was verified before and holds at `time`: the certificate's
/// signature, validity, usage and names are held against it alone. `None` says nothing.
fn issued_by_proven<'a>(
    leaf: &EndEntityCert<'_>,
    authorities: &[&'a Authority],
    time: Timestamp,
) -> Option<Issuer<'a>> {
    let usage = KeyUsage::required(CODE_SIGNING);
    authorities.iter().find_map(|authority| {
        let mut proven = authority.issuers().filter(|(_, proven)| proven.covers(time));
        proven.find_map(|(der, proven)| {
            let der = CertificateDer::from(der);
            let anchor = webpki::anchor_from_trusted_cert(&der).ok()?;
            leaf.verify_for_usage(
                WEBPKI_VERIFICATION_ALGS,
                &[anchor],
                &[],
                unix(time)?,
                usage,
                None,
                None,
            )
            .ok()?;
            Some(Issuer { authority, proven })
        })
    })
}

/// A path that was verified.
pub(super) struct Path {
    /// What it says of whoever issued the certificate.
    proven: Proven,
    /// The issuing certificate, where that holds for all that it issues.
    shared: Option<Vec<u8>>,
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other error means no path")]
pub(super) fn check_authority(
    leaf: &EndEntityCert<'_>,
    brought: &[Vec<u8>],
    authority: &Authority,
    time: Timestamp,
    usage: KeyUsage,
) -> Result<Path, Failure> {
    let Some((anchor, intermediates)) = authority.chain.split_last() else {
        return Err(untrusted("the authority has no certificate".to_owned()));
    };
    if !covers(anchor, time) {
        let found = format!("the authority's root certificate was not valid at {time}");
        return Err(Failure::new(Reason::CertificateAuthorityExpired, found));
    }
    let root = CertificateDer::from(anchor.as_slice());
    let trusted: TrustAnchor<'_> = webpki::anchor_from_trusted_cert(&root)
        .map_err(|error| untrusted(format!("the authority's root cannot be used: {error}")))?;
    let intermediates: Vec<CertificateDer<'_>> = intermediates
        .iter()
        .chain(brought)
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let at =
        unix(time).ok_or_else(|| untrusted(format!("the signing time {time} lies before 1970")))?;
    let anchors = [trusted];
    leaf.verify_for_usage(WEBPKI_VERIFICATION_ALGS, &anchors, &intermediates, at, usage, None, None)
        .map(|path| describe(&path, authority, anchor, time))
        .map_err(|error| match error {
            webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
                let found = format!("a certificate of the authority was not valid at {time}");
                Failure::new(Reason::CertificateAuthorityExpired, found)
            }
            error => untrusted(format!("no path to the authority: {error}")),
        })
}

/// What a path says of the issuer.
///
/// It holds for all that the issuer issues where none of it is of this certificate's own: every
/// certificate of it is the trust root's, and no name of the signing certificate was held against
/// any but the issuer's constraints, which are looked at again each time. Signatures, usage and the
/// length of the path do not depend on what is issued, and validity is part of what is kept.
fn describe(
    path: &VerifiedPath<'_>,
    authority: &Authority,
    anchor: &[u8],
    time: Timestamp,
) -> Path {
    let above: Vec<CertificateDer<'_>> =
        path.intermediate_certificates().map(|certificate| certificate.der()).collect();
    let parsed: Option<Vec<Certificate>> = above
        .iter()
        .map(AsRef::as_ref)
        .chain([anchor])
        .map(|der| Certificate::from_der(der).ok())
        .collect();
    let spans = parsed.as_deref().map(|all| all.iter().map(span).collect::<Option<Vec<_>>>());
    // Where that cannot be read, it holds for this once.
    let moment = time.as_second();
    let (from, until) = match spans.flatten() {
        Some(spans) => spans
            .into_iter()
            .fold((i64::MIN, i64::MAX), |all, one| (all.0.max(one.0), all.1.min(one.1))),
        None => (moment, moment),
    };
    let constrained = parsed.is_none_or(|all| all.iter().skip(1).any(constrains_names));
    let own = |der: &CertificateDer<'_>| authority.chain.iter().any(|known| known == der.as_ref());
    let shared = above.first().filter(|_| !constrained && above.iter().all(own));
    let key = Sha256::digest(path.issuer_spki().as_ref()).into();
    Path { proven: Proven { key, from, until }, shared: shared.map(|der| der.as_ref().to_vec()) }
}

fn constrains_names(certificate: &Certificate) -> bool {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    extensions.iter().any(|extension| extension.extn_id == NameConstraints::OID)
}

/// Whether the certificate's own validity holds `time`.
pub(super) fn covers(der: &[u8], time: Timestamp) -> bool {
    let span = Certificate::from_der(der).ok().as_ref().and_then(span);
    span.is_some_and(|(from, until)| (from..=until).contains(&time.as_second()))
}

/// The first and the last second of a certificate's validity.
fn span(certificate: &Certificate) -> Option<(i64, i64)> {
    let validity = &certificate.tbs_certificate.validity;
    let at = |time: &x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs()).ok();
    Some((at(&validity.not_before)?, at(&validity.not_after)?))
}

fn unix(time: Timestamp) -> Option<UnixTime> {
    let seconds = u64::try_from(time.as_second()).ok()?;
    Some(UnixTime::since_unix_epoch(Duration::from_secs(seconds)))
}

fn untrusted(found: String) -> Failure {
    Failure::new(Reason::CertificateUntrusted, found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
