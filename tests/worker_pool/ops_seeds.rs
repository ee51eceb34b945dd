//! What the fuzz target found interesting, and a little chance of its own.

use super::ops::run;

#[test]
fn the_seeds_of_the_fuzz_target_hold() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/fuzz/seeds/worker_pool_ops");
    let mut seeds = 0;
    for entry in std::fs::read_dir(folder).unwrap() {
        run(&std::fs::read(entry.unwrap().path()).unwrap());
        seeds += 1;
    }
    assert!(seeds >= 8, "the seeds were found");
}

#[test]
fn random_steps_hold() {
    let mut state = 1_u64;
    for round in 0..300 {
        let steps: Vec<u8> = (0..round * 2)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                (state >> 56) as u8
            })
            .collect();
        run(&steps);
    }
}
