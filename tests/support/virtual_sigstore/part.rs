//! The parts of a signature that can be forged.

/// One thing to forge. Everything else stays as an honest signer, log and authority make it, unless
/// the part's comment says otherwise.
///
/// A part that has no meaning for a description (say, a log's part where nothing is logged) makes
/// `sign` panic, so that no test passes for want of a forgery.
#[derive(Clone, Copy, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum Part {
    /// A bit of the signature is flipped before it is logged and stamped: log and timestamp agree
    /// with it.
    SignatureBytes,
    /// Another key than the certificate's, or than the one of the description, signs. The log
    /// entry and the timestamp are for that signature.
    SignatureByAnotherKey,
    /// A second signature, by another key, follows the valid one in the DSSE envelope.
    TwoSignatures,
    /// The envelope carries no signature at all. The log entry is for the real one.
    NoSignatures,

    /// A space is added to the payload after signing. In a DSSE bundle the log entry covers the
    /// payload, so it disagrees as well.
    Payload,
    /// The DSSE payload type is `text/plain`, and signed like that.
    PayloadType,
    /// The payload names another image, and is signed like that.
    PayloadDigest,
    /// The payload is no JSON, and is signed like that.
    PayloadNotJson,
    /// The payload is a JSON string that contains the right text, and is signed like that.
    PayloadJsonString,
    /// The predicate type, or the `type` of a classic payload, is another, and is signed like that.
    PredicateType,
    /// The `messageDigest` of a message signature is of another image; the signature is not.
    MessageDigest,

    /// The log entry is valid but its body holds another signature of the same signer.
    LogEntryOfAnotherSignature,
    /// The log entry is valid but its body names another public key. Keyed signatures only.
    LogEntryOfAnotherKey,
    /// The log entry is valid but its body holds another certificate, for the same key and another
    /// identity. Keyless signatures only.
    LogEntryOfAnotherCertificate,
    /// The log entry is valid but its body holds the digest of other bytes.
    LogEntryOfAnotherDigest,
    /// The log entry is an honest one of the same signer for another image: signature and digest
    /// differ together.
    LogEntryOfAnotherImage,
    /// The body is cut off in the middle, and logged like that.
    LogBodyMalformed,
    /// The entry's kind is `alpine`, in the body and beside it, and logged like that. In a classic
    /// annotation the body alone says so.
    LogKindUnknown,
    /// The log is one that the trust root does not know. It signs everything of its own.
    LogUnknown,
    /// The log is one whose window ended a year before the signing time. It signs everything.
    LogKeyWindowOver,
    /// The entry names another log of the trust root as its own. Rekor v1 signs the log's
    /// identifier, so the promise breaks as well; Rekor v2 does not sign it at all.
    LogId,
    /// The entry's index is one higher. Rekor v1 signs it in the promise; for Rekor v2 it is the
    /// index in the proof.
    LogIndex,
    /// The same log entry so many times.
    LogEntryCopies(usize),

    /// A bit of the signed entry timestamp is flipped.
    PromiseBytes,
    /// There is no signed entry timestamp. The integrated time stays, unauthenticated.
    PromiseAbsent,
    /// The integrated time is a minute later than the log signed.
    IntegratedTime,
    /// The whole signing takes place fifty years later: certificate, log and timestamps agree.
    /// No time can be moved into the future alone, since it would leave the certificate's validity.
    SigningTimeInFuture,

    /// There is no inclusion proof, and so no checkpoint. Bundles of version 0.1 may be like that.
    ProofAbsent,
    /// A bit of the first hash of the proof is flipped.
    ProofHash,
    /// The proof, with its index, is valid for another leaf of the same tree. Rekor v2 takes the
    /// index from the entry, so that moves too.
    ProofOfAnotherLeaf,
    /// The checkpoint is empty.
    CheckpointAbsent,
    /// A bit of the checkpoint's signature is flipped.
    CheckpointSignature,
    /// The root in the checkpoint is changed, and the one in the proof is not.
    CheckpointRoot,
    /// The checkpoint, for the same size and root, is signed by the other log of the trust root
    /// under its own name.
    CheckpointOfAnotherLog,

    /// The timestamp is valid, over another signature.
    TimestampOfAnotherSignature,
    /// The timestamp is of an authority that the trust root does not know, under the same names.
    TimestampOfUnknownAuthority,
    /// The timestamp is of an authority whose window ended a year before the time it states.
    TimestampOutsideWindow,
    /// The timestamp is of a certificate of the known authority that the trust root does not list.
    TimestampOfSibling,
    /// A forger signs the timestamp, names the known certificate as signer, and puts a forged copy
    /// of it first in the bag of certificates.
    TimestampForgedCertificate,
    /// The timestamp is a run of bytes.
    TimestampGarbage,
    /// The same timestamp so many times.
    TimestampCopies(usize),
    /// The timestamp is valid and states a time an hour after the certificate ended.
    TimestampAfterCertificate,

    /// The certificate ended fifty minutes before the signing time.
    CertificateExpired,
    /// The certificate is of an authority that the trust root does not know, under the same names.
    /// Its CT promise is by the known log, for that issuer.
    CertificateOfAnotherAuthority,
    /// The certificate's extended key usage is client authentication.
    CertificateWithoutCodeSigning,
    /// The certificate's key usage is key agreement alone.
    CertificateWithoutDigitalSignature,
    /// The certificate has no signed certificate timestamp.
    SctAbsent,
    /// The certificate's timestamp names the known CT log, and another key signed it.
    SctWrongKey,
    /// The certificate's timestamp was changed after it was signed.
    SctTampered,
    /// The certificate's timestamp is of a CT log that the trust root does not know.
    SctUnknownLog,
    /// A raw public key stands where a certificate belongs, and is logged like that.
    RawKeyForCertificate,
    /// The list of certificates is empty. A version 0.3 bundle holds the list of older versions.
    NoCertificates,
    /// The certificate is of an intermediate that ended a day before the signing time.
    IntermediateExpired,
    /// The certificate is of an authority whose window ended a year before the signing time.
    AuthorityWindowOver,
}

impl Part {
    /// Every part; where one takes a number, two.
    pub const ALL: &[Self] = &[
        Self::SignatureBytes,
        Self::SignatureByAnotherKey,
        Self::TwoSignatures,
        Self::NoSignatures,
        Self::Payload,
        Self::PayloadType,
        Self::PayloadDigest,
        Self::PayloadNotJson,
        Self::PayloadJsonString,
        Self::PredicateType,
        Self::MessageDigest,
        Self::LogEntryOfAnotherSignature,
        Self::LogEntryOfAnotherKey,
        Self::LogEntryOfAnotherCertificate,
        Self::LogEntryOfAnotherDigest,
        Self::LogEntryOfAnotherImage,
        Self::LogBodyMalformed,
        Self::LogKindUnknown,
        Self::LogUnknown,
        Self::LogKeyWindowOver,
        Self::LogId,
        Self::LogIndex,
        Self::LogEntryCopies(2),
        Self::PromiseBytes,
        Self::PromiseAbsent,
        Self::IntegratedTime,
        Self::SigningTimeInFuture,
        Self::ProofAbsent,
        Self::ProofHash,
        Self::ProofOfAnotherLeaf,
        Self::CheckpointAbsent,
        Self::CheckpointSignature,
        Self::CheckpointRoot,
        Self::CheckpointOfAnotherLog,
        Self::TimestampOfAnotherSignature,
        Self::TimestampOfUnknownAuthority,
        Self::TimestampOutsideWindow,
        Self::TimestampOfSibling,
        Self::TimestampForgedCertificate,
        Self::TimestampGarbage,
        Self::TimestampCopies(2),
        Self::TimestampAfterCertificate,
        Self::CertificateExpired,
        Self::CertificateOfAnotherAuthority,
        Self::CertificateWithoutCodeSigning,
        Self::CertificateWithoutDigitalSignature,
        Self::SctAbsent,
        Self::SctWrongKey,
        Self::SctTampered,
        Self::SctUnknownLog,
        Self::RawKeyForCertificate,
        Self::NoCertificates,
        Self::IntermediateExpired,
        Self::AuthorityWindowOver,
    ];
}
