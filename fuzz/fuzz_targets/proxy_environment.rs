//! An environment that names proxies, a line of the input for each variable, and URLs to ask for:
//! no secret is told, and nothing goes out directly that a proxy is to carry. The seeds also run in
//! `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|lines: &[u8]| headworks::fuzzing::proxy_environment(lines));
