//! Certificates with timestamps of logs that others ran.
use super::*;
use crate::verify::tests::answer;
use crate::verify::tests::certificates;
use crate::verify::tests::collection;
use crate::verify::tests::exceptions::Answers;
use crate::verify::tests::exceptions::VERIFIED;
use crate::verify::tests::public_key;
use crate::verify::tests::trust_root;

#[test]
fn certificate_timestamps_of_others_get_their_verdict() {
    let missing = "signed certificate timestamps of others are not verified";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let read = |name: &str| std::fs::read_to_string(vectors.join("ct").join(name)).unwrap();
    let (google, fulcio) = ("certificatetransparency", "fulcio-response/valid");
    let google_log = public_key(&read(&format!("{google}/ct-server-key-public.pem")));
    let fulcio_log = public_key(&read(&format!("{fulcio}/ctfe.pub")));
    let google_ca = certificates(&read(&format!("{google}/ca-cert.pem")));
    let fulcio_ca = certificates(&read(&format!("{fulcio}/fulcio.crt.pem")));
    let invalid = "certificate: sct-invalid";
    let mut answers = Answers::new("ct");
    for (case, ca, log, wanted) in [
        ("certificatetransparency/cert-ct-embedded.pem", &google_ca, &google_log, VERIFIED),
        (
            "certificatetransparency/cert-ct-embedded.pem of another log",
            &google_ca,
            &fulcio_log,
            invalid,
        ),
        (
            "certificatetransparency/cert-ct-embedded.pem of another authority",
            &fulcio_ca,
            &google_log,
            invalid,
        ),
        ("certificatetransparency/cert-ct-poisoned.pem", &google_ca, &google_log, invalid),
        ("certificatetransparency/cert.pem", &google_ca, &google_log, invalid),
        ("fulcio-response/valid/certWithSct.pem", &fulcio_ca, &fulcio_log, VERIFIED),
        ("fulcio-response/valid/certWithSct.pem of another log", &fulcio_ca, &google_log, invalid),
        ("fulcio-response/valid/cert.pem", &fulcio_ca, &fulcio_log, invalid),
    ] {
        let leaf = certificates(&read(case.split(' ').next().unwrap())).remove(0);
        let root = trust_root(ca, &[], Some(log));
        answers.hold(case, &answer(check(&leaf, &[], &root)), wanted);
    }
    answers.finish(8);
}

#[test]
fn reads_a_bounded_number_of_timestamps() {
    let vector = |bytes: &[u8]| [&(bytes.len() as u16).to_be_bytes(), bytes].concat();
    // Version, log, time, no extensions, ECDSA with SHA-256, a signature of one byte.
    let sct = [vec![0; 1 + 32 + 8 + 2], vec![4, 3], vector(&[0])].concat();
    let list = |count: usize| vector(&vector(&sct).repeat(count));
    assert_eq!(parse_list(&list(MAX_SCTS)).map(|scts| scts.len()), Some(MAX_SCTS));
    assert!(parse_list(&list(MAX_SCTS + 1)).is_none());
}
