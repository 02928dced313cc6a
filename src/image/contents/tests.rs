use serde_json::json;

use super::*;

fn descriptor(seed: &str) -> Value {
    json!({
        "mediaType": MANIFEST_TYPES[0],
        "digest": Digest::sha256_of(seed.as_bytes()).to_string(),
        "size": 1,
        "platform": { "os": "linux", "architecture": seed },
    })
}

fn index(entries: &[Value]) -> Value {
    json!({ "schemaVersion": 2, "mediaType": INDEX_TYPES[0], "manifests": entries })
}

fn manifest() -> Value {
    json!({ "schemaVersion": 2, "config": descriptor("config"), "layers": [] })
}

fn read(document: &Value) -> Result<Contents, ContentsError> {
    parse(document.to_string().as_bytes())
}

fn problem(document: &Value) -> String {
    read(document).unwrap_err().to_string()
}

#[test]
fn reads_what_builders_write() {
    let config = Digest::sha256_of(b"config");
    assert_eq!(read(&manifest()), Ok(Contents::Manifest { config }));
    let mut arm = descriptor("arm64");
    arm["platform"]["variant"] = json!("v8");
    let mut attestation = descriptor("attestation");
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    let mut anywhere = descriptor("anywhere");
    anywhere["platform"] = Value::Null;
    let mut windows = descriptor("windows");
    windows["platform"] =
        json!({ "os": "windows", "architecture": "amd64", "os.version": "10.0.1" });
    let entries = [arm.clone(), attestation, windows, anywhere, arm];
    let Ok(Contents::Index(found)) = read(&index(&entries)) else { panic!("no index") };
    let platforms: Vec<Option<&str>> = found.iter().map(|one| one.platform.as_deref()).collect();
    assert_eq!(platforms, [Some("linux/arm64/v8"), Some("windows/amd64:10.0.1"), None]);
    assert_eq!(found[0].digest, Digest::sha256_of(b"arm64"));
}

#[test]
fn rejects_names_that_go_reads_as_others() {
    let evil = Digest::sha256_of(b"evil").to_string();
    for (pointer, name) in [
        ("", "Manifests"),
        ("", "manife\u{17f}ts"),
        ("", "MediaType"),
        ("/manifests/0", "Digest"),
        ("/manifests/0", "DIGEST"),
        ("/manifests/0/platform", "OS"),
        ("/manifests/0/platform", "o\u{17f}"),
        ("/manifests/0/platform", "Architecture"),
    ] {
        let mut document = index(&[descriptor("amd64")]);
        let object = document.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.insert(name.to_owned(), json!(evil));
        assert!(problem(&document).contains("some readers take for"), "{pointer} {name}");
    }
    let mut document = manifest();
    document["Config"] = descriptor("evil");
    assert!(problem(&document).contains("some readers take for `config`"));
    // What means nothing to anybody may stand there.
    let mut document = manifest();
    document["comment"] = json!("hello");
    assert!(read(&document).is_ok());
}

#[test]
fn rejects_what_could_be_two_things() {
    let both = "it is neither an index nor a manifest, or could be both";
    let mut with_layers = index(&[descriptor("amd64")]);
    with_layers["layers"] = json!([]);
    let mut with_config = index(&[descriptor("amd64")]);
    with_config["config"] = descriptor("config");
    let mut mislabelled = index(&[descriptor("amd64")]);
    mislabelled["mediaType"] = json!(MANIFEST_TYPES[0]);
    let mut labelled = manifest();
    labelled["mediaType"] = json!(INDEX_TYPES[1]);
    let mut number = manifest();
    number["mediaType"] = json!(7);
    let bare = json!({ "schemaVersion": 2 });
    for document in [with_layers, with_config, mislabelled, labelled, number, bare] {
        assert_eq!(problem(&document), both, "{document}");
    }
    let twice = br#"{"schemaVersion":2,"manifests":[],"manifests":[]}"#;
    assert!(parse(twice).unwrap_err().to_string().contains("stands twice"));
    let mut first = manifest();
    first["schemaVersion"] = json!(1);
    assert_eq!(problem(&first), "its schemaVersion is not 2");
}

#[test]
fn rejects_entries_that_cannot_be_judged() {
    let mut nested = descriptor("amd64");
    nested["mediaType"] = json!(INDEX_TYPES[0]);
    assert!(problem(&index(&[nested])).starts_with("it lists something of media type"));
    let mut long = descriptor("amd64");
    long["digest"] = json!(format!("sha512:{}", "0".repeat(128)));
    assert!(problem(&index(&[long])).ends_with("is no SHA-256 digest"));
    let mut attestation = descriptor("attestation");
    attestation["platform"] = json!({ "os": "unknown", "architecture": "unknown" });
    for entries in [vec![], vec![attestation]] {
        assert_eq!(problem(&index(&entries)), "it lists no manifest that a node could run");
    }
}

#[test]
fn bounds_a_document_from_both_sides() {
    let mut bytes = manifest().to_string().into_bytes();
    bytes.resize(MAX_DOCUMENT_BYTES, b' ');
    assert!(parse(&bytes).is_ok());
    bytes.push(b' ');
    assert!(parse(&bytes).unwrap_err().to_string().contains("wanted at most 524288"));
}

#[test]
fn bounds_entries_and_platforms_from_both_sides() {
    let many = |count: usize| -> Vec<Value> {
        (0..count).map(|number| descriptor(&number.to_string())).collect()
    };
    assert!(read(&index(&many(MAX_PLATFORMS))).is_ok());
    let wanted = format!("it lists {} platforms", MAX_PLATFORMS + 1);
    assert!(problem(&index(&many(MAX_PLATFORMS + 1))).starts_with(&wanted));
    // One digest many times is one platform.
    assert!(read(&index(&vec![descriptor("amd64"); MAX_ENTRIES])).is_ok());
    let wanted = format!("it lists {} manifests", MAX_ENTRIES + 1);
    assert!(problem(&index(&vec![descriptor("amd64"); MAX_ENTRIES + 1])).starts_with(&wanted));
}

fn config(document: &Value) -> (Option<String>, Bytes) {
    (None, document.to_string().into())
}

#[test]
fn reads_a_configuration_in_one_way_only() {
    let good = json!({
        "os": "linux", "architecture": "arm64", "variant": "v8", "rootfs": {},
        "config": { "User": "65532", "Labels": { "User": "a", "user": "b" } },
    });
    assert_eq!(parse_configs(&[config(&good)]), Ok(json!({ "linux/arm64/v8": good })));
    let (_, bytes) = config(&good);
    let stated = (Some("linux/arm".to_owned()), bytes);
    assert_eq!(
        parse_configs(&[stated, config(&good)]),
        Ok(json!({ "linux/arm": good, "linux/arm64/v8": good }))
    );
    for (pointer, name) in [("", "Config"), ("/config", "user"), ("/config", "U\u{17f}er")] {
        let mut document = good.clone();
        let object = document.pointer_mut(pointer).unwrap().as_object_mut().unwrap();
        object.insert(name.to_owned(), json!({}));
        let error = parse_configs(&[config(&document)]).unwrap_err().to_string();
        assert!(error.contains("some readers take for"), "{pointer} {name}: {error}");
    }
    assert!(parse_configs(&[config(&json!([]))]).is_err());
    assert!(parse_configs(&[config(&good), config(&good)]).is_ok());
    let mut other = good.clone();
    other["config"]["User"] = json!("0");
    let error = parse_configs(&[config(&good), config(&other)]).unwrap_err().to_string();
    assert_eq!(error, "two manifests have a configuration for linux/arm64/v8");
    other["os.features"] = json!(["nydus.remoteimage.v1"]);
    assert!(parse_configs(&[config(&good), config(&other)]).is_ok());
}

#[test]
fn bounds_the_values_of_all_configurations_from_both_sides() {
    let half = json::MAX_VALUES / 2;
    let of = |architecture: &str, values: usize| {
        // The object, its two texts and the list are values, too.
        let list = vec![0; values - 4];
        config(&json!({ "os": "linux", "architecture": architecture, "x": list }))
    };
    assert!(parse_configs(&[of("a", half), of("b", half)]).is_ok());
    let error = parse_configs(&[of("a", half), of("b", half + 1)]).unwrap_err().to_string();
    assert!(error.contains("more than 32768 values"), "{error}");
}
