//! Every single part of a signature, forged: each ends at its own step, with its own reason.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use jiff::Timestamp;
use jiff::ToSpan as _;
use tegata::evidence::Candidate;
use tegata::image::Digest;
use tegata::policy::Demands;
use tegata::policy::LogDemand;
use tegata::policy::PayloadKind;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Failure;
use tegata::verdict::Reason;
use tegata::verdict::StepOutcome;
use tegata::verify::MAX_LOG_ENTRIES;
use tegata::verify::MAX_TIMESTAMPS;
use tegata::verify::PublicKey;
use tegata::verify::Question;
use tegata::verify::VerifiedSignature;

use self::virtual_sigstore::Algorithm;
use self::virtual_sigstore::Key;
use self::virtual_sigstore::Log;
use self::virtual_sigstore::Part;
use self::virtual_sigstore::Signing;
use self::virtual_sigstore::Version;
use self::virtual_sigstore::VirtualSigstore;

#[path = "forgeries/attestation.rs"]
mod attestation;
#[path = "forgeries/bounds.rs"]
mod bounds;
#[path = "forgeries/missing.rs"]
mod missing;
#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

const ALICE: &str = "alice@example.com";
const ISSUER: &str = "https://issuer.example";
const OPTIONAL: Demands = Demands::new(LogDemand::Optional, false);
const LOGGED: Demands = Demands::new(LogDemand::Entry, false);

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn image() -> Digest {
    Digest::sha256_of(b"an image manifest")
}

/// How a signature is packed.
#[derive(Clone, Copy, Debug)]
enum Packed {
    Attestation,
    Bundle(Version),
    Classic,
}

fn pack(signing: Signing<'_>, packed: Packed, digest: &Digest) -> Candidate {
    match packed {
        Packed::Attestation => signing.classic().attest(digest).candidate(),
        Packed::Bundle(version) => signing.bundle(version).sign(digest).candidate(),
        Packed::Classic => signing.classic().sign(digest).candidate(),
    }
}

struct Asked<'a> {
    root: &'a TrustRoot,
    key: Option<&'a PublicKey>,
    demands: Demands,
}

/// Verifies, and holds the explanation to its form on the way.
fn verify(candidate: &Candidate, asked: &Asked<'_>) -> Result<VerifiedSignature, Failure> {
    let examined = tegata::verify::verify(
        candidate,
        &Question {
            digest: &image(),
            key: asked.key,
            demands: asked.demands,
            payload: &PayloadKind::Signature,
            trust_root: asked.root,
            now: start() + 24.hours(),
        },
    );
    let steps = &examined.steps;
    assert!(steps.is_sorted_by_key(|step| step.step), "{steps:?}");
    let failed: Vec<_> = steps.iter().filter(|step| step.outcome == StepOutcome::Failed).collect();
    match &examined.result {
        Ok(_) => assert!(failed.is_empty() && steps.len() == 6, "{steps:?}"),
        Err(failure) => {
            assert_eq!(failed.len(), 1, "{steps:?}");
            assert_eq!(failed[0].reason, Some(failure.reason));
            let same = steps.iter().filter(|step| step.step == failed[0].step);
            assert_eq!(same.count(), 1, "{steps:?}");
        }
    }
    examined.result
}

fn reason(result: Result<VerifiedSignature, Failure>) -> String {
    result.map_or_else(|failure| failure.reason.code().to_owned(), |_| "verified".to_owned())
}

/// Collects what differs, so that one run shows the whole table.
#[derive(Default)]
struct Table(Vec<String>);

impl Table {
    fn expect(&mut self, row: String, found: Result<VerifiedSignature, Failure>, wanted: Reason) {
        let detail = found.as_ref().err().map(|f| f.found.clone()).unwrap_or_default();
        let found = reason(found);
        if found != wanted.code() {
            self.0.push(format!("{row}: {found} ({detail}), wanted {wanted}"));
        }
    }

    /// A keyless signature for each part, forged in it.
    fn each<'a>(
        &mut self,
        parts: &[(Part, Reason)],
        packed: Packed,
        asked: &Asked<'_>,
        signing: impl Fn() -> Signing<'a>,
    ) {
        for (part, wanted) in parts {
            let candidate = pack(signing().tamper(*part), packed, &image());
            self.expect(format!("{part:?}"), verify(&candidate, asked), *wanted);
        }
    }

    fn finish(self) {
        assert!(self.0.is_empty(), "{} rows differ:\n{}", self.0.len(), self.0.join("\n"));
    }
}

#[test]
fn accepts_every_honest_combination() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    assert_eq!(root.problems(), &[] as &[String]);
    let mut bad = Vec::new();
    for packed in [
        Packed::Bundle(Version::V01),
        Packed::Bundle(Version::V02),
        Packed::Bundle(Version::V03),
        Packed::Classic,
    ] {
        for (log, timestamps) in [
            (Some(Log::RekorV1), 0),
            (Some(Log::RekorV1), 1),
            (Some(Log::RekorV1Intoto), 0),
            (Some(Log::RekorV2), 1),
            (None, 1),
        ] {
            let impossible = matches!(
                (packed, log),
                (Packed::Classic, Some(Log::RekorV2 | Log::RekorV1Intoto))
                    | (Packed::Bundle(Version::V01), Some(Log::RekorV2) | None)
            );
            if impossible {
                continue;
            }
            let signing = sigstore.keyless(ALICE, ISSUER).timestamp(timestamps);
            let signing = match log {
                Some(log) => signing.log(log),
                None => signing,
            };
            let candidate = pack(signing, packed, &image());
            let demands =
                if log.is_some() { LOGGED } else { Demands { timestamp: true, ..OPTIONAL } };
            let asked = Asked { root: &root, key: None, demands };
            match verify(&candidate, &asked) {
                Ok(verified) => assert!(!verified.signing_times().is_empty()),
                Err(failure) => {
                    bad.push(format!("{packed:?} {log:?}: {}: {failure}", failure.reason))
                }
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

#[test]
fn accepts_every_kind_of_key_with_and_without_a_log_entry() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let mut bad = Vec::new();
    for algorithm in [
        Algorithm::P256,
        Algorithm::P384,
        Algorithm::P521,
        Algorithm::Rsa,
        Algorithm::RsaPss,
        Algorithm::Ed25519,
    ] {
        let key = Key::generate(algorithm);
        let public = PublicKey::from_pem(&key.public_pem(), None).unwrap().remove(0);
        for packed in [Packed::Bundle(Version::V03), Packed::Classic] {
            for log in [None, Some(Log::RekorV1), Some(Log::RekorV2)] {
                if matches!((packed, log), (Packed::Classic, Some(Log::RekorV2))) {
                    continue;
                }
                let signing = sigstore.keyed(&key);
                let signing = match log {
                    Some(log) => signing.log(log).timestamp(1),
                    None => signing,
                };
                let candidate = pack(signing, packed, &image());
                let asked = Asked { root: &root, key: Some(&public), demands: OPTIONAL };
                if let Err(failure) = verify(&candidate, &asked) {
                    let reason = failure.reason;
                    bad.push(format!("{algorithm:?} {packed:?} {log:?}: {reason}: {failure}"));
                }
            }
        }
    }
    assert!(bad.is_empty(), "{}", bad.join("\n"));
}

/// What each forged part of a keyless bundle with a Rekor v1 entry and a timestamp ends in.
const KEYLESS: &[(Part, Reason)] = &[
    (Part::SignatureBytes, Reason::SignatureInvalid),
    (Part::SignatureByAnotherKey, Reason::SignatureInvalid),
    (Part::TwoSignatures, Reason::EvidenceMalformed),
    (Part::NoSignatures, Reason::EvidenceMalformed),
    (Part::Payload, Reason::SignatureInvalid),
    (Part::PayloadType, Reason::EvidenceUnsupported),
    (Part::PayloadDigest, Reason::PayloadDigestMismatch),
    (Part::PayloadNotJson, Reason::PayloadMalformed),
    (Part::PayloadJsonString, Reason::PayloadMalformed),
    (Part::PredicateType, Reason::PredicateTypeUnexpected),
    (Part::LogEntryOfAnotherSignature, Reason::LogEntryMismatch),
    (Part::LogEntryOfAnotherCertificate, Reason::LogEntryMismatch),
    (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
    (Part::LogEntryOfAnotherImage, Reason::LogEntryMismatch),
    (Part::LogBodyMalformed, Reason::LogEntryMalformed),
    (Part::LogKindUnknown, Reason::EvidenceUnsupported),
    (Part::LogUnknown, Reason::LogUnknown),
    (Part::LogKeyWindowOver, Reason::LogKeyOutsideWindow),
    (Part::LogIndex, Reason::InclusionPromiseInvalid),
    (Part::LogEntryCopies(MAX_LOG_ENTRIES + 1), Reason::EvidenceTooLarge),
    (Part::PromiseBytes, Reason::InclusionPromiseInvalid),
    (Part::IntegratedTime, Reason::InclusionPromiseInvalid),
    (Part::SigningTimeInFuture, Reason::SigningTimeInFuture),
    (Part::ProofAbsent, Reason::InclusionProofAbsent),
    (Part::ProofHash, Reason::InclusionProofInvalid),
    (Part::ProofOfAnotherLeaf, Reason::InclusionProofInvalid),
    (Part::CheckpointAbsent, Reason::CheckpointInvalid),
    (Part::CheckpointSignature, Reason::CheckpointInvalid),
    (Part::CheckpointRoot, Reason::CheckpointInvalid),
    (Part::CheckpointOfAnotherLog, Reason::CheckpointInvalid),
    (Part::LogId, Reason::InclusionPromiseInvalid),
    (Part::TimestampOfAnotherSignature, Reason::TimestampInvalid),
    (Part::TimestampOfUnknownAuthority, Reason::TimestampInvalid),
    (Part::TimestampOutsideWindow, Reason::TimestampOutsideWindow),
    (Part::TimestampOfSibling, Reason::TimestampInvalid),
    (Part::TimestampForgedCertificate, Reason::TimestampInvalid),
    (Part::TimestampGarbage, Reason::TimestampInvalid),
    (Part::TimestampCopies(MAX_TIMESTAMPS + 1), Reason::EvidenceTooLarge),
    (Part::TimestampCopies(1000), Reason::EvidenceTooLarge),
    (Part::TimestampAfterCertificate, Reason::SigningTimeOutsideCertificate),
    (Part::CertificateExpired, Reason::SigningTimeOutsideCertificate),
    (Part::CertificateOfAnotherAuthority, Reason::CertificateUntrusted),
    (Part::CertificateWithoutCodeSigning, Reason::CertificateUntrusted),
    (Part::CertificateWithoutDigitalSignature, Reason::CertificateUntrusted),
    (Part::SctAbsent, Reason::SctInvalid),
    (Part::SctWrongKey, Reason::SctInvalid),
    (Part::SctTampered, Reason::SctInvalid),
    (Part::SctUnknownLog, Reason::SctInvalid),
    (Part::RawKeyForCertificate, Reason::CertificateMalformed),
    (Part::NoCertificates, Reason::CertificateAbsent),
    (Part::IntermediateExpired, Reason::CertificateAuthorityExpired),
    (Part::AuthorityWindowOver, Reason::CertificateAuthorityExpired),
];

#[test]
fn rejects_every_forged_part_of_a_keyless_bundle() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    let mut table = Table::default();
    let signing = || sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1).timestamp(1);
    table.each(KEYLESS, Packed::Bundle(Version::V03), &asked, signing);
    table.finish();
}

#[test]
fn rejects_every_forged_part_of_an_intoto_entry() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    let mut table = Table::default();
    let signing = || sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1Intoto);
    table.each(
        &[
            (Part::LogEntryOfAnotherSignature, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherCertificate, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherImage, Reason::LogEntryMismatch),
            (Part::LogBodyMalformed, Reason::LogEntryMalformed),
        ],
        Packed::Bundle(Version::V03),
        &asked,
        signing,
    );
    table.finish();
}

#[test]
fn rejects_every_forged_part_of_a_rekor_v2_bundle() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    let mut table = Table::default();
    let signing = || sigstore.keyless(ALICE, ISSUER).log(Log::RekorV2).timestamp(1);
    table.each(
        &[
            (Part::LogEntryOfAnotherSignature, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherCertificate, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherImage, Reason::LogEntryMismatch),
            (Part::LogBodyMalformed, Reason::LogEntryMalformed),
            (Part::LogUnknown, Reason::LogUnknown),
            (Part::LogKeyWindowOver, Reason::LogKeyOutsideWindow),
            (Part::LogIndex, Reason::InclusionProofInvalid),
            (Part::ProofAbsent, Reason::InclusionProofAbsent),
            (Part::ProofHash, Reason::InclusionProofInvalid),
            (Part::ProofOfAnotherLeaf, Reason::InclusionProofInvalid),
            (Part::CheckpointSignature, Reason::CheckpointInvalid),
            (Part::CheckpointRoot, Reason::InclusionProofInvalid),
            (Part::TimestampOutsideWindow, Reason::TimestampOutsideWindow),
            (Part::TimestampAfterCertificate, Reason::SigningTimeOutsideCertificate),
            (Part::IntermediateExpired, Reason::CertificateAuthorityExpired),
            (Part::AuthorityWindowOver, Reason::CertificateAuthorityExpired),
        ],
        Packed::Bundle(Version::V03),
        &asked,
        signing,
    );
    let unstamped = sigstore.keyless(ALICE, ISSUER).log(Log::RekorV2);
    let candidate = pack(unstamped, Packed::Bundle(Version::V03), &image());
    table.expect("no timestamp".into(), verify(&candidate, &asked), Reason::TimestampAbsent);
    table.finish();
}

#[test]
fn rejects_every_forged_part_of_a_classic_signature() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    let mut table = Table::default();
    let signing = || sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1).timestamp(1);
    table.each(
        &[
            (Part::SignatureBytes, Reason::SignatureInvalid),
            (Part::SignatureByAnotherKey, Reason::SignatureInvalid),
            (Part::Payload, Reason::SignatureInvalid),
            (Part::PayloadDigest, Reason::PayloadDigestMismatch),
            (Part::PayloadNotJson, Reason::PayloadMalformed),
            (Part::PayloadJsonString, Reason::PayloadMalformed),
            (Part::PredicateType, Reason::PayloadMalformed),
            (Part::LogEntryOfAnotherSignature, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherCertificate, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherImage, Reason::LogEntryMismatch),
            (Part::LogBodyMalformed, Reason::LogEntryMalformed),
            (Part::LogKindUnknown, Reason::EvidenceUnsupported),
            (Part::LogUnknown, Reason::LogUnknown),
            (Part::LogKeyWindowOver, Reason::LogKeyOutsideWindow),
            (Part::LogId, Reason::InclusionPromiseInvalid),
            (Part::LogIndex, Reason::InclusionPromiseInvalid),
            (Part::PromiseBytes, Reason::InclusionPromiseInvalid),
            (Part::IntegratedTime, Reason::InclusionPromiseInvalid),
            (Part::SigningTimeInFuture, Reason::SigningTimeInFuture),
            (Part::TimestampOfAnotherSignature, Reason::TimestampInvalid),
            (Part::TimestampGarbage, Reason::TimestampInvalid),
            (Part::CertificateExpired, Reason::SigningTimeOutsideCertificate),
            (Part::CertificateOfAnotherAuthority, Reason::CertificateUntrusted),
            (Part::CertificateWithoutCodeSigning, Reason::CertificateUntrusted),
            (Part::CertificateWithoutDigitalSignature, Reason::CertificateUntrusted),
            (Part::SctAbsent, Reason::SctInvalid),
            (Part::SctWrongKey, Reason::SctInvalid),
            (Part::RawKeyForCertificate, Reason::CertificateMalformed),
            (Part::IntermediateExpired, Reason::CertificateAuthorityExpired),
            (Part::AuthorityWindowOver, Reason::CertificateAuthorityExpired),
        ],
        Packed::Classic,
        &asked,
        signing,
    );
    table.finish();
}

#[test]
fn rejects_every_forged_part_of_a_keyed_signature_whatever_the_key() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let mut table = Table::default();
    for algorithm in [
        Algorithm::P256,
        Algorithm::P384,
        Algorithm::P521,
        Algorithm::Rsa,
        Algorithm::RsaPss,
        Algorithm::Ed25519,
    ] {
        let key = Key::generate(algorithm);
        let public = PublicKey::from_pem(&key.public_pem(), None).unwrap().remove(0);
        let asked = Asked { root: &root, key: Some(&public), demands: LOGGED };
        for (part, wanted) in [
            (Part::SignatureBytes, Reason::SignatureInvalid),
            (Part::SignatureByAnotherKey, Reason::SignatureInvalid),
            (Part::Payload, Reason::SignatureInvalid),
            (Part::PayloadDigest, Reason::PayloadDigestMismatch),
            (Part::LogEntryOfAnotherSignature, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherKey, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherImage, Reason::LogEntryMismatch),
            (Part::LogBodyMalformed, Reason::LogEntryMalformed),
            (Part::LogUnknown, Reason::LogUnknown),
            (Part::LogKeyWindowOver, Reason::LogKeyOutsideWindow),
            (Part::PromiseBytes, Reason::InclusionPromiseInvalid),
            (Part::IntegratedTime, Reason::InclusionPromiseInvalid),
            (Part::SigningTimeInFuture, Reason::SigningTimeInFuture),
            (Part::ProofAbsent, Reason::InclusionProofAbsent),
            (Part::ProofHash, Reason::InclusionProofInvalid),
            (Part::ProofOfAnotherLeaf, Reason::InclusionProofInvalid),
            (Part::CheckpointSignature, Reason::CheckpointInvalid),
            (Part::CheckpointRoot, Reason::CheckpointInvalid),
            (Part::TimestampOfAnotherSignature, Reason::TimestampInvalid),
            (Part::TimestampOfUnknownAuthority, Reason::TimestampInvalid),
            (Part::TimestampOutsideWindow, Reason::TimestampOutsideWindow),
        ] {
            let signing = sigstore.keyed(&key).log(Log::RekorV1).timestamp(1).tamper(part);
            let candidate = pack(signing, Packed::Bundle(Version::V03), &image());
            let row = format!("{algorithm:?} {part:?}");
            table.expect(row, verify(&candidate, &asked), wanted);
        }
    }
    table.finish();
}
