//! A review is refused with a message, or its images lie where their pointers say.
#![no_main]
use libfuzzer_sys::fuzz_target;
use serde_json::Value;

use tegata::admission::review;
use tegata::workload;

fuzz_target!(|bytes: &[u8]| {
    match review::parse(bytes) {
        Ok(request) => {
            // What nobody reads may be what no tree can hold: a number out of range, too many levels.
            let Ok(review) = serde_json::from_slice::<Value>(bytes) else { return };
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
