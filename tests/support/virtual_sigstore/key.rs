//! Signing keys of every kind that images are signed with.
//!
//! Ed25519ph is missing: aws-lc-rs has no call for it. A real signature of that kind is among the
//! samples signed by cosign.
use std::fmt;

use aws_lc_rs::digest;
use aws_lc_rs::encoding::AsDer;
use aws_lc_rs::encoding::PublicKeyX509Der;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa;
use aws_lc_rs::signature;
use aws_lc_rs::signature::EcdsaKeyPair;
use aws_lc_rs::signature::Ed25519KeyPair;
use aws_lc_rs::signature::KeyPair as _;

use super::der;

/// The kind of a key, with the hash that cosign uses for it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Algorithm {
    /// ECDSA over P-256 with SHA-256.
    P256,
    /// ECDSA over P-384 with SHA-384.
    P384,
    /// ECDSA over P-521 with SHA-512.
    P521,
    /// Ed25519 over the whole message.
    Ed25519,
    /// RSA of 2048 bits, PKCS#1 v1.5, SHA-256.
    Rsa,
    /// RSA of 2048 bits, PSS with SHA-256. Its public key looks like [`Algorithm::Rsa`]'s.
    RsaPss,
}

impl Algorithm {
    /// Every kind.
    pub const ALL: &[Self] =
        &[Self::P256, Self::P384, Self::P521, Self::Ed25519, Self::Rsa, Self::RsaPss];

    fn hash(self) -> &'static digest::Algorithm {
        match self {
            Self::P256 | Self::Rsa | Self::RsaPss => &digest::SHA256,
            Self::P384 => &digest::SHA384,
            Self::P521 | Self::Ed25519 => &digest::SHA512,
        }
    }

    /// The hash's name in Rekor v1 entries and its value over `message`, in hexadecimal.
    pub fn rekor_v1_hash(self, message: &[u8]) -> (&'static str, String) {
        let name = match self {
            Self::P256 | Self::Rsa | Self::RsaPss => "sha256",
            Self::P384 => "sha384",
            Self::P521 | Self::Ed25519 => "sha512",
        };
        (name, hex::encode(digest::digest(self.hash(), message)))
    }

    /// The hash's name in protobuf JSON and its value over `message`.
    pub fn protobuf_hash(self, message: &[u8]) -> (&'static str, Vec<u8>) {
        let name = match self {
            Self::P256 | Self::Rsa | Self::RsaPss => "SHA2_256",
            Self::P384 => "SHA2_384",
            Self::P521 | Self::Ed25519 => "SHA2_512",
        };
        (name, digest::digest(self.hash(), message).as_ref().to_vec())
    }

    /// `PublicKeyDetails` of Sigstore's protobuf specifications.
    pub const fn details(self) -> &'static str {
        match self {
            Self::P256 => "PKIX_ECDSA_P256_SHA_256",
            Self::P384 => "PKIX_ECDSA_P384_SHA_384",
            Self::P521 => "PKIX_ECDSA_P521_SHA_512",
            Self::Ed25519 => "PKIX_ED25519",
            Self::Rsa => "PKIX_RSA_PKCS1V15_2048_SHA256",
            Self::RsaPss => "PKIX_RSA_PSS_2048_SHA256",
        }
    }

    /// `AlgorithmIdentifier` of the signatures that such a key makes in certificates and CMS.
    ///
    /// # Panics
    /// For RSA-PSS: nothing in here signs certificates with it.
    pub fn identifier(self) -> Vec<u8> {
        match self {
            Self::P256 => der::sequence(&[der::oid("1.2.840.10045.4.3.2")]),
            Self::P384 => der::sequence(&[der::oid("1.2.840.10045.4.3.3")]),
            Self::P521 => der::sequence(&[der::oid("1.2.840.10045.4.3.4")]),
            Self::Ed25519 => der::sequence(&[der::oid("1.3.101.112")]),
            Self::Rsa => {
                der::sequence(&[der::oid("1.2.840.113549.1.1.11"), der::element(0x05, &[])])
            }
            Self::RsaPss => panic!("no certificate is signed with RSA-PSS in here"),
        }
    }
}

enum Pair {
    Ecdsa(EcdsaKeyPair),
    Ed25519(Ed25519KeyPair),
    Rsa(rsa::KeyPair),
}

/// A private key with its public half.
pub struct Key {
    algorithm: Algorithm,
    pair: Pair,
    spki: Vec<u8>,
}

impl Key {
    /// A fresh key.
    pub fn generate(algorithm: Algorithm) -> Self {
        let ecdsa = |kind| Pair::Ecdsa(EcdsaKeyPair::generate(kind).unwrap());
        let pair = match algorithm {
            Algorithm::P256 => ecdsa(&signature::ECDSA_P256_SHA256_ASN1_SIGNING),
            Algorithm::P384 => ecdsa(&signature::ECDSA_P384_SHA384_ASN1_SIGNING),
            Algorithm::P521 => ecdsa(&signature::ECDSA_P521_SHA512_ASN1_SIGNING),
            Algorithm::Ed25519 => Pair::Ed25519(Ed25519KeyPair::generate().unwrap()),
            Algorithm::Rsa | Algorithm::RsaPss => {
                Pair::Rsa(rsa::KeyPair::generate(rsa::KeySize::Rsa2048).unwrap())
            }
        };
        let public: PublicKeyX509Der<'_> = match &pair {
            Pair::Ecdsa(pair) => pair.public_key().as_der().unwrap(),
            Pair::Ed25519(pair) => pair.public_key().as_der().unwrap(),
            Pair::Rsa(pair) => pair.public_key().as_der().unwrap(),
        };
        let spki = public.as_ref().to_vec();
        Self { algorithm, pair, spki }
    }

    /// Its kind.
    pub const fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The public key as `SubjectPublicKeyInfo`, DER.
    pub fn spki(&self) -> &[u8] {
        &self.spki
    }

    /// The public key as PEM, as a policy holds it.
    pub fn public_pem(&self) -> String {
        der::pem("PUBLIC KEY", &self.spki)
    }

    /// The raw public key: the content of the SPKI's bit string.
    pub fn raw_public(&self) -> Vec<u8> {
        match &self.pair {
            Pair::Ecdsa(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.public_key().as_ref().to_vec(),
            Pair::Rsa(pair) => pair.public_key().as_ref().to_vec(),
        }
    }

    /// The signature over `message`, which is hashed as the key's kind asks for.
    pub fn sign(&self, message: &[u8]) -> Vec<u8> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Ecdsa(pair) => pair.sign(&random, message).unwrap().as_ref().to_vec(),
            Pair::Ed25519(pair) => pair.sign(message).as_ref().to_vec(),
            Pair::Rsa(pair) => {
                let padding: &dyn signature::RsaEncoding = match self.algorithm {
                    Algorithm::RsaPss => &signature::RSA_PSS_SHA256,
                    _ => &signature::RSA_PKCS1_SHA256,
                };
                let mut out = vec![0; pair.public_modulus_len()];
                pair.sign(padding, &random, message, &mut out).unwrap();
                out
            }
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Key").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

/// SHA-256.
pub fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap()
}
