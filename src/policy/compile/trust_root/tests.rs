use std::collections::BTreeMap;

use serde_json::json;
use sigstore_verify::trust_root::SIGSTORE_PRODUCTION_TRUSTED_ROOT;

use super::*;

fn pem(label: &str, base64: &Value) -> String {
    let lines: Vec<&str> = base64
        .as_str()
        .unwrap()
        .as_bytes()
        .chunks(64)
        .map(|line| std::str::from_utf8(line).unwrap())
        .collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}

fn window(valid_for: &Value) -> Value {
    let mut window = json!({ "start": valid_for["start"] });
    if let Some(end) = valid_for.get("end") {
        window["end"] = end.clone();
    }
    window
}

fn authority(entry: &Value) -> Value {
    let certificates = entry["certChain"]["certificates"].as_array().unwrap();
    let chain: String = certificates.iter().map(|it| pem("CERTIFICATE", &it["rawBytes"])).collect();
    json!({
        "subject": entry["subject"], "uri": entry["uri"], "certChain": chain,
        "validFor": window(&entry["validFor"]),
    })
}

fn log(entry: &Value) -> Value {
    let mut log = json!({
        "baseURL": entry["baseUrl"], "hashAlgorithm": "sha-256",
        "publicKey": pem("PUBLIC KEY", &entry["publicKey"]["rawBytes"]),
        "validFor": window(&entry["publicKey"]["validFor"]),
    });
    if entry["publicKey"]["keyDetails"] == "PKIX_ED25519" {
        let url = entry["baseUrl"].as_str().unwrap();
        log["origin"] = json!(url.trim_start_matches("https://"));
    }
    log
}

/// The public-good instance as single keys, and its `trusted_root.json`.
fn public_good() -> (Value, Value) {
    let root: Value = serde_json::from_str(SIGSTORE_PRODUCTION_TRUSTED_ROOT).unwrap();
    let each = |field: &str, of: fn(&Value) -> Value| -> Vec<Value> {
        root[field].as_array().unwrap().iter().map(of).collect()
    };
    let keys = json!({
        "certificateAuthorities": each("certificateAuthorities", authority),
        "tLogs": each("tlogs", log),
        "ctLogs": each("ctlogs", log),
        "timestampAuthorities": each("timestampAuthorities", authority),
    });
    (keys, root)
}

fn spec(spec: Value) -> api::TrustRootSpec {
    serde_json::from_value(spec).unwrap()
}

fn cluster() -> Keys {
    Keys::Cluster { own_namespace: "tegata-system".to_owned(), found: BTreeMap::new() }
}

#[test]
fn single_keys_mean_what_the_trusted_root_of_them_means() {
    let (keys, root) = public_good();
    let spec = spec(json!({ "sigstoreKeys": keys }));
    let TrustRootSource::Keys(json) = trust_root_source(&spec).unwrap() else { panic!("keys") };
    let compiled: Value = serde_json::from_str(&json).unwrap();
    for field in ["tlogs", "ctlogs"] {
        assert_eq!(compiled[field], root[field], "{field}");
    }
    for field in ["certificateAuthorities", "timestampAuthorities"] {
        let wanted = root[field].as_array().unwrap();
        let found = compiled[field].as_array().unwrap();
        assert_eq!(found.len(), wanted.len());
        for (found, wanted) in found.iter().zip(wanted) {
            for part in ["subject", "uri", "certChain", "validFor"] {
                assert_eq!(found[part], wanted[part], "{field} {part}");
            }
        }
    }
    let compiled = compile_trust_root(&spec).unwrap();
    assert_eq!(format!("{compiled:?}"), format!("{:?}", TrustRoot::public_good()));
    assert_eq!(check_trust_root(&spec, &cluster()), Ok(Vec::new()));
}

#[test]
fn single_keys_may_be_in_base64() {
    let (mut keys, _) = public_good();
    let wanted = trust_root_source(&spec(json!({ "sigstoreKeys": keys })));
    for (field, text) in [("certificateAuthorities", "certChain"), ("tLogs", "publicKey")] {
        let place = &mut keys[field][0][text];
        *place = json!(STANDARD.encode(place.as_str().unwrap()));
    }
    assert_eq!(trust_root_source(&spec(json!({ "sigstoreKeys": keys }))), wanted);
}

#[test]
fn single_keys_need_no_more_than_keys_and_certificates() {
    let (mut keys, _) = public_good();
    let kinds = ["certificateAuthorities", "tLogs", "ctLogs", "timestampAuthorities"];
    for (kind, needed) in
        kinds.into_iter().zip(["certChain", "publicKey", "publicKey", "certChain"])
    {
        for entry in keys[kind].as_array_mut().unwrap() {
            entry.as_object_mut().unwrap().retain(|field, _| field == needed || field == "origin");
        }
    }
    let compiled = compile_trust_root(&spec(json!({ "sigstoreKeys": keys }))).unwrap();
    assert_eq!(format!("{compiled:?}"), format!("{:?}", TrustRoot::public_good()));
    assert!(compiled.logs().iter().all(|log| log.window.is_none()));
}

#[test]
fn rejects_single_keys_that_cannot_be_used() {
    let chain = "/certificateAuthorities/0/certChain";
    let window = "/tLogs/0/validFor";
    let two = {
        let (keys, _) = public_good();
        let key = |index: usize| keys["tLogs"][index]["publicKey"].as_str().unwrap().to_owned();
        key(0) + &key(1)
    };
    let cases = [
        (chain, json!("x"), "certificateAuthorities[0].certChain", "neither PEM nor PEM in base64"),
        (
            chain,
            json!("-----BEGIN X-----"),
            "certificateAuthorities[0].certChain",
            "cannot be read",
        ),
        (chain, json!("a".repeat(65_537)), "certificateAuthorities[0].certChain", "65537 bytes"),
        ("/tLogs/0/publicKey", json!(two), "tLogs[0].publicKey", "holds 2 keys"),
        ("/tLogs/0/publicKey", json!(""), "tLogs[0].publicKey", "neither PEM nor PEM in base64"),
        ("/tLogs/0/hashAlgorithm", json!("sha-512"), "tLogs[0].hashAlgorithm", "not supported"),
        ("/ctLogs/0/origin", json!("o"), "ctLogs[0].origin", "known by its key alone"),
        (window, json!({"start": "x"}), "tLogs[0].validFor.start", "no time"),
        (
            window,
            json!({"start": "2026-01-02T00:00:00Z", "end": "2026-01-01T00:00:00Z"}),
            "tLogs[0].validFor.end",
            "before the start",
        ),
    ];
    for (pointer, value, path, problem) in cases {
        let (mut keys, _) = public_good();
        let (parent, field) = pointer.rsplit_once('/').unwrap();
        keys.pointer_mut(parent).unwrap()[field] = value;
        let error = compile_trust_root(&spec(json!({ "sigstoreKeys": keys }))).unwrap_err();
        assert_eq!(error.path, format!("spec.sigstoreKeys.{path}"), "{error}");
        assert!(error.problem.contains(problem), "{error}");
    }
    let empty = compile_trust_root(&spec(json!({ "sigstoreKeys": {} }))).unwrap_err();
    assert_eq!(empty.path, "spec.sigstoreKeys");
    assert!(empty.problem.contains("holds no certificate authority"), "{empty}");
}

#[test]
fn bounds_single_keys() {
    let (keys, _) = public_good();
    let many = |count: usize| {
        let logs = vec![keys["tLogs"][0].clone(); count];
        trust_root_source(&spec(json!({ "sigstoreKeys": { "tLogs": logs } })))
    };
    assert!(many(64).is_ok());
    assert_eq!(many(65).unwrap_err().path, "spec.sigstoreKeys.tLogs");
    let certificate = keys["certificateAuthorities"][0]["certChain"].as_str().unwrap();
    let chain = |count: usize| {
        let authority = json!({ "certChain": certificate.repeat(count) });
        trust_root_source(&spec(json!({ "sigstoreKeys": { "timestampAuthorities": [authority] } })))
    };
    assert!(chain(16).is_ok());
    let path = "spec.sigstoreKeys.timestampAuthorities[0].certChain";
    assert_eq!(chain(17).unwrap_err().path, path);
}

#[test]
fn a_repository_is_described_and_not_asked() {
    let public = Source::public_good();
    let root = std::str::from_utf8(public.root()).unwrap();
    for root in [root.to_owned(), STANDARD.encode(root)] {
        let tuf = json!({ "mirror": public.mirror().as_str(), "root": root });
        let spec = spec(json!({ "tuf": tuf }));
        let wanted = TrustRootSource::Tuf(Box::new(public.clone()));
        assert_eq!(trust_root_source(&spec), Ok(wanted));
        assert_eq!(check_trust_root(&spec, &cluster()), Ok(Vec::new()));
        assert_eq!(compile_trust_root(&spec).unwrap_err().path, "spec.tuf");
    }
    let named = json!({ "mirror": "https://m.example/a", "root": root, "target": "b/c.json" });
    let source = trust_root_source(&spec(json!({ "tuf": named }))).unwrap();
    let TrustRootSource::Tuf(source) = source else { panic!("{source:?}") };
    assert_eq!((source.mirror().as_str(), source.target()), ("https://m.example/a/", "b/c.json"));
}

#[test]
fn rejects_a_repository_that_cannot_be_asked() {
    let public = Source::public_good();
    let root = std::str::from_utf8(public.root()).unwrap();
    let long = "a".repeat(MAX_ROOT_TEXT + 1);
    let cases = [
        ("mirror", "ftp://m.example", "no address of https"),
        ("root", "{}", "malformed"),
        ("root", "&", "neither JSON nor base64"),
        ("root", &long, "more than"),
        ("target", "../x", "has a segment `.` or `..`"),
    ];
    for (field, value, problem) in cases {
        let mut tuf = json!({ "mirror": "https://m.example", "root": root });
        tuf[field] = json!(value);
        let error = check_trust_root(&spec(json!({ "tuf": tuf })), &cluster()).unwrap_err();
        assert_eq!(error.path, format!("spec.tuf.{field}"));
        assert!(error.problem.contains(problem), "{error}");
    }
}

fn reference(reference: Value) -> api::TrustRootSpec {
    spec(json!({ "trustedRoot": { "configMapRef": reference } }))
}

#[test]
fn a_config_map_is_named_and_not_read() {
    let named =
        reference(json!({ "name": "roots", "key": "a.json", "namespace": "tegata-system" }));
    let TrustRootSource::ConfigMap(named) = trust_root_source(&named).unwrap() else {
        panic!("a ConfigMap")
    };
    let place = trust_root_place(&named, "tegata-system").unwrap();
    assert_eq!(place.to_string(), "ConfigMap tegata-system/roots, entry `a.json`");
    let short = reference(json!({ "name": "roots" }));
    assert_eq!(check_trust_root(&short, &cluster()), Ok(Vec::new()));
    let error = compile_trust_root(&short).unwrap_err();
    assert_eq!((error.path.as_str(), error.missing), (REFERENCE, true));
    for (fields, wanted) in [
        (json!({ "trustedRoot": { "configMapRef": {} } }), Some("trustedRoot.configMapRef")),
        (json!({ "trustedRoot": { "file": "x" } }), Some("trustedRoot")),
        (json!({ "trustedRoot": { "configMapRef": {} }, "tuf": {} }), None),
    ] {
        assert_eq!(trust_root_field(&fields), wanted, "{fields}");
    }
}

#[test]
fn rejects_references_that_cannot_be_followed() {
    for (reference, field, text) in [
        (json!({}), "", "missing field `name`"),
        (json!("roots"), "", "expected struct KeyReference"),
        (json!({ "name": 7 }), ".name", "expected a string"),
        (json!({ "name": "" }), ".name", "no name of an object"),
        (json!({ "name": "../x" }), ".name", "no name of an object"),
        (json!({ "name": "a,b=c" }), ".name", "no name of an object"),
        (json!({ "name": "roots", "key": "" }), ".key", "no name of an entry"),
        (json!({ "name": "roots", "key": "a/b" }), ".key", "no name of an entry"),
        (json!({ "name": "roots", "key": null }), ".key", "no value"),
        (json!({ "name": "roots", "keys": "a" }), ".keys", "wanted `key`"),
        (
            json!({ "name": "roots", "namespace": "team" }),
            ".namespace",
            "`team`, but a TrustRoot reads from Tegata's namespace, and from no other, wanted no \
             `namespace`, or `tegata-system`",
        ),
    ] {
        let spec = spec(json!({ "trustedRoot": { "configMapRef": reference } }));
        let error = check_trust_root(&spec, &cluster()).unwrap_err();
        assert_eq!((error.path.as_str(), error.missing), (&*format!("{REFERENCE}{field}"), false));
        assert!(error.to_string().contains(text), "{error}");
    }
    let beside = spec(json!({ "trustedRoot": { "configMapRef": { "name": "a" }, "x": 1 } }));
    let error = check_trust_root(&beside, &cluster()).unwrap_err();
    assert_eq!(error.path, REFERENCE);
    assert!(error.problem.contains("beside other fields"), "{error}");
    let secret = spec(json!({ "trustedRoot": { "secretRef": { "name": "a" } } }));
    let error = check_trust_root(&secret, &cluster()).unwrap_err();
    assert_eq!(error.path, "spec.trustedRoot.secretRef");
    assert!(error.to_string().contains("wanted a ConfigMap in `configMapRef`"), "{error}");
    let error = check_trust_root(&reference(json!({ "name": "a" })), &Keys::NoCluster).unwrap_err();
    assert_eq!(error.path, REFERENCE);
    assert!(error.to_string().contains("`{file: NAME}`"), "{error}");
}

#[test]
fn says_what_is_wrong_with_a_config_maps_content_and_quotes_nothing_else() {
    let TrustRootSource::ConfigMap(named) =
        trust_root_source(&reference(json!({ "name": "roots" }))).unwrap()
    else {
        panic!("a ConfigMap")
    };
    let place = trust_root_place(&named, "tegata-system").unwrap();
    assert!(referred_trust_root(&place, SIGSTORE_PRODUCTION_TRUSTED_ROOT).is_ok());
    let empty = r#"{"mediaType":"application/vnd.dev.sigstore.trustedroot+json;version=0.1"}"#;
    for (content, problem) in [
        ("hunter2", "ConfigMap tegata-system/roots holds no trusted root"),
        (r#"{"mediaType":"hunter2"}"#, "ConfigMap tegata-system/roots holds no trusted root"),
        (
            empty,
            "ConfigMap tegata-system/roots holds no trusted root that can be used: holds no \
             certificate authority",
        ),
    ] {
        let error = referred_trust_root(&place, content).unwrap_err();
        assert_eq!((error.path.as_str(), error.missing), (REFERENCE, false));
        assert!(error.problem.starts_with(problem), "{error}");
        assert!(!error.to_string().contains("hunter2"), "{error}");
    }
}
