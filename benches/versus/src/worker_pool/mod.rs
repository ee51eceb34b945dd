//! The rows of the worker pool: a no-op task is submitted and its result awaited.
//!
//! Every sample has a runtime and a pool of its own, so that nothing of one contestant is left to
//! the next. The runtime has one thread per core of its row.

mod channels;
mod contestant;
mod hand_made;
mod inline;
mod latency;
mod memory;
mod ours;
mod throughput;
mod tower_stack;

use tokio::runtime::{Builder, Runtime};

use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use contestant::Pool;

/// A row's work for one pool.
trait Case: Copy {
    fn sample<P: Pool>(self) -> Vec<f64>;
}

pub fn run(effort: Effort) {
    channels::prepare();
    for cores in Cores::ALL {
        let Some(_pinned) = Pinned::to(cores) else {
            println!("# worker_pool/…/{}: no rows, this machine has fewer cores", cores.name());
            continue;
        };
        let id = |case: &str| format!("worker_pool/submit_await/{case}/{}", cores.name());
        let case = latency::OneSubmitter { cores, ops: effort.ops(100_000) };
        rows(&id("1_submitter"), &latency::MEASURES, effort, case);
        let case = throughput::ManySubmitters { cores, submitters: 64, ops: effort.ops(100_000) };
        rows(&id("64_submitters"), &throughput::MEASURES, effort, case);
        let (submitters, ops) = (cores.count(), effort.ops(500_000));
        let case = throughput::ManySubmitters { cores, submitters, ops };
        inline_rows(effort, case);
    }
    let Some(_pinned) = Pinned::to(Cores::One) else { return };
    rows(
        "worker_pool/memory/per_task",
        &memory::MEASURES,
        Effort { rounds: 3, ..effort },
        memory::Memory,
    );
}

/// Ours first, then the peers.
fn rows(id: &str, measures: &[Measure], effort: Effort, case: impl Case) {
    let contestants = vec![
        entry::<ours::Headworks>(case),
        entry::<ours::HeadworksBare>(case),
        entry::<channels::Kanal>(case),
        entry::<channels::Flume>(case),
        entry::<channels::AsyncChannel>(case),
        entry::<channels::Crossfire>(case),
        entry::<channels::AsyncPriorityChannel>(case),
        entry::<hand_made::Spawn>(case),
        entry::<hand_made::SpawnTwoSemaphores>(case),
        entry::<hand_made::MutexOfQueues>(case),
        entry::<tower_stack::BufferConcurrencyLimit>(case),
    ];
    contest(id, measures, effort, contestants);
}

/// A caller on each core runs no-op tasks in place.
fn inline_rows(effort: Effort, case: throughput::ManySubmitters) {
    let ours = [
        ("sampled", entry::<inline::Sampled>(case)),
        ("all", entry::<inline::All>(case)),
        ("off", entry::<inline::Off>(case)),
    ];
    for (timing, ours) in ours {
        let id = format!("worker_pool/run/timing_{timing}/{}", case.cores.name());
        let contestants = vec![ours, entry::<inline::Permit>(case), entry::<channels::Kanal>(case)];
        contest(&id, &throughput::MEASURES, effort, contestants);
    }
}

fn entry<'a, P: Pool>(case: impl Case + 'a) -> Contestant<'a> {
    Contestant::new(P::NAME, move || case.sample::<P>())
}

fn runtime(cores: Cores) -> Runtime {
    let runtime = Builder::new_multi_thread().worker_threads(cores.count()).enable_all().build();
    runtime.expect("a runtime starts")
}

/// Does nothing, in a way that the compiler must leave alone.
async fn no_op() -> u64 {
    std::hint::black_box(42)
}

async fn submit_await<P: Pool>(pool: &mut P) {
    let handle = pool.submit(no_op()).await;
    let result = handle.await.expect("the task ran");
    debug_assert_eq!(result, 42);
}
