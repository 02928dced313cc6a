//! Every bound on what evidence may hold, from both sides: what is at it gets the verdict that it
//! deserves otherwise, one more is refused by name.
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use serde_json::json;
use tegata::evidence::Content;
use tegata::evidence::annotation;
use tegata::verify::HashAlgorithm;
use tegata::verify::KeyError;
use tegata::verify::MAX_BUNDLE_BYTES;
use tegata::verify::MAX_PAYLOAD_BYTES;

use super::*;
use crate::virtual_sigstore::ClassicSignature;
use crate::virtual_sigstore::San;
use crate::virtual_sigstore::SignedBundle;
use crate::virtual_sigstore::der;

const VERIFIED: &str = "verified";
const TOO_LARGE: &str = "evidence-too-large";

/// An instance, and what is asked of its signatures.
struct Fixture {
    sigstore: VirtualSigstore,
    root: TrustRoot,
}

impl Fixture {
    fn new() -> Self {
        let sigstore = VirtualSigstore::new(start());
        let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
        Self { sigstore, root }
    }

    fn alice(&self) -> Signing<'_> {
        self.sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1)
    }

    /// A bundle of Alice's, changed after signing.
    fn bundle(&self, version: Version, change: impl FnOnce(&mut Value)) -> String {
        let mut signed = self.alice().timestamp(1).bundle(version).sign(&image());
        change(&mut signed.bundle);
        self.answer(&signed)
    }

    fn answer(&self, signed: &SignedBundle) -> String {
        self.keyless(&signed.candidate())
    }

    fn classic(&self, signed: &ClassicSignature) -> String {
        self.keyless(&signed.candidate())
    }

    fn keyless(&self, candidate: &Candidate) -> String {
        let asked = Asked { root: &self.root, key: None, demands: LOGGED };
        reason(verify(candidate, &asked))
    }

    fn keyed(&self, key: &Key, candidate: &Candidate) -> String {
        let public = PublicKey::from_pem(&key.public_pem(), None).unwrap().remove(0);
        let asked = Asked { root: &self.root, key: Some(&public), demands: OPTIONAL };
        reason(verify(candidate, &asked))
    }
}

#[test]
fn bytes_of_a_bundle() {
    let fixture = Fixture::new();
    for (length, wanted) in [(MAX_BUNDLE_BYTES, VERIFIED), (MAX_BUNDLE_BYTES + 1, TOO_LARGE)] {
        let mut candidate = fixture.alice().bundle(Version::V03).sign(&image()).candidate();
        let Ok(Content::Bundle(bytes)) = &mut candidate.content else { panic!() };
        let mut padded = bytes.to_vec();
        padded.resize(length, b' ');
        *bytes = padded.into();
        assert_eq!(fixture.keyless(&candidate), wanted, "{length}");
    }
}

#[test]
fn log_entries_and_timestamps() {
    let fixture = Fixture::new();
    for (part, wanted) in [
        (Part::LogEntryCopies(MAX_LOG_ENTRIES), VERIFIED),
        (Part::LogEntryCopies(MAX_LOG_ENTRIES + 1), TOO_LARGE),
        (Part::TimestampCopies(MAX_TIMESTAMPS), VERIFIED),
        (Part::TimestampCopies(MAX_TIMESTAMPS + 1), TOO_LARGE),
    ] {
        let signed = fixture.alice().timestamp(1).tamper(part).bundle(Version::V03).sign(&image());
        assert_eq!(fixture.answer(&signed), wanted, "{part:?}");
    }
    // The same for ones that differ, each of which is verified.
    for (count, wanted) in [(MAX_TIMESTAMPS, VERIFIED), (MAX_TIMESTAMPS + 1, TOO_LARGE)] {
        let signed = fixture.alice().timestamp(count).bundle(Version::V03).sign(&image());
        assert_eq!(fixture.answer(&signed), wanted, "{count}");
    }
}

#[test]
fn hashes_of_an_inclusion_proof() {
    let fixture = Fixture::new();
    for (count, wanted) in [(64, "inclusion-proof-invalid"), (65, TOO_LARGE)] {
        let found = fixture.bundle(Version::V03, |bundle| {
            let proof =
                &mut bundle["verificationMaterial"]["tlogEntries"][0]["inclusionProof"]["hashes"];
            *proof = json!(vec![STANDARD.encode([0; 32]); count]);
        });
        assert_eq!(found, wanted, "{count}");
    }
}

/// Signatures of witnesses nobody knows fill the note up.
#[test]
fn bytes_of_a_checkpoint() {
    let fixture = Fixture::new();
    for (length, wanted) in [(16 * 1024, VERIFIED), (16 * 1024 + 1, TOO_LARGE)] {
        let found = fixture.bundle(Version::V03, |bundle| {
            let note = bundle
                .pointer_mut(
                    "/verificationMaterial/tlogEntries/0/inclusionProof/checkpoint/envelope",
                )
                .unwrap();
            let mut text = note.as_str().unwrap().to_owned();
            let line = |name: usize| format!("\u{2014} {} {}\n", "w".repeat(name), "A".repeat(96));
            while text.len() + 3 * line(1).len() < length {
                text.push_str(&line(1));
            }
            text.push_str(&line(length - text.len() - line(0).len()));
            assert_eq!(text.len(), length);
            *note = json!(text);
        });
        assert_eq!(found, wanted, "{length}");
    }
}

#[test]
fn certificates_that_are_brought_along() {
    let fixture = Fixture::new();
    for (count, wanted) in [(8, VERIFIED), (9, TOO_LARGE)] {
        let found = fixture.bundle(Version::V01, |bundle| {
            let chain = bundle
                .pointer_mut("/verificationMaterial/x509CertificateChain/certificates")
                .and_then(Value::as_array_mut)
                .unwrap();
            let intermediate = chain[1].clone();
            chain.resize(count, intermediate);
        });
        assert_eq!(found, wanted, "{count} in a bundle");
        let mut signed = fixture.alice().chain_annotation().classic().sign(&image());
        let chain = signed.annotations.get_mut(annotation::CHAIN).unwrap();
        *chain = chain.repeat(count - 1);
        assert_eq!(fixture.classic(&signed), wanted, "{count} in annotations");
    }
}

/// A long claim makes a long certificate. Its signatures vary by some bytes from one to the next.
#[test]
fn bytes_of_a_certificate() {
    let fixture = Fixture::new();
    let sign = |claim: usize| {
        let alice = fixture.alice().claim(21, &"x".repeat(claim));
        alice.bundle(Version::V03).sign(&image())
    };
    let length = |signed: &SignedBundle| signed.certificate.as_ref().unwrap().len();
    for (wanted_length, wanted) in [(16 * 1024, VERIFIED), (16 * 1024 + 1, TOO_LARGE)] {
        let claim = 15_000;
        let claim = claim + wanted_length - length(&sign(claim));
        let signed = (0..500).map(|_| sign(claim)).find(|signed| length(signed) == wanted_length);
        assert_eq!(fixture.answer(&signed.unwrap()), wanted, "{wanted_length}");
    }
}

#[test]
fn names_in_a_certificate() {
    let fixture = Fixture::new();
    for (count, wanted) in [(16, VERIFIED), (17, "certificate-malformed")] {
        let names: Vec<San> = (0..count).map(|n| San::Email(format!("a{n}@example.com"))).collect();
        let signed = fixture.alice().sans(&names).bundle(Version::V03).sign(&image());
        assert_eq!(fixture.answer(&signed), wanted, "{count}");
    }
}

#[test]
fn bytes_of_a_timestamp() {
    let fixture = Fixture::new();
    for (length, wanted) in [(64 * 1024, "timestamp-invalid"), (64 * 1024 + 1, TOO_LARGE)] {
        let token = STANDARD.encode(vec![0x30; length]);
        let found = fixture.bundle(Version::V03, |bundle| {
            let stamps = &mut bundle["verificationMaterial"]["timestampVerificationData"];
            stamps["rfc3161Timestamps"][0]["signedTimestamp"] = json!(token);
        });
        assert_eq!(found, wanted, "{length} in a bundle");
        let mut signed = fixture.alice().timestamp(1).classic().sign(&image());
        let stamp = json!({ "SignedRFC3161Timestamp": token }).to_string();
        signed.annotations.insert(annotation::TIMESTAMP.to_owned(), stamp);
        assert_eq!(fixture.classic(&signed), wanted, "{length} in annotations");
    }
}

#[test]
fn bytes_of_a_classic_payload_and_of_its_annotations() {
    let fixture = Fixture::new();
    let key = Key::generate(Algorithm::P256);
    for (length, wanted) in [(MAX_PAYLOAD_BYTES, VERIFIED), (MAX_PAYLOAD_BYTES + 1, TOO_LARGE)] {
        let mut signed = fixture.sigstore.keyed(&key).classic().sign(&image());
        signed.payload.resize(length, b' ');
        let signature = STANDARD.encode(key.sign(&signed.payload));
        signed.annotations.insert(annotation::SIGNATURE.to_owned(), signature);
        assert_eq!(fixture.keyed(&key, &signed.candidate()), wanted, "{length}");
    }
    for (length, wanted) in [(MAX_BUNDLE_BYTES, VERIFIED), (MAX_BUNDLE_BYTES + 1, TOO_LARGE)] {
        let mut signed = fixture.sigstore.keyed(&key).classic().sign(&image());
        let annotations = signed.annotations.iter();
        let rest: usize = annotations.map(|(name, value)| name.len() + value.len()).sum();
        signed.annotations.insert("note".to_owned(), "x".repeat(length - rest - "note".len()));
        assert_eq!(fixture.keyed(&key, &signed.candidate()), wanted, "{length}");
    }
}

/// Bytes alone bound no memory: so many values, in a bundle as in what it signs.
#[test]
fn values_of_a_document() {
    /// `tegata::json` has it, and shows it to nobody.
    const MOST: usize = 32 << 10;
    fn count(value: &Value) -> usize {
        1 + match value {
            Value::Array(items) => items.iter().map(count).sum(),
            Value::Object(fields) => fields.values().map(count).sum(),
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => 0,
        }
    }
    let fixture = Fixture::new();
    for (values, wanted) in [(MOST, VERIFIED), (MOST + 1, "evidence-malformed")] {
        let found = fixture.bundle(Version::V03, |bundle| {
            let rest = count(bundle);
            bundle["padding"] = json!(vec![0; values - rest - 1]);
            assert_eq!(count(bundle), values);
        });
        assert_eq!(found, wanted, "{values} in a bundle");
    }
    // The statement around the predicate has its type, subject, digests and hash, predicate's type.
    let around = 1 + 1 + 1 + 1 + 1 + 1 + 1;
    for (values, wanted) in [(MOST, VERIFIED), (MOST + 1, "payload-malformed")] {
        let predicate = json!(vec![0; values - around - 1]);
        let signing = fixture.alice().predicate(tegata::verify::SIGN_PREDICATE_TYPE, predicate);
        let signed = signing.bundle(Version::V03).sign(&image());
        assert_eq!(fixture.answer(&signed), wanted, "{values} in a statement");
    }
}

#[test]
fn keys_of_a_policy() {
    let pem = Key::generate(Algorithm::P256).public_pem();
    let read = |text: &str| PublicKey::from_pem(text, Some(HashAlgorithm::Sha256));
    assert_eq!(read(&pem.repeat(16)).unwrap().len(), 16);
    let error = read(&pem.repeat(17)).unwrap_err();
    assert_eq!(error, KeyError { problem: "more than 16 keys".to_owned() });
    let padded = |length: usize| format!("{pem}{}", "\n".repeat(length - pem.len()));
    assert_eq!(read(&padded(128 * 1024)).unwrap().len(), 1);
    let error = read(&padded(128 * 1024 + 1)).unwrap_err();
    assert_eq!(error.problem, "131073 bytes; the limit is 131072");
}

#[test]
fn bits_of_an_rsa_key() {
    let read = |bits: usize| {
        let mut modulus = vec![0xff; bits.div_ceil(8)];
        modulus[0] >>= modulus.len() * 8 - bits;
        let key = der::sequence(&[der::integer(&modulus), der::integer(&[1, 0, 1])]);
        let algorithm = der::sequence(&[der::oid("1.2.840.113549.1.1.1"), der::element(5, &[])]);
        let spki = der::sequence(&[algorithm, der::bit_string(&key)]);
        PublicKey::from_der(&spki, None).map(drop).map_err(|error| error.problem)
    };
    let refused = |bits| Err(format!("RSA key of {bits} bits; wanted 2048 to 8192"));
    assert_eq!(read(2047), refused(2047));
    assert_eq!(read(2048), Ok(()));
    assert_eq!(read(8192), Ok(()));
    assert_eq!(read(8193), refused(8193));
}
