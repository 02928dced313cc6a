//! A timestamp authority (RFC 3161) with tokens as CMS `SignedData` (RFC 5652).
use jiff::Timestamp;

use super::der;
use super::key::Algorithm;
use super::key::Key;
use super::key::sha256;
use super::x509::Extension;
use super::x509::Holder;
use super::x509::Validity;

const SHA256: &str = "2.16.840.1.101.3.4.2.1";
const SHA384: &str = "2.16.840.1.101.3.4.2.2";
const TST_INFO: &str = "1.2.840.113549.1.9.16.1.4";
const TIME_STAMPING: &str = "1.3.6.1.5.5.7.3.8";

/// An authority: a root and the certificate that signs.
#[derive(Debug)]
pub struct Tsa {
    root: Holder,
    leaf: Holder,
    sibling: Holder,
}

/// Who really signs a token, whom it names as its signer, and which certificates it carries.
struct Author<'a> {
    key: &'a Key,
    named: &'a Holder,
    bag: Vec<Vec<u8>>,
}

impl Tsa {
    /// The authority of `domain` with certificates for `validity`, whose leaf has a key of kind
    /// `algorithm` (P-256 or P-384).
    pub fn new(domain: &str, validity: Validity, algorithm: Algorithm) -> Self {
        let name = format!("tsa.{domain}");
        let root = Holder::root(&name, Key::generate(Algorithm::P384), validity);
        let leaf = |suffix| {
            let usage = Extension::extended_key_usage(TIME_STAMPING, true);
            let extensions = vec![Extension::key_usage(0x80), usage];
            root.issue(&format!("{name} {suffix}"), Key::generate(algorithm), validity, extensions)
        };
        let (leaf, sibling) = (leaf("leaf"), leaf("sibling"));
        Self { root, leaf, sibling }
    }

    /// The chain as a trust root lists it: leaf, root.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        vec![self.leaf.certificate.clone(), self.root.certificate.clone()]
    }

    /// A response that stamps `signature` with `time`. The certificate is included on request.
    pub fn stamp(&self, signature: &[u8], time: Timestamp, with_certificate: bool) -> Vec<u8> {
        let bag = if with_certificate { vec![self.leaf.certificate.clone()] } else { Vec::new() };
        respond(&Author { key: &self.leaf.key, named: &self.leaf, bag }, signature, time)
    }

    /// A response signed by `forger`, which names this authority's certificate as the signer and
    /// puts a forged copy of it, with the forger's key, before the real one.
    pub fn stamp_forged(&self, forger: &Self, signature: &[u8], time: Timestamp) -> Vec<u8> {
        let forged = forger.forge_leaf_of(self);
        let bag = vec![forged, self.leaf.certificate.clone()];
        respond(&Author { key: &forger.leaf.key, named: &self.leaf, bag }, signature, time)
    }

    /// A response signed by a certificate of the same root that the trust root does not list.
    pub fn stamp_sibling(&self, signature: &[u8], time: Timestamp) -> Vec<u8> {
        let bag = vec![self.sibling.certificate.clone(), self.leaf.certificate.clone()];
        respond(&Author { key: &self.sibling.key, named: &self.sibling, bag }, signature, time)
    }

    fn forge_leaf_of(&self, victim: &Self) -> Vec<u8> {
        let far = |text: &str| text.parse().unwrap();
        let template = super::x509::Template {
            serial: victim.leaf.serial.clone(),
            issuer: victim.leaf.issuer.clone(),
            subject: victim.leaf.name.clone(),
            validity: Validity {
                from: far("2000-01-01T00:00:00Z"),
                until: far("2100-01-01T00:00:00Z"),
            },
            spki: self.leaf.key.spki().to_vec(),
            extensions: vec![
                Extension::key_usage(0x80),
                Extension::extended_key_usage(TIME_STAMPING, true),
            ],
        };
        template.sign(&self.root.key)
    }
}

/// `TimeStampResp` with status "granted" (RFC 3161, 2.4.2).
fn respond(author: &Author<'_>, signature: &[u8], time: Timestamp) -> Vec<u8> {
    let info = info(signature, time);
    let hash = author.hash();
    let attributes = author.signed_attributes(&info, time);
    let signed = author.key.sign(&der::set_of(&attributes));
    let signer = der::sequence(&[
        der::integer(&[1]),
        der::sequence(&[author.named.issuer.clone(), der::integer(&author.named.serial)]),
        hash.clone(),
        der::implicit_set_of(0, &attributes),
        author.key.algorithm().identifier(),
        der::octet_string(&signed),
    ]);
    let mut content = vec![
        der::integer(&[3]),
        der::set_of(&[hash]),
        der::sequence(&[der::oid(TST_INFO), der::context(0, &der::octet_string(&info))]),
    ];
    if !author.bag.is_empty() {
        // Not sorted: a forger chooses which certificate comes first.
        content.push(der::context(0, &author.bag.concat()));
    }
    content.push(der::set_of(&[signer]));
    let token = der::sequence(&[
        der::oid("1.2.840.113549.1.7.2"),
        der::context(0, &der::sequence(&content)),
    ]);
    der::sequence(&[der::sequence(&[der::integer(&[0])]), token])
}

/// `TSTInfo` over SHA-256 of the signature.
fn info(signature: &[u8], time: Timestamp) -> Vec<u8> {
    der::sequence(&[
        der::integer(&[1]),
        der::oid("1.3.6.1.4.1.57264.2"),
        der::sequence(&[der::sequence(&[der::oid(SHA256)]), der::octet_string(&sha256(signature))]),
        der::integer(&sha256(&[signature, &time.as_second().to_be_bytes()].concat())[..8]),
        der::generalized_time(time),
    ])
}

impl Author<'_> {
    fn uses_sha384(&self) -> bool {
        self.key.algorithm() == Algorithm::P384
    }

    fn hash(&self) -> Vec<u8> {
        der::sequence(&[der::oid(if self.uses_sha384() { SHA384 } else { SHA256 })])
    }

    fn signed_attributes(&self, info: &[u8], time: Timestamp) -> Vec<Vec<u8>> {
        let attribute =
            |oid: &str, value: Vec<u8>| der::sequence(&[der::oid(oid), der::set_of(&[value])]);
        let digest = self.key.algorithm().protobuf_hash(info).1;
        let certificate = der::sequence(&[der::octet_string(&sha256(&self.named.certificate))]);
        let certificates = der::sequence(&[der::sequence(&[certificate])]);
        vec![
            attribute("1.2.840.113549.1.9.3", der::oid(TST_INFO)),
            attribute("1.2.840.113549.1.9.5", der::x509_time(time)),
            attribute("1.2.840.113549.1.9.4", der::octet_string(&digest)),
            attribute("1.2.840.113549.1.9.16.2.47", certificates),
        ]
    }
}
