//! A log that is down, slow, endless or no log at all: bounded, and never an admission.
use std::time::Duration;
use std::time::Instant;

use serde_json::json;
use tegata::admission::MAX_SEARCHES;
use tegata::evidence::annotation;
use tegata::image::Digest;
use tegata::rekor::limits::MAX_BATCH_BYTES;
use tegata::rekor::limits::MAX_ENTRY_BYTES;
use tegata::rekor::limits::MAX_INDEX_BYTES;
use tegata::rekor::limits::MAX_LISTED;
use tegata::verdict::Reason;

use super::Cluster;
use super::LONG;
use super::digest;
use crate::fake_rekor::Fault;

const SEARCH: &str = "index/retrieve";
const FETCH: &str = "entries/retrieve";

/// A cluster whose log has the entry of the image's one signature.
async fn logged() -> Cluster {
    let mut cluster = Cluster::new().await;
    let signed = cluster.alice().classic().sign(&digest());
    cluster.attach_classic(signed);
    cluster
}

#[tokio::test]
async fn a_failing_log_is_indeterminate_and_not_remembered() {
    for path in [SEARCH, FETCH] {
        for (fault, wanted) in [
            (Fault::Status(500), Reason::LogUnreachable),
            (Fault::Status(503), Reason::LogUnreachable),
            (Fault::Status(429), Reason::LogUnreachable),
            (Fault::Status(403), Reason::LogUnreachable),
            (Fault::Status(404), Reason::LogEntryAbsent),
            (Fault::Text("<html>".to_owned()), Reason::LogAnswerMalformed),
            (Fault::Text("{}".to_owned()), Reason::LogAnswerMalformed),
            (Fault::Text("[[]]".to_owned()), Reason::LogAnswerMalformed),
            (Fault::Text("[]".to_owned()), Reason::LogEntryAbsent),
            (Fault::Redirect("http://127.0.0.1:1/".to_owned()), Reason::LogAddressForbidden),
            (Fault::Endless, Reason::LogSearchTooLarge),
        ] {
            let cluster = logged().await;
            let absent = wanted == Reason::LogEntryAbsent;
            println!("{path} {fault:?}");
            cluster.log.fault(path, fault);
            cluster.admit_alice().await.assert_denied(wanted);
            cluster.log.heal();
            // A batch that is left out is an answer, if an incomplete one.
            let left_out = path == FETCH && wanted == Reason::LogSearchTooLarge;
            if !absent && !left_out {
                cluster.admit_alice().await.assert_verified();
            }
        }
    }
}

#[tokio::test]
async fn a_log_that_hangs_is_given_up_by_the_deadline() {
    for path in [SEARCH, FETCH] {
        let cluster = logged().await;
        cluster.log.fault(path, Fault::Hang);
        let identity = json!({ "issuer": super::ISSUER, "subject": super::ALICE });
        let authority = json!({ "keyless": { "identities": [identity] } });
        let begin = Instant::now();
        let answer = cluster.admit(authority, Duration::from_millis(1500)).await;
        answer.assert_denied(Reason::LogUnreachable);
        assert!(begin.elapsed() < Duration::from_secs(3), "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn nobody_listening_is_indeterminate() {
    let mut cluster = logged().await;
    cluster.log = Cluster::new().await.log;
    let url = cluster.log.url();
    cluster.client = tegata::rekor::Rekor::new(&Default::default(), [url.clone()]).unwrap();
    cluster.log.fault("", Fault::Hang);
    let stopped = Cluster::new().await;
    drop(std::mem::replace(&mut cluster.log, stopped.log));
    cluster.ctlog = json!({ "url": url.to_string() });
    tokio::time::sleep(Duration::from_millis(50)).await;
    cluster.admit_alice().await.assert_denied(Reason::LogUnreachable);
}

#[tokio::test]
async fn an_unavailable_log_admits_only_where_the_policy_says_so_and_never_a_bad_signature() {
    let mut cluster = logged().await;
    cluster.spec = json!({ "onUnavailable": "allow" });
    cluster.log.fault("", Fault::Status(500));
    assert!(cluster.admit_alice().await.0.allowed);

    let mallory = cluster.sigstore.keyless("mallory@example.com", super::ISSUER);
    let mallory = mallory.classic().sign(&digest()).candidate();
    let forged = crate::virtual_sigstore::Part::SignatureBytes;
    let forged = cluster.sigstore.keyless(super::ALICE, super::ISSUER).tamper(forged);
    let forged = forged.classic().sign(&digest()).candidate();
    for candidate in [mallory, forged] {
        cluster.candidates = vec![candidate];
        cluster.admit_alice().await.assert_denied(Reason::LogEntryAbsent);
    }
}

/// Nothing of a classic signature without a certificate can be checked before the log has spoken, so
/// anyone can make one: it must not turn a denial into an outage.
#[tokio::test]
async fn a_signature_that_nobody_can_check_makes_nothing_undecided() {
    let mut cluster = Cluster::new().await;
    cluster.spec = json!({ "onUnavailable": "allow" });
    let mut signed = cluster.alice().classic().sign(&digest());
    signed.annotations.remove(annotation::CERTIFICATE);
    signed.annotations.remove(annotation::CHAIN);
    cluster.attach_classic(signed);
    for fault in [Fault::Status(500), Fault::Hang] {
        cluster.log.fault("", fault);
        cluster.admit_alice().await.assert_denied(Reason::CertificateAbsent);
        cluster.log.heal();
    }
    cluster.admit_alice().await.assert_verified();
}

#[tokio::test]
async fn ten_thousand_hits_are_not_looked_at_one_by_one() {
    for (before, after, wanted) in [
        (0, 10_000, None),
        (10_000, 0, None),
        (MAX_LISTED / 2 - 1, 10_000, None),
        (5_000, 5_000, Some(Reason::LogSearchTooLarge)),
        (16_000, 0, Some(Reason::LogSearchTooLarge)),
    ] {
        let mut cluster = Cluster::new().await;
        let signed = cluster.alice().classic().sign(&digest());
        let payload = Digest::sha256_of(&signed.payload);
        cluster.log.flood(&payload, before);
        cluster.attach_classic(signed);
        cluster.log.flood(&payload, after);
        let answer = cluster.admit_alice().await;
        match wanted {
            None => answer.assert_verified(),
            Some(reason) => drop(answer.assert_denied(reason)),
        }
        assert!(cluster.log.count(FETCH) <= MAX_LISTED / 10);
    }
}

/// Answers of the greatest size are read, and one byte more is not.
#[tokio::test]
async fn bounds_answers_from_both_sides() {
    for (path, most) in [(SEARCH, MAX_INDEX_BYTES), (FETCH, MAX_BATCH_BYTES)] {
        for (length, wanted) in
            [(most, Reason::LogEntryAbsent), (most + 1, Reason::LogSearchTooLarge)]
        {
            let cluster = logged().await;
            let padded = format!("[{}]", " ".repeat(length - 2));
            cluster.log.fault(path, Fault::Text(padded));
            println!("{path} {length}");
            cluster.admit_alice().await.assert_denied(wanted);
        }
    }
}

/// An entry of the greatest size counts, and one byte more is as if it were not there.
#[tokio::test]
async fn bounds_an_entry_from_both_sides() {
    for (length, admitted) in [(MAX_ENTRY_BYTES, true), (MAX_ENTRY_BYTES + 1, false)] {
        let mut cluster = Cluster::new().await;
        let mut signed = cluster.alice().classic().sign(&digest());
        let entry = &mut signed.entries[0];
        entry["attestation"] = json!({ "data": "" });
        let rest = entry.to_string().len();
        entry["attestation"]["data"] = json!("x".repeat(length - rest));
        assert_eq!(entry.to_string().len(), length);
        cluster.attach_classic(signed);
        let answer = cluster.admit_alice().await;
        match admitted {
            true => answer.assert_verified(),
            false => drop(answer.assert_denied(Reason::LogEntryAbsent)),
        }
    }
}

#[tokio::test]
async fn only_so_many_signatures_are_looked_up() {
    for (count, wanted) in
        [(MAX_SEARCHES, Reason::LogEntryAbsent), (MAX_SEARCHES + 1, Reason::LogSearchTooLarge)]
    {
        let mut cluster = Cluster::new().await;
        for _ in 0..count {
            let signed = cluster.alice().classic().sign(&digest());
            cluster.candidates.push(signed.unlogged().candidate());
        }
        let identity = json!({ "issuer": super::ISSUER, "subject": super::ALICE });
        let authority = json!({ "keyless": { "identities": [identity] } });
        let answer = cluster.admit(authority, LONG).await;
        let reasons: Vec<_> = answer.0.images[0].report.policies[0].authorities[0]
            .signatures
            .iter()
            .flat_map(|signature| &signature.steps)
            .filter_map(|step| step.reason)
            .collect();
        assert_eq!(reasons.len(), count);
        assert!(reasons.contains(&wanted), "{reasons:?}");
        assert_eq!(cluster.log.count(SEARCH), MAX_SEARCHES);
    }
}
