//! The fuzz target's seeds, as ordinary tests.

use std::fs;

use super::ops;

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/object_pool_ops");
    let mut seeds = 0;
    for entry in fs::read_dir(folder).unwrap() {
        ops::run(&fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds >= 8, "the seeds were found");
}

#[test]
fn random_steps_hold() {
    let mut state = 1_u64;
    for round in 0..60 {
        let steps: Vec<u8> = (0..round * 8)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        ops::run(&steps);
    }
}
