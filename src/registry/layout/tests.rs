use std::fs;

use serde_json::Value;
use serde_json::json;

use crate::evidence::Content;
use crate::evidence::Place;
use crate::evidence::SIMPLE_SIGNING_MEDIA_TYPE;

use super::*;

const REF_NAME: &str = "org.opencontainers.image.ref.name";

struct Folder(tempfile::TempDir, Vec<Value>);

impl Folder {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir_all(folder.path().join("blobs/sha256")).unwrap();
        fs::write(folder.path().join("oci-layout"), r#"{"imageLayoutVersion":"1.0.0"}"#).unwrap();
        Self(folder, Vec::new())
    }

    fn blob(&self, bytes: &[u8]) -> Digest {
        let digest = Digest::sha256_of(bytes);
        fs::write(self.path(&digest), bytes).unwrap();
        digest
    }

    fn path(&self, digest: &Digest) -> PathBuf {
        self.0.path().join("blobs/sha256").join(digest.hex())
    }

    fn entry(&mut self, manifest: &Value, annotations: Value) -> Digest {
        let digest = self.blob(manifest.to_string().as_bytes());
        let digest_text = digest.to_string();
        self.1.push(json!({"digest": digest_text, "size": 1, "annotations": annotations}));
        digest
    }

    fn open(&self, suffix: &str) -> Result<Layout, LayoutError> {
        let index = json!({"schemaVersion": 2, "manifests": self.1});
        fs::write(self.0.path().join("index.json"), index.to_string()).unwrap();
        let text = format!("oci:{}{suffix}", self.0.path().display());
        Layout::open(&text.parse()?)
    }
}

fn image(word: &str) -> Value {
    let config = json!({"mediaType": "application/vnd.oci.image.config.v1+json"});
    json!({"schemaVersion": 2, "config": config, "layers": [], "annotations": {"word": word}})
}

fn signature(folder: &Folder) -> Value {
    let payload = folder.blob(b"payload");
    json!({"schemaVersion": 2, "layers": [{"mediaType": SIMPLE_SIGNING_MEDIA_TYPE,
        "digest": payload.to_string(), "annotations": {"a": "b", "c": null}}]})
}

fn bundle(folder: &Folder, subject: &Digest) -> Value {
    let content = folder.blob(b"{}");
    let media_type = "application/vnd.dev.sigstore.bundle.v0.3+json";
    json!({"schemaVersion": 2, "artifactType": media_type,
        "subject": {"digest": subject.to_string()},
        "layers": [{"mediaType": media_type, "digest": content.to_string()}]})
}

async fn fetch(layout: &Layout) -> Evidence {
    let repository = layout.image().repository().clone();
    let digest = layout.image().digest().unwrap().clone();
    let query =
        EvidenceQuery { repository, digest, tag_prefix: String::new(), attestations: false };
    layout.fetch(&query, Instant::now()).await
}

#[tokio::test]
async fn reads_tags_and_referrers() {
    let mut folder = Folder::new();
    let digest = folder.entry(&image("a"), json!({REF_NAME: "v1"}));
    let tag = format!("{}.sig", digest.tag_form());
    folder.entry(&signature(&folder), json!({REF_NAME: tag}));
    folder.entry(&bundle(&folder, &digest), Value::Null);
    let layout = folder.open("").unwrap();
    assert_eq!(layout.image().digest(), Some(&digest));
    assert_eq!(layout.image().tag(), Some("v1"));
    let evidence = fetch(&layout).await;
    assert_eq!(evidence.problems, []);
    let [first, second] = &evidence.candidates[..] else { panic!("{evidence:?}") };
    assert_eq!(first.place, Place::SignatureTag);
    assert!(matches!(&first.content, Ok(Content::SimpleSigning { annotations, .. })
        if annotations.len() == 1));
    assert_eq!(second.place, Place::Referrers);
    assert!(matches!(&second.content, Ok(Content::Bundle(bytes)) if &bytes[..] == b"{}"));
}

#[tokio::test]
async fn reads_what_cosign_save_writes() {
    let mut folder = Folder::new();
    let digest = folder.entry(&image("a"), json!({"kind": "dev.cosignproject.cosign/image"}));
    folder.entry(&signature(&folder), json!({"kind": "dev.cosignproject.cosign/sigs"}));
    let layout = folder.open("").unwrap();
    assert_eq!(layout.image().digest(), Some(&digest));
    let evidence = fetch(&layout).await;
    assert_eq!((evidence.candidates.len(), evidence.problems.len()), (1, 0));
}

#[test]
fn chooses_by_tag_and_digest_and_refuses_to_guess() {
    let mut folder = Folder::new();
    let first = folder.entry(&image("a"), json!({REF_NAME: "v1"}));
    let second = folder.entry(&image("b"), json!({REF_NAME: "registry.example/app:v2"}));
    assert_eq!(folder.open(":v1").unwrap().image().digest(), Some(&first));
    let named = folder.open(":v2").unwrap();
    assert_eq!(named.image().to_string(), format!("registry.example/app:v2@{second}"));
    let by_digest = folder.open(&format!("@{second}")).unwrap();
    assert_eq!(by_digest.image().digest(), Some(&second));
    assert!(matches!(folder.open(""), Err(LayoutError::Ambiguous { .. })));
    assert!(matches!(folder.open(":v3"), Err(LayoutError::Missing { .. })));
}

#[test]
fn folder_names_may_hold_colons() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("a:b");
    fs::create_dir(&path).unwrap();
    let reference: LayoutRef = format!("oci:{}", path.display()).parse().unwrap();
    assert_eq!(reference, LayoutRef { folder: path.clone(), pick: Pick::Any });
    let reference: LayoutRef = format!("oci:{}:v1", path.display()).parse().unwrap();
    assert_eq!(reference, LayoutRef { folder: path, pick: Pick::Tag("v1".into()) });
}

#[tokio::test]
async fn rejects_changed_missing_and_oversized_blobs() {
    let changed = |folder: &Folder, digest: &Digest| fs::write(folder.path(digest), b"x");
    let missing = |folder: &Folder, digest: &Digest| fs::remove_file(folder.path(digest));
    let large = |folder: &Folder, digest: &Digest| {
        fs::write(folder.path(digest), vec![b' '; MAX_BLOB_BYTES + 1])
    };
    type Damage<'a> = &'a dyn Fn(&Folder, &Digest) -> io::Result<()>;
    let cases: [(Damage<'_>, Reason); 3] = [
        (&changed, Reason::EvidenceDigestMismatch),
        (&missing, Reason::EvidenceMissing),
        (&large, Reason::EvidenceTooLarge),
    ];
    for (damage, expected) in cases {
        let mut folder = Folder::new();
        let digest = folder.entry(&image("a"), json!({REF_NAME: "v1"}));
        folder.entry(&bundle(&folder, &digest), Value::Null);
        let layout = folder.open("").unwrap();
        damage(&folder, &Digest::sha256_of(b"{}")).unwrap();
        let evidence = fetch(&layout).await;
        let failure = evidence.candidates[0].content.as_ref().unwrap_err();
        assert_eq!(failure.reason, expected);
    }
}

#[cfg(unix)]
#[tokio::test]
async fn rejects_links_out_of_the_folder() {
    let mut folder = Folder::new();
    let digest = folder.entry(&image("a"), json!({REF_NAME: "v1"}));
    folder.entry(&bundle(&folder, &digest), Value::Null);
    let layout = folder.open("").unwrap();
    let outside = tempfile::NamedTempFile::new().unwrap();
    fs::write(outside.path(), b"{}").unwrap();
    let blob = folder.path(&Digest::sha256_of(b"{}"));
    fs::remove_file(&blob).unwrap();
    std::os::unix::fs::symlink(outside.path(), &blob).unwrap();
    let evidence = fetch(&layout).await;
    let failure = evidence.candidates[0].content.as_ref().unwrap_err();
    assert_eq!(failure.reason, Reason::EvidenceMalformed);
}

#[tokio::test]
async fn an_unreadable_entry_is_a_problem_not_silence() {
    let mut folder = Folder::new();
    let digest = folder.entry(&image("a"), json!({REF_NAME: "v1"}));
    let referrer = folder.entry(&bundle(&folder, &digest), Value::Null);
    let layout = folder.open("").unwrap();
    fs::remove_file(folder.path(&referrer)).unwrap();
    let evidence = fetch(&layout).await;
    assert_eq!(evidence.candidates.len(), 0);
    assert_eq!(evidence.problems[0].failure.reason, Reason::EvidenceMissing);
}

#[test]
fn rejects_folders_that_are_no_layout() {
    let folder = tempfile::tempdir().unwrap();
    let text = folder.path().display().to_string();
    let error = Layout::open(&text.parse().unwrap()).unwrap_err();
    assert!(matches!(error, LayoutError::Unreadable { .. }), "{error}");
}
