//! Bundles of files and packages, as clients of many languages and package registries made them.
use std::fmt::Write as _;
use std::path::Path;
use std::process::Command;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;
use tegata::image::Digest;
use x509_cert::Certificate;
use x509_cert::der::Decode as _;
use x509_cert::ext::pkix::SubjectAltName;
use x509_cert::ext::pkix::name::GeneralName;

use crate::collection;
use crate::exceptions::Answers;
use crate::exceptions::VERIFIED;

/// What each case that must or may be refused is refused for. Where the index leaves the answer
/// open, a bundle of version 0.1 stands on its signed entry timestamp.
const REFUSED: [(&str, &str); 14] = [
    (
        "gh-github_provenance_demo-0.0.12-py3-none-any-bundle-missing-cert.jsonl",
        "evidence: evidence-malformed",
    ),
    ("gh-sigstoreBundle-invalid-signature.json", "evidence: evidence-unsupported"),
    ("java-bundle-with-bad-checkpoint-signature.sigstore", "log-entry: checkpoint-invalid"),
    ("java-bundle-with-expired-cert.sigstore", "time: signing-time-outside-certificate"),
    ("java-bundle.dsse.bad-signature.sigstore", "signature: signature-invalid"),
    ("java-bundle.dsse.rekor-v2.bad-signature.sigstore", "signature: signature-invalid"),
    ("java-bundle.v3.no.inclusion.sigstore", "log-entry: inclusion-proof-absent"),
    ("py-bundle_invalid_version.txt.sigstore", "evidence: evidence-unsupported"),
    ("py-bundle_no_cert_v1.txt.sigstore", "certificate: certificate-absent"),
    // A proof without its checkpoint: what is there is checked, though the promise would do.
    ("py-integration/Python-3.12.5.tgz.sigstore", "log-entry: checkpoint-invalid"),
    ("slsa-npm-gundam-visor-cli-v1-tag-invalidsigprov.tgz.json", "signature: signature-invalid"),
    ("slsa-npm-gundam-visor-cli-v1-tag-invalidsigpub.tgz.json", "signature: signature-invalid"),
    ("slsa-npm-provenance-npm-test-ossf-invalidsigprov.tgz.json", "signature: signature-invalid"),
    ("slsa-npm-provenance-npm-test-ossf-invalidsigpub.tgz.json", "signature: signature-invalid"),
];

#[test]
fn bundles_of_files_and_packages_get_the_verdict_of_their_index() {
    let missing = "bundles of files and packages are not verified";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let mut answers = Answers::new("blob-bundles");
    let temporary = tempfile::tempdir().unwrap();
    for row in collection::rows(&vectors, "blob-bundles") {
        let text = |name: &str| row[name].as_str().unwrap();
        let (id, expected) = (text("id"), text("expected"));
        let refused = REFUSED.iter().find(|(name, _)| *name == id).map(|(_, reason)| *reason);
        let wanted = match (expected.split([' ', ':', ';']).next().unwrap(), refused) {
            ("accept" | "either", None) => VERIFIED,
            ("reject" | "either", Some(reason)) => reason,
            _ => expected,
        };
        let case = Case::read(&vectors, &row);
        let root = temporary.path().join("trusted_root.json");
        std::fs::write(&root, trusted_root(&vectors, text("root"))).unwrap();
        let bundle = temporary.path().join("bundle.json");
        std::fs::write(&bundle, &case.bundle).unwrap();
        let found = case.verify(&bundle, &root, &case.subject);
        answers.hold(id, &found, wanted);
        if found == VERIFIED {
            let other = case.verify(&bundle, &root, "https://example.com/someone-else");
            assert_eq!(other, "identity: subject-mismatch", "{id} by someone else");
        }
    }
    answers.finish(51);
}

/// The trust root that a row names.
fn trusted_root(vectors: &Path, name: &str) -> String {
    let read = |path: &str| std::fs::read_to_string(vectors.join(path)).unwrap();
    let name = name.split([' ', '+']).next().unwrap();
    match name {
        "public-good" | "staging" | "github" => {
            read(&format!("trust-roots/{name}/trusted_root.json"))
        }
        "tsa/trust_config.json" => {
            let whole = read("blob-bundles/sigstore_sigstore-python/trust_config.json");
            let whole: Value = serde_json::from_str(&whole).unwrap();
            whole["trustedRoot"].to_string()
        }
        other => panic!("no trust root is called `{other}`"),
    }
}

/// A bundle, and what it is verified against.
struct Case {
    bundle: String,
    digest: String,
    issuer: String,
    subject: String,
}

impl Case {
    fn read(vectors: &Path, row: &Value) -> Self {
        let file = vectors.join(row["file"].as_str().unwrap());
        let text = std::fs::read_to_string(&file).unwrap();
        let mut bundle: Value = serde_json::from_str(&text).unwrap();
        // npm's own key signs the first attestation of a package; the second is keyless.
        let attested = bundle.get("attestations").or_else(|| bundle.as_array().map(|_| &bundle));
        if let Some(attestations) = attested {
            bundle = attestations[1]["bundle"].clone();
        }
        let (issuer, subject) = identity(&bundle).unwrap_or_default();
        Self { digest: digest(&bundle, &file), issuer, subject, bundle: bundle.to_string() }
    }

    /// The answer when the signer must be `subject`.
    fn verify(&self, bundle: &Path, root: &Path, subject: &str) -> String {
        let mut command = Command::new(crate::client());
        command.arg("verify-bundle").arg("--bundle").arg(bundle);
        command.arg("--trusted-root").arg(root);
        let issuer = if self.issuer.is_empty() { "none" } else { &self.issuer };
        command.args(["--certificate-oidc-issuer", issuer]);
        command.args(["--certificate-identity", if subject.is_empty() { "none" } else { subject }]);
        let output = command.arg(&self.digest).output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        match output.status.code() {
            Some(0) => VERIFIED.to_owned(),
            Some(1) => {
                let text = text.strip_prefix("refused at ").unwrap();
                text.splitn(3, ": ").take(2).collect::<Vec<_>>().join(": ")
            }
            code => format!("exit {code:?}: {text}"),
        }
    }
}

/// The digest of the file beside the bundle, else what the bundle says of itself.
fn digest(bundle: &Value, file: &Path) -> String {
    if let Some(payload) = bundle.pointer("/dsseEnvelope/payload").and_then(Value::as_str) {
        let statement = STANDARD.decode(payload).unwrap();
        let statement: Value = serde_json::from_slice(&statement).unwrap_or_default();
        let subjects = statement["subject"].as_array().map_or(&[][..], Vec::as_slice);
        for algorithm in ["sha256", "sha512"] {
            let found = subjects.iter().find_map(|one| one["digest"][algorithm].as_str());
            if let Some(hex) = found {
                return format!("{algorithm}:{hex}");
            }
        }
    }
    let name = file.file_name().unwrap().to_str().unwrap();
    let name = name.split(".sigstore").next().unwrap();
    for beside in [name.to_owned(), format!("{name}.txt"), "artifact.txt".to_owned()] {
        if let Ok(bytes) = std::fs::read(file.with_file_name(beside)) {
            return Digest::sha256_of(&bytes).to_string();
        }
    }
    let own = bundle.pointer("/messageSignature/messageDigest/digest").and_then(Value::as_str);
    let own = STANDARD.decode(own.unwrap_or_default()).unwrap();
    let hex = own.iter().fold(String::new(), |mut hex, byte| {
        write!(hex, "{byte:02x}").unwrap();
        hex
    });
    if hex.len() == 64 { format!("sha256:{hex}") } else { Digest::sha256_of(b"").to_string() }
}

/// Issuer and subject as the certificate has them.
#[expect(clippy::wildcard_enum_match_arm, reason = "other kinds of name are no identities")]
fn identity(bundle: &Value) -> Option<(String, String)> {
    let material = &bundle["verificationMaterial"];
    let leaf = material.pointer("/certificate/rawBytes");
    let leaf = leaf.or_else(|| material.pointer("/x509CertificateChain/certificates/0/rawBytes"));
    let der = STANDARD.decode(leaf?.as_str()?).unwrap();
    let tbs = Certificate::from_der(&der).unwrap().tbs_certificate;
    let names = tbs.get::<SubjectAltName>().unwrap()?.1;
    let subject = names.0.first().map(|name| match name {
        GeneralName::Rfc822Name(email) => email.to_string(),
        GeneralName::UniformResourceIdentifier(uri) => uri.to_string(),
        other => panic!("a signer with the name {other:?}"),
    })?;
    let issuer = tbs.extensions?.iter().find_map(|extension| {
        let bare = extension.extn_id.to_string() == "1.3.6.1.4.1.57264.1.1";
        bare.then(|| String::from_utf8(extension.extn_value.as_bytes().to_vec()).unwrap())
    })?;
    Some((issuer, subject))
}
