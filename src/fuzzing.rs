//! Entrances for the fuzz targets; there under `--cfg fuzzing` only, and no part of the public
//! shape.

use crate::gates::wait_queue::model::Pair;
use crate::ground::time;

/// Runs the wait queue and its naive model side by side, four bytes a step; panics where they
/// disagree.
pub fn wait_queue(steps: &[u8]) {
    Pair::new(time::now()).run(steps.as_chunks::<4>().0);
    Pair::shedding(time::now()).run(steps.as_chunks::<4>().0);
}
