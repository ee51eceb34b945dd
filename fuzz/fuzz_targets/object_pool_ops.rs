//! Random operations on an object pool, two bytes a step. The steps and what must hold after each
//! stand with the tests, where the seeds run too.
#![no_main]

#[path = "../../tests/object_pool/ops.rs"]
mod ops;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: &[u8]| ops::run(steps));
