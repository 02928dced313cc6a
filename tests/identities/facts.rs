//! What was verified need not be verified again, unless something else would come of it now.
use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::ToSpan as _;
use tegata::admission::facts::Facts;
use tegata::evidence::Candidate;
use tegata::evidence::LookedUp;
use tegata::policy::Demands;
use tegata::policy::LogDemand;
use tegata::policy::PayloadKind;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Reason;
use tegata::verify::CertificateAuthority;
use tegata::verify::Lasting;
use tegata::verify::PublicKey;
use tegata::verify::Question;

use crate::ALICE;
use crate::ISSUER;
use crate::image;
use crate::start;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Authority;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::Part;
use crate::virtual_sigstore::Signing;
use crate::virtual_sigstore::TrustedRootBuilder;
use crate::virtual_sigstore::Version;
use crate::virtual_sigstore::VirtualSigstore;

const OPTIONAL: Demands = Demands::new(LogDemand::Optional, false);
const LOGGED: Demands = Demands::new(LogDemand::Entry, false);

const SOON: SignedDuration = SignedDuration::from_mins(5);

fn bundle(signing: Signing<'_>) -> Candidate {
    signing.bundle(Version::V03).sign(&image()).candidate()
}

fn classic(signing: Signing<'_>) -> Candidate {
    signing.classic().sign(&image()).candidate()
}

fn root(builder: &TrustedRootBuilder<'_>) -> TrustRoot {
    TrustRoot::from_json(&builder.json()).unwrap()
}

/// Who must have signed.
#[derive(Clone, Copy)]
enum By<'a> {
    Fulcio,
    Key(&'a PublicKey),
    Own(&'a CertificateAuthority),
}

/// Facts, and how a question is put to them.
struct Memory<'a> {
    facts: Facts,
    by: By<'a>,
    demands: Demands,
}

impl<'a> Memory<'a> {
    fn new(by: By<'a>, demands: Demands) -> Self {
        Self { facts: Facts::default(), by, demands }
    }

    /// What comes of it, and whether it was verified for that.
    fn ask(
        &self,
        candidate: &Candidate,
        trust_root: &TrustRoot,
        now: Timestamp,
    ) -> (Result<Lasting, Reason>, bool) {
        let before = self.facts.counts();
        let key = match self.by {
            By::Key(key) => Some(key),
            By::Fulcio | By::Own(_) => None,
        };
        let (demands, payload) = (self.demands, &PayloadKind::Signature);
        let question = Question { digest: &image(), key, demands, payload, trust_root, now };
        let examined = match self.by {
            By::Own(own) => self.facts.verify_certified(candidate, &question, own),
            By::Fulcio | By::Key(_) => self.facts.verify(candidate, &question, &LookedUp::NotAsked),
        };
        let after = self.facts.counts();
        let found = examined.result.map(|proof| proof.lasting());
        assert_eq!(after.verified + after.reused, before.verified + before.reused + 1);
        (found.map_err(|failure| failure.reason), after.verified > before.verified)
    }
}

#[test]
fn what_was_proven_with_its_time_is_verified_once() {
    let sigstore = VirtualSigstore::new(start());
    let trusted = root(&sigstore.trusted_root());
    let key = Key::generate(Algorithm::P256);
    let public = PublicKey::from_pem(&key.public_pem(), None).unwrap().remove(0);
    let [own, intermediate] = sigstore.authority_pem();
    let own = CertificateAuthority::from_pem(&own, Some(&intermediate), None).unwrap();
    let keyless = || sigstore.keyless(ALICE, ISSUER);
    let keyed = || sigstore.keyed(&key);
    for (row, by, demands, candidate) in [
        ("keyless, Rekor v1", By::Fulcio, LOGGED, bundle(keyless().log(Log::RekorV1))),
        ("keyless, Rekor v2", By::Fulcio, LOGGED, bundle(keyless().log(Log::RekorV2).timestamp(1))),
        ("keyless, stamped", By::Fulcio, OPTIONAL, bundle(keyless().timestamp(1))),
        ("keyless, classic", By::Fulcio, LOGGED, classic(keyless().log(Log::RekorV1))),
        ("key alone", By::Key(&public), OPTIONAL, classic(keyed())),
        ("key, Rekor v1", By::Key(&public), LOGGED, bundle(keyed().log(Log::RekorV1))),
        ("key, stamped", By::Key(&public), OPTIONAL, bundle(keyed().timestamp(1))),
        ("own, logged", By::Own(&own), LOGGED, bundle(keyless().log(Log::RekorV1))),
        ("own, stamped", By::Own(&own), OPTIONAL, bundle(keyless().timestamp(1))),
    ] {
        let memory = Memory::new(by, demands);
        let found = memory.ask(&candidate, &trusted, start() + SOON);
        assert_eq!(found, (Ok(Lasting::Forever), true), "{row}");
        for later in [SOON, SOON * 2, SignedDuration::from_hours(24 * 3650)] {
            let found = memory.ask(&candidate, &trusted, start() + later);
            assert_eq!(found, (Ok(Lasting::Forever), false), "{row}");
            // It is no more than would come of it anew.
            let anew = Memory::new(by, demands).ask(&candidate, &trusted, start() + later);
            assert_eq!(anew.0, found.0, "{row}");
        }
    }
}

#[test]
fn what_had_to_be_valid_now_is_verified_each_time() {
    let sigstore = VirtualSigstore::new(start());
    let until = start() + 24.hours();
    let builder = sigstore.trusted_root();
    let trusted = root(&builder.window(Authority::RekorV2, start() - 24.hours(), Some(until)));
    let key = Key::generate(Algorithm::P256);
    let public = PublicKey::from_pem(&key.public_pem(), None).unwrap().remove(0);
    let [own, intermediate] = sigstore.authority_pem();
    let bare = CertificateAuthority::from_pem(&own, Some(&intermediate), None).unwrap();
    let list = sigstore.revocation_list(&[], until, false);
    let listed = CertificateAuthority::from_pem(&own, Some(&intermediate), Some(&list)).unwrap();
    let keyless = || sigstore.keyless(ALICE, ISSUER);
    for (row, by, candidate, reason) in [
        (
            "a key's log entry without a time",
            By::Key(&public),
            bundle(sigstore.keyed(&key).log(Log::RekorV2)),
            Reason::LogKeyOutsideWindow,
        ),
        (
            "a certificate without a time",
            By::Own(&bare),
            bundle(keyless()),
            Reason::SigningTimeOutsideCertificate,
        ),
        (
            "a list of revoked certificates",
            By::Own(&listed),
            bundle(keyless().timestamp(1)),
            Reason::RevocationListExpired,
        ),
    ] {
        let memory = Memory::new(by, OPTIONAL);
        for _ in 0..2 {
            let found = memory.ask(&candidate, &trusted, start() + SOON);
            assert_eq!(found, (Ok(Lasting::ForNow), true), "{row}");
        }
        let found = memory.ask(&candidate, &trusted, until + 1.hours());
        assert_eq!(found, (Err(reason), true), "{row}");
    }
}

#[test]
fn another_trust_root_knows_nothing() {
    let sigstore = VirtualSigstore::new(start());
    let trusted = root(&sigstore.trusted_root());
    let past = Some(start() - 1.hours());
    let ends = |authority| sigstore.trusted_root().window(authority, start() - 48.hours(), past);
    let without = |authority| sigstore.trusted_root().omit(authority);
    let v1 = bundle(sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1));
    let v2 = bundle(sigstore.keyless(ALICE, ISSUER).log(Log::RekorV2).timestamp(1));
    for (row, candidate, changed, reason) in [
        ("no log", &v1, without(Authority::RekorV1), Reason::LogUnknown),
        ("a log that ended", &v1, ends(Authority::RekorV1), Reason::LogKeyOutsideWindow),
        ("no log", &v2, without(Authority::RekorV2), Reason::LogUnknown),
        ("a log that ended", &v2, ends(Authority::RekorV2), Reason::LogKeyOutsideWindow),
        ("no authority", &v1, without(Authority::Fulcio), Reason::CertificateAuthorityExpired),
        ("no log of certificates", &v1, without(Authority::CtLog), Reason::SctInvalid),
        ("no timestamp authority", &v2, without(Authority::Tsa), Reason::TimestampInvalid),
        ("one that ended", &v2, ends(Authority::Tsa), Reason::TimestampOutsideWindow),
    ] {
        let memory = Memory::new(By::Fulcio, LOGGED);
        let now = start() + SOON;
        assert_eq!(memory.ask(candidate, &trusted, now), (Ok(Lasting::Forever), true), "{row}");
        let changed = root(&changed);
        assert_eq!(memory.ask(candidate, &changed, now), (Err(reason), true), "{row}");
        // Read anew, the first is the same.
        let same = root(&sigstore.trusted_root());
        assert_eq!(memory.ask(candidate, &same, now), (Ok(Lasting::Forever), false), "{row}");
    }
}

#[test]
fn a_clock_that_is_set_back_is_asked() {
    let sigstore = VirtualSigstore::new(start());
    let trusted = root(&sigstore.trusted_root());
    let memory = Memory::new(By::Fulcio, LOGGED);
    let candidate = bundle(sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1));
    let before = start() - 1.hours();
    assert_eq!(memory.ask(&candidate, &trusted, start() + SOON), (Ok(Lasting::Forever), true));
    let future = (Err(Reason::SigningTimeInFuture), true);
    assert_eq!(memory.ask(&candidate, &trusted, before), future);
    assert_eq!(memory.ask(&candidate, &trusted, start() + SOON), (Ok(Lasting::Forever), false));
}

/// Whatever order they come in: an honest signature of the same authority, and each forgery.
#[test]
fn forgeries_are_refused_when_all_about_the_honest_one_is_known() {
    let sigstore = VirtualSigstore::new(start());
    let trusted = root(&sigstore.trusted_root());
    let memory = Memory::new(By::Fulcio, LOGGED);
    let now = start() + 24.hours();
    let signing = || sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1).timestamp(1);
    let honest = bundle(signing());
    for part in [
        Part::SignatureBytes,
        Part::SignatureByAnotherKey,
        Part::Payload,
        Part::PayloadDigest,
        Part::LogEntryOfAnotherSignature,
        Part::LogEntryOfAnotherCertificate,
        Part::LogEntryOfAnotherImage,
        Part::LogUnknown,
        Part::LogKeyWindowOver,
        Part::LogId,
        Part::LogIndex,
        Part::PromiseBytes,
        Part::IntegratedTime,
        Part::ProofHash,
        Part::ProofOfAnotherLeaf,
        Part::CheckpointAbsent,
        Part::CheckpointSignature,
        Part::CheckpointRoot,
        Part::CheckpointOfAnotherLog,
        Part::TimestampOfAnotherSignature,
        Part::TimestampOfUnknownAuthority,
        Part::TimestampOutsideWindow,
        Part::TimestampAfterCertificate,
        Part::CertificateExpired,
        Part::CertificateOfAnotherAuthority,
        Part::CertificateWithoutCodeSigning,
    ] {
        let forged = bundle(signing().tamper(part));
        let cold = Memory::new(By::Fulcio, LOGGED);
        let (wanted, _) = cold.ask(&forged, &root(&sigstore.trusted_root()), now);
        assert!(wanted.is_err(), "{part:?}");
        assert!(memory.ask(&honest, &trusted, now).0.is_ok(), "{part:?}");
        assert_eq!(memory.ask(&forged, &trusted, now), (wanted, true), "{part:?}");
    }
    assert_eq!(memory.facts.counts().verified, 1 + 26);
}
