use std::num::NonZeroUsize;
use std::sync::Arc;

use jiff::ToSpan as _;

use super::*;
use crate::evidence::Format;
use crate::policy::Authority;
use crate::policy::Demands;
use crate::policy::LogDemand;
use crate::policy::Mode;
use crate::policy::OnUnavailable;
use crate::policy::Platforms;
use crate::policy::PolicyId;
use crate::policy::Signer;
use crate::policy::compile;
use crate::policy::compile::References;
use crate::trust_root::TrustRoot;
use crate::verdict::AuthorityReport;
use crate::verdict::Failure;
use crate::verdict::Reason;
use crate::verdict::SignatureReport;
use crate::verdict::SignerReport;
use crate::verdict::Verdict;

fn start() -> Timestamp {
    "2026-03-01T12:00:00Z".parse().unwrap()
}

fn policy() -> Policy {
    let authority = |name: &str| Authority {
        name: name.to_owned(),
        signer: Signer::Keys(Vec::new()),
        sources: Vec::new(),
        formats: vec![Format::Legacy],
        demands: Demands::new(LogDemand::Entry, false),
        rekor: None,
        trust_root: Arc::new(TrustRoot::public_good()),
        attestations: Vec::new(),
    };
    Policy {
        id: PolicyId::Cluster { name: "signed".to_owned() },
        scope: crate::policy::Scope { images: vec![], workloads: vec![], namespaces: None },
        mode: Mode::Warn,
        on_unavailable: OnUnavailable::Allow,
        platforms: Platforms::Index,
        threshold: NonZeroUsize::MIN,
        authorities: vec![authority("release"), authority("security")],
        rules: None,
        version: None,
    }
}

fn signature(subject: &str, verdict: Verdict) -> SignatureReport {
    let steps = vec![
        StepReport::passed(Step::LogLookup, "attached"),
        StepReport::passed(
            Step::LogEntry,
            "index 123456789, signed entry timestamp and inclusion proof",
        ),
        StepReport::passed(Step::Evidence, "a bundle of version 0.3, a certificate, a log entry"),
        StepReport::passed(Step::Certificate, "chain, usage and SCT"),
        StepReport::passed(Step::Signature, "under the certificate's key, over this image"),
        StepReport::passed(Step::Time, "signed at 2026-02-28T09:08:07Z"),
        StepReport::not_required(Step::Identity, format!("{subject} is one of the policy's")),
    ];
    let issuer = "https://token.actions.githubusercontent.com".to_owned();
    let signer = SignerReport::Certificate { issuer, subject: subject.to_owned() };
    SignatureReport {
        source: "signature tag sha256:0123456789ab".to_owned(),
        attestation: None,
        format: "bundle",
        verdict,
        signer: Some(signer),
        steps,
    }
}

/// By the second authority of [`policy`].
fn met(signatures: Vec<SignatureReport>) -> PolicyReport {
    let authority = |name: &str, verdict, signatures| AuthorityReport {
        name: name.to_owned(),
        platform: Some("linux/amd64".to_owned()),
        verdict,
        failure: None,
        signatures,
    };
    PolicyReport {
        stale: false,
        policy: "ClusterImagePolicy signed".to_owned(),
        mode: Mode::Warn,
        verdict: Verdict::Verified,
        on_unavailable: OnUnavailable::Allow,
        failure: None,
        authorities: vec![
            authority("release", Verdict::Rejected, Vec::new()),
            authority("security", Verdict::Verified, signatures),
        ],
    }
}

const SUBJECT: &str =
    "https://github.com/acme/shop/.github/workflows/release.yaml@refs/tags/v1.20.3";

fn usual() -> PolicyReport {
    met(vec![signature(SUBJECT, Verdict::Verified)])
}

/// By a registry, to this process.
fn given(fetched: Timestamp) -> Origin {
    Origin { fetched, second_hand: false }
}

fn key(number: usize) -> Key {
    Key(Sha256::digest(number.to_le_bytes()).into())
}

#[test]
fn gives_the_report_again_and_says_that_it_is_known() {
    let known = Known::new(Limits::default());
    let policy = policy();
    let mut key_made = signature("", Verdict::Verified);
    key_made.format = "legacy";
    key_made.signer = Some(SignerReport::Key { fingerprint: "ab".repeat(32) });
    key_made.steps = vec![StepReport::passed(Step::Evidence, "x".repeat(299))];
    let signatures = vec![
        signature(SUBJECT, Verdict::Verified),
        signature("https://elsewhere.example", Verdict::Rejected),
        key_made.clone(),
    ];
    known.insert(&key(1), &policy, &met(signatures), given(start()));
    let Recalled { report, fetched, due } =
        known.get(&key(1), &policy, start() + 5.minutes()).unwrap();
    assert_eq!((fetched, due), (start(), false));
    let note = "verified before, with what was fetched at 2026-03-01T12:00:00Z";
    let note = StepReport::passed(Step::Subject, note);
    let mut wanted = met(vec![signature(SUBJECT, Verdict::Verified), key_made]);
    wanted.authorities.remove(0);
    for signature in &mut wanted.authorities[0].signatures {
        signature.steps.insert(0, note.clone());
    }
    assert_eq!(format!("{report:?}"), format!("{wanted:?}"));
}

#[test]
fn keeps_nothing_but_what_is_verified() {
    let known = Known::new(Limits::default());
    for reason in [Reason::SignatureAbsent, Reason::RegistryUnreachable] {
        let failure = Failure::new(reason, "found");
        let verdict = failure.verdict();
        let report = PolicyReport { verdict, failure: Some(failure), ..usual() };
        known.insert(&key(1), &policy(), &report, given(start()));
    }
    let stranger = Policy { authorities: Vec::new(), ..policy() };
    known.insert(&key(1), &stranger, &usual(), given(start()));
    assert!(known.get(&key(1), &policy(), start()).is_none());
    assert!(known.is_empty());
}

#[test]
fn is_due_for_one_at_a_time_and_known_for_a_day() {
    let known = Known::new(Limits::default());
    let policy = policy();
    known.insert(&key(1), &policy, &usual(), given(start()));
    let due = |at: Timestamp| known.get(&key(1), &policy, at).map(|known| known.due);
    assert_eq!(due(start() + 599.seconds()), Some(false));
    assert_eq!(known.claim(&key(1), start() + 599.seconds()), None);
    let later = start() + 600.seconds();
    assert_eq!(due(later), Some(true));
    assert_eq!(known.claim(&key(1), later), Some(1));
    assert_eq!(known.claim(&key(1), later), None);
    assert_eq!(due(later + 59.seconds()), Some(false));
    assert_eq!(due(later + 60.seconds()), Some(true));
    assert_eq!(due(start() + 86_399.seconds()), Some(true));
    assert_eq!(due(start() + 86_400.seconds()), None);
    // What was found anew may be as old: then it is not asked for with every request.
    known.insert(&key(1), &policy, &usual(), given(start()));
    assert_eq!(due(later + 59.seconds()), Some(false));
    // Asked anew, and forgotten.
    known.insert(&key(1), &policy, &usual(), given(later));
    assert_eq!(due(later + 599.seconds()), Some(false));
    known.remove(&key(1));
    assert_eq!(due(later), None);
    assert!(known.is_empty());
    known.insert(&key(1), &policy, &usual(), given(later));
    assert_eq!((due(later), known.len()), (Some(false), 1));
}

/// A step of the clock must not be added to what is believed.
#[test]
fn a_clock_that_is_set_back_makes_due_and_far_ahead_nothing_is_known() {
    let known = Known::new(Limits::default());
    let policy = policy();
    let due = |at: Timestamp| known.get(&key(1), &policy, at).map(|known| known.due);
    known.insert(&key(1), &policy, &usual(), given(start()));
    assert_eq!(due(start() - 60.seconds()), Some(false));
    assert_eq!(due(start() - 61.seconds()), Some(true));
    assert_eq!(due(start() - 300.seconds()), Some(true));
    assert_eq!(due(start() - 301.seconds()), None);
    // Nor is it waited for who has claimed it in a time to come.
    let later = start() + 11.minutes();
    assert_eq!(known.claim(&key(1), later), Some(1));
    assert_eq!(due(later - 60.seconds()), Some(false));
    known.insert(&key(1), &policy, &usual(), given(start() - 1.hour()));
    assert_eq!(due(later - 60.seconds()), Some(false));
    assert_eq!(due(later - 61.seconds()), Some(true));
    assert_eq!(known.claim(&key(1), later - 61.seconds()), Some(1));
}

#[test]
fn claims_are_counted_until_an_answer_is_found_and_can_be_given_back() {
    let known = Known::new(Limits::default());
    let policy = policy();
    known.insert(&key(1), &policy, &usual(), given(start()));
    let at = |minute: i64| start() + minute.minutes();
    for (minute, count) in [(10, 1), (11, 2), (12, 3)] {
        assert_eq!(known.claim(&key(1), at(minute)), Some(count));
    }
    assert_eq!(known.claim(&key(1), at(12)), None);
    known.release(&key(1));
    assert_eq!(known.claim(&key(1), at(12)), Some(4));
    known.insert(&key(1), &policy, &usual(), given(start()));
    assert_eq!(known.claim(&key(1), at(13)), Some(1));
}

/// Who may write to a store must not be believed for as long as a registry.
#[test]
fn what_came_second_hand_is_due_at_its_next_use_and_then_once_a_minute() {
    let known = Known::new(Limits::default());
    let policy = policy();
    let origin = Origin { fetched: start(), second_hand: true };
    let due = |at: Timestamp| known.get(&key(1), &policy, at).map(|known| known.due);
    known.insert(&key(1), &policy, &usual(), origin);
    assert_eq!(due(start()), Some(true));
    assert_eq!(known.claim(&key(1), start()), Some(1));
    known.insert(&key(1), &policy, &usual(), origin);
    assert_eq!(due(start() + 59.seconds()), Some(false));
    assert_eq!(due(start() + 60.seconds()), Some(true));
    known.insert(&key(1), &policy, &usual(), given(start()));
    assert_eq!(due(start() + 60.seconds()), Some(false));
}

/// The goal: fifty thousand usual answers in 35 MiB, keys and tables included.
#[test]
fn a_usual_answer_takes_less_than_seven_hundred_bytes() {
    let known = Known::new(Limits::default());
    let policy = policy();
    known.insert(&key(1), &policy, &usual(), given(start()));
    assert!((300..700).contains(&known.bytes()), "{}", known.bytes());
    // What a table and a queue of so many entries take of themselves, at their worst.
    let entry = size_of::<Key>() + size_of::<Entry>() + 1;
    assert!(entry * 16 / 7 + 2 * size_of::<Key>() <= ENTRY_OVERHEAD + 32, "{entry}");
}

#[test]
fn stays_within_its_bytes_and_lets_go_what_is_of_no_use() {
    let bytes = 1 << 20;
    let known = Known::new(Limits { bytes, ..Limits::default() });
    let policy = policy();
    let wanted: Vec<Key> = (0..64).map(key).collect();
    for number in 0..20_000 {
        known.insert(&key(number), &policy, &usual(), given(start()));
        assert!(known.bytes() <= bytes, "{number}");
        if number % 64 == 0 {
            for key in &wanted {
                let there = known.get(key, &policy, start()).is_some();
                assert!(there || number < 64, "{number}");
            }
        }
    }
    assert!(known.len() > 1000, "{}", known.len());
    let queued: usize = known.parts.iter().map(|part| locked(part).order.len()).sum();
    assert_eq!(queued, known.len(), "each has one place in the queue");
}

#[test]
fn removed_and_put_back_an_entry_has_one_place_in_the_queue() {
    let known = Known::new(Limits::default());
    for _ in 0..100 {
        known.insert(&key(1), &policy(), &usual(), given(start()));
        known.remove(&key(1));
        known.remove(&key(2));
    }
    let queued: usize = known.parts.iter().map(|part| locked(part).order.len()).sum();
    assert_eq!(queued, 1);
}

#[test]
fn one_that_would_drive_others_out_is_not_kept() {
    let known = Known::new(Limits { bytes: 1 << 20, ..Limits::default() });
    let many = vec![signature(SUBJECT, Verdict::Verified); 40];
    known.insert(&key(1), &policy(), &met(many), given(start()));
    assert!(known.is_empty());
    let none = Known::new(Limits { bytes: 0, ..Limits::default() });
    none.insert(&key(1), &policy(), &usual(), given(start()));
    assert_eq!((none.len(), none.bytes()), (0, 0));
}

/// Damage cannot come from outside; it is no admission all the same.
#[test]
fn what_cannot_be_unpacked_is_not_known() {
    let note = StepReport::passed(Step::Subject, "");
    let whole = pack::pack(&policy(), &usual()).unwrap();
    assert!(pack::unpack(&policy(), &whole, &note, false).is_some());
    for end in 0..whole.len() {
        assert!(pack::unpack(&policy(), &whole[..end], &note, false).is_none(), "{end}");
    }
}

#[test]
fn keys_differ_in_everything_that_an_answer_depends_on() {
    let references = |root: TrustRoot| References {
        default: Arc::new(root),
        named: std::collections::BTreeMap::new(),
        keys: compile::Keys::NoCluster,
    };
    let spec = |subject: &str| {
        serde_json::from_value(serde_json::json!({
            "images": [{ "glob": "**" }],
            "authorities": [{ "keyless": { "identities": [
                { "issuer": "https://issuer.example", "subject": subject },
            ] } }],
        }))
        .unwrap()
    };
    let version = |name: &str, subject: &str, root: TrustRoot| {
        let policy =
            compile::compile_cluster_image_policy(name, &spec(subject), &references(root)).unwrap();
        policy.version.unwrap()
    };
    let root = sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;
    let mut other: serde_json::Value = serde_json::from_str(root).unwrap();
    other["ctlogs"].as_array_mut().unwrap().pop();
    let other = TrustRoot::from_json(&other.to_string()).unwrap();
    let good = TrustRoot::public_good;
    let usual = version("p", "a", good());
    assert_eq!(usual, version("p", "a", good()));
    let versions =
        [usual, version("q", "a", good()), version("p", "b", good()), version("p", "a", other)];
    let digest = |byte: &[u8]| Digest::sha256_of(byte);
    let repository = |text: &str| text.parse::<Repository>().unwrap();
    let tenant = |byte: u8, own| Scope::Tenant { credentials: [byte; 32], secrets: [7; 32], own };
    let (used, withheld) = (OwnCredentials::Used, OwnCredentials::Withheld);
    let scopes = [
        vec![Scope::Own(used)],
        vec![Scope::Own(withheld)],
        vec![Scope::Own(used), Scope::Own(used)],
        vec![tenant(1, used)],
        vec![tenant(1, withheld)],
        vec![tenant(2, used)],
    ];
    let mut keys = std::collections::HashSet::new();
    let mut count = 0;
    for version in &versions {
        for digest in [digest(b"a"), digest(b"b")] {
            for repository in [repository("ghcr.io/a/b"), repository("ghcr.io/a")] {
                for scopes in &scopes {
                    keys.insert(Key::new(version, &digest, &repository, scopes));
                    count += 1;
                }
            }
        }
    }
    assert_eq!(keys.len(), count);
}
