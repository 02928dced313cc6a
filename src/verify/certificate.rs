//! The signing certificate: who it says signed, and with which key.
use std::collections::BTreeMap;
use std::net::Ipv4Addr;
use std::net::Ipv6Addr;

use jiff::Timestamp;
use sigstore_verify::crypto::KeyAlgorithm;
use sigstore_verify::types::DerCertificate;
use sigstore_verify::types::DerPublicKey;
use x509_cert::Certificate;
use x509_cert::TbsCertificate;
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
use crate::verdict::Failure;
use crate::verdict::Reason;

/// Longest signing certificate, in bytes. Fulcio's have below 1 KiB for people and below 2 KiB for
/// workflows.
pub(super) const MAX_CERTIFICATE_BYTES: usize = 16 * 1024;

/// Most certificates that a signature may bring along. Fulcio's chain has three.
pub(super) const MAX_CHAIN: usize = 8;

/// Most alternative names that are read; Fulcio writes one.
const MAX_SUBJECTS: usize = 16;

/// Arc of Fulcio's extensions (Fulcio, `docs/oid-info.md`).
const FULCIO_ARC: &str = "1.3.6.1.4.1.57264.1.";

/// The same as DER content.
const FULCIO_ARC_DER: &[u8] = &[0x2b, 0x06, 0x01, 0x04, 0x01, 0x83, 0xbf, 0x30, 0x01];

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
    /// All that its issuer signed.
    pub(super) tbs: TbsCertificate,
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
            tbs: certificate.tbs_certificate,
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
/// 4.2.1.3). What it limits further, [`super::chain`] holds it to.
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
    match oid.as_bytes().strip_prefix(FULCIO_ARC_DER)? {
        // Later numbers take two bytes, and none of them is given out.
        [number @ 0..=127] => Some(*number),
        _ => None,
    }
}

fn read_claim(number: u8, value: &[u8]) -> Result<String, Failure> {
    let text = if number <= LAST_BARE_CLAIM {
        std::str::from_utf8(value).ok().map(str::to_owned)
    } else {
        Utf8StringRef::from_der(value).ok().map(|text| text.as_str().to_owned())
    };
    text.ok_or_else(|| malformed(format!("extension {FULCIO_ARC}{number} is no text")))
}

pub(super) fn malformed(found: String) -> Failure {
    Failure::new(Reason::CertificateMalformed, found)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
