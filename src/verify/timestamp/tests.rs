//! Timestamps that others asked of authorities.
use super::*;
use crate::verify::tests::answer;
use crate::verify::tests::certificates;
use crate::verify::tests::collection;
use crate::verify::tests::exceptions::Answers;
use crate::verify::tests::exceptions::VERIFIED;
use crate::verify::tests::trust_root;

/// What a timestamp is refused for that no authority of the trust root made for the message.
const INVALID: &str = "time: timestamp-invalid";

#[test]
fn timestamps_of_others_get_their_verdict() {
    let missing = "timestamps of others are not verified";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let read = |name: &str| std::fs::read(vectors.join(name)).unwrap();
    let text = |name: &str| String::from_utf8(read(name)).unwrap();
    let whole = |name: &str| {
        let name = format!("trust-roots/{name}/trusted_root.json");
        TrustRoot::from_json(&text(&name)).unwrap()
    };
    let chain = |name: &str| {
        let name = format!("tsa/rfc3161-client/{name}/ts_chain.pem");
        trust_root(&[], &certificates(&text(&name)), None)
    };
    let payload = read("tsa/rfc3161-client/sigstore.mock/payload");
    let (staging, hello, test) = (whole("staging"), b"hello".as_slice(), b"test\n".as_slice());
    let mut answers = Answers::new("tsa");
    for row in collection::rows(&vectors, "tsa") {
        let (id, file) = (row["id"].as_str().unwrap(), row["file"].as_str().unwrap());
        let (root, message, wanted) = match id {
            // Nobody says what was stamped; no authority of the trust root stamped it.
            "java-freetsa_response.tsr" => (staging.clone(), test, INVALID),
            "java-sigstage_tsa_response_with_embedded_certs.tsr"
            | "java-sigstage_tsa_response_without_embedded_certs.tsr" => {
                (staging.clone(), test, VERIFIED)
            }
            "java-sigstore_tsa_response_with_embedded_certs.tsr" => {
                (whole("public-good"), test, VERIFIED)
            }
            "rfc3161-response-no-embedded-cert.tsr" | "rfc3161-response-sha256.tsr" => {
                (chain("sigstage"), hello, VERIFIED)
            }
            "rfc3161-response-expired.tsr" => (chain("sigstore.mock"), &*payload, VERIFIED),
            "rfc3161-response.tsr" => (chain("test_tsa"), hello, VERIFIED),
            "rfc3161-other_response.tsr" => (chain("test_tsa"), hello, INVALID),
            other => panic!("{other} is new"),
        };
        let token = TimestampToken::new(read(file));
        let check = |message: &[u8], root: &TrustRoot| {
            answer(check_token(&token, &SignatureBytes::new(message.to_vec()), root))
        };
        let found = check(message, &root);
        answers.hold(id, &found, wanted);
        if found == VERIFIED {
            assert_eq!(check(b"another message", &root), INVALID, "{id}, another message");
            assert_eq!(check(message, &whole("github")), INVALID, "{id}, another authority");
        }
    }
    answers.finish(9);
}
