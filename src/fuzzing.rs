//! What the fuzz targets call, under `--cfg fuzzing` only. Not part of the public shape.

use crate::gates::wait_queue::model::Pair;
use crate::ground::time;

/// Runs the wait queue beside its naive model; panics where they disagree. Four bytes are one
/// step; an incomplete last one is left out.
pub fn wait_queue(bytes: &[u8]) {
    let ops: Vec<[u8; 4]> = bytes.chunks_exact(4).map(|op| [op[0], op[1], op[2], op[3]]).collect();
    Pair::new(time::now()).run(&ops);
}
