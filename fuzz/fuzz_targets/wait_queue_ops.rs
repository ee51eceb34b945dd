//! The wait queue beside its naive model, four bytes a step. The seeds also run in `cargo test`.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: &[u8]| headworks::fuzzing::wait_queue(steps));
