//! An authority that issues serving certificates, kept as PEM.
use jiff::SignedDuration;
use jiff::Timestamp;
use rcgen::KeyPair;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::UnixTime;
use webpki::EndEntityCert;
use webpki::KeyUsage;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::Encode as _;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::asn1::Utf8StringRef;
use x509_cert::der::pem;

use crate::server::tls;
use crate::server::tls::issue;
use crate::server::tls::issue::IssueError;

/// How long an authority is valid. It is replaced after two thirds of that, without anyone's help:
/// often enough that a copy of its key that leaked with a backup is soon worth nothing, and that
/// the way it is replaced stays in use. What is left, four months, is more than the life of a leaf,
/// so that no leaf is shorter for it.
pub(super) const LIFETIME: SignedDuration = SignedDuration::from_hours(365 * 24);

/// id-at-commonName (X.520).
const COMMON_NAME: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.4.3");

/// A certificate of an authority.
#[derive(Clone)]
pub(super) struct Anchor {
    der: CertificateDer<'static>,
    common_name: String,
    public_key: Vec<u8>,
    pub(super) issued: Timestamp,
    pub(super) expires: Timestamp,
}

/// An authority with its key. Says nothing of the key to anyone who would print it.
#[derive(Clone)]
pub(super) struct Authority {
    pub(super) anchor: Anchor,
    key: String,
}

impl Anchor {
    /// What a certificate says, if it is one of an authority that we could have made.
    pub(super) fn parse(der: CertificateDer<'static>) -> Option<Self> {
        let certificate = Certificate::from_der(&der).ok()?.tbs_certificate;
        let name = certificate.subject.0.iter().flat_map(|names| names.0.iter());
        let name = name.into_iter().find(|name| name.oid == COMMON_NAME)?;
        let common_name = name.value.decode_as::<Utf8StringRef<'_>>().ok()?.as_str().to_owned();
        let public_key = certificate.subject_public_key_info.to_der().ok()?;
        let (issued, expires) = validity(&certificate.validity)?;
        webpki::anchor_from_trusted_cert(&der).ok()?;
        Some(Self { der, common_name, public_key, issued, expires })
    }

    /// The certificate as PEM.
    pub(super) fn pem(&self) -> String {
        pem::encode_string("CERTIFICATE", pem::LineEnding::LF, &self.der).unwrap_or_default()
    }

    /// Whether a leaf is of this authority, at the time when it was made.
    pub(super) fn issued_leaf(&self, leaf: &CertificateDer<'_>, made: Timestamp) -> bool {
        let Ok(anchor) = webpki::anchor_from_trusted_cert(&self.der) else { return false };
        let Ok(leaf) = EndEntityCert::try_from(leaf) else { return false };
        let Ok(seconds) = u64::try_from(made.as_second()) else { return false };
        let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
        let algorithms = webpki::ALL_VERIFICATION_ALGS;
        let usage = KeyUsage::server_auth();
        leaf.verify_for_usage(algorithms, &[anchor], &[], at, usage, None, None).is_ok()
    }
}

impl Authority {
    /// A new one. Its name tells it from those before it.
    pub(super) fn create(now: Timestamp) -> Result<Self, IssueError> {
        let made = issue::authority(&format!("Tegata webhook CA {now:.0}"), now, LIFETIME)?;
        let key = made.key().serialize_pem();
        let anchor = Anchor::parse(made.der().clone());
        anchor.map(|anchor| Self { anchor, key }).ok_or_else(IssueError::defect)
    }

    /// The one of `anchor`, if `key` is its key.
    pub(super) fn parse(anchor: &Anchor, key: &str) -> Option<Self> {
        let pair = KeyPair::from_pem(key).ok()?;
        (rcgen::PublicKeyData::subject_public_key_info(&pair) == anchor.public_key)
            .then(|| Self { anchor: anchor.clone(), key: key.to_owned() })
    }

    /// The key as PEM: for the Secret, and for nothing else.
    pub(super) fn key(&self) -> &str {
        &self.key
    }

    /// A new leaf and its key, as PEM. The leaf ends with the authority at the latest.
    pub(super) fn issue(
        &self,
        names: &[String],
        now: Timestamp,
    ) -> Result<(String, String), IssueError> {
        let issuer = issue::issuer(&self.anchor.common_name, KeyPair::from_pem(&self.key)?);
        let not_after = now.checked_add(issue::LEAF_LIFETIME).unwrap_or(self.anchor.expires);
        issue::leaf(&issuer, names, now, not_after.min(self.anchor.expires))
    }
}

/// When a certificate was made, and when it ends.
pub(super) fn validity(of: &x509_cert::time::Validity) -> Option<(Timestamp, Timestamp)> {
    let issued = tls::timestamp(of.not_before)?.checked_add(issue::BACKDATE).ok()?;
    Some((issued, tls::timestamp(of.not_after)?))
}
