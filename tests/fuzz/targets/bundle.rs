//! Sigstore bundles: nobody holds a trusted key here, so nothing may verify.
#![no_main]
use libfuzzer_sys::fuzz_target;

use tegata::evidence::Content;
use tegata::evidence::Format;

mod question;

fuzz_target!(|bytes: &[u8]| {
    question::ask(
        Format::Bundle,
        Content::Bundle(bytes::Bytes::copy_from_slice(bytes)),
    );
});
