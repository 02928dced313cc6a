use std::collections::BTreeMap;
use std::sync::LazyLock;

use proptest::collection;
use proptest::option;
use proptest::prelude::*;
use serde_json::Value;
use serde_json::json;

use super::*;
use crate::evidence::Place;
use crate::evidence::Problem;
use crate::image::Repository;
use crate::registry::limits::MAX_ANNOTATIONS;

fn now() -> Timestamp {
    "2026-03-01T12:00:00.123456789Z".parse().unwrap()
}

fn query() -> EvidenceQuery {
    let repository: Repository = "registry.example/team/app".parse().unwrap();
    let digest = Digest::sha256_of(b"image");
    EvidenceQuery { repository, digest, tag_prefix: "x-".to_owned(), attestations: true }
}

fn candidate(format: Format, bytes: &[u8], content: Result<Content, Failure>) -> Candidate {
    let (manifest, layer) = (Digest::sha256_of(b"manifest"), Digest::sha256_of(bytes));
    Candidate::new(Place::SignatureTag, manifest, layer, format, content)
}

fn bundle(bytes: &[u8]) -> Candidate {
    candidate(Format::Bundle, bytes, Ok(Content::Bundle(Bytes::copy_from_slice(bytes))))
}

fn signed(bytes: &[u8], annotations: BTreeMap<String, String>) -> Candidate {
    let payload = Bytes::copy_from_slice(bytes);
    candidate(Format::Legacy, bytes, Ok(Content::SimpleSigning { payload, annotations }))
}

fn attested(bytes: &[u8], annotations: BTreeMap<String, String>) -> Candidate {
    let envelope = Bytes::copy_from_slice(bytes);
    candidate(Format::Legacy, bytes, Ok(Content::Envelope { envelope, annotations }))
}

fn failed(reason: Reason) -> Candidate {
    let failure = Failure::new(reason, "a layer of type x/y").wanted("a bundle");
    candidate(Format::Bundle, b"", Err(failure))
}

fn annotations(count: usize) -> BTreeMap<String, String> {
    (0..count).map(|n| (format!("key{n}"), format!("value {n}"))).collect()
}

fn evidence(candidates: Vec<Candidate>) -> Evidence {
    Evidence { query: query(), candidates, problems: Vec::new(), kept: None }
}

fn every_kind() -> Evidence {
    evidence(vec![
        bundle(b"{}"),
        signed(b"payload", annotations(5)),
        attested(b"envelope", annotations(0)),
        failed(Reason::EvidenceUnsupported),
    ])
}

/// `Debug` shows every field.
fn shown(candidates: &[Candidate]) -> String {
    format!("{candidates:?}")
}

fn decoded(bytes: &[u8]) -> Result<Evidence, RecordError> {
    decode(&query(), bytes, now()).map(|(evidence, _)| evidence)
}

/// A record with this header and these blobs, and a checksum that matches.
fn record(header: &[u8], blobs: &[u8]) -> Vec<u8> {
    let length = u32::try_from(header.len()).unwrap().to_be_bytes();
    let body = [&length, header, blobs].concat();
    [&[VERSION], Sha256::digest(&body).as_slice(), &body].concat()
}

/// The record of `evidence` with its header changed, and a checksum that matches.
fn altered(evidence: &Evidence, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let bytes = encode(evidence, now()).unwrap();
    let (header, blobs) = open(&bytes).unwrap();
    let mut value = serde_json::from_slice(header).unwrap();
    change(&mut value);
    record(&serde_json::to_vec(&value).unwrap(), blobs)
}

#[test]
fn comes_back_as_it_was() {
    let evidence = every_kind();
    let bytes = encode(&evidence, now()).unwrap();
    let (found, fetched) = decode(&query(), &bytes, now()).unwrap();
    assert_eq!(fetched, now());
    assert_eq!(found.query, evidence.query);
    assert_eq!(shown(&found.candidates), shown(&evidence.candidates));
    assert!(found.problems.is_empty());
    assert_eq!(found.kept, Some(Kept { fetched: now(), stale: None, second_hand: true }));
}

#[test]
fn keeps_nothing_that_may_be_otherwise_the_next_time() {
    assert!(encode(&evidence(Vec::new()), now()).is_none(), "unsigned");
    let failure = Failure::new(Reason::EvidenceMalformed, "x");
    let problems = vec![Problem { place: Place::Referrers, failure }];
    assert!(encode(&Evidence { problems, ..every_kind() }, now()).is_none(), "a problem");
    for reason in [Reason::RegistryUnreachable, Reason::DeadlineExceeded, Reason::Overloaded] {
        let candidates = vec![bundle(b"{}"), failed(reason)];
        assert!(encode(&evidence(candidates), now()).is_none(), "{reason}");
    }
    let many = |count| evidence(vec![bundle(b"{}"); count]);
    assert!(encode(&many(MAX_CANDIDATES), now()).is_some());
    assert!(encode(&many(MAX_CANDIDATES + 1), now()).is_none());
}

#[test]
fn keeps_nothing_beyond_its_bound() {
    let of = |length: usize| encode(&evidence(vec![bundle(&vec![7; length])]), now());
    let overhead = of(1_000_000).unwrap().len() - 1_000_000;
    let largest = of(MAX_RECORD_BYTES - overhead).unwrap();
    assert_eq!(largest.len(), MAX_RECORD_BYTES);
    assert!(decoded(&largest).is_ok());
    assert!(of(MAX_RECORD_BYTES - overhead + 1).is_none());
    let larger = [&largest[..], &[0]].concat();
    assert!(matches!(decoded(&larger), Err(RecordError::TooLarge { .. })));
}

#[test]
fn rejects_the_answer_to_another_query() {
    let bytes = encode(&every_kind(), now()).unwrap();
    let EvidenceQuery { repository, digest, tag_prefix, attestations } = query();
    let others = [
        EvidenceQuery { repository: "registry.example/team/b".parse().unwrap(), ..query() },
        EvidenceQuery { repository: "other.example/team/app".parse().unwrap(), ..query() },
        EvidenceQuery { digest: Digest::sha256_of(b"other"), ..query() },
        EvidenceQuery { tag_prefix: String::new(), ..query() },
        EvidenceQuery { repository, digest, tag_prefix, attestations: !attestations },
    ];
    for other in others {
        let found = decode(&other, &bytes, now());
        assert!(matches!(found, Err(RecordError::Query)), "{other:?}: {found:?}");
    }
}

#[test]
fn rejects_what_comes_from_the_future() {
    let evidence = every_kind();
    let bytes = encode(&evidence, now() + MAX_AHEAD).unwrap();
    assert!(decoded(&bytes).is_ok());
    let bytes = encode(&evidence, now() + MAX_AHEAD + SignedDuration::from_nanos(1)).unwrap();
    assert!(matches!(decoded(&bytes), Err(RecordError::Future { .. })));
    let bytes = encode(&evidence, Timestamp::MAX).unwrap();
    assert!(matches!(decoded(&bytes), Err(RecordError::Future { .. })));
    let bytes = encode(&evidence, Timestamp::MIN).unwrap();
    assert!(decode(&query(), &bytes, Timestamp::MAX).is_ok());
}

#[test]
fn rejects_headers_that_nobody_writes() {
    let whole = every_kind();
    assert!(decoded(&altered(&whole, |_| ())).is_ok());
    let rejects = |what: &str, change: fn(&mut Value)| {
        let found = decoded(&altered(&whole, change));
        assert!(found.is_err(), "{what}");
    };
    rejects("an unknown field", |header| header["x"] = json!(1));
    rejects("one of a candidate", |header| header["candidates"][0]["x"] = json!(1));
    rejects("one of a content", |header| {
        header["candidates"][0]["content"]["bundle"]["x"] = json!(1);
    });
    rejects("no candidates", |header| header["candidates"] = json!([]));
    rejects("a missing field", |header| {
        header["candidates"][0].as_object_mut().unwrap().remove("place");
    });
    rejects("no digest", |header| header["candidates"][0]["manifest"] = json!("sha256:x"));
    rejects("another blob's digest", |header| {
        header["candidates"][0]["layer"] = header["candidates"][1]["layer"].clone();
    });
    rejects("too long", |header| {
        header["candidates"][2]["content"]["envelope"]["length"] = json!(u64::MAX);
    });
    rejects("a format of something else", |header| {
        header["candidates"][0]["format"] = json!("legacy");
    });
    rejects("a reason that passes", |header| {
        header["candidates"][3]["content"]["failed"]["reason"] = json!("registry-unreachable");
    });
    rejects("a reason of another step", |header| {
        header["candidates"][3]["content"]["failed"]["reason"] = json!("static-fail");
    });
    rejects("a reason that nobody knows", |header| {
        header["candidates"][3]["content"]["failed"]["reason"] = json!("novel");
    });
    rejects("a forged line", |header| {
        header["candidates"][3]["content"]["failed"]["found"] = json!("a\nb");
    });
    rejects("an endless text", |header| {
        header["candidates"][3]["content"]["failed"]["wanted"] = json!("x".repeat(1000));
    });
}

#[test]
fn rejects_more_than_a_registry_may_hand_out() {
    let one = evidence(vec![signed(b"payload", annotations(MAX_ANNOTATIONS))]);
    assert!(decoded(&encode(&one, now()).unwrap()).is_ok());
    let one = evidence(vec![signed(b"payload", annotations(MAX_ANNOTATIONS + 1))]);
    let error = decoded(&encode(&one, now()).unwrap()).unwrap_err();
    assert!(crate::error::one_line(&error).contains("more than 64 annotations"), "{error:?}");
    let failures = evidence(vec![failed(Reason::EvidenceMalformed); MAX_CANDIDATES]);
    let bytes = altered(&failures, |header| {
        let candidates = header["candidates"].as_array_mut().unwrap();
        candidates.push(candidates[0].clone());
    });
    let error = decoded(&bytes).unwrap_err();
    assert!(crate::error::one_line(&error).contains("more than 128 candidates"), "{error:?}");
}

#[test]
fn rejects_what_stands_twice_or_follows() {
    let evidence = evidence(vec![signed(b"payload", annotations(1))]);
    let bytes = encode(&evidence, now()).unwrap();
    let (header, blobs) = open(&bytes).unwrap();
    assert!(decoded(&record(header, blobs)).is_ok());
    let excess = [blobs, b"x"].concat();
    assert!(matches!(decoded(&record(header, &excess)), Err(RecordError::Excess { found: 1 })));
    let header = String::from_utf8(header.to_vec()).unwrap();
    let twice = header.replace(r#""key0":"value 0""#, r#""key0":"value 0","key0":"b""#);
    assert_ne!(twice, header);
    assert!(decoded(&record(twice.as_bytes(), blobs)).is_err());
    assert!(decoded(&record(format!("{header}{{}}").as_bytes(), blobs)).is_err());
    let deep = "[".repeat(100_000);
    assert!(decoded(&record(deep.as_bytes(), blobs)).is_err());
    assert!(matches!(decoded(&record(b"", b"")), Err(RecordError::Header(_))));
    let long = [&[VERSION], Sha256::digest(u32::MAX.to_be_bytes()).as_slice(), &[0xff; 4]].concat();
    assert!(matches!(decoded(&long), Err(RecordError::Truncated)));
}

fn some_annotations() -> impl Strategy<Value = BTreeMap<String, String>> {
    collection::btree_map(".{0,20}", "\\PC{0,200}", 0..8)
}

fn some_candidate() -> impl Strategy<Value = Candidate> {
    let bytes = || collection::vec(any::<u8>(), 0..300);
    let reasons: Vec<Reason> =
        Reason::ALL.iter().copied().filter(|reason| is_final(*reason)).collect();
    prop_oneof![
        bytes().prop_map(|bytes| bundle(&bytes)),
        (bytes(), some_annotations()).prop_map(|(bytes, map)| signed(&bytes, map)),
        (bytes(), some_annotations()).prop_map(|(bytes, map)| attested(&bytes, map)),
        (proptest::sample::select(reasons), ".{0,400}", option::of(".{0,400}")).prop_map(
            |(reason, found, wanted)| {
                let failure = Failure::new(reason, found).wanted(wanted.unwrap_or_default());
                candidate(Format::Legacy, b"", Err(failure))
            }
        ),
    ]
}

static SAMPLE: LazyLock<Vec<u8>> = LazyLock::new(|| encode(&every_kind(), now()).unwrap());

proptest! {
    #[test]
    fn whatever_is_kept_comes_back(candidates in collection::vec(some_candidate(), 1..6)) {
        let bytes = encode(&evidence(candidates.clone()), now()).unwrap();
        prop_assert_eq!(shown(&decoded(&bytes).unwrap().candidates), shown(&candidates));
    }

    #[test]
    fn rejects_every_flipped_byte(at in 0..SAMPLE.len(), mask in 1..=u8::MAX) {
        let mut bytes = SAMPLE.clone();
        bytes[at] ^= mask;
        prop_assert!(decoded(&bytes).is_err());
    }

    #[test]
    fn rejects_a_flipped_byte_whose_checksum_was_made_to_match(
        at in 1 + HASH_BYTES..SAMPLE.len(),
        mask in 1..=u8::MAX,
    ) {
        let mut bytes = SAMPLE.clone();
        bytes[at] ^= mask;
        let checksum = Sha256::digest(&bytes[1 + HASH_BYTES..]);
        bytes[1..=HASH_BYTES].copy_from_slice(&checksum);
        // What is no blob may say something else, of the same query and with the same blobs.
        if let Ok(found) = decoded(&bytes) {
            prop_assert_eq!(found.query, query());
            let blobs: Vec<_> = found.candidates.iter().filter_map(blob).collect();
            prop_assert_eq!(blobs, ["{}", "payload", "envelope"]);
        }
    }

    #[test]
    fn rejects_every_truncation(length in 0..SAMPLE.len()) {
        prop_assert!(decoded(&SAMPLE[..length]).is_err());
    }

    #[test]
    fn never_panics(
        bytes in collection::vec(any::<u8>(), 0..400),
        header in "\\PC{0,200}",
    ) {
        let _ = decoded(&bytes);
        prop_assert!(decoded(&record(header.as_bytes(), &bytes)).is_err());
    }
}
