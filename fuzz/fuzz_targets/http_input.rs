//! A URL, a method, headers and a body that a user wrote, a line of the input each: one request
//! comes of it, to whom the URL names, or none. The seeds also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: &[u8]| headworks::fuzzing::http_input(lines));
