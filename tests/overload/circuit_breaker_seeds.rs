//! What the fuzz target found interesting, and a little chance of its own.

use super::circuit_breaker_ops::run;
use crate::harness::every_seed;
use crate::harness::rng::Rng;

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/circuit_breaker_ops");
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        run(&std::fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds >= 8, "the seeds were found");
}

#[test]
fn random_steps_hold() {
    every_seed(400, |seed| {
        let mut rng = Rng(seed);
        let length = 6 + 3 * rng.below(300);
        let steps: Vec<u8> = (0..length).map(|_| rng.next() as u8).collect();
        run(&steps);
    });
}
