//! A Fulcio: root, intermediate, short-lived leaf certificates; and the CT log that watches it.
use jiff::Timestamp;
use jiff::ToSpan as _;

use super::der;
use super::key::Algorithm;
use super::key::Key;
use super::key::sha256;
use super::x509::Extension;
use super::x509::Holder;
use super::x509::SCT_LIST;
use super::x509::Template;
use super::x509::Validity;
use super::x509::serial_of;

/// The arc of Fulcio's extensions: `.1` and `.8` the issuer, `.9` to `.22` further claims.
const FULCIO_ARC: &str = "1.3.6.1.4.1.57264.1";

/// A name in a certificate's subject alternative names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum San {
    /// A host name; Fulcio issues none.
    Dns(String),
    /// An e-mail address.
    Email(String),
    /// Fulcio's otherName `…57264.1.7`, used for user names.
    Other(String),
    /// A URI.
    Uri(String),
}

impl San {
    fn encode(&self) -> Vec<u8> {
        match self {
            Self::Dns(text) => der::element(0x82, text.as_bytes()),
            Self::Email(text) => der::element(0x81, text.as_bytes()),
            Self::Other(text) => {
                let value = der::context(0, &der::utf8_string(text));
                der::context(0, &[der::oid(&format!("{FULCIO_ARC}.7")), value].concat())
            }
            Self::Uri(text) => der::element(0x86, text.as_bytes()),
        }
    }
}

/// Which signed certificate timestamps a certificate carries.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Scts {
    /// No extension at all.
    Absent,
    /// One, of a log that the trust root does not know, under the known log's identifier.
    ForeignKey,
    /// One, valid.
    One,
    /// One, valid until its timestamp was changed.
    Tampered,
    /// Two, both valid.
    Two,
    /// One, valid, of a log that the trust root does not know.
    UnknownLog,
}

/// What a signer asks Fulcio to certify.
#[derive(Clone, Debug)]
pub struct Request {
    /// Names, in order.
    pub names: Vec<San>,
    /// Issuer as the raw bytes of extension `.1`.
    pub issuer_v1: Option<String>,
    /// Issuer as the UTF8String of extension `.8`.
    pub issuer_v2: Option<String>,
    /// Further claims: the last arc (9 to 22) and the text.
    pub claims: Vec<(u8, String)>,
    /// Whether the extended key usage is code signing; otherwise it is client authentication.
    pub code_signing: bool,
    /// Whether the key usage is digital signatures; otherwise it is key agreement.
    pub digital_signature: bool,
    /// Signed certificate timestamps.
    pub scts: Scts,
}

/// A certificate authority of the Fulcio kind.
#[derive(Debug)]
pub struct Fulcio {
    /// The root.
    pub root: Holder,
    /// The intermediate, which signs the leaves.
    pub intermediate: Holder,
}

impl Fulcio {
    /// The authority of `domain`, whose certificates are valid during `root` and `intermediate`.
    pub fn new(domain: &str, root: Validity, intermediate: Validity) -> Self {
        let name = format!("fulcio.{domain}");
        let root = Holder::root(&name, Key::generate(Algorithm::P384), root);
        let mut extensions = Extension::authority();
        extensions.push(Extension::extended_key_usage("1.3.6.1.5.5.7.3.3", false));
        let key = Key::generate(Algorithm::P384);
        let intermediate =
            root.issue(&format!("{name} intermediate"), key, intermediate, extensions);
        Self { root, intermediate }
    }

    /// The chain as a trust root lists it: intermediate, root.
    pub fn chain(&self) -> Vec<Vec<u8>> {
        vec![self.intermediate.certificate.clone(), self.root.certificate.clone()]
    }

    /// A leaf certificate, valid for ten minutes from `from`.
    pub fn issue(
        &self,
        request: &Request,
        spki: &[u8],
        from: Timestamp,
        log: &CtLog,
        foreign: &CtLog,
    ) -> Vec<u8> {
        let issuer = &self.intermediate;
        let mut template = Template {
            serial: serial_of(spki),
            issuer: issuer.name.clone(),
            subject: der::sequence(&[]),
            validity: Validity { from, until: from + 10.minutes() },
            spki: spki.to_vec(),
            extensions: request.extensions(spki, &issuer.key),
        };
        let entry = Precertificate {
            issuer_key_hash: sha256(issuer.key.spki()),
            body: template.to_be_signed(&issuer.key),
        };
        let id = log.id();
        let scts = match request.scts {
            Scts::Absent => Vec::new(),
            Scts::ForeignKey => vec![foreign.promise(&entry, from, id, 0)],
            Scts::One => vec![log.promise(&entry, from, id, 0)],
            Scts::Tampered => vec![log.promise(&entry, from, id, 1)],
            Scts::Two => {
                vec![
                    log.promise(&entry, from, id, 0),
                    log.promise(&entry, from + 1.second(), id, 0),
                ]
            }
            Scts::UnknownLog => vec![foreign.promise(&entry, from, foreign.id(), 0)],
        };
        if !scts.is_empty() {
            let list: Vec<u8> = scts.iter().flat_map(|sct| opaque16(sct)).collect();
            template
                .extensions
                .push(Extension::plain(SCT_LIST, der::octet_string(&opaque16(&list))));
        }
        template.sign(&issuer.key)
    }
}

impl Request {
    fn extensions(&self, spki: &[u8], issuer: &Key) -> Vec<Extension> {
        let purpose = if self.code_signing { "1.3.6.1.5.5.7.3.3" } else { "1.3.6.1.5.5.7.3.2" };
        let names: Vec<_> = self.names.iter().map(San::encode).collect();
        let mut extensions = vec![
            Extension::key_usage(if self.digital_signature { 0x80 } else { 0x08 }),
            Extension::extended_key_usage(purpose, false),
            Extension::subject_key(spki),
            Extension::authority_key(issuer.spki()),
            Extension::critical("2.5.29.17", der::sequence(&names)),
        ];
        if let Some(text) = &self.issuer_v1 {
            let oid = format!("{FULCIO_ARC}.1");
            extensions.push(Extension::plain(oid, text.as_bytes().to_vec()));
        }
        let claims = self.issuer_v2.iter().map(|text| (8, text));
        for (arc, text) in claims.chain(self.claims.iter().map(|(arc, text)| (*arc, text))) {
            let oid = format!("{FULCIO_ARC}.{arc}");
            extensions.push(Extension::plain(oid, der::utf8_string(text)));
        }
        extensions
    }
}

/// What a CT log signs: the certificate without its timestamps (RFC 6962, 3.2).
struct Precertificate {
    issuer_key_hash: [u8; 32],
    body: Vec<u8>,
}

/// A certificate transparency log, as far as its promises go.
#[derive(Debug)]
pub struct CtLog {
    /// The log's key.
    pub key: Key,
}

impl CtLog {
    /// A log with a fresh P-256 key.
    pub fn new() -> Self {
        Self { key: Key::generate(Algorithm::P256) }
    }

    /// The log's identifier (RFC 6962, 3.2).
    pub fn id(&self) -> [u8; 32] {
        sha256(self.key.spki())
    }

    /// A signed certificate timestamp that names the log `id`; `drift` milliseconds are added to
    /// the time after it was signed.
    fn promise(&self, entry: &Precertificate, at: Timestamp, id: [u8; 32], drift: u64) -> Vec<u8> {
        let time = at.as_millisecond() as u64;
        let length = (entry.body.len() as u32).to_be_bytes();
        let mut signed = vec![0, 0];
        signed.extend(time.to_be_bytes());
        signed.extend([0, 1]);
        signed.extend(entry.issuer_key_hash);
        signed.extend_from_slice(&length[1..]);
        signed.extend_from_slice(&entry.body);
        signed.extend([0, 0]);

        let mut sct = vec![0];
        sct.extend(id);
        sct.extend((time + drift).to_be_bytes());
        sct.extend([0, 0]);
        sct.extend([4, 3]);
        sct.extend(opaque16(&self.key.sign(&signed)));
        sct
    }
}

/// `opaque<0..2^16-1>` of TLS.
fn opaque16(bytes: &[u8]) -> Vec<u8> {
    [&(bytes.len() as u16).to_be_bytes()[..], bytes].concat()
}
