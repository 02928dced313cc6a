//! The description of a signature: who signs what, how it is logged and stamped, what is forged.
use std::cell::RefCell;
use std::collections::BTreeSet;

use jiff::Timestamp;
use serde_json::Value;
use serde_json::json;
use tegata::image::Digest;

use super::Part;
use super::VirtualSigstore;
use super::fulcio::Request;
use super::fulcio::San;
use super::fulcio::Scts;
use super::key::Algorithm;
use super::key::Key;
use super::product::ClassicSignature;
use super::product::SignedBundle;

/// The predicate type of a signature, as cosign writes it.
pub const COSIGN_SIGN: &str = "https://sigstore.dev/cosign/sign/v1";

/// A log, and the kind of entry that is put into it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Log {
    /// Rekor v1: `hashedrekord` for messages and classic payloads, `dsse` for envelopes.
    RekorV1,
    /// Rekor v1 with the older kind `intoto` 0.0.2, for envelopes.
    RekorV1Intoto,
    /// Rekor v1 with the oldest kind `intoto` 0.0.1, for envelopes.
    RekorV1Oldest,
    /// Rekor v2: `hashedrekord` 0.0.2 for everything.
    RekorV2,
    /// A second Rekor v1, which the trust root lists when asked to.
    SecondRekorV1,
    /// A second Rekor v2, which the trust root lists when asked to.
    SecondRekorV2,
}

/// The version of a bundle's format.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Version {
    /// 0.1: certificate chain.
    V01,
    /// 0.2: certificate chain, inclusion proof wanted.
    V02,
    /// 0.3: one certificate, inclusion proof wanted.
    V03,
}

impl Version {
    /// Every version.
    pub const ALL: &[Self] = &[Self::V01, Self::V02, Self::V03];

    /// The media type.
    pub const fn media_type(self) -> &'static str {
        match self {
            Self::V01 => "application/vnd.dev.sigstore.bundle+json;version=0.1",
            Self::V02 => "application/vnd.dev.sigstore.bundle+json;version=0.2",
            Self::V03 => "application/vnd.dev.sigstore.bundle.v0.3+json",
        }
    }
}

/// Who signs.
#[derive(Clone, Debug)]
pub enum Signer<'a> {
    /// A fresh key of this kind, certified by Fulcio.
    Keyless(Request, Algorithm),
    /// This key.
    Keyed(&'a Key),
}

/// A description that lacks the format; [`Signing::bundle`] or [`Signing::classic`] gives it.
#[derive(Clone, Debug)]
#[must_use]
pub struct Signing<'a> {
    pub(super) sigstore: &'a VirtualSigstore,
    pub(super) signer: Signer<'a>,
    pub(super) at: Timestamp,
    pub(super) logs: Vec<Log>,
    pub(super) timestamps: usize,
    pub(super) second_timestamps: usize,
    pub(super) tsa_certificate: bool,
    pub(super) chain_annotation: bool,
    pub(super) predicate: (String, Value),
    pub(super) other_subjects: usize,
    parts: Vec<Part>,
    used: RefCell<BTreeSet<Part>>,
}

impl<'a> Signing<'a> {
    pub(super) fn new(sigstore: &'a VirtualSigstore, signer: Signer<'a>) -> Self {
        Self {
            sigstore,
            signer,
            at: sigstore.start(),
            logs: Vec::new(),
            timestamps: 0,
            second_timestamps: 0,
            tsa_certificate: false,
            chain_annotation: false,
            predicate: (COSIGN_SIGN.to_owned(), json!({})),
            other_subjects: 0,
            parts: Vec::new(),
            used: RefCell::default(),
        }
    }

    /// Signs at `time` instead of the instance's start. Log and timestamps follow within a minute.
    pub const fn at(mut self, time: Timestamp) -> Self {
        self.at = time;
        self
    }

    /// Logs the signature. May be called for several logs.
    pub fn log(mut self, log: Log) -> Self {
        self.logs.push(log);
        self
    }

    /// Has the signature stamped so many times, each time a second later.
    pub const fn timestamp(mut self, count: usize) -> Self {
        self.timestamps = count;
        self
    }

    /// Has the signature stamped by the second authority, which uses P-384 and SHA-384 and is in
    /// the trust root when asked for.
    pub const fn second_timestamp(mut self, count: usize) -> Self {
        self.second_timestamps = count;
        self
    }

    /// Includes the authority's certificate in timestamps.
    pub const fn tsa_certificate(mut self) -> Self {
        self.tsa_certificate = true;
        self
    }

    /// Writes the intermediate into the chain annotation of a classic signature, which current
    /// versions of cosign leave empty.
    pub const fn chain_annotation(mut self) -> Self {
        self.chain_annotation = true;
        self
    }

    /// Makes an attestation with this predicate instead of a signature.
    pub fn predicate(mut self, kind: &str, predicate: Value) -> Self {
        self.predicate = (kind.to_owned(), predicate);
        self
    }

    /// Puts so many subjects of other digests before the image's in the statement.
    pub const fn other_subjects(mut self, count: usize) -> Self {
        self.other_subjects = count;
        self
    }

    /// The kind of the ephemeral key of a keyless signer.
    ///
    /// # Panics
    /// When a key signs.
    pub fn algorithm(mut self, algorithm: Algorithm) -> Self {
        match &mut self.signer {
            Signer::Keyless(_, kind) => *kind = algorithm,
            Signer::Keyed(_) => panic!("a keyed signer has a key already"),
        }
        self
    }

    /// The names in the certificate, instead of the one subject.
    pub fn sans(mut self, names: &[San]) -> Self {
        self.request().names = names.to_vec();
        self
    }

    /// The issuer in extension `.1` and in extension `.8`; `None` leaves it out.
    pub fn issuers(mut self, v1: Option<&str>, v2: Option<&str>) -> Self {
        let request = self.request();
        request.issuer_v1 = v1.map(str::to_owned);
        request.issuer_v2 = v2.map(str::to_owned);
        self
    }

    /// A further claim, by the last arc of its extension (9 to 22).
    pub fn claim(mut self, arc: u8, text: &str) -> Self {
        self.request().claims.push((arc, text.to_owned()));
        self
    }

    /// Two signed certificate timestamps in the certificate, both valid.
    pub fn two_scts(mut self) -> Self {
        self.request().scts = Scts::Two;
        self
    }

    /// Forges one part. May be called for several.
    pub fn tamper(mut self, part: Part) -> Self {
        self.parts.push(part);
        self
    }

    /// The signature as a bundle.
    pub const fn bundle(self, version: Version) -> BundleSigning<'a> {
        BundleSigning { signing: self, version }
    }

    /// The signature as cosign's classic payload and annotations.
    pub const fn classic(self) -> ClassicSigning<'a> {
        ClassicSigning { signing: self }
    }

    fn request(&mut self) -> &mut Request {
        match &mut self.signer {
            Signer::Keyless(request, _) => request,
            Signer::Keyed(_) => panic!("a keyed signer has no certificate"),
        }
    }

    /// Whether `part` is to be forged; asking marks it as done.
    pub(super) fn forges(&self, part: Part) -> bool {
        let forges = self.parts.contains(&part);
        if forges {
            self.used.borrow_mut().insert(part);
        }
        forges
    }

    /// How many copies a part asks for; one where it does not.
    pub(super) fn copies(&self, count: impl Fn(Part) -> Option<usize>) -> usize {
        for part in &self.parts {
            if let Some(copies) = count(*part) {
                self.used.borrow_mut().insert(*part);
                return copies;
            }
        }
        1
    }

    /// Forgets what earlier calls forged.
    pub(super) fn begin(&self) {
        self.used.borrow_mut().clear();
    }

    /// Panics unless every part was forged.
    pub(super) fn finish(&self) {
        let used = self.used.borrow();
        for part in &self.parts {
            assert!(used.contains(part), "{part:?} has no meaning for this description: {self:?}");
        }
    }
}

/// A description of a bundle.
#[derive(Clone, Debug)]
#[must_use]
pub struct BundleSigning<'a> {
    pub(super) signing: Signing<'a>,
    pub(super) version: Version,
}

impl BundleSigning<'_> {
    /// Forges one part. May be called for several.
    pub fn tamper(mut self, part: Part) -> Self {
        self.signing = self.signing.tamper(part);
        self
    }

    /// Signs an in-toto statement about the image `digest`.
    ///
    /// # Panics
    /// When a part to forge has no meaning here.
    pub fn sign(&self, digest: &Digest) -> SignedBundle {
        self.sign_statement(digest)
    }

    /// Signs the bytes of an image manifest, as a message signature.
    ///
    /// # Panics
    /// When a part to forge has no meaning here.
    pub fn sign_message(&self, manifest: &[u8]) -> SignedBundle {
        self.sign_bytes(manifest)
    }
}

/// A description of a classic signature.
#[derive(Clone, Debug)]
#[must_use]
pub struct ClassicSigning<'a> {
    pub(super) signing: Signing<'a>,
}

impl ClassicSigning<'_> {
    /// Forges one part. May be called for several.
    pub fn tamper(mut self, part: Part) -> Self {
        self.signing = self.signing.tamper(part);
        self
    }

    /// Signs a simple-signing payload about the image `digest`.
    ///
    /// # Panics
    /// When a part to forge has no meaning here.
    pub fn sign(&self, digest: &Digest) -> ClassicSignature {
        self.sign_payload(digest)
    }

    /// Signs an in-toto statement about the image `digest`, as a classic attestation.
    ///
    /// # Panics
    /// When a part to forge has no meaning here.
    pub fn attest(&self, digest: &Digest) -> ClassicSignature {
        self.attest_statement(digest)
    }
}
