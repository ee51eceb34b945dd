//! Random operations on a limiter of two tiers beside a naive model, four bytes a step. The steps and
//! what must hold after each stand with the tests, where the seeds run too.
#![no_main]

#[path = "../../tests/overload/rate_limit_ops.rs"]
mod ops;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: &[u8]| ops::run(steps));
