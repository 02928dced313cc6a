//! Keys of TUF metadata.
use aws_lc_rs::signature as lc;
use serde_json::Value;
use x509_cert::der::Decode as _;
use x509_cert::der::Document;
use x509_cert::der::Reader as _;
use x509_cert::der::SliceReader;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::asn1::Uint;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

/// Most characters of a public key: an RSA key of 8192 bits in PEM has 1.5 KiB.
const MAX_KEY_CHARS: usize = 4096;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A public key that can be used.
#[derive(Clone, Debug)]
pub(super) struct Key {
    scheme: Scheme,
    raw: Vec<u8>,
    identity: Vec<u8>,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Scheme {
    EcdsaP256,
    EcdsaP384,
    Ed25519,
    RsaPssSha256,
    RsaPssSha384,
    RsaPssSha512,
}

impl Key {
    /// The key of a `keys` entry (TUF specification 4.2.2); nothing where it is of a kind that is
    /// not known or malformed: such a key counts for nothing, but does not stop others.
    pub(super) fn from_json(entry: &Value) -> Option<Self> {
        let text = |field: &str| entry.get(field).and_then(Value::as_str);
        let scheme = match (text("keytype")?, text("scheme")?) {
            ("ecdsa" | "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp256") => Scheme::EcdsaP256,
            ("ecdsa" | "ecdsa-sha2-nistp384", "ecdsa-sha2-nistp384") => Scheme::EcdsaP384,
            ("ed25519", "ed25519") => Scheme::Ed25519,
            ("rsa", "rsassa-pss-sha256") => Scheme::RsaPssSha256,
            ("rsa", "rsassa-pss-sha384") => Scheme::RsaPssSha384,
            ("rsa", "rsassa-pss-sha512") => Scheme::RsaPssSha512,
            _ => return None,
        };
        let public = entry.get("keyval")?.get("public")?.as_str()?;
        if public.len() > MAX_KEY_CHARS {
            return None;
        }
        let public = public.trim();
        let raw = if public.starts_with("-----BEGIN ") {
            from_pem(public, scheme)?
        } else if scheme.is_rsa() {
            return None;
        } else {
            hex::decode(public).ok()?
        };
        let identity = scheme.identity(&raw)?;
        Some(Self { scheme, raw, identity })
    }

    /// What makes two keys one, whatever their IDs, schemes and encodings say: the curve point,
    /// or the RSA modulus.
    pub(super) fn identity(&self) -> &[u8] {
        &self.identity
    }

    /// Whether the signature is this key's.
    pub(super) fn verifies(&self, message: &[u8], signature: &[u8]) -> bool {
        let algorithm: &'static dyn lc::VerificationAlgorithm = match self.scheme {
            Scheme::EcdsaP256 => &lc::ECDSA_P256_SHA256_ASN1,
            Scheme::EcdsaP384 => &lc::ECDSA_P384_SHA384_ASN1,
            Scheme::Ed25519 => &lc::ED25519,
            Scheme::RsaPssSha256 => &lc::RSA_PSS_2048_8192_SHA256,
            Scheme::RsaPssSha384 => &lc::RSA_PSS_2048_8192_SHA384,
            Scheme::RsaPssSha512 => &lc::RSA_PSS_2048_8192_SHA512,
        };
        lc::UnparsedPublicKey::new(algorithm, &self.raw).verify(message, signature).is_ok()
    }
}

impl Scheme {
    const fn is_rsa(self) -> bool {
        matches!(self, Self::RsaPssSha256 | Self::RsaPssSha384 | Self::RsaPssSha512)
    }

    /// What tells keys apart; nothing where the key is malformed or in a form that is not the
    /// only one (a compressed point).
    fn identity(self, raw: &[u8]) -> Option<Vec<u8>> {
        let point = |length| raw.first() == Some(&0x04) && raw.len() == length;
        let good = match self {
            Self::EcdsaP256 => point(65),
            Self::EcdsaP384 => point(97),
            Self::Ed25519 => raw.len() == 32,
            Self::RsaPssSha256 | Self::RsaPssSha384 | Self::RsaPssSha512 => return modulus(raw),
        };
        good.then(|| raw.to_vec())
    }
}

fn modulus(raw: &[u8]) -> Option<Vec<u8>> {
    let mut reader = SliceReader::new(raw).ok()?;
    let (modulus, _) =
        reader.sequence(|body| Ok((Uint::decode(body)?, Uint::decode(body)?))).ok()?;
    reader.is_finished().then(|| modulus.as_bytes().to_vec())
}

/// The key's own bytes, where its SubjectPublicKeyInfo says that it is of the scheme's kind.
fn from_pem(pem: &str, scheme: Scheme) -> Option<Vec<u8>> {
    let (label, document) = Document::from_pem(pem).ok()?;
    if label != "PUBLIC KEY" {
        return None;
    }
    let spki = SubjectPublicKeyInfoOwned::from_der(document.as_bytes()).ok()?;
    let curve = || spki.algorithm.parameters.as_ref()?.decode_as::<ObjectIdentifier>().ok();
    let fits = match scheme {
        Scheme::EcdsaP256 => spki.algorithm.oid == EC_PUBLIC_KEY && curve() == Some(P256),
        Scheme::EcdsaP384 => spki.algorithm.oid == EC_PUBLIC_KEY && curve() == Some(P384),
        Scheme::Ed25519 => spki.algorithm.oid == ED25519,
        Scheme::RsaPssSha256 | Scheme::RsaPssSha384 | Scheme::RsaPssSha512 => {
            spki.algorithm.oid == RSA
        }
    };
    if !fits {
        return None;
    }
    spki.subject_public_key.as_bytes().map(<[u8]>::to_vec)
}
