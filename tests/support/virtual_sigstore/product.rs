//! Finished signatures: bundles as JSON values, classic payloads with their annotations.
use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::Value;
use serde_json::json;
use tegata::evidence::Candidate;
use tegata::evidence::Content as EvidenceContent;
use tegata::evidence::Format;
use tegata::evidence::Place;
use tegata::evidence::annotation;
use tegata::image::Digest;

use super::Part;
use super::der::pem;
use super::key::sha256;
use super::make::Content;
use super::make::Made;
use super::make::Room;
use super::make::another_image;
use super::make::stranger_signature;
use super::oci::OciArtifact;
use super::signing::BundleSigning;
use super::signing::ClassicSigning;
use super::signing::Signing;
use super::signing::Version;

/// A Sigstore bundle.
#[derive(Clone, Debug)]
pub struct SignedBundle {
    /// The bundle. Change whatever a test wants to.
    pub bundle: Value,
    /// The log entries, as Rekor's API of version 1 gives them.
    pub entries: Vec<Value>,
    /// The image that it was asked to sign.
    pub image: Digest,
    /// The signing certificate, DER, or what stands in its place.
    pub certificate: Option<Vec<u8>>,
    /// The predicate type, for a statement.
    pub predicate_type: Option<String>,
}

impl SignedBundle {
    /// The same without its log entries: only the log has them.
    pub fn unlogged(mut self) -> Self {
        self.bundle["verificationMaterial"]["tlogEntries"] = json!([]);
        self
    }

    /// The bundle's JSON, as it is stored.
    pub fn bytes(&self) -> Vec<u8> {
        self.bundle.to_string().into_bytes()
    }

    /// The bundle as a referrer of the image, as a registry would hand it out.
    pub fn candidate(&self) -> Candidate {
        let bytes = self.bytes();
        Candidate::new(
            Place::Referrers,
            self.oci().digest(),
            Digest::sha256_of(&bytes),
            Format::Bundle,
            Ok(EvidenceContent::Bundle(Bytes::from(bytes))),
        )
    }

    /// The manifest and blobs that cosign would push as a referrer of the image.
    pub fn oci(&self) -> OciArtifact {
        OciArtifact::referrer(self)
    }
}

/// A classic signature: cosign's simple signing, or a classic attestation.
#[derive(Clone, Debug)]
pub struct ClassicSignature {
    /// Whether it is an attestation: an envelope behind the attestation tag.
    pub attestation: bool,
    /// The log entries, as Rekor's API of version 1 gives them.
    pub entries: Vec<Value>,
    /// The payload: the bytes under the signature, or the envelope.
    pub payload: Vec<u8>,
    /// The annotations of the layer.
    pub annotations: BTreeMap<String, String>,
    /// The image that it was asked to sign.
    pub image: Digest,
}

impl ClassicSignature {
    /// The same without its log entry: only the log has it.
    pub fn unlogged(mut self) -> Self {
        self.annotations.remove(annotation::BUNDLE);
        self
    }

    /// The signature alone behind the image's signature or attestation tag, as a registry would
    /// hand it out.
    pub fn candidate(&self) -> Candidate {
        let bytes = Bytes::from(self.payload.clone());
        let annotations = self.annotations.clone();
        let (place, content) = if self.attestation {
            let envelope = EvidenceContent::Envelope { envelope: bytes, annotations };
            (Place::AttestationTag, envelope)
        } else {
            let signature = EvidenceContent::SimpleSigning { payload: bytes, annotations };
            (Place::SignatureTag, signature)
        };
        let layer = Digest::sha256_of(&self.payload);
        Candidate::new(place, self.oci().digest(), layer, Format::Legacy, Ok(content))
    }

    /// The manifest and blobs of a tag with this signature alone; see
    /// [`OciArtifact::signature_tag`] for several.
    pub fn oci(&self) -> OciArtifact {
        OciArtifact::signature_tag(&[self])
    }
}

impl BundleSigning<'_> {
    pub(super) fn sign_statement(&self, digest: &Digest) -> SignedBundle {
        let signing = &self.signing;
        signing.begin();
        let content = signing.statement(digest);
        let made = signing.make(&content, Room::Bundle);
        let (mut payload, kind) = content.envelope.clone().unwrap_or_default();
        if signing.forges(Part::Payload) {
            payload.push(b' ');
        }
        let signatures = envelope_signatures(signing, &content, &made);
        let mut bundle = self.material(&made);
        bundle["dsseEnvelope"] = json!({
            "payload": STANDARD.encode(payload),
            "payloadType": kind,
            "signatures": signatures,
        });
        signing.finish();
        let entries = made.api_entries();
        let certificate = made.credential.certificate;
        let predicate_type = Some(signing.predicate.0.clone());
        SignedBundle { bundle, image: digest.clone(), certificate, predicate_type, entries }
    }

    pub(super) fn sign_bytes(&self, manifest: &[u8]) -> SignedBundle {
        let signing = &self.signing;
        signing.begin();
        let made = signing.make(&Content::message(manifest.to_vec()), Room::Bundle);
        let other = another_image().to_string().into_bytes();
        let forged = signing.forges(Part::MessageDigest);
        let algorithm = made.credential.key().algorithm();
        let (name, digest) = algorithm.protobuf_hash(if forged { &other } else { manifest });
        let mut bundle = self.material(&made);
        bundle["messageSignature"] = json!({
            "messageDigest": { "algorithm": name, "digest": STANDARD.encode(digest) },
            "signature": STANDARD.encode(&made.signature),
        });
        signing.finish();
        let image = Digest::sha256_of(manifest);
        let entries = made.api_entries();
        let certificate = made.credential.certificate;
        SignedBundle { bundle, image, certificate, predicate_type: None, entries }
    }

    /// The bundle without its content.
    fn material(&self, made: &Made<'_>) -> Value {
        let mut material = self.verifier(made);
        if !made.entries.is_empty() {
            material["tlogEntries"] =
                made.entries.iter().map(|entry| entry.bundle_json()).collect();
        }
        if !made.timestamps.is_empty() {
            let tokens: Vec<_> = made
                .timestamps
                .iter()
                .map(|token| json!({ "signedTimestamp": STANDARD.encode(token) }))
                .collect();
            material["timestampVerificationData"] = json!({ "rfc3161Timestamps": tokens });
        }
        json!({ "mediaType": self.version.media_type(), "verificationMaterial": material })
    }

    fn verifier(&self, made: &Made<'_>) -> Value {
        let raw = |der: &[u8]| json!({ "rawBytes": STANDARD.encode(der) });
        let credential = &made.credential;
        let Some(certificate) = &credential.certificate else {
            let hint = STANDARD.encode(sha256(credential.key().spki()));
            return json!({ "publicKey": { "hint": hint } });
        };
        if self.signing.forges(Part::NoCertificates) {
            return json!({ "x509CertificateChain": { "certificates": [] } });
        }
        if self.version == Version::V03 {
            return json!({ "certificate": raw(certificate) });
        }
        let mut certificates = vec![raw(certificate)];
        certificates.extend(credential.chain.iter().map(|der| raw(der)));
        json!({ "x509CertificateChain": { "certificates": certificates } })
    }
}

fn envelope_signatures(signing: &Signing<'_>, content: &Content, made: &Made<'_>) -> Vec<Value> {
    let signature = |bytes: &[u8]| json!({ "sig": STANDARD.encode(bytes) });
    let mut signatures = vec![signature(&made.signature)];
    if signing.forges(Part::TwoSignatures) {
        signatures.push(signature(&stranger_signature(&content.message)));
    }
    if signing.forges(Part::NoSignatures) {
        signatures.clear();
    }
    signatures
}

impl ClassicSigning<'_> {
    /// # Panics
    /// When there is more than one log entry or timestamp: the annotations hold one of each.
    pub(super) fn sign_payload(&self, digest: &Digest) -> ClassicSignature {
        let signing = &self.signing;
        signing.begin();
        let content = signing.simple_signing(digest);
        let made = signing.make(&content, Room::Classic);
        let mut annotations = self.annotations(&made);
        annotations.insert(annotation::SIGNATURE.to_owned(), STANDARD.encode(&made.signature));
        let mut payload = content.message;
        if signing.forges(Part::Payload) {
            payload.push(b' ');
        }
        signing.finish();
        ClassicSignature {
            attestation: false,
            entries: made.api_entries(),
            payload,
            annotations,
            image: digest.clone(),
        }
    }

    /// # Panics
    /// As [`Self::sign_payload`].
    pub(super) fn attest_statement(&self, digest: &Digest) -> ClassicSignature {
        let signing = &self.signing;
        signing.begin();
        let content = signing.statement(digest);
        let made = signing.make(&content, Room::Classic);
        let mut annotations = self.annotations(&made);
        annotations.insert(annotation::SIGNATURE.to_owned(), String::new());
        let (mut payload, kind) = content.envelope.clone().unwrap_or_default();
        if signing.forges(Part::Payload) {
            payload.push(b' ');
        }
        let envelope = json!({
            "payloadType": kind,
            "payload": STANDARD.encode(payload),
            "signatures": envelope_signatures(signing, &content, &made),
        });
        signing.finish();
        let payload = envelope.to_string().into_bytes();
        ClassicSignature {
            attestation: true,
            entries: made.api_entries(),
            payload,
            annotations,
            image: digest.clone(),
        }
    }

    fn annotations(&self, made: &Made<'_>) -> BTreeMap<String, String> {
        let signing = &self.signing;
        assert!(made.entries.len() < 2, "a classic signature holds one log entry");
        assert!(made.timestamps.len() < 2, "a classic signature holds one timestamp");
        let mut annotations = BTreeMap::new();
        let mut annotate = |key: &str, value| annotations.insert(key.to_owned(), value);
        if made.credential.certificate.is_some() {
            let none = signing.forges(Part::NoCertificates);
            annotate(
                annotation::CERTIFICATE,
                if none { String::new() } else { made.credential.pem() },
            );
            let chain = made.credential.chain.iter().filter(|_| signing.chain_annotation);
            annotate(annotation::CHAIN, chain.map(|der| pem("CERTIFICATE", der)).collect());
        }
        for entry in &made.entries {
            annotate(annotation::BUNDLE, entry.annotation().to_string());
        }
        for token in &made.timestamps {
            let json = json!({ "SignedRFC3161Timestamp": STANDARD.encode(token) });
            annotate(annotation::TIMESTAMP, json.to_string());
        }
        annotations
    }
}
