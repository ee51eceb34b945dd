//! Requests that a client writes, a line of the input each: paths, header fields, bodies, idempotency
//! keys, and time that passes. The seeds also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: &[u8]| headworks::fuzzing::http_intake(lines));
