//! The rows of the worker pool, a file for each group.
//!
//! Every sample has a runtime and a pool of its own, so that nothing of one contestant is left to
//! the next. The runtime has one thread per core of its row.

mod blocked;
mod channels;
mod contestant;
pub mod depth;
pub mod edges;
pub mod flood;
mod hand_made;
mod inline;
mod latency;
pub mod memory;
mod ours;
mod throughput;
pub mod timing;
mod tower_stack;
pub mod urgent;
pub mod work;

use tokio::runtime::{Builder, Runtime};

use crate::harness::{Contestant, Effort, Measure, contest};
use crate::pin::{Cores, Pinned};
use contestant::Pool;

/// A row's work for one pool.
trait Case: Copy {
    fn sample<P: Pool>(self) -> Vec<f64>;
}

/// A no-op task is submitted and its result awaited.
pub fn submit(effort: Effort) {
    channels::prepare();
    on_each("worker_pool/submit_await", |cores| {
        let id = |case: &str| format!("worker_pool/submit_await/{case}/{}", cores.name());
        let case = latency::OneSubmitter { cores, ops: effort.ops(100_000) };
        rows(&id("1_submitter"), &latency::MEASURES, effort, case);
        let case = throughput::ManySubmitters { cores, submitters: 64, ops: effort.ops(100_000) };
        rows(&id("64_submitters"), &throughput::MEASURES, effort, case);
    });
}

/// A caller on each core runs no-op tasks in place.
pub fn run(effort: Effort) {
    on_each("worker_pool/run", |cores| {
        let (submitters, ops) = (cores.count(), effort.ops(500_000));
        inline_rows(effort, throughput::ManySubmitters { cores, submitters, ops });
    });
}

/// Rows for one core, and for two if they are there.
fn on_each(id: &str, rows: impl Fn(Cores)) {
    for cores in Cores::ALL {
        match Pinned::to(cores) {
            Some(_pinned) => rows(cores),
            None => println!("# {id}/…/{}: no rows, this machine has fewer cores", cores.name()),
        }
    }
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
