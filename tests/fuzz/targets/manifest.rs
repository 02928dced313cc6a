//! Manifests, indexes and pages of referrers: a document is one of them, never two.
#![no_main]
use libfuzzer_sys::fuzz_target;

use tegata::registry::manifest;

fuzz_target!(|bytes: &[u8]| {
    let index = manifest::parse_index(bytes).is_ok();
    let single = manifest::parse_manifest(bytes).is_ok();
    assert!(!(index && single));
    assert_eq!(manifest::parse_document(bytes).is_ok(), index || single);
});
