//! Classic attestations: every part forged, and what their envelopes may not hold.
use serde_json::json;
use tegata::evidence::Content;
use tegata::verify::MAX_BUNDLE_BYTES;
use tegata::verify::MAX_SUBJECTS;

use super::*;

/// Parts of a certificate's attestation, whatever the kind of its log entry.
const PARTS: &[(Part, Reason)] = &[
    (Part::SignatureBytes, Reason::SignatureInvalid),
    (Part::SignatureByAnotherKey, Reason::SignatureInvalid),
    (Part::Payload, Reason::SignatureInvalid),
    (Part::PayloadDigest, Reason::PayloadDigestMismatch),
    (Part::PayloadNotJson, Reason::PayloadMalformed),
    (Part::PayloadJsonString, Reason::PayloadMalformed),
    (Part::PayloadType, Reason::EvidenceUnsupported),
    (Part::PredicateType, Reason::PredicateTypeUnexpected),
    (Part::NoSignatures, Reason::EvidenceMalformed),
    (Part::TwoSignatures, Reason::EvidenceMalformed),
    (Part::NoCertificates, Reason::CertificateAbsent),
    (Part::LogEntryOfAnotherSignature, Reason::LogEntryMismatch),
    (Part::LogEntryOfAnotherCertificate, Reason::LogEntryMismatch),
    (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
    (Part::LogEntryOfAnotherImage, Reason::LogEntryMismatch),
    (Part::LogBodyMalformed, Reason::LogEntryMalformed),
    (Part::LogKindUnknown, Reason::EvidenceUnsupported),
    (Part::LogUnknown, Reason::LogUnknown),
    (Part::LogKeyWindowOver, Reason::LogKeyOutsideWindow),
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
];

#[test]
fn rejects_every_forged_part_of_a_classic_attestation() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    let mut table = Table::default();
    for log in [Log::RekorV1, Log::RekorV1Intoto, Log::RekorV1Oldest] {
        let signing = || sigstore.keyless(ALICE, ISSUER).log(log).timestamp(1);
        let honest = pack(signing(), Packed::Attestation, &image());
        assert_eq!(reason(verify(&honest, &asked)), "verified", "{log:?}");
        table.each(PARTS, Packed::Attestation, &asked, signing);
    }
    table.finish();
}

#[test]
fn rejects_every_forged_part_of_a_keyed_attestation() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let mut table = Table::default();
    for (algorithm, log) in [
        (Algorithm::P256, Log::RekorV1),
        (Algorithm::Rsa, Log::RekorV1),
        (Algorithm::P256, Log::RekorV1Oldest),
        (Algorithm::Ed25519, Log::RekorV1Oldest),
    ] {
        let key = Key::generate(algorithm);
        let public = PublicKey::from_pem(&key.public_pem(), None).unwrap().remove(0);
        let asked = Asked { root: &root, key: Some(&public), demands: LOGGED };
        let signing = || sigstore.keyed(&key).log(log);
        let honest = pack(signing(), Packed::Attestation, &image());
        assert_eq!(reason(verify(&honest, &asked)), "verified", "{algorithm:?}");
        let parts = [
            (Part::SignatureBytes, Reason::SignatureInvalid),
            (Part::SignatureByAnotherKey, Reason::SignatureInvalid),
            (Part::Payload, Reason::SignatureInvalid),
            (Part::PayloadDigest, Reason::PayloadDigestMismatch),
            (Part::LogEntryOfAnotherSignature, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherKey, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
            (Part::LogEntryOfAnotherImage, Reason::LogEntryMismatch),
            (Part::LogUnknown, Reason::LogUnknown),
            (Part::PromiseBytes, Reason::InclusionPromiseInvalid),
        ];
        table.each(&parts, Packed::Attestation, &asked, signing);
    }
    table.finish();
}

/// The reason for an envelope that was changed after signing.
fn changed(change: impl FnOnce(&mut serde_json::Value)) -> String {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    let signing = sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1);
    let mut candidate = pack(signing, Packed::Attestation, &image());
    let Ok(Content::Envelope { envelope, .. }) = &mut candidate.content else { panic!() };
    let mut document = serde_json::from_slice(envelope).unwrap();
    change(&mut document);
    *envelope = document.to_string().into_bytes().into();
    reason(verify(&candidate, &asked))
}

#[test]
fn rejects_envelopes_beyond_a_bound_and_keeps_those_at_it() {
    let padded = |size: usize| {
        changed(|envelope| {
            let rest = envelope.to_string().len();
            envelope["padding"] = json!("x".repeat(size - rest - r#","padding":"""#.len()));
            assert_eq!(envelope.to_string().len(), size);
        })
    };
    assert_eq!(padded(MAX_BUNDLE_BYTES), "verified");
    assert_eq!(padded(MAX_BUNDLE_BYTES + 1), "evidence-too-large");
}

#[test]
fn rejects_too_many_subjects_and_finds_the_image_among_as_many_as_may_be() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    for (others, wanted) in
        [(1, "verified"), (MAX_SUBJECTS - 1, "verified"), (MAX_SUBJECTS, "evidence-too-large")]
    {
        let signing = sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1).other_subjects(others);
        let candidate = pack(signing, Packed::Attestation, &image());
        assert_eq!(reason(verify(&candidate, &asked)), wanted, "{others}");
    }
}

#[test]
fn the_statement_that_is_handed_on_is_the_one_that_was_signed() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    let signing = sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1);
    let signed = signing.classic().attest(&image());
    let envelope: serde_json::Value = serde_json::from_slice(&signed.payload).unwrap();
    use base64::Engine as _;
    let payload = envelope["payload"].as_str().unwrap();
    let payload = base64::engine::general_purpose::STANDARD.decode(payload).unwrap();
    let verified = verify(&signed.candidate(), &asked).unwrap();
    assert_eq!(verified.statement(), Some(payload.as_slice()));
    // A second payload beside the first is another envelope, not another reading of it.
    assert_eq!(changed(|envelope| envelope["payloadtype"] = json!("x")), "verified");
    assert_eq!(changed(|envelope| envelope["payload"] = json!("e30=")), "payload-malformed");
}
