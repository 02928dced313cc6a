//! Classic signatures: payload and annotations, cut out of the input at zero bytes.
#![no_main]
use libfuzzer_sys::fuzz_target;

use tegata::evidence::Content;
use tegata::evidence::Format;
use tegata::evidence::annotation;

mod question;

const KEYS: [&str; 5] = [
    annotation::SIGNATURE,
    annotation::BUNDLE,
    annotation::CERTIFICATE,
    annotation::CHAIN,
    annotation::TIMESTAMP,
];

fuzz_target!(|bytes: &[u8]| {
    let mut parts = bytes.split(|byte| *byte == 0);
    let payload = bytes::Bytes::copy_from_slice(parts.next().unwrap_or_default());
    let annotations = KEYS
        .into_iter()
        .zip(parts)
        .filter(|(_, value)| !value.is_empty())
        .map(|(key, value)| (key.to_owned(), String::from_utf8_lossy(value).into_owned()))
        .collect();
    question::ask(
        Format::Legacy,
        Content::SimpleSigning {
            payload,
            annotations,
        },
    );
});
