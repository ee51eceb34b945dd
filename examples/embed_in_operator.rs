//! An operator of your own: your object type, your backend, your status; the rest is the pipeline's.
//!
//! Forty objects change a hundred times in a burst while their backend fails now and then; status is
//! written back from the stream of outcomes. `SIGTERM` would take the way out at the end.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use headworks::circuit_breaker::CircuitBreakerConfig;
use headworks::pipeline::{Intent, IntentPipeline, PhaseConfig, PipelineConfig, phase_fn};
use headworks::pipeline::{Phase, PhaseContext, PhaseError, Step};
use headworks::rate_limit::{Quota, TieredQuota};
use headworks::{CircuitBreaker, Ending, Priority};

/// What a user of the operator writes: your intent type.
#[derive(Clone, Debug)]
struct Database {
    name: String,
    version: u64,
    replicas: u32,
}

/// What the first phase makes of it.
#[derive(Clone, Debug)]
struct Plan {
    name: String,
    steps: Vec<String>,
}

/// A backend that is down for every ninth call, and needs a moment.
#[derive(Default)]
struct Cloud {
    calls: AtomicU32,
}

impl Cloud {
    async fn apply(&self, _step: &str) -> Result<(), std::io::Error> {
        tokio::time::sleep(Duration::from_millis(2)).await;
        if self.calls.fetch_add(1, Ordering::Relaxed) % 9 == 8 {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        Ok(())
    }
}

/// The phase that changes something: idempotent, as it may run again after a failure.
struct Apply(Arc<Cloud>);

impl Phase<Plan> for Apply {
    type Out = usize;

    async fn run(&self, plan: &Plan, _: &PhaseContext) -> Result<Step<usize>, PhaseError> {
        for step in &plan.steps {
            self.0.apply(step).await.map_err(PhaseError::retryable)?;
        }
        Ok(Step::Done(plan.steps.len()))
    }
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn std::error::Error>> {
    let plan = phase_fn(|wanted: &Database, _: &PhaseContext| {
        let steps = (0..wanted.replicas).map(|i| format!("{}-{i}", wanted.name)).collect();
        let plan = Plan { name: wanted.name.clone(), steps };
        async move {
            if plan.steps.is_empty() {
                return Err(PhaseError::permanent(format!("{}: no replicas", plan.name)));
            }
            Ok(plan)
        }
    });
    let config = PipelineConfig::default()
        .with_queue_capacity(1_000)
        .with_ingress(TieredQuota::default().with_per_key(Quota::per_second(10_000)));
    let breaker = CircuitBreaker::new(CircuitBreakerConfig::default())?;
    let apply = PhaseConfig::remote().with_timeout(Duration::from_secs(5)).with_breaker(breaker);
    let pipeline = IntentPipeline::builder::<Database>(config)
        .phase("plan", PhaseConfig::local(), plan)
        .phase("apply", apply, Apply(Arc::default()))
        .build()?;

    // Status is written by whoever hears the outcomes, not by whoever submits.
    let capacity = NonZeroUsize::new(4_096).ok_or("not zero")?;
    let mut outcomes = pipeline.outcomes(capacity);
    let status = tokio::spawn(async move {
        let mut status: BTreeMap<Arc<str>, (Option<u64>, Ending)> = BTreeMap::new();
        while let Some(outcome) = outcomes.next().await {
            let (version, ending) = (outcome.generation, outcome.ending);
            // Two workers may tell two endings of one object in the other order.
            let known = status.entry(outcome.key).or_insert((version, ending));
            if ending != Ending::Superseded && version >= known.0 {
                *known = (version, ending);
            }
        }
        (status, outcomes.missed())
    });

    // The watch: a newer version takes the place of an older one that waits.
    for version in 1..=100 {
        for object in 0..40 {
            let name = format!("db-{object}");
            let wanted = Database { name, version, replicas: object % 4 };
            let class = if object == 0 { Priority::Urgent } else { Priority::Normal };
            let intent = Intent::new(format!("shop/{}", wanted.name), wanted.clone());
            // A ticket that is dropped cancels nothing.
            drop(pipeline.submit(intent.generation(wanted.version).priority(class)).await?);
        }
    }
    let report = pipeline.shutdown(Duration::from_secs(30)).await;
    let (status, missed) = status.await?;
    let failed = status.values().filter(|(_, ending)| *ending == Ending::Failed).count();
    println!("{} objects in their last version, {failed} of them refused for good", status.len());
    println!("submissions: {}", report.ledger);
    assert!(status.values().all(|(version, _)| *version == Some(100)) && missed == 0);
    assert!(report.ledger.is_exact() && report.returned.is_empty());
    Ok(())
}
