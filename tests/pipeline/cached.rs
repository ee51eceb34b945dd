//! Phases whose outputs are kept and shared between runs.

use headworks::cache::{Cache, CacheConfig, CacheSnapshot, LoadError};

use super::*;

type Outputs = Cache<String, String>;

fn outputs() -> Outputs {
    Cache::new(CacheConfig::default()).unwrap()
}

/// Before the colon of its payload stands what an intent is cached by.
fn name(payload: &str) -> String {
    payload.split(':').next().unwrap_or_default().to_owned()
}

fn cached<X: Phase<String, Out = String>>(
    phase: X,
    config: PhaseConfig,
    cache: &Outputs,
) -> IntentPipeline<String, String> {
    IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("cached", config, phase.cached(|payload: &String| name(payload), cache.clone()))
        .build()
        .unwrap()
}

fn counts(seen: &CacheSnapshot) -> (u64, u64, u64, u64, u64) {
    (seen.loaded, seen.failed, seen.abandoned, seen.joined, seen.hits)
}

#[tokio::test(start_paused = true)]
async fn runs_of_different_keys_share_one_attempt_and_later_ones_the_output() {
    let (turnstile, cache) = (Turnstile::default(), outputs());
    let pipeline = cached(turnstile.clone(), PhaseConfig::remote(), &cache);
    let submit = |key: &str, payload: &str| pipeline.try_submit(intent(key, payload)).unwrap();
    let (first, second) = (submit("a", "plan:1"), submit("b", "plan:2"));
    settled().await;
    assert_eq!(turnstile.seen(), ["plan:1"]);
    turnstile.let_through(1);
    assert_eq!(*first.await.unwrap().output, "plan:1");
    assert_eq!(*second.await.unwrap().output, "plan:1");
    assert_eq!(*submit("c", "plan:3").await.unwrap().output, "plan:1");
    assert_eq!(counts(&cache.snapshot()), (1, 0, 0, 1, 1));
    let report = pipeline.shutdown(ms(100)).await;
    assert_eq!((report.ledger.completed, report.ledger.live), (3, 0));
}

#[tokio::test(start_paused = true)]
async fn the_next_who_waits_runs_when_the_first_is_cancelled_or_out_of_time() {
    let (turnstile, cache) = (Turnstile::default(), outputs());
    let config = PhaseConfig::remote().with_timeout(ms(1_000));
    let pipeline = cached(turnstile.clone(), config, &cache);
    let first = pipeline.try_submit(intent("a", "plan:1")).unwrap();
    settled().await;
    tokio::time::advance(ms(900)).await;
    let second = pipeline.try_submit(intent("b", "plan:2")).unwrap();
    settled().await;
    first.cancel();
    settled().await;
    assert_eq!(turnstile.seen(), ["plan:1", "plan:2"]);
    // The second one's time is its own, from its own start.
    tokio::time::advance(ms(950)).await;
    let third = pipeline.try_submit(intent("c", "plan:3")).unwrap();
    settled().await;
    assert_eq!(turnstile.seen().len(), 2);
    tokio::time::advance(ms(60)).await;
    settled().await;
    assert_eq!(turnstile.seen()[2], "plan:3");
    turnstile.let_through(1);
    assert_eq!(*third.await.unwrap().output, "plan:3");
    assert_eq!(*second.await.unwrap().output, "plan:3", "its next attempt finds it");
    assert_eq!(first.await.unwrap_err().ending(), Ending::Cancelled);
    assert_eq!(cache.snapshot().abandoned, 2);
}

#[tokio::test(start_paused = true)]
async fn an_error_is_all_theirs_with_its_verdict() {
    for permanent in [true, false] {
        let calls = Arc::new(AtomicUsize::new(0));
        let gate = Arc::new(Semaphore::new(0));
        let cache = outputs();
        let phase = phase_fn({
            let (calls, gate) = (Arc::clone(&calls), Arc::clone(&gate));
            move |text: &String, _: &PhaseContext| {
                let (text, gate) = (text.clone(), Arc::clone(&gate));
                let first = calls.fetch_add(1, Ordering::Relaxed) == 0;
                async move {
                    drop(gate.acquire().await);
                    match (first, permanent) {
                        (true, true) => Err(PhaseError::permanent("no")),
                        (true, false) => Err(PhaseError::retryable("busy")),
                        _ => Ok(text),
                    }
                }
            }
        });
        let pipeline = cached(phase, PhaseConfig::remote(), &cache);
        let tickets = ["a", "b"].map(|key| pipeline.try_submit(intent(key, "plan:1")).unwrap());
        settled().await;
        gate.add_permits(1);
        for ticket in tickets {
            match ticket.await {
                Ok(done) => assert!(!permanent && *done.output == "plan:1"),
                Err(ended) => assert!(permanent && ended.ending() == Ending::Failed),
            }
        }
        let seen = cache.snapshot();
        assert_eq!((seen.failed, seen.loaded), (1, u64::from(!permanent)));
        assert_eq!(calls.load(Ordering::Relaxed), 1 + usize::from(!permanent));
    }
}

#[tokio::test(start_paused = true)]
async fn a_remembered_error_is_told_without_an_attempt() {
    let worth = |error: &LoadError| {
        let error = error.downcast_ref::<PhaseError>().filter(|it| !it.is_retryable());
        error.map(|_| ms(5_000))
    };
    let cache: Outputs = Cache::builder(CacheConfig::default()).negative(worth).build().unwrap();
    let calls = Arc::new(AtomicUsize::new(0));
    let phase = phase_fn({
        let calls = Arc::clone(&calls);
        move |_: &String, _: &PhaseContext| {
            calls.fetch_add(1, Ordering::Relaxed);
            async { Err::<String, _>(PhaseError::permanent("no such thing")) }
        }
    });
    let pipeline = cached(phase, PhaseConfig::remote(), &cache);
    for key in ["a", "b"] {
        let ended = pipeline.try_submit(intent(key, "plan:1")).unwrap().await.unwrap_err();
        assert_eq!(ended.ending(), Ending::Failed);
    }
    assert_eq!((calls.load(Ordering::Relaxed), cache.snapshot().negative_hits), (1, 1));
}

#[tokio::test(start_paused = true)]
async fn who_panics_or_says_again_leaves_it_to_the_next() {
    for panics in [true, false] {
        let calls = Arc::new(AtomicUsize::new(0));
        let (phase_calls, gate) = (Arc::clone(&calls), Arc::new(Semaphore::new(0)));
        struct Second(Arc<AtomicUsize>, Arc<Semaphore>, bool);
        impl Phase<String> for Second {
            type Out = String;
            async fn run(
                &self,
                text: &String,
                _: &PhaseContext,
            ) -> Result<Step<String>, PhaseError> {
                let first = self.0.fetch_add(1, Ordering::Relaxed) == 0;
                drop(self.1.acquire().await);
                assert!(!(first && self.2), "asked to");
                match first {
                    true => Ok(Step::Again { after: ms(10_000) }),
                    false => Ok(Step::Done(text.clone())),
                }
            }
        }
        let cache = outputs();
        let phase = Second(phase_calls, Arc::clone(&gate), panics);
        let pipeline = cached(phase, PhaseConfig::remote(), &cache);
        let first = pipeline.try_submit(intent("a", "plan:1")).unwrap();
        settled().await;
        let second = pipeline.try_submit(intent("b", "plan:2")).unwrap();
        settled().await;
        gate.add_permits(1);
        assert_eq!(*second.await.unwrap().output, "plan:2");
        match first.await {
            Ok(done) => assert!(!panics && *done.output == "plan:2", "it looked again"),
            Err(ended) => assert!(panics && ended.ending() == Ending::Failed),
        }
        assert_eq!((calls.load(Ordering::Relaxed), cache.snapshot().abandoned), (2, 1));
    }
}

#[tokio::test(start_paused = true)]
async fn an_old_output_that_may_be_given_out_is_better_than_none() {
    let config = CacheConfig::default().with_ttl(Some(ms(1_000))).with_jitter_ratio(0.0);
    let cache: Outputs = Cache::new(config.with_stale_for(ms(60_000))).unwrap();
    let phase = phase_fn(|text: &String, _: &PhaseContext| {
        let is_down = text.ends_with("down");
        let text = text.clone();
        async move { if is_down { Err(PhaseError::permanent("down")) } else { Ok(text) } }
    });
    let pipeline = cached(phase, PhaseConfig::remote(), &cache);
    let submit = |key: &str, payload: &str| pipeline.try_submit(intent(key, payload)).unwrap();
    assert_eq!(*submit("a", "plan:1").await.unwrap().output, "plan:1");
    tokio::time::advance(ms(2_000)).await;
    assert_eq!(*submit("b", "plan:down").await.unwrap().output, "plan:1");
    assert_eq!(cache.snapshot().failed, 1);
    tokio::time::advance(ms(60_000)).await;
    assert_eq!(submit("c", "plan:down").await.unwrap_err().ending(), Ending::Failed);
}

/// D5, the herd: 10,000 callers, each with a key of its own, want one thing at once, and nothing is kept
/// yet.
async fn herd(is_cached: bool) -> (usize, headworks::Ledger) {
    const CALLERS: usize = 10_000;
    let calls = Arc::new(AtomicUsize::new(0));
    let upstream = phase_fn({
        let calls = Arc::clone(&calls);
        move |text: &String, _: &PhaseContext| {
            calls.fetch_add(1, Ordering::Relaxed);
            let text = text.clone();
            async move {
                tokio::time::sleep(ms(50)).await;
                Ok::<_, PhaseError>(text)
            }
        }
    });
    let config = PipelineConfig::default().with_queue_capacity(2 * CALLERS);
    let builder = IntentPipeline::builder::<String>(config);
    let cache = outputs();
    let remote = PhaseConfig::remote();
    let pipeline = match is_cached {
        true => builder
            .phase("ask", remote, upstream.cached(|text: &String| name(text), cache.clone()))
            .build(),
        false => builder.phase("ask", remote, upstream).build(),
    };
    let pipeline = pipeline.unwrap();
    let submit = |n: usize| pipeline.try_submit(intent(&format!("k/{n}"), "plan:1")).unwrap();
    let tickets: Vec<_> = (0..CALLERS).map(submit).collect();
    for ticket in tickets {
        assert_eq!(*ticket.await.unwrap().output, "plan:1");
    }
    (calls.load(Ordering::Relaxed), pipeline.shutdown(ms(1_000)).await.ledger)
}

#[tokio::test(start_paused = true)]
async fn a_herd_that_wants_one_thing_is_one_call() {
    let (calls, ledger) = herd(true).await;
    assert!(ledger.is_exact());
    assert_eq!((calls, ledger.completed), (1, 10_000));
}

/// The control: without the cache everybody asks.
#[tokio::test(start_paused = true)]
async fn control_without_the_cache_everybody_asks() {
    assert_eq!(herd(false).await.0, 10_000);
}
