//! AdmissionReviews that others captured or wrote: each is read in full, or refused with an error
//! that says what is wrong.
//!
//! They are read from the folder that `TEGATA_VECTORS` names, and are not part of this project.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic, reason = "test support")]
use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::fs;
use std::path::PathBuf;

use serde_json::Value;
use serde_json::json;

use tegata::admission::Request;
use tegata::admission::review;
use tegata::admission::review::ReviewError;

#[path = "support/collection.rs"]
mod collection;

/// How many reviews the collection holds; with fewer the test would prove less than it says.
const LEAST: usize = 37;

/// Those that are refused as they stand, by the end of their path: a part of the error, and why.
const REFUSED: [(&str, &str, &str); 7] = [
    ("connaisseur/01_deployment.json", "admission.k8s.io/v1beta1", "an old version"),
    ("connaisseur/03_replicaset.json", "admission.k8s.io/v1beta1", "an old version"),
    ("connaisseur/04_cronjob.json", "admission.k8s.io/v1beta1", "an old version"),
    ("connaisseur/09_dply_multi_image.json", "admission.k8s.io/v1beta1", "an old version"),
    (
        "connaisseur/11_role.json",
        "Role (rbac.authorization.k8s.io/v1) is not covered",
        "no workload",
    ),
    ("connaisseur/23_alice_digest_dpl.json", "admission.k8s.io/v1beta1", "an old version"),
    ("connaisseur/26_broken_update_admission_request.json", "request.uid", "an empty request"),
];

/// The vectors by their path below the folder, or `None` where there is no folder.
fn vectors() -> Option<BTreeMap<String, Vec<u8>>> {
    let missing = "AdmissionReviews of others are not read";
    let root = collection::folder("TEGATA_VECTORS", missing)?.join("admission");
    let mut folders: Vec<PathBuf> = vec![root.clone()];
    let mut found = BTreeMap::new();
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let name = path.strip_prefix(&root).unwrap().to_str().unwrap().to_owned();
                found.insert(name, fs::read(&path).unwrap());
            }
        }
    }
    assert!(found.len() >= LEAST, "only {} reviews were found", found.len());
    Some(found)
}

/// Every string under a key `image`, however deep: an independent and cruder walk.
fn crude_images(value: &Value, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                match value.as_str() {
                    Some(text) if key == "image" => {
                        found.insert(text.to_owned());
                    }
                    _ => crude_images(value, found),
                }
            }
        }
        Value::Array(list) => list.iter().for_each(|value| crude_images(value, found)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn assert_all_images(name: &str, review: &Value, request: &Request) {
    let mut wanted = BTreeSet::new();
    crude_images(&review["request"]["object"]["spec"], &mut wanted);
    assert!(!wanted.is_empty(), "{name} holds no image");
    let found: BTreeSet<String> = request.images.iter().map(|image| image.text.clone()).collect();
    assert_eq!(found, wanted, "{name}");
    for image in &request.images {
        // Two are templates whose `$PROJECT_ID` nobody filled in: judged, as no reference.
        let placeholder = image.text.contains('$');
        assert_eq!(image.image.is_err(), placeholder, "{name}: {} {:?}", image.text, image.image);
        let there = review["request"]["object"].pointer(&image.pointer).and_then(Value::as_str);
        assert_eq!(there, Some(image.text.as_str()), "{name}: {}", image.pointer);
    }
    assert_eq!(request.uid, review["request"]["uid"], "{name}");
    assert_eq!(request.kind, review["request"]["kind"]["kind"], "{name}");
}

fn parse(review: &Value) -> Result<Request, ReviewError> {
    review::parse(review.to_string().as_bytes())
}

#[test]
fn reads_or_refuses_each_as_it_stands() {
    let Some(vectors) = vectors() else { return };
    let mut read = 0;
    for (name, body) in &vectors {
        let result = review::parse(body);
        let refused = REFUSED.iter().find(|(end, _, _)| name.ends_with(end));
        let bare = name.starts_with("kubewarden/");
        match (result, refused, bare) {
            (Ok(request), None, false) => {
                assert_all_images(name, &serde_json::from_slice(body).unwrap(), &request);
                read += 1;
            }
            (Err(error), Some((_, part, _)), false) => {
                assert!(error.to_string().contains(part), "{name}: {error}");
            }
            (Err(error), None, true) => {
                let text = error.to_string();
                assert!(text.contains("kind of the admission review is nothing"), "{name}: {text}");
            }
            (Ok(request), _, _) => panic!("{name} was read: {request:?}"),
            (Err(error), _, _) => panic!("{name} was refused: {error}"),
        }
    }
    assert_eq!(read, vectors.len() - REFUSED.len() - 13, "only {read} were read");
}

/// What an old version holds, under the name of the new one.
#[test]
fn reads_the_old_reviews_under_the_new_version() {
    let Some(vectors) = vectors() else { return };
    for (name, _, reason) in REFUSED {
        if reason != "an old version" {
            continue;
        }
        let mut review: Value = serde_json::from_slice(&vectors[name]).unwrap();
        review["apiVersion"] = json!("admission.k8s.io/v1");
        match parse(&review) {
            Ok(request) => assert_all_images(name, &review, &request),
            Err(error) => {
                let text = error.to_string();
                assert!(name.contains("cronjob"), "{name}: {text}");
                assert!(text.contains("CronJob (batch/v1beta1) is not covered"), "{text}");
            }
        }
    }
}

/// Bare requests, put into the envelope that the API server would send.
#[test]
fn reads_bare_requests_in_an_envelope() {
    let Some(vectors) = vectors() else { return };
    let bare: Vec<_> = vectors.iter().filter(|(name, _)| name.starts_with("kubewarden/")).collect();
    assert!(bare.len() >= 13, "only {} were found", bare.len());
    for (name, body) in bare {
        let request: Value = serde_json::from_slice(body).unwrap();
        let mut review = json!({
            "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "request": request,
        });
        let error = parse(&review).unwrap_err();
        assert!(error.to_string().contains("request.object.kind"), "{name}: {error}");

        let kind = review["request"]["kind"].clone();
        let text = |key: &str| kind[key].as_str().unwrap();
        let api_version = match text("group") {
            "" => text("version").to_owned(),
            group => format!("{group}/{}", text("version")),
        };
        let object = &mut review["request"]["object"];
        object["kind"] = kind["kind"].clone();
        object["apiVersion"] = json!(api_version);
        let request = parse(&review).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_all_images(name, &review, &request);
    }
}

/// Every body, cut and damaged at many places: an answer each time, and never an image fewer
/// without an error.
#[test]
fn damaged_bodies_never_panic() {
    let Some(vectors) = vectors() else { return };
    for body in vectors.values() {
        for cut in (0..body.trim_ascii_end().len()).step_by(97) {
            assert!(review::parse(&body[..cut]).is_err());
            let mut damaged = body.clone();
            damaged[cut] ^= 0x15;
            let _ = review::parse(&damaged);
        }
    }
}
