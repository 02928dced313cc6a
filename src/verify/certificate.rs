//! The signing certificate: who it says signed, and its chain in time.
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::TrustAnchor;
use rustls::pki_types::UnixTime;
use sigstore_verify::crypto::KeyAlgorithm;
use sigstore_verify::crypto::WEBPKI_VERIFICATION_ALGS;
use sigstore_verify::types::DerCertificate;
use sigstore_verify::types::DerPublicKey;
use webpki::EndEntityCert;
use webpki::KeyUsage;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::asn1::Utf8StringRef;
use x509_cert::der::oid::AssociatedOid as _;
use x509_cert::ext::pkix::KeyUsage as KeyUsageBits;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use super::Parsed;
use super::key::PublicKey;
use crate::trust_root::Authority;
use crate::trust_root::TrustRoot;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Longest signing certificate, in bytes. Fulcio's have below 1 KiB for people and below 2 KiB for
/// workflows.
pub(super) const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// Most certificates that a signature may bring along. Fulcio's chain has three.
pub(super) const MAX_CHAIN: usize = 8;

/// Most alternative names that are read; Fulcio writes one.
const MAX_SUBJECTS: usize = 16;

/// id-kp-codeSigning (RFC 5280 section 4.2.1.12), as DER content.
pub(super) const CODE_SIGNING: &[u8] = &[0x2b, 0x06, 0x01, 0x05, 0x05, 0x07, 0x03, 0x03];

/// Arc of Fulcio's extensions (Fulcio, `docs/oid-info.md`).
const FULCIO_ARC: &str = "1.3.6.1.4.1.57264.1.";

/// Claims by the last number of their identifier, and whether the value is a bare string (older)
/// or a DER UTF8String.
const CLAIMS: [(u8, &str); 21] = [
    (2, "githubWorkflowTrigger"),
    (3, "githubWorkflowSHA"),
    (4, "githubWorkflowName"),
    (5, "githubWorkflowRepository"),
    (6, "githubWorkflowRef"),
    (9, "buildSignerURI"),
    (10, "buildSignerDigest"),
    (11, "runnerEnvironment"),
    (12, "sourceRepositoryURI"),
    (13, "sourceRepositoryDigest"),
    (14, "sourceRepositoryRef"),
    (15, "sourceRepositoryIdentifier"),
    (16, "sourceRepositoryOwnerURI"),
    (17, "sourceRepositoryOwnerIdentifier"),
    (18, "buildConfigURI"),
    (19, "buildConfigDigest"),
    (20, "buildTrigger"),
    (21, "runInvocationURI"),
    (22, "sourceRepositoryVisibilityAtSigning"),
    (23, "deploymentEnvironment"),
    (24, "tokenSubject"),
];

/// Every claim name that [`CertificateIdentity::claims`] can hold.
pub const CLAIM_NAMES: [&str; 21] = {
    let mut names = [""; 21];
    let mut index = 0;
    while index < CLAIMS.len() {
        #[expect(clippy::indexing_slicing, reason = "a constant, checked by the compiler")]
        {
            names[index] = CLAIMS[index].1;
        }
        index += 1;
    }
    names
};

/// Claims up to this number are bare strings; later ones are DER UTF8Strings.
const LAST_BARE_CLAIM: u8 = 7;

/// Who signed, as a verified certificate says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct CertificateIdentity {
    /// The OIDC issuer (Fulcio OID 1.3.6.1.4.1.57264.1.8, or .1.1 in older certificates).
    pub issuer: String,
    /// Every subject alternative name that can be an identity (e-mail, URI, host name, address,
    /// Fulcio's otherName); never empty.
    pub subjects: Vec<String>,
    /// Further Fulcio claims by their documented names in lower camel case; see [`CLAIM_NAMES`].
    pub claims: BTreeMap<&'static str, String>,
}

/// The certificate that a signature came with, not believed yet.
pub(super) fn of(parsed: &Parsed) -> Result<&DerCertificate, Failure> {
    parsed.bundle.signing_certificate().ok_or_else(|| {
        Failure::new(Reason::CertificateAbsent, "the signature was made with a key")
            .wanted("a signing certificate")
    })
}

/// A signing certificate's fields, read but not believed yet.
pub(super) struct SigningCertificate {
    pub(super) identity: CertificateIdentity,
    pub(super) key: PublicKey,
    pub(super) not_before: Timestamp,
    pub(super) not_after: Timestamp,
}

impl SigningCertificate {
    /// Reads a DER certificate.
    pub(super) fn parse(der: &[u8]) -> Result<Self, Failure> {
        let (certificate, key) = read(der)?;
        let validity = &certificate.tbs_certificate.validity;
        let time = |time: &x509_cert::time::Time| {
            i64::try_from(time.to_unix_duration().as_secs())
                .ok()
                .and_then(|seconds| Timestamp::from_second(seconds).ok())
                .ok_or_else(|| malformed("the certificate's validity is out of range".to_owned()))
        };
        Ok(Self {
            not_before: time(&validity.not_before)?,
            not_after: time(&validity.not_after)?,
            identity: identity(&certificate)?,
            key,
        })
    }

    /// Checks that a signing time lies within the certificate's validity.
    pub(super) fn check_validity(&self, time: Timestamp) -> Result<(), Failure> {
        let Self { not_before, not_after, .. } = self;
        if (*not_before..=*not_after).contains(&time) {
            return Ok(());
        }
        let found = format!("signed at {time}");
        Err(Failure::new(Reason::SigningTimeOutsideCertificate, found)
            .wanted(format!("a time from {not_before} to {not_after}")))
    }
}

/// A certificate within limits, whose key may and can verify signatures.
fn read(der: &[u8]) -> Result<(Certificate, PublicKey), Failure> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        let found = format!("a certificate of {} bytes", der.len());
        return Err(Failure::new(Reason::EvidenceTooLarge, found)
            .wanted(format!("at most {MAX_CERTIFICATE_BYTES}")));
    }
    let certificate = Certificate::from_der(der)
        .map_err(|error| malformed(format!("the certificate cannot be parsed: {error}")))?;
    let key = read_key(&certificate.tbs_certificate.subject_public_key_info)?;
    check_usage(&certificate)?;
    Ok((certificate, key))
}

/// Where a certificate limits what its key is for, signatures are among it (RFC 5280 section
/// 4.2.1.3). What it limits further, `check_chain` holds it to.
pub(super) fn check_usage(certificate: &Certificate) -> Result<(), Failure> {
    let usage = certificate
        .tbs_certificate
        .get::<KeyUsageBits>()
        .map_err(|error| malformed(format!("the certificate's key usage is malformed: {error}")))?;
    match usage {
        Some((_, usage)) if !usage.digital_signature() => {
            let found = "the certificate's key is not for digital signatures";
            Err(Failure::new(Reason::CertificateUntrusted, found)
                .wanted("key usage digitalSignature"))
        }
        Some(_) | None => Ok(()),
    }
}

/// The key is of a kind and a size with which signatures are verified.
fn read_key(spki: &SubjectPublicKeyInfoOwned) -> Result<PublicKey, Failure> {
    let unsupported = |error: &dyn std::fmt::Display| {
        let found = format!("the certificate's key cannot be used: {error}");
        Failure::new(Reason::KeyUnsupported, found)
    };
    let der = spki.to_der().map_err(|error| unsupported(&error))?;
    let key = PublicKey::from_der(&der, None).map_err(|error| unsupported(&error))?;
    KeyAlgorithm::from_spki(&DerPublicKey::new(der)).map_err(|error| unsupported(&error))?;
    Ok(key)
}

fn identity(certificate: &Certificate) -> Result<CertificateIdentity, Failure> {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    let mut issuers: BTreeMap<u8, String> = BTreeMap::new();
    let mut claims = BTreeMap::new();
    let mut subjects = Vec::new();
    for extension in extensions {
        let value = extension.extn_value.as_bytes();
        if extension.extn_id == SubjectAltName::OID {
            subjects.extend(read_subjects(value)?);
        }
        let Some(number) = fulcio_number(extension.extn_id) else {
            continue;
        };
        let claim = CLAIMS.iter().find(|(known, _)| *known == number);
        let duplicate = match (number, claim) {
            (1 | 8, _) => issuers.insert(number, read_claim(number, value)?).is_some(),
            (_, Some((_, name))) => claims.insert(*name, read_claim(number, value)?).is_some(),
            (_, None) => false,
        };
        if duplicate {
            return Err(malformed(format!("extension {FULCIO_ARC}{number} stands twice")));
        }
    }
    let issuer = match (issuers.remove(&8), issuers.remove(&1)) {
        (Some(new), Some(old)) if new != old => {
            return Err(malformed(format!("the certificate names two issuers: {new} and {old}")));
        }
        (Some(issuer), _) | (None, Some(issuer)) => issuer,
        (None, None) => return Err(malformed("the certificate names no issuer".to_owned())),
    };
    if subjects.is_empty() {
        return Err(malformed("the certificate names no subject".to_owned()));
    }
    Ok(CertificateIdentity { issuer, subjects, claims })
}

/// Every alternative name that can be an identity; none where there is no such extension.
pub(super) fn subjects(certificate: &Certificate) -> Result<Vec<String>, Failure> {
    let extensions = certificate.tbs_certificate.extensions.as_deref().unwrap_or_default();
    let mut subjects = Vec::new();
    for extension in extensions.iter().filter(|one| one.extn_id == SubjectAltName::OID) {
        subjects.extend(read_subjects(extension.extn_value.as_bytes())?);
    }
    Ok(subjects)
}

fn read_subjects(value: &[u8]) -> Result<Vec<String>, Failure> {
    let names = SubjectAltName::from_der(value)
        .map_err(|error| malformed(format!("the alternative names cannot be parsed: {error}")))?;
    if names.0.len() > MAX_SUBJECTS {
        return Err(malformed(format!("{} alternative names", names.0.len())));
    }
    Ok(names.0.iter().filter_map(subject).collect())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "other kinds of name are no identities")]
fn subject(name: &GeneralName) -> Option<String> {
    /// Fulcio's otherName for user names (`docs/oid-info.md`, 1.3.6.1.4.1.57264.1.7).
    const USER_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.57264.1.7");
    match name {
        GeneralName::Rfc822Name(email) => Some(email.to_string()),
        GeneralName::UniformResourceIdentifier(uri) => Some(uri.to_string()),
        GeneralName::DnsName(host) => Some(host.to_string()),
        GeneralName::IpAddress(bytes) => ip_address(bytes.as_bytes()),
        GeneralName::OtherName(other) if other.type_id == USER_NAME => {
            other.value.decode_as::<String>().ok()
        }
        _ => None,
    }
}

/// RFC 5280 section 4.2.1.6: four or sixteen bytes in network order.
fn ip_address(bytes: &[u8]) -> Option<String> {
    let v4 = || <[u8; 4]>::try_from(bytes).ok().map(|bytes| Ipv4Addr::from(bytes).to_string());
    let v6 = || <[u8; 16]>::try_from(bytes).ok().map(|bytes| Ipv6Addr::from(bytes).to_string());
    v4().or_else(v6)
}

fn fulcio_number(oid: ObjectIdentifier) -> Option<u8> {
    oid.to_string().strip_prefix(FULCIO_ARC)?.parse().ok()
}

fn read_claim(number: u8, value: &[u8]) -> Result<String, Failure> {
    let text = if number <= LAST_BARE_CLAIM {
        std::str::from_utf8(value).ok().map(str::to_owned)
    } else {
        Utf8StringRef::from_der(value).ok().map(|text| text.as_str().to_owned())
    };
    text.ok_or_else(|| malformed(format!("extension {FULCIO_ARC}{number} is no text")))
}

/// Checks the chain once more, with every certificate held to its own validity.
///
/// `sigstore-verify` takes each certificate of an authority as an anchor, and an anchor's expiry is
/// not looked at: an intermediate that had expired, or that a later root no longer covers, would
/// still vouch (CVE-2026-24122). Here only the last certificate of a chain is an anchor, and it and
/// all others must be valid at `time`.
pub(super) fn check_chain(
    leaf: &[u8],
    brought: &[Vec<u8>],
    root: &TrustRoot,
    time: Timestamp,
) -> Result<(), Failure> {
    let authorities: Vec<&Authority> = root
        .authorities()
        .iter()
        .filter(|authority| authority.window.is_none_or(|window| window.contains(time)))
        .collect();
    if authorities.is_empty() {
        let found = format!("no certificate authority of the trust root was valid at {time}");
        return Err(Failure::new(Reason::CertificateAuthorityExpired, found));
    }
    let leaf = CertificateDer::from(leaf);
    let leaf = EndEntityCert::try_from(&leaf)
        .map_err(|error| malformed(format!("the certificate cannot be parsed: {error}")))?;
    let usage = KeyUsage::required(CODE_SIGNING);
    let mut last = None;
    for authority in authorities {
        match check_authority(&leaf, brought, authority, time, usage) {
            Ok(()) => return Ok(()),
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
    Err(last.unwrap_or_else(|| {
        Failure::new(Reason::CertificateUntrusted, "the trust root has no certificate authority")
    }))
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
    let outside =
        |authority: &&Authority| authority.window.is_some_and(|window| !window.contains(time));
    let usage = KeyUsage::required(CODE_SIGNING);
    let mut authorities = root.authorities().iter().filter(outside);
    authorities.any(|authority| check_authority(&leaf, brought, authority, time, usage).is_ok())
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other error means no path")]
fn check_authority(
    leaf: &EndEntityCert<'_>,
    brought: &[Vec<u8>],
    authority: &Authority,
    time: Timestamp,
    usage: KeyUsage,
) -> Result<(), Failure> {
    let untrusted = |found: String| Failure::new(Reason::CertificateUntrusted, found);
    let Some((anchor, intermediates)) = authority.chain.split_last() else {
        return Err(untrusted("the authority has no certificate".to_owned()));
    };
    if !covers(anchor, time) {
        let found = format!("the authority's root certificate was not valid at {time}");
        return Err(Failure::new(Reason::CertificateAuthorityExpired, found));
    }
    let anchor = CertificateDer::from(anchor.as_slice());
    let anchor: TrustAnchor<'_> = webpki::anchor_from_trusted_cert(&anchor)
        .map_err(|error| untrusted(format!("the authority's root cannot be used: {error}")))?;
    let intermediates: Vec<CertificateDer<'_>> = intermediates
        .iter()
        .chain(brought)
        .map(|der| CertificateDer::from(der.as_slice()))
        .collect();
    let seconds = u64::try_from(time.as_second())
        .map_err(|_| untrusted(format!("the signing time {time} lies before 1970")))?;
    leaf.verify_for_usage(
        WEBPKI_VERIFICATION_ALGS,
        &[anchor],
        &intermediates,
        UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds)),
        usage,
        None,
        None,
    )
    .map(drop)
    .map_err(|error| match error {
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
            let found = format!("a certificate of the authority was not valid at {time}");
            Failure::new(Reason::CertificateAuthorityExpired, found)
        }
        error => untrusted(format!("no path to the authority: {error}")),
    })
}

/// Whether the certificate's own validity holds `time`.
pub(super) fn covers(der: &[u8], time: Timestamp) -> bool {
    let Ok(certificate) = Certificate::from_der(der) else {
        return false;
    };
    let validity = certificate.tbs_certificate.validity;
    let second = time.as_second();
    let at = |time: x509_cert::time::Time| i64::try_from(time.to_unix_duration().as_secs());
    at(validity.not_before).is_ok_and(|start| start <= second)
        && at(validity.not_after).is_ok_and(|end| second <= end)
}

fn malformed(found: String) -> Failure {
    Failure::new(Reason::CertificateMalformed, found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
