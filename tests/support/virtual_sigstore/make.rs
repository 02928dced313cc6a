//! From a description to signature, certificate, log entries and timestamps; forging on the way.
use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::json;
use tegata::image::Digest;

use super::Part;
use super::body::Submission;
use super::der;
use super::forge::flip;
use super::fulcio::Fulcio;
use super::fulcio::Scts;
use super::instance::Instance;
use super::key::Algorithm;
use super::key::Key;
use super::rekor::Entry;
use super::rekor::RekorLog;
use super::signing::Log;
use super::signing::Signer;
use super::signing::Signing;

/// The payload type of in-toto statements.
const IN_TOTO: &str = "application/vnd.in-toto+json";

/// What is to be signed.
#[derive(Clone, Debug)]
pub struct Content {
    /// The bytes under the signature: the message, or the PAE of an envelope.
    pub message: Vec<u8>,
    /// Payload and its type, for an envelope.
    pub envelope: Option<(Vec<u8>, String)>,
}

impl Content {
    /// An envelope (DSSE protocol, "PAE").
    pub fn envelope(payload: Vec<u8>, kind: &str) -> Self {
        let head = format!("DSSEv1 {} {kind} {} ", kind.len(), payload.len());
        let message = [head.as_bytes(), &payload].concat();
        Self { message, envelope: Some((payload, kind.to_owned())) }
    }

    /// A message.
    pub const fn message(message: Vec<u8>) -> Self {
        Self { message, envelope: None }
    }
}

/// A signer's key, with a certificate where the signer has no key of its own.
#[derive(Debug)]
pub struct Credential<'a> {
    own: Option<&'a Key>,
    ephemeral: Option<Key>,
    /// The certificate, or what stands in its place.
    pub certificate: Option<Vec<u8>>,
    /// Whether [`Credential::certificate`] is a certificate.
    pub certified: bool,
    /// Certificates above it.
    pub chain: Vec<Vec<u8>>,
}

impl Credential<'_> {
    /// The key.
    ///
    /// # Panics
    /// Never: one of the two is always there.
    pub fn key(&self) -> &Key {
        self.own.or(self.ephemeral.as_ref()).unwrap()
    }

    /// Certificate or public key as PEM.
    pub fn pem(&self) -> String {
        match &self.certificate {
            Some(der) if self.certified => der::pem("CERTIFICATE", der),
            _ => self.key().public_pem(),
        }
    }
}

/// Everything but the format.
#[derive(Debug)]
pub struct Made<'a> {
    /// Key and certificate.
    pub credential: Credential<'a>,
    /// The signature.
    pub signature: Vec<u8>,
    /// Log entries.
    pub entries: Vec<Entry>,
    /// RFC 3161 responses.
    pub timestamps: Vec<Vec<u8>>,
}

impl Made<'_> {
    /// The log entries as Rekor's API of version 1 gives them.
    pub fn api_entries(&self) -> Vec<serde_json::Value> {
        self.entries.iter().map(Entry::api_json).collect()
    }
}

/// Where evidence goes: what has no room in it cannot be forged there.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Room {
    /// A bundle holds everything.
    Bundle,
    /// Classic annotations hold one promise and one timestamp.
    Classic,
}

impl<'a> Signing<'a> {
    /// The statement about `digest`, and its type.
    pub(super) fn statement(&self, digest: &Digest) -> Content {
        let subject = |digest: &Digest| json!({ "digest": { "sha256": digest.hex() } });
        let mut subjects: Vec<_> = (0..self.other_subjects)
            .map(|number| subject(&Digest::sha256_of(&number.to_be_bytes())))
            .collect();
        subjects.push(subject(&self.named(digest)));
        let kind = if self.forges(Part::PredicateType) {
            "https://example.com/another/v1"
        } else {
            &self.predicate.0
        };
        let statement = json!({
            "_type": "https://in-toto.io/Statement/v1",
            "subject": subjects,
            "predicateType": kind,
            "predicate": self.predicate.1,
        });
        let payload = self.misread(statement.to_string());
        let forged = self.forges(Part::PayloadType);
        Content::envelope(payload, if forged { "text/plain" } else { IN_TOTO })
    }

    /// The simple-signing payload about `digest`.
    pub(super) fn simple_signing(&self, digest: &Digest) -> Content {
        let forged = self.forges(Part::PredicateType);
        let payload = json!({
            "critical": {
                "identity": { "docker-reference": "registry.virtual.test/app" },
                "image": { "docker-manifest-digest": self.named(digest).to_string() },
                "type": if forged { "another" } else { "cosign container image signature" },
            },
            "optional": null,
        });
        Content::message(self.misread(payload.to_string()))
    }

    fn named(&self, digest: &Digest) -> Digest {
        if self.forges(Part::PayloadDigest) { another_image() } else { digest.clone() }
    }

    fn misread(&self, text: String) -> Vec<u8> {
        if self.forges(Part::PayloadNotJson) {
            b"no JSON at all".to_vec()
        } else if self.forges(Part::PayloadJsonString) {
            serde_json::Value::String(text).to_string().into_bytes()
        } else {
            text.into_bytes()
        }
    }

    /// Signs `content`, logs and stamps the signature.
    pub(super) fn make(&self, content: &Content, room: Room) -> Made<'a> {
        let in_future = self.forges(Part::SigningTimeInFuture);
        let at = if in_future { self.at + (50 * 365 * 24).hours() } else { self.at };
        let credential = self.credential(at);
        let signature = self.signature(credential.key(), &content.message);
        let submission = Submission {
            algorithm: credential.key().algorithm(),
            message: content.message.clone(),
            envelope: content.envelope.clone(),
            signature: signature.clone(),
            verifier_pem: credential.pem(),
            verifier: match &credential.certificate {
                Some(der) => der.clone(),
                None => credential.key().spki().to_vec(),
            },
            certified: credential.certified,
        };
        let mut entries = Vec::new();
        for log in &self.logs {
            let entry = self.entry(*log, &submission, &credential, at, room);
            let copies = if room == Room::Bundle { self.entry_copies() } else { 1 };
            entries.extend(vec![entry; copies]);
        }
        let timestamps = self.stamps(&signature, at, room);
        Made { credential, signature, entries, timestamps }
    }

    fn entry_copies(&self) -> usize {
        self.copies(|part| match part {
            Part::LogEntryCopies(count) => Some(count),
            _ => None,
        })
    }

    fn credential(&self, at: Timestamp) -> Credential<'a> {
        let (request, algorithm) = match &self.signer {
            Signer::Keyed(key) => {
                return Credential {
                    own: Some(key),
                    ephemeral: None,
                    certificate: None,
                    certified: false,
                    chain: Vec::new(),
                };
            }
            Signer::Keyless(request, algorithm) => (request, *algorithm),
        };
        let key = Key::generate(algorithm);
        let mut request = request.clone();
        request.code_signing &= !self.forges(Part::CertificateWithoutCodeSigning);
        request.digital_signature &= !self.forges(Part::CertificateWithoutDigitalSignature);
        request.scts = self.scts(request.scts);
        let expired = self.forges(Part::CertificateExpired);
        let from = if expired { at - 1.hour() } else { at };
        let fulcio = self.fulcio();
        let raw = self.forges(Part::RawKeyForCertificate);
        let certificate =
            if raw { key.spki().to_vec() } else { self.issue(fulcio, &request, &key, from) };
        Credential {
            own: None,
            ephemeral: Some(key),
            certificate: Some(certificate),
            certified: !raw,
            chain: vec![fulcio.intermediate.certificate.clone()],
        }
    }

    /// A certificate under `fulcio` for `key`, with promises of the current CT log.
    pub(super) fn issue(
        &self,
        fulcio: &Fulcio,
        request: &super::fulcio::Request,
        key: &Key,
        from: Timestamp,
    ) -> Vec<u8> {
        let logs = (&self.sigstore.current.ct_log, &self.sigstore.foreign.ct_log);
        fulcio.issue(request, key.spki(), from, logs.0, logs.1)
    }

    fn fulcio(&self) -> &'a Fulcio {
        let sigstore = self.sigstore;
        if self.forges(Part::CertificateOfAnotherAuthority) {
            &sigstore.foreign.fulcio
        } else if self.forges(Part::AuthorityWindowOver) {
            &sigstore.retired.fulcio
        } else if self.forges(Part::IntermediateExpired) {
            &sigstore.lapsed
        } else {
            &sigstore.current.fulcio
        }
    }

    fn scts(&self, asked: Scts) -> Scts {
        let forgeries = [
            (Part::SctAbsent, Scts::Absent),
            (Part::SctWrongKey, Scts::ForeignKey),
            (Part::SctTampered, Scts::Tampered),
            (Part::SctUnknownLog, Scts::UnknownLog),
        ];
        let forged = forgeries.into_iter().find(|(part, _)| self.forges(*part));
        forged.map_or(asked, |(_, scts)| scts)
    }

    fn signature(&self, key: &Key, message: &[u8]) -> Vec<u8> {
        let mut signature = if self.forges(Part::SignatureByAnotherKey) {
            Key::generate(key.algorithm()).sign(message)
        } else {
            key.sign(message)
        };
        if self.forges(Part::SignatureBytes) {
            flip(&mut signature);
        }
        signature
    }

    fn entry(
        &self,
        log: Log,
        honest: &Submission,
        credential: &Credential<'_>,
        at: Timestamp,
        room: Room,
    ) -> Entry {
        let submission = self.forge_submission(honest.clone(), credential, at);
        let mut body = match log {
            Log::RekorV1 | Log::SecondRekorV1 => submission.rekor_v1(false),
            Log::RekorV1Intoto => submission.rekor_v1(true),
            Log::RekorV1Oldest => submission.oldest(),
            Log::RekorV2 | Log::SecondRekorV2 => submission.rekor_v2(),
        };
        if self.forges(Part::LogKindUnknown) {
            body.kind = "alpine";
            body.value["kind"] = json!("alpine");
        }
        let mut bytes = body.value.to_string().into_bytes();
        if self.forges(Part::LogBodyMalformed) {
            bytes.truncate(bytes.len() / 2);
        }
        let entry = self.rekor(log).append(bytes, body.kind, body.version, at + 30.seconds());
        self.forge_entry(entry, log, room)
    }

    fn rekor(&self, log: Log) -> &'a RekorLog {
        let sigstore = self.sigstore;
        let pick = |instance: &'a Instance| match log {
            Log::RekorV1 | Log::RekorV1Intoto | Log::RekorV1Oldest | Log::SecondRekorV1 => {
                &instance.rekor_v1
            }
            Log::RekorV2 | Log::SecondRekorV2 => &instance.rekor_v2,
        };
        if self.forges(Part::LogUnknown) {
            pick(&sigstore.foreign)
        } else if self.forges(Part::LogKeyWindowOver) {
            pick(&sigstore.retired)
        } else if matches!(log, Log::SecondRekorV1 | Log::SecondRekorV2) {
            pick(&sigstore.second)
        } else {
            pick(&sigstore.current)
        }
    }

    fn stamps(&self, signature: &[u8], at: Timestamp, room: Room) -> Vec<Vec<u8>> {
        let mut tokens = Vec::new();
        for number in 0..self.timestamps {
            let late = self.forges(Part::TimestampAfterCertificate);
            let delay = if late { 70.minutes() } else { 20.seconds() };
            let time = at + delay + jiff::SignedDuration::from_secs(number as i64);
            let token = self.stamp(signature, time);
            let copies = if room == Room::Bundle { self.stamp_copies() } else { 1 };
            tokens.extend(vec![token; copies]);
        }
        for number in 0..self.second_timestamps {
            let time = at + jiff::SignedDuration::from_secs(40 + number as i64);
            tokens.push(self.sigstore.second.tsa.stamp(signature, time, self.tsa_certificate));
        }
        tokens
    }

    fn stamp_copies(&self) -> usize {
        self.copies(|part| match part {
            Part::TimestampCopies(count) => Some(count),
            _ => None,
        })
    }

    fn stamp(&self, signature: &[u8], time: Timestamp) -> Vec<u8> {
        let sigstore = self.sigstore;
        let tsa = &sigstore.current.tsa;
        if self.forges(Part::TimestampGarbage) {
            return b"no timestamp at all".to_vec();
        }
        if self.forges(Part::TimestampForgedCertificate) {
            return tsa.stamp_forged(&sigstore.foreign.tsa, signature, time);
        }
        if self.forges(Part::TimestampOfSibling) {
            return tsa.stamp_sibling(signature, time);
        }
        let issuer = if self.forges(Part::TimestampOfUnknownAuthority) {
            &sigstore.foreign.tsa
        } else if self.forges(Part::TimestampOutsideWindow) {
            &sigstore.retired.tsa
        } else {
            tsa
        };
        let other = self.forges(Part::TimestampOfAnotherSignature);
        let stamped = if other { b"another signature" } else { signature };
        issuer.stamp(stamped, time, self.tsa_certificate)
    }
}

/// The digest that forged payloads name.
pub fn another_image() -> Digest {
    Digest::sha256_of(b"the manifest of another image")
}

/// A signature over `message` by a key that nobody knows.
pub fn stranger_signature(message: &[u8]) -> Vec<u8> {
    Key::generate(Algorithm::P256).sign(message)
}
