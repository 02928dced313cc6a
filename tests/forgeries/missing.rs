//! Honest signatures that lack what is asked for, or that the trust root does not cover.
use super::*;
use crate::virtual_sigstore::Authority;

#[test]
fn rejects_evidence_of_the_wrong_kind_and_what_is_missing() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let key = Key::generate(Algorithm::P256);
    let public = PublicKey::from_pem(&key.public_pem(), None).unwrap().remove(0);
    let v03 = Packed::Bundle(Version::V03);
    let ask = |key, demands| Asked { root: &root, key, demands };
    let mut table = Table::default();
    let keyed = pack(sigstore.keyed(&key), v03, &image());
    let keyless = pack(sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1), v03, &image());
    let stamped = pack(sigstore.keyless(ALICE, ISSUER).timestamp(1), v03, &image());
    let classic =
        pack(sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1), Packed::Classic, &image());
    let bare = pack(sigstore.keyless(ALICE, ISSUER), Packed::Classic, &image());
    let proof = Demands::new(LogDemand::Proof, false);
    let timestamp = Demands::new(LogDemand::Optional, true);
    for (row, candidate, key, demands, wanted) in [
        ("a key's, asked for an identity", &keyed, None, OPTIONAL, Reason::CertificateAbsent),
        (
            "an identity's, asked for a key",
            &keyless,
            Some(&public),
            OPTIONAL,
            Reason::CertificateUnexpected,
        ),
        (
            "a key's without the log asked for",
            &keyed,
            Some(&public),
            LOGGED,
            Reason::LogEntryAbsent,
        ),
        ("an identity's without the log", &stamped, None, LOGGED, Reason::LogEntryAbsent),
        ("without the timestamp asked for", &keyless, None, timestamp, Reason::TimestampAbsent),
        ("a promise, asked for a proof", &classic, None, proof, Reason::InclusionProofAbsent),
        ("nothing that proves a time", &bare, None, OPTIONAL, Reason::TimestampAbsent),
    ] {
        table.expect(row.to_owned(), verify(candidate, &ask(key, demands)), wanted);
    }
    let unpromised = sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1).tamper(Part::PromiseAbsent);
    let unpromised = pack(unpromised, v03, &image());
    table.expect(
        "a time that nothing signs (CVE-2024-55655)".to_owned(),
        verify(&unpromised, &ask(None, LOGGED)),
        Reason::TimestampAbsent,
    );
    table.finish();
}

#[test]
fn rejects_what_the_trust_root_no_longer_or_does_not_cover() {
    let sigstore = VirtualSigstore::new(start());
    let signing = || sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1).timestamp(1);
    let v2 = || sigstore.keyless(ALICE, ISSUER).log(Log::RekorV2).timestamp(1);
    let v03 = Packed::Bundle(Version::V03);
    let mut table = Table::default();
    let cases = [
        (
            "log expired",
            sigstore.trusted_root().expired(Authority::RekorV1),
            Reason::LogKeyOutsideWindow,
            false,
        ),
        (
            "log v2 expired",
            sigstore.trusted_root().expired(Authority::RekorV2),
            Reason::LogKeyOutsideWindow,
            true,
        ),
        (
            "authority expired",
            sigstore.trusted_root().expired(Authority::Fulcio),
            Reason::CertificateAuthorityExpired,
            false,
        ),
        (
            "TSA expired",
            sigstore.trusted_root().expired(Authority::Tsa),
            Reason::TimestampOutsideWindow,
            false,
        ),
        ("no log", sigstore.trusted_root().omit(Authority::RekorV1), Reason::LogUnknown, false),
        ("no log v2", sigstore.trusted_root().omit(Authority::RekorV2), Reason::LogUnknown, true),
        ("no TSA", sigstore.trusted_root().omit(Authority::Tsa), Reason::TimestampInvalid, false),
        ("no CT log", sigstore.trusted_root().omit(Authority::CtLog), Reason::SctInvalid, false),
    ];
    for (row, root, wanted, rekor_v2) in cases {
        let root = TrustRoot::from_json(&root.json()).unwrap();
        let asked = Asked { root: &root, key: None, demands: LOGGED };
        let signing = if rekor_v2 { v2() } else { signing() };
        table.expect(row.to_owned(), verify(&pack(signing, v03, &image()), &asked), wanted);
    }
    table.finish();
}

#[test]
fn rejects_an_entry_whose_body_is_of_another_kind_than_its_label() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    let signing = sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1);
    let mut signed = signing.bundle(Version::V03).sign(&image());
    verify(&signed.candidate(), &asked).unwrap();
    let label = &mut signed.bundle["verificationMaterial"]["tlogEntries"][0]["kindVersion"];
    *label = serde_json::json!({ "kind": "intoto", "version": "0.0.2" });
    let failure = verify(&signed.candidate(), &asked).unwrap_err();
    assert_eq!(failure.reason, Reason::LogEntryMalformed, "{failure}");
    assert!(failure.found.contains("of kind dsse 0.0.1"), "{failure}");
}

#[test]
fn rejects_a_second_entry_that_nothing_proves() {
    let sigstore = VirtualSigstore::new(start());
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let asked = Asked { root: &root, key: None, demands: LOGGED };
    let signing = sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1);
    let mut signed = signing.bundle(Version::V03).sign(&image());
    let entries = &mut signed.bundle["verificationMaterial"]["tlogEntries"];
    let mut bare = entries[0].clone();
    for part in ["inclusionPromise", "inclusionProof"] {
        bare.as_object_mut().unwrap().remove(part).unwrap();
    }
    entries.as_array_mut().unwrap().push(bare);
    let failure = verify(&signed.candidate(), &asked).unwrap_err();
    assert_eq!(failure.reason, Reason::InclusionProofAbsent, "{failure}");
}
