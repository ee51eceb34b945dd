//! What the fuzz target found interesting, and a little chance of its own.

use super::rate_limit_ops::run;
use crate::harness::rng::Rng;

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/rate_limit_ops");
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        run(&std::fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds >= 8, "the seeds were found");
}

#[test]
fn random_steps_hold() {
    let mut rng = Rng(1);
    for round in 0..400 {
        let steps: Vec<u8> = (0..round * 2).map(|_| rng.next() as u8).collect();
        run(&steps);
    }
}
