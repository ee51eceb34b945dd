//! The same version of an object again, while it has a run: the duplicate shares that one's result.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use headworks::pipeline::{PhaseContext, PhaseError};
use headworks::{Intent, IntentPipeline, PhaseConfig, PipelineConfig, phase_fn};
use tokio::sync::{Semaphore, watch};

use super::runtime;
use crate::pin::Cores;

pub fn ours(duplicates: usize) -> Vec<f64> {
    runtime(Cores::One).block_on(async {
        let gate = Arc::new(Semaphore::new(0));
        let waits = Arc::clone(&gate);
        let phase = phase_fn(move |_: &u64, _: &PhaseContext| {
            let gate = Arc::clone(&waits);
            async move {
                gate.acquire().await.map_err(PhaseError::permanent)?.forget();
                Ok::<_, PhaseError>(())
            }
        });
        let pipeline = IntentPipeline::builder::<u64>(PipelineConfig::default())
            .phase("waits", PhaseConfig::remote(), phase)
            .build()
            .expect("every value is in range");
        let name: Arc<str> = "object".into();
        let again = || {
            let intent = Intent::new(Arc::clone(&name), 0).generation(1).content(1);
            pipeline.try_submit(intent).expect("it joins")
        };
        let mut tickets = Vec::with_capacity(duplicates + 1);
        tickets.push(again());
        let start = Instant::now();
        for _ in 0..duplicates {
            tickets.push(again());
        }
        let took = start.elapsed();
        gate.add_permits(1);
        for ticket in tickets {
            ticket.await.expect("the one run completes");
        }
        vec![took.as_nanos() as f64 / duplicates as f64]
    })
}

/// A map of what runs, and a channel of one value to hear the result by.
pub fn by_hand(duplicates: usize) -> Vec<f64> {
    runtime(Cores::One).block_on(async {
        let running: Mutex<HashMap<Arc<str>, watch::Receiver<Option<u64>>>> = Mutex::default();
        let (result, heard) = watch::channel(None);
        let name: Arc<str> = "object".into();
        running.lock().expect("nobody panics").insert(Arc::clone(&name), heard);
        let again = || {
            let running = running.lock().expect("nobody panics");
            running.get(&name).cloned().expect("it runs")
        };
        let mut tickets = Vec::with_capacity(duplicates);
        let start = Instant::now();
        for _ in 0..duplicates {
            tickets.push(again());
        }
        let took = start.elapsed();
        result.send_replace(Some(1));
        for mut ticket in tickets {
            ticket.wait_for(Option::is_some).await.expect("it was sent");
        }
        vec![took.as_nanos() as f64 / duplicates as f64]
    })
}
