//! Answers of Rekor's API of version 1, taken apart and no further: entries stay as they came.
use std::collections::BTreeMap;
use std::collections::BTreeSet;

use bytes::Bytes;
use serde_json::value::RawValue;

use super::limits::BATCH;
use super::limits::MAX_ENTRY_BYTES;

/// Lengths of an entry's identifier: a leaf's SHA-256, or a tree's number and that, in hexadecimal.
const IDENTIFIER_LENGTHS: [usize; 2] = [64, 80];

/// The identifiers that a search lists, each once, in the log's order.
pub(super) fn identifiers(answer: &[u8]) -> Result<Vec<String>, String> {
    // Some logs say `null` for an empty list.
    let listed: Option<Vec<String>> =
        serde_json::from_slice(answer).map_err(|error| format!("not a list of texts: {error}"))?;
    let mut listed = listed.unwrap_or_default();
    let usable = |text: &String| {
        IDENTIFIER_LENGTHS.contains(&text.len()) && text.bytes().all(|b| b.is_ascii_hexdigit())
    };
    if !listed.iter().all(usable) {
        return Err("the list holds what is no identifier of an entry".to_owned());
    }
    let mut seen = BTreeSet::new();
    listed.retain(|identifier| seen.insert(identifier.clone()));
    Ok(listed)
}

/// The entries of an answer, of at most [`MAX_ENTRY_BYTES`] each; larger ones are left out.
pub(super) fn entries(answer: &[u8]) -> Result<Vec<Bytes>, String> {
    let answer: Option<Vec<BTreeMap<&str, &RawValue>>> = serde_json::from_slice(answer)
        .map_err(|error| format!("not a list of entries: {error}"))?;
    let entries = answer.unwrap_or_default().into_iter().flatten();
    let mut found = Vec::new();
    for (_, entry) in entries {
        if found.len() >= BATCH {
            return Err(format!("more than the {BATCH} entries that were asked for"));
        }
        if entry.get().len() <= MAX_ENTRY_BYTES {
            found.push(Bytes::copy_from_slice(entry.get().as_bytes()));
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn text(value: &serde_json::Value) -> Vec<u8> {
        value.to_string().into_bytes()
    }

    #[test]
    fn lists_identifiers_once_and_in_order() {
        let (short, long) = ("b".repeat(64), "a".repeat(80));
        let listed = identifiers(&text(&json!([short, long, short]))).unwrap();
        assert_eq!(listed, [short, long]);
        assert_eq!(identifiers(b"[]"), Ok(Vec::new()));
        assert_eq!(identifiers(b"null"), Ok(Vec::new()));
    }

    #[test]
    fn rejects_what_is_no_identifier() {
        for bad in ["", "../../x", &"a".repeat(63), &"a".repeat(65), &"g".repeat(64)] {
            assert!(identifiers(&text(&json!([bad]))).is_err(), "{bad}");
        }
        for bad in ["{}", "[1]", "", "[", "<html>"] {
            assert!(identifiers(bad.as_bytes()).is_err(), "{bad}");
        }
    }

    #[test]
    fn bounds_entries_by_size_and_number() {
        let of = |size: usize| json!({ "u": "x".repeat(size) });
        let found = entries(&text(&json!([of(1), of(MAX_ENTRY_BYTES - 2), of(MAX_ENTRY_BYTES)])));
        let sizes: Vec<_> = found.unwrap().iter().map(Bytes::len).collect();
        assert_eq!(sizes, [3, MAX_ENTRY_BYTES], "one byte more is left out");
        assert_eq!(entries(&text(&json!(vec![of(1); BATCH]))).unwrap().len(), BATCH);
        assert!(entries(&text(&json!(vec![of(1); BATCH + 1]))).is_err());
        assert_eq!(entries(b"null").unwrap().len(), 0);
        assert!(entries(b"{}").is_err());
    }
}
