//! Where a run is, as its ticket tells.

use std::pin::pin;

use headworks::pipeline::Stage;

use super::*;

const RUNNING: Stage = Stage::Running { phase: "turnstile", place: 0, attempt: 1 };

#[tokio::test(start_paused = true)]
async fn a_ticket_tells_each_step_of_its_run_as_it_comes() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let ahead = pipeline.try_submit(intent("a", "ahead")).unwrap();
    settled().await;
    let ticket = pipeline.try_submit(intent("b", "followed")).unwrap();
    let mut progress = ticket.progress();
    assert_eq!(progress.stage(), Stage::Queued);
    assert_eq!(progress.changed().await, Some(Stage::Queued), "where it is, at first");
    assert!(poll_once(pin!(progress.changed())).await.is_none(), "and dropped, nothing is lost");
    turnstile.let_through(1);
    assert_eq!(progress.changed().await, Some(RUNNING));
    assert_eq!(progress.stage(), RUNNING);
    let mut other = progress.clone();
    ahead.await.unwrap();
    turnstile.let_through(1);
    assert_eq!(progress.changed().await, None);
    assert_eq!(other.changed().await, None);
    assert_eq!((progress.stage(), progress.changed().await), (Stage::Over, None));
    ticket.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn between_attempts_it_waits_and_a_second_attempt_is_another_stage() {
    let fails_once = phase_fn(|_: &String, cx: &PhaseContext| {
        let is_first = cx.attempt() == 1;
        async move { if is_first { Err(PhaseError::retryable("later")) } else { Ok(()) } }
    });
    let hold = Arc::new(Semaphore::new(0));
    let last = Arc::clone(&hold);
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("flaky", PhaseConfig::local(), fails_once)
        .phase(
            "hold",
            PhaseConfig::remote(),
            phase_fn(move |(): &(), _: &PhaseContext| {
                let last = Arc::clone(&last);
                async move {
                    last.acquire().await.unwrap().forget();
                    Ok(())
                }
            }),
        )
        .build()
        .unwrap();
    let ticket = pipeline.try_submit(intent("a", "one")).unwrap();
    let mut progress = ticket.progress();
    let mut seen = Vec::new();
    while seen.last() != Some(&Stage::Running { phase: "hold", place: 1, attempt: 1 }) {
        seen.extend(progress.changed().await);
    }
    assert!(seen.contains(&Stage::Waiting { phase: "flaky", place: 0, attempts: 1 }), "{seen:?}");
    hold.add_permits(1);
    assert_eq!(progress.changed().await, None);
    ticket.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn whose_version_is_replaced_is_over_and_the_new_one_is_followed_by_itself() {
    let turnstile = Turnstile::default();
    let pipeline = through(&turnstile, one_seat());
    let ahead = pipeline.try_submit(intent("a", "ahead")).unwrap();
    let old = pipeline.try_submit(intent("b", "old").generation(1)).unwrap();
    let mut followed = old.progress();
    assert_eq!(followed.changed().await, Some(Stage::Queued));
    let new = pipeline.try_submit(intent("b", "new").generation(2)).unwrap();
    assert_eq!(followed.changed().await, None, "superseded");
    assert_eq!(new.progress().stage(), Stage::Queued);
    assert_eq!(old.await.unwrap_err().ending(), Ending::Superseded);
    turnstile.let_through(2);
    ahead.await.unwrap();
    new.await.unwrap();
    assert!(!pipeline.snapshot().closed);
    pipeline.close();
    assert!(pipeline.snapshot().closed);
}
