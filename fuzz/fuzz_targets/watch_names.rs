//! Names that a watched directory may hold, and status files as a disk may have left them. The seeds
//! also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| headworks::fuzzing::watch_names(bytes));
