//! Bytes that claim to be a JSON document: what the decoder lets through can be read in one way only,
//! and what it refuses breaks a rule of its. The seeds also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| headworks::fuzzing::json_decode(bytes));
