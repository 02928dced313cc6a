//! Certificates of an authority that the policy names.
use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use jiff::Timestamp;
use jiff::ToSpan as _;
use serde_json::json;
use tegata::api::ClusterImagePolicySpec;
use tegata::evidence::Candidate;
use tegata::policy::Demands;
use tegata::policy::LogDemand;
use tegata::policy::PayloadKind;
use tegata::policy::Policy;
use tegata::policy::PolicyId;
use tegata::policy::Signer;
use tegata::policy::compile::CompileError;
use tegata::policy::compile::Entry;
use tegata::policy::compile::KeyHolder;
use tegata::policy::compile::KeyPlace;
use tegata::policy::compile::Keys;
use tegata::policy::compile::References;
use tegata::policy::compile::compile_cluster_image_policy;
use tegata::policy::compile::key_places;
use tegata::trust_root::TrustRoot;
use tegata::verdict::Failure;
use tegata::verdict::Reason;
use tegata::verify::CertificateAuthority;
use tegata::verify::MAX_AUTHORITY_CERTIFICATES;
use tegata::verify::MAX_REVOCATION_LIST_BYTES;
use tegata::verify::Question;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::DecodePem as _;

use crate::ALICE;
use crate::ISSUER;
use crate::gate::Gate;
use crate::image;
use crate::start;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::Part;
use crate::virtual_sigstore::Signing;
use crate::virtual_sigstore::Version;
use crate::virtual_sigstore::VirtualSigstore;

const OPTIONAL: Demands = Demands::new(LogDemand::Optional, false);

/// While the certificate is valid, and a day later.
const SOON: SignedDuration = SignedDuration::from_mins(5);
const LATER: SignedDuration = SignedDuration::from_hours(24);

fn own(sigstore: &VirtualSigstore) -> CertificateAuthority {
    let [root, intermediate] = sigstore.authority_pem();
    CertificateAuthority::from_pem(&root, Some(&intermediate), None).unwrap()
}

fn bundle(signing: Signing<'_>) -> Candidate {
    signing.bundle(Version::V03).sign(&image()).candidate()
}

fn verify(
    sigstore: &VirtualSigstore,
    authority: &CertificateAuthority,
    candidate: &Candidate,
    demands: Demands,
    after: SignedDuration,
) -> Result<(), Failure> {
    let root = TrustRoot::from_json(&sigstore.trusted_root_json()).unwrap();
    let question = Question {
        digest: &image(),
        key: None,
        demands,
        payload: &PayloadKind::Signature,
        trust_root: &root,
        now: start() + after,
    };
    tegata::verify::verify_certified(candidate, &question, authority).result.map(drop)
}

fn denied(found: Result<(), Failure>, wanted: Reason, row: &str) {
    let failure = found.expect_err(row);
    assert_eq!(failure.reason, wanted, "{row}: {failure}");
}

#[test]
fn accepts_certificates_that_are_valid_now_or_were_when_it_is_proven() {
    let sigstore = VirtualSigstore::new(start());
    let authority = own(&sigstore);
    let sign = || sigstore.keyless(ALICE, ISSUER);
    for (row, candidate, after) in [
        ("valid now", bundle(sign()), SOON),
        ("stamped", bundle(sign().timestamp(1)), LATER),
        ("logged", bundle(sign().log(Log::RekorV1)), LATER),
        ("logged and stamped", bundle(sign().log(Log::RekorV2).timestamp(1)), LATER),
        ("P-384", bundle(sign().algorithm(Algorithm::P384).log(Log::RekorV1)), LATER),
        ("RSA", bundle(sign().algorithm(Algorithm::Rsa).timestamp(1)), LATER),
        ("classic", sign().log(Log::RekorV1).classic().sign(&image()).candidate(), LATER),
    ] {
        let found = verify(&sigstore, &authority, &candidate, OPTIONAL, after);
        assert_eq!(found, Ok(()), "{row}");
    }
    let [root, _] = sigstore.authority_pem();
    let bare = CertificateAuthority::from_pem(&root, None, None).unwrap();
    let brought = sign().chain_annotation().classic().sign(&image()).candidate();
    assert_eq!(verify(&sigstore, &bare, &brought, OPTIONAL, SOON), Ok(()));
    let alone = bundle(sign());
    let found = verify(&sigstore, &bare, &alone, OPTIONAL, SOON);
    denied(found, Reason::CertificateUntrusted, "no intermediate");
}

#[test]
fn rejects_every_forged_part() {
    let sigstore = VirtualSigstore::new(start());
    let authority = own(&sigstore);
    let v1 = || sigstore.keyless(ALICE, ISSUER).log(Log::RekorV1).timestamp(1);
    for (part, wanted) in [
        (Part::SignatureBytes, Reason::SignatureInvalid),
        (Part::SignatureByAnotherKey, Reason::SignatureInvalid),
        (Part::PayloadDigest, Reason::PayloadDigestMismatch),
        (Part::CertificateOfAnotherAuthority, Reason::CertificateUntrusted),
        (Part::CertificateWithoutCodeSigning, Reason::CertificateUntrusted),
        (Part::RawKeyForCertificate, Reason::CertificateMalformed),
        (Part::NoCertificates, Reason::CertificateAbsent),
        (Part::LogEntryOfAnotherSignature, Reason::LogEntryMismatch),
        (Part::LogEntryOfAnotherCertificate, Reason::LogEntryMismatch),
        (Part::LogEntryOfAnotherDigest, Reason::LogEntryMismatch),
        (Part::LogUnknown, Reason::LogUnknown),
        (Part::TimestampOfAnotherSignature, Reason::TimestampInvalid),
        (Part::TimestampOfUnknownAuthority, Reason::TimestampInvalid),
        (Part::TimestampOutsideWindow, Reason::TimestampOutsideWindow),
        (Part::TimestampAfterCertificate, Reason::SigningTimeOutsideCertificate),
        (Part::SigningTimeInFuture, Reason::SigningTimeInFuture),
    ] {
        let found = verify(&sigstore, &authority, &bundle(v1().tamper(part)), OPTIONAL, LATER);
        denied(found, wanted, &format!("{part:?}"));
    }
}

#[test]
fn rejects_what_is_missing_or_over() {
    let sigstore = VirtualSigstore::new(start());
    let authority = own(&sigstore);
    let sign = || sigstore.keyless(ALICE, ISSUER);
    let key = Key::generate(Algorithm::P256);
    let logged = Demands::new(LogDemand::Entry, false);
    let stamped = Demands::new(LogDemand::Optional, true);
    for (row, candidate, demands, after, wanted) in [
        ("over", bundle(sign()), OPTIONAL, LATER, Reason::SigningTimeOutsideCertificate),
        ("not logged", bundle(sign().timestamp(1)), logged, LATER, Reason::LogEntryAbsent),
        ("not stamped", bundle(sign()), stamped, SOON, Reason::TimestampAbsent),
        ("a key's", bundle(sigstore.keyed(&key)), OPTIONAL, SOON, Reason::CertificateAbsent),
    ] {
        denied(verify(&sigstore, &authority, &candidate, demands, after), wanted, row);
    }
}

#[test]
fn rejects_an_own_authority_whose_intermediate_has_expired() {
    let sigstore = VirtualSigstore::new(start());
    let [root, intermediate] = sigstore.lapsed_authority_pem();
    let authority = CertificateAuthority::from_pem(&root, Some(&intermediate), None).unwrap();
    let signing = sigstore.keyless(ALICE, ISSUER).timestamp(1).tamper(Part::IntermediateExpired);
    let found = verify(&sigstore, &authority, &bundle(signing), OPTIONAL, LATER);
    denied(found, Reason::CertificateAuthorityExpired, "lapsed");
}

#[test]
fn revocation_lists_are_current_of_the_issuer_and_final() {
    let sigstore = VirtualSigstore::new(start());
    let [root, intermediate] = sigstore.authority_pem();
    let signed = sigstore.keyless(ALICE, ISSUER).timestamp(1).bundle(Version::V03).sign(&image());
    let certificate = Certificate::from_der(signed.certificate.as_ref().unwrap()).unwrap();
    let serial = certificate.tbs_certificate.serial_number.as_bytes().to_vec();
    let next_week: Timestamp = start() + (7 * 24).hours();
    let tonight: Timestamp = start() + 12.hours();
    let issuing = Certificate::from_pem(&intermediate).unwrap();
    let issuing = issuing.tbs_certificate.serial_number.as_bytes().to_vec();
    let current = sigstore.revocation_list(&[], next_week, false);
    for (row, list, wanted) in [
        (
            "its issuer is on another",
            current + &sigstore.revocation_list(&[issuing], next_week, true),
            Some(Reason::CertificateRevoked),
        ),
        ("not on it", sigstore.revocation_list(&[vec![1]], next_week, false), None),
        ("empty", sigstore.revocation_list(&[], next_week, false), None),
        (
            "on it",
            sigstore.revocation_list(&[vec![1], serial.clone()], next_week, false),
            Some(Reason::CertificateRevoked),
        ),
        (
            "expired",
            sigstore.revocation_list(&[], tonight, false),
            Some(Reason::RevocationListExpired),
        ),
        (
            "another issuer's",
            sigstore.revocation_list(&[], next_week, true),
            Some(Reason::CertificateUntrusted),
        ),
        (
            "forged",
            VirtualSigstore::new(start()).revocation_list(&[], next_week, false),
            Some(Reason::CertificateUntrusted),
        ),
    ] {
        let authority =
            CertificateAuthority::from_pem(&root, Some(&intermediate), Some(&list)).unwrap();
        let found = verify(&sigstore, &authority, &signed.candidate(), OPTIONAL, LATER);
        match wanted {
            None => assert_eq!(found, Ok(()), "{row}"),
            Some(reason) => denied(found, reason, row),
        }
    }
}

#[test]
fn rejects_what_is_no_authority_or_too_much_of_one() {
    let sigstore = VirtualSigstore::new(start());
    let [root, _] = sigstore.authority_pem();
    let key = Key::generate(Algorithm::P256).public_pem();
    let list = sigstore.revocation_list(&[], start(), false);
    let most = root.repeat(MAX_AUTHORITY_CERTIFICATES);
    assert!(CertificateAuthority::from_pem(&most, Some(&most), Some(&list)).is_ok());
    let padded = |length: usize| format!("{}{list}", "x\n".repeat((length - list.len()) / 2));
    let fits = padded(MAX_REVOCATION_LIST_BYTES);
    assert!(CertificateAuthority::from_pem(&root, None, Some(&fits)).is_ok());
    let large = padded(MAX_REVOCATION_LIST_BYTES + 2);
    let many = root.repeat(MAX_AUTHORITY_CERTIFICATES + 1);
    for (roots, lists, problem) in [
        ("", None, "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----", None, "no end"),
        (key.as_str(), None, "wanted `CERTIFICATE`"),
        (many.as_str(), None, "more than 16 certificates"),
        (root.as_str(), Some(root.as_str()), "wanted `X509 CRL`"),
        (root.as_str(), Some(""), "0 lists"),
        (root.as_str(), Some(large.as_str()), "the limit is"),
    ] {
        let error = CertificateAuthority::from_pem(roots, None, lists).unwrap_err();
        assert!(error.problem.contains(problem), "{error}, wanted {problem}");
    }
}

#[tokio::test]
async fn a_policy_names_authority_and_subjects() {
    for (identity, good) in [
        (json!({ "subject": ALICE }), true),
        (json!({ "subjectGlob": "*@example.com" }), true),
        (json!({ "subjectRegExp": "(alice|bob)@example\\.com" }), true),
        (json!({ "subject": "alice@example.comm" }), false),
        (json!({ "subjectGlob": "*@example.org" }), false),
        (json!({ "subjectRegExp": "alice" }), false),
    ] {
        let mut gate = Gate::new().await;
        let [root, intermediate] = gate.sigstore.authority_pem();
        gate.demand(&[json!({ "certificate": {
            "data": root, "intermediates": intermediate, "identities": [identity],
        } })]);
        gate.attach(gate.signer(ALICE));
        let answer = gate.admit().await;
        if good {
            answer.assert_verified();
        } else {
            answer.assert_denied(Reason::SubjectMismatch);
        }
    }
}

#[test]
fn rejects_specs_at_their_field() {
    let sigstore = VirtualSigstore::new(start());
    let [root, intermediate] = sigstore.authority_pem();
    let list = sigstore.revocation_list(&[], start(), false);
    let compile = |change: (&str, serde_json::Value)| {
        let mut certificate = json!({
            "data": root,
            "intermediates": intermediate,
            "revocationList": list,
            "identities": [{ "subject": ALICE }],
        });
        certificate[change.0] = change.1;
        let spec = json!({
            "images": [{ "glob": "**" }],
            "authorities": [{ "certificate": certificate }],
        });
        let spec: ClusterImagePolicySpec = serde_json::from_value(spec).unwrap();
        let default = Arc::new(TrustRoot::public_good());
        let roots = References { default, named: BTreeMap::new(), keys: Keys::NoCluster };
        compile_cluster_image_policy("own", &spec, &roots)
    };
    let policy = compile(("identities", json!([{ "subjectGlob": "*@example.com" }]))).unwrap();
    let authority = &policy.authorities[0];
    assert_eq!(authority.demands, OPTIONAL);
    assert!(
        matches!(&authority.signer, Signer::Certificates { subjects, .. } if subjects.len() == 1)
    );
    for (field, value, path) in [
        ("data", json!("x"), "data"),
        ("data", json!(list), "data"),
        ("intermediates", json!("-----BEGIN CERTIFICATE-----"), "intermediates"),
        ("intermediates", json!("x"), "intermediates"),
        ("revocationList", json!(root), "revocationList"),
        ("identities", json!([]), "identities"),
        ("identities", json!([{}]), "identities[0]"),
        ("identities", json!([{ "subject": "a", "subjectGlob": "a" }]), "identities[0]"),
        ("identities", json!([{ "subjectRegExp": "[" }]), "identities[0].subjectRegExp"),
    ] {
        let error = compile((field, value.clone())).unwrap_err();
        let wanted = format!("spec.authorities[0].certificate.{path}");
        assert_eq!(error.path, wanted, "{value}: {error}");
        assert!(!error.wanted.is_empty(), "{error}");
    }
}

const OWN: &str = "tegata-system";

/// The place of an authority's part, in Tegata's namespace.
fn place(kind: KeyHolder, name: &str, entry: Entry) -> KeyPlace {
    KeyPlace { kind, namespace: OWN.to_owned(), name: name.to_owned(), entry }
}

/// A certificate authority that is in three objects.
fn referred() -> serde_json::Value {
    json!({
        "configMapRef": { "name": "roots" },
        "intermediatesRef": { "secretRef": { "name": "chain", "key": "tls.crt" } },
        "revocationListRef": { "configMapRef": { "name": "revoked" } },
        "identities": [{ "subject": ALICE }],
    })
}

fn places() -> [KeyPlace; 3] {
    [
        place(KeyHolder::ConfigMap, "roots", Entry::Usual("ca.crt")),
        place(KeyHolder::Secret, "chain", Entry::Named("tls.crt".to_owned())),
        place(KeyHolder::ConfigMap, "revoked", Entry::Usual("ca.crl")),
    ]
}

fn spec_of(certificate: &serde_json::Value) -> ClusterImagePolicySpec {
    serde_json::from_value(json!({
        "images": [{ "glob": "**" }],
        "authorities": [{ "certificate": certificate }],
    }))
    .unwrap()
}

/// Compiles it where this was found.
fn compile_with(
    certificate: &serde_json::Value,
    found: impl IntoIterator<Item = (KeyPlace, Result<String, String>)>,
) -> Result<Policy, CompileError> {
    let default = Arc::new(TrustRoot::public_good());
    let keys = Keys::Cluster { own_namespace: OWN.to_owned(), found: found.into_iter().collect() };
    let roots = References { default, named: BTreeMap::new(), keys };
    compile_cluster_image_policy("own", &spec_of(certificate), &roots)
}

#[test]
fn an_authority_in_objects_is_the_one_in_the_spec() {
    let sigstore = VirtualSigstore::new(start());
    let [root, intermediate] = sigstore.authority_pem();
    let list = sigstore.revocation_list(&[], start(), false);
    let here = json!({
        "data": root, "intermediates": intermediate, "revocationList": list,
        "identities": [{ "subject": ALICE }],
    });
    let shown = |policy: Policy| {
        let Signer::Certificates { authority, .. } = &policy.authorities[0].signer else {
            panic!("certificates")
        };
        format!("{authority:?}")
    };
    let found = places().into_iter().zip([root, intermediate, list].map(Ok));
    let there = compile_with(&referred(), found).unwrap();
    assert_eq!(shown(there), shown(compile_with(&here, []).unwrap()));

    let authorities = spec_of(&referred()).authorities;
    let id = PolicyId::Cluster { name: "own".to_owned() };
    assert_eq!(key_places(&id, &authorities, OWN), places().into());
    let id = PolicyId::Namespaced { namespace: "team".to_owned(), name: "own".to_owned() };
    let of_team = key_places(&id, &authorities, OWN);
    assert_eq!(of_team.len(), 3);
    assert!(of_team.iter().all(|place| place.namespace == "team"), "{of_team:?}");
}

#[test]
fn rejects_objects_that_are_not_there_or_hold_something_else_as_missing() {
    let sigstore = VirtualSigstore::new(start());
    let [root, intermediate] = sigstore.authority_pem();
    let list = sigstore.revocation_list(&[], start(), false);
    let good = || places().into_iter().zip([&root, &intermediate, &list].map(|t| Ok(t.clone())));
    let private = "-----BEGIN PRIVATE KEY-----\naHVudGVyMg==\n-----END PRIVATE KEY-----\n";
    let broken = "-----BEGIN CERTIFICATE-----\naHVudGVyMg==\n-----END CERTIFICATE-----\n";
    let fields = ["configMapRef", "intermediatesRef.secretRef", "revocationListRef.configMapRef"];
    for (index, (place, field)) in places().into_iter().zip(fields).enumerate() {
        let long = "x".repeat(2 << 20);
        let with = |content: Option<Result<String, String>>| {
            let mut found: BTreeMap<_, _> = good().collect();
            found.remove(&place);
            found.extend(content.map(|content| (place.clone(), content)));
            compile_with(&referred(), found).unwrap_err()
        };
        let (unread, something) =
            (format!("{place} has not been read yet"), format!("{place} holds something else"));
        let text = |text: &str| Some(Ok(text.to_owned()));
        let swapped = if index == 2 { &root } else { &list };
        let unusable = format!("{place} holds nothing that can be used: ");
        for (content, problem) in [
            (None, unread.as_str()),
            (Some(Err("there is no such object".to_owned())), "there is no such object"),
            (text(""), &something),
            (text("hunter2"), &something),
            (text(private), &something),
            (text(&format!("{root}{private}")), &something),
            (text(&long), &something),
            (text(broken), &unusable),
            (text(swapped), &unusable),
        ] {
            let error = with(content);
            assert_eq!(error.path, format!("spec.authorities[0].certificate.{field}"), "{error}");
            assert!(error.missing, "{error}");
            assert!(error.problem.starts_with(problem), "{error}, not {problem}");
            let said = error.to_string().to_lowercase();
            assert!(!said.contains("hunter2") && !said.contains("ahvudgv"), "{said}");
        }
    }
}

#[test]
fn rejects_references_that_cannot_be_followed() {
    let at = "spec.authorities[0].certificate";
    for (field, value, path) in [
        ("data", json!("x"), ""),
        ("secretRef", json!({ "name": "x" }), ""),
        ("configMapRef", json!(null), ""),
        ("configMapRef", json!({ "name": "X" }), ".configMapRef.name"),
        ("configMapRef", json!({ "name": "x", "namespace": "team" }), ".configMapRef.namespace"),
        ("intermediates", json!("x"), ".intermediatesRef"),
        ("revocationList", json!("x"), ".revocationListRef"),
        ("intermediatesRef", json!({}), ".intermediatesRef"),
        (
            "intermediatesRef",
            json!({ "secretRef": { "name": "x" }, "configMapRef": { "name": "x" } }),
            ".intermediatesRef",
        ),
        (
            "revocationListRef",
            json!({ "secretRef": { "name": "x", "key": "a/b" } }),
            ".revocationListRef.secretRef.key",
        ),
    ] {
        let mut certificate = referred();
        certificate[field] = value.clone();
        certificate.as_object_mut().unwrap().retain(|_, value| !value.is_null());
        let error = compile_with(&certificate, []).unwrap_err();
        assert_eq!((error.path, error.missing), (format!("{at}{path}"), false), "{field} {value}");
    }
    let roots = References {
        default: Arc::new(TrustRoot::public_good()),
        named: BTreeMap::new(),
        keys: Keys::NoCluster,
    };
    let error = compile_cluster_image_policy("own", &spec_of(&referred()), &roots).unwrap_err();
    assert_eq!((error.path.as_str(), error.missing), (&*format!("{at}.configMapRef"), false));
    assert!(error.to_string().contains("in a file") && error.to_string().contains("in `data`"));
}
