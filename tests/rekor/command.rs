//! `tegata verify`, asking a log.
use std::path::Path;
use std::path::PathBuf;
use std::process::Output;

use serde_json::Value;
use serde_json::json;
use tegata::image::Digest;

use super::Cluster;
use super::start;
use crate::fake_rekor::FakeRekor;
use crate::virtual_sigstore::Algorithm;
use crate::virtual_sigstore::Key;
use crate::virtual_sigstore::Log;
use crate::virtual_sigstore::VirtualSigstore;

const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";

/// An image in a layout, signed with a key; only the log has the entry.
struct Desk {
    folder: tempfile::TempDir,
    log: FakeRekor,
}

impl Desk {
    async fn new() -> Self {
        let (folder, log) = (tempfile::tempdir().unwrap(), FakeRekor::start().await);
        let sigstore = VirtualSigstore::new(start());
        let key = Key::generate(Algorithm::P256);
        let path = folder.path();
        std::fs::create_dir_all(path.join("image/blobs/sha256")).unwrap();
        let config = json!({ "mediaType": "application/vnd.oci.image.config.v1+json",
            "digest": blob(path, b"{}").to_string(), "size": 2 });
        let manifest = json!({ "schemaVersion": 2, "mediaType": MANIFEST, "config": config,
            "layers": [] });
        let manifest = manifest.to_string();
        let image = blob(path, manifest.as_bytes());
        let signed = sigstore.keyed(&key).log(Log::RekorV1).classic().sign(&image);
        log.put(&Digest::sha256_of(&signed.payload), &signed.entries[0]);
        let artifact = signed.unlogged().oci();
        artifact.blobs.iter().for_each(|bytes| drop(blob(path, bytes)));
        let signature = blob(path, &artifact.manifest);
        let entry = |digest: &Digest, size: usize, tag: &str| {
            json!({ "mediaType": MANIFEST, "digest": digest.to_string(), "size": size,
                "annotations": { "org.opencontainers.image.ref.name": tag } })
        };
        let manifests = [
            entry(&image, manifest.len(), "v1"),
            entry(&signature, artifact.manifest.len(), artifact.tag.as_deref().unwrap()),
        ];
        let index = json!({ "schemaVersion": 2, "manifests": manifests }).to_string();
        std::fs::write(path.join("image/index.json"), index).unwrap();
        let version = r#"{"imageLayoutVersion":"1.0.0"}"#;
        std::fs::write(path.join("image/oci-layout"), version).unwrap();
        std::fs::write(path.join("root.json"), sigstore.trusted_root_json()).unwrap();
        std::fs::write(path.join("cosign.pub"), key.public_pem()).unwrap();
        let authority = json!({ "key": { "data": key.public_pem() },
            "ctlog": { "url": "https://rekor.example" } });
        let policy = json!({ "apiVersion": "tegata.dev/v1alpha1", "kind": "ClusterImagePolicy",
            "metadata": { "name": "p" },
            "spec": { "images": [{ "glob": "**" }], "authorities": [authority] } });
        std::fs::write(path.join("policy.yaml"), policy.to_string()).unwrap();
        Self { folder, log }
    }

    fn path(&self, name: &str) -> String {
        self.folder.path().join(name).display().to_string()
    }

    /// Exit code, and the reason of the one policy's failure.
    async fn verify(&self, flags: &[&str]) -> (Option<i32>, String) {
        let mut command = tokio::process::Command::new(env!("CARGO_BIN_EXE_tegata"));
        command.args(["verify", &format!("oci:{}:v1", self.path("image")), "--output=json"]);
        command.args(["--as=registry.example/app:v1", "--timeout=10s"]);
        command.args(["--trusted-root", &self.path("root.json")]);
        let Output { status, stdout, stderr } = command.args(flags).output().await.unwrap();
        let text = String::from_utf8(stdout).unwrap();
        let answer: Value = serde_json::from_str(&text).unwrap_or_default();
        let reason = found(&answer, "reason").map(|reason| reason.to_string());
        let error = String::from_utf8(stderr).unwrap();
        (status.code(), reason.unwrap_or(error).trim_matches('"').to_owned())
    }
}

fn blob(folder: &Path, bytes: &[u8]) -> Digest {
    let digest = Digest::sha256_of(bytes);
    let path: PathBuf = folder.join("image/blobs/sha256").join(digest.hex());
    std::fs::write(path, bytes).unwrap();
    digest
}

/// The first value of this name, wherever it is.
fn found<'a>(value: &'a Value, name: &str) -> Option<&'a Value> {
    match value {
        Value::Object(fields) => {
            fields.get(name).or_else(|| fields.values().find_map(|value| found(value, name)))
        }
        Value::Array(values) => values.iter().find_map(|value| found(value, name)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => None,
    }
}

#[tokio::test]
async fn asks_the_log_that_the_flag_names() {
    let desk = Desk::new().await;
    let (key, url) = (desk.path("cosign.pub"), desk.log.url().to_string());
    let flags = ["--key", &key, "--rekor-url", &url];
    assert_eq!(desk.verify(&flags).await, (Some(0), String::new()));
    assert_eq!(desk.log.count(""), 2);

    let empty = Cluster::new().await.log;
    let url = empty.url().to_string();
    let answer = desk.verify(&["--key", &key, "--rekor-url", &url]).await;
    assert_eq!(answer, (Some(1), "log-entry-absent".to_owned()));

    let closed = "http://127.0.0.1:1";
    let answer = desk.verify(&["--key", &key, "--rekor-url", closed]).await;
    assert_eq!(answer, (Some(3), "log-unreachable".to_owned()));
}

#[tokio::test]
async fn asks_nobody_offline() {
    let desk = Desk::new().await;
    let (key, policy) = (desk.path("cosign.pub"), desk.path("policy.yaml"));
    let answer = desk.verify(&["--policy", &policy, "--offline"]).await;
    assert_eq!(answer, (Some(3), "log-unreachable".to_owned()));
    let (code, _) = desk.verify(&["--key", &key, "--offline"]).await;
    assert_eq!(code, Some(0), "nothing needs a log");
}

#[tokio::test]
async fn rejects_flags_that_contradict_each_other() {
    let desk = Desk::new().await;
    let (key, policy) = (desk.path("cosign.pub"), desk.path("policy.yaml"));
    let url = "--rekor-url=https://rekor.example";
    for (flags, part) in [
        (vec!["--key", &key, url, "--offline"], "--offline"),
        (vec!["--policy", &policy, url], "--policy"),
        (vec!["--key", &key, url, "--insecure-ignore-tlog"], "--rekor-url: no log is asked"),
        (vec!["--key", &key, "--rekor-url=rekor.example"], "found no address"),
    ] {
        let (code, error) = desk.verify(&flags).await;
        assert_eq!(code, Some(2), "{flags:?}: {error}");
        assert!(error.contains(part), "{error}");
    }
}
