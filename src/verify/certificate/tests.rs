//! Certificates of others: chains of x509-limbo, and profiles of sigstore-python.
use rustls::pki_types::CertificateDer;
use webpki::EndEntityCert;
use webpki::KeyUsage;

use super::*;
use crate::trust_root::Authority;
use crate::verify::chain::CODE_SIGNING;
use crate::verify::chain::check_authority;
use crate::verify::tests::answer;
use crate::verify::tests::certificates;
use crate::verify::tests::collection;
use crate::verify::tests::exceptions::Answers;
use crate::verify::tests::exceptions::VERIFIED;

/// What a certificate is refused for that leads to no authority, or may not sign.
const UNTRUSTED: &str = "certificate: certificate-untrusted";

/// Chains that are refused for something else than that they lead to no authority.
const REFUSED: [(&str, &str); 7] = [
    ("pathological::nc-dos-1", "evidence: evidence-too-large"),
    ("pathological::nc-dos-3", "evidence: evidence-too-large"),
    ("rfc5280::duplicate-extensions", "certificate: certificate-malformed"),
    ("rfc5280::san::malformed", "certificate: certificate-malformed"),
    ("rfc5280::validity::expired-leaf", "certificate: certificate-authority-expired"),
    ("rfc5280::validity::expired-root", "certificate: certificate-authority-expired"),
    ("webpki::forbidden-p192-leaf", "signature: key-unsupported"),
];

fn authority(chain: Vec<Vec<u8>>) -> Authority {
    Authority::new(chain, None)
}

fn pem(value: &serde_json::Value) -> Vec<Vec<u8>> {
    let texts = value.as_array().unwrap().iter();
    texts.map(|text| der(text).unwrap_or_default()).collect()
}

/// The bytes of a certificate that may be none.
fn der(text: &serde_json::Value) -> Option<Vec<u8>> {
    Some(x509_cert::der::Document::from_pem(text.as_str()?).ok()?.1.as_bytes().to_vec())
}

/// x509-limbo is about servers and clients, so that their usage is asked for. Their names are not:
/// the exceptions name the cases that are about nothing else.
#[test]
fn chains_of_x509_limbo_get_their_verdict() {
    let missing = "x509-limbo's chains are not checked";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let text = std::fs::read(vectors.join("x509/limbo.json")).unwrap();
    let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
    let mut answers = Answers::new("x509-limbo");
    for case in document["testcases"].as_array().unwrap() {
        let id = case["id"].as_str().unwrap();
        let usage = match case["validation_kind"].as_str() {
            Some("SERVER") => KeyUsage::server_auth(),
            _ => KeyUsage::client_auth(),
        };
        let time = case["validation_time"].as_str().unwrap_or("2026-11-22T00:00:00Z");
        let time: Timestamp = time.parse().unwrap();
        let brought = pem(&case["untrusted_intermediates"]);
        let leaf = der(&case["peer_certificate"]).unwrap();
        let check = || {
            read(&leaf)?;
            let leaf = CertificateDer::from(leaf.as_slice());
            let leaf =
                EndEntityCert::try_from(&leaf).map_err(|error| malformed(error.to_string()))?;
            let mut last = Err(malformed("no authority".to_owned()));
            for anchor in pem(&case["trusted_certs"]) {
                last = check_authority(&leaf, &brought, &authority(vec![anchor]), time, usage)
                    .map(drop);
                if last.is_ok() {
                    break;
                }
            }
            last
        };
        let refused = REFUSED.iter().find(|(name, _)| *name == id);
        let wanted = match case["expected_result"].as_str() {
            Some("SUCCESS") => VERIFIED,
            _ => refused.map_or(UNTRUSTED, |(_, reason)| reason),
        };
        answers.hold(id, &answer(check()), wanted);
    }
    answers.finish(97);
}

#[test]
fn profiles_of_sigstore_python_get_their_verdict() {
    let missing = "sigstore-python's certificates are not checked";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let folder = vectors.join("x509/sigstore-python");
    let file = |name: &str| std::fs::read_to_string(folder.join(name)).unwrap();
    let certificate = |name: &str| certificates(&file(name)).remove(0);
    let check = |leaf: &str, chain: &[&str]| {
        let chain = chain.iter().map(|name| certificate(name)).collect();
        let leaf = certificate(leaf);
        if let Err(failure) = read(&leaf) {
            return answer::<()>(Err(failure));
        }
        let parsed = CertificateDer::from(leaf.as_slice());
        let parsed = EndEntityCert::try_from(&parsed).unwrap();
        let time = "2024-01-01T00:00:00Z".parse().unwrap();
        let usage = KeyUsage::required(CODE_SIGNING);
        answer(check_authority(&parsed, &[], &authority(chain), time, usage))
    };
    let (leaf, root) = ("bogus-leaf.pem", "bogus-root.pem");
    let intermediate = "bogus-intermediate-with-eku.pem";
    let mut answers = Answers::new("x509");
    let mut hold = |case: &str, found: String, wanted: &str| {
        answers.hold(&format!("py-x509-{case}"), &found, wanted);
    };
    hold(leaf, check(leaf, &[root]), VERIFIED);
    hold(root, check(leaf, &[root]), VERIFIED);
    hold(intermediate, check(leaf, &[intermediate, root]), VERIFIED);
    hold("bogus-leaf-invalid-ku.pem", check("bogus-leaf-invalid-ku.pem", &[root]), UNTRUSTED);
    hold("bogus-leaf-missing-eku.pem", check("bogus-leaf-missing-eku.pem", &[root]), UNTRUSTED);
    hold("bogus-root-invalid-ku.pem", check(leaf, &["bogus-root-invalid-ku.pem"]), UNTRUSTED);
    let program = SigningCertificate::parse(file("build-testcases.py").as_bytes());
    hold("build-testcases.py", answer(program), "certificate: certificate-malformed");
    answers.finish(7);
    for authority in [root, intermediate] {
        assert_eq!(check(authority, &[root]), UNTRUSTED, "{authority} as a signing certificate");
    }
    assert_eq!(check(leaf, &[intermediate]), UNTRUSTED, "an authority that did not issue it");
}
