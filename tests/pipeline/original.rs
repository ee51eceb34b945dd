//! The faults that were measured in the operator this replaces, each as the claim that it is gone.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_burst_of_500_on_one_seat_costs_nobody_an_attempt() {
    let turnstile = Turnstile::default();
    turnstile.let_through(500);
    let pipeline = through(&turnstile, one_seat());
    let start = Instant::now();
    let tickets: Vec<_> =
        (0..500).map(|i| pipeline.try_submit(intent(&format!("a/{i}"), "x")).unwrap()).collect();
    for ticket in tickets {
        assert_eq!(ticket.await.unwrap().trace.phases[0].attempts, 1);
    }
    assert_eq!(start.elapsed(), Duration::ZERO, "nobody naps");
    assert_eq!(pipeline.snapshot().retry_budget.withdrawn, 0);
}

#[tokio::test(start_paused = true)]
async fn a_cap_of_10_takes_10_of_3000_and_parks_nobody() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat().with_queue_capacity(10));
    let _running = pipeline.try_submit(intent("b/0", "x")).unwrap();
    settled().await;
    let tasks = alive_tasks();
    let urgent = |i| intent(&format!("a/{i}"), "x").priority(Priority::Urgent);
    let taken = (0..3000).filter_map(|i| pipeline.try_submit(urgent(i)).ok()).count();
    assert_eq!((taken, alive_tasks()), (10, tasks));
}

#[tokio::test(start_paused = true)]
async fn a_shutdown_with_200_queued_loses_none() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let tickets: Vec<_> =
        (0..201).map(|i| pipeline.try_submit(intent(&format!("a/{i}"), "x")).unwrap()).collect();
    settled().await;
    let report = pipeline.shutdown(ms(10)).await;
    let returned: Vec<_> = report.returned.iter().map(|r| r.intent.key.to_string()).collect();
    let expected: Vec<_> = (1..201).map(|i| format!("a/{i}")).collect();
    assert_eq!(returned, expected, "each once, in order of acceptance");
    assert_eq!((report.ledger.returned, report.ledger.cancelled), (200, 1));
    for ticket in tickets {
        assert!(ticket.await.is_err(), "every caller is told");
    }
}

#[tokio::test(start_paused = true)]
async fn after_a_day_of_idling_everybody_is_there() {
    let turnstile = Turnstile::default();
    turnstile.let_through(8);
    let pipeline = through(&turnstile, PipelineConfig::default().with_seats(4));
    for _ in 0..2 {
        let tickets: Vec<_> =
            (0..4).map(|i| pipeline.try_submit(intent(&format!("a/{i}"), "x")).unwrap()).collect();
        for ticket in tickets {
            ticket.await.unwrap();
        }
        tokio::time::sleep(ms(86_400_000)).await;
    }
}

#[tokio::test(start_paused = true)]
async fn the_timeout_of_a_phase_is_applied_and_retried_boundedly() {
    let turnstile = Turnstile::default();
    let phase = PhaseConfig::remote().with_timeout(ms(100));
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("hangs", phase, turnstile.clone())
        .build()
        .unwrap();
    let deadline = (Instant::now() + ms(1000)).into_std();
    let ended = pipeline.try_submit(intent("a/0", "x").deadline(deadline)).unwrap().await;
    let ended = ended.unwrap_err();
    assert!(matches!(ended.error(), Some(Failure::TimedOut)));
    let attempts = turnstile.seen().len();
    assert!((3..=6).contains(&attempts), "{attempts} attempts in a second");
}

#[tokio::test(start_paused = true)]
async fn every_class_is_a_line_of_its_own() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let mut tickets = vec![pipeline.try_submit(intent("a/0", "first")).unwrap()];
    settled().await;
    for class in Priority::ALL {
        for i in 0..2 {
            let of_class = intent(&format!("a/{class}{i}"), &class.to_string()).priority(class);
            tickets.push(pipeline.try_submit(of_class).unwrap());
        }
    }
    turnstile.let_through(9);
    for ticket in tickets {
        ticket.await.unwrap();
    }
    let twice = |class: Priority| [class.to_string(), class.to_string()];
    let expected: Vec<_> = Priority::ALL.into_iter().rev().flat_map(twice).collect();
    assert_eq!(turnstile.seen()[1..], expected);
}

/// Passes through the turnstile, then fails as often as its payload's length says.
struct Flaky(Turnstile);

impl Phase<String> for Flaky {
    type Out = String;

    async fn run(&self, input: &String, cx: &PhaseContext) -> Result<Step<String>, PhaseError> {
        let _ = self.0.run(input, cx).await?;
        if cx.attempt() as usize <= input.len() {
            return Err(PhaseError::retryable("down"));
        }
        Ok(Step::Done(input.clone()))
    }
}

fn flaky(turnstile: &Turnstile, config: PipelineConfig) -> IntentPipeline<String, String> {
    IntentPipeline::builder::<String>(config)
        .phase("flaky", PhaseConfig::remote(), Flaky(turnstile.clone()))
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_retried_run_keeps_its_class_and_its_place() {
    let turnstile = Turnstile::default();
    let pipeline = flaky(&turnstile, one_seat());
    let retried = pipeline.try_submit(intent("t/1", "x").priority(Priority::High)).unwrap();
    settled().await;
    let holder = pipeline.try_submit(intent("t/2", "").priority(Priority::Urgent)).unwrap();
    turnstile.let_through(1);
    settled().await;
    // It has failed and is parked; its seat has gone to the urgent one.
    let later: Vec<_> = (3..6)
        .map(|i| {
            pipeline.try_submit(intent(&format!("t/{i}"), "").priority(Priority::High)).unwrap()
        })
        .collect();
    tokio::time::sleep(ms(200)).await;
    turnstile.let_through(100);
    holder.await.unwrap();
    retried.await.unwrap();
    assert_eq!(turnstile.seen()[..3], ["x", "", "x"], "before those accepted after it");
    for ticket in later {
        ticket.await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn a_result_waits_for_its_owner_however_late() {
    let turnstile = Turnstile::default();
    turnstile.let_through(1);
    let pipeline = through(&turnstile, one_seat());
    let ticket = pipeline.try_submit(intent("a/0", "x")).unwrap();
    tokio::time::sleep(ms(3_600_000)).await;
    pipeline.shutdown(ms(10)).await;
    drop(pipeline);
    assert_eq!(*ticket.await.unwrap().output, "x");
}

#[tokio::test(start_paused = true)]
async fn a_panic_costs_no_seat() {
    let phase = phase_fn(|text: &String, _: &PhaseContext| {
        let panics = text == "panics";
        async move { if panics { panic!("boom") } else { Ok::<_, PhaseError>(()) } }
    });
    let pipeline = IntentPipeline::builder::<String>(one_seat())
        .phase("only", PhaseConfig::remote(), phase)
        .build()
        .unwrap();
    for i in 0..50 {
        let ended = pipeline.try_submit(intent(&format!("a/{i}"), "panics")).unwrap().await;
        assert_eq!(ended.unwrap_err().ending(), Ending::Failed);
    }
    pipeline.try_submit(intent("a/0", "fine")).unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_edited_spec_is_processed_whatever_became_of_the_last_one() {
    let turnstile = Turnstile::default();
    let pipeline = flaky(&turnstile, PipelineConfig::default());
    let of = |generation, payload: &str| {
        let content = u128::from(generation);
        intent("ns/x", payload).generation(generation).content(content)
    };
    turnstile.let_through(1);
    pipeline.try_submit(of(1, "")).unwrap().await.unwrap();
    // While one runs that will fail for ever, and has no deadline.
    let broken = pipeline.try_submit(of(2, &"x".repeat(1000))).unwrap();
    settled().await;
    let edited = pipeline.try_submit(of(3, "")).unwrap();
    turnstile.let_through(1000);
    assert_eq!(edited.await.unwrap().trace.phases.len(), 1);
    let ended = broken.await.unwrap_err();
    assert_eq!(ended.ending(), Ending::Superseded);
    assert!(ended.error().is_some());
    // While one is in backoff.
    let broken = pipeline.try_submit(of(4, &"x".repeat(1000))).unwrap();
    tokio::time::sleep(ms(10_000)).await;
    assert_eq!(pipeline.snapshot().parked, 1);
    let edited = pipeline.try_submit(of(5, "")).unwrap();
    let start = Instant::now();
    edited.await.unwrap();
    assert!(start.elapsed() < ms(10), "a new spec does not wait for the old one's backoff");
    assert_eq!(broken.await.unwrap_err().ending(), Ending::Superseded);
    let report = pipeline.shutdown(ms(10)).await;
    assert!(report.ledger.is_exact());
}

#[tokio::test(start_paused = true)]
async fn a_failed_commit_is_repeated_and_never_reads_completed() {
    let commits = Arc::new(AtomicUsize::new(0));
    let tries = Arc::clone(&commits);
    let commit = phase_fn(move |text: &String, cx: &PhaseContext| {
        let (fails, never) = (cx.attempt() < 3, text == "never");
        if !fails && !never {
            tries.fetch_add(1, Ordering::Relaxed);
        }
        async move {
            match (never, fails) {
                (true, _) => Err(PhaseError::permanent("rejected")),
                (_, true) => Err(PhaseError::retryable("push failed")),
                _ => Ok(()),
            }
        }
    });
    let turnstile = Turnstile::default();
    turnstile.let_through(2);
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("plan", PhaseConfig::local(), turnstile.clone())
        .phase("commit", PhaseConfig::remote().critical(), commit)
        .build()
        .unwrap();
    let done = pipeline.try_submit(intent("a/1", "x")).unwrap().await.unwrap();
    assert_eq!((done.trace.phases[1].attempts, commits.load(Ordering::Relaxed)), (3, 1));
    let ended = pipeline.try_submit(intent("a/2", "never")).unwrap().await.unwrap_err();
    assert_eq!((ended.ending(), ended.phase()), (Ending::Failed, Some("commit")));
    assert_eq!(turnstile.seen().len(), 2, "what was done is not done again");
}
