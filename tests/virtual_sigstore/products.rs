//! Keys, certificates, trust roots, candidates and manifests.
use aws_lc_rs::signature;
use aws_lc_rs::signature::UnparsedPublicKey;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::ToSpan as _;
use serde_json::Value;
use serde_json::json;
use tegata::evidence::Content;
use tegata::evidence::Format;
use tegata::evidence::Place;
use tegata::image::Digest;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::der::Encode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use super::ALICE;
use super::IMAGE;
use super::ISSUER;
use super::image;
use super::sigstore;
use super::v1;
use super::v2;
use super::verify;
use super::virtual_sigstore::Algorithm;
use super::virtual_sigstore::Authority;
use super::virtual_sigstore::Key;
use super::virtual_sigstore::Log;
use super::virtual_sigstore::OciArtifact;
use super::virtual_sigstore::Part;
use super::virtual_sigstore::San;
use super::virtual_sigstore::Version;

#[test]
fn signs_with_every_kind_of_key() {
    let sigstore = sigstore();
    let root = sigstore.trusted_root_json();
    for algorithm in Algorithm::ALL {
        let key = Key::generate(*algorithm);
        let verifier: &dyn signature::VerificationAlgorithm = match algorithm {
            Algorithm::P256 => &signature::ECDSA_P256_SHA256_ASN1,
            Algorithm::P384 => &signature::ECDSA_P384_SHA384_ASN1,
            Algorithm::P521 => &signature::ECDSA_P521_SHA512_ASN1,
            Algorithm::Ed25519 => &signature::ED25519,
            Algorithm::Rsa => &signature::RSA_PKCS1_2048_8192_SHA256,
            Algorithm::RsaPss => &signature::RSA_PSS_2048_8192_SHA256,
        };
        let signature = sigstore.keyed(&key).classic().sign(&image());
        let bytes = STANDARD.decode(&signature.annotations[super::annotation::SIGNATURE]).unwrap();
        let public = UnparsedPublicKey::new(verifier, key.raw_public());
        public.verify(&signature.payload, &bytes).unwrap();

        for (log, refused) in [
            (Log::RekorV1, [Algorithm::P521, Algorithm::RsaPss].contains(algorithm)),
            (Log::RekorV2, *algorithm != Algorithm::P256),
        ] {
            let signing = sigstore.keyed(&key).log(log).timestamp(1);
            let signed = signing.bundle(Version::V03).sign(&image());
            let result = verify(&root, &signed.bundle, &IMAGE, Some(&key));
            // Refused are the kinds that the library does not know.
            assert_eq!(result.is_err(), refused, "{algorithm:?} {log:?}: {result:?}");
        }
    }
}

#[test]
fn certifies_every_kind_of_key() {
    let sigstore = sigstore();
    let root = sigstore.trusted_root_json();
    for algorithm in [Algorithm::P384, Algorithm::Ed25519, Algorithm::Rsa] {
        let signing = v1(&sigstore).algorithm(algorithm).bundle(Version::V03);
        assert_eq!(verify(&root, &signing.sign(&image()).bundle, &IMAGE, None), Ok(()));
    }
}

#[test]
fn certifies_names_and_claims() {
    let sigstore = sigstore();
    let names = [
        San::Other("alice".to_owned()),
        San::Uri("https://ci.example/alice".to_owned()),
        San::Email(ALICE.to_owned()),
        San::Dns("ci.example".to_owned()),
    ];
    let signing = v1(&sigstore).sans(&names).claim(12, "https://git.example/app");
    let signed = signing.issuers(Some("https://old.example"), Some(ISSUER)).bundle(Version::V03);
    let signed = signed.sign(&image());
    let root = sigstore.trusted_root_json();
    assert_eq!(verify(&root, &signed.bundle, &IMAGE, None), Ok(()));

    let der = signed.certificate.unwrap();
    let certificate = Certificate::from_der(&der).unwrap();
    assert_eq!(certificate.to_der().unwrap(), der, "canonical DER");
    let (critical, SubjectAltName(found)) =
        certificate.tbs_certificate.get::<SubjectAltName>().unwrap().unwrap();
    assert!(critical);
    let [
        GeneralName::OtherName(other),
        GeneralName::UniformResourceIdentifier(uri),
        GeneralName::Rfc822Name(email),
        GeneralName::DnsName(dns),
    ] = found.as_slice()
    else {
        panic!("{found:?}");
    };
    assert_eq!(other.type_id.to_string(), "1.3.6.1.4.1.57264.1.7");
    assert_eq!(other.value.value(), b"alice");
    assert_eq!((uri.as_str(), email.as_str()), ("https://ci.example/alice", ALICE));
    assert_eq!(dns.as_str(), "ci.example");

    let extension = |arc: u8| {
        let oid = format!("1.3.6.1.4.1.57264.1.{arc}");
        let extensions = certificate.tbs_certificate.extensions.as_ref().unwrap();
        let found = extensions.iter().find(|extension| extension.extn_id.to_string() == oid);
        found.unwrap().extn_value.as_bytes().to_vec()
    };
    assert_eq!(extension(1), b"https://old.example");
    assert_eq!(extension(8), [&[0x0c, ISSUER.len() as u8], ISSUER.as_bytes()].concat());
    assert_eq!(extension(12), [&[0x0c, 23], &b"https://git.example/app"[..]].concat());
}

#[test]
fn certifies_with_two_promises() {
    let sigstore = sigstore();
    let signed = v1(&sigstore).two_scts().bundle(Version::V03).sign(&image());
    let refusal = verify(&sigstore.trusted_root_json(), &signed.bundle, &IMAGE, None).unwrap_err();
    assert!(refusal.contains("multiple SCTs"), "{refusal}");
}

#[test]
fn finds_the_image_among_other_subjects() {
    let sigstore = sigstore();
    let signing = v1(&sigstore).other_subjects(3).predicate("https://example.com/p/v1", json!({}));
    let signed = signing.bundle(Version::V03).sign(&image());
    assert_eq!(verify(&sigstore.trusted_root_json(), &signed.bundle, &IMAGE, None), Ok(()));
}

#[test]
fn alters_trust_roots() {
    let sigstore = sigstore();
    let root = || sigstore.trusted_root();
    let signed_v1 = v1(&sigstore).bundle(Version::V03).sign(&image()).bundle;
    let signed_v2 = v2(&sigstore).bundle(Version::V03).sign(&image()).bundle;
    let late = sigstore.start() + 1.hour();
    for (root, bundle, words) in [
        (root().expired(Authority::RekorV1), &signed_v1, "No log key valid"),
        (root().omit(Authority::RekorV1), &signed_v1, "No log key valid"),
        (root().window(Authority::RekorV1, late, None), &signed_v1, "No log key valid"),
        (root().expired(Authority::Fulcio).without_retired(), &signed_v1, "authorit"),
        (root().expired(Authority::CtLog), &signed_v1, "key not found or not valid"),
        (root().omit(Authority::CtLog), &signed_v1, "no CT log keys"),
        (root().expired(Authority::Tsa), &signed_v2, "outside the validity period"),
        (root().omit(Authority::Tsa), &signed_v2, "no timestamp authorities"),
        (root().omit(Authority::RekorV2), &signed_v2, "No matching Rekor key"),
    ] {
        let refusal = verify(&root.json(), bundle, &IMAGE, None).unwrap_err();
        assert!(refusal.contains(words), "{refusal:?}, not {words:?}");
    }
}

#[test]
fn ships_intermediates_with_the_evidence() {
    let sigstore = sigstore();
    let root = sigstore.trusted_root().without_retired().without_intermediates().json();
    let honest = v1(&sigstore).bundle(Version::V02);
    assert_eq!(verify(&root, &honest.sign(&image()).bundle, &IMAGE, None), Ok(()));
    let single = v1(&sigstore).bundle(Version::V03).sign(&image()).bundle;
    let refusal = verify(&root, &single, &IMAGE, None).unwrap_err();
    assert!(refusal.contains("UnknownIssuer"), "{refusal}");

    let root = sigstore.trusted_root().without_intermediates().json();
    let lapsed = honest.tamper(Part::IntermediateExpired).sign(&image()).bundle;
    let refusal = verify(&root, &lapsed, &IMAGE, None).unwrap_err();
    assert!(refusal.contains("CertExpired"), "{refusal}");

    let classic = |signing: super::Signing<'_>| {
        signing.classic().sign(&image()).annotations[super::annotation::CHAIN].clone()
    };
    assert_eq!(classic(v1(&sigstore)), "");
    let chain = classic(v1(&sigstore).chain_annotation());
    let [certificate] = &Certificate::load_pem_chain(chain.as_bytes()).unwrap()[..] else {
        panic!("{chain}");
    };
    let subject = certificate.tbs_certificate.subject.to_string();
    assert!(subject.contains("intermediate"), "{subject}");
}

#[test]
fn adds_second_authorities() {
    let sigstore = sigstore();
    let (first, second) = (Log::RekorV1, Log::SecondRekorV1);
    let bundle = |signing: super::Signing<'_>| signing.bundle(Version::V03).sign(&image()).bundle;
    let two_logs = bundle(sigstore.keyless(ALICE, ISSUER).log(first).log(second));
    let two_v2 = bundle(v2(&sigstore).log(Log::SecondRekorV2));
    let two_stamps = bundle(v1(&sigstore).timestamp(1).second_timestamp(1).tsa_certificate());
    for (authority, bundle) in
        [(Authority::RekorV1, two_logs), (Authority::RekorV2, two_v2), (Authority::Tsa, two_stamps)]
    {
        let root = sigstore.trusted_root();
        let refusal = verify(&root.json(), &bundle, &IMAGE, None);
        assert!(refusal.is_err(), "{authority:?}");
        assert_eq!(verify(&root.second(authority).json(), &bundle, &IMAGE, None), Ok(()));
    }
}

#[test]
fn hands_out_candidates() {
    let sigstore = sigstore();
    let bundle = v1(&sigstore).bundle(Version::V03).sign(&image());
    let candidate = bundle.candidate();
    assert_eq!((candidate.place, candidate.format), (Place::Referrers, Format::Bundle));
    let Ok(Content::Bundle(bytes)) = candidate.content else { panic!("no bundle") };
    assert!(candidate.layer.matches(&bytes));
    assert_eq!(serde_json::from_slice::<Value>(&bytes).unwrap(), bundle.bundle);
    assert!(candidate.manifest.matches(&bundle.oci().manifest));

    let classic = v1(&sigstore).classic().sign(&image());
    let candidate = classic.candidate();
    assert_eq!((candidate.place, candidate.format), (Place::SignatureTag, Format::Legacy));
    let Ok(Content::SimpleSigning { payload, annotations }) = candidate.content else {
        panic!("no payload")
    };
    assert!(candidate.layer.matches(&payload));
    assert_eq!(
        (payload.to_vec(), annotations),
        (classic.payload.clone(), classic.annotations.clone())
    );
    assert!(candidate.manifest.matches(&classic.oci().manifest));
}

#[test]
fn writes_manifests_that_name_their_blobs() {
    let sigstore = sigstore();
    let classic = || v1(&sigstore).classic().sign(&image());
    let (first, second) = (classic(), classic());
    let tag = OciArtifact::signature_tag(&[&first, &second]);
    let referrer = v1(&sigstore).bundle(Version::V03).sign(&image()).oci();
    for (artifact, layers) in [(&tag, 2), (&referrer, 1)] {
        let manifest: Value = serde_json::from_slice(&artifact.manifest).unwrap();
        let named = manifest["layers"].as_array().unwrap();
        assert_eq!(named.len(), layers);
        assert_eq!(artifact.blobs.len(), layers + 1);
        let named = std::iter::once(&manifest["config"]).chain(named);
        for (descriptor, blob) in named.zip(&artifact.blobs) {
            assert_eq!(descriptor["digest"], Digest::sha256_of(blob).to_string());
            assert_eq!(descriptor["size"], blob.len());
        }
    }
    assert_eq!(tag.tag, Some(format!("{}.sig", image().tag_form())));
    let manifest: Value = serde_json::from_slice(&referrer.manifest).unwrap();
    assert_eq!(manifest["subject"]["digest"], image().to_string());
    assert_eq!(manifest["artifactType"], Version::V03.media_type());
    assert_eq!(manifest["config"]["mediaType"], "application/vnd.oci.empty.v1+json");
}

#[test]
fn forges_only_what_is_asked_for() {
    let sigstore = sigstore();
    let signing = v1(&sigstore).timestamp(1).bundle(Version::V03);
    let honest = signing.clone().sign(&image()).bundle;
    let copies = signing.tamper(Part::TimestampCopies(33)).tamper(Part::LogEntryCopies(40));
    let copies = copies.sign(&image()).bundle;
    let count =
        |bundle: &Value, pointer: &str| bundle.pointer(pointer).unwrap().as_array().unwrap().len();
    let stamps = "/verificationMaterial/timestampVerificationData/rfc3161Timestamps";
    let entries = "/verificationMaterial/tlogEntries";
    assert_eq!((count(&honest, stamps), count(&honest, entries)), (1, 1));
    assert_eq!((count(&copies, stamps), count(&copies, entries)), (33, 40));
}
