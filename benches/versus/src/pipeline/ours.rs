//! `headworks::IntentPipeline`.

use std::sync::Arc;
use std::time::Instant;

use headworks::pipeline::{PhaseContext, PhaseError};
use headworks::{Intent, IntentPipeline, PhaseConfig, PipelineConfig, Priority, phase_fn};

use super::flow::{Backend, Flow, Setup, no_op};

/// The objects' names are there already, as they are in an operator's cache.
#[derive(Clone)]
pub struct Ours {
    pipeline: IntentPipeline<u64, u64>,
    names: Arc<[Arc<str>]>,
}

pub fn start(setup: Setup) -> Ours {
    let Setup { backend, width, queue } = setup;
    let config = PipelineConfig::default().with_seats(width).with_queue_capacity(queue);
    let remote = || PhaseConfig::remote().with_concurrency(width);
    let nothing = || {
        phase_fn(|input: &u64, _: &PhaseContext| {
            let input = *input;
            async move { Ok::<_, PhaseError>(no_op(input).await) }
        })
    };
    let builder = IntentPipeline::builder::<u64>(config);
    let pipeline = match backend {
        Backend::FiveNoOps => builder
            .phase("one", remote(), nothing())
            .phase("two", remote(), nothing())
            .phase("three", remote(), nothing())
            .phase("four", remote(), nothing())
            .phase("five", remote(), nothing())
            .build(),
        Backend::Takes(_) => {
            let wait = phase_fn(move |input: &u64, _: &PhaseContext| {
                let input = *input;
                async move { Ok::<_, PhaseError>(backend.pass(input).await) }
            });
            builder.phase("waits", remote(), wait).build()
        }
    };
    let names = (0..1 << 14).map(|object| format!("object-{object}").into()).collect();
    Ours { pipeline: pipeline.expect("every value is in range"), names }
}

impl Ours {
    fn intent(&self, object: u64) -> Intent<u64> {
        Intent::new(Arc::clone(&self.names[object as usize % self.names.len()]), object)
    }

    async fn completes(&self, intent: Intent<u64>) -> bool {
        match self.pipeline.try_submit(intent) {
            Ok(ticket) => ticket.await.is_ok(),
            Err(_) => false,
        }
    }
}

impl Flow for Ours {
    async fn pass(&mut self, object: u64) -> bool {
        self.completes(self.intent(object)).await
    }

    async fn pass_in_time(&mut self, object: u64, class: Priority, until: Instant) -> bool {
        self.completes(self.intent(object).priority(class).deadline(until)).await
    }
}
