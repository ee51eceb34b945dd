//! Tables for the words, the cell, the numbers and the chance that all rooms share.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::time::Duration;

use super::config_error::ConfigError;
use super::ending::{Ending, Ledger};
use super::enforcement::Enforcement;
use super::handoff::Handoff;
use super::metrics::{Counter, Mean};
use super::outcome::RetryClass;
use super::priority::Priority;
use super::refused::{Reason, Refused, Scope};
use super::rng::Rng;
use super::tenant::Tenant;
use super::time;

#[derive(Debug, Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn poll<V>(cell: &Handoff<V>, wakes: &Arc<Wakes>) -> Poll<V> {
    cell.poll(&Context::from_waker(&Waker::from(Arc::clone(wakes))))
}

#[test]
fn the_cell_gives_its_value_once() {
    let (cell, wakes) = (Handoff::new(), Arc::default());
    assert!(matches!(cell.put(1), Ok(None)), "nobody asked to be woken yet");
    assert_eq!(cell.put(2).unwrap_err(), 2);
    assert_eq!(poll(&cell, &wakes), Poll::Ready(1));
    assert_eq!(poll(&cell, &wakes), Poll::Pending);
    assert_eq!(cell.leave(), None);
}

#[test]
fn the_cell_wakes_by_the_last_waker_and_keeps_no_other() {
    let (cell, first, last) = (Handoff::new(), Arc::default(), Arc::default());
    assert_eq!(poll(&cell, &first), Poll::Pending);
    assert_eq!(poll(&cell, &last), Poll::Pending);
    assert_eq!(Arc::strong_count(&first), 1);
    cell.put(1).unwrap().unwrap().wake();
    assert_eq!((first.0.load(Ordering::Relaxed), last.0.load(Ordering::Relaxed)), (0, 1));
    assert_eq!(poll(&cell, &last), Poll::Ready(1));
}

#[test]
fn what_comes_after_the_waiter_left_goes_back() {
    let (cell, wakes) = (Handoff::new(), Arc::default());
    assert_eq!(poll(&cell, &wakes), Poll::Pending);
    assert_eq!(cell.leave(), None);
    assert_eq!(Arc::strong_count(&wakes), 1, "its waker is dropped");
    assert_eq!(cell.put(1).unwrap_err(), 1);

    let cell = Handoff::new();
    cell.put(1).unwrap();
    assert_eq!(cell.leave(), Some(1), "it had come before");
    assert_eq!(cell.leave(), None);
}

#[test]
fn chance_replays_from_its_seed() {
    let mut rng = Rng::seeded(1_234_567);
    // The published test vector of SplitMix64.
    for expected in
        [6_457_827_717_110_365_317, 3_203_168_211_198_807_973, 9_817_491_932_198_370_423]
    {
        assert_eq!(rng.next(), expected);
    }
    let draw =
        |seed| std::iter::repeat_with(|| 0).scan(Rng::seeded(seed), |r, _: u8| Some(r.next()));
    assert!(draw(1).take(100).eq(draw(1).take(100)));
    assert!(draw(1).take(4).ne(draw(2).take(4)));
    assert_ne!(Rng::from_entropy().next(), Rng::from_entropy().next());
}

#[test]
fn chance_stays_in_its_range_and_fills_it() {
    let mut rng = Rng::seeded(7);
    let units: Vec<f64> = (0..10_000).map(|_| rng.unit()).collect();
    assert!(units.iter().all(|u| (0.0..1.0).contains(u)));
    let mean = units.iter().sum::<f64>() / 10_000.0;
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
    let second = Duration::from_secs(1);
    let jitter: Vec<Duration> = (0..1000).map(|_| rng.up_to(second)).collect();
    assert!(jitter.iter().all(|d| *d <= second));
    assert!(jitter.iter().any(|d| *d < second / 10) && jitter.iter().any(|d| *d > second * 9 / 10));
    let around: Vec<Duration> = (0..1000).map(|_| rng.around(second, 0.2)).collect();
    assert!(around.iter().all(|d| (800..=1200).contains(&d.as_millis())));
    assert_eq!(rng.around(second, 0.0), second);
    assert_eq!(rng.up_to(Duration::ZERO), Duration::ZERO);
}

#[test]
fn the_ledger_is_exact_or_says_that_it_is_not() {
    let mut ledger = Ledger { accepted: 30, ..Ledger::default() };
    for (n, ending) in (1..).zip(Ending::ALL) {
        ledger.record(ending, n);
        assert_eq!(ledger.count(ending), n);
    }
    assert_eq!(ledger.ended(), 28);
    assert!(!ledger.is_exact());
    assert!(!ledger.with_live(1).is_exact(), "one too few is seen");
    assert!(!ledger.with_live(3).is_exact(), "one too many is seen");
    let exact = ledger.with_live(2);
    assert!(exact.is_exact());
    assert_eq!(
        exact.to_string(),
        "accepted 30 = completed 1 + failed 2 + cancelled 3 + expired 4 + evicted 5 + \
         superseded 6 + returned 7 + live 2"
    );
}

#[test]
fn a_mean_speaks_from_twenty_samples_on_and_follows() {
    let mut mean = Mean::default();
    for _ in 0..19 {
        mean.sample(Duration::from_millis(10));
        assert_eq!(mean.get(), None);
    }
    mean.sample(Duration::from_millis(10));
    assert_eq!(mean.get(), Some(Duration::from_millis(10)));
    mean.sample(Duration::from_millis(90));
    assert_eq!(mean.get(), Some(Duration::from_millis(20)), "an eighth of the way");
    for _ in 0..100 {
        mean.sample(Duration::ZERO);
    }
    assert!(mean.get().unwrap() < Duration::from_micros(1));
}

#[test]
fn a_counter_adds_up() {
    let counter = Counter::default();
    counter.add(2);
    counter.add(3);
    assert_eq!(counter.get(), 5);
}

#[test]
fn enforcement_refuses_its_share() {
    let share = |enforcement: Enforcement| {
        let mut rng = Rng::seeded(3);
        (0..10_000).filter(|_| enforcement.refuses(&mut rng)).count()
    };
    assert_eq!(share(Enforcement::Shadow), 0);
    assert_eq!(share(Enforcement::Share(0.0)), 0);
    assert!((2_800..3_200).contains(&share(Enforcement::Share(0.3))));
    assert_eq!(share(Enforcement::Share(1.0)), 10_000);
    assert_eq!(share(Enforcement::Full), 10_000);
    for wrong in [-0.1, 1.1, f64::NAN, f64::INFINITY] {
        let error = Enforcement::Share(wrong).check("x.enforcement").unwrap_err();
        assert!(error.to_string().starts_with("x.enforcement is "), "{error}");
    }
    assert_eq!(Enforcement::Share(0.5).check("x.enforcement"), Ok(()));
}

#[test]
fn a_configuration_error_names_field_value_and_range() {
    let error = ConfigError::unless(false, "pool.cap", 0, "at least 1").unwrap_err();
    assert_eq!(error.to_string(), "pool.cap is 0, but must be at least 1");
    assert_eq!(error.of("x").to_string(), "pool.cap of \"x\" is 0, but must be at least 1");
    assert_eq!(ConfigError::unless(true, "pool.cap", 1, "at least 1"), Ok(()));
    assert!(ConfigError::NoRuntime.to_string().contains("no tokio runtime"));
}

#[test]
fn a_refusal_says_why_and_gives_the_thing_back() {
    let after = Some(Duration::from_millis(250));
    let refused = Refused::new(Reason::RateLimited { scope: Scope::Key }, after, "work");
    assert_eq!(refused.to_string(), "refused: the key rate limit is spent (retry after 250ms)");
    assert_eq!(refused.reason().as_str(), "rate_limited");
    assert_eq!(refused.retry_after(), after);
    assert_eq!(refused.into_inner(), "work");
    assert_eq!(Refused::new(Reason::Closed, None, ()).to_string(), "refused: closed");
}

#[test]
fn a_reason_is_retryable_where_its_verdict_asks_for_another_attempt() {
    let passing = [
        Reason::QueueFull,
        Reason::RateLimited { scope: Scope::Global },
        Reason::CircuitOpen,
        Reason::Evicted,
        Reason::Paused,
    ];
    let lasting = [
        Reason::DeadlineInfeasible,
        Reason::TooLarge,
        Reason::Conflict,
        Reason::Stale,
        Reason::Expired,
        Reason::Closed,
    ];
    for (reasons, is_retryable) in [(&passing[..], true), (&lasting[..], false)] {
        for reason in reasons {
            assert_eq!(reason.is_retryable(), is_retryable, "{reason}");
            let verdict = reason.verdict(None);
            assert!(verdict.is_refused(), "{reason}");
            assert_eq!(verdict.retry() != RetryClass::Stop, is_retryable, "{reason}");
        }
    }
}

/// Mostly a test of the compiler's: a refused future that is not `Sync` in an error that must be.
#[test]
fn a_refusal_of_what_is_not_sync_goes_into_a_boxed_error() {
    fn refuse() -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
        let refused = Refused::new(Reason::QueueFull, None, std::cell::Cell::new(7));
        let answer: Result<(), _> = Err(refused);
        answer.map_err(|refused| refused.map(drop))?;
        Ok(())
    }
    assert_eq!(refuse().unwrap_err().to_string(), "refused: the queue is full for its class");
}

#[test]
fn classes_are_ordered_and_named() {
    assert!(Priority::ALL.is_sorted());
    assert_eq!(Priority::ALL.map(Priority::index), [0, 1, 2, 3]);
    assert_eq!(Priority::ALL.map(Priority::as_str), ["low", "normal", "high", "urgent"]);
    assert_eq!(Priority::default(), Priority::Normal);
}

#[test]
fn a_tenant_is_the_same_by_the_same_name_and_never_nobody() {
    assert_eq!(Tenant::of("a"), Tenant::of(&"a".to_owned()));
    assert_ne!(Tenant::of("a"), Tenant::of("b"));
    assert!((0..1000).all(|i| Tenant::of(&i) != Tenant::NONE));
}

#[test]
fn never_is_later_than_everything() {
    let now = time::now();
    let later = time::later(now, Duration::from_secs(1));
    assert!(later.is_some_and(|later| later > now));
    assert_eq!(time::later(now, Duration::MAX), None);
    assert_eq!(time::earlier(Some(now), later), Some(now));
    assert_eq!(time::earlier(None, later), later);
    assert_eq!(time::earlier(None, None), None);
}

#[test]
fn what_is_ready_at_its_first_poll_needs_no_timer() {
    // Outside of a runtime a timer would panic.
    let mut cx = Context::from_waker(Waker::noop());
    let until = time::later(time::now(), Duration::from_secs(1));
    let polled = pin!(time::until(until, std::future::ready(7))).poll(&mut cx);
    assert_eq!(polled, Poll::Ready(Some(7)));
    let never = pin!(time::until(None, std::future::pending::<()>())).poll(&mut cx);
    assert_eq!(never, Poll::Pending);
}

#[tokio::test]
async fn what_uses_up_its_tasks_budget_ends_in_time_too() {
    async fn greedy() {
        loop {
            tokio::task::consume_budget().await;
        }
    }
    let until = time::later(time::now(), Duration::from_millis(2));
    assert_eq!(time::until(until, greedy()).await, None);
}
