//! What is wrong with a peer and must not be with ours: each as a figure of which less is better.
//! Ours is held to its own by an assertion; a peer's figure says whether it still has the fault.

use std::convert::Infallible;
use std::future::{Future, pending, ready};
use std::num::NonZeroU32;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::sync::Mutex;
use std::task::{Context, Waker};
use std::time::{Duration, Instant};

use failsafe::CircuitBreaker as _;
use headworks::CircuitBreaker;
use headworks::circuit_breaker::{CircuitBreakerConfig, State, Window};
use tower::util::BoxCloneService;
use tower::{Service, ServiceExt, service_fn};
use tower_resilience_circuitbreaker::{
    CircuitBreakerLayer, CircuitState, DefaultClassifier, SlidingWindowType,
};

use super::peers::{Failed, on_this_thread};
use crate::harness::{Contestant, Effort, Measure, contest};

/// A name, and its figure.
type Peer = (&'static str, fn() -> f64);

/// How long openings last here.
const OPEN: Duration = Duration::from_millis(20);

pub fn run(effort: Effort) {
    let once = Effort { rounds: 1, divisor: 1 };
    let row = |fault: &str, unit, ours: fn() -> f64, most: f64, peers: &[Peer]| {
        let held = move || {
            let figure = ours();
            assert!(figure <= most, "ours has a fault: {figure} is more than {most}");
            vec![figure]
        };
        let mut all = vec![Contestant::new("headworks", held)];
        all.extend(peers.iter().map(|&(name, peer)| Contestant::new(name, move || vec![peer()])));
        contest(
            &format!("circuit_breaker/faults/{fault}"),
            &[Measure { suffix: "", unit }],
            once,
            all,
        );
    };
    row(
        "window_never_slides",
        "failures after 100000 successes",
        ours_after_successes,
        50.0,
        &[("tower-resilience", resilience_after_successes)],
    );
    row(
        "late_result_decides",
        "closed by one",
        ours_late,
        0.0,
        &[("tower-resilience", resilience_late)],
    );
    row(
        "hung_probe_stays_half_open",
        "refused after its timeout",
        ours_hung,
        0.0,
        &[("tower-resilience", resilience_hung)],
    );
    row(
        "half_open_admits_everybody",
        "of 200",
        ours_half_open,
        5.0,
        &[("failsafe", failsafe_half_open), ("recloser", recloser_half_open)],
    );
    row(
        "probes_never_refilled",
        "of 100 refused after probes that panicked",
        ours_refilled,
        0.0,
        &[("circuitbreaker-rs", rs_refilled)],
    );
    row(
        "cancelled_not_recorded",
        "sent of 100 that hang behind a timeout",
        ours_cancelled,
        10.0,
        &[
            ("tower-resilience", resilience_cancelled),
            ("failsafe", failsafe_cancelled),
            ("recloser", recloser_cancelled),
        ],
    );
    let timed = Effort { rounds: effort.rounds.min(5), divisor: 1 };
    contest(
        "circuit_breaker/faults/cost_of_a_full_time_window",
        &[Measure { suffix: "", unit: "ns/call" }],
        timed,
        vec![
            Contestant::new("headworks", || vec![ours_full_window()]),
            Contestant::new("tower-resilience", || vec![resilience_full_window()]),
        ],
    );
}

fn n(n: u32) -> NonZeroU32 {
    NonZeroU32::new(n).expect("more than none")
}

fn config() -> CircuitBreakerConfig {
    CircuitBreakerConfig::default()
        .with_window(Window::Calls(n(100)))
        .with_open_for(OPEN)
        .with_open_jitter_ratio(0.0)
        .with_ramp_step(None)
}

fn ours(config: CircuitBreakerConfig) -> CircuitBreaker {
    CircuitBreaker::new(config).expect("every value is in range")
}

fn opened(config: CircuitBreakerConfig) -> CircuitBreaker {
    let breaker = ours(config);
    while let Ok(permit) = breaker.try_acquire() {
        permit.failure();
    }
    breaker
}

fn poll_once<F: Future + ?Sized>(future: &mut Pin<Box<F>>) {
    let _ = future.as_mut().poll(&mut Context::from_waker(Waker::noop()));
}

type Answer = Pin<Box<dyn Future<Output = Result<(), Failed>> + Send>>;
type Inside = BoxCloneService<Answer, (), Failed>;
type Resilient = tower_resilience_circuitbreaker::CircuitBreaker<Inside, DefaultClassifier>;

/// A request is the answer it will get.
fn resilience(probes: usize) -> Resilient {
    CircuitBreakerLayer::builder()
        .sliding_window_type(SlidingWindowType::CountBased)
        .sliding_window_size(100)
        .minimum_number_of_calls(10)
        .permitted_calls_in_half_open(probes)
        .wait_duration_in_open(OPEN)
        .build()
        .expect("every value is in range")
        .layer_fn(BoxCloneService::new(service_fn(|answer: Answer| answer)))
}

fn good() -> Answer {
    Box::pin(ready(Ok(())))
}

fn bad() -> Answer {
    Box::pin(ready(Err(Failed)))
}

async fn resilient_call(service: &mut Resilient, answer: Answer) -> bool {
    service.ready().await.is_ok() && service.call(answer).await.is_ok()
}

fn ours_after_successes() -> f64 {
    let breaker = ours(config());
    for _ in 0..100_000 {
        breaker.try_acquire().expect("it is closed").success();
    }
    let mut failures = 0;
    while let Ok(permit) = breaker.try_acquire() {
        permit.failure();
        failures += 1;
    }
    f64::from(failures)
}

fn resilience_after_successes() -> f64 {
    on_this_thread(async {
        let mut service = resilience(1);
        for _ in 0..100_000 {
            resilient_call(&mut service, good()).await;
        }
        let mut failures = 0;
        while service.state_sync() == CircuitState::Closed && failures < 200_000 {
            resilient_call(&mut service, bad()).await;
            failures += 1;
        }
        f64::from(failures)
    })
}

fn ours_late() -> f64 {
    let breaker = ours(config().with_probes(n(1)));
    let early = breaker.try_acquire().expect("it is closed");
    while let Ok(permit) = breaker.try_acquire() {
        permit.failure();
    }
    std::thread::sleep(OPEN * 2);
    let probe = breaker.try_acquire().expect("it probes");
    early.success();
    let closed = breaker.state() == State::Closed;
    drop(probe);
    f64::from(u8::from(closed))
}

/// Gives its answer when it is told to.
fn told() -> (Answer, Arc<Mutex<bool>>) {
    let tell = Arc::new(Mutex::new(false));
    let told = Arc::clone(&tell);
    let answer = std::future::poll_fn(move |_| match told.lock().map(|told| *told) {
        Ok(true) => std::task::Poll::Ready(Ok(())),
        _ => std::task::Poll::Pending,
    });
    (Box::pin(answer), tell)
}

fn resilience_late() -> f64 {
    on_this_thread(async {
        let mut service = resilience(1);
        let (answer, tell) = told();
        service.ready().await.expect("it is closed");
        let mut early = Box::pin(service.call(answer));
        poll_once(&mut early);
        for _ in 0..20 {
            resilient_call(&mut service, bad()).await;
        }
        tokio::time::sleep(OPEN * 2).await;
        service.ready().await.expect("it probes");
        let mut probe = Box::pin(service.call(Box::pin(pending())));
        poll_once(&mut probe);
        *tell.lock().expect("nobody panicked") = true;
        poll_once(&mut early);
        f64::from(u8::from(service.state_sync() == CircuitState::Closed))
    })
}

fn ours_hung() -> f64 {
    let breaker = opened(config().with_probes(n(1)).with_call_timeout(OPEN).with_open_factor(1.0));
    std::thread::sleep(OPEN * 2);
    let hung = breaker.try_acquire().expect("it probes");
    std::thread::sleep(OPEN * 3);
    // Its silence has counted as a failure, and the opening that followed is over at the latest
    // after one more look.
    let _ = breaker.state();
    std::thread::sleep(OPEN * 2);
    let refused = breaker.try_acquire().is_err();
    drop(hung);
    f64::from(u8::from(refused))
}

fn resilience_hung() -> f64 {
    on_this_thread(async {
        let mut service = resilience(1);
        for _ in 0..20 {
            resilient_call(&mut service, bad()).await;
        }
        tokio::time::sleep(OPEN * 2).await;
        service.ready().await.expect("it probes");
        let mut hung = Box::pin(service.call(Box::pin(pending())));
        poll_once(&mut hung);
        tokio::time::sleep(OPEN * 5).await;
        let answered = resilient_call(&mut service, good()).await;
        f64::from(u8::from(!answered))
    })
}

fn ours_half_open() -> f64 {
    let breaker = opened(config());
    std::thread::sleep(OPEN * 2);
    let probes: Vec<_> = (0..200).filter_map(|_| breaker.try_acquire().ok()).collect();
    probes.len() as f64
}

fn failsafe_half_open() -> f64 {
    let policy =
        failsafe::failure_policy::consecutive_failures(10, failsafe::backoff::constant(OPEN));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    (0..10).for_each(|_| drop(breaker.call(|| Err::<(), _>(Failed))));
    std::thread::sleep(OPEN * 2);
    (0..200).filter(|_| breaker.is_call_permitted()).count() as f64
}

fn recloser_half_open() -> f64 {
    /// Calls inside of calls: all are under way at once.
    fn nested(breaker: &recloser::Recloser, left: u32) -> u32 {
        if left == 0 {
            return 0;
        }
        let inside = breaker.call(|| Ok::<_, Infallible>(1 + nested(breaker, left - 1)));
        inside.unwrap_or(0)
    }
    let breaker =
        recloser::Recloser::custom().closed_len(10).half_open_len(5).open_wait(OPEN).build();
    (0..20).for_each(|_| drop(breaker.call(|| Err::<(), _>(Failed))));
    std::thread::sleep(OPEN * 2);
    f64::from(nested(&breaker, 200))
}

fn ours_refilled() -> f64 {
    let breaker = opened(config());
    std::thread::sleep(OPEN * 2);
    for _ in 0..20 {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _permit = breaker.try_acquire();
            std::panic::resume_unwind(Box::new("part of the test"));
        }));
    }
    (0..100).filter(|_| breaker.try_acquire().map(|permit| permit.success()).is_err()).count()
        as f64
}

fn rs_refilled() -> f64 {
    let breaker =
        circuitbreaker_rs::CircuitBreaker::<circuitbreaker_rs::DefaultPolicy, Failed>::builder()
            .cooldown(OPEN)
            .build();
    (0..20).for_each(|_| drop(breaker.call(|| Err::<(), _>(Failed))));
    std::thread::sleep(OPEN * 2);
    for _ in 0..20 {
        let _ = catch_unwind(AssertUnwindSafe(|| {
            let _ = breaker.call(|| -> Result<(), Failed> {
                std::panic::resume_unwind(Box::new("part of the test"))
            });
        }));
    }
    (0..100).filter(|_| breaker.call(|| Ok(())).is_err()).count() as f64
}

const HANGING: u32 = 100;
const PATIENCE: Duration = Duration::from_millis(2);

/// How many of them reached the backend.
async fn hang<F: Future>(mut call: impl FnMut(Answer) -> F) -> f64 {
    let sent = Arc::new(Mutex::new(0));
    for _ in 0..HANGING {
        let sent = Arc::clone(&sent);
        let answer: Answer = Box::pin(async move {
            *sent.lock().expect("nobody panicked") += 1;
            pending().await
        });
        let _ = tokio::time::timeout(PATIENCE, call(answer)).await;
    }
    let sent = *sent.lock().expect("nobody panicked");
    f64::from(sent)
}

fn ours_cancelled() -> f64 {
    let config = config().with_slow_after(Some(PATIENCE / 2)).with_open_for(OPEN * 100);
    let breaker = ours(config);
    on_this_thread(hang(|answer| breaker.call(answer)))
}

fn resilience_cancelled() -> f64 {
    on_this_thread(async {
        let service = resilience(1);
        hang(|answer| service.clone().oneshot(answer)).await
    })
}

fn failsafe_cancelled() -> f64 {
    let policy =
        failsafe::failure_policy::consecutive_failures(10, failsafe::backoff::constant(OPEN * 100));
    let breaker = failsafe::Config::new().failure_policy(policy).build();
    on_this_thread(hang(|answer| failsafe::futures::CircuitBreaker::call(&breaker, answer)))
}

fn recloser_cancelled() -> f64 {
    let breaker = recloser::Recloser::custom().closed_len(10).open_wait(OPEN * 100).build();
    let breaker = recloser::AsyncRecloser::from(breaker);
    on_this_thread(hang(|answer| breaker.call(answer)))
}

/// Calls in the window before the timed ones.
const FULL: u32 = 10_000;
const TIMED: u32 = 1_000;

fn ours_full_window() -> f64 {
    let breaker = ours(config().with_window(Window::Time(Duration::from_secs(600))));
    let call = || breaker.try_acquire().expect("it is closed").success();
    (0..FULL).for_each(|_| call());
    let from = Instant::now();
    (0..TIMED).for_each(|_| call());
    from.elapsed().as_nanos() as f64 / f64::from(TIMED)
}

fn resilience_full_window() -> f64 {
    on_this_thread(async {
        let layer = CircuitBreakerLayer::builder()
            .sliding_window_type(SlidingWindowType::TimeBased)
            .sliding_window_duration(Duration::from_secs(600))
            .build()
            .expect("every value is in range");
        let mut service = layer.layer_fn(super::peers::Answers);
        let mut from = Instant::now();
        for call in 0..FULL + TIMED {
            if call == FULL {
                from = Instant::now();
            }
            let ready = service.ready().await.expect("it is closed");
            ready.call(()).await.expect("it succeeds");
        }
        from.elapsed().as_nanos() as f64 / f64::from(TIMED)
    })
}
