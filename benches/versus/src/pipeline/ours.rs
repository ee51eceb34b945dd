//! `headworks::IntentPipeline`.

use std::sync::Arc;

use headworks::pipeline::{PhaseContext, PhaseError};
use headworks::{Intent, IntentPipeline, PhaseConfig, PipelineConfig, phase_fn};

use super::WIDTH;
use super::flow::{Backend, Flow, no_op};

/// The objects' names are there already, as they are in an operator's cache.
#[derive(Clone)]
pub struct Ours {
    pipeline: IntentPipeline<u64, u64>,
    names: Arc<[Arc<str>]>,
}

pub fn start(backend: Backend) -> Ours {
    let config = PipelineConfig::default().with_seats(WIDTH).with_queue_capacity(1 << 14);
    let remote = || PhaseConfig::remote().with_concurrency(WIDTH);
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

impl Flow for Ours {
    async fn pass(&mut self, object: u64) -> bool {
        let name = Arc::clone(&self.names[object as usize % self.names.len()]);
        match self.pipeline.try_submit(Intent::new(name, object)) {
            Ok(ticket) => ticket.await.is_ok(),
            Err(_) => false,
        }
    }
}
