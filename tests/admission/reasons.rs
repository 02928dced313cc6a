//! One row for each reason: a real situation that ends in it.
use std::panic::AssertUnwindSafe;
use std::panic::catch_unwind;
use std::time::Duration;

use bytes::Bytes;
use serde_json::json;
use tegata::admission::NoMatch;
use tegata::image::Digest;
use tegata::verdict::Reason;
use tegata::workload::MAX_IMAGES;

use crate::fake_registry::Auth;
use crate::fake_registry::Fault;
use crate::gate::ALICE;
use crate::gate::BOB;
use crate::gate::Gate;
use crate::gate::ISSUER;
use crate::policy;
use crate::policy::keyed;
use crate::policy::keyless;
use crate::review;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Authority;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::Part;
use crate::virtual_sigstore::Version;

#[path = "reasons/attested.rs"]
mod attested;
#[path = "reasons/demanded.rs"]
mod demanded;

/// Who makes the denial.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum By {
    /// The pipeline: the message names image, policy and step.
    Pipeline,
    /// The server, before the pipeline or in its stead.
    Server,
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_reason_has_a_situation_that_ends_in_it() {
    let mut failed = Vec::new();
    for reason in Reason::ALL {
        let mut gate = Gate::new().await;
        let mut images = vec![gate.image()];
        let by = arrange(*reason, &mut gate, &mut images);
        let images: Vec<&str> = images.iter().map(String::as_str).collect();
        let answer = gate.create(&review::pod(&images)).await;
        println!("{reason}: {}", answer.message());
        let check = || match by {
            By::Pipeline => answer.assert_denied(*reason),
            By::Server => answer.assert_status(*reason),
        };
        if catch_unwind(AssertUnwindSafe(check)).is_err() {
            failed.push(reason.code());
        }
    }
    assert_eq!(failed, [] as [&str; 0], "rows that ended in something else; see above");
}

#[tokio::test]
async fn without_a_flaw_the_same_pod_is_admitted() {
    let gate = Gate::new().await;
    gate.attach(gate.alice());
    gate.admit().await.assert_verified();
}

/// Makes the situation; a reason that has none fails the test.
#[expect(clippy::wildcard_enum_match_arm, reason = "the next function has the other reasons")]
fn arrange(reason: Reason, gate: &mut Gate, images: &mut Vec<String>) -> By {
    match reason {
        Reason::ImageReferenceInvalid => images[0] = "Registry.example/UPPER case".to_owned(),
        Reason::ImageNotFound => images[0] = images[0].replace(":v1", ":v9"),
        Reason::ImageDigestUnsupported => {
            images[0] = images[0].replace(":v1", &format!("@sha512:{}", "0".repeat(128)));
        }
        Reason::ImageDigestMismatch => {
            let other = Digest::sha256_of(b"other").to_string();
            gate.registry.fault("/manifests/v1", Fault::Header("docker-content-digest", other));
        }
        Reason::ImageUnreadable => {
            gate.registry.fault("/manifests/v1", Fault::AnswerFrom(1, "<html>".into()));
        }
        Reason::ImageFieldLimit => {
            *images = vec![images[0].clone(); MAX_IMAGES + 1];
            return By::Server;
        }
        Reason::PolicyInvalid => {
            gate.demand(&[keyed("no key")]);
            gate.lenient = true;
        }
        Reason::PolicyNone => {
            gate.policies[0] = policy::glob(gate.policies[0].clone(), "elsewhere.example/**");
            gate.settings.no_match = NoMatch::Deny;
        }
        Reason::RegistryAddressForbidden => {
            let target = "http://169.254.169.254/latest/meta-data/".to_owned();
            gate.registry.fault("/manifests/v1", Fault::Redirect(target));
        }
        Reason::RegistryUnauthorised => gate
            .registry
            .set_auth(Auth::Basic { username: "robot".to_owned(), password: "secret".to_owned() }),
        Reason::RegistryRateLimited => gate.registry.fault("/v2/", always(429)),
        Reason::RegistryUnreachable => gate.registry.fault("/v2/", always(500)),
        Reason::DeadlineExceeded => {
            gate.registry.fault("/v2/", Fault::Slow(Duration::from_millis(50)));
            gate.timeout = "1s";
        }
        Reason::Overloaded => {
            gate.limits.max_in_flight = 0;
            return By::Server;
        }
        Reason::InternalError => {
            gate.panics = true;
            return By::Server;
        }
        Reason::StaticFail => {
            gate.demand(&[json!({ "static": { "action": "fail", "message": "not here" } })]);
        }
        Reason::ThresholdUnmet => {
            gate.attach(gate.alice());
            let authorities = [keyless(ALICE, ISSUER), keyless(BOB, ISSUER)];
            let policy = policy::cluster("both", &authorities);
            gate.policies = vec![policy::with(policy, "threshold", 2)];
        }
        evidence => arrange_evidence(evidence, gate),
    }
    By::Pipeline
}

/// Situations that lie in what is attached to the image.
#[expect(clippy::wildcard_enum_match_arm, reason = "the function before has the other reasons")]
fn arrange_evidence(reason: Reason, gate: &mut Gate) {
    match reason {
        Reason::SignatureAbsent => {}
        Reason::SignatureFormatRefused => {
            gate.attach_classic(gate.alice());
            let mut authority = keyless(ALICE, ISSUER);
            authority["signatureFormat"] = json!("bundle");
            gate.demand(&[authority]);
        }
        Reason::EvidenceMalformed => forge(gate, Part::TwoSignatures),
        Reason::EvidenceUnsupported => forge(gate, Part::LogKindUnknown),
        Reason::EvidenceTooLarge => forge(gate, Part::TimestampCopies(1000)),
        Reason::EvidenceDigestMismatch => {
            gate.attach(gate.alice());
            gate.registry.fault("/blobs/", Fault::AnswerFrom(1, Bytes::from("other")));
        }
        Reason::EvidenceMissing => {
            let signed = gate.alice().bundle(Version::V03).sign(&gate.digest);
            gate.push_manifest(&signed.oci());
        }
        Reason::PredicateTypeUnexpected => {
            let predicate = json!({ "builder": {} });
            gate.attach(gate.alice().predicate("https://slsa.dev/provenance/v1", predicate));
        }
        Reason::CertificateUnexpected => {
            gate.attach(gate.alice());
            gate.demand(&[keyed(&Key::generate(Algorithm::P256).public_pem())]);
        }
        Reason::CertificateAbsent => {
            let key = Key::generate(Algorithm::P256);
            gate.attach(gate.sigstore.keyed(&key).log(Log::RekorV1));
        }
        Reason::SignatureInvalid => {
            let key = Key::generate(Algorithm::P256);
            gate.attach(gate.sigstore.keyed(&key));
            gate.demand(&[keyed(&Key::generate(Algorithm::P256).public_pem())]);
        }
        Reason::KeyUnsupported => gate.attach(gate.alice().algorithm(Algorithm::P521)),
        Reason::LogEntryAbsent => {
            gate.attach(gate.sigstore.keyless(ALICE, ISSUER).timestamp(1));
        }
        Reason::LogEntryMalformed => forge(gate, Part::LogBodyMalformed),
        Reason::LogEntryMismatch => forge(gate, Part::LogEntryOfAnotherImage),
        Reason::LogUnknown => forge(gate, Part::LogUnknown),
        Reason::LogKeyOutsideWindow => forge(gate, Part::LogKeyWindowOver),
        Reason::InclusionPromiseInvalid => forge(gate, Part::PromiseBytes),
        Reason::InclusionProofAbsent => {
            gate.attach_classic(gate.alice());
            let mut authority = keyless(ALICE, ISSUER);
            authority["ctlog"] = json!({ "inclusionProof": "required" });
            gate.demand(&[authority]);
        }
        Reason::InclusionProofInvalid => forge(gate, Part::ProofHash),
        Reason::CheckpointInvalid => forge(gate, Part::CheckpointSignature),
        Reason::CertificateMalformed => forge(gate, Part::RawKeyForCertificate),
        Reason::CertificateUntrusted => forge(gate, Part::CertificateOfAnotherAuthority),
        Reason::CertificateAuthorityExpired => {
            gate.attach(gate.alice());
            gate.trusted_root = gate.sigstore.trusted_root().expired(Authority::Fulcio).json();
        }
        Reason::SctInvalid => forge(gate, Part::SctWrongKey),
        Reason::PayloadMalformed => forge(gate, Part::PayloadNotJson),
        Reason::PayloadDigestMismatch => forge(gate, Part::PayloadDigest),
        Reason::TimestampAbsent => {
            gate.attach(gate.alice());
            let mut authority = keyless(ALICE, ISSUER);
            authority["rfc3161timestamp"] = json!({});
            gate.demand(&[authority]);
        }
        Reason::TimestampInvalid => forge(gate, Part::TimestampOfUnknownAuthority),
        Reason::TimestampOutsideWindow => forge(gate, Part::TimestampOutsideWindow),
        Reason::SigningTimeOutsideCertificate => forge(gate, Part::CertificateExpired),
        Reason::SigningTimeInFuture => forge(gate, Part::SigningTimeInFuture),
        Reason::IssuerMismatch => {
            gate.attach(gate.sigstore.keyless(ALICE, "https://evil.example").log(Log::RekorV1));
        }
        Reason::SubjectMismatch => gate.attach(gate.signer(BOB)),
        Reason::ClaimMismatch => {
            gate.attach(gate.alice().claim(12, "https://github.com/evil/app"));
            let mut authority = keyless(ALICE, ISSUER);
            authority["keyless"]["identities"][0]["claims"] =
                json!({ "sourceRepositoryURI": "https://github.com/acme/app" });
            gate.demand(&[authority]);
        }
        other => {
            assert!(
                attested::arrange(other, gate) || demanded::arrange(other, gate),
                "{other} has no situation: add a row"
            );
        }
    }
}

/// Attaches Alice's signature, logged and stamped, with one part forged.
fn forge(gate: &Gate, part: Part) {
    gate.attach(gate.alice().timestamp(1).tamper(part));
}

fn always(status: u16) -> Fault {
    Fault::Status { status, times: usize::MAX, retry_after: None }
}
