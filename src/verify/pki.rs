//! Certificates under an authority of the policy's own: no Fulcio, no certificate transparency.
//!
//! The chain is built at every authenticated signing time, and now where there is none. As for
//! Fulcio's, no certificate of the chain may have expired at that time, the root among them.
use std::time::Duration;

use jiff::Timestamp;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::TrustAnchor;
use rustls::pki_types::UnixTime;
use sigstore_verify::crypto::WEBPKI_VERIFICATION_ALGS;
use webpki::CertRevocationList;
use webpki::EndEntityCert;
use webpki::ExpirationPolicy;
use webpki::KeyUsage;
use webpki::OwnedCertRevocationList;
use webpki::RevocationCheckDepth;
use webpki::RevocationOptionsBuilder;
use webpki::UnknownStatusPolicy;
use x509_cert::Certificate;
use x509_cert::crl::CertificateList;
use x509_cert::der::Decode as _;
use x509_cert::der::Document;
use x509_cert::der::Encode as _;

use super::Found;
use super::Lasting;
use super::Parsed;
use super::Question;
use super::VerifiedSigner;
use super::brought;
use super::certificate;
use super::certificate::CertificateIdentity;
use super::certificate::MAX_CERTIFICATE_BYTES;
use super::chain;
use super::check_times;
use super::key;
use super::key::KeyError;
use super::key::PublicKey;
use super::keyed::check_signature;
use super::log;
use super::log::Named;
use super::timestamp;
use crate::fingerprint::Fingerprint;
use crate::fingerprint::Parts;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::Step;
use crate::verdict::StepReport;

/// Most roots, and most intermediates, of one authority. Companies have one or two; each costs an
/// attempt to build a chain.
pub const MAX_AUTHORITY_CERTIFICATES: usize = 16;

/// Most bytes of a list of revoked certificates: some five thousand of them.
pub const MAX_REVOCATION_LIST_BYTES: usize = 256 * 1024;

/// Most revocation lists: one for each authority that issues.
const MAX_REVOCATION_LISTS: usize = 16;

/// A certificate authority that a policy names.
#[derive(Debug)]
pub struct CertificateAuthority {
    roots: Vec<Vec<u8>>,
    intermediates: Vec<Vec<u8>>,
    revocation: Vec<RevocationList>,
    fingerprint: Fingerprint,
}

#[derive(Debug)]
struct RevocationList {
    list: CertRevocationList<'static>,
    next_update: Timestamp,
}

impl CertificateAuthority {
    /// An authority from PEM: roots, intermediates, and lists of revoked certificates (`X509 CRL`).
    /// Without lists nothing is looked up; with them, the signer's issuer must have one.
    ///
    /// # Errors
    /// When there is no root, or something that cannot be parsed or is too much.
    pub fn from_pem(
        roots: &str,
        intermediates: Option<&str>,
        revocation: Option<&str>,
    ) -> Result<Self, KeyError> {
        let roots = certificates(roots)?;
        for root in &roots {
            webpki::anchor_from_trusted_cert(&CertificateDer::from(root.as_slice()))
                .map_err(|error| KeyError::new(format!("a root cannot be used: {error}")))?;
        }
        let intermediates = intermediates.map(certificates).transpose()?.unwrap_or_default();
        let lists = revocation.map(revocation_lists).transpose()?.unwrap_or_default();
        let fingerprint = Parts::of("certificate authority")
            .list(roots.iter())
            .list(intermediates.iter())
            .part(revocation.unwrap_or_default())
            .finish();
        Ok(Self { roots, intermediates, revocation: lists, fingerprint })
    }

    /// Of all that it is made of.
    pub(crate) const fn fingerprint(&self) -> &Fingerprint {
        &self.fingerprint
    }

    /// The leaf's chain at `time`, and that it is not revoked as of `now`.
    fn check(
        &self,
        leaf: &[u8],
        brought: &[Vec<u8>],
        time: Timestamp,
        now: Timestamp,
    ) -> Result<(), Failure> {
        if let Some(list) = self.revocation.iter().find(|list| list.next_update <= now) {
            let found = format!("a revocation list was to be replaced by {}", list.next_update);
            return Err(Failure::new(Reason::RevocationListExpired, found)
                .wanted("a current list in `certificate.revocationList`"));
        }
        let valid: Vec<&Vec<u8>> =
            self.roots.iter().filter(|root| chain::covers(root, time)).collect();
        if valid.is_empty() {
            let found = format!("no root certificate of the policy was valid at {time}");
            return Err(Failure::new(Reason::CertificateAuthorityExpired, found));
        }
        let roots: Vec<CertificateDer<'_>> =
            valid.iter().map(|root| CertificateDer::from(root.as_slice())).collect();
        let anchors = roots
            .iter()
            .map(webpki::anchor_from_trusted_cert)
            .collect::<Result<Vec<TrustAnchor<'_>>, _>>()
            .map_err(|error| untrusted(format!("a root cannot be used: {error}")))?;
        let intermediates: Vec<CertificateDer<'_>> = self
            .intermediates
            .iter()
            .chain(brought)
            .map(|der| CertificateDer::from(der.as_slice()))
            .collect();
        let seconds = u64::try_from(time.as_second())
            .map_err(|_| untrusted(format!("the signing time {time} lies before 1970")))?;
        let der = leaf;
        let leaf = CertificateDer::from(der);
        let leaf = EndEntityCert::try_from(&leaf)
            .map_err(|error| malformed(format!("the certificate cannot be used: {error}")))?;
        let lists: Vec<&CertRevocationList<'_>> =
            self.revocation.iter().map(|list| &list.list).collect();
        // The signer's issuer must have a list; of those above it, the lists that are there count.
        let passes = [
            (RevocationCheckDepth::EndEntity, UnknownStatusPolicy::Deny),
            (RevocationCheckDepth::Chain, UnknownStatusPolicy::Allow),
        ];
        // Without lists the passes are the same.
        let needed = if lists.is_empty() { 1 } else { passes.len() };
        for (depth, unknown) in passes.into_iter().take(needed) {
            let revocation = RevocationOptionsBuilder::new(&lists).ok().map(|options| {
                let options = options.with_depth(depth).with_status_policy(unknown);
                options.with_expiration_policy(ExpirationPolicy::Enforce).build()
            });
            leaf.verify_for_usage(
                WEBPKI_VERIFICATION_ALGS,
                &anchors,
                &intermediates,
                UnixTime::since_unix_epoch(Duration::from_secs(seconds)),
                KeyUsage::required(chain::CODE_SIGNING),
                revocation,
                None,
            )
            .map_err(|error| explain(&error, der, time))?;
        }
        Ok(())
    }
}

#[expect(clippy::wildcard_enum_match_arm, reason = "every other error means no path")]
fn explain(error: &webpki::Error, leaf: &[u8], time: Timestamp) -> Failure {
    match error {
        webpki::Error::CertRevoked => {
            Failure::new(Reason::CertificateRevoked, "the certificate is on a revocation list")
        }
        webpki::Error::UnknownRevocationStatus => {
            let found = "no revocation list is of the authority that issued the certificate";
            Failure::new(Reason::CertificateUntrusted, found)
                .wanted("a list of the issuer in `certificate.revocationList`")
        }
        webpki::Error::CertExpired { .. } | webpki::Error::CertNotValidYet { .. } => {
            let (reason, which) = if chain::covers(leaf, time) {
                (Reason::CertificateAuthorityExpired, "a certificate of the authority")
            } else {
                (Reason::SigningTimeOutsideCertificate, "the certificate")
            };
            Failure::new(reason, format!("{which} was not valid at {time}"))
        }
        error => untrusted(format!("no path to the policy's authority: {error}")),
    }
}

/// (3) to (7) for a certificate of the policy's own authority.
pub(super) fn examine(
    parsed: &Parsed,
    authority: &CertificateAuthority,
    question: &Question<'_>,
    steps: &mut Vec<StepReport>,
) -> Result<Found, Failure> {
    let Question { trust_root, now, digest, .. } = *question;
    let leaf = certificate::of(parsed)?;
    let (identity, key) = read(leaf.as_bytes())?;
    let scheme = check_signature(parsed, &key, digest)?;
    steps.push(StepReport::passed(Step::Signature, format!("{scheme}, this image")));
    let stamps = timestamp::verify(parsed, trust_root)?;
    let mut times: Vec<Timestamp> = stamps.iter().map(|stamp| stamp.time).collect();
    let named = Named::Certificate(leaf.as_bytes());
    for entry in &parsed.bundle.verification_material.tlog_entries {
        times.extend(log::check_entry(entry, parsed, named, scheme, trust_root)?);
    }
    if let Some(entry) = &parsed.oldest {
        times.push(entry.check(parsed, named, trust_root)?);
    }
    check_times(&times, now)?;
    log::check_windows(&parsed.bundle, trust_root, &times, now)?;
    let brought = brought(&parsed.bundle);
    let at = if times.is_empty() { vec![now] } else { times.clone() };
    for time in at {
        authority.check(leaf.as_bytes(), &brought, time, now)?;
    }
    steps.retain(|step| step.step != Step::Signature);
    Ok(Found {
        certificate: StepReport::passed(Step::Certificate, "chain and usage"),
        signature: format!("{scheme}, under the certificate's key, over this image"),
        signer: VerifiedSigner::Certificate(identity),
        statement: parsed.statement.clone(),
        // Lists of what is revoked must be current; without a signing time, so must certificates.
        lasting: match (times.is_empty(), authority.revocation.is_empty()) {
            (false, true) => Lasting::Forever,
            (true, _) | (false, false) => Lasting::ForNow,
        },
        times,
    })
}

/// In place of an OIDC issuer. The same for every certificate, so that one subject with certificates
/// of two issuing authorities is one signer.
const ISSUER: &str = "an authority of the policy";

/// Who the certificate says signed.
fn read(der: &[u8]) -> Result<(CertificateIdentity, PublicKey), Failure> {
    if der.len() > MAX_CERTIFICATE_BYTES {
        let found = format!("a certificate of {} bytes", der.len());
        return Err(Failure::new(Reason::EvidenceTooLarge, found)
            .wanted(format!("at most {MAX_CERTIFICATE_BYTES}")));
    }
    let parsed = Certificate::from_der(der)
        .map_err(|error| malformed(format!("the certificate cannot be parsed: {error}")))?;
    let unsupported = |error: &dyn std::fmt::Display| {
        let found = format!("the certificate's key cannot be used: {error}");
        Failure::new(Reason::KeyUnsupported, found)
    };
    let spki = parsed.tbs_certificate.subject_public_key_info.to_der();
    let spki = spki.map_err(|error| unsupported(&error))?;
    let key = PublicKey::from_der(&spki, None).map_err(|error| unsupported(&error))?;
    certificate::check_usage(&parsed)?;
    let issuer = ISSUER.to_owned();
    let subjects = certificate::subjects(&parsed)?;
    Ok((CertificateIdentity { issuer, subjects, claims: Default::default() }, key))
}

fn certificates(pem: &str) -> Result<Vec<Vec<u8>>, KeyError> {
    let mut certificates = Vec::new();
    for der in blocks(pem, "CERTIFICATE")? {
        if der.len() > MAX_CERTIFICATE_BYTES {
            let size = der.len();
            return Err(KeyError::new(format!(
                "a certificate of {size} bytes; the limit is {MAX_CERTIFICATE_BYTES}"
            )));
        }
        Certificate::from_der(&der)
            .map_err(|error| KeyError::new(format!("a certificate cannot be parsed: {error}")))?;
        certificates.push(der);
        if certificates.len() > MAX_AUTHORITY_CERTIFICATES {
            return Err(KeyError::new(format!(
                "more than {MAX_AUTHORITY_CERTIFICATES} certificates"
            )));
        }
    }
    if certificates.is_empty() {
        return Err(KeyError::new("holds no certificate"));
    }
    Ok(certificates)
}

fn revocation_lists(pem: &str) -> Result<Vec<RevocationList>, KeyError> {
    if pem.len() > MAX_REVOCATION_LIST_BYTES {
        let size = pem.len();
        return Err(KeyError::new(format!(
            "{size} bytes; the limit is {MAX_REVOCATION_LIST_BYTES}"
        )));
    }
    let blocks = blocks(pem, "X509 CRL")?;
    if !(1..=MAX_REVOCATION_LISTS).contains(&blocks.len()) {
        let count = blocks.len();
        return Err(KeyError::new(format!("{count} lists; wanted 1 to {MAX_REVOCATION_LISTS}")));
    }
    let bad = |error: &dyn std::fmt::Display| {
        KeyError::new(format!("a revocation list cannot be used: {error}"))
    };
    let list = |der: &Vec<u8>| {
        let read = CertificateList::from_der(der).map_err(|error| bad(&error))?;
        let next = read.tbs_cert_list.next_update.ok_or_else(|| bad(&"it never expires"))?;
        let next_update = i64::try_from(next.to_unix_duration().as_secs())
            .ok()
            .and_then(|seconds| Timestamp::from_second(seconds).ok())
            .ok_or_else(|| bad(&"its next update is out of range"))?;
        let list = OwnedCertRevocationList::from_der(der).map_err(|error| bad(&error))?;
        Ok(RevocationList { list: list.into(), next_update })
    };
    blocks.iter().map(list).collect()
}

/// The contents of the PEM blocks of a text, all of which must be of this kind.
fn blocks(pem: &str, kind: &str) -> Result<Vec<Vec<u8>>, KeyError> {
    key::blocks(pem)?
        .iter()
        .map(|block| {
            let (label, document) = Document::from_pem(block)
                .map_err(|error| KeyError::new(format!("a PEM block cannot be read: {error}")))?;
            if label == kind {
                return Ok(document.as_bytes().to_vec());
            }
            let label = crate::verdict::printable(label);
            Err(KeyError::new(format!("holds a `{label}`, wanted `{kind}`")))
        })
        .collect()
}

fn untrusted(found: String) -> Failure {
    Failure::new(Reason::CertificateUntrusted, found)
}

fn malformed(found: String) -> Failure {
    Failure::new(Reason::CertificateMalformed, found)
}
