//! Manifests, indexes and pages of referrers: a document is one of them, never two, whoever reads it.
//! And configurations.
#![no_main]
use libfuzzer_sys::fuzz_target;

use tegata::image::contents;
use tegata::image::contents::Contents;
use tegata::registry::manifest;
use tegata::registry::manifest::Document;

fuzz_target!(|bytes: &[u8]| {
    let index = manifest::parse_index(bytes).is_ok();
    let single = manifest::parse_manifest(bytes).is_ok();
    assert!(!(index && single));
    assert_eq!(manifest::parse_document(bytes).is_ok(), index || single);
    match (contents::parse(bytes), manifest::parse_document(bytes)) {
        (Ok(Contents::Index(listed)), document) => {
            assert!(!listed.is_empty());
            assert!(!matches!(document, Ok(Document::Manifest(_))));
        }
        (Ok(Contents::Manifest { .. }), document) => {
            assert!(!matches!(document, Ok(Document::Index(_))));
        }
        (Err(_), _) => {}
    }
    let _ = contents::parse_configs(&[(None, bytes.to_vec().into())]);
});
