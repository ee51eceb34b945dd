//! How long a seat keeps its thread while attempts compute, on a clock that the test turns.

use std::pin::pin;
use std::task::{Context, Waker};

use headworks::pipeline::Step;
use tokio::task::yield_now;

use super::*;

const SEATS: usize = 4;
const INTENTS: usize = 200;

#[tokio::test(start_paused = true)]
async fn computing_phases_give_the_thread_back_in_time() {
    let done = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&done);
    let compute = phase_fn(move |text: &String, _: &PhaseContext| {
        let (text, count) = (text.clone(), Arc::clone(&count));
        async move {
            // Time passes and nobody else gets a turn.
            let passes = pin!(tokio::time::advance(ms(1)));
            let _ = passes.poll(&mut Context::from_waker(Waker::noop()));
            count.fetch_add(1, Ordering::Relaxed);
            Ok::<_, PhaseError>(Step::Done(text))
        }
    });
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default().with_seats(SEATS))
        .phase("compute", PhaseConfig::local(), compute)
        .build()
        .unwrap();
    for number in 0..INTENTS {
        let key = format!("tenant/{number}");
        drop(pipeline.try_submit(intent(&key, "text")).unwrap());
    }
    let (mut most, mut last) = (0, 0);
    while last < INTENTS {
        yield_now().await;
        let now = done.load(Ordering::Relaxed);
        most = most.max(now - last);
        last = now;
    }
    assert_eq!(most, SEATS);
    assert_eq!(pipeline.shutdown(ms(1000)).await.ledger.completed, INTENTS as u64);
}
