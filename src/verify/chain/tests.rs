//! Issuing certificates: what is verified once, and what every time.
use rcgen::BasicConstraints;
use rcgen::CertificateParams;
use rcgen::CertifiedIssuer;
use rcgen::DnType;
use rcgen::ExtendedKeyUsagePurpose;
use rcgen::GeneralSubtree;
use rcgen::IsCa;
use rcgen::KeyPair;
use rcgen::NameConstraints as Constraints;
use rcgen::PKCS_ECDSA_P384_SHA384;
use rcgen::SanType;

use super::*;
use crate::verify::tests::trust_root;

type Ca = CertifiedIssuer<'static, KeyPair>;

fn params(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = rcgen::date_time_ymd(years.0, 1, 1);
    params.not_after = rcgen::date_time_ymd(years.1, 1, 1);
    params
}

fn ca(name: &str, years: (i32, i32)) -> CertificateParams {
    let mut params = params(name, years);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params
}

fn key() -> KeyPair {
    KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap()
}

fn root(params: CertificateParams) -> Ca {
    CertifiedIssuer::self_signed(params, key()).unwrap()
}

fn under(issuer: &Ca, params: CertificateParams) -> Ca {
    CertifiedIssuer::signed_by(params, key(), issuer).unwrap()
}

fn leaf_of(issuer: &Ca, years: (i32, i32), host: &str) -> Vec<u8> {
    let mut params = params("", years);
    params.subject_alt_names = vec![SanType::DnsName(host.try_into().unwrap())];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::CodeSigning];
    params.signed_by(&key(), issuer).unwrap().der().to_vec()
}

fn leaf(issuer: &Ca) -> Vec<u8> {
    leaf_of(issuer, (2024, 2026), "signer.example")
}

fn der(ca: &Ca) -> Vec<u8> {
    ca.der().to_vec()
}

fn believed(chain: &[&Ca]) -> TrustRoot {
    let chain: Vec<_> = chain.iter().map(|ca| der(ca)).collect();
    trust_root(&chain, &[], None)
}

fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

fn now() -> Timestamp {
    at("2025-01-01T00:00:00Z")
}

fn known(root: &TrustRoot) -> usize {
    root.authorities().iter().map(|authority| authority.issuers().count()).sum()
}

/// The reason of a refusal; none.
fn refusal(leaf: &[u8], root: &TrustRoot, times: &[Timestamp]) -> Option<Reason> {
    check(leaf, &[], root, times).err().map(|failure| failure.reason)
}

#[test]
fn what_is_above_an_issuer_is_verified_with_the_first_that_it_issued() {
    let top = root(ca("root", (2020, 2040)));
    let issuing = under(&top, ca("issuing", (2022, 2030)));
    let root = believed(&[&issuing, &top]);
    assert_eq!(known(&root), 0);
    let first = leaf(&issuing);
    let full = *check(&first, &[], &root, &[now()]).unwrap().key();
    assert_eq!(known(&root), 1);
    assert_eq!(full, *check(&leaf(&issuing), &[], &root, &[now()]).unwrap().key());
    // An issuer that its root never signed, as if its path had been verified: of what it issues, its
    // own signature alone is looked at.
    let stranger = under(&self::root(ca("root", (2020, 2040))), ca("issuing", (2022, 2030)));
    let root = believed(&[&stranger, &top]);
    let of_stranger = leaf(&stranger);
    assert_eq!(refusal(&of_stranger, &root, &[now()]), Some(Reason::CertificateUntrusted));
    assert_eq!(known(&root), 0, "a path that is not there");
    let forever = Proven { key: full, from: i64::MIN, until: i64::MAX };
    root.authorities()[0].remember(&der(&stranger), forever);
    assert_eq!(refusal(&of_stranger, &root, &[now()]), None);
    assert_eq!(refusal(&leaf(&issuing), &root, &[now()]), Some(Reason::CertificateUntrusted));
}

#[test]
fn what_is_known_of_an_issuer_holds_while_all_above_it_is_valid() {
    let top = root(ca("root", (2020, 2028)));
    let issuing = under(&top, ca("issuing", (2022, 2030)));
    let root = believed(&[&issuing, &top]);
    let long = leaf_of(&issuing, (2021, 2032), "signer.example");
    for warm in [false, true] {
        for (time, wanted) in [
            ("2021-12-31T23:59:59Z", Some(Reason::CertificateAuthorityExpired)),
            ("2022-01-01T00:00:00Z", None),
            ("2028-01-01T00:00:00Z", None),
            ("2028-01-01T00:00:01Z", Some(Reason::CertificateAuthorityExpired)),
        ] {
            if !warm {
                // Nothing is known: in full.
                let cold = believed(&[&issuing, &top]);
                assert_eq!(refusal(&long, &cold, &[at(time)]), wanted, "{time}");
            }
            assert_eq!(refusal(&long, &root, &[at(time)]), wanted, "{time}, {warm}");
            // Another time that is good does not help.
            assert_eq!(refusal(&long, &root, &[now(), at(time)]), wanted, "{time}, {warm}");
            assert_eq!(refusal(&long, &root, &[at(time), now()]), wanted, "{time}, {warm}");
        }
        assert_eq!(known(&root), 1);
    }
}

#[test]
fn a_certificate_is_held_to_its_own_validity_and_usage_every_time() {
    let top = root(ca("root", (2020, 2040)));
    let issuing = under(&top, ca("issuing", (2022, 2030)));
    let root = believed(&[&issuing, &top]);
    assert_eq!(refusal(&leaf(&issuing), &root, &[now()]), None);
    let short = leaf_of(&issuing, (2024, 2025), "signer.example");
    let after = at("2025-01-01T00:00:01Z");
    let expired = Some(Reason::CertificateAuthorityExpired);
    assert_eq!(refusal(&short, &root, &[now()]), None);
    assert_eq!(refusal(&short, &root, &[after]), expired);
    assert_eq!(refusal(&short, &root, &[now(), after]), expired);
    let mut server = params("", (2024, 2026));
    server.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let server = server.signed_by(&key(), &issuing).unwrap().der().to_vec();
    assert_eq!(refusal(&server, &root, &[now()]), Some(Reason::CertificateUntrusted));
    let authority = under(&issuing, ca("below", (2024, 2026)));
    assert_eq!(refusal(&der(&authority), &root, &[now()]), Some(Reason::CertificateUntrusted));
    let below = leaf(&authority);
    assert_eq!(refusal(&below, &root, &[now()]), Some(Reason::CertificateUntrusted));
    assert_eq!(refusal(&leaf(&issuing), &root, &[]), Some(Reason::CertificateUntrusted));
}

/// An authority whose window ends is not rescued by what is known of its certificates.
#[test]
fn what_is_known_of_an_issuer_holds_within_its_authoritys_window() {
    let top = root(ca("root", (2020, 2040)));
    let issuing = under(&top, ca("issuing", (2022, 2030)));
    let signer = leaf_of(&issuing, (2022, 2030), "signer.example");
    let window = |end| {
        let window = sigstore_verify::trust_root::TimeRange::new(at("2022-01-01T00:00:00Z"), end);
        Authority::new(vec![der(&issuing), der(&top)], Some(window))
    };
    let authority = window(Some(now()));
    let issuer = Issuer {
        authority: &authority,
        proven: Proven { key: [0; 32], from: i64::MIN, until: i64::MAX },
    };
    assert!(issuer.vouches_at(now()));
    assert!(!issuer.vouches_at(at("2025-01-01T00:00:01Z")));
    assert!(!issuer.vouches_at(at("2021-12-31T23:59:59Z")));
    let parsed = CertificateDer::from(signer.as_slice());
    let parsed = EndEntityCert::try_from(&parsed).unwrap();
    let usage = KeyUsage::required(CODE_SIGNING);
    assert!(check_authority(&parsed, &[], &authority, now(), usage).is_ok());
}

/// Names are held against the issuer's constraints each time; against those of its authorities they
/// were held once, so that nothing is known where there are some.
#[test]
fn names_are_held_against_all_constraints_every_time() {
    let only = |name: &str| Constraints {
        permitted_subtrees: vec![GeneralSubtree::DnsName(name.to_owned())],
        excluded_subtrees: Vec::new(),
    };
    for (constrained, remembered) in [("issuing", 1), ("root", 0)] {
        let with = |name: &str, years| {
            let mut params = ca(name, years);
            params.name_constraints = (name == constrained).then(|| only("good.example"));
            params
        };
        let top = root(with("root", (2020, 2040)));
        let issuing = under(&top, with("issuing", (2022, 2030)));
        let root = believed(&[&issuing, &top]);
        for _ in 0..2 {
            let of = |host| leaf_of(&issuing, (2024, 2026), host);
            assert_eq!(refusal(&of("a.good.example"), &root, &[now()]), None, "{constrained}");
            let refused = refusal(&of("bad.example"), &root, &[now()]);
            assert_eq!(refused, Some(Reason::CertificateUntrusted), "{constrained}");
        }
        assert_eq!(known(&root), remembered, "{constrained}");
    }
}

/// What evidence brings along is not remembered: whoever brings it could fill the memory.
#[test]
fn only_certificates_of_the_trust_root_are_remembered() {
    let top = root(ca("root", (2020, 2040)));
    let middle = under(&top, ca("middle", (2022, 2030)));
    let issuing = under(&middle, ca("issuing", (2022, 2030)));
    let signer = leaf(&issuing);
    for (chain, brought, remembered) in [
        (vec![&top], vec![&issuing, &middle], 0),
        (vec![&middle, &top], vec![&issuing], 0),
        (vec![&issuing, &middle, &top], vec![&issuing, &middle, &top], 1),
    ] {
        let root = believed(&chain);
        let brought: Vec<_> = brought.into_iter().map(der).collect();
        assert!(check(&signer, &brought, &root, &[now()]).is_ok());
        assert_eq!(known(&root), remembered);
        let without = check(&signer, &[], &root, &[now()]);
        assert_eq!(without.is_ok(), remembered == 1);
    }
}
