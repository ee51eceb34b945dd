//! Random operations on a circuit breaker beside a naive model, three bytes a step. The steps and
//! the model stand with the tests, where the seeds run too.
#![no_main]

#[path = "../../tests/overload/circuit_breaker_ops.rs"]
mod ops;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|steps: &[u8]| ops::run(steps));
