//! A review is refused with a message, or its images lie where their pointers say.
#![no_main]
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

use tegata::admission::review;
use tegata::workload;

fuzz_target!(|bytes: &[u8]| {
    match review::parse(bytes) {
        Ok(request) => {
            let review = match serde_json::from_slice::<Value>(bytes) {
                Ok(review) => review,
                Err(error) => return assert!(is_of_the_tree(&error), "what was read is JSON: {error}"),
            };
            let object = &review["request"]["object"];
            for image in &request.images {
                let there = object.pointer(&image.pointer).and_then(Value::as_str);
                assert_eq!(there, Some(image.text.as_str()));
                assert!(workload::is_image_pointer(&image.pointer));
            }
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            if let Some(uid) = error.uid() {
                let refusal: Value =
                    serde_json::from_slice(&review::refusal(uid, &error)).expect("it is JSON");
                assert_eq!(refusal["response"]["allowed"], false);
            }
        }
    }
});

/// Whether the text is JSON that no tree can hold, as it may be where nobody reads it: a number out of
/// range, too many levels, half of a character.
fn is_of_the_tree(error: &serde_json::Error) -> bool {
    let text = error.to_string();
    ["number out of range", "recursion limit", "surrogate", "end of hex escape"]
        .iter()
        .any(|words| text.contains(words))
}
