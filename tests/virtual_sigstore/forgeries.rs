//! What becomes of each forgery under `sigstore-verify`.
use super::ALICE;
use super::Artifact;
use super::IMAGE;
use super::ISSUER;
use super::MANIFEST;
use super::adapt;
use super::image;
use super::sigstore;
use super::v1;
use super::v2;
use super::verify;
use super::virtual_sigstore::Algorithm;
use super::virtual_sigstore::Key;
use super::virtual_sigstore::Log;
use super::virtual_sigstore::Part;
use super::virtual_sigstore::Signing;
use super::virtual_sigstore::Version;
use super::virtual_sigstore::VirtualSigstore;

/// One description for each shape of evidence.
#[derive(Clone, Copy, Debug)]
enum Shape {
    StatementV1,
    StatementIntoto,
    StatementV2,
    MessageV1,
    MessageV2,
    Classic,
    KeyedStatementV1,
    KeyedStatementV2,
    KeyedClassic,
}

use self::Shape::*;

const STATEMENTS: &[Shape] =
    &[StatementV1, StatementIntoto, StatementV2, KeyedStatementV1, KeyedStatementV2];
const KEYLESS: &[Shape] =
    &[StatementV1, StatementIntoto, StatementV2, MessageV1, MessageV2, Classic];
const KEYED: &[Shape] = &[KeyedStatementV1, KeyedStatementV2, KeyedClassic];
const CLASSIC: &[Shape] = &[Classic, KeyedClassic];
const MESSAGES: &[Shape] = &[MessageV1, MessageV2];
const V1_BUNDLES: &[Shape] = &[StatementV1, StatementIntoto, MessageV1, KeyedStatementV1];
const V2: &[Shape] = &[StatementV2, MessageV2, KeyedStatementV2];
const V1: &[&[Shape]] = &[V1_BUNDLES, CLASSIC];
const BUNDLES: &[&[Shape]] = &[V1_BUNDLES, V2];
const ALL: &[&[Shape]] = &[KEYLESS, KEYED];
const STAMPED: &[&[Shape]] = &[&[StatementV1, MessageV1, Classic, KeyedStatementV1], V2];

/// The verifier's answer to `shape` with `part` forged.
fn forge(sigstore: &VirtualSigstore, root: &str, shape: Shape, part: Part) -> Result<(), String> {
    let key = Key::generate(Algorithm::P256);
    let keyed = |log| sigstore.keyed(&key).log(log);
    let statement = |signing: Signing<'_>, version, key| {
        let signed = signing.bundle(version).tamper(part).sign(&image());
        verify(root, &signed.bundle, &IMAGE, key)
    };
    let message = |signing: Signing<'_>, version| {
        let signed = signing.bundle(version).tamper(part).sign_message(MANIFEST);
        verify(root, &signed.bundle, &IMAGE, None)
    };
    let classic = |signing: Signing<'_>, key| {
        let signature = signing.classic().tamper(part).sign(&image());
        verify(root, &adapt(&signature), &Artifact::Bytes(&signature.payload), key)
    };
    let stamped = v1(sigstore).timestamp(1);
    match shape {
        StatementV1 => statement(stamped, Version::V03, None),
        StatementIntoto => {
            let signing = sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1Intoto);
            statement(signing, Version::V01, None)
        }
        StatementV2 => statement(v2(sigstore), Version::V03, None),
        MessageV1 => message(stamped, Version::V01),
        MessageV2 => message(v2(sigstore), Version::V03),
        Classic => classic(stamped, None),
        KeyedStatementV1 => statement(keyed(Log::RekorV1).timestamp(1), Version::V03, Some(&key)),
        KeyedStatementV2 => statement(keyed(Log::RekorV2).timestamp(1), Version::V03, Some(&key)),
        KeyedClassic => classic(keyed(Log::RekorV1), Some(&key)),
    }
}

/// Every forgery that is refused, where, and the words of the refusal.
#[rustfmt::skip]
const REFUSED: &[(Part, &[&[Shape]], &str)] = &[
    (Part::SignatureBytes, ALL, "invalid signature: "),
    (Part::SignatureByAnotherKey, ALL, "invalid signature: "),
    (Part::TwoSignatures, &[STATEMENTS], "exactly one signature, found 2"),
    (Part::NoSignatures, &[STATEMENTS], "exactly one signature, found 0"),
    (Part::Payload, &[STATEMENTS, CLASSIC], "invalid signature: "),
    (Part::PayloadType, &[STATEMENTS], "unsupported DSSE payload type"),
    (Part::PayloadDigest, &[STATEMENTS], "does not match any subject"),
    (Part::PayloadNotJson, &[STATEMENTS], "failed to parse in-toto statement"),
    (Part::PayloadJsonString, &[STATEMENTS], "failed to parse in-toto statement"),
    (Part::MessageDigest, &[MESSAGES], "message digest in bundle does not match"),
    (Part::LogEntryOfAnotherSignature, ALL, "log entry does not match the bundle: "),
    (Part::LogEntryOfAnotherKey, &[KEYED], "log entry does not match the bundle: "),
    (Part::LogEntryOfAnotherCertificate, &[&[StatementV1, StatementV2, Classic], MESSAGES], "log entry does not match the bundle: "),
    (Part::LogEntryOfAnotherDigest, &[&[StatementV1, StatementIntoto, KeyedStatementV1]], "payload hash"),
    (Part::LogEntryOfAnotherDigest, &[V2, CLASSIC, &[MessageV1]], "artifact hash mismatch for hashedrekord"),
    (Part::LogEntryOfAnotherImage, &[&[StatementV1, StatementIntoto, KeyedStatementV1]], "payload hash"),
    (Part::LogEntryOfAnotherImage, &[V2, CLASSIC, &[MessageV1]], "artifact hash mismatch for hashedrekord"),
    (Part::LogBodyMalformed, ALL, "failed to parse Rekor body"),
    (Part::LogKindUnknown, BUNDLES, "unsupported Rekor entry format: alpine"),
    (Part::LogUnknown, &[&[StatementV1, StatementIntoto, MessageV1], CLASSIC], "No log key valid at integrated time"),
    (Part::LogUnknown, &[V2, &[KeyedStatementV1]], "No matching Rekor key found for checkpoint"),
    (Part::LogKeyWindowOver, V1, "No log key valid at integrated time"),
    (Part::LogId, V1, "SET verification failed"),
    (Part::LogIndex, V1, "SET verification failed"),
    (Part::LogIndex, &[V2], "inclusion proof verification failed"),
    (Part::PromiseBytes, V1, "SET verification failed"),
    (Part::PromiseAbsent, &[&[StatementIntoto, MessageV1], CLASSIC], "must have an inclusion promise"),
    (Part::IntegratedTime, V1, "SET verification failed"),
    (Part::SigningTimeInFuture, V1, "is in the future"),
    (Part::ProofAbsent, &[&[StatementV1, KeyedStatementV1], V2], "must have an inclusion proof"),
    (Part::ProofHash, BUNDLES, "inclusion proof verification failed: root hash mismatch"),
    (Part::ProofOfAnotherLeaf, BUNDLES, "inclusion proof verification failed: root hash mismatch"),
    (Part::CheckpointAbsent, BUNDLES, "inclusion proof has no checkpoint"),
    (Part::CheckpointSignature, BUNDLES, "No valid Rekor signature found on checkpoint"),
    (Part::CheckpointRoot, &[V1_BUNDLES], "does not match checkpoint root hash"),
    (Part::CheckpointRoot, &[V2], "inclusion proof verification failed: root hash mismatch"),
    (Part::TimestampOfAnotherSignature, STAMPED, "Timestamp message hash mismatch"),
    (Part::TimestampOfUnknownAuthority, STAMPED, "CMS signer does not match any trusted TSA"),
    (Part::TimestampOutsideWindow, STAMPED, "outside the validity period of the authority that signed"),
    (Part::TimestampOfSibling, STAMPED, "CMS signer does not match any trusted TSA"),
    (Part::TimestampForgedCertificate, STAMPED, "Failed to verify timestamp signature: Verification error"),
    (Part::TimestampGarbage, STAMPED, "failed to decode TimeStampToken"),
    (Part::TimestampAfterCertificate, &[&[StatementV1, StatementV2, MessageV1, MessageV2, Classic]], "CertExpired"),
    (Part::CertificateExpired, &[KEYLESS], "CertExpired"),
    (Part::CertificateOfAnotherAuthority, &[KEYLESS], "InvalidSignatureForPublicKey"),
    (Part::CertificateWithoutCodeSigning, &[KEYLESS], "RequiredEkuNotFound"),
    (Part::SctAbsent, &[KEYLESS], "missing SCT extension"),
    (Part::SctWrongKey, &[KEYLESS], "SCT signature verification failed: Verification error: ECDSA"),
    (Part::SctTampered, &[KEYLESS], "SCT signature verification failed: Verification error: ECDSA"),
    (Part::SctUnknownLog, &[KEYLESS], "SCT signature verification failed: Verification error: key not found"),
    (Part::RawKeyForCertificate, &[KEYLESS], "malformed certificate"),
    (Part::NoCertificates, &[&[StatementV1, StatementV2, MessageV2]], "must use a single certificate"),
    (Part::NoCertificates, &[&[StatementIntoto, MessageV1]], "bundle has no signing certificate"),
    (Part::NoCertificates, &[&[Classic]], "malformed certificate"),
    (Part::AuthorityWindowOver, &[KEYLESS], "UnknownIssuer"),
];

/// What `sigstore-verify` lets through: each needs a gate of our own, unless the comment says why not.
#[rustfmt::skip]
const LET_THROUGH: &[(Part, &[&[Shape]])] = &[
    // A classic payload is a message like any other to it: nobody else reads it.
    (Part::PayloadDigest, &[CLASSIC]),
    (Part::PayloadNotJson, &[CLASSIC]),
    (Part::PayloadJsonString, &[CLASSIC]),
    (Part::PredicateType, &[STATEMENTS, CLASSIC]),
    // Of an intoto entry's certificate only the key is compared.
    (Part::LogEntryOfAnotherCertificate, &[&[StatementIntoto]]),
    // The body's own kind is not read; classic annotations have no other.
    (Part::LogKindUnknown, &[CLASSIC]),
    // Without a promise no window of a log key is looked at, and the log's identifier is free.
    (Part::LogKeyWindowOver, &[V2]),
    (Part::LogId, &[V2]),
    // Any log of the trust root may sign any other's checkpoint.
    (Part::CheckpointOfAnotherLog, BUNDLES),
    (Part::LogEntryCopies(2), BUNDLES),
    (Part::TimestampCopies(2), &[&[StatementV1, MessageV1, KeyedStatementV1], V2]),
    // The time is the timestamp's then; the integrated time counts for nothing.
    (Part::PromiseAbsent, &[&[StatementV1, KeyedStatementV1]]),
    // Timestamps from the future are believed.
    (Part::SigningTimeInFuture, &[V2]),
    // A key does not end, so the time does not matter.
    (Part::TimestampAfterCertificate, &[&[KeyedStatementV1, KeyedStatementV2]]),
    // Version 0.1 is content with the promise.
    (Part::ProofAbsent, &[&[StatementIntoto, MessageV1]]),
    // What the certificate's key may do is not looked at.
    (Part::CertificateWithoutDigitalSignature, &[KEYLESS]),
    // Every certificate of an authority is an anchor, and the end of an anchor is not looked at.
    (Part::IntermediateExpired, &[KEYLESS]),
];

/// Retired authorities are in the trust root only where a part is about them, so that each refusal
/// is by the authority in question.
fn root_for(sigstore: &VirtualSigstore, part: Part) -> String {
    const ABOUT_RETIRED: &[Part] = &[
        Part::AuthorityWindowOver,
        Part::IntermediateExpired,
        Part::LogKeyWindowOver,
        Part::TimestampOutsideWindow,
    ];
    if ABOUT_RETIRED.contains(&part) {
        sigstore.trusted_root_json()
    } else {
        sigstore.trusted_root().without_retired().json()
    }
}

#[test]
fn rejects_every_forgery_for_its_own_cause() {
    let sigstore = sigstore();
    let mut wrong = Vec::new();
    for (part, groups, words) in REFUSED {
        let root = root_for(&sigstore, *part);
        for shape in groups.concat() {
            match forge(&sigstore, &root, shape, *part) {
                Err(text) if text.contains(words) => {}
                other => wrong.push(format!("{part:?} in {shape:?}: {other:?}, not {words:?}")),
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// If this fails after an update of `sigstore-verify`, a line may move to the table above.
#[test]
fn knows_what_the_library_lets_through() {
    let sigstore = sigstore();
    let mut wrong = Vec::new();
    for (part, groups) in LET_THROUGH {
        let root = root_for(&sigstore, *part);
        for shape in groups.concat() {
            if let Err(text) = forge(&sigstore, &root, shape, *part) {
                wrong.push(format!("{part:?} in {shape:?}: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn knows_every_part() {
    let refused = REFUSED.iter().map(|(part, ..)| *part);
    let known: Vec<_> = refused.chain(LET_THROUGH.iter().map(|(part, _)| *part)).collect();
    for part in Part::ALL {
        assert!(known.contains(part), "{part:?} is in neither table");
    }
}

#[test]
#[should_panic(expected = "PromiseBytes has no meaning")]
fn refuses_to_forge_what_is_not_there() {
    let sigstore = sigstore();
    let _ = v2(&sigstore).bundle(Version::V03).tamper(Part::PromiseBytes).sign(&image());
}
