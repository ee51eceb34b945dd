//! A pipeline that goes on: paused, changed, listened to, shared, and as a service of tower's.

use std::num::NonZeroUsize;

use headworks::pipeline::{MetricValue, Outcome};
use headworks::retry::{RetryBudget, RetryBudgetConfig};

use super::*;

fn many() -> NonZeroUsize {
    NonZeroUsize::new(100).unwrap()
}

#[tokio::test(start_paused = true)]
async fn paused_it_accepts_and_starts_nothing_and_what_runs_goes_on() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let running = pipeline.try_submit(intent("a", "running")).unwrap();
    let mut queued = pipeline.try_submit(intent("b", "queued")).unwrap();
    let late = pipeline.try_submit(intent("c", "late").within(ms(50))).unwrap();
    settled().await;
    pipeline.pause();
    assert!(pipeline.snapshot().paused);
    assert_eq!(pipeline.try_submit(intent("d", "new")).unwrap_err().reason(), Reason::Paused);
    assert_eq!(pipeline.submit(intent("d", "new")).await.unwrap_err().reason(), Reason::Paused);
    turnstile.let_through(10);
    running.await.unwrap();
    assert_eq!(late.await.unwrap_err().ending(), Ending::Expired);
    tokio::time::sleep(ms(1000)).await;
    assert!(poll_once(std::pin::Pin::new(&mut queued)).await.is_none());
    assert_eq!(turnstile.seen(), ["running"]);
    pipeline.resume();
    queued.await.unwrap();
    drop(pipeline.try_submit(intent("d", "new")).unwrap());
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
}

#[tokio::test(start_paused = true)]
async fn who_waits_in_the_room_waits_out_a_pause() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat().with_queue_capacity(1));
    let _running = pipeline.try_submit(intent("a", "running")).unwrap();
    settled().await;
    let _queued = pipeline.try_submit(intent("b", "queued")).unwrap();
    let mut waiting = Box::pin(pipeline.submit(intent("c", "waiting")));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    pipeline.pause();
    turnstile.let_through(10);
    settled().await;
    assert!(poll_once(waiting.as_mut()).await.is_none());
    pipeline.resume();
    waiting.await.unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_paused_pipeline_returns_what_waits_when_it_is_shut_down() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let tickets: Vec<_> =
        (0..5).map(|i| pipeline.try_submit(intent(&format!("k/{i}"), "x")).unwrap()).collect();
    pipeline.pause();
    let report = pipeline.shutdown(ms(100)).await;
    assert_eq!((report.returned.len(), report.ledger.returned), (5, 5));
    drop(tickets);
    assert_eq!(alive_tasks(), 0);
}

#[tokio::test(start_paused = true)]
async fn seats_concurrency_and_capacity_change_while_it_runs() {
    let turnstile = Turnstile::default();
    let config = PipelineConfig::default().with_seats(4).with_queue_capacity(100);
    let pipeline = through(&turnstile, config);
    let busy = || pipeline.snapshot().busy;
    let tickets: Vec<_> =
        (0..20).map(|i| pipeline.try_submit(intent(&format!("k/{i}"), "x")).unwrap()).collect();
    settled().await;
    assert_eq!(busy(), 4);
    pipeline.set_seats(2).unwrap();
    assert_eq!(busy(), 4, "nobody is thrown out");
    turnstile.let_through(3);
    settled().await;
    assert_eq!(busy(), 2);
    pipeline.set_seats(4).unwrap();
    settled().await;
    assert_eq!(busy(), 4);
    pipeline.set_concurrency("turnstile", 1).unwrap();
    turnstile.let_through(4);
    settled().await;
    assert_eq!(busy(), 1);
    pipeline.set_concurrency("turnstile", 3).unwrap();
    settled().await;
    assert_eq!(busy(), 3);
    pipeline.set_queue_capacity(2).unwrap();
    let no = pipeline.try_submit(intent("k/new", "x")).unwrap_err();
    assert_eq!(no.reason(), Reason::QueueFull);
    let mut waiting = Box::pin(pipeline.submit(no.into_inner()));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    pipeline.set_queue_capacity(100).unwrap();
    let last = waiting.await.unwrap();
    turnstile.let_through(100);
    last.await.unwrap();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
}

#[tokio::test(start_paused = true)]
async fn a_change_that_a_live_run_could_not_live_with_changes_nothing() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, PipelineConfig::default().with_seats(4));
    let heavy = intent("k", "x").weight(3.try_into().unwrap());
    let ticket = pipeline.try_submit(heavy).unwrap();
    for wrong in [0, 2, 5] {
        let error = pipeline.set_seats(wrong).unwrap_err().to_string();
        assert!(error.contains("pipeline.seats"), "{error}");
    }
    assert!(pipeline.set_concurrency("turnstile", 2).is_err());
    assert!(pipeline.set_concurrency("nobody", 3).is_err());
    assert!(pipeline.set_queue_capacity(0).is_err());
    pipeline.set_seats(3).unwrap();
    turnstile.let_through(1);
    ticket.await.unwrap();
}

fn line(outcome: &Outcome<String>) -> String {
    let output = outcome.output.as_deref();
    format!("{} {:?} {output:?} {}", outcome.key, outcome.ending, outcome.tickets)
}

#[tokio::test(start_paused = true)]
async fn every_run_is_told_once_to_all_who_listen_and_then_the_end() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let (mut first, mut second) = (pipeline.outcomes(many()), pipeline.outcomes(many()));
    let same = || intent("a", "a").generation(1).content(1);
    let joined = [pipeline.try_submit(same()).unwrap(), pipeline.try_submit(same()).unwrap()];
    let cancelled = pipeline.try_submit(intent("b", "b")).unwrap();
    let old = pipeline.try_submit(intent("c", "old").generation(1)).unwrap();
    let new = pipeline.try_submit(intent("c", "new").generation(2)).unwrap();
    drop(pipeline.outcomes(many()));
    settled().await;
    cancelled.cancel();
    turnstile.let_through(2);
    new.await.unwrap();
    let returned = pipeline.try_submit(intent("d", "d")).unwrap();
    pipeline.pause();
    settled().await;
    drop((joined, old, returned));
    let report = pipeline.shutdown(ms(100)).await;
    let mut seen = Vec::new();
    while let Some(outcome) = first.next().await {
        assert_eq!(line(&second.next().await.unwrap()), line(&outcome));
        seen.push(line(&outcome));
    }
    assert!(second.next().await.is_none());
    let expected = [
        "c Superseded None 1",
        "b Cancelled None 1",
        "a Completed Some(\"a\") 2",
        "c Completed Some(\"new\") 1",
    ];
    assert_eq!(seen[..4], expected);
    assert_eq!(seen.len() as u64, report.runs.accepted, "{seen:?}");
    assert!(pipeline.outcomes(many()).next().await.is_none(), "nothing more will come");
}

#[tokio::test(start_paused = true)]
async fn who_does_not_read_misses_some_and_is_told_how_many() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let mut slow = pipeline.outcomes(NonZeroUsize::new(2).unwrap());
    turnstile.let_through(5);
    for i in 0..5 {
        pipeline.try_submit(intent(&format!("k/{i}"), "x")).unwrap().await.unwrap();
    }
    assert_eq!(slow.missed(), 3);
    assert_eq!(&*slow.next().await.unwrap().key, "k/0");
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
}

/// Never ends.
struct Forever;

impl Phase<String> for Forever {
    type Out = ();

    async fn run(&self, _: &String, _: &PhaseContext) -> Result<Step<()>, PhaseError> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn an_unknown_end_is_told_when_it_is_given_up() {
    let critical = PhaseConfig::remote().critical().with_timeout(ms(10));
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("forever", critical, Forever)
        .build()
        .unwrap();
    let mut outcomes = pipeline.outcomes(many());
    drop(pipeline.try_submit(intent("k", "x").generation(7)).unwrap());
    let outcome = outcomes.next().await.unwrap();
    assert!(outcome.indeterminate && outcome.ending == Ending::Failed);
    assert_eq!((outcome.phase, outcome.generation), (Some("forever"), Some(7)));
}

#[tokio::test(start_paused = true)]
async fn two_pipelines_spend_one_retry_budget() {
    let budget = RetryBudgetConfig::default().with_floor_per_second(0);
    let budget = RetryBudget::new(budget).unwrap();
    let down = || {
        phase_fn(|_: &String, _: &PhaseContext| async {
            Err::<(), _>(PhaseError::retryable("down"))
        })
    };
    let build = || {
        IntentPipeline::builder::<String>(PipelineConfig::default())
            .retry_budget(budget.clone())
            .phase("down", PhaseConfig::remote(), down())
            .build()
            .unwrap()
    };
    let pipelines = [build(), build()];
    // Ten successes elsewhere are worth two retries in all.
    (0..10).for_each(|_| budget.success());
    let mut attempts = 0;
    for pipeline in &pipelines {
        let ticket = pipeline.try_submit(intent("k", "x").within(ms(500))).unwrap();
        let ended = ticket.await.unwrap_err();
        attempts += ended.trace().phases[0].attempts;
    }
    assert_eq!(attempts, 4, "two first ones and two retries");
}

#[tokio::test(start_paused = true)]
async fn its_numbers_have_names() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    turnstile.let_through(1);
    pipeline.try_submit(intent("k", "x")).unwrap().await.unwrap();
    let snapshot = pipeline.snapshot();
    let number = |name: &str| {
        let named = snapshot.metrics().find(|metric| metric.name == name).unwrap();
        match named.value {
            MetricValue::Counter(n) | MetricValue::Gauge(n) => n,
            MetricValue::Histogram(_) => panic!("no number"),
        }
    };
    assert_eq!(number("intent_pipeline_completed_total"), 1);
    assert_eq!(number("intent_pipeline_seats"), 1);
    assert_eq!(number("intent_pipeline_queue_capacity"), 2000);
    let text = include_str!("../../src/facade/pipeline/metrics.rs");
    for metric in snapshot.metrics() {
        let short = metric.name.strip_prefix("intent_pipeline_").unwrap();
        let documented = text.lines().any(|line| {
            line.trim_start().starts_with("/// |") && line.contains(&format!("`{short}`"))
        });
        assert!(documented, "{short} stands in no table");
    }
}

#[cfg(feature = "tower")]
#[tokio::test(start_paused = true)]
async fn as_a_service_it_answers_refuses_from_the_call_and_cancels_when_dropped() {
    use headworks::pipeline::ServiceError;
    use tower::{Service, ServiceExt};

    let turnstile = Turnstile::default();
    let mut pipeline = through(&turnstile, one_seat().with_queue_capacity(1));
    let mut running = pipeline.ready().await.unwrap().call(intent("a", "a"));
    settled().await;
    let queued = pipeline.ready().await.unwrap().call(intent("b", "b"));
    let refused = pipeline.ready().await.unwrap().call(intent("c", "c")).await;
    let Err(ServiceError::Refused(refused)) = refused else { panic!("accepted") };
    assert_eq!(refused.into_inner().payload, "c");
    drop(queued);
    assert_eq!(pipeline.snapshot().ledger.cancelled, 1);
    assert!(poll_once(std::pin::Pin::new(&mut running)).await.is_none());
    turnstile.let_through(1);
    assert_eq!(*running.await.unwrap().output, "a");
    let late = pipeline.ready().await.unwrap().call(intent("d", "d").within(ms(10))).await;
    assert!(matches!(late, Err(ServiceError::Ended(ended)) if ended.ending() == Ending::Failed));
}
