//! What is kept of verifications, and what is not. `tests/identities/facts.rs` has the rest, with
//! certificates, logs and timestamps.
use std::collections::BTreeMap;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::ECDSA_P256_SHA256_ASN1_SIGNING;
use aws_lc_rs::signature::EcdsaKeyPair;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use serde_json::json;

use super::*;
use crate::evidence::Content;
use crate::evidence::Format;
use crate::evidence::Place;
use crate::evidence::annotation;
use crate::image::Digest;
use crate::policy::Demands;
use crate::policy::LogDemand;
use crate::policy::PayloadKind;
use crate::trust_root::TrustRoot;
use crate::verdict::Reason;
use crate::verify::PublicKey;

fn key_pair() -> (EcdsaKeyPair, PublicKey) {
    let key = rcgen::KeyPair::generate().unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &key.serialize_der());
    (pair.unwrap(), PublicKey::from_pem(&key.public_key_pem(), None).unwrap().remove(0))
}

fn signed(pair: &EcdsaKeyPair, digest: &Digest) -> Candidate {
    let critical = json!({ "type": "cosign container image signature",
        "identity": { "docker-reference": "" },
        "image": { "docker-manifest-digest": digest.to_string() } });
    let payload = json!({ "critical": critical, "optional": null }).to_string();
    let signature = pair.sign(&SystemRandom::new(), payload.as_bytes()).unwrap();
    let signature = (annotation::SIGNATURE.to_owned(), STANDARD.encode(signature));
    let payload = Bytes::from(payload);
    let annotations = BTreeMap::from([signature]);
    Candidate::new(
        Place::SignatureTag,
        digest.clone(),
        digest.clone(),
        Format::Legacy,
        Ok(Content::SimpleSigning { payload, annotations }),
    )
}

fn image(word: &str) -> Digest {
    Digest::sha256_of(word.as_bytes())
}

fn question<'a>(key: &'a PublicKey, digest: &'a Digest, root: &'a TrustRoot) -> Question<'a> {
    Question {
        digest,
        key: Some(key),
        demands: Demands::new(LogDemand::Optional, false),
        payload: &PayloadKind::Signature,
        trust_root: root,
        now: Timestamp::UNIX_EPOCH,
    }
}

fn ask(facts: &Facts, candidate: &Candidate, question: &Question<'_>) -> Result<(), Reason> {
    let examined = facts.verify(candidate, question, &LookedUp::NotAsked);
    examined.result.map(drop).map_err(|failure| failure.reason)
}

fn counts(verified: u64, reused: u64) -> Counts {
    Counts { verified, reused }
}

#[test]
fn what_succeeded_is_verified_once() {
    let (facts, root, digest) = (Facts::default(), TrustRoot::public_good(), image("a"));
    let (pair, key) = key_pair();
    let candidate = signed(&pair, &digest);
    let question = question(&key, &digest, &root);
    assert!(!facts.knows(&candidate, &question, &LookedUp::NotAsked));
    let first = facts.verify(&candidate, &question, &LookedUp::NotAsked);
    assert!(facts.knows(&candidate, &question, &LookedUp::NotAsked));
    // From elsewhere, under other digests: it is the same.
    let mut copy = candidate.clone();
    (copy.place, copy.manifest) = (Place::Referrers, image("b"));
    for same in [&candidate, &copy] {
        let again = facts.verify(same, &question, &LookedUp::NotAsked);
        assert_eq!(again.steps, first.steps);
        assert_eq!(again.result.unwrap().signer(), first.result.as_ref().unwrap().signer());
    }
    assert_eq!(facts.counts(), counts(1, 2));
}

#[test]
fn anything_else_is_another_question() {
    let (facts, root, digest) = (Facts::default(), TrustRoot::public_good(), image("a"));
    let (pair, key) = key_pair();
    let (_, another) = key_pair();
    let candidate = signed(&pair, &digest);
    assert_eq!(ask(&facts, &candidate, &question(&key, &digest, &root)), Ok(()));
    let other = image("b");
    let refused = ask(&facts, &candidate, &question(&key, &other, &root));
    assert_eq!(refused, Err(Reason::PayloadDigestMismatch));
    let refused = ask(&facts, &candidate, &question(&another, &digest, &root));
    assert_eq!(refused, Err(Reason::SignatureInvalid));
    let logged = Demands::new(LogDemand::Entry, false);
    let asked = Question { demands: logged, ..question(&key, &digest, &root) };
    assert_eq!(ask(&facts, &candidate, &asked), Err(Reason::LogEntryAbsent));
    let statement = PayloadKind::Statement { predicate_types: None };
    let asked = Question { payload: &statement, ..question(&key, &digest, &root) };
    assert_eq!(ask(&facts, &candidate, &asked), Err(Reason::PredicateTypeUnexpected));
    for change in [
        (|_, annotations| annotations.clear()) as fn(&mut Bytes, &mut BTreeMap<String, String>),
        |payload, _| *payload = Bytes::from([payload, b" ".as_slice()].concat()),
        |_, annotations| {
            annotations.insert(annotation::BUNDLE.to_owned(), "{}".to_owned());
        },
    ] {
        let mut changed = candidate.clone();
        let Ok(Content::SimpleSigning { payload, annotations }) = &mut changed.content else {
            panic!("a payload");
        };
        change(payload, annotations);
        assert!(ask(&facts, &changed, &question(&key, &digest, &root)).is_err());
    }
    assert_eq!(facts.counts(), counts(8, 0));
}

#[test]
fn failures_are_not_kept() {
    let (facts, root, digest) = (Facts::default(), TrustRoot::public_good(), image("a"));
    let ((pair, _), (_, another)) = (key_pair(), key_pair());
    let candidate = signed(&pair, &digest);
    for _ in 0..2 {
        let refused = ask(&facts, &candidate, &question(&another, &digest, &root));
        assert_eq!(refused, Err(Reason::SignatureInvalid));
    }
    assert_eq!(facts.counts(), counts(2, 0));
}

fn fact() -> Fact {
    let (root, digest) = (TrustRoot::public_good(), image("a"));
    let (pair, key) = key_pair();
    let examined = verify::verify(&signed(&pair, &digest), &question(&key, &digest, &root));
    Fact { steps: examined.steps.into(), proof: examined.result.unwrap() }
}

fn key_of(number: usize) -> Fingerprint {
    Parts::of("test").number(number).finish()
}

#[test]
fn facts_take_a_bounded_part_of_the_memory() {
    let (fact, mut table) = (fact(), Table::default());
    let most = MAX_FACT_BYTES / fact.size();
    for number in 0..4 * most {
        table.keep(key_of(number), fact.clone());
        assert!(table.young.len() + table.old.len() <= most);
        assert!(table.bytes <= MAX_FACT_BYTES / 2);
    }
    assert!(table.find(&key_of(4 * most - 1)).is_some());
    assert!(table.find(&key_of(0)).is_none());
}

#[test]
fn what_is_asked_for_outlives_what_is_not() {
    let (fact, mut table) = (fact(), Table::default());
    let half = MAX_FACT_BYTES / 2 / fact.size();
    table.keep(key_of(0), fact.clone());
    table.keep(key_of(1), fact.clone());
    for number in 2..6 * half {
        table.keep(key_of(number), fact.clone());
        if number % 100 == 0 {
            assert!(table.find(&key_of(0)).is_some(), "{number}");
        }
    }
    assert!(table.find(&key_of(1)).is_none());
}
