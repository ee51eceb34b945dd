//! Phases that take many inputs at once, through the whole pipeline.

use headworks::pipeline::{BatchConfig, BatchPhase, Batched};

use super::*;

/// Writes down what came together; waits for a permit for each batch.
#[derive(Clone)]
struct Writes {
    batches: Arc<Mutex<Vec<Vec<String>>>>,
    permits: Arc<Semaphore>,
}

impl Writes {
    fn new(permits: usize) -> Self {
        Self { batches: Arc::default(), permits: Arc::new(Semaphore::new(permits)) }
    }

    fn batches(&self) -> Vec<Vec<String>> {
        self.batches.lock().unwrap().clone()
    }
}

impl BatchPhase<String> for Writes {
    type Out = usize;

    async fn run(&self, rows: &[String]) -> Result<Vec<Result<usize, PhaseError>>, PhaseError> {
        self.batches.lock().unwrap().push(rows.to_vec());
        self.permits.acquire().await.unwrap().forget();
        assert!(rows.iter().all(|row| row != "panics"), "asked to");
        let one = |row: &String| match row.as_str() {
            "bad" => Err(PhaseError::permanent("bad")),
            _ => Ok(rows.len()),
        };
        Ok(rows.iter().map(one).collect())
    }
}

fn batching(config: BatchConfig, writes: &Writes) -> IntentPipeline<String, usize> {
    let phase = Batched::new(config, writes.clone()).unwrap().weigher(|row: &String| row.len());
    IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("write", PhaseConfig::remote(), phase)
        .build()
        .unwrap()
}

fn submit(
    pipeline: &IntentPipeline<String, usize>,
    row: &str,
    class: Priority,
) -> headworks::pipeline::Ticket<String, usize> {
    let key = format!("{row}/{class:?}/{}", pipeline.snapshot().ledger.accepted);
    pipeline.try_submit(intent(&key, row).priority(class)).unwrap()
}

fn config() -> BatchConfig {
    BatchConfig::default().with_max_items(3).with_max_bytes(100).with_max_age(ms(10))
}

#[tokio::test(start_paused = true)]
async fn a_batch_goes_by_count_by_bytes_and_by_age() {
    let writes = Writes::new(100);
    let pipeline = batching(config(), &writes);
    for row in ["a", "b", "c", "d"] {
        drop(submit(&pipeline, row, Priority::Normal));
    }
    settled().await;
    assert_eq!(writes.batches(), [["a", "b", "c"]]);
    tokio::time::advance(ms(11)).await;
    settled().await;
    assert_eq!(writes.batches()[1], ["d"]);
    let long = "x".repeat(99);
    drop(submit(&pipeline, &long, Priority::Normal));
    settled().await;
    assert_eq!(writes.batches().len(), 2);
    drop(submit(&pipeline, "y", Priority::Normal));
    settled().await;
    assert_eq!(writes.batches()[2], [long, "y".to_owned()]);
    let report = pipeline.shutdown(ms(100)).await;
    assert_eq!((report.ledger.completed, report.ledger.live), (6, 0));
}

#[tokio::test(start_paused = true)]
async fn an_urgent_one_goes_at_once_first_and_takes_the_others_along() {
    let writes = Writes::new(100);
    let pipeline = batching(config().with_max_items(4), &writes);
    drop(submit(&pipeline, "low", Priority::Low));
    drop(submit(&pipeline, "high", Priority::High));
    settled().await;
    assert!(writes.batches().is_empty());
    drop(submit(&pipeline, "urgent", Priority::Urgent));
    settled().await;
    assert_eq!(writes.batches(), [["urgent", "high", "low"]]);
}

#[tokio::test(start_paused = true)]
async fn who_is_cancelled_leaves_before_the_batch_goes() {
    let writes = Writes::new(100);
    let pipeline = batching(config(), &writes);
    let tickets = ["a", "b"].map(|row| submit(&pipeline, row, Priority::Normal));
    settled().await;
    tickets[0].cancel();
    settled().await;
    tokio::time::advance(ms(11)).await;
    settled().await;
    assert_eq!(writes.batches(), [["b"]]);
    let [cancelled, done] = tickets;
    assert_eq!(cancelled.await.unwrap_err().ending(), Ending::Cancelled);
    assert_eq!(*done.await.unwrap().output, 1);
}

#[tokio::test(start_paused = true)]
async fn who_is_cancelled_in_a_batch_leaves_it_to_the_others() {
    let writes = Writes::new(0);
    let pipeline = batching(config(), &writes);
    let [a, b, c] = ["a", "b", "c"].map(|row| submit(&pipeline, row, Priority::Normal));
    settled().await;
    for ticket in [&a, &b] {
        ticket.cancel();
        settled().await;
    }
    writes.permits.add_permits(1);
    assert_eq!(*c.await.unwrap().output, 3);
    assert_eq!(writes.batches().len(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_bad_one_and_one_that_panics_fail_alone() {
    let writes = Writes::new(100);
    let pipeline = batching(config().with_max_items(4), &writes);
    let tickets = ["a", "bad", "panics", "d"].map(|row| submit(&pipeline, row, Priority::Normal));
    let mut endings = Vec::new();
    for ticket in tickets {
        endings.push(ticket.await.map_err(|ended| ended.ending()).is_ok());
    }
    assert_eq!(endings, [true, false, false, true]);
    let report = pipeline.shutdown(ms(100)).await;
    assert_eq!((report.ledger.completed, report.ledger.failed), (2, 2));
}
