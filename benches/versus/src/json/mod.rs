//! The rows of the JSON hot path: a body comes in, an intent is made of it and let go of its text, and
//! later what is to be asked for goes out: a few fields that were looked at, and whatever parameters
//! and constraints came. All make the same intent and the same text of it.

mod contestant;
mod samples;

use std::hint::black_box;
use std::time::Instant;

use crate::alloc::Count;
use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use contestant::{Codec, Ours, SonicTyped, Typed, Valued};

const MEASURES: [Measure; 2] = [
    Measure { suffix: "", unit: "ns/document" },
    Measure { suffix: "/allocations", unit: "allocations/document" },
];

pub fn run(effort: Effort) {
    let Some(_pinned) = Pinned::to(Cores::One) else { return };
    for (name, bodies) in samples::all() {
        let expected: Vec<_> = bodies.iter().map(|body| parsed(&Valued::new(), body)).collect();
        let entries = vec![
            entry(Ours::new(), &bodies, &expected, effort),
            entry(Valued::new(), &bodies, &expected, effort),
            entry(Typed::new(), &bodies, &expected, effort),
            entry(SonicTyped::new(), &bodies, &expected, effort),
        ];
        contest(&format!("json/decode+encode/{name}"), &MEASURES, effort, entries);
    }
}

fn parsed<C: Codec>(codec: &C, body: &[u8]) -> serde_json::Value {
    let mut text = None;
    codec.through(body, |bytes| text = serde_json::from_slice(bytes).ok());
    text.expect("it is JSON")
}

fn entry<'a, C: Codec + 'a>(
    codec: C,
    bodies: &'a [Vec<u8>],
    expected: &[serde_json::Value],
    effort: Effort,
) -> Contestant<'a> {
    for (body, expected) in bodies.iter().zip(expected) {
        assert_eq!(parsed(&codec, body), *expected, "{}", C::NAME);
    }
    let bytes = bodies.iter().map(Vec::len).sum::<usize>();
    let rounds = effort.ops(20_000_000 / bytes);
    Contestant::new(C::NAME, move || {
        let once = || {
            for body in bodies {
                codec.through(black_box(body), |bytes| {
                    black_box(bytes);
                });
            }
        };
        once();
        let from = Instant::now();
        (0..rounds).for_each(|_| once());
        let took = from.elapsed().as_nanos() as f64;
        let count = Count::start();
        once();
        let allocations = count.stop().allocations as f64;
        let documents = bodies.len() as f64;
        vec![took / (rounds as f64 * documents), allocations / documents]
    })
}
