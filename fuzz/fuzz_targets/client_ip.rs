//! Forwarding headers that a client forges, a line of the input each: it must never choose its key.
//! The seeds also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: &[u8]| headworks::fuzzing::client_ip(lines));
