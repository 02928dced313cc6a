//! Explanations say what was checked, and no more.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use jiff::Timestamp;
use jiff::ToSpan as _;
use tegata::image::Digest;
use tegata::policy::Demands;
use tegata::policy::LogDemand;
use tegata::policy::PayloadKind;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Reason;
use tegata::verdict::Step;
use tegata::verdict::StepOutcome;
use tegata::verify::Question;

use self::virtual_sigstore::Log;
use self::virtual_sigstore::Part;
use self::virtual_sigstore::Version;
use self::virtual_sigstore::VirtualSigstore;

#[path = "support/virtual_sigstore.rs"]
mod virtual_sigstore;

#[test]
fn a_step_that_was_not_reached_is_not_shown_as_passed() {
    let start: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
    let sigstore = VirtualSigstore::new(start);
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let digest = Digest::sha256_of(b"an image manifest");
    let question = Question {
        digest: &digest,
        key: None,
        demands: Demands::new(LogDemand::Entry, false),
        payload: &PayloadKind::Signature,
        trust_root: &root,
        now: start + 24.hours(),
    };
    for (bad, step) in [
        (Part::CertificateOfAnotherAuthority, Step::Certificate),
        (Part::SctAbsent, Step::Certificate),
        (Part::TimestampOfUnknownAuthority, Step::Time),
        (Part::SignatureBytes, Step::Signature),
    ] {
        for first in [Part::CheckpointAbsent, Part::CheckpointRoot] {
            let signing = sigstore.keyless("alice@example.com", "https://issuer.example");
            let signing = signing.log(Log::RekorV1).timestamp(1).tamper(first).tamper(bad);
            let candidate = signing.bundle(Version::V03).sign(&digest).candidate();
            let examined = tegata::verify::verify(&candidate, &question);
            assert_eq!(examined.result.unwrap_err().reason, Reason::CheckpointInvalid);
            let shown = examined.steps.iter().find(|shown| shown.step == step);
            let passed = shown.is_some_and(|shown| shown.outcome == StepOutcome::Passed);
            assert!(!passed, "{first:?} and {bad:?}: {:?}", examined.steps);
        }
    }
}
