//! Signed certificate timestamps inside certificates (RFC 6962), for signatures that
//! `sigstore-verify` cannot take whole.
use jiff::Timestamp;
use sha2::Digest as _;
use sha2::Sha256;
use sigstore_verify::crypto::SigningScheme;
use sigstore_verify::types::SignatureBytes;
use x509_cert::Certificate;
use x509_cert::TbsCertificate;
use x509_cert::der::Decode as _;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::asn1::OctetString;

use crate::fingerprint::Fingerprint;
use crate::trust_root::Log;
use crate::trust_root::TrustRoot;
use crate::verdict::Failure;
use crate::verdict::Reason;

/// The list of timestamps in a certificate (RFC 6962 section 3.3).
const SCT_LIST: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.11129.2.4.2");

/// Most timestamps of one certificate: browsers ask for two or three, Fulcio writes one.
const MAX_SCTS: usize = 8;

/// Checks that a log of the trust root, whose key was valid then, has promised to log the
/// certificate: one promise is enough, as Sigstore's clients ask for.
pub(super) fn check(leaf: &[u8], brought: &[Vec<u8>], root: &TrustRoot) -> Result<(), Failure> {
    let tbs = Certificate::from_der(leaf).map_err(invalid)?.tbs_certificate;
    let scts = timestamps(&tbs)?;
    let precertificate = precertificate(&tbs).map_err(invalid)?;
    let issuers = issuers(&tbs, brought, root);
    let mut known = false;
    for sct in &scts {
        let logs = root.ct_logs().iter().filter(|log| log.id == sct.log_id);
        for log in logs {
            known = true;
            if sct.verifies(log, &issuers, &precertificate) {
                return Ok(());
            }
        }
    }
    let found = match (scts.len(), known) {
        (0, _) => "the certificate has no signed certificate timestamp",
        (_, false) => "the certificate's timestamp is of no log of the trust root",
        (_, true) => "the certificate's timestamp does not verify",
    };
    Err(invalid(found))
}

/// Checks that the certificate has one timestamp, by a log of the trust root whose key was valid
/// then, for an issuer with this key: no more and no less than `sigstore-verify` accepts.
pub(super) fn is_logged_once(tbs: &TbsCertificate, issuer: &Fingerprint, root: &TrustRoot) -> bool {
    let (Ok(scts), Ok(precertificate)) = (timestamps(tbs), precertificate(tbs)) else {
        return false;
    };
    let [sct] = scts.as_slice() else { return false };
    root.ct_logs().iter().any(|log| {
        log.id == sct.log_id
            && sct.algorithm.is_of(log.key.scheme())
            && sct.verifies(log, &[*issuer], &precertificate)
    })
}

/// The timestamps in a certificate.
fn timestamps(tbs: &TbsCertificate) -> Result<Vec<Sct>, Failure> {
    let extensions = tbs.extensions.as_deref().unwrap_or_default();
    let lists: Vec<_> = extensions.iter().filter(|one| one.extn_id == SCT_LIST).collect();
    let [list] = lists.as_slice() else {
        let found = format!("the certificate has {} lists of timestamps", lists.len());
        return Err(invalid(found));
    };
    let list = OctetString::from_der(list.extn_value.as_bytes()).map_err(invalid)?;
    parse_list(list.as_bytes()).ok_or_else(|| invalid("the list of timestamps cannot be parsed"))
}

/// How a timestamp says that it was signed (RFC 5246 section 7.4.1.4.1), with SHA-256.
#[derive(Clone, Copy)]
enum Algorithm {
    Ecdsa,
    Rsa,
}

impl Algorithm {
    /// Whether a key of this scheme signs so.
    fn is_of(self, scheme: SigningScheme) -> bool {
        match self {
            Self::Ecdsa => scheme == SigningScheme::EcdsaP256Sha256,
            Self::Rsa => scheme == SigningScheme::RsaPkcs1Sha256,
        }
    }
}

/// A signed certificate timestamp, version 1 (RFC 6962 section 3.2).
struct Sct {
    log_id: [u8; 32],
    timestamp: u64,
    extensions: Vec<u8>,
    algorithm: Algorithm,
    signature: Vec<u8>,
}

impl Sct {
    fn verifies(&self, log: &Log, issuers: &[[u8; 32]], precertificate: &[u8]) -> bool {
        let Ok(millis) = i64::try_from(self.timestamp) else { return false };
        if !Timestamp::from_millisecond(millis).is_ok_and(|time| log.valid_at(time)) {
            return false;
        }
        let signature = SignatureBytes::new(self.signature.clone());
        issuers.iter().any(|issuer| {
            let signed = self.signed(issuer, precertificate);
            signed.is_some_and(|signed| log.key.verify(signed, &signature).is_ok())
        })
    }

    /// What was signed for a precertificate: version and type of signature, time, type of entry,
    /// hash of the issuer's key, certificate, extensions.
    fn signed(&self, issuer: &[u8; 32], precertificate: &[u8]) -> Option<Vec<u8>> {
        let [0, length @ ..] = u32::try_from(precertificate.len()).ok()?.to_be_bytes() else {
            return None;
        };
        let extensions = u16::try_from(self.extensions.len()).ok()?;
        let mut signed = vec![0, 0];
        signed.extend(self.timestamp.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(issuer);
        signed.extend(length);
        signed.extend(precertificate);
        signed.extend(extensions.to_be_bytes());
        signed.extend(&self.extensions);
        Some(signed)
    }
}

fn parse_list(bytes: &[u8]) -> Option<Vec<Sct>> {
    let mut rest = bytes;
    let mut list = take_vector(&mut rest)?;
    let mut scts = Vec::new();
    while !list.is_empty() {
        let mut sct = take_vector(&mut list)?;
        if scts.len() == MAX_SCTS {
            return None;
        }
        scts.push(parse(&mut sct)?);
    }
    rest.is_empty().then_some(scts)
}

fn parse(rest: &mut &[u8]) -> Option<Sct> {
    let [0] = take(rest)? else { return None };
    let log_id = take(rest)?;
    let timestamp = u64::from_be_bytes(take(rest)?);
    let extensions = take_vector(rest)?.to_vec();
    // The algorithms are the key's own: ECDSA or RSA with SHA-256.
    let algorithm = match take(rest)? {
        [4, 1] => Algorithm::Rsa,
        [4, 3] => Algorithm::Ecdsa,
        _ => return None,
    };
    let signature = take_vector(rest)?.to_vec();
    rest.is_empty().then_some(Sct { log_id, timestamp, extensions, algorithm, signature })
}

fn take<const N: usize>(rest: &mut &[u8]) -> Option<[u8; N]> {
    let (taken, left) = rest.split_first_chunk()?;
    *rest = left;
    Some(*taken)
}

/// A vector with its length in two bytes before it.
fn take_vector<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    let length = u16::from_be_bytes(take(rest)?);
    let (taken, left) = rest.split_at_checked(length.into())?;
    *rest = left;
    Some(taken)
}

/// The certificate as the log saw it: without the list of timestamps.
fn precertificate(tbs: &TbsCertificate) -> Result<Vec<u8>, x509_cert::der::Error> {
    let mut tbs = tbs.clone();
    if let Some(extensions) = &mut tbs.extensions {
        extensions.retain(|extension| extension.extn_id != SCT_LIST);
    }
    tbs.to_der()
}

/// SHA-256 of the keys of those who may have issued the certificate.
fn issuers(tbs: &TbsCertificate, brought: &[Vec<u8>], root: &TrustRoot) -> Vec<[u8; 32]> {
    let known = root.authorities().iter().flat_map(|authority| &authority.chain);
    let mut issuers = Vec::new();
    for der in known.chain(brought) {
        let Ok(certificate) = Certificate::from_der(der) else { continue };
        let candidate = certificate.tbs_certificate;
        if candidate.subject != tbs.issuer {
            continue;
        }
        let Ok(key) = candidate.subject_public_key_info.to_der() else { continue };
        let hash: [u8; 32] = Sha256::digest(&key).into();
        if !issuers.contains(&hash) {
            issuers.push(hash);
        }
    }
    issuers
}

fn invalid(found: impl std::fmt::Display) -> Failure {
    Failure::new(Reason::SctInvalid, found).wanted("a promise of a log of the trust root")
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
