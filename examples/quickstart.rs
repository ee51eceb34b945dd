//! The first five minutes: two phases, one intent, a ledger that adds up.
//!
//! `cargo run --example quickstart`

use std::time::Duration;

use headworks::pipeline::{PhaseConfig, PhaseContext, PipelineConfig, phase_fn};
use headworks::{Intent, IntentPipeline, Phase, PhaseError, Priority, Step};

/// Pretends to store a number somewhere far away.
struct Store;

impl Phase<usize> for Store {
    type Out = String;

    async fn run(&self, length: &usize, cx: &PhaseContext) -> Result<Step<String>, PhaseError> {
        tokio::time::sleep(Duration::from_millis(20)).await;
        Ok(Step::Done(format!("stored {length} for {}", cx.key())))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let measure = phase_fn(|text: &String, _: &PhaseContext| {
        let length = text.len();
        async move { Ok(length) }
    });
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("measure", PhaseConfig::local(), measure)
        .phase("store", PhaseConfig::remote().with_timeout(Duration::from_secs(2)), Store)
        .build()?;

    let intent = Intent::new("default/web", "scale web to 5".to_owned()).priority(Priority::High);
    let ticket = pipeline.try_submit(intent)?;
    let done = ticket.await?;
    println!("{} in {:?}", done.output, done.trace.total);

    let report = pipeline.shutdown(Duration::from_secs(5)).await;
    println!("{}", report.ledger);
    assert!(report.ledger.is_exact());
    Ok(())
}
