//! A reference is refused, or is shown as a text that means the same.
#![no_main]
use libfuzzer_sys::fuzz_target;

use tegata::image::ImageRef;
use tegata::image::Repository;

fuzz_target!(|text: &str| {
    if let Ok(repository) = text.parse::<Repository>() {
        assert_eq!(repository.to_string().parse().as_ref(), Ok(&repository));
    }
    let Ok(image) = text.parse::<ImageRef>() else {
        return;
    };
    assert_eq!(image.to_string().parse().as_ref(), Ok(&image));
    assert!(image.tag().is_some() || image.digest().is_some());
});
