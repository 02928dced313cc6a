//! Certificates, written field by field so that any of them can be wrong (RFC 5280).
use jiff::Timestamp;

use super::der;
use super::key::Key;
use super::key::sha256;

/// The extension that holds signed certificate timestamps (RFC 6962, 3.3).
pub const SCT_LIST: &str = "1.3.6.1.4.1.11129.2.4.2";

/// First and last second of something's validity.
#[derive(Clone, Copy, Debug)]
pub struct Validity {
    /// First second.
    pub from: Timestamp,
    /// Last second.
    pub until: Timestamp,
}

/// An extension: its identifier, whether it is critical, its value.
#[derive(Clone, Debug)]
pub struct Extension {
    oid: String,
    critical: bool,
    value: Vec<u8>,
}

impl Extension {
    /// An extension that may be ignored.
    pub fn plain(oid: impl Into<String>, value: Vec<u8>) -> Self {
        Self { oid: oid.into(), critical: false, value }
    }

    /// A critical extension.
    pub fn critical(oid: impl Into<String>, value: Vec<u8>) -> Self {
        Self { oid: oid.into(), critical: true, value }
    }

    /// Extended key usage with one purpose.
    pub fn extended_key_usage(purpose: &str, critical: bool) -> Self {
        Self { oid: "2.5.29.37".into(), critical, value: der::sequence(&[der::oid(purpose)]) }
    }

    /// Key usage: these bits of the first octet (RFC 5280 section 4.2.1.3), as `0x80` for
    /// `digitalSignature`.
    pub fn key_usage(bits: u8) -> Self {
        let unused = bits.trailing_zeros() as u8;
        Self::critical("2.5.29.15", der::element(0x03, &[unused, bits]))
    }

    /// Key usage `keyCertSign` and `cRLSign`, and the constraint that makes it an authority.
    pub fn authority() -> Vec<Self> {
        vec![
            Self::critical("2.5.29.15", der::element(0x03, &[1, 0x06])),
            Self::critical("2.5.29.19", der::sequence(&[der::boolean_true()])),
        ]
    }

    /// The subject's key identifier.
    pub fn subject_key(spki: &[u8]) -> Self {
        Self::plain("2.5.29.14", der::octet_string(&sha256(spki)[..20]))
    }

    /// The issuer's key identifier.
    pub fn authority_key(spki: &[u8]) -> Self {
        let identifier = der::element(0x80, &sha256(spki)[..20]);
        Self::plain("2.5.29.35", der::sequence(&[identifier]))
    }

    fn encode(&self) -> Vec<u8> {
        let mut parts = vec![der::oid(&self.oid)];
        if self.critical {
            parts.push(der::boolean_true());
        }
        parts.push(der::octet_string(&self.value));
        der::sequence(&parts)
    }
}

/// What goes into a certificate. Names and keys are DER.
#[derive(Clone, Debug)]
pub struct Template {
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// Encoded name of the issuer.
    pub issuer: Vec<u8>,
    /// Encoded name of the subject; an empty sequence where the SAN names it.
    pub subject: Vec<u8>,
    /// Validity.
    pub validity: Validity,
    /// The subject's public key.
    pub spki: Vec<u8>,
    /// Extensions, in order.
    pub extensions: Vec<Extension>,
}

impl Template {
    /// `TBSCertificate` to be signed by `issuer`.
    pub fn to_be_signed(&self, issuer: &Key) -> Vec<u8> {
        let extensions: Vec<_> = self.extensions.iter().map(Extension::encode).collect();
        der::sequence(&[
            der::context(0, &der::integer(&[2])),
            der::integer(&self.serial),
            issuer.algorithm().identifier(),
            self.issuer.clone(),
            der::sequence(&[
                der::x509_time(self.validity.from),
                der::x509_time(self.validity.until),
            ]),
            self.subject.clone(),
            self.spki.clone(),
            der::context(3, &der::sequence(&extensions)),
        ])
    }

    /// The certificate, signed by `issuer`, DER.
    pub fn sign(&self, issuer: &Key) -> Vec<u8> {
        let body = self.to_be_signed(issuer);
        let signature = issuer.sign(&body);
        der::sequence(&[body, issuer.algorithm().identifier(), der::bit_string(&signature)])
    }
}

/// A certificate with its private key.
#[derive(Debug)]
pub struct Holder {
    /// Encoded subject name.
    pub name: Vec<u8>,
    /// Serial number, big-endian.
    pub serial: Vec<u8>,
    /// Encoded name of the issuer.
    pub issuer: Vec<u8>,
    /// The private key.
    pub key: Key,
    /// The certificate, DER.
    pub certificate: Vec<u8>,
}

impl Holder {
    /// A self-signed authority.
    pub fn root(common_name: &str, key: Key, validity: Validity) -> Self {
        let name = der::name(common_name);
        let mut extensions = Extension::authority();
        extensions.push(Extension::subject_key(key.spki()));
        Self::make(name.clone(), name, key, validity, extensions, None)
    }

    /// A certificate under `self` with these extensions besides the key identifiers.
    pub fn issue(
        &self,
        common_name: &str,
        key: Key,
        validity: Validity,
        mut extensions: Vec<Extension>,
    ) -> Self {
        extensions.push(Extension::subject_key(key.spki()));
        extensions.push(Extension::authority_key(self.key.spki()));
        let name = der::name(common_name);
        Self::make(name, self.name.clone(), key, validity, extensions, Some(&self.key))
    }

    /// A list of revoked certificates (RFC 5280, 5.1), DER.
    pub fn revoke(&self, serials: &[Vec<u8>], from: Timestamp, until: Timestamp) -> Vec<u8> {
        let revoked: Vec<_> = serials
            .iter()
            .map(|serial| der::sequence(&[der::integer(serial), der::x509_time(from)]))
            .collect();
        let extensions = [
            Extension::authority_key(self.key.spki()).encode(),
            Extension::plain("2.5.29.20", der::integer(&[1])).encode(),
        ];
        let mut body = vec![
            der::integer(&[1]),
            self.key.algorithm().identifier(),
            self.name.clone(),
            der::x509_time(from),
            der::x509_time(until),
        ];
        if !revoked.is_empty() {
            body.push(der::sequence(&revoked));
        }
        body.push(der::context(0, &der::sequence(&extensions)));
        let body = der::sequence(&body);
        let signature = self.key.sign(&body);
        der::sequence(&[body, self.key.algorithm().identifier(), der::bit_string(&signature)])
    }

    fn make(
        subject: Vec<u8>,
        issuer: Vec<u8>,
        key: Key,
        validity: Validity,
        extensions: Vec<Extension>,
        signer: Option<&Key>,
    ) -> Self {
        let template = Template {
            serial: serial_of(key.spki()),
            issuer,
            subject,
            validity,
            spki: key.spki().to_vec(),
            extensions,
        };
        let certificate = template.sign(signer.unwrap_or(&key));
        let Template { serial, issuer, subject: name, .. } = template;
        Self { name, serial, issuer, key, certificate }
    }
}

/// A serial number: the first 19 octets of the key's SHA-256, so that it stays positive and within
/// the 20 octets of RFC 5280, 4.1.2.2.
pub fn serial_of(spki: &[u8]) -> Vec<u8> {
    let mut serial = sha256(spki)[..19].to_vec();
    serial[0] |= 0x01;
    serial
}
