//! The binary: what it says and how it exits when it is used or configured wrongly.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::fs;
use std::net::TcpListener;
use std::path::Path;
use std::path::PathBuf;
use std::process::Command;
use std::process::Output;

use tempfile::TempDir;

/// A P-256 key that signed nothing.
const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEiP177PyPBbmidV1WNfCTBU7cmgjS
ttuXcarRZNJUxqE+lixdaXiNPcqpd3/SBJUEOMllljduo14sep/gUl0KsA==
-----END PUBLIC KEY-----
";

const POLICY: &str = "apiVersion: tegata.dev/v1alpha1
kind: ClusterImagePolicy
metadata:
  name: signed
spec:
  images:
    - glob: '**'
  authorities:
    - name: nobody
      static:
        action: fail
        message: no image may run here
";

/// A folder in the OCI image layout with one image without signatures, tagged `v1`.
fn layout(folder: &Path) -> String {
    let dir = folder.join("image");
    let blobs = dir.join("blobs/sha256");
    fs::create_dir_all(&blobs).unwrap();
    let put = |bytes: &str| {
        let digest = tegata::image::Digest::sha256_of(bytes.as_bytes());
        fs::write(blobs.join(digest.hex()), bytes).unwrap();
        (digest, bytes.len())
    };
    let (config, size) = put("{}");
    let manifest_type = "application/vnd.oci.image.manifest.v1+json";
    let (manifest, manifest_size) = put(&format!(
        r#"{{"schemaVersion":2,"mediaType":"{manifest_type}","config":{{"mediaType":"application/vnd.oci.image.config.v1+json","digest":"{config}","size":{size}}},"layers":[]}}"#
    ));
    let index = format!(
        r#"{{"schemaVersion":2,"manifests":[{{"mediaType":"{manifest_type}","digest":"{manifest}","size":{manifest_size},"annotations":{{"org.opencontainers.image.ref.name":"v1"}}}}]}}"#
    );
    fs::write(dir.join("index.json"), index).unwrap();
    fs::write(dir.join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
    format!("oci:{}:v1", dir.display())
}

fn put(folder: &TempDir, name: &str, text: &str) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, text).unwrap();
    path
}

fn tegata(args: &[&str]) -> Output {
    // No setting and no credential of whoever runs the tests has a say.
    let clean = Command::new(env!("CARGO_BIN_EXE_tegata"))
        .env_clear()
        .env("RUST_BACKTRACE", "0")
        .args(args)
        .output();
    clean.unwrap()
}

/// The one line on standard error of a call that must end with exit code 2.
#[track_caller]
fn misused(args: &[&str]) -> String {
    let Output { status, stdout, stderr } = tegata(args);
    let (stdout, stderr) = (String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap());
    assert_eq!(status.code(), Some(2), "{args:?}\n{stdout}{stderr}");
    assert!(stdout.is_empty(), "{stdout}");
    assert_eq!(stderr.lines().count(), 1, "{args:?}\n{stderr}");
    assert!(stderr.starts_with("tegata: "), "{stderr}");
    assert!(!stderr.trim_end().ends_with(['.', ':']), "{stderr}");
    stderr
}

#[track_caller]
fn holds(text: &str, parts: &[&str]) {
    for part in parts {
        assert!(text.contains(part), "wanted `{part}` in: {text}");
    }
}

#[test]
fn says_version_and_help() {
    let Output { status, stdout, .. } = tegata(&["--version"]);
    assert_eq!(status.code(), Some(0));
    let version = concat!("tegata ", env!("CARGO_PKG_VERSION"));
    assert_eq!(String::from_utf8(stdout).unwrap().trim(), version);
    let Output { status, stdout, .. } = tegata(&["verify", "--help"]);
    assert_eq!(status.code(), Some(0));
    holds(&String::from_utf8(stdout).unwrap(), &["--certificate-identity", "TEGATA_KEY"]);
}

#[test]
fn rejects_wrong_usage_in_one_line() {
    holds(&misused(&[]), &["verify, serve, crds"]);
    holds(&misused(&["verfy"]), &["'verfy'", "'verify'"]);
    holds(&misused(&["verify"]), &["<IMAGE>"]);
    holds(&misused(&["verify", "oci:x", "--polcy=p"]), &["--polcy", "'--policy'"]);
    holds(&misused(&["verify", "oci:x", "--key=a", "--policy=b"]), &["--key", "--policy"]);
    holds(&misused(&["verify", "oci:x", "--output=xml"]), &["xml", "json, text"]);
    holds(&misused(&["verify", "oci:x", "--timeout=0s"]), &["--timeout", "above 0"]);
    holds(&misused(&["verify", "oci:x"]), &["nothing to verify against", "--policy", "--key"]);
}

#[test]
fn rejects_half_an_identity() {
    let line = misused(&["verify", "oci:x", "--certificate-identity=a@b.test"]);
    holds(&line, &["--certificate-oidc-issuer: not given"]);
}

#[test]
fn rejects_a_certificate_without_any_proof_of_time() {
    let line = misused(&[
        "verify",
        "oci:x",
        "--certificate-identity=a@b.test",
        "--certificate-oidc-issuer=https://i.test",
        "--insecure-ignore-tlog",
    ]);
    holds(&line, &["--insecure-ignore-tlog", "add --use-signed-timestamps"]);
}

#[test]
fn names_the_key_file_that_is_missing() {
    let line = misused(&["verify", "oci:x", "--key=/does/not/exist.pub"]);
    holds(&line, &["--key", "cannot read /does/not/exist.pub", "No such file"]);
}

#[test]
fn rejects_a_key_file_that_holds_none() {
    let folder = TempDir::new().unwrap();
    let path = put(&folder, "cosign.pub", "hello\n");
    let line = misused(&["verify", "oci:x", "--key", path.to_str().unwrap()]);
    holds(&line, &["--key", path.to_str().unwrap()]);
}

#[test]
fn rejects_a_key_that_is_no_file_by_name() {
    let line = misused(&["verify", "oci:x", "--key=awskms:///alias/release"]);
    holds(&line, &["awskms://", "not supported yet"]);
}

#[test]
fn rejects_a_trust_root_that_cannot_be_used() {
    let folder = TempDir::new().unwrap();
    let (key, root) = (put(&folder, "k.pub", KEY), put(&folder, "root.json", "{\"fine\": tru"));
    let key = key.to_str().unwrap();
    let call = |root: &str| misused(&["verify", "oci:x", "--key", key, "--trusted-root", root]);
    holds(&call("/does/not/exist.json"), &["--trusted-root", "/does/not/exist.json"]);
    holds(&call(root.to_str().unwrap()), &["--trusted-root", root.to_str().unwrap()]);
    holds(&call(folder.path().to_str().unwrap()), &["--trusted-root", "directory"]);
}

#[test]
fn rejects_an_unparsable_reference() {
    for image in
        ["ghcr.io/UPPER/case", "a b", "ghcr.io/acme/app@sha256:123", "ghcr.io/acme/app:", ""]
    {
        let line = misused(&["verify", image, "--key=k"]);
        holds(&line, &["IMAGE"]);
    }
}

#[test]
fn rejects_a_layout_that_is_not_there() {
    let folder = TempDir::new().unwrap();
    let key = put(&folder, "k.pub", KEY);
    let line = misused(&["verify", "oci:/does/not/exist", "--key", key.to_str().unwrap()]);
    holds(&line, &["oci:/does/not/exist"]);
}

#[test]
fn rejects_as_without_a_layout() {
    let folder = TempDir::new().unwrap();
    let key = put(&folder, "k.pub", KEY);
    let (key, image) = (key.to_str().unwrap(), "registry.invalid/a:b");
    let line = misused(&["verify", image, "--key", key, "--as=registry.invalid/c:d"]);
    holds(&line, &["--as", "layout"]);
}

#[test]
fn broken_yaml_names_file_and_line() {
    let folder = TempDir::new().unwrap();
    let path = put(&folder, "policy.yaml", &POLICY.replace("  images:", "  images: [}"));
    let line = misused(&["verify", "oci:x", "--policy", path.to_str().unwrap()]);
    holds(&line, &["policy.yaml", "6"]);
}

#[test]
fn unknown_field_names_file_and_neighbour() {
    let folder = TempDir::new().unwrap();
    let path = put(&folder, "policy.yaml", &POLICY.replace("authorities:", "authoritys:"));
    let line = misused(&["verify", "oci:x", "--policy", path.to_str().unwrap()]);
    holds(&line, &["policy.yaml", "authoritys", "authorities"]);
}

#[test]
fn wrong_value_names_file_and_field() {
    let folder = TempDir::new().unwrap();
    let path = put(&folder, "policy.yaml", &POLICY.replace("action: fail", "action: maybe"));
    let line = misused(&["verify", "oci:x", "--policy", path.to_str().unwrap()]);
    holds(&line, &["policy.yaml", "static", "maybe"]);
}

#[test]
fn missing_policy_file_is_no_empty_policy() {
    let line = misused(&["verify", "oci:x", "--policy=/does/not/exist.yaml"]);
    holds(&line, &["/does/not/exist.yaml"]);
}

#[test]
fn port_in_use_names_the_address() {
    let folder = TempDir::new().unwrap();
    put(&folder, "policy.yaml", POLICY);
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let policies = folder.path().to_str().unwrap();
    let health = "127.0.0.1:0";
    let Output { status, stderr, .. } = tegata(&[
        "serve",
        "--policies",
        policies,
        "--listen",
        &address,
        "--health-listen",
        health,
        "--log-filter=off",
    ]);
    let stderr = String::from_utf8(stderr).unwrap();
    assert_eq!(status.code(), Some(2), "{stderr}");
    holds(stderr.lines().last().unwrap_or_default(), &["tegata: ", &address]);
}

#[test]
fn crds_prints_the_three_kinds() {
    let Output { status, stdout, .. } = tegata(&["crds"]);
    assert_eq!(status.code(), Some(0));
    let yaml = String::from_utf8(stdout).unwrap();
    holds(&yaml, &["kind: ClusterImagePolicy", "kind: ImagePolicy", "kind: TrustRoot"]);
}

/// Exit code and JSON of a call that gives an answer.
#[track_caller]
fn answer(args: &[&str]) -> (Option<i32>, serde_json::Value) {
    let Output { status, stdout, stderr } = tegata(&[args, &["--output=json"]].concat());
    let stdout = String::from_utf8(stdout).unwrap();
    let stderr = String::from_utf8(stderr).unwrap();
    assert!(stderr.is_empty(), "{stderr}");
    (status.code(), serde_json::from_str(&stdout).unwrap_or_else(|e| panic!("{e}: {stdout}")))
}

#[test]
fn unsigned_image_is_rejected_with_exit_code_1() {
    let folder = TempDir::new().unwrap();
    let (image, key) = (layout(folder.path()), put(&folder, "k.pub", KEY));
    let (code, json) = answer(&["verify", &image, "--key", key.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{json:#}");
    assert_eq!(json["verdict"], "rejected");
    let policy = &json["images"][0]["policies"][0];
    assert_eq!(policy["failure"]["reason"], "signature-absent", "{json:#}");
}

#[test]
fn image_that_no_policy_covers_is_rejected() {
    let folder = TempDir::new().unwrap();
    let image = layout(folder.path());
    let path = put(&folder, "policy.yaml", &POLICY.replace("'**'", "ghcr.io/acme/**"));
    let (code, json) = answer(&["verify", &image, "--policy", path.to_str().unwrap()]);
    assert_eq!(code, Some(1), "{json:#}");
    assert_eq!(json["images"][0]["failure"]["reason"], "policy-none", "{json:#}");
    let text = tegata(&["verify", &image, "--policy", path.to_str().unwrap()]).stdout;
    holds(&String::from_utf8(text).unwrap(), &["is not covered", "policy-none"]);
}

#[test]
fn as_gives_a_layout_the_name_that_policies_see() {
    let folder = TempDir::new().unwrap();
    let image = layout(folder.path());
    let path = put(&folder, "policy.yaml", &POLICY.replace("'**'", "ghcr.io/acme/**"));
    let path = path.to_str().unwrap();
    let name = "--as=ghcr.io/acme/app:1.2";
    let (code, json) = answer(&["verify", &image, "--policy", path, name]);
    assert_eq!(code, Some(1), "{json:#}");
    let policy = &json["images"][0]["policies"][0];
    assert_eq!(policy["failure"]["reason"], "static-fail", "{json:#}");
}

#[test]
fn registry_that_does_not_answer_is_exit_code_3() {
    let folder = TempDir::new().unwrap();
    let key = put(&folder, "k.pub", KEY);
    // Bound once to learn a port that is free, and closed again.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let image = format!("127.0.0.1:{port}/acme/app:1");
    let key = key.to_str().unwrap();
    let args = ["verify", &image, "--key", key, "--allow-http-registry", "--timeout=5s"];
    let (code, json) = answer(&args);
    assert_eq!(code, Some(3), "{json:#}");
    let policy = &json["images"][0]["policies"][0];
    assert_eq!(policy["failure"]["reason"], "registry-unreachable", "{json:#}");
}
