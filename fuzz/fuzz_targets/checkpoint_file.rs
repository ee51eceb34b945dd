//! A file of checkpoints as a disk may have left it: it is read as it was written, or not at all, and
//! what is written of any page comes back. The seeds also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| headworks::fuzzing::checkpoint_file(bytes));
