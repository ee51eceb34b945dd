//! What is repeated, when, and why no more.

use std::future::{Future, pending, ready};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::task::{Context, Waker};

use super::*;
use Idempotency::{AtMostOnce, Idempotent};

fn quick(attempts: u32) -> RetryPolicy {
    let none = Backoff::new(Duration::ZERO, Duration::ZERO);
    RetryPolicy::default().with_backoff(none).with_max_attempts(n(attempts))
}

fn retry(policy: RetryPolicy, floor: u32) -> (Retry, RetryBudget) {
    let budget = budget(0.0, floor).0;
    let retry = Retry::new(policy, budget.clone()).unwrap();
    retry.reseed(7);
    (retry, budget)
}

/// Errors that say themselves what they mean.
impl Classify for Verdict {
    fn verdict(&self) -> Verdict {
        *self
    }
}

type Answer = Result<(), Verdict>;

/// Fails with each of these in turn, then goes well; how often it was called is counted.
fn failing<'a>(
    failures: &'a [Verdict],
    calls: &'a AtomicU32,
) -> impl FnMut(u32) -> std::future::Ready<Answer> + 'a {
    move |attempt| {
        assert_eq!(calls.fetch_add(1, Ordering::Relaxed) + 1, attempt, "numbered from 1");
        ready(failures.get(attempt as usize - 1).map_or(Ok(()), |&verdict| Err(verdict)))
    }
}

/// Why it gave up and after how many calls, or after how many it went well.
async fn told(
    retry: &Retry,
    idempotency: Idempotency,
    failures: &[Verdict],
) -> (Option<GaveUp>, u32) {
    let calls = AtomicU32::new(0);
    match retry.run(idempotency, Verdict::of, failing(failures, &calls)).await {
        Ok(()) => (None, calls.load(Ordering::Relaxed)),
        Err(gave) => {
            let calls = calls.load(Ordering::Relaxed);
            assert_eq!(gave.attempts() + gave.refusals(), calls);
            let refused = failures[..calls as usize].iter().filter(|verdict| verdict.is_refused());
            assert_eq!(refused.count() as u32, gave.refusals());
            let last = failures[calls as usize - 1];
            assert_eq!(gave.last(), &AttemptError::Inner(last));
            let is_early = matches!(gave.why(), GaveUp::Refused | GaveUp::AskedForLonger);
            let verdict = if is_early { last } else { last.stop() };
            assert_eq!(gave.verdict(), verdict, "retries don't multiply");
            (Some(gave.why()), calls)
        }
    }
}

const FAILURE: Verdict = Verdict::failure();
const REFUSED: Verdict = Verdict::refused(Some(Duration::ZERO));

#[test]
fn a_wait_is_spread_over_all_below_its_ceiling() {
    let policy = RetryPolicy::default().with_max_attempts(n(99));
    let mut rng = Rng::seeded(3);
    for failures in 1..12 {
        let ceiling = policy.backoff.ceiling(failures);
        let mut wait = || policy.wait(RetryClass::Retry, failures, &mut rng).unwrap();
        let waits: Vec<_> = (0..1_000).map(|_| wait()).collect();
        assert!(waits.iter().all(|&wait| wait <= ceiling));
        assert!(waits.iter().any(|&wait| wait < ceiling / 10), "full jitter starts at zero");
        assert!(waits.iter().any(|&wait| wait > ceiling / 10 * 9));
    }
}

#[test]
fn a_backends_wish_is_a_lower_bound_and_above_the_cap_the_end() {
    let policy = RetryPolicy::default();
    let mut rng = Rng::seeded(3);
    let mut wait = |wish| policy.wait(RetryClass::RetryAfter(wish), 1, &mut rng);
    for _ in 0..100 {
        let half_as_long_again = 5 * S..=15 * S / 2;
        assert!(half_as_long_again.contains(&wait(5 * S).unwrap()));
        assert!((MS..=101 * MS).contains(&wait(MS).unwrap()), "or over the backoff's ceiling");
        assert!((30 * S..=45 * S).contains(&wait(30 * S).unwrap()));
        assert_eq!(wait(30 * S + MS), Err(GaveUp::AskedForLonger), "not before its time");
        assert_eq!(wait(Duration::MAX), Err(GaveUp::AskedForLonger));
    }
    assert_eq!(
        policy.wait(RetryClass::Retry, 3, &mut rng),
        Err(GaveUp::Attempts),
        "three attempts in all"
    );
    assert_eq!(policy.wait(RetryClass::Stop, 1, &mut rng), Err(GaveUp::Permanent));
}

#[tokio::test]
async fn it_says_why_it_gave_up() {
    let (all, _) = retry(quick(3), 100);
    let told_by = async |failures: &[_]| told(&all, Idempotent, failures).await;
    assert_eq!(told_by(&[]).await, (None, 1));
    assert_eq!(told_by(&[FAILURE; 2]).await, (None, 3));
    assert_eq!(told_by(&[FAILURE; 3]).await, (Some(GaveUp::Attempts), 3));
    assert_eq!(told_by(&[FAILURE, Verdict::permanent()]).await, (Some(GaveUp::Permanent), 2));
    assert_eq!(told_by(&[FAILURE.stop()]).await, (Some(GaveUp::Permanent), 1));
    let seen = all.snapshot();
    assert_eq!((seen.retried, seen.recovered, seen.exhausted, seen.stopped), (5, 1, 1, 2));

    let (poor, _) = retry(quick(30), 2);
    assert_eq!(told(&poor, Idempotent, &[FAILURE; 9]).await, (Some(GaveUp::Budget), 3));

    let (short, budget) = retry(quick(30).with_total_timeout(Some(S)), 2);
    let later = [FAILURE.not_before(2 * S)];
    assert_eq!(told(&short, Idempotent, &later).await, (Some(GaveUp::TotalTimeout), 1));
    assert_eq!(budget.snapshot().withdrawn, 0, "a retry that isn't made costs nothing");
}

#[tokio::test]
async fn what_must_not_be_done_twice_is_repeated_only_where_it_was_not_seen() {
    let (all, _) = retry(quick(3), 100);
    let told_by = async |failures: &[_]| told(&all, AtMostOnce, failures).await;
    assert_eq!(told_by(&[FAILURE]).await, (Some(GaveUp::AtMostOnce), 1));
    assert_eq!(told_by(&[Verdict::overloaded(None)]).await, (Some(GaveUp::AtMostOnce), 1));
    assert_eq!(told_by(&[FAILURE.unsent(), REFUSED]).await, (None, 3));
    assert_eq!(told_by(&[REFUSED, FAILURE]).await, (Some(GaveUp::AtMostOnce), 2));

    let (timed, _) = retry(quick(3).with_attempt_timeout(Some(MS)), 100);
    let hangs = timed.run(AtMostOnce, Verdict::of, |_| pending::<Answer>()).await.unwrap_err();
    assert_eq!((hangs.why(), hangs.attempts()), (GaveUp::AtMostOnce, 1));
}

#[tokio::test]
async fn a_refusal_on_this_side_uses_up_no_attempt_and_no_budget() {
    let (all, budget) = retry(quick(2), 1);
    let told_by = async |failures: &[_]| told(&all, Idempotent, failures).await;
    assert_eq!(told_by(&[REFUSED, FAILURE, REFUSED, REFUSED]).await, (None, 5));
    assert_eq!(budget.snapshot().withdrawn, 1);
    assert_eq!(told_by(&[REFUSED; 4]).await, (Some(GaveUp::Refused), 4), "three are waited out");
    let for_hours = Verdict::refused(Some(3_600 * S));
    assert_eq!(told_by(&[for_hours]).await, (Some(GaveUp::Refused), 1), "no use to wait so long");
    assert_eq!((budget.snapshot().withdrawn, budget.snapshot().refused), (1, 0));
    assert_eq!((all.snapshot().waited_out, all.snapshot().refused), (6, 2));
}

#[tokio::test]
async fn an_error_counts_attempts_and_refusals_apart() {
    let (all, _) = retry(quick(2), 100);
    let text = async |failures: &[_]| {
        let calls = AtomicU32::new(0);
        let gave = all.run(Idempotent, Verdict::of, failing(failures, &calls)).await.unwrap_err();
        (gave.attempts(), gave.refusals(), gave.to_string())
    };
    let said = |attempts, refusals, text: &str| (attempts, refusals, text.to_owned());
    assert_eq!(
        text(&[FAILURE.stop()]).await,
        said(1, 0, "gave up after 1 attempt: the error is permanent")
    );
    assert_eq!(
        text(&[FAILURE, REFUSED, FAILURE]).await,
        said(2, 1, "gave up after 2 attempts and 1 refusal: all attempts are used up")
    );
    assert_eq!(
        text(&[REFUSED; 4]).await,
        said(0, 4, "gave up after 4 refusals: refused on this side")
    );
    assert_eq!(
        text(&[REFUSED.stop()]).await,
        said(0, 1, "gave up after 1 refusal: the error is permanent")
    );
}

/// An open circuit says 30 s by default: a caller who is told so by a refusal waits for nothing.
#[tokio::test]
async fn an_open_circuit_is_not_waited_out() {
    let (all, _) = retry(quick(3), 100);
    let open = Verdict::refused(Some(24 * S));
    assert_eq!(told(&all, Idempotent, &[open]).await, (Some(GaveUp::Refused), 1));
}

#[tokio::test]
async fn who_is_asked_for_a_longer_wait_than_the_policy_has_is_told_how_long() {
    let (all, budget) = retry(quick(3), 100);
    let longer = FAILURE.not_before(31 * S);
    let calls = AtomicU32::new(0);
    let gave = all.run(Idempotent, Verdict::of, failing(&[longer], &calls)).await.unwrap_err();
    assert_eq!((gave.why(), gave.retry_after()), (GaveUp::AskedForLonger, Some(31 * S)));
    assert_eq!((budget.snapshot().withdrawn, all.snapshot().asked_for_longer), (0, 1));
}

#[cfg(feature = "tower")]
#[test]
fn a_status_says_what_its_error_would() {
    let of = |code| Verdict::of_status(http::StatusCode::from_u16(code).unwrap(), None);
    for (code, verdict) in [
        (200, Verdict::success()),
        (304, Verdict::success()),
        (400, Verdict::permanent()),
        (404, Verdict::permanent()),
        (408, FAILURE),
        (425, Verdict::transient()),
        (429, Verdict::overloaded(None)),
        (500, FAILURE),
        (501, FAILURE.stop()),
        (503, FAILURE),
    ] {
        assert_eq!(of(code), verdict, "{code}");
    }
    assert!(!of(425).is_overloaded() && !of(425).is_refused());
    let busy = Verdict::of_status(http::StatusCode::SERVICE_UNAVAILABLE, Some(S));
    assert_eq!(busy, FAILURE.not_before(S));
}

#[tokio::test]
async fn a_value_may_be_worth_another_attempt_and_the_last_one_is_returned() {
    let (all, budget) = retry(quick(3), 100);
    let judge = |value: &Result<u32, ()>| match value {
        Ok(3) => Verdict::success(),
        _ => FAILURE,
    };
    let third = all.run(Idempotent, judge, |attempt| ready(Ok(attempt))).await;
    assert_eq!((third, budget.snapshot().withdrawn), (Ok(3), 2));
    let never = all.run(Idempotent, judge, |_| ready(Ok(9))).await;
    assert_eq!((never, all.snapshot().exhausted), (Ok(9), 1));
}

#[tokio::test]
async fn an_attempt_that_hangs_is_dropped_and_retried() {
    let (retry, _) = retry(quick(2).with_attempt_timeout(Some(MS)), 3);
    let run = retry.run(Idempotent, Verdict::of, |attempt| async move {
        if attempt == 1 {
            pending::<()>().await;
        }
        Ok::<_, Verdict>(attempt)
    });
    assert_eq!(run.await, Ok(2));
}

#[tokio::test]
async fn dropped_after_one_poll_it_drops_the_attempt_or_the_wait() {
    let alive = Arc::new(());
    let backoff = Backoff::new(3_600 * S, 3_600 * S);
    let (retry, budget) = retry(quick(2).with_backoff(backoff), 3);
    for fails in [false, true] {
        let run = retry.run(Idempotent, Verdict::of, |_| {
            let held = Arc::clone(&alive);
            async move {
                let _held = held;
                if fails { Err::<(), _>(FAILURE) } else { pending().await }
            }
        });
        let mut run = Box::pin(run);
        let mut cx = Context::from_waker(Waker::noop());
        assert!(run.as_mut().poll(&mut cx).is_pending());
        assert_eq!(Arc::strong_count(&alive), if fails { 1 } else { 2 });
        assert_eq!(budget.snapshot().withdrawn, u64::from(fails), "what is paid stays paid");
        drop(run);
        assert_eq!(Arc::strong_count(&alive), 1);
    }
}

/// Waits are as asked, the total timeout cuts an attempt short, and no wait is begun in vain.
#[cfg(feature = "test-util")]
#[tokio::test(start_paused = true)]
async fn it_waits_as_asked_and_ends_in_time() {
    let start = time::now();
    let (asked, _) = retry(quick(3), 3);
    told(&asked, Idempotent, &[FAILURE.not_before(2 * S); 3]).await;
    assert!((4 * S..=6 * S + 2 * MS).contains(&(time::now() - start)));

    let start = time::now();
    let (refused, _) = retry(quick(3).with_refusals_wait_most(5 * S), 3);
    let two = Verdict::refused(Some(2 * S));
    assert_eq!(told(&refused, Idempotent, &[two]).await, (None, 2));
    assert!((2 * S..=3 * S + MS).contains(&(time::now() - start)));
    let start = time::now();
    assert_eq!(told(&refused, Idempotent, &[two; 3]).await, (Some(GaveUp::Refused), 3));
    assert!((4 * S..=6 * S + 2 * MS).contains(&(time::now() - start)), "in all they ask for 6 s");

    let start = time::now();
    let policy = quick(3).with_attempt_timeout(Some(2 * S)).with_total_timeout(Some(3 * S));
    let (short, _) = retry(policy, 3);
    let gave = short.run(Idempotent, Verdict::of, |_| pending::<Answer>()).await.unwrap_err();
    assert_eq!((gave.why(), gave.attempts()), (GaveUp::TotalTimeout, 2));
    assert_eq!((gave.into_last(), time::now() - start), (AttemptError::TimedOut, 3 * S));
}
