//! The stable reason codes, each with its step, its verdict, its meaning and what to do next.
use std::fmt;

use serde::Serialize;
use serde::Serializer;

use super::Step;
use super::Verdict;

macro_rules! reasons {
    ($($name:ident $code:literal $step:ident $verdict:ident $meaning:literal $advice:literal;)*) => {
        /// Why something was not verified. The set is closed, and codes never change meaning.
        #[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
        pub enum Reason {
            $(#[doc = $meaning] $name,)*
        }

        impl Reason {
            /// Every reason, in the order of the documentation's table.
            pub const ALL: &[Self] = &[$(Self::$name,)*];

            /// The stable code used in metrics, logs, JSON and documentation.
            pub const fn code(self) -> &'static str {
                match self { $(Self::$name => $code,)* }
            }

            /// The step at which this reason arises.
            pub const fn step(self) -> Step {
                match self { $(Self::$name => Step::$step,)* }
            }

            /// Whether the answer is final or worth a retry.
            pub const fn verdict(self) -> Verdict {
                match self { $(Self::$name => Verdict::$verdict,)* }
            }

            /// What it means, in one sentence without a full stop.
            pub const fn meaning(self) -> &'static str {
                match self { $(Self::$name => $meaning,)* }
            }

            /// What a person can do about it, in one sentence without a full stop.
            pub const fn advice(self) -> &'static str {
                match self { $(Self::$name => $advice,)* }
            }
        }
    };
}

reasons! {
    ImageReferenceInvalid "image-reference-invalid" Subject Rejected
        "the image field does not hold a valid image reference" "correct the image field";
    ImageNotFound "image-not-found" Subject Rejected
        "the registry has no such image" "check the name and the tag, or push the image";
    ImageDigestUnsupported "image-digest-unsupported" Subject Rejected
        "the image is named by a digest of an algorithm that signatures do not cover" "refer to the image by its sha256 digest";
    ImageDigestMismatch "image-digest-mismatch" Subject Rejected
        "the registry answered with bytes that are not those of the digest" "inspect the registry or its mirror: it served other content than was asked for";
    ImageUnreadable "image-unreadable" Subject Rejected
        "the registry's answer for the image is malformed or too large" "inspect the image manifest in the registry";
    ImageFieldLimit "image-field-limit" Subject Rejected
        "the object names more images than one request may" "split the workload, or raise the limit";
    PolicyInvalid "policy-invalid" Subject Rejected
        "a policy that applies cannot be used as it is written" "correct the policy; `tegata verify --policy` prints the field";
    PolicyNone "policy-none" Subject Rejected
        "no policy covers the image, and the setting for that case is deny" "write a policy that covers the image, or exempt the namespace";
    RegistryAddressForbidden "registry-address-forbidden" Evidence Rejected
        "the registry sent us to an address or host that is not allowed" "allow the address for this registry if it is meant, otherwise inspect the registry";
    RegistryUnauthorised "registry-unauthorised" Evidence Indeterminate
        "the registry refused our credentials" "give credentials that may read the image and its signatures";
    RegistryRateLimited "registry-rate-limited" Evidence Indeterminate
        "the registry limits our requests" "retry later, authenticate, or use a mirror";
    RegistryUnreachable "registry-unreachable" Evidence Indeterminate
        "the registry did not answer, or failed" "check that the registry is up and reachable, then retry";
    DeadlineExceeded "deadline-exceeded" Evidence Indeterminate
        "the answer was not complete within the time allowed" "retry; if it stays, look for a slow registry";
    Overloaded "overloaded" Subject Indeterminate
        "too many requests are under way" "retry; if it stays, add replicas";
    InternalError "internal-error" Subject Indeterminate
        "a defect in Tegata stopped the check" "report it with the log of this request";
    AttestationAbsent "attestation-absent" Evidence Rejected
        "no attestation that the policy asks for is attached to the image" "attest the image, or check that the policy looks where the attestations are";
    SignatureAbsent "signature-absent" Evidence Rejected
        "no signature is attached to the image" "sign the image, for example with `cosign sign`";
    SignatureFormatRefused "signature-format-refused" Evidence Rejected
        "only signatures of a format that the policy does not accept are attached" "sign in the accepted format, or change `signatureFormat`";
    EvidenceMalformed "evidence-malformed" Evidence Rejected
        "what is attached cannot be parsed as a signature" "sign the image again";
    EvidenceUnsupported "evidence-unsupported" Evidence Rejected
        "what is attached uses a format, an entry kind or a version that is not supported" "sign the image again with a current cosign";
    EvidenceTooLarge "evidence-too-large" Evidence Rejected
        "what is attached exceeds a limit on size or number" "remove surplus signatures from the registry";
    EvidenceDigestMismatch "evidence-digest-mismatch" Evidence Rejected
        "the registry answered with other bytes than the signature's digest names" "inspect the registry or its mirror";
    EvidenceMissing "evidence-missing" Evidence Rejected
        "a signature is listed, but its content is not in the registry" "sign the image again, or repair the registry";
    PredicateTypeUnexpected "predicate-type-unexpected" Evidence Rejected
        "the statement is of another type than the policy asks for" "attach what the policy asks for: an attestation is not a signature";
    CertificateUnexpected "certificate-unexpected" Evidence Rejected
        "the bundle was signed with a certificate, the policy asks for a key" "sign with the policy's key, or use a keyless authority";
    LogEntryAbsent "log-entry-absent" LogLookup Rejected
        "no transparency log entry is attached, and the policy asks for one" "sign with the transparency log, or drop the requirement";
    LogUnreachable "log-unreachable" LogLookup Indeterminate
        "the transparency log did not answer, or failed" "check that the log is up and reachable, then retry";
    LogAddressForbidden "log-address-forbidden" LogLookup Rejected
        "the policy names a log at an address that may not be asked" "have an administrator allow the log with `--rekor-allow`, or attach the log entry to the signature";
    LogAnswerMalformed "log-answer-malformed" LogLookup Rejected
        "what answered is no transparency log of a known kind" "check that `ctlog.url` is the address of a Rekor log with the API of version 1";
    LogSearchTooLarge "log-search-too-large" LogLookup Rejected
        "more signatures or log entries would have to be looked up than are" "attach the log entry to the signature, or remove surplus signatures";
    LogEntryMalformed "log-entry-malformed" LogEntry Rejected
        "the log entry cannot be parsed" "sign the image again";
    LogEntryMismatch "log-entry-mismatch" LogEntry Rejected
        "the log entry belongs to another signature, key, certificate or payload" "treat it as an attack, or sign the image again";
    LogUnknown "log-unknown" LogEntry Rejected
        "the entry is from a log that the trust root does not know" "check that the policy names the right trust root";
    LogKeyOutsideWindow "log-key-outside-window" LogEntry Rejected
        "the log's key was not valid at the signing time" "check that the trust root is current";
    InclusionPromiseInvalid "inclusion-promise-invalid" LogEntry Rejected
        "the signed entry timestamp does not verify" "sign the image again";
    InclusionProofAbsent "inclusion-proof-absent" LogEntry Rejected
        "the log entry carries no inclusion proof, and one is required" "sign in the bundle format, which carries the proof";
    InclusionProofInvalid "inclusion-proof-invalid" LogEntry Rejected
        "the inclusion proof does not lead to the checkpoint's root" "sign the image again";
    CheckpointInvalid "checkpoint-invalid" LogEntry Rejected
        "the checkpoint is malformed or not signed by a trusted log key" "check that the trust root is current";
    LogThresholdUnmet "log-threshold-unmet" LogEntry Rejected
        "the signature is in fewer distinct logs than the policy asks for" "have it entered in further logs of the trust root, or lower `ctlog.threshold`";
    CertificateAbsent "certificate-absent" Certificate Rejected
        "the signature carries no certificate, the policy asks for an identity" "sign keyless, or use a key authority";
    CertificateMalformed "certificate-malformed" Certificate Rejected
        "the signing certificate cannot be parsed or has an unusable profile" "sign the image again";
    CertificateUntrusted "certificate-untrusted" Certificate Rejected
        "the certificate does not chain to an authority of the trust root, or may not sign code" "check that the policy names the right trust root";
    CertificateAuthorityExpired "certificate-authority-expired" Certificate Rejected
        "no certificate authority of the trust root was valid at the signing time" "check that the trust root is current";
    CertificateRevoked "certificate-revoked" Certificate Rejected
        "the signing certificate is on a revocation list of the policy" "sign the image again with a certificate that was not revoked";
    RevocationListExpired "revocation-list-expired" Certificate Rejected
        "a revocation list of the policy has expired, so nobody knows what it would say now" "put the current list into `certificate.revocationList`, or into the object that `revocationListRef` names";
    SctInvalid "sct-invalid" Certificate Rejected
        "the certificate has no signed certificate timestamp of a trusted log" "check that the trust root holds the certificate transparency log's key";
    KeyUnsupported "key-unsupported" Signature Rejected
        "the key is of a kind or a size that is not supported" "sign with ECDSA, RSA of 2048 bits or more, or Ed25519";
    SignatureInvalid "signature-invalid" Signature Rejected
        "the signature does not verify under the key" "check that the policy holds the key that signed, or sign the image again";
    PayloadMalformed "payload-malformed" Signature Rejected
        "the signed payload is not what its format demands" "sign the image again";
    PayloadDigestMismatch "payload-digest-mismatch" Signature Rejected
        "the signed payload names another image" "treat it as an attack, or sign this image";
    TimestampAbsent "timestamp-absent" Time Rejected
        "nothing proves when the signature was made, and the policy asks for it" "sign with the transparency log or a timestamp authority";
    TimestampInvalid "timestamp-invalid" Time Rejected
        "an RFC 3161 timestamp does not verify under a trusted authority" "check that the trust root holds the timestamp authority";
    TimestampOutsideWindow "timestamp-outside-window" Time Rejected
        "the timestamp authority was not valid at the time it states" "check that the trust root is current";
    TimestampThresholdUnmet "timestamp-threshold-unmet" Time Rejected
        "fewer distinct timestamp authorities vouch for the signing time than the policy asks for" "have it stamped by further authorities of the trust root, or lower `rfc3161timestamp.threshold`";
    SigningTimeOutsideCertificate "signing-time-outside-certificate" Time Rejected
        "the signature was made before or after the certificate's validity" "sign the image again";
    SigningTimeInFuture "signing-time-in-future" Time Rejected
        "the signing time lies in the future" "check the clocks of this machine and of the log";
    IssuerMismatch "issuer-mismatch" Identity Rejected
        "another issuer vouched for the signer than the policy accepts" "sign with the accepted identity, or add the issuer to the policy";
    SubjectMismatch "subject-mismatch" Identity Rejected
        "someone else signed than the policy accepts" "sign with the accepted identity, or add the signer to the policy";
    ClaimMismatch "claim-mismatch" Identity Rejected
        "a claim of the certificate is absent or not what the policy asks for" "sign from the accepted workflow, or change the policy's claims";
    StaticFail "static-fail" Conditions Rejected
        "the policy refuses this image whatever is attached" "use another image, or ask the policy's owner";
    ThresholdUnmet "threshold-unmet" Conditions Rejected
        "fewer distinct signers were verified than the policy asks for" "have the further signers sign the image";
    ConditionUnmet "condition-unmet" Conditions Rejected
        "a rule of the policy does not hold for what was verified" "correct the image or its attestation, or ask the policy's owner";
    ConditionError "condition-error" Conditions Rejected
        "a rule of the policy cannot be decided on what was verified" "correct the rule, or attach what it expects; `has(…)` asks for a field that may be absent";
    ConditionTooCostly "condition-too-costly" Conditions Rejected
        "the rules of the policy took more work than one image may cost" "simplify the rule, or attach a smaller document";
    PredicateUnusable "predicate-unusable" Conditions Rejected
        "the attestation is not of a type or a form that the rule can read" "attach the document in a form that the policy's rule names";
    ProvenanceMismatch "provenance-mismatch" Conditions Rejected
        "the image was built by another builder, or from another source, than the policy accepts" "build with the accepted builder from the accepted source, or change the policy";
    ScanOutdated "scan-outdated" Conditions Rejected
        "the report on vulnerabilities is too old, or does not say when the scan ended" "scan the image again and attach the report";
    VulnerabilityFound "vulnerability-found" Conditions Rejected
        "the report names a vulnerability that the policy does not tolerate" "update the image, or tolerate the vulnerability by name in the policy";
    VexUnmet "vex-unmet" Conditions Rejected
        "no statement clears the image of a vulnerability that the policy names" "attach a VEX document with an accepted status for this image";
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

impl Serialize for Reason {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(self.code())
    }
}
