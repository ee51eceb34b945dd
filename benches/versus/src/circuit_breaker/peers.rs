//! tower-resilience, failsafe, recloser, circuitbreaker-rs, as nearly alike as they can be set.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::time::Duration;

use failsafe::CircuitBreaker as _;
use tower::{Service, ServiceExt};
use tower_resilience_circuitbreaker::{CircuitBreakerLayer, DefaultClassifier, SlidingWindowType};

use super::contestant::{Breaker, Case};

const LONG: Duration = Duration::from_secs(300);

/// What fails where a peer wants an error type.
#[derive(Debug)]
pub struct Failed;

impl std::fmt::Display for Failed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("failed")
    }
}

impl std::error::Error for Failed {}

#[derive(Clone)]
pub struct Answers;

impl Service<()> for Answers {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(
        &mut self,
        _: &mut std::task::Context<'_>,
    ) -> std::task::Poll<Result<(), Infallible>> {
        std::task::Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

type Resilient = tower_resilience_circuitbreaker::CircuitBreaker<Answers, DefaultClassifier>;

/// Its count window, whatever the case: its time window takes time in proportion to the calls in
/// it (`circuit_breaker/faults/cost_of_a_full_time_window`).
pub struct TowerResilience(Resilient);

pub fn on_this_thread<F: Future>(future: F) -> F::Output {
    let mut runtime = tokio::runtime::Builder::new_current_thread();
    runtime.enable_time().build().expect("a runtime starts").block_on(future)
}

impl Breaker for TowerResilience {
    const NAME: &'static str = "tower-resilience";

    fn new(case: Case) -> Self {
        let layer = CircuitBreakerLayer::builder()
            .sliding_window_type(SlidingWindowType::CountBased)
            .sliding_window_size(100)
            .wait_duration_in_open(LONG)
            .build()
            .expect("every value is in range");
        let service = layer.layer_fn(Answers);
        if case.is_open() {
            on_this_thread(service.force_open());
        }
        Self(service)
    }

    fn calls(&self, calls: usize) -> usize {
        let mut service = self.0.clone();
        on_this_thread(async move {
            let mut made = 0;
            for _ in 0..calls {
                let service = service.ready().await.expect("it is always ready");
                made += usize::from(service.call(()).await.is_ok());
            }
            made
        })
    }
}

pub struct Failsafe(Box<dyn Fn(usize) -> usize + Send + Sync>);

fn failsafe_calls<B: failsafe::CircuitBreaker>(breaker: &B, calls: usize) -> usize {
    (0..calls).filter(|_| breaker.call(|| Ok::<_, Failed>(())).is_ok()).count()
}

impl Breaker for Failsafe {
    const NAME: &'static str = "failsafe";

    fn new(case: Case) -> Self {
        let backoff = failsafe::backoff::constant(LONG);
        let config = failsafe::Config::new();
        if case == Case::Timed {
            let policy = failsafe::failure_policy::success_rate_over_time_window(
                0.5,
                10,
                Duration::from_secs(10),
                backoff,
            );
            let breaker = config.failure_policy(policy).build();
            return Self(Box::new(move |calls| failsafe_calls(&breaker, calls)));
        }
        let policy = failsafe::failure_policy::consecutive_failures(100, backoff);
        let breaker = config.failure_policy(policy).build();
        if case.is_open() {
            (0..100).for_each(|_| drop(breaker.call(|| Err::<(), _>(Failed))));
        }
        Self(Box::new(move |calls| failsafe_calls(&breaker, calls)))
    }

    fn calls(&self, calls: usize) -> usize {
        (self.0)(calls)
    }
}

pub struct Recloser(recloser::Recloser);

impl Breaker for Recloser {
    const NAME: &'static str = "recloser";

    fn new(case: Case) -> Self {
        let breaker = recloser::Recloser::custom().closed_len(100).open_wait(LONG).build();
        if case.is_open() {
            (0..200).for_each(|_| drop(breaker.call(|| Err::<(), _>(Failed))));
        }
        Self(breaker)
    }

    fn calls(&self, calls: usize) -> usize {
        (0..calls).filter(|_| self.0.call(|| Ok::<_, Failed>(())).is_ok()).count()
    }
}

pub struct CircuitBreakerRs(
    circuitbreaker_rs::CircuitBreaker<circuitbreaker_rs::DefaultPolicy, Failed>,
);

impl Breaker for CircuitBreakerRs {
    const NAME: &'static str = "circuitbreaker-rs";

    fn new(case: Case) -> Self {
        let breaker =
            circuitbreaker_rs::CircuitBreaker::<circuitbreaker_rs::DefaultPolicy, Failed>::builder(
            )
            .cooldown(LONG)
            .build();
        if case.is_open() {
            breaker.force_open();
        }
        Self(breaker)
    }

    fn calls(&self, calls: usize) -> usize {
        (0..calls).filter(|_| self.0.call(|| Ok(())).is_ok()).count()
    }
}
