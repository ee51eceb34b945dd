//! The clock, settled once. Every timed method has a `…_at(now)` twin and every core takes `now`
//! as an argument; a handle reads the clock here, at most once per operation.
//!
//! Under the feature `test-util` this is tokio's clock, so that a paused runtime drives everything.

mod clock;
mod instant;
#[cfg(all(test, not(headworks_loom)))]
mod tests;

use std::cell::Cell;
use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;
use std::time::Duration;

use tokio::task::unconstrained;

pub(crate) use clock::now;
#[cfg(feature = "json")]
pub(crate) use clock::wall;
pub use instant::Instant;

/// The time of one operation, however it is known.
pub(crate) trait Now: Copy {
    fn get(self) -> Instant;
}

impl Now for Instant {
    #[inline]
    fn get(self) -> Instant {
        self
    }
}

/// The clock, for what asks at most once.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock;

impl Now for Clock {
    #[inline]
    fn get(self) -> Instant {
        now()
    }
}

/// A look at the clock that is taken when somebody first asks, and then kept: an operation that
/// needs no time reads none (a look costs as much as a lock).
#[derive(Debug, Default)]
pub(crate) struct Glance(Cell<Option<Instant>>);

impl Glance {
    /// What it saw, if somebody has looked.
    pub(crate) fn seen(&self) -> Option<Instant> {
        self.0.get()
    }
}

impl Now for &Glance {
    #[inline]
    fn get(self) -> Instant {
        self.0.get().unwrap_or_else(|| {
            let now = now();
            self.0.set(Some(now));
            now
        })
    }
}

/// `now + after`; `None` when that lies beyond what the clock can say: never.
pub(crate) fn later(now: Instant, after: Duration) -> Option<Instant> {
    now.checked_add(after)
}

/// The earlier of two instants of which either may be *never*.
pub(crate) fn earlier(a: Option<Instant>, b: Option<Instant>) -> Option<Instant> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    }
}

/// `at` for a timer of tokio's, which can't add to an instant at the end of what the clock can
/// say: 30 years from now then, which is as good as never.
pub(crate) fn timer_at(at: Instant) -> tokio::time::Instant {
    const YEAR: Duration = Duration::from_secs(31_557_600);
    let at = if at.checked_add(100 * YEAR).is_some() { at } else { now() + 30 * YEAR };
    at.into()
}

/// Sleeps until `at`; for ever when `None`.
pub(crate) async fn sleep_until(at: Option<Instant>) {
    match at {
        Some(at) => tokio::time::sleep_until(timer_at(at)).await,
        None => std::future::pending().await,
    }
}

/// Runs `future` until `at`; `None` when the time came first. An `at` that is *never* costs no timer,
/// and neither does what is ready at its first poll.
pub(crate) async fn until<F: Future>(at: Option<Instant>, future: F) -> Option<F::Output> {
    let (mut future, mut timer) = (pin!(future), pin!(None));
    poll_fn(|cx| {
        if let Poll::Ready(output) = future.as_mut().poll(cx) {
            return Poll::Ready(Some(output));
        }
        let Some(at) = at else { return Poll::Pending };
        if timer.is_none() {
            // Or a future that always uses up its task's budget would never be ended.
            timer.set(Some(unconstrained(tokio::time::sleep_until(timer_at(at)))));
        }
        let timer = timer.as_mut().as_pin_mut();
        timer.map_or(Poll::Pending, |timer| timer.poll(cx).map(|()| None))
    })
    .await
}
