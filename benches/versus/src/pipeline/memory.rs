//! The heap that a queued intent holds, beside its payload and the name of its object.

use std::sync::Arc;

use headworks::pipeline::{PhaseContext, PhaseError};
use headworks::{Intent, IntentPipeline, PhaseConfig, PipelineConfig, Thresholds, phase_fn};
use tokio::sync::{Semaphore, mpsc, oneshot};

use super::runtime;
use crate::alloc::Count;
use crate::harness::Measure;
use crate::pin::Cores;

pub const MEASURES: [Measure; 2] = [
    Measure { suffix: "/heap", unit: "bytes/intent" },
    Measure { suffix: "/heap/ticket", unit: "bytes/intent with its ticket" },
];

pub fn ours(queued: usize) -> Vec<f64> {
    runtime(Cores::One).block_on(async {
        let gate = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&gate);
        let phase = phase_fn(move |_: &(), _: &PhaseContext| {
            let gate = Arc::clone(&waits);
            async move {
                drop(gate.acquire().await.map_err(PhaseError::permanent)?);
                Ok::<_, PhaseError>(())
            }
        });
        let config = PipelineConfig::default()
            .with_seats(1)
            .with_queue_capacity(queued + 1)
            .with_thresholds(Thresholds::flat(1.0));
        let pipeline = IntentPipeline::builder::<()>(config)
            .phase("waits", PhaseConfig::remote(), phase)
            .build()
            .expect("every value is in range");
        let names: Vec<Arc<str>> =
            (0..=queued).map(|object| format!("object-{object}").into()).collect();
        let submit = |name: &Arc<str>| {
            pipeline.try_submit(Intent::new(Arc::clone(name), ())).expect("there is room")
        };
        let mut tickets = Vec::with_capacity(queued + 1);
        tickets.push(submit(&names[0]));
        tokio::task::yield_now().await;
        let count = Count::start();
        tickets.extend(names[1..].iter().map(submit));
        let heap = count.stop().live_bytes as f64 / queued as f64;
        let ticket = size_of_val(&tickets[0]) as f64;
        gate.add_permits(1);
        for ticket in tickets {
            ticket.await.expect("it completes");
        }
        vec![heap, heap + ticket]
    })
}

/// A bounded channel of boxed work, each with where its result goes.
pub fn by_hand(queued: usize) -> Vec<f64> {
    runtime(Cores::One).block_on(async {
        type Work = Box<dyn FnOnce() + Send>;
        let (queue, mut worker) = mpsc::channel::<Work>(queued);
        let mut tickets = Vec::with_capacity(queued);
        let count = Count::start();
        for _ in 0..queued {
            let (result, ticket) = oneshot::channel();
            let work: Work = Box::new(move || {
                // Whoever dropped the ticket does not want to know.
                let _ = result.send(());
            });
            assert!(queue.try_send(work).is_ok(), "there is room");
            tickets.push(ticket);
        }
        let heap = count.stop().live_bytes as f64 / queued as f64;
        let ticket = size_of_val(&tickets[0]) as f64;
        drop(queue);
        while let Some(work) = worker.recv().await {
            work();
        }
        for ticket in tickets {
            ticket.await.expect("it was done");
        }
        vec![heap, heap + ticket]
    })
}
