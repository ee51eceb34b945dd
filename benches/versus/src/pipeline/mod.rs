//! The rows of the pipeline, beside the same flow composed by hand: of tower, of tower-resilience,
//! and of the phases called one after the other with nothing around them.
//!
//! A sample has a runtime of its own, with a thread per core of its row.

mod duplicates;
mod flow;
mod goodput;
mod ladder;
mod memory;
mod ours;
mod passes;
mod stacks;
mod updates;

use tokio::runtime::{Builder, Runtime};

use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use flow::Direct;

pub fn passes(effort: Effort) {
    for cores in Cores::ALL {
        let Some(_pinned) = Pinned::to(cores) else {
            println!("# pipeline/…/{}: no rows, this machine has fewer cores", cores.name());
            continue;
        };
        let id = |case: &str| format!("pipeline/five_no_ops/{case}/{}", cores.name());
        let one = passes::One { cores, ops: effort.ops(50_000) };
        let contestants = vec![
            Contestant::new("headworks", move || one.sample(ours::start)),
            Contestant::new("called by hand", move || one.sample(|_| Direct)),
            Contestant::new("tower", move || one.sample(stacks::tower)),
            Contestant::new("tower-resilience", move || one.sample(stacks::resilience)),
        ];
        contest(&id("one_at_a_time"), &passes::MEASURES, effort, contestants);
        let many = passes::Many { cores, submitters: 64, ops: effort.ops(100_000) };
        let contestants = vec![
            Contestant::new("headworks", move || many.sample(ours::start)),
            Contestant::new("tower", move || many.sample(stacks::tower)),
            Contestant::new("tower-resilience", move || many.sample(stacks::resilience)),
        ];
        contest(&id("64_submitters"), &passes::MANY, effort, contestants);
    }
}

pub fn keys(effort: Effort) {
    let Some(_pinned) = Pinned::to(Cores::Two) else { return };
    let updates = effort.ops(10_000);
    let contestants = vec![
        Contestant::new("headworks", move || updates::ours(updates)),
        Contestant::new("map + semaphore by hand", move || updates::by_hand(updates)),
    ];
    contest("pipeline/updates_of_1000_keys", &updates::MEASURES, effort, contestants);
    let ops = effort.ops(20_000);
    let contestants = vec![
        Contestant::new("headworks", move || duplicates::ours(ops)),
        Contestant::new("map + watch by hand", move || duplicates::by_hand(ops)),
    ];
    const DUPLICATES: [Measure; 1] = [Measure { suffix: "", unit: "ns/duplicate" }];
    contest("pipeline/coalesced_duplicate", &DUPLICATES, effort, contestants);
}

pub fn memory(effort: Effort) {
    let queued = effort.ops(100_000);
    let contestants = vec![
        Contestant::new("headworks", move || memory::ours(queued)),
        Contestant::new("channel + oneshot by hand", move || memory::by_hand(queued)),
    ];
    contest("pipeline/queued", &memory::MEASURES, Effort { rounds: 3, ..effort }, contestants);
}

/// An open loop against a backend that takes 20 ms.
pub fn ladder(effort: Effort) {
    let Some(_pinned) = Pinned::to(Cores::Two) else { return };
    for rate in [100, 1_000, 2_000, 5_000] {
        let calls = effort.ops(rate);
        let step = ladder::Step { rate, calls };
        let contestants = vec![
            Contestant::new("headworks", move || step.sample(ours::start)),
            Contestant::new("tower", move || step.sample(stacks::tower)),
            Contestant::new("tower-resilience", move || step.sample(stacks::resilience)),
        ];
        contest(&format!("pipeline/ladder/{rate}_per_s"), &ladder::MEASURES, effort, contestants);
    }
}

/// An open loop at and above what the flow can carry, in three classes.
pub fn goodput(effort: Effort) {
    let Some(_pinned) = Pinned::to(Cores::Two) else { return };
    for times in [1, 2, 10] {
        let load = goodput::Load { times, seconds: effort.ops(2_000) as f64 / 1e3 };
        let contestants = vec![
            Contestant::new("headworks", move || load.sample(ours::start)),
            Contestant::new("tower", move || load.sample(stacks::tower)),
            Contestant::new("tower-resilience", move || load.sample(stacks::resilience)),
        ];
        contest(&format!("pipeline/goodput/{times}x"), &goodput::MEASURES, effort, contestants);
    }
}

fn runtime(cores: Cores) -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(cores.count()).enable_all().build();
    runtime.expect("a runtime starts")
}
