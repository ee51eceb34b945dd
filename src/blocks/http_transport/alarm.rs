//! Timers that are set far more often than they ring, and cost next to nothing meanwhile.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use tokio::runtime::{Handle, Id};
use tokio::task::coop::unconstrained;
use tokio::time::Sleep;

use crate::ground::time::{Instant, now, timer_at};

/// A timer of tokio's that knows whom it will wake: nobody has to tell it with every poll, which is
/// what a poll of a `Sleep` costs.
#[derive(Debug)]
pub(super) struct Alarm {
    timer: Pin<Box<Sleep>>,
    wakes: Option<Waker>,
}

impl Alarm {
    /// # Panics
    ///
    /// Outside a runtime with time enabled.
    pub(super) fn at(at: Instant) -> Self {
        Self { timer: Box::pin(tokio::time::sleep_until(timer_at(at))), wakes: None }
    }

    pub(super) fn set(&mut self, at: Instant) {
        self.timer.as_mut().reset(timer_at(at));
        self.wakes = None;
    }

    /// Ready when its time has come.
    #[inline]
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let knows = self.wakes.as_ref().is_some_and(|waker| waker.will_wake(cx.waker()));
        if knows && !self.timer.is_elapsed() { Poll::Pending } else { self.poll_timer(cx) }
    }

    fn poll_timer(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        // Or a task that has used up its budget would never learn that its time is over.
        let polled = Pin::new(&mut unconstrained(self.timer.as_mut())).poll(cx);
        self.wakes = polled.is_pending().then(|| cx.waker().clone());
        polled
    }
}

/// Nearly no request comes to the end of its time. So where the next one's ends later than what the
/// timer is set to, it stays as it is, and is set again when it rings: once in a whole timeout, not
/// once for each request. It knows who asked last until another does.
#[derive(Debug, Default)]
pub(super) struct KeptAlarm(Option<(Id, Alarm)>);

impl KeptAlarm {
    /// Ready when `at` has passed.
    ///
    /// # Panics
    ///
    /// Outside a runtime with time enabled.
    pub(super) fn poll(&mut self, at: Instant, cx: &mut Context<'_>) -> Poll<()> {
        // Whoever drives the runtime of the last caller's need not drive this one's.
        let here = Handle::current().id();
        let alarm = match &mut self.0 {
            Some((there, alarm)) if *there == here => {
                if alarm.timer.deadline() > timer_at(at) {
                    alarm.set(at);
                }
                alarm
            }
            other => &mut other.insert((here, Alarm::at(at))).1,
        };
        while alarm.poll(cx).is_ready() {
            if now() >= at {
                return Poll::Ready(());
            }
            alarm.set(at);
        }
        Poll::Pending
    }
}

#[cfg(all(test, not(headworks_loom)))]
mod tests {
    use std::future::poll_fn;
    use std::sync::Arc;
    use std::task::Wake;
    use std::time::Duration;

    use super::*;
    use crate::ground::primitives::atomic::{AtomicUsize, Ordering};

    const MS: Duration = Duration::from_millis(1);

    fn runtime() -> tokio::runtime::Runtime {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap()
    }

    fn nobody() -> Context<'static> {
        Context::from_waker(Waker::noop())
    }

    #[derive(Default)]
    struct Count(AtomicUsize);

    impl Wake for Count {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    #[test]
    fn it_wakes_who_asked_last_also_when_it_was_set_again() {
        runtime().block_on(async {
            let (first, last) = (Arc::new(Count::default()), Arc::new(Count::default()));
            let wakers = [Arc::clone(&first), Arc::clone(&last)].map(Waker::from);
            for set_again in [false, true] {
                let mut alarm = Alarm::at(now() + 5 * MS);
                for waker in &wakers {
                    for _ in 0..3 {
                        assert!(alarm.poll(&mut Context::from_waker(waker)).is_pending());
                    }
                }
                let mut at = now() + 20 * MS;
                if set_again {
                    alarm.set(at);
                    assert!(alarm.poll(&mut Context::from_waker(&wakers[1])).is_pending());
                } else {
                    at = now() + 5 * MS;
                }
                tokio::time::sleep_until(timer_at(at + 2 * MS)).await;
                assert!(alarm.poll(&mut nobody()).is_ready());
                assert_eq!(last.0.load(Ordering::SeqCst), 1 + usize::from(set_again));
            }
            assert_eq!(first.0.load(Ordering::SeqCst), 0);
        });
    }

    async fn passes(kept: &mut KeptAlarm, at: Instant) -> Instant {
        poll_fn(|cx| kept.poll(at, cx)).await;
        now()
    }

    #[test]
    fn a_kept_one_is_never_over_before_its_time_whatever_it_was_set_to() {
        let mut kept = KeptAlarm::default();
        runtime().block_on(async {
            let begun = now();
            for after in [3, 1, 8, 8, 20, 2] {
                let at = begun + after * MS;
                assert!(passes(&mut kept, at).await >= at, "{after}");
            }
            assert!(now() < begun + 10_000 * MS, "nor much later");
        });
    }

    #[test]
    fn a_later_end_leaves_a_kept_one_as_it_is_and_an_earlier_one_does_not() {
        let mut kept = KeptAlarm::default();
        runtime().block_on(async {
            let begun = now();
            let mut set_to = |after: u32| {
                assert!(kept.poll(begun + after * 1_000 * MS, &mut nobody()).is_pending());
                kept.0.as_ref().unwrap().1.timer.deadline()
            };
            let first = set_to(60);
            assert_eq!(set_to(90), first);
            assert!(set_to(30) < first);
        });
    }

    #[test]
    fn each_runtime_has_its_own() {
        let mut kept = KeptAlarm::default();
        let far = now() + 60_000 * MS;
        let first = runtime();
        first.block_on(async { assert!(kept.poll(far, &mut nobody()).is_pending()) });
        // Nobody drives the first any more.
        let at = now() + MS;
        assert!(runtime().block_on(passes(&mut kept, at)) >= at);
    }
}
