//! The rows of the semaphore: a permit is taken and given back, while enough are free, or in a
//! line.

mod contestant;
mod crowd;
mod standing;
mod uncontended;

use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use contestant::{Gate, Ours, Tokio};

const MEASURES: [Measure; 2] = [
    Measure { suffix: "", unit: "ns/acquire+release" },
    Measure { suffix: "/cpu", unit: "cpu ns/acquire+release" },
];

/// A row's work for one semaphore.
trait Case: Copy {
    fn sample<G: Gate>(self) -> Vec<f64>;
}

pub fn run(effort: Effort) {
    for cores in Cores::ALL {
        let Some(_pinned) = Pinned::to(cores) else {
            println!("# semaphore/…/{}: no rows, this machine has fewer cores", cores.name());
            continue;
        };
        let threads = cores.count();
        for way in uncontended::Way::ALL {
            let id = format!("semaphore/{}/{threads}_threads", way.name());
            rows(&id, effort, uncontended::Threads { way, threads, rounds: effort.ops(1_000_000) });
        }
        for permits in [1, 16] {
            let id = format!("semaphore/1000_tasks/{permits}_permits/{}", cores.name());
            rows(&id, effort, crowd::Crowd { cores, permits, rounds: effort.ops(200_000) });
        }
    }
    let Some(_pinned) = Pinned::to(Cores::One) else { return };
    let case = standing::Standing { waiters: 1_000, rounds: effort.ops(200_000) };
    rows("semaphore/line_of_1000/1_threads", effort, case);
}

fn rows(id: &str, effort: Effort, case: impl Case) {
    contest(id, &MEASURES, effort, vec![entry::<Ours>(case), entry::<Tokio>(case)]);
}

fn entry<'a, G: Gate>(case: impl Case + 'a) -> Contestant<'a> {
    Contestant::new(G::NAME, move || case.sample::<G>())
}
