//! Public keys that policies name, and the signature schemes under which they are tried.
use std::fmt;

use aws_lc_rs::signature as lc;
use sha2::Digest as _;
use sigstore_verify::crypto::verify_signature_prehashed;
use sigstore_verify::types::DerPublicKey;
use sigstore_verify::types::SignatureBytes;
use x509_cert::der::Decode as _;
use x509_cert::der::Document;
use x509_cert::der::Reader as _;
use x509_cert::der::SliceReader;
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::asn1::Uint;
use x509_cert::spki::SubjectPublicKeyInfoOwned;

use crate::verdict::printable;

/// Most bytes of a PEM text with keys: a hundred RSA keys of 4096 bits.
const MAX_PEM_BYTES: usize = 128 * 1024;

/// Most keys in one PEM text; they are alternatives, and each is tried on each signature.
const MAX_KEYS: usize = 16;

/// RSA moduli that are accepted, in bits: NIST SP 800-131A's minimum, and the most that
/// verification in reasonable time allows.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;

const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const P521: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.35");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");

/// A public key that a policy names.
#[derive(Clone)]
pub struct PublicKey {
    spki: Vec<u8>,
    raw: Vec<u8>,
    fingerprint: String,
    schemes: Vec<Scheme>,
}

/// A hash algorithm that a policy may name in `key.hashAlgorithm`.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum HashAlgorithm {
    /// SHA-256.
    Sha256,
    /// SHA-384.
    Sha384,
    /// SHA-512.
    Sha512,
}

impl HashAlgorithm {
    /// The name that policies and log entries use.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Sha256 => "sha256",
            Self::Sha384 => "sha384",
            Self::Sha512 => "sha512",
        }
    }

    pub(crate) fn digest(self, bytes: &[u8]) -> Vec<u8> {
        match self {
            Self::Sha256 => sha2::Sha256::digest(bytes).to_vec(),
            Self::Sha384 => sha2::Sha384::digest(bytes).to_vec(),
            Self::Sha512 => sha2::Sha512::digest(bytes).to_vec(),
        }
    }
}

/// A way to sign: algorithm and hash.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    EcdsaP256(HashAlgorithm),
    EcdsaP384(HashAlgorithm),
    EcdsaP521(HashAlgorithm),
    Ed25519,
    /// RFC 8032 section 5.1, with SHA-512 over the message first; what cosign 3 writes.
    Ed25519ph,
    RsaPkcs1(HashAlgorithm),
    RsaPss(HashAlgorithm),
}

impl Scheme {
    /// The hash under which the log records the message.
    pub(crate) const fn hash(self) -> HashAlgorithm {
        match self {
            Self::EcdsaP256(hash)
            | Self::EcdsaP384(hash)
            | Self::EcdsaP521(hash)
            | Self::RsaPkcs1(hash)
            | Self::RsaPss(hash) => hash,
            Self::Ed25519 | Self::Ed25519ph => HashAlgorithm::Sha512,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (name, hash) = match self {
            Self::EcdsaP256(hash) => ("ECDSA P-256", hash),
            Self::EcdsaP384(hash) => ("ECDSA P-384", hash),
            Self::EcdsaP521(hash) => ("ECDSA P-521", hash),
            Self::Ed25519 => return f.write_str("Ed25519"),
            Self::Ed25519ph => return f.write_str("Ed25519ph"),
            Self::RsaPkcs1(hash) => ("RSA PKCS#1", hash),
            Self::RsaPss(hash) => ("RSA-PSS", hash),
        };
        write!(f, "{name} {}", hash.as_str())
    }
}

impl PublicKey {
    /// Every public key in a PEM text (`PUBLIC KEY`, RFC 5280 SubjectPublicKeyInfo). Without
    /// `hash`, the hash follows the key, as cosign 2 and 3 choose it.
    ///
    /// # Errors
    /// When the text holds no key, a private key, or a key of a kind or size that is not supported.
    pub fn from_pem(pem: &str, hash: Option<HashAlgorithm>) -> Result<Vec<Self>, KeyError> {
        if pem.len() > MAX_PEM_BYTES {
            return Err(KeyError::new(format!(
                "{} bytes; the limit is {MAX_PEM_BYTES}",
                pem.len()
            )));
        }
        let mut keys = Vec::new();
        for block in blocks(pem)? {
            keys.push(Self::from_block(&block, hash)?);
            if keys.len() > MAX_KEYS {
                return Err(KeyError::new(format!("more than {MAX_KEYS} keys")));
            }
        }
        if keys.is_empty() {
            return Err(KeyError::new(
                "holds no public key; wanted PEM beginning with -----BEGIN PUBLIC KEY-----",
            ));
        }
        Ok(keys)
    }

    fn from_block(block: &str, hash: Option<HashAlgorithm>) -> Result<Self, KeyError> {
        let (label, document) = Document::from_pem(block)
            .map_err(|error| KeyError::new(format!("the PEM block cannot be read: {error}")))?;
        match label {
            "PUBLIC KEY" => Self::from_der(document.as_bytes(), hash),
            label if label.contains("PRIVATE") => Err(KeyError::new(
                "holds a private key; wanted the public one (`cosign public-key` prints it)",
            )),
            label => {
                let label = printable(label);
                Err(KeyError::new(format!("holds a `{label}`, wanted a `PUBLIC KEY`")))
            }
        }
    }

    /// A key from its SubjectPublicKeyInfo.
    ///
    /// # Errors
    /// When it is of a kind or size that is not supported.
    pub fn from_der(der: &[u8], hash: Option<HashAlgorithm>) -> Result<Self, KeyError> {
        let spki = SubjectPublicKeyInfoOwned::from_der(der)
            .map_err(|error| KeyError::new(format!("not a SubjectPublicKeyInfo: {error}")))?;
        let raw = spki
            .subject_public_key
            .as_bytes()
            .ok_or_else(|| KeyError::new("the key's bit string has unused bits"))?
            .to_vec();
        let schemes = schemes(&spki, &raw, hash)?;
        Ok(Self {
            spki: der.to_vec(),
            fingerprint: hex::encode(sha2::Sha256::digest(der)),
            raw,
            schemes,
        })
    }

    /// SHA-256 of the SubjectPublicKeyInfo, in hexadecimal.
    pub fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// The ways to sign that are tried, in this order.
    pub(crate) fn schemes(&self) -> &[Scheme] {
        &self.schemes
    }

    /// The SubjectPublicKeyInfo.
    pub(crate) fn spki(&self) -> DerPublicKey {
        DerPublicKey::new(self.spki.clone())
    }

    /// The scheme under which the signature verifies, if one does.
    pub(crate) fn verify(&self, message: &[u8], signature: &[u8]) -> Option<Scheme> {
        self.schemes.iter().copied().find(|scheme| self.verify_with(*scheme, message, signature))
    }

    /// The same for a message of which only the SHA-256 is known.
    pub(crate) fn verify_digest(&self, sha256: &[u8], signature: &[u8]) -> Option<Scheme> {
        use sigstore_verify::crypto::SigningScheme;
        let known = |scheme: &Scheme| match scheme {
            Scheme::EcdsaP256(HashAlgorithm::Sha256) => Some(SigningScheme::EcdsaP256Sha256),
            Scheme::EcdsaP384(HashAlgorithm::Sha256) => Some(SigningScheme::EcdsaP384Sha256),
            Scheme::RsaPkcs1(HashAlgorithm::Sha256) => Some(SigningScheme::RsaPkcs1Sha256),
            Scheme::RsaPss(HashAlgorithm::Sha256) => Some(SigningScheme::RsaPssSha256),
            Scheme::EcdsaP256(_)
            | Scheme::EcdsaP384(_)
            | Scheme::EcdsaP521(_)
            | Scheme::Ed25519
            | Scheme::Ed25519ph
            | Scheme::RsaPkcs1(_)
            | Scheme::RsaPss(_) => None,
        };
        let signature = SignatureBytes::new(signature.to_vec());
        self.schemes.iter().copied().find(|scheme| {
            known(scheme).is_some_and(|scheme| {
                verify_signature_prehashed(&self.spki(), sha256, &signature, scheme).is_ok()
            })
        })
    }

    fn verify_with(&self, scheme: Scheme, message: &[u8], signature: &[u8]) -> bool {
        use HashAlgorithm::Sha256;
        use HashAlgorithm::Sha384;
        use HashAlgorithm::Sha512;
        let algorithm: &'static dyn lc::VerificationAlgorithm = match scheme {
            Scheme::EcdsaP256(Sha256) => &lc::ECDSA_P256_SHA256_ASN1,
            Scheme::EcdsaP256(Sha384) => &lc::ECDSA_P256_SHA384_ASN1,
            Scheme::EcdsaP256(Sha512) => &lc::ECDSA_P256_SHA512_ASN1,
            Scheme::EcdsaP384(Sha256) => &lc::ECDSA_P384_SHA256_ASN1,
            Scheme::EcdsaP384(Sha384) => &lc::ECDSA_P384_SHA384_ASN1,
            Scheme::EcdsaP384(Sha512) => &lc::ECDSA_P384_SHA512_ASN1,
            Scheme::EcdsaP521(Sha256) => &lc::ECDSA_P521_SHA256_ASN1,
            Scheme::EcdsaP521(Sha384) => &lc::ECDSA_P521_SHA384_ASN1,
            Scheme::EcdsaP521(Sha512) => &lc::ECDSA_P521_SHA512_ASN1,
            Scheme::RsaPkcs1(Sha256) => &lc::RSA_PKCS1_2048_8192_SHA256,
            Scheme::RsaPkcs1(Sha384) => &lc::RSA_PKCS1_2048_8192_SHA384,
            Scheme::RsaPkcs1(Sha512) => &lc::RSA_PKCS1_2048_8192_SHA512,
            Scheme::RsaPss(Sha256) => &lc::RSA_PSS_2048_8192_SHA256,
            Scheme::RsaPss(Sha384) => &lc::RSA_PSS_2048_8192_SHA384,
            Scheme::RsaPss(Sha512) => &lc::RSA_PSS_2048_8192_SHA512,
            Scheme::Ed25519 => &lc::ED25519,
            Scheme::Ed25519ph => return self.verify_ed25519ph(message, signature),
        };
        lc::UnparsedPublicKey::new(algorithm, &self.raw).verify(message, signature).is_ok()
    }

    fn verify_ed25519ph(&self, message: &[u8], signature: &[u8]) -> bool {
        let Ok(raw) = <[u8; 32]>::try_from(self.raw.as_slice()) else {
            return false;
        };
        let Ok(key) = ed25519_dalek::VerifyingKey::from_bytes(&raw) else {
            return false;
        };
        let Ok(signature) = ed25519_dalek::Signature::from_slice(signature) else {
            return false;
        };
        let prehashed = sha2::Sha512::new_with_prefix(message);
        key.verify_prehashed_strict(prehashed, None, &signature).is_ok()
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "PublicKey({})", self.fingerprint)
    }
}

/// The PEM blocks of a text. Text around them is a comment (RFC 7468 section 2).
pub(super) fn blocks(pem: &str) -> Result<Vec<String>, KeyError> {
    let mut blocks = Vec::new();
    let mut current: Option<String> = None;
    for line in pem.lines().map(str::trim) {
        if line.starts_with("-----BEGIN ") {
            current = Some(String::new());
        }
        if let Some(block) = &mut current {
            if !line.is_empty() {
                block.push_str(line);
                block.push('\n');
            }
            if line.starts_with("-----END ") {
                blocks.extend(current.take());
            }
        }
    }
    match current {
        Some(_) => Err(KeyError::new("a PEM block has no end")),
        None => Ok(blocks),
    }
}

fn schemes(
    spki: &SubjectPublicKeyInfoOwned,
    raw: &[u8],
    hash: Option<HashAlgorithm>,
) -> Result<Vec<Scheme>, KeyError> {
    use HashAlgorithm::Sha256;
    use HashAlgorithm::Sha384;
    use HashAlgorithm::Sha512;
    let or = |natural: &[HashAlgorithm]| hash.map_or_else(|| natural.to_vec(), |hash| vec![hash]);
    let curve = |scheme: fn(HashAlgorithm) -> Scheme, natural: &[HashAlgorithm]| {
        if raw.first() == Some(&0x04) {
            Ok(or(natural).into_iter().map(scheme).collect())
        } else {
            Err(KeyError::new("the elliptic curve point is not in uncompressed form"))
        }
    };
    let algorithm = &spki.algorithm;
    match algorithm.oid {
        EC_PUBLIC_KEY => {
            let named = algorithm.parameters.as_ref().and_then(|any| any.decode_as().ok());
            match named {
                Some(P256) => curve(Scheme::EcdsaP256, &[Sha256]),
                // cosign 2 hashed with SHA-256 whatever the key.
                Some(P384) => curve(Scheme::EcdsaP384, &[Sha384, Sha256]),
                Some(P521) => curve(Scheme::EcdsaP521, &[Sha512, Sha256]),
                Some(other) => Err(KeyError::new(format!(
                    "elliptic curve {other} is not supported; wanted P-256, P-384 or P-521"
                ))),
                None => Err(KeyError::new("the elliptic curve is not named")),
            }
        }
        RSA => {
            rsa_size(raw)?;
            let hashes = or(&[Sha256]);
            let pkcs1 = hashes.iter().copied().map(Scheme::RsaPkcs1);
            Ok(pkcs1.chain(hashes.iter().copied().map(Scheme::RsaPss)).collect())
        }
        RSA_PSS => {
            rsa_size(raw)?;
            Ok(or(&[Sha256, Sha384, Sha512]).into_iter().map(Scheme::RsaPss).collect())
        }
        ED25519 if raw.len() == 32 && algorithm.parameters.is_none() => {
            Ok(vec![Scheme::Ed25519ph, Scheme::Ed25519])
        }
        ED25519 => Err(KeyError::new("malformed Ed25519 key")),
        other => Err(KeyError::new(format!(
            "key algorithm {other} is not supported; wanted ECDSA, RSA or Ed25519"
        ))),
    }
}

fn rsa_size(raw: &[u8]) -> Result<(), KeyError> {
    let (modulus, exponent) = SliceReader::new(raw)
        .and_then(|mut reader| {
            reader.sequence(|body| Ok((Uint::decode(body)?, Uint::decode(body)?)))
        })
        .map_err(|error| KeyError::new(format!("malformed RSA key: {error}")))?;
    let modulus = modulus.as_bytes();
    let zeros = modulus.first().map_or(0, |first| first.leading_zeros() as usize);
    let bits = (modulus.len() * 8).saturating_sub(zeros);
    if !RSA_BITS.contains(&bits) || exponent.as_bytes().len() > 8 {
        return Err(KeyError::new(format!(
            "RSA key of {bits} bits; wanted {} to {}",
            RSA_BITS.start(),
            RSA_BITS.end()
        )));
    }
    Ok(())
}

/// Why a text is not a public key, or not a certificate authority.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
#[error("{problem}")]
pub struct KeyError {
    /// What is wrong, in one clause.
    pub problem: String,
}

impl KeyError {
    pub(super) fn new(problem: impl fmt::Display) -> Self {
        Self { problem: problem.to_string() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
mod tests;
