//! sigstore-conformance: every case by path and by digest, through the client protocol.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "test support"
)]
use std::collections::BTreeMap;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;

use tegata::image::Digest;

#[path = "conformance/blobs.rs"]
mod blobs;
#[path = "support/collection.rs"]
mod collection;
#[path = "support/exceptions.rs"]
mod exceptions;

const IDENTITY: &str = "https://github.com/sigstore-conformance/extremely-dangerous-public-oidc-beacon/.github/workflows/extremely-dangerous-oidc-beacon.yml@refs/heads/main";
const ISSUER: &str = "https://token.actions.githubusercontent.com";

/// What each case that must fail is refused for: the step and the reason its README speaks of.
const REFUSED: [(&str, &str); 21] = [
    ("bundle-empty-certificate-chain_fail", "certificate: certificate-absent"),
    ("bundle-invalid-base64-signature_fail", "evidence: evidence-malformed"),
    ("bundle-malformed-json_fail", "evidence: evidence-malformed"),
    ("bundle-unknown-version_fail", "evidence: evidence-unsupported"),
    ("dsse-invalid-sig_fail", "signature: signature-invalid"),
    ("integrated-time-in-future_fail", "time: signing-time-outside-certificate"),
    ("intoto-missing-inclusion-proof_fail", "log-entry: inclusion-proof-absent"),
    ("intoto-tsa-timestamp-outside-cert-validity_fail", "time: signing-time-outside-certificate"),
    ("invalid-checkpoint-signature_fail", "log-entry: checkpoint-invalid"),
    ("invalid-inclusion-proof_fail", "log-entry: inclusion-proof-invalid"),
    ("message-digest-mismatch_fail", "signature: payload-digest-mismatch"),
    ("rekor2-checkpoint-missing-log-signature_fail", "log-entry: checkpoint-invalid"),
    ("rekor2-checkpoint-missing-root-hash_fail", "log-entry: checkpoint-invalid"),
    ("rekor2-dsse-invalid-sig_fail", "signature: signature-invalid"),
    ("rekor2-no-inclusion-proof_fail", "log-entry: inclusion-proof-absent"),
    ("rekor2-no-timestamp_fail", "time: timestamp-absent"),
    ("rekor2-timestamp-outside-trust-root-tsa-validity_fail", "time: timestamp-outside-window"),
    ("rekor2-timestamp-untrusted-tsa-without-embedded-cert_fail", "time: timestamp-invalid"),
    ("signature-mismatch_fail", "signature: signature-invalid"),
    ("wrong-hashedrekord-artifact_fail", "log-entry: log-entry-mismatch"),
    ("wrong-material_fail", "signature: payload-digest-mismatch"),
];

/// The one case whose key is none: its base64 is damaged, so that the file itself is refused.
const UNREADABLE: (&str, &str) =
    ("managed-key-wrong-key_fail", "conformance: the PEM block cannot be read");

#[test]
fn answers_every_case_by_path_and_by_digest() {
    let missing = "sigstore-conformance's cases are not run";
    let Some(vectors) = collection::folder("TEGATA_VECTORS", missing) else { return };
    let folder = vectors.join("conformance/bundle-verify");
    let mut cases: Vec<PathBuf> = std::fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .collect();
    cases.sort();
    assert_eq!(cases.len(), 35, "cases in {}", folder.display());
    let refused: BTreeMap<&str, &str> = REFUSED.into();
    let mut wrong = Vec::new();
    for case in &cases {
        let name = case.file_name().unwrap().to_str().unwrap();
        let own = case.join("artifact");
        let artefact = if own.exists() { own } else { folder.join("a.txt") };
        let digest = Digest::sha256_of(&std::fs::read(&artefact).unwrap()).to_string();
        for subject in [artefact.to_str().unwrap(), &digest] {
            let (code, text) = run(case, subject);
            let right = name == UNREADABLE.0 && code == 2 && text.starts_with(UNREADABLE.1)
                || match refused.get(name) {
                    Some(reason) => {
                        code == 1 && text.starts_with(&format!("refused at {reason}: "))
                    }
                    None => code == 0 && !name.ends_with("_fail"),
                };
            if !right {
                let wanted = refused.get(name).unwrap_or(&"verified");
                wrong.push(format!("{name} ({subject}): exit {code}, wanted {wanted}: {text}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

fn run(case: &Path, subject: &str) -> (i32, String) {
    let mut command = Command::new(client());
    command.args(["verify-bundle", "--bundle"]).arg(case.join("bundle.sigstore.json"));
    let text = |name: &str, default: &str| {
        let found = std::fs::read_to_string(case.join(name));
        found.map_or_else(|_| default.to_owned(), |text| text.trim().to_owned())
    };
    let key = case.join("key.pub");
    if key.exists() {
        command.arg("--key").arg(key);
    } else {
        command.args(["--certificate-identity", &text("identity", IDENTITY)]);
        command.args(["--certificate-oidc-issuer", &text("issuer", ISSUER)]);
    }
    let root = case.join("trusted_root.json");
    if root.exists() {
        command.arg("--trusted-root").arg(root);
    }
    let output = command.arg(subject).output().unwrap();
    (output.status.code().unwrap(), String::from_utf8(output.stderr).unwrap())
}

/// The client, beside the program that is tested.
fn client() -> PathBuf {
    Path::new(env!("CARGO_BIN_EXE_tegata")).with_file_name("examples").join("conformance")
}
