//! Wycheproof: signatures that are right, wrong, and wrong in ways that verifiers overlooked.
use super::*;
use crate::verify::tests::collection;
use crate::verify::tests::exceptions::Answers;

#[test]
fn wycheproof_signatures_get_their_verdict() {
    use HashAlgorithm::Sha256;
    use HashAlgorithm::Sha384;
    let missing = "Wycheproof's signatures are not verified";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let mut answers = Answers::new("crypto");
    let mut count = 0;
    for (file, scheme) in [
        ("ecdsa_secp256r1_sha256_test.json", Scheme::EcdsaP256(Sha256)),
        ("ecdsa_secp384r1_sha384_test.json", Scheme::EcdsaP384(Sha384)),
        ("ed25519_test.json", Scheme::Ed25519),
        ("rsa_pss_2048_sha256_mgf1_32_test.json", Scheme::RsaPss(Sha256)),
        ("rsa_signature_2048_sha256_test.json", Scheme::RsaPkcs1(Sha256)),
        ("rsa_signature_4096_sha256_test.json", Scheme::RsaPkcs1(Sha256)),
    ] {
        let text = std::fs::read(vectors.join("crypto/wycheproof").join(file)).unwrap();
        let document: serde_json::Value = serde_json::from_slice(&text).unwrap();
        count += usize::try_from(document["numberOfTests"].as_u64().unwrap()).unwrap();
        for group in document["testGroups"].as_array().unwrap() {
            let pem = group["publicKeyPem"].as_str().unwrap();
            let key = PublicKey::from_pem(pem, None).unwrap().remove(0);
            for test in group["tests"].as_array().unwrap() {
                let bytes = |field: &str| hex::decode(test[field].as_str().unwrap()).unwrap();
                // An RSA key says nothing of its padding, so that both are tried: a signature of
                // the other padding verifies under the other scheme, and under this one not.
                let found = match key.verify(&bytes("msg"), &bytes("sig")) {
                    Some(found) if found == scheme => "valid",
                    Some(_) | None => "invalid",
                };
                // What a verifier may accept is not accepted.
                let wanted = match test["result"].as_str().unwrap() {
                    "acceptable" => "invalid",
                    other => other,
                };
                answers.hold(&format!("{file} {}", test["tcId"]), found, wanted);
            }
        }
    }
    answers.finish(count);
    assert_eq!(count, 484 + 504 + 151 + 108 + 259 + 258);
}
