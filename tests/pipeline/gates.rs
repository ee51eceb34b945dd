//! Breakers, egress and ingress limiters: who waits, and what a refusal leaves alone.

use std::num::{NonZeroU32, NonZeroUsize};

use headworks::circuit_breaker::{CircuitBreaker, CircuitBreakerConfig, Overloaded, State};
use headworks::rate_limit::{Quota, RateLimiter, TieredQuota};
use headworks::retry::{RetryBudgetConfig, RetryPolicy};
use headworks::{Enforcement, Scope};

use super::*;

fn touchy() -> CircuitBreakerConfig {
    CircuitBreakerConfig::default()
        .with_consecutive_failures(Some(NonZeroU32::MIN))
        .with_open_for(ms(1000))
        .with_open_jitter_ratio(0.0)
        .with_probes(NonZeroU32::MIN)
        .with_ramp_step(None)
}

/// Fails at the first attempt of "bad".
fn fails_first() -> impl Phase<String, Out = String> {
    phase_fn(|text: &String, cx: &PhaseContext| {
        let fails = text == "bad" && cx.attempt() == 1;
        let text = text.clone();
        async move { if fails { Err(PhaseError::retryable("down")) } else { Ok(text) } }
    })
}

fn with_phase(phase: PhaseConfig) -> IntentPipeline<String, String> {
    IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("call", phase, fails_first())
        .build()
        .unwrap()
}

#[tokio::test(start_paused = true)]
async fn an_open_breaker_keeps_the_head_until_its_probe_and_costs_no_retry_budget() {
    let breaker = CircuitBreaker::new(touchy()).unwrap();
    let phase = PhaseConfig::remote().with_concurrency(1).with_breaker(breaker.clone());
    let pipeline = with_phase(phase);
    let start = Instant::now();
    let bad = pipeline.try_submit(intent("a/bad", "bad")).unwrap();
    let good = pipeline.try_submit(intent("a/good", "good")).unwrap();
    settled().await;
    let snapshot = pipeline.snapshot();
    assert!(snapshot.phases[0].closed_until.is_some());
    assert_eq!(snapshot.phases[0].closed_until, breaker.next_probe_at());
    let refused = pipeline.try_submit(intent("a/late", "late")).unwrap_err();
    assert_eq!(refused.reason(), Reason::CircuitOpen);
    assert_eq!(refused.retry_after(), Some(ms(1000)));
    let done = good.await.unwrap();
    assert!((ms(1000)..ms(1010)).contains(&start.elapsed()), "{:?}", start.elapsed());
    assert_eq!(done.trace.phases[0].attempts, 1, "a closed gate is no attempt");
    bad.await.unwrap();
    let snapshot = pipeline.snapshot();
    assert_eq!(snapshot.retry_budget.withdrawn, 1, "the one real failure");
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
}

#[tokio::test(start_paused = true)]
async fn behind_a_breaker_that_is_forced_open_nobody_is_told_when_to_come_back() {
    let breaker = CircuitBreaker::new(touchy()).unwrap();
    let pipeline = with_phase(PhaseConfig::remote().with_breaker(breaker.clone()));
    breaker.force_open();
    let refused = pipeline.try_submit(intent("a/1", "good")).unwrap_err();
    assert_eq!((refused.reason(), refused.retry_after()), (Reason::CircuitOpen, None));
    assert!(refused.reason().is_retryable());
    breaker.release();
    pipeline.try_submit(refused.into_inner()).unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_breaker_that_is_closed_by_hand_opens_the_gate_within_a_second() {
    let breaker = CircuitBreaker::new(touchy().with_open_for(ms(200_000))).unwrap();
    let phase = PhaseConfig::remote().with_concurrency(1).with_breaker(breaker.clone());
    let pipeline = with_phase(phase);
    let bad = pipeline.try_submit(intent("a/bad", "bad")).unwrap();
    let good = pipeline.try_submit(intent("a/good", "good")).unwrap();
    settled().await;
    let start = Instant::now();
    tokio::time::sleep(ms(5_300)).await;
    breaker.force_closed();
    good.await.unwrap();
    bad.await.unwrap();
    assert!(start.elapsed() <= ms(6_400), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_breaker_hears_that_the_backend_asked_for_patience() {
    let patient = touchy().with_consecutive_failures(None).with_overloaded(Overloaded::Opens);
    let breaker = CircuitBreaker::new(patient).unwrap();
    let busy = phase_fn(|_: &String, cx: &PhaseContext| {
        let answer = match cx.attempt() {
            1 => Err(PhaseError::overloaded("busy", Some(ms(20_000)))),
            _ => Ok(()),
        };
        async move { answer }
    });
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("call", PhaseConfig::remote().with_breaker(breaker.clone()), busy)
        .build()
        .unwrap();
    let ticket = pipeline.try_submit(intent("a/1", "good")).unwrap();
    settled().await;
    assert_eq!(breaker.state(), State::Open);
    let left = breaker.next_probe_at().unwrap() - headworks::Instant::now();
    assert_eq!(left, ms(20_000), "as long as the backend asked for");
    ticket.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_a_block_refuses_inside_a_phase_is_waited_out() {
    let quota = Quota::per_second(1);
    let limiter = Arc::new(RateLimiter::new(quota).unwrap());
    limiter.try_acquire(1).unwrap();
    let asks = phase_fn(move |_: &String, _: &PhaseContext| {
        let token = limiter.try_acquire(1);
        async move { Ok(token?) }
    });
    let config = PipelineConfig::default()
        .with_retry_budget(RetryBudgetConfig::default().with_floor_per_second(0));
    let once = RetryPolicy::default().with_max_attempts(NonZeroU32::MIN);
    let pipeline = IntentPipeline::builder::<String>(config)
        .phase("call", PhaseConfig::remote().with_retry(once), asks)
        .build()
        .unwrap();
    let start = Instant::now();
    let tickets: Vec<_> =
        (0..10).map(|i| pipeline.try_submit(intent(&format!("a/{i}"), "good")).unwrap()).collect();
    for ticket in tickets {
        ticket.await.unwrap();
    }
    assert!(start.elapsed() >= ms(10_000), "one a second");
    let seen = pipeline.snapshot().retry_budget;
    assert_eq!((seen.withdrawn, seen.refused), (0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_shadow_breaker_refuses_nobody() {
    let shadow = touchy().with_enforcement(Enforcement::Shadow);
    let breaker = CircuitBreaker::new(shadow).unwrap();
    breaker.try_acquire().unwrap().failure();
    let pipeline = with_phase(PhaseConfig::remote().with_breaker(breaker));
    pipeline.try_submit(intent("a/1", "good")).unwrap().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn what_one_phase_tells_a_shared_breaker_opens_the_gate_of_another() {
    let breaker = CircuitBreaker::new(touchy()).unwrap();
    let turnstile = Turnstile::default();
    let guarded = || PhaseConfig::remote().with_breaker(breaker.clone());
    let pipeline = IntentPipeline::builder::<String>(PipelineConfig::default())
        .phase("first", guarded().with_concurrency(1), turnstile.clone())
        .phase("second", guarded(), fails_first())
        .build()
        .unwrap();
    let a = pipeline.try_submit(intent("a/1", "good")).unwrap();
    settled().await;
    let b = pipeline.try_submit(intent("a/2", "good").priority(Priority::Urgent)).unwrap();
    breaker.try_acquire().unwrap().failure();
    turnstile.let_through(1);
    tokio::time::sleep(ms(1100)).await;
    // The urgent one is the probe, inside the first phase; the other waits before the second.
    assert_eq!(turnstile.seen().len(), 2);
    let start = Instant::now();
    turnstile.let_through(1);
    a.await.unwrap();
    b.await.unwrap();
    assert!(start.elapsed() < ms(10), "not the age of a probe: {:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn every_attempt_takes_an_egress_token_and_waits_for_it_in_line() {
    let egress = Arc::new(RateLimiter::new(Quota::per_second(10).with_burst(2)).unwrap());
    let pipeline = with_phase(PhaseConfig::remote().with_egress(Arc::clone(&egress)));
    let start = Instant::now();
    let tickets: Vec<_> =
        (0..6).map(|i| pipeline.try_submit(intent(&format!("a/{i}"), "good")).unwrap()).collect();
    let mut ended = Vec::new();
    for ticket in tickets {
        ticket.await.unwrap();
        ended.push(start.elapsed().as_millis() / 95);
    }
    assert_eq!(ended, [0, 0, 1, 2, 3, 4]);
    assert_eq!(pipeline.snapshot().retry_budget.withdrawn, 0);
}

#[tokio::test(start_paused = true)]
async fn tokens_that_belong_to_somebody_in_line_close_the_gate_without_a_spin() {
    let egress = Arc::new(RateLimiter::new(Quota::per_second(1).with_burst(2)).unwrap());
    let pipeline = with_phase(PhaseConfig::remote().with_egress(Arc::clone(&egress)));
    egress.try_acquire(2).unwrap();
    let mut waiting = Box::pin(egress.acquire(1, Priority::Normal));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    tokio::time::advance(ms(5000)).await;
    // The tokens are there, and one who was first has not come for them yet.
    let ticket = pipeline.try_submit(intent("a/1", "good")).unwrap();
    settled().await;
    drop(waiting);
    ticket.await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refusal_leaves_every_other_tier_as_it_was() {
    let (turnstile, hour) = (Turnstile::default(), ms(3_600_000));
    let egress = Arc::new(RateLimiter::new(Quota::new(100, hour)).unwrap());
    let breaker = CircuitBreaker::new(touchy()).unwrap();
    let quota = TieredQuota::default()
        .with_global(Quota::new(1, hour).with_burst(4))
        .with_per_key(Quota::new(1, hour).with_burst(2))
        .with_max_keys(NonZeroUsize::new(100).unwrap());
    let phase =
        PhaseConfig::remote().with_egress(Arc::clone(&egress)).with_breaker(breaker.clone());
    let pipeline =
        IntentPipeline::builder::<String>(one_seat().with_queue_capacity(1).with_ingress(quota))
            .phase("only", phase, turnstile.clone())
            .build()
            .unwrap();
    let of = |key: &str, generation, content| {
        intent(key, key).generation(generation).content(content).tenant("t")
    };
    let _running = pipeline.try_submit(of("k", 2, 2)).unwrap();
    settled().await;
    let before = format!("{:?} {:?}", egress.peek(), breaker.snapshot());
    let reason = |intent| pipeline.try_submit(intent).unwrap_err().reason();
    for _ in 0..10 {
        assert_eq!(reason(of("k", 2, 3)), Reason::Conflict);
        assert_eq!(reason(of("k", 1, 2)), Reason::Stale);
        assert_eq!(reason(of("l", 1, 1).weight(NonZeroU32::MAX)), Reason::TooLarge);
        let past = Instant::now().into_std();
        assert_eq!(reason(of("l", 1, 1).deadline(past)), Reason::DeadlineInfeasible);
    }
    // One token of the tenant's is left, and every intent that ends unstarted gives it back.
    for i in 0..10 {
        let queued = pipeline.try_submit(of("l", i, 1)).unwrap();
        for _ in 0..10 {
            assert_eq!(reason(of("m", 1, 1).tenant("u")), Reason::QueueFull);
        }
        queued.cancel();
        assert_eq!(queued.await.unwrap_err().ending(), Ending::Cancelled);
    }
    assert_eq!(format!("{:?} {:?}", egress.peek(), breaker.snapshot()), before);
    let _queued = pipeline.try_submit(of("l", 1, 1)).unwrap();
    turnstile.let_through(1);
    settled().await;
    let refused = pipeline.try_submit(of("m", 1, 1)).unwrap_err();
    assert_eq!(refused.reason(), Reason::RateLimited { scope: Scope::Key });
    assert!(refused.retry_after().unwrap() > ms(1_700_000));
    // Of four in all, two are spent: the refusals by a key cost the others nothing.
    let other = pipeline.try_submit(of("m", 1, 1).tenant("u")).unwrap();
    other.cancel();
    pipeline.try_submit(of("m", 1, 1).tenant("u")).unwrap().cancel();
    breaker.try_acquire().unwrap().failure();
    assert_eq!(reason(of("n", 1, 1).tenant("v")), Reason::CircuitOpen);
    assert!(pipeline.shutdown(ms(100)).await.ledger.is_exact());
}

#[tokio::test(start_paused = true)]
async fn the_token_of_a_replaced_intent_goes_back_to_who_paid_it() {
    let (turnstile, hour) = (Turnstile::default(), ms(3_600_000));
    let quota = TieredQuota::default().with_per_key(Quota::new(1, hour).with_burst(1));
    let pipeline = through(&turnstile, one_seat().with_ingress(quota));
    let _running = pipeline.try_submit(intent("z/0", "running")).unwrap();
    settled().await;
    let _first = pipeline.try_submit(intent("k", "1").tenant("payer")).unwrap();
    let second = pipeline.try_submit(intent("k", "2").tenant("heir")).unwrap();
    second.cancel();
    assert_eq!(second.await.unwrap_err().ending(), Ending::Cancelled);
    let _again = pipeline.try_submit(intent("l", "3").tenant("payer")).unwrap();
    assert!(pipeline.try_submit(intent("m", "4").tenant("payer")).is_err());
}

#[tokio::test(start_paused = true)]
async fn submit_waits_for_its_ingress_token() {
    let turnstile = Turnstile::default();
    turnstile.let_through(10);
    let quota = TieredQuota::default().with_per_key(Quota::per_second(1).with_burst(1));
    let pipeline = through(&turnstile, PipelineConfig::default().with_ingress(quota));
    let start = Instant::now();
    for i in 0..4 {
        pipeline.submit(intent(&format!("a/{i}"), "x")).await.unwrap().await.unwrap();
    }
    assert!((ms(3000)..ms(3010)).contains(&start.elapsed()), "{:?}", start.elapsed());
    let deadline = (Instant::now() + ms(300)).into_std();
    let refused = pipeline.submit(intent("a/9", "x").deadline(deadline)).await.unwrap_err();
    assert_eq!(refused.reason(), Reason::Expired);
    assert_eq!(pipeline.snapshot().refused, [(Reason::Expired, 1)], "waiting is no refusal");
}

#[tokio::test(start_paused = true)]
async fn a_token_that_comes_back_is_for_who_waits_at_the_head_of_the_room() {
    let (turnstile, hour) = (Turnstile::default(), ms(3_600_000));
    let quota = TieredQuota::default().with_per_key(Quota::new(2, hour));
    let pipeline = through(&turnstile, one_seat().with_ingress(quota));
    let _running = pipeline.try_submit(intent("a/0", "x")).unwrap();
    let queued = pipeline.try_submit(intent("a/1", "x")).unwrap();
    settled().await;
    let start = Instant::now();
    let waits = pipeline.submit(intent("a/2", "x"));
    let gives_up = async {
        settled().await;
        queued.cancel();
    };
    let (submitted, ()) = tokio::join!(waits, gives_up);
    let _ticket = submitted.unwrap();
    assert!(start.elapsed() < ms(100), "{:?}", start.elapsed());
    let reason = pipeline.try_submit(intent("a/3", "x")).unwrap_err().reason();
    assert!(matches!(reason, Reason::RateLimited { .. }), "one came back: {reason}");
}

/// Who waits in the room looks at the breakers too; what it finds there is told whatever else stands
/// in its way.
#[tokio::test(start_paused = true)]
async fn who_listens_to_a_breaker_hears_what_one_in_the_room_found() {
    let breaker = CircuitBreaker::new(touchy()).unwrap();
    let turnstile = Turnstile::default();
    let config = PipelineConfig::default().with_seats(1).with_queue_capacity(1);
    let pipeline = IntentPipeline::builder::<String>(config)
        .phase("turnstile", PhaseConfig::remote(), turnstile.clone())
        .phase("guarded", PhaseConfig::remote().with_breaker(breaker.clone()), turnstile.clone())
        .build()
        .unwrap();
    let _inside = pipeline.try_submit(intent("a", "a")).unwrap();
    settled().await;
    let _queued = pipeline.try_submit(intent("b", "b")).unwrap();
    let mut waiting = std::pin::pin!(pipeline.submit(intent("c", "c")));
    assert!(poll_once(waiting.as_mut()).await.is_none());
    let mut events = breaker.events().unwrap();
    breaker.try_acquire().unwrap().report(headworks::Outcome::Failure);
    assert!(matches!(breaker.state(), State::Open));
    let heard = tokio::spawn(async move {
        events.recv().await;
        events.recv().await;
    });
    settled().await;
    tokio::time::advance(ms(2000)).await;
    // It tries anew, as after every wake-up, and the queue is as full as it was.
    assert!(poll_once(waiting.as_mut()).await.is_none());
    settled().await;
    assert!(heard.is_finished(), "it half-opened, and nobody was told");
}
