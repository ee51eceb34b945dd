//! An answer's body that comes compressed, from a server that means ill: it ends within its limits,
//! however it is cut into pieces, and what was cut short or damaged is never taken for whole. The
//! seeds also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| headworks::fuzzing::body_decoder(data));
