//! What an answer says of rate limits, a line of the input for each line of its headers: nothing that
//! is read may panic or be above its cap. The seeds also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: &[u8]| headworks::fuzzing::rate_limit_headers(lines));
